//! Feeds decoders and endpoints with noise and with valid input that was damaged. Without coverage as a
//! guide, which the stable compiler does not give; the damage begins from inputs that reach deep.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::random::Random;

/// Longest input made from nothing, in bytes.
const NOISE: usize = 300;
/// Most changes made to a valid input.
const CHANGES: usize = 6;
/// Values that decoders tend to trip over.
const SPECIAL: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'\\'];

/// Inputs for one entrance: seeds damaged in turn, and noise.
pub struct Inputs {
    random: Random,
    seeds: Vec<Vec<u8>>,
}

impl Inputs {
    /// Inputs that depend on `seed` and on the valid ones alone.
    pub fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        Self { random: Random::new(seed), seeds }
    }

    /// The next input.
    pub fn make(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        if self.seeds.is_empty() || random.chance(5) {
            let len = random.below(NOISE);
            return (0..len).map(|_| random.bits() as u8).collect();
        }
        let mut input = self.seeds[random.below(self.seeds.len())].clone();
        for _ in 0..random.below(CHANGES + 1) {
            damage(random, &mut input, &self.seeds);
        }
        input
    }
}

fn damage(random: &mut Random, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    if input.is_empty() {
        input.push(random.bits() as u8);
        return;
    }
    let at = random.below(input.len());
    match random.below(8) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = SPECIAL[random.below(SPECIAL.len())],
        2 => input.truncate(at),
        3 => input.insert(at, SPECIAL[random.below(SPECIAL.len())]),
        4 => drop(input.drain(at..(at + random.below(9)).min(input.len()))),
        5 => {
            // A piece of it again, somewhere else.
            let piece = input[at..(at + random.below(40)).min(input.len())].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, piece);
        }
        6 => {
            // A number of full width.
            let end = (at + 4).min(input.len());
            let number = random.bits().to_le_bytes();
            input[at..end].copy_from_slice(&number[..end - at]);
        }
        _ => {
            let other = &seeds[random.below(seeds.len())];
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len().max(1)).min(other.len())..]);
        }
    }
}

/// Calls `target` with inputs for so long; how many there were.
///
/// # Errors
/// The first input on which it panics.
#[expect(clippy::disallowed_methods, reason = "the time decides only when to stop")]
pub fn run(name: &str, mut inputs: Inputs, target: fn(&[u8]), time: Duration) -> Result<u64, String> {
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < time {
        let input = inputs.make();
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(format!("{name} panics on {} ({hex})", String::from_utf8_lossy(&input)));
        }
        number += 1;
    }
    Ok(number)
}
