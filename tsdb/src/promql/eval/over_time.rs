//! Functions of one window: `*_over_time`, regression, smoothing.

use super::kahan::{Mean, Sum};
use super::rate;
use super::windowed::Window;
use crate::promql::plan::Windowed;

/// Applies a function to a window; `param` gives its other arguments.
pub(super) fn apply(which: Windowed, window: Window<'_>, param: impl Fn(usize) -> f64) -> Option<f64> {
    let values = window.values;
    let (first, last) = (values[0], values[values.len() - 1]);
    let seconds = |index: usize| window.t_ms[index] as f64 / 1000.0;
    match which {
        Windowed::Sum => {
            let mut sum = Sum::default();
            values.iter().for_each(|value| sum.add(*value));
            Some(sum.total())
        }
        Windowed::Avg => {
            let mut mean = Mean::of(first);
            values[1..].iter().for_each(|value| mean.add(*value));
            Some(mean.mean())
        }
        Windowed::Count => Some(values.len() as f64),
        Windowed::Present | Windowed::Absent => Some(1.0),
        Windowed::First => Some(first),
        Windowed::Last => Some(last),
        Windowed::TsOfFirst => Some(seconds(0)),
        Windowed::TsOfLast => Some(seconds(values.len() - 1)),
        Windowed::TsOfMin => Some(seconds(last_where(values, |new, best| new <= best))),
        Windowed::TsOfMax => Some(seconds(last_where(values, |new, best| new >= best))),
        Windowed::Stdvar => Some(variance(values)),
        Windowed::Stddev => Some(variance(values).sqrt()),
        Windowed::Quantile => Some(quantile(param(0), &mut values.to_vec())),
        Windowed::Mad if values.iter().any(|value| value.is_nan()) => Some(f64::NAN),
        Windowed::Mad => {
            let median = quantile(0.5, &mut values.to_vec());
            let mut distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
            Some(quantile(0.5, &mut distances))
        }
        Windowed::Changes => {
            let differs = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
            Some(values.windows(2).filter(differs).count() as f64)
        }
        Windowed::Delta => rate::extrapolated(window, None, false),
        Windowed::Irate => rate::instant(window, true),
        Windowed::Idelta => rate::instant(window, false),
        Windowed::Deriv => (values.len() > 1).then(|| regression(window, window.t_ms[0]).0),
        Windowed::PredictLinear => (values.len() > 1).then(|| {
            let (slope, intercept) = regression(window, window.at_ms);
            slope * param(0) + intercept
        }),
        Windowed::DoubleExponentialSmoothing => smoothed(values, param(0), param(1)),
        // These are swept, see `Extremes` and `rate::counter`.
        Windowed::Min | Windowed::Max | Windowed::Rate | Windowed::Increase | Windowed::Resets => None,
    }
}

/// Minimum or maximum of windows that move forward, each sample looked at twice in all.
///
/// A window is two parts: of the older one the extremes of all its ends are known, of the newer one that
/// of the whole. When the older part is used up the whole window becomes it. There is no branch in this
/// that depends on the values, which for noise cannot be predicted.
pub(super) struct Extremes {
    max: bool,
    /// Extremes from each sample of the older part to its end.
    ends: Vec<f64>,
    /// Where the older part begins, and where the newer does.
    older: usize,
    newer: usize,
    /// Extreme of the newer part, NaN when it is empty.
    extreme: f64,
    /// Samples up to here have been looked at.
    seen: usize,
}

impl Extremes {
    /// For `min_over_time` and `max_over_time`; `None` for all others.
    pub(super) fn of(which: Windowed) -> Option<Self> {
        let max = match which {
            Windowed::Max => true,
            Windowed::Min => false,
            _ => return None,
        };
        Some(Self { max, ends: Vec::new(), older: 0, newer: 0, extreme: f64::NAN, seen: 0 })
    }

