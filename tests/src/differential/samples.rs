//! Samples: counters with resets, gauges, histograms, gaps, staleness markers, NaN and infinities.

use binnacle_proto::{Labels, STALE_NAN};

use crate::random::Random;

/// Time of the first samples, in milliseconds.
pub const START_MS: i64 = 1_700_000_000_000;
/// Time of the last samples, in milliseconds.
pub const END_MS: i64 = START_MS + 2 * 3_600_000;

/// Series with their samples, times ascending.
pub struct Dataset(pub Vec<(Labels, Vec<(i64, f64)>)>);

/// How a series moves.
enum Shape {
    Counter,
    Gauge,
    Buckets(usize),
    Odd,
    Constant(f64),
}

impl Dataset {
    /// The samples of a seed.
    pub fn new(random: &mut Random) -> Self {
        let mut series = Vec::new();
        let mut add = |random: &mut Random, name: &str, labels: &[(&str, &str)], shape: &Shape| {
            let pairs = labels.iter().copied().chain([("__name__", name)]);
            let labels = Labels::from_pairs(pairs).expect("names are unique");
            series.push((labels, samples(random, shape)));
        };
        for job in ["api", "web", "db"] {
            for instance in ["a", "b", "c"] {
                for code in ["200", "404", "500"] {
                    add(
                        random,
                        "req_total",
                        &[("job", job), ("instance", instance), ("code", code)],
                        &Shape::Counter,
                    );
                }
                add(random, "temp", &[("job", job), ("instance", instance)], &Shape::Gauge);
                add(random, "load", &[("job", job), ("instance", instance), ("zone", "z1")], &Shape::Gauge);
                for (le, bound) in ["0.1", "0.5", "1", "5", "+Inf"].iter().enumerate() {
                    let labels = [("job", job), ("instance", instance), ("le", bound)];
                    add(random, "lat_bucket", &labels, &Shape::Buckets(le + 1));
                }
            }
            add(random, "odd", &[("job", job)], &Shape::Odd);
            add(
                random,
                "meta_info",
                &[("job", job), ("version", if job == "db" { "2" } else { "1" })],
                &Shape::Constant(1.0),
            );
        }
        add(random, "alone", &[], &Shape::Gauge);
        Self(series)
    }
}

fn samples(random: &mut Random, shape: &Shape) -> Vec<(i64, f64)> {
    let step_ms = [10_000, 15_000, 30_000, 60_000][random.below(4)];
    let jitter_ms = if random.chance(30) { 900 } else { 0 };
    let mut samples = Vec::new();
    let mut value = match shape {
        Shape::Counter | Shape::Buckets(_) => (random.unit() * 50.0).floor(),
        Shape::Constant(value) => *value,
        _ => random.unit() * 100.0 - 50.0,
    };
    let mut t_ms = START_MS + random.between(0, step_ms - 1);
    while t_ms <= END_MS {
        if random.chance(1) {
            // A gap, with or without a marker at its beginning.
            if random.chance(50) {
                samples.push((t_ms, STALE_NAN));
            }
            t_ms += step_ms * random.between(2, 40);
            continue;
        }
        match shape {
            Shape::Counter => {
                value += (random.unit() * 20.0).floor();
                if random.chance(1) {
                    value = (random.unit() * 5.0).floor();
                }
            }
            Shape::Buckets(rank) => value += (random.unit() * 5.0).floor() * *rank as f64,
            Shape::Gauge => value += random.unit() * 10.0 - 5.0,
            Shape::Odd => {
                value = match random.below(12) {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    2 => f64::NEG_INFINITY,
                    3 => 0.0,
                    4 => 1e300,
                    _ => random.unit() * 10.0 - 5.0,
                }
            }
            Shape::Constant(_) => {}
        }
        samples.push((t_ms + random.between(0, jitter_ms), value));
        t_ms += step_ms;
    }
    samples
}
