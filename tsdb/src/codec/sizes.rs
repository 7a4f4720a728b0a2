//! How many bytes a sample takes, by the kind of series that containers have.

use super::encode_chunk;
use crate::select::Points;

const STEP_MS: i64 = 15_000;

/// A value from the one before and a random number.
type Next = fn(f64, u64) -> f64;

/// Kinds of series with how many of a container's twenty are of it.
const KINDS: [(&str, usize, Next); 9] = [
    ("CPU seconds", 3, |v, dice| ((v * 1e9).round() + (dice % 6_000_000_000) as f64) / 1e9),
    ("pages", 4, |v, dice| (v / 4096.0 + (dice % 129) as f64 + 100.0 - 64.0).max(1.0).round() * 4096.0),
    ("periods", 1, |v, dice| v + (dice % 300) as f64),
    ("bytes received", 1, |v, dice| v + (dice % 180_000) as f64),
    ("bytes sent", 1, |v, dice| v + (dice % 120_000) as f64),
    ("bytes written", 1, |v, dice| v + (dice % 80_000) as f64),
    ("packets", 2, |v, dice| v + (dice % 1200) as f64),
    ("rare", 3, |v, dice| v + f64::from(u8::from(dice.is_multiple_of(200)))),
    ("constant", 4, |v, _| v),
];

fn series(next: Next, samples: usize, jitter_ms: u64) -> Points {
    let mut points = Points::default();
    let (mut value, mut random) = (0.0, 0x9E37_79B9_7F4A_7C15u64);
    for at in 0..samples as i64 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        value = next(value, random >> 16);
        points.push(at * STEP_MS + (random % (jitter_ms + 1)) as i64, value);
    }
    points
}

/// Bytes a sample over all kinds, weighted as a container has them.
fn bytes_a_sample(samples: usize, jitter_ms: u64) -> f64 {
    let mut sum = 0.0;
    for (kind, weight, next) in KINDS {
        let bytes = encode_chunk(&series(next, samples, jitter_ms)).len() as f64 / samples as f64;
        println!("{samples} samples, jitter {jitter_ms} ms, {kind}: {bytes:.3} bytes a sample");
        sum += bytes * weight as f64;
    }
    let all = sum / KINDS.iter().map(|(_, weight, _)| *weight as f64).sum::<f64>();
    println!("{samples} samples, jitter {jitter_ms} ms: {all:.3} bytes a sample");
    all
}

/// The random parts alone are 10.25 bits, 1.28 bytes a sample: nothing that keeps all of them is smaller.
#[test]
fn samples_take_little_more_than_their_random_part() {
    assert!(bytes_a_sample(2048, 0) < 1.36);
    assert!(bytes_a_sample(960, 0) < 1.40);
    assert!(bytes_a_sample(240, 0) < 1.50);
    assert!(bytes_a_sample(2048, 7) < 1.36 + 0.52);
}
