//! Samples of a series summed up by buckets of time: what a rollup holds, and what functions over
//! ranges can be answered from without a difference in the last bit.

use binnacle_proto::is_stale;

use super::Points;

/// Integers up to this, and sums of integers below it, are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Samples of a series by buckets, as columns; staleness markers are left out. A bucket is open on the
/// left, as the ranges of PromQL are: `(end - width, end]`. Buckets without samples are not there.
#[derive(Debug, Clone, Default)]
pub struct Segments {
    /// Right ends of the buckets in milliseconds since the epoch, strictly ascending.
    pub end_ms: Vec<i64>,
    /// Times of the first samples.
    pub first_ms: Vec<i64>,
    /// Times of the last samples.
    pub last_ms: Vec<i64>,
    /// Numbers of samples.
    pub count: Vec<i64>,
    /// First values.
    pub first: Vec<f64>,
    /// Last values.
    pub last: Vec<f64>,
    /// Smallest values, the first of equal ones; NaN when all are.
    pub min: Vec<f64>,
    /// Largest values, the first of equal ones; NaN when all are.
    pub max: Vec<f64>,
    /// Sums; NaN where they are not exact, because values are no integers or too large.
    pub sum: Vec<f64>,
    /// Pairs of neighbours within a bucket that differ.
    pub changes: Vec<i64>,
    /// Falls within buckets, in order: index of the bucket, and the value before the fall.
    pub falls: Vec<(usize, f64)>,
    /// Whether `falls` are missing, because there are too many to be worth their space.
    pub falls_unknown: bool,
}

/// The right end of the bucket that an instant is in.
pub(crate) fn bucket_end_ms(t_ms: i64, width_ms: i64) -> i64 {
    (t_ms - 1).div_euclid(width_ms).saturating_add(1).saturating_mul(width_ms)
}

/// Whether two neighbours count as a change: NaN is equal to NaN here.
pub(crate) fn differ(before: f64, after: f64) -> bool {
    before != after && !(before.is_nan() && after.is_nan())
}

/// The sum of integers whose magnitudes sum up to less than can be exact.
fn exact_sum(sum: f64, count: i64, min: f64, max: f64) -> f64 {
    let bound = count as f64 * min.abs().max(max.abs());
    if bound < EXACT { sum } else { f64::NAN }
}

