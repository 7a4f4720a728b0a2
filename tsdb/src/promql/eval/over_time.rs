//! Functions of one window: `*_over_time`, regression, smoothing.

use std::collections::VecDeque;

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
pub(super) struct Extremes {
    max: bool,
    /// Indices of samples that may still become the extreme, best first.
    candidates: VecDeque<usize>,
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
        Some(Self { max, candidates: VecDeque::new(), seen: 0 })
    }

    /// The extreme of samples `from..to`, which is not empty; NaN only when all are NaN.
    pub(super) fn advance(&mut self, values: &[f64], from: usize, to: usize) -> f64 {
        for at in self.seen.max(from)..to {
            let value = values[at];
            if value.is_nan() {
                continue;
            }
            // Of equal values the first stays the answer, as a scan from the left finds it (0 and -0).
            while let Some(last) = self.candidates.back() {
                let kept = values[*last];
                if if self.max { kept < value } else { kept > value } {
                    self.candidates.pop_back();
                } else {
                    break;
                }
            }
            self.candidates.push_back(at);
        }
        self.seen = to;
        while self.candidates.front().is_some_and(|at| *at < from) {
            self.candidates.pop_front();
        }
        self.candidates.front().map_or(f64::NAN, |at| values[*at])
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
