//! Values that are decimal numbers: scaled by a power of ten they are integers.

use super::varint::{Reader, put_unsigned};
use super::{Corrupt, ints};

/// Largest power of ten tried: CPU times have nine digits, percentages seldom more than twelve.
const MAX_EXPONENT: usize = 12;
/// Integers beyond this are not exact in a double.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// One value in so many may be an exception (a staleness marker, an infinity, noise).
const EXCEPTION_SHARE: usize = 16;
/// Values on which an exponent is tried before all are.
const PROBES: usize = 16;

const POWERS: [f64; MAX_EXPONENT + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// Encodes `values` and returns true, or leaves `out` as it was when they are not decimal.
pub(super) fn encode(values: &[f64], out: &mut Vec<u8>) -> bool {
    let Some(exponent) = exponent(values) else { return false };
    let power = POWERS[exponent];
    let mut scaled = Vec::with_capacity(values.len());
    let mut exceptions: Vec<(usize, u64)> = Vec::new();
    let allowed = values.len() / EXCEPTION_SHARE + 1;
    let mut previous = 0;
    for (at, value) in values.iter().enumerate() {
        match to_integer(*value, power) {
            Some(integer) => {
                if exceptions.len() == at {
                    // Exceptions at the front take the first integer, so that differences stay small.
                    scaled.iter_mut().for_each(|s| *s = integer);
                }
                previous = integer;
            }
            None => {
                exceptions.push((at, value.to_bits()));
                if exceptions.len() > allowed {
                    return false;
                }
            }
        }
        scaled.push(previous);
    }
    out.push(exponent as u8);
    put_unsigned(out, exceptions.len() as u64);
    let mut last = 0;
    for (at, bits) in exceptions {
        put_unsigned(out, (at - last) as u64);
        out.extend_from_slice(&bits.to_le_bytes());
        last = at;
    }
    ints::encode(&scaled, out);
    true
}

/// The smallest exponent under which (nearly) all of a sample of the values become integers.
fn exponent(values: &[f64]) -> Option<usize> {
    let stride = (values.len() / PROBES).max(1);
    let (mut need, mut failed, mut tried) = (0, 0, 0);
    for value in values.iter().step_by(stride).filter(|v| v.is_finite()) {
        tried += 1;
        match (need..=MAX_EXPONENT).find(|e| to_integer(*value, POWERS[*e]).is_some()) {
            Some(exponent) => need = exponent,
            None => failed += 1,
        }
    }
    (failed * 8 <= tried).then_some(need)
}

/// The integer that stands for `value`, when dividing it gives back exactly the same bits.
#[inline]
fn to_integer(value: f64, power: f64) -> Option<i64> {
    let scaled = (value * power).round_ties_even();
    // Through the integer and back, which negative zero does not survive.
    let integer = scaled as i64;
    (scaled.abs() < EXACT && (integer as f64 / power).to_bits() == value.to_bits()).then_some(integer)
}

/// Appends `count` values.
pub(super) fn decode(reader: &mut Reader, count: usize, out: &mut Vec<f64>) -> Result<(), Corrupt> {
    let power = *POWERS.get(usize::from(reader.byte()?)).ok_or(Corrupt("exponent is out of range"))?;
    let number = reader.unsigned()? as usize;
    if number > count {
        return Err(Corrupt("more exceptions than values"));
    }
    let mut exceptions = Vec::with_capacity(number.min(1024));
    let mut at = 0usize;
    for _ in 0..number {
        at = at.saturating_add(reader.unsigned()? as usize);
        if at >= count {
            return Err(Corrupt("an exception lies outside of its column"));
        }
        exceptions.push((at, f64::from_bits(reader.fixed()?)));
    }
    let mut scaled = Vec::with_capacity(count);
    ints::decode(reader, count, &mut scaled)?;
    let start = out.len();
    if power == 1.0 {
        out.extend(scaled.iter().map(|s| *s as f64));
    } else {
        out.extend(scaled.iter().map(|s| *s as f64 / power));
    }
    for (at, value) in exceptions {
        out[start + at] = value;
    }
    Ok(())
}