impl Segments {
    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.end_ms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.end_ms.is_empty()
    }

    /// Empties all columns and keeps their memory.
    pub fn clear(&mut self) {
        for column in [&mut self.end_ms, &mut self.first_ms, &mut self.last_ms] {
            column.clear();
        }
        for column in [&mut self.first, &mut self.last, &mut self.min, &mut self.max, &mut self.sum] {
            column.clear();
        }
        self.count.clear();
        self.changes.clear();
        self.falls.clear();
        self.falls_unknown = false;
    }

    /// Adds samples that are later than all before.
    pub fn push_samples(&mut self, points: &Points, width_ms: i64) {
        for (t_ms, value) in points.timestamps.iter().zip(&points.values) {
            if !is_stale(*value) {
                self.push(*t_ms, *value, bucket_end_ms(*t_ms, width_ms));
            }
        }
    }

    fn push(&mut self, t_ms: i64, value: f64, end_ms: i64) {
        // Negative zero is no integer here: a sum of it alone would have another sign.
        let integer = value.trunc() == value && (value != 0.0 || value.is_sign_positive());
        let term = if integer { value } else { f64::NAN };
        let Some(at) = self.len().checked_sub(1).filter(|at| self.end_ms[*at] == end_ms) else {
            self.end_ms.push(end_ms);
            self.first_ms.push(t_ms);
            self.last_ms.push(t_ms);
            self.count.push(1);
            self.first.push(value);
            self.last.push(value);
            self.min.push(value);
            self.max.push(value);
            self.sum.push(exact_sum(term, 1, value, value));
            self.changes.push(0);
            return;
        };
        let before = self.last[at];
        if value < before {
            self.falls.push((at, before));
        }
        self.changes[at] += i64::from(differ(before, value));
        self.extend(at, (t_ms, value), 1, (value, value), term);
    }

    /// Makes a bucket end with later samples.
    fn extend(&mut self, at: usize, last: (i64, f64), count: i64, (min, max): (f64, f64), sum: f64) {
        (self.last_ms[at], self.last[at]) = last;
        self.count[at] += count;
        if min < self.min[at] || self.min[at].is_nan() {
            self.min[at] = min;
        }
        if max > self.max[at] || self.max[at].is_nan() {
            self.max[at] = max;
        }
        self.sum[at] = exact_sum(self.sum[at] + sum, self.count[at], self.min[at], self.max[at]);
    }

    /// Adds the buckets of `other`, all later than those here; only the first may be the same bucket as
    /// the last one here, with later samples.
    pub fn append(&mut self, other: &Self) {
        self.falls_unknown |= other.falls_unknown;
        let joins = !other.is_empty() && self.end_ms.last() == Some(&other.end_ms[0]);
        let from = usize::from(joins);
        let base = self.len() - from;
        if joins {
            let before = self.last[base];
            if other.first[0] < before {
                self.falls.push((base, before));
            }
            self.changes[base] += other.changes[0] + i64::from(differ(before, other.first[0]));
            let last = (other.last_ms[0], other.last[0]);
            self.extend(base, last, other.count[0], (other.min[0], other.max[0]), other.sum[0]);
        }
        self.falls.extend(other.falls.iter().map(|(at, value)| (base + at, *value)));
        self.end_ms.extend_from_slice(&other.end_ms[from..]);
        self.first_ms.extend_from_slice(&other.first_ms[from..]);
        self.last_ms.extend_from_slice(&other.last_ms[from..]);
        self.count.extend_from_slice(&other.count[from..]);
        self.first.extend_from_slice(&other.first[from..]);
        self.last.extend_from_slice(&other.last[from..]);
        self.min.extend_from_slice(&other.min[from..]);
        self.max.extend_from_slice(&other.max[from..]);
        self.sum.extend_from_slice(&other.sum[from..]);
        self.changes.extend_from_slice(&other.changes[from..]);
    }

    /// Keeps the buckets that end within `first_end_ms..=last_end_ms`.
    pub fn keep(&mut self, first_end_ms: i64, last_end_ms: i64) {
        let from = self.end_ms.partition_point(|end_ms| *end_ms < first_end_ms);
        let to = self.end_ms.partition_point(|end_ms| *end_ms <= last_end_ms).max(from);
        if (from, to) == (0, self.len()) {
            return;
        }
        for column in [&mut self.end_ms, &mut self.first_ms, &mut self.last_ms, &mut self.count] {
            column.truncate(to);
            column.drain(..from);
        }
        for column in [&mut self.first, &mut self.last, &mut self.min, &mut self.max, &mut self.sum] {
            column.truncate(to);
            column.drain(..from);
        }
        self.changes.truncate(to);
        self.changes.drain(..from);
        self.falls.retain(|(at, _)| (from..to).contains(at));
        self.falls.iter_mut().for_each(|(at, _)| *at -= from);
    }

    /// Memory in use, for the account of a query.
    pub(crate) fn bytes(&self) -> u64 {
        (self.len() * 10 * size_of::<i64>() + size_of_val(self.falls.as_slice())) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(samples: &[(i64, f64)]) -> Points {
        let (timestamps, values) = samples.iter().copied().unzip();
        Points { timestamps, values }
    }

    #[test]
    fn buckets_are_open_on_the_left_and_hold_what_is_needed() {
        let mut segments = Segments::default();
        let stale = binnacle_proto::STALE_NAN;
        segments.push_samples(
            &points(&[(-10, 1.0), (0, 5.0), (1, 3.0), (5, 3.0), (10, 1.0), (15, stale), (20, 0.5)]),
            10,
        );
        assert_eq!(segments.end_ms, [-10, 0, 10, 20]);
        assert_eq!(segments.count, [1, 1, 3, 1]);
        assert_eq!((&segments.first_ms[2], &segments.last_ms[2]), (&1, &10));
        assert_eq!((segments.min[2], segments.max[2], segments.sum[2]), (1.0, 3.0, 7.0));
        assert!(segments.sum[3].is_nan());
        assert_eq!(segments.changes, [0, 0, 1, 0]);
        assert_eq!(segments.falls, [(2, 3.0)]);
    }

    #[test]
    fn appending_is_the_same_as_pushing_all_at_once() {
        let all: Vec<(i64, f64)> = (0..100).map(|i| (i * 7, f64::from((i * i % 13) as u8))).collect();
        let mut want = Segments::default();
        want.push_samples(&points(&all), 50);
        for cut in 0..all.len() {
            let (mut have, mut rest) = (Segments::default(), Segments::default());
            have.push_samples(&points(&all[..cut]), 50);
            rest.push_samples(&points(&all[cut..]), 50);
            have.append(&rest);
            assert_eq!(format!("{have:?}"), format!("{want:?}"));
        }
        want.keep(100, 200);
        let mut have = Segments::default();
        have.push_samples(
            &points(&all.iter().copied().filter(|(t, _)| *t > 50 && *t <= 200).collect::<Vec<_>>()),
            50,
        );
        assert_eq!(format!("{have:?}"), format!("{want:?}"));
    }

    #[test]
    fn a_sum_that_would_not_be_exact_is_not_there() {
        for values in [[0.5, 0.5], [-0.0, 1.0], [f64::NAN, 1.0], [9e15, 9e15], [f64::INFINITY, 1.0]] {
            let mut segments = Segments::default();
            segments.push_samples(&points(&[(1, values[0]), (2, values[1])]), 10);
            assert!(segments.sum[0].is_nan(), "{values:?}");
        }
    }
}
