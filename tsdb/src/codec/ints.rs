//! Columns of integers: differenced, divided by what they have in common, bit-packed, with the few
//! large ones as patches.

use super::Corrupt;
use super::bits::{pack, packed_len, stored_width, unpack};
use super::varint::{Reader, bytes_of_bits, put_signed, put_unsigned, unzigzag, zigzag};

/// Residuals are unsigned distances from a base instead of zigzagged.
const FLAG_BASE: u8 = 4;
/// How often the column is differenced (0 to 2) is in the low two bits.
const MASK_ORDER: u8 = 3;
/// Bytes that a patch needs besides its value: the distance to the patch before.
const PATCH_INDEX_BYTES: usize = 2;

/// One way to encode a column.
struct Plan {
    order: u8,
    base: Option<i64>,
    divisor: u64,
    width: u32,
    bytes: usize,
}

/// Encodes `values`; all arithmetic wraps, so that every column survives.
pub(super) fn encode(values: &[i64], out: &mut Vec<u8>) {
    let mut columns: [Vec<i64>; 3] = [values.to_vec(), Vec::new(), Vec::new()];
    let mut best: Option<Plan> = None;
    for order in 0..3usize {
        if order > 0 {
            if values.len() <= order {
                break;
            }
            let previous = &columns[order - 1];
            columns[order] = previous.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        }
        let plan = plan(&columns[order], order as u8);
        if best.as_ref().is_none_or(|best| plan.bytes < best.bytes) {
            best = Some(plan);
        }
    }
    let Some(plan) = best else { return };
    let column = &columns[plan.order as usize];
    out.push(plan.order | if plan.base.is_some() { FLAG_BASE } else { 0 });
    for head in columns.iter().take(plan.order as usize) {
        put_signed(out, head[0]);
    }
    if let Some(base) = plan.base {
        put_signed(out, base);
    }
    put_unsigned(out, plan.divisor);
    let residual = |value: &i64| residual(*value, plan.base, plan.divisor);
    let fits = |residual: u64| plan.width == 64 || residual >> plan.width == 0;
    out.push(plan.width as u8);
    let patches: Vec<(usize, u64)> =
        column.iter().map(residual).enumerate().filter(|(_, residual)| !fits(*residual)).collect();
    put_unsigned(out, patches.len() as u64);
    let mut previous = 0;
    for (at, residual) in patches {
        put_unsigned(out, (at - previous) as u64);
        put_unsigned(out, residual);
        previous = at;
    }
    pack(column.iter().map(residual), plan.width, out);
}

fn residual(value: i64, base: Option<i64>, divisor: u64) -> u64 {
    match base {
        // Dividing is slow, and seldom needed.
        Some(base) if divisor == 1 => value.wrapping_sub(base) as u64,
        Some(base) => (value.wrapping_sub(base) as u64) / divisor,
        None if divisor == 1 => zigzag(value),
        None => zigzag(value / divisor as i64),
    }
}

/// The cheapest width for one column, over both ways to make residuals unsigned.
fn plan(column: &[i64], order: u8) -> Plan {
    let min = column.iter().copied().min().unwrap_or(0);
    let max = column.iter().copied().max().unwrap_or(0);
    let based_divisor = common_divisor(column.iter().map(|v| v.wrapping_sub(min) as u64));
    let (width, cost) = width(column, Some(min), based_divisor);
    let mut best = Plan { order, base: Some(min), divisor: based_divisor, width, bytes: cost };
    // Zigzag wins where single values lie far below the others and would spoil the base.
    if min < 0 || max > 0 {
        // i64::MIN has no positive counterpart to divide by.
        let divisor = common_divisor(column.iter().map(|v| v.unsigned_abs()));
        let divisor = if divisor > i64::MAX as u64 { 1 } else { divisor };
        let (width, cost) = self::width(column, None, divisor);
        if cost < best.bytes {
            best = Plan { order, base: None, divisor, width, bytes: cost };
        }
    }
    best.bytes += usize::from(order) * 6;
    best
}

fn width(column: &[i64], base: Option<i64>, divisor: u64) -> (u32, usize) {
    let mut counts = [0usize; 65];
    for value in column {
        counts[(64 - residual(*value, base, divisor).leading_zeros()) as usize] += 1;
    }
    let (mut best, mut patched) = ((64, usize::MAX), 0usize);
    for bits in (0..=64u32).rev() {
        let width = stored_width(bits);
        let cost = packed_len(column.len(), width) + patched;
        if cost < best.1 {
            best = (width, cost);
        }
        patched += counts[bits as usize] * (PATCH_INDEX_BYTES + bytes_of_bits(bits));
    }
    let base_bytes = base.map_or(0, |base| bytes_of_bits(64 - zigzag(base).leading_zeros()));
    (best.0, best.1 + base_bytes)
}

/// The largest number that divides all; 1 when there is none.
fn common_divisor(values: impl Iterator<Item = u64>) -> u64 {
    let mut divisor = 0u64;
    for value in values {
        let (mut a, mut b) = (divisor, value);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            break;
        }
    }
    divisor.max(1)
}

/// Appends `count` integers.
pub(super) fn decode(reader: &mut Reader, count: usize, out: &mut Vec<i64>) -> Result<(), Corrupt> {
    let flags = reader.byte()?;
    let order = usize::from(flags & MASK_ORDER);
    if flags & !(MASK_ORDER | FLAG_BASE) != 0 || order > 2 || order >= count.max(1) {
        return Err(Corrupt("unknown flags of an integer column"));
    }
    let mut heads = [0i64; 2];
    for head in heads.iter_mut().take(order) {
        *head = reader.signed()?;
    }
    let base = if flags & FLAG_BASE != 0 { Some(reader.signed()?) } else { None };
    let divisor = reader.unsigned()?;
    let width = u32::from(reader.byte()?);
    let patches = reader.unsigned()? as usize;
    let rest = count - order;
    if patches > rest {
        return Err(Corrupt("more patches than integers"));
    }
    let mut patched = Vec::with_capacity(patches.min(1024));
    let mut at = 0usize;
    for _ in 0..patches {
        at = at.saturating_add(reader.unsigned()? as usize);
        if at >= rest {
            return Err(Corrupt("a patch lies outside of its column"));
        }
        patched.push((at, reader.unsigned()?));
    }
    let mut residuals = Vec::new();
    unpack(reader.bytes(packed_len(rest, width.min(64)))?, width, rest, &mut residuals)?;
    for (at, residual) in patched {
        residuals[at] = residual;
    }
    let start = out.len();
    out.extend_from_slice(&heads[..order]);
    match base {
        Some(base) => {
            out.extend(residuals.iter().map(|r| r.wrapping_mul(divisor).wrapping_add(base as u64) as i64));
        }
        None => out.extend(residuals.iter().map(|r| unzigzag(*r).wrapping_mul(divisor as i64))),
    }
    let column = &mut out[start..];
    match order {
        1 => sum_up(column),
        2 => {
            // `heads` are the first value and the first difference: sum the differences, then the values.
            sum_up(&mut column[1..]);
            sum_up(column);
        }
        _ => {}
    }
    Ok(())
}

fn sum_up(column: &mut [i64]) {
    let mut sum = 0i64;
    for value in column {
        sum = sum.wrapping_add(*value);
        *value = sum;
    }
}
