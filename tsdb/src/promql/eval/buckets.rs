//! Quantiles and fractions of classic histograms: cumulative buckets with upper bounds.

/// Counts may decrease by this share without being called an error: summing rates rounds.
const TOLERANCE: f64 = 1e-12;

/// One bucket: observations up to a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    /// Upper bound, inclusive.
    pub(super) le: f64,
    /// Observations up to it.
    pub(super) count: f64,
}

/// The `q`-quantile, and whether counts had to be corrected to ascend. NaN when the buckets do not end
/// with +Inf or hold nothing. Linear within a bucket; the lowest begins at 0 when its bound is above.
pub(super) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    let Some(forced) = prepare(buckets) else { return (f64::NAN, false) };
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, false);
    }
    let rank = q * observations;
    // By halves as Prometheus does it, so that even counts that are NaN lead to the same bucket.
    let (mut at, mut end) = (0, last);
    while at < end {
        let middle = (at + end) / 2;
        if buckets[middle].count >= rank { end = middle } else { at = middle + 1 }
    }
    let value = if at == last {
        buckets[last - 1].le
    } else if at == 0 && buckets[0].le <= 0.0 {
        buckets[0].le
    } else {
        let below = if at == 0 { Bucket { le: 0.0, count: 0.0 } } else { buckets[at - 1] };
        let within = (rank - below.count) / (buckets[at].count - below.count);
        below.le + (buckets[at].le - below.le) * within
    };
    (value, forced)
}

/// The share of observations between `lower` and `upper`.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if prepare(buckets).is_none() {
        return f64::NAN;
    }
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if observations == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets) - rank_of(lower, buckets)) / observations
}

/// How many observations lie below a value, taken to be spread evenly within each bucket.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let last = buckets.len() - 1;
    let total = buckets[last].count;
    // The lowest bucket begins at 0 when its bound is above, else nobody knows where.
    let mut below = Bucket { le: if buckets[0].le > 0.0 { 0.0 } else { f64::NEG_INFINITY }, count: 0.0 };
    for bucket in buckets {
        if value <= below.le {
            return below.count;
        }
        if value < bucket.le {
            if below.le.is_infinite() {
                // Nobody knows where the lowest bucket begins: all of it lies below.
                return bucket.count;
            }
            if bucket.le.is_infinite() {
                // Nobody knows where the highest bucket ends: none of it lies below.
                return below.count;
            }
            return below.count + (bucket.count - below.count) * (value - below.le) / (bucket.le - below.le);
        }
        below = *bucket;
    }
    total
}

/// Sorts and merges buckets and makes counts ascend. `None` when the last is not +Inf; else whether
/// counts had to be changed by more than rounding.
fn prepare(buckets: &mut Vec<Bucket>) -> Option<bool> {
    buckets.sort_by(|a, b| a.le.total_cmp(&b.le));
    if !buckets.last().is_some_and(|bucket| bucket.le == f64::INFINITY) {
        return None;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.le == kept.le;
        if same {
            kept.count += next.count;
        }
        same
    });
    let mut forced = false;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if nearly_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            forced = true;
        } else {
            before = bucket.count;
        }
    }
    Some(forced)
}

/// Whether two counts differ by no more than rounding explains.
fn nearly_equal(a: f64, b: f64) -> bool {
    let (distance, size) = ((a - b).abs(), a.abs() + b.abs());
    if a == b || (a.is_nan() && b.is_nan()) {
        true
    } else if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        distance < TOLERANCE * f64::MIN_POSITIVE
    } else {
        distance / size.min(f64::MAX) < TOLERANCE
    }
}