    /// The extreme of samples `from..to`, which is not empty; NaN only when all are NaN. Of equal values
    /// it is the first one, as a scan from the left finds it (0 and -0).
    pub(super) fn advance(&mut self, values: &[f64], from: usize, to: usize) -> f64 {
        if self.max {
            self.advance_by(values, from, to, |earlier, later| later > earlier)
        } else {
            self.advance_by(values, from, to, |earlier, later| later < earlier)
        }
    }

    #[inline]
    fn advance_by(
        &mut self,
        values: &[f64],
        from: usize,
        to: usize,
        better: impl Fn(f64, f64) -> bool,
    ) -> f64 {
        let of = |earlier: f64, later: f64| {
            if better(earlier, later) | earlier.is_nan() { later } else { earlier }
        };
        if from >= self.newer {
            (self.older, self.newer, self.seen) = (from, to, to);
            self.extreme = f64::NAN;
            self.ends.clear();
            self.ends.resize(to - from, f64::NAN);
            let mut extreme = f64::NAN;
            for (end, value) in self.ends.iter_mut().zip(&values[from..to]).rev() {
                extreme = of(*value, extreme);
                *end = extreme;
            }
            return extreme;
        }
        for value in &values[self.seen..to] {
            self.extreme = of(self.extreme, *value);
        }
        self.seen = to;
        of(self.ends[from - self.older], self.extreme)
    }
}

/// Index of the best value, the last one when several are.
fn last_where(values: &[f64], better: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if better(*value, values[best]) || values[best].is_nan() {
            best = at;
        }
    }
    best
}

/// Population variance in one pass, compensated.
fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares, mut count) = (Sum::default(), Sum::default(), 0.0);
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.lost);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.lost)));
    }
    (squares.sum + squares.lost) / count
}

/// The `q`-quantile, between the two nearest values where it falls between them. NaN counts as the
/// smallest; reorders `values`.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| {
        b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
    });
    let top = (values.len() - 1) as f64;
    let rank = q * top;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(top);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

/// Least squares: slope per second, and value at `intercept_ms`.
fn regression(window: Window<'_>, intercept_ms: i64) -> (f64, f64) {
    let first = window.values[0];
    if window.values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (t_ms, y) in window.t_ms.iter().zip(window.values) {
        let x = (t_ms - intercept_ms) as f64 / 1e3;
        x_sum.add(x);
        y_sum.add(*y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let n = window.values.len() as f64;
    let [x, y, xy, xx] = [x_sum, y_sum, xy_sum, xx_sum].map(|sum| sum.sum + sum.lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// Double exponential smoothing: level with factor `sf`, trend with factor `tf`.
fn smoothed(values: &[f64], sf: f64, tf: f64) -> Option<f64> {
    let second = *values.get(1)?;
    let (mut before, mut level, mut trend) = (0.0, values[0], second - values[0]);
    for (i, value) in values.iter().enumerate().skip(1) {
        if i > 1 {
            trend = tf * (level - before) + (1.0 - tf) * trend;
        }
        let next = sf * value + (1.0 - sf) * (level + trend);
        (before, level) = (level, next);
    }
    Some(level)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn extremes_of_moving_windows_are_those_of_a_scan(
            values in prop::collection::vec(
                prop_oneof![Just(f64::NAN), Just(0.0), Just(-0.0), Just(f64::INFINITY), -3.0..3.0f64], 1..60),
            moves in prop::collection::vec((0usize..9, 0usize..9), 1..40),
        ) {
            for which in [Windowed::Min, Windowed::Max] {
                let mut extremes = Extremes::of(which).unwrap();
                let (mut from, mut to) = (0, 0);
                for (a, b) in &moves {
                    to = (to + a).min(values.len());
                    from = (from + b).min(to);
                    if from == to {
                        continue;
                    }
                    let scan = values[from..to].iter().copied().fold(f64::NAN, |best, value| {
                        let better = if which == Windowed::Max { value > best } else { value < best };
                        if better || best.is_nan() { value } else { best }
                    });
                    let have = extremes.advance(&values, from, to);
                    prop_assert!(have.to_bits() == scan.to_bits() || (have.is_nan() && scan.is_nan()));
                }
            }
        }
    }
}
