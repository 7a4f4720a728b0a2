//! Functions over ranges answered from buckets instead of samples, where the answer is the same to the
//! last bit.

use super::over_time::Extremes;
use super::rate::{self, Ends};
use crate::promql::column::{Column, Grid};
use crate::promql::plan::{When, Windowed};
use crate::select::{BUCKETS, Segments, differ};

/// Sums of integers below this are exact.
const EXACT: u128 = 1 << 53;

/// The widest buckets of which all windows are made; 0 when there are none or the function needs
/// every sample.
pub(super) fn bucket_ms(which: Windowed, range_ms: i64, when: When, grid: Grid) -> i64 {
    if !is_answered(which) {
        return 0;
    }
    let moves = grid.steps > 1 && when.fixed_ms.is_none();
    let first_ms = when.reference(grid.at(0));
    let fits = |width_ms: i64| {
        range_ms % width_ms == 0 && first_ms % width_ms == 0 && (!moves || grid.step_ms % width_ms == 0)
    };
    BUCKETS.iter().find(|(width_ms, _)| range_ms > 0 && fits(*width_ms)).map_or(0, |(width_ms, _)| *width_ms)
}

/// What `explain` calls buckets of a width.
pub(super) fn name_of(bucket_ms: i64) -> Option<&'static str> {
    BUCKETS.iter().find(|(width_ms, _)| *width_ms == bucket_ms).map(|(_, name)| *name)
}

fn is_answered(which: Windowed) -> bool {
    use Windowed::{
        Absent, Avg, Changes, Count, Delta, First, Increase, Last, Max, Min, Present, Rate, Resets, Sum,
        TsOfFirst, TsOfLast,
    };
    matches!(
        which,
        Rate | Increase
            | Delta
            | Resets
            | Changes
            | Sum
            | Avg
            | Min
            | Max
            | Count
            | First
            | Last
            | Present
            | Absent
            | TsOfFirst
            | TsOfLast
    )
}

/// The function at every step; `None` when the buckets do not tell exactly.
pub(super) fn column(
    which: Windowed,
    segments: &Segments,
    when: When,
    range_ms: i64,
    grid: Grid,
) -> Option<Column> {
    let mut sweep = Sweep::of(which, segments)?;
    let mut column = Column::absent(grid.steps);
    let (mut from, mut to) = (0, 0);
    for step in 0..grid.steps {
        let end_ms = when.reference(grid.at(step));
        let start_ms = end_ms.saturating_sub(range_ms);
        while to < segments.len() && segments.end_ms[to] <= end_ms {
            to += 1;
        }
        while from < to && segments.end_ms[from] <= start_ms {
            from += 1;
        }
        if from < to {
            column.set(step, sweep.value(from, to, (start_ms, end_ms))?);
        }
    }
    Some(column)
}

/// A fall of the value.
struct Fall {
    /// The bucket that it is in or that begins with it.
    at: usize,
    /// Whether it lies between this bucket and the one before.
    between: bool,
    before: f64,
}

/// One pass over the buckets of a series.
struct Sweep<'a> {
    which: Windowed,
    segments: &'a Segments,
    /// Samples before each bucket.
    counts: Vec<i64>,
    /// Changes before each bucket, those between buckets with the later one.
    changes: Vec<i64>,
    falls: Vec<Fall>,
    next_fall: usize,
    /// Before each bucket: the sum, and a bound of the sum of magnitudes.
    sums: Vec<(i128, u128)>,
    extremes: Option<(Extremes, &'a [f64])>,
}

impl<'a> Sweep<'a> {
    fn of(which: Windowed, segments: &'a Segments) -> Option<Self> {
        let mut sweep = Self {
            which,
            segments,
            counts: Vec::new(),
            changes: Vec::new(),
            falls: Vec::new(),
            next_fall: 0,
            sums: Vec::new(),
            extremes: None,
        };
        match which {
            Windowed::Count => sweep.counts = before_each(&segments.count),
            Windowed::Delta => sweep.counts = before_each(&segments.count),
            Windowed::Rate | Windowed::Increase | Windowed::Resets => {
                if segments.falls_unknown {
                    return None;
                }
                sweep.counts = before_each(&segments.count);
                sweep.falls = falls(segments);
            }
            Windowed::Changes => {
                let of = |(at, within): (usize, &i64)| within + begins_changed(segments, at);
                let changes: Vec<i64> = segments.changes.iter().enumerate().map(of).collect();
                sweep.changes = before_each(&changes);
            }
            Windowed::Sum | Windowed::Avg => {
                if segments.sum.iter().any(|sum| sum.is_nan()) {
                    return None;
                }
                sweep.counts = before_each(&segments.count);
                sweep.sums = sums(segments);
            }
            Windowed::Min => sweep.extremes = Some((Extremes::of(which)?, &segments.min)),
            Windowed::Max => sweep.extremes = Some((Extremes::of(which)?, &segments.max)),
            _ => {}
        }
        Some(sweep)
    }

