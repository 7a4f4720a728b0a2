//! `rate`, `increase`, `delta` and their instant forms.

use super::windowed::Window;
use crate::promql::plan::Windowed;

/// Where a counter's value falls, within one series; windows must be asked in ascending order.
pub(super) struct Resets<'a> {
    values: &'a [f64],
    /// Indices of samples smaller than the one before.
    at: Vec<usize>,
    /// First of `at` that may concern the next window.
    next: usize,
}

impl<'a> Resets<'a> {
    /// Finds all resets of a series.
    pub(super) fn of(values: &'a [f64]) -> Self {
        let falls = |(i, pair): (usize, &[f64])| (pair[1] < pair[0]).then_some(i + 1);
        Self { values, at: values.windows(2).enumerate().filter_map(falls).collect(), next: 0 }
    }

    /// What resets within the window took from the counter, and how many there were.
    fn within(&mut self, first: usize, len: usize) -> (f64, usize) {
        // A reset at the window's first sample lies between it and one that is not in the window.
        while self.next < self.at.len() && self.at[self.next] <= first {
            self.next += 1;
        }
        let found = self.at[self.next..].iter().take_while(|at| **at < first + len);
        found.fold((0.0, 0), |(lost, count), at| (lost + self.values[at - 1], count + 1))
    }
}

/// Whether a function looks at counter resets.
pub(super) fn needs_resets(which: Windowed) -> bool {
    matches!(which, Windowed::Rate | Windowed::Increase | Windowed::Resets)
}

/// A function that looks at counter resets.
pub(super) fn counter(which: Windowed, window: Window<'_>, resets: &mut Resets<'_>) -> Option<f64> {
    match which {
        Windowed::Resets => Some(resets.within(window.first, window.values.len()).1 as f64),
        _ => extrapolated(window, Some(resets), which == Windowed::Rate),
    }
}

/// The change over the window, extended to its ends where the series seems to reach them. A counter
/// comes with its resets; a rate is per second.
pub(super) fn extrapolated(
    window: Window<'_>,
    resets: Option<&mut Resets<'_>>,
    is_rate: bool,
) -> Option<f64> {
    let last = window.values.len() - 1;
    if last == 0 {
        return None;
    }
    let is_counter = resets.is_some();
    let mut change = window.values[last] - window.values[0];
    if let Some(resets) = resets {
        // Added one by one, in order, so that the sum rounds as Prometheus' does.
        while resets.next < resets.at.len() && resets.at[resets.next] <= window.first {
            resets.next += 1;
        }
        let end = window.first + window.values.len();
        for at in resets.at[resets.next..].iter().take_while(|at| **at < end) {
            change += resets.values[at - 1];
        }
    }
    let ends = Ends {
        first_ms: window.t_ms[0],
        last_ms: window.t_ms[last],
        first: window.values[0],
        samples: window.values.len(),
        start_ms: window.start_ms,
        end_ms: window.end_ms,
    };
    extended(ends, change, is_counter, is_rate)
}

/// A window, and the samples at its ends.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// Value of the first sample.
    pub(super) first: f64,
    pub(super) samples: usize,
    /// The window's open left end.
    pub(super) start_ms: i64,
    /// The window's right end.
    pub(super) end_ms: i64,
}

/// A change between two samples, extended to the window's ends where the series seems to reach them.
pub(super) fn extended(ends: Ends, change: f64, is_counter: bool, is_rate: bool) -> Option<f64> {
    if ends.samples < 2 {
        return None;
    }
    let mut to_start = (ends.first_ms - ends.start_ms) as f64 / 1000.0;
    let mut to_end = (ends.end_ms - ends.last_ms) as f64 / 1000.0;
    let sampled = (ends.last_ms - ends.first_ms) as f64 / 1000.0;
    let between = sampled / (ends.samples - 1) as f64;
    // Within 1.1 sample distances of an end the series is taken to reach it; else it is taken to begin
    // or end half a distance away from its first or last sample.
    let near = between * 1.1;
    if to_start >= near {
        to_start = between / 2.0;
    }
    if is_counter && change > 0.0 && ends.first >= 0.0 {
        // A counter cannot have been below zero.
        let to_zero = sampled * (ends.first / change);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= near {
        to_end = between / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if is_rate {
        factor /= (ends.end_ms - ends.start_ms) as f64 / 1000.0;
    }
    Some(change * factor)
}

/// `irate` and `idelta`: from the last two samples.
pub(super) fn instant(window: Window<'_>, is_rate: bool) -> Option<f64> {
    let last = window.values.len() - 1;
    let before = last.checked_sub(1)?;
    let apart_ms = window.t_ms[last] - window.t_ms[before];
    if apart_ms == 0 {
        return None;
    }
    let (old, new) = (window.values[before], window.values[last]);
    // After a reset the counter has counted from zero.
    let change = if is_rate && new < old { new } else { new - old };
    Some(if is_rate { change / (apart_ms as f64 / 1000.0) } else { change })
}
