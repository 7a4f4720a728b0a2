//! What expressions evaluate to: one column of values a series, one value a step.

use binnacle_proto::{Labels, STALE_NAN};

use crate::select::{Guard, LimitError};

/// The instants at which an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    /// The first instant.
    pub(super) start_ms: i64,
    /// Distance of two instants; at least 1.
    pub(super) step_ms: i64,
    /// How many there are; at least 1.
    pub(super) steps: usize,
}

impl Grid {
    /// The instant of step `step`.
    pub(super) fn at(&self, step: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(step as i64))
    }

    /// The last instant.
    pub(super) fn end_ms(&self) -> i64 {
        self.at(self.steps.saturating_sub(1))
    }

    /// The first step alone.
    pub(super) fn first_only(&self) -> Self {
        Self { steps: 1, ..*self }
    }
}

/// A float for each step, or nothing. A missing value is stored as the staleness marker, which no
/// evaluation yields: selectors never return it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column(Vec<f64>);

impl Column {
    /// A column without any value.
    pub(super) fn absent(steps: usize) -> Self {
        Self(vec![STALE_NAN; steps])
    }

    /// The value of a step.
    #[inline]
    pub(super) fn get(&self, step: usize) -> Option<f64> {
        let value = self.0[step];
        (!is_absent(value)).then_some(value)
    }

    /// Whether a step has a value.
    #[inline]
    pub(super) fn has(&self, step: usize) -> bool {
        !is_absent(self.0[step])
    }

    /// Sets or removes the value of a step.
    #[inline]
    pub(super) fn set(&mut self, step: usize, value: Option<f64>) {
        self.0[step] = value.unwrap_or(STALE_NAN);
    }

    /// Whether any step has a value.
    pub(super) fn has_any(&self) -> bool {
        self.0.iter().any(|value| !is_absent(*value))
    }

    /// How many steps there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Steps that have a value, with it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.0.iter().copied().enumerate().filter(|(_, value)| !is_absent(*value))
    }

    /// Replaces each value by what `change` makes of it.
    #[inline]
    pub(super) fn map(&mut self, mut change: impl FnMut(usize, f64) -> Option<f64>) {
        for (step, value) in self.0.iter_mut().enumerate() {
            if !is_absent(*value) {
                *value = change(step, *value).unwrap_or(STALE_NAN);
            }
        }
    }

    /// A column that repeats this one's first step.
    fn repeated(&self, steps: usize) -> Self {
        Self(vec![self.0[0]; steps])
    }
}

#[inline]
fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN.to_bits()
}

/// One series of a vector. Native histograms will be a second column; code that asks only whether there
/// is a sample goes through [`Series::has`].
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Its labels; the metric's name stays in until the end, see `drop_name`.
    pub(super) labels: Labels,
    /// Whether the name is to be removed at the end (delayed name removal).
    pub(super) drop_name: bool,
    /// Its float samples.
    pub(super) floats: Column,
}

impl Series {
    /// Whether there is a sample of any kind at a step.
    #[inline]
    pub(super) fn has(&self, step: usize) -> bool {
        self.floats.has(step)
    }

    /// Whether there is any sample.
    pub(super) fn has_any(&self) -> bool {
        self.floats.has_any()
    }

    /// Bytes to charge for one series of `steps` steps.
    pub(super) fn cost(steps: usize) -> u64 {
        (steps * size_of::<f64>() + size_of::<Self>()) as u64
    }
}

/// Bytes taken from a query's account until this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    guard: Guard,
    bytes: u64,
}

impl Charge {
    /// Takes `bytes`.
    pub(super) fn take(guard: &Guard, bytes: u64) -> Result<Self, LimitError> {
        guard.charge_bytes(bytes)?;
        Ok(Self { guard: guard.clone(), bytes })
    }

    /// Takes over `bytes` that were charged to `guard` directly.
    pub(super) fn adopt(guard: &Guard, bytes: u64) -> Self {
        Self { guard: guard.clone(), bytes }
    }

    /// Takes `bytes` more.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), LimitError> {
        self.guard.charge_bytes(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.guard.release_bytes(self.bytes);
    }
}

/// An evaluated instant vector, with the account of its memory.
#[derive(Debug)]
pub(super) struct Vector {
    /// No two series have equal labels and a sample at the same step.
    pub(super) series: Vec<Series>,
    /// What `series` takes.
    pub(super) charge: Charge,
}

impl Vector {
    /// A vector without series.
    pub(super) fn empty(guard: &Guard) -> Self {
        Self { series: Vec::new(), charge: Charge::adopt(guard, 0) }
    }

    /// Adds one series and charges for it.
    pub(super) fn push(&mut self, series: Series) -> Result<(), LimitError> {
        self.charge.grow(Series::cost(series.floats.len()))?;
        self.series.push(series);
        Ok(())
    }
}

/// What a node evaluates to.
#[derive(Debug)]
pub(super) enum Evaluated {
    /// A number for each step.
    Scalar(Vec<f64>),
    /// An instant vector for each step.
    Vector(Vector),
}

impl Evaluated {
    /// Repeats the only step of a value that does not depend on time.
    pub(super) fn repeat(self, steps: usize) -> Result<Self, LimitError> {
        Ok(match self {
            Self::Scalar(values) => Self::Scalar(vec![values[0]; steps]),
            Self::Vector(mut vector) => {
                vector.charge.grow(vector.series.len() as u64 * (steps * size_of::<f64>()) as u64)?;
                for series in &mut vector.series {
                    series.floats = series.floats.repeated(steps);
                }
                Self::Vector(vector)
            }
        })
    }

    /// Series it holds.
    pub(super) fn series_count(&self) -> usize {
        match self {
            Self::Scalar(_) => 1,
            Self::Vector(vector) => vector.series.len(),
        }
    }

    /// Bytes it holds.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Scalar(values) => size_of_val(values.as_slice()) as u64,
            Self::Vector(vector) => vector.charge.bytes(),
        }
    }
}