    /// The value over the buckets `from..to`, of which there is one at least; the outer `None` when they
    /// do not tell exactly.
    fn value(&mut self, from: usize, to: usize, (start_ms, end_ms): (i64, i64)) -> Option<Option<f64>> {
        let (segments, last) = (self.segments, to - 1);
        Some(match self.which {
            Windowed::Count => Some((self.counts[to] - self.counts[from]) as f64),
            Windowed::Present | Windowed::Absent => Some(1.0),
            Windowed::First => Some(segments.first[from]),
            Windowed::Last => Some(segments.last[last]),
            Windowed::TsOfFirst => Some(segments.first_ms[from] as f64 / 1000.0),
            Windowed::TsOfLast => Some(segments.last_ms[last] as f64 / 1000.0),
            Windowed::Min | Windowed::Max => {
                self.extremes.as_mut().map(|(extremes, values)| extremes.advance(values, from, to))
            }
            Windowed::Changes => {
                // What changed before the window does not count.
                let first = begins_changed(segments, from);
                Some((self.changes[to] - self.changes[from] - first) as f64)
            }
            Windowed::Resets => Some(self.falls_within(from, to).len() as f64),
            Windowed::Sum | Windowed::Avg => {
                if self.sums[to].1 - self.sums[from].1 >= EXACT {
                    return None;
                }
                let sum = (self.sums[to].0 - self.sums[from].0) as f64;
                let count = (self.counts[to] - self.counts[from]) as f64;
                Some(if self.which == Windowed::Sum { sum } else { sum / count })
            }
            Windowed::Rate | Windowed::Increase | Windowed::Delta => {
                let mut change = segments.last[last] - segments.first[from];
                let is_counter = self.which != Windowed::Delta;
                if is_counter {
                    // One by one and in order, as over samples, so that the sum rounds the same.
                    self.falls_within(from, to).iter().for_each(|fall| change += fall.before);
                }
                let ends = Ends {
                    first_ms: segments.first_ms[from],
                    last_ms: segments.last_ms[last],
                    first: segments.first[from],
                    samples: (self.counts[to] - self.counts[from]) as usize,
                    start_ms,
                    end_ms,
                };
                rate::extended(ends, change, is_counter, self.which == Windowed::Rate)
            }
            _ => return None,
        })
    }

    /// Falls between two samples of the buckets `from..to`; buckets are asked for in ascending order.
    fn falls_within(&mut self, from: usize, to: usize) -> &[Fall] {
        let outside = |fall: &Fall| fall.at < from || (fall.at == from && fall.between);
        while self.falls.get(self.next_fall).is_some_and(outside) {
            self.next_fall += 1;
        }
        let rest = &self.falls[self.next_fall..];
        &rest[..rest.partition_point(|fall| fall.at < to)]
    }
}

/// 1 when a bucket begins with another value than the one before ends with.
fn begins_changed(segments: &Segments, at: usize) -> i64 {
    i64::from(at > 0 && differ(segments.last[at - 1], segments.first[at]))
}

fn before_each(column: &[i64]) -> Vec<i64> {
    let mut sum = 0;
    let mut sums = Vec::with_capacity(column.len() + 1);
    for value in column {
        sums.push(sum);
        sum += value;
    }
    sums.push(sum);
    sums
}

fn sums(segments: &Segments) -> Vec<(i128, u128)> {
    let (mut sum, mut bound) = (0i128, 0u128);
    let mut sums = Vec::with_capacity(segments.len() + 1);
    for at in 0..segments.len() {
        sums.push((sum, bound));
        // Exact sums are integers, and so are all values that went into them.
        sum += segments.sum[at] as i128;
        let largest = segments.min[at].abs().max(segments.max[at].abs());
        bound += largest as u128 * segments.count[at] as u128;
    }
    sums.push((sum, bound));
    sums
}

/// All falls of a series in order, those between buckets included.
fn falls(segments: &Segments) -> Vec<Fall> {
    let mut within = segments.falls.iter().peekable();
    let mut falls = Vec::with_capacity(segments.falls.len());
    for at in 0..segments.len() {
        if at > 0 && segments.first[at] < segments.last[at - 1] {
            falls.push(Fall { at, between: true, before: segments.last[at - 1] });
        }
        while let Some((_, before)) = within.next_if(|(of, _)| *of == at) {
            falls.push(Fall { at, between: false, before: *before });
        }
    }
    falls
}
