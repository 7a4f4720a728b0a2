//! How long typical queries take over samples in memory: 10,000 series, 3 hours, a sample every 15 s,
//! a step of 60 s. Run with `cargo bench -p binnacle-tsdb --bench promql`.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use binnacle_proto::Labels;
use binnacle_tsdb::{
    Engine, Error, Guard, GuardLimits, Points, QueryOptions, ReadSeries, Select, Selected, Source, Value,
};

const SERIES: usize = 10_000;
const INTERVAL_MS: i64 = 15_000;
const HOURS: i64 = 3;
const RUNS: usize = 7;

/// Samples that are copied and nothing else: what is measured is the evaluator.
struct Columns(Arc<Vec<(Labels, Points)>>);

struct Reader {
    all: Arc<Vec<(Labels, Points)>>,
    found: Vec<usize>,
}

impl Source for Columns {
    fn select(&self, select: &Select, _guard: &Guard) -> Result<Selected, Error> {
        let matches = |labels: &Labels| select.matchers.iter().all(|matcher| matcher.matches(labels));
        let found: Vec<usize> = (0..self.0.len()).filter(|at| matches(&self.0[*at].0)).collect();
        let series = found.iter().map(|at| self.0[*at].0.clone()).collect();
        let reader = Box::new(Reader { all: self.0.clone(), found });
        Ok(Selected { series, reader, warnings: Vec::new() })
    }
}

impl ReadSeries for Reader {
    fn read(&self, index: usize, guard: &Guard, out: &mut Points) -> Result<(), Error> {
        let points = &self.all[self.found[index]].1;
        guard.charge_samples(points.len() as u64)?;
        out.timestamps.extend_from_slice(&points.timestamps);
        out.values.extend_from_slice(&points.values);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut all = Vec::with_capacity(SERIES);
    for i in 0..SERIES {
        let pairs = [
            ("__name__", "cpu".to_owned()),
            ("ns", format!("ns-{}", i % 20)),
            ("pod", format!("pod-{}", i / 4)),
            ("container", format!("c-{}", i % 4)),
            ("node", format!("node-{}", i % 50)),
        ];
        let mut points = Points::default();
        let mut value = i as f64;
        for at in 0..HOURS * 3_600_000 / INTERVAL_MS {
            value += ((at * 7 + i as i64) % 13) as f64;
            points.push(at * INTERVAL_MS + i as i64 % 1_000, value);
        }
        all.push((Labels::from_pairs(pairs)?, points));
    }
    let source = Columns(Arc::new(all));
    println!(
        "{SERIES} series, {HOURS} h, a sample every {} s, a step of 60 s, median and best of {RUNS}",
        INTERVAL_MS / 1000
    );
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let queries = [
        "sum by (ns) (rate(cpu[5m]))",
        "rate(cpu[5m])",
        "cpu",
        "sum(cpu)",
        "topk by (ns) (5, rate(cpu[5m]))",
        "max by (node) (max_over_time(cpu[1h]))",
        "avg_over_time(cpu[5m])",
        "sum by (ns) (rate(cpu[5m])) / on (ns) sum by (ns) (cpu)",
        "cpu / ignoring (x) cpu",
        "max_over_time(sum by (ns) (rate(cpu[5m]))[30m:1m])",
        "quantile by (ns) (0.9, cpu)",
    ];
    for expr in queries.into_iter().filter(|expr| only.as_ref().is_none_or(|only| expr == only)) {
        let mut times = Vec::new();
        let mut series = 0;
        let mut peak = 0;
        for _ in 0..RUNS {
            let limits = GuardLimits { max_bytes: 4 << 30, ..GuardLimits::default() };
            let begun = Instant::now();
            let options = QueryOptions { guard: Guard::new(limits, begun), lookback: None };
            let answer = Engine::default().range(&source, expr, 0, HOURS * 3_600_000, 60_000, &options)?;
            times.push(begun.elapsed());
            peak = options.guard.peak_bytes();
            if let Value::Matrix(matrix) = answer.value {
                series = matrix.len();
            }
        }
        times.sort();
        let median: Duration = times[RUNS / 2];
        println!(
            "{:>8.1} {:>8.1} ms  {:>6} series  {:>7.1} MB  {expr}",
            median.as_secs_f64() * 1e3,
            times[0].as_secs_f64() * 1e3,
            series,
            peak as f64 / 1e6
        );
    }
    Ok(())
}
