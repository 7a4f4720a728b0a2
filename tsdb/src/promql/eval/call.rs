//! Functions over instant vectors and scalars.

use binnacle_proto::{Labels, LabelsBuilder};

use super::Evaluation;
use crate::Error;
use crate::promql::column::{Column, Evaluated, Grid, Series, Vector};
use crate::promql::plan::{Function, Kind, Node, Selector};
use crate::select::MatchTest;

impl Evaluation<'_> {
    /// A function call.
    pub(super) fn call(&self, function: Function, args: &[Node], grid: Grid) -> Result<Evaluated, Error> {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let constant = |value: f64| Ok(Evaluated::Scalar(vec![value; grid.steps]));
        match function {
            Function::Time => {
                Ok(Evaluated::Scalar((0..grid.steps).map(|step| seconds(grid.at(step))).collect()))
            }
            Function::Pi => constant(std::f64::consts::PI),
            Function::Start => constant(seconds(self.query.start_ms)),
            Function::End => constant(seconds(self.query.end_ms())),
            Function::Step => constant(if self.query.steps > 1 { seconds(self.query.step_ms) } else { 0.0 }),
            Function::QueryRange => constant(seconds(self.query.end_ms() - self.query.start_ms)),
            Function::MinOf | Function::MaxOf => self.extreme_of(function, args, grid),
            Function::Scalar => Ok(Evaluated::Scalar(only_values(&self.vector(&args[0], grid)?, grid))),
            Function::Windowed(name, which) => self.windowed(name, which, args, grid).map(Evaluated::Vector),
            _ => self.vector_call(function, args, grid).map(Evaluated::Vector),
        }
    }

    fn vector_call(&self, function: Function, args: &[Node], grid: Grid) -> Result<Vector, Error> {
        match function {
            Function::Elementwise(_, apply) => self.each_value(&args[0], grid, |_, value| apply(value)),
            Function::Date(_, apply) => match args.first() {
                Some(arg) => self.each_value(arg, grid, |_, value| apply(value)),
                None => {
                    self.one_series((0..grid.steps).map(|step| apply(grid.at(step).div_euclid(1000) as f64)))
                }
            },
            Function::Round => {
                let nearest = match args.get(1) {
                    Some(arg) => self.scalar(arg, grid)?,
                    None => vec![1.0; grid.steps],
                };
                self.each_value(&args[0], grid, |step, value| {
                    // The inverse loses less than the division by a small number.
                    let inverse = 1.0 / nearest[step];
                    (value * inverse + 0.5).floor() / inverse
                })
            }
            Function::Clamp => {
                let (low, high) = (self.scalar(&args[1], grid)?, self.scalar(&args[2], grid)?);
                self.clamped(&args[0], grid, |step| (low[step], high[step]))
            }
            Function::ClampMin => {
                let low = self.scalar(&args[1], grid)?;
                self.clamped(&args[0], grid, |step| (low[step], f64::INFINITY))
            }
            Function::ClampMax => {
                let high = self.scalar(&args[1], grid)?;
                self.clamped(&args[0], grid, |step| (f64::NEG_INFINITY, high[step]))
            }
            Function::Vector => self.one_series(self.scalar(&args[0], grid)?.into_iter()),
            Function::Absent => self.absent(&args[0], grid),
            Function::Timestamp => self.timestamp(&args[0], grid),
            Function::Sort | Function::SortDesc | Function::SortByLabel | Function::SortByLabelDesc => {
                self.sorted(function, args, grid)
            }
            Function::LabelReplace => self.label_replace(args, grid),
            Function::LabelJoin => self.label_join(args, grid),
            Function::HistogramQuantile => self.histogram_quantile(args, grid),
            Function::HistogramQuantiles => self.histogram_quantiles(args, grid),
            Function::HistogramFraction => self.histogram_fraction(args, grid),
            Function::NativeOnly(_) => {
                // They skip float samples, and there are no others yet.
                self.vector(&args[0], grid)?;
                Ok(Vector::empty(self.guard))
            }
            Function::Info => self.info(args, grid),
            _ => Err(Error::Execution(format!("{} does not yield a vector", function.name()))),
        }
    }

    fn each_value(&self, arg: &Node, grid: Grid, apply: impl Fn(usize, f64) -> f64) -> Result<Vector, Error> {
        let mut vector = self.vector(arg, grid)?;
        for series in &mut vector.series {
            series.drop_name = true;
            series.floats.map(|step, value| Some(apply(step, value)));
        }
        Ok(vector)
    }

    fn clamped(&self, arg: &Node, grid: Grid, bounds: impl Fn(usize) -> (f64, f64)) -> Result<Vector, Error> {
        let mut vector = self.vector(arg, grid)?;
        for series in &mut vector.series {
            series.drop_name = true;
            series.floats.map(|step, value| {
                let (low, high) = bounds(step);
                // Nothing lies between bounds that are crossed; NaN as a bound makes NaN of everything.
                if high < low { None } else { Some(greater(low, lesser(high, value))) }
            });
        }
        vector.series.retain(Series::has_any);
        Ok(vector)
    }

    fn one_series(&self, values: impl Iterator<Item = f64>) -> Result<Vector, Error> {
        let values: Vec<f64> = values.collect();
        let mut floats = Column::absent(values.len());
        for (step, value) in values.into_iter().enumerate() {
            floats.set(step, Some(value));
        }
        let mut vector = Vector::empty(self.guard);
        vector.push(Series { labels: Labels::empty(), drop_name: false, floats })?;
        Ok(vector)
    }

    fn extreme_of(&self, function: Function, args: &[Node], grid: Grid) -> Result<Evaluated, Error> {
        let mut values = self.scalar(&args[0], grid)?;
        let others = self.scalar(&args[1], grid)?;
        for (value, other) in values.iter_mut().zip(others) {
            *value = if matches!(function, Function::MinOf) {
                lesser(*value, other)
            } else {
                greater(*value, other)
            };
        }
        Ok(Evaluated::Scalar(values))
    }

    fn absent(&self, arg: &Node, grid: Grid) -> Result<Vector, Error> {
        let inner = self.vector(arg, grid)?;
        let mut floats = Column::absent(grid.steps);
        for step in 0..grid.steps {
            if !inner.series.iter().any(|series| series.has(step)) {
                floats.set(step, Some(1.0));
            }
        }
        let labels = match &arg.kind {
            Kind::Instant(selector) => labels_of_absent(selector),
            _ => Labels::empty(),
        };
        let mut vector = Vector::empty(self.guard);
        if floats.has_any() {
            vector.push(Series { labels, drop_name: false, floats })?;
        }
        Ok(vector)
    }

    /// The time of the sample itself for a selector, the evaluation time for anything else.
    fn timestamp(&self, arg: &Node, grid: Grid) -> Result<Vector, Error> {
        let mut vector = match &arg.kind {
            Kind::Instant(selector) => self.sample_times(selector, grid)?,
            _ => {
                let mut vector = self.vector(arg, grid)?;
                for series in &mut vector.series {
                    series.floats.map(|step, _| Some(grid.at(step) as f64 / 1000.0));
                }
                vector
            }
        };
        vector.series.iter_mut().for_each(|series| series.drop_name = true);
        Ok(vector)
    }
}

/// The labels that an absent series would have had: those that the selector demands.
pub(super) fn labels_of_absent(selector: &Selector) -> Labels {
    let mut labels = LabelsBuilder::new();
    let mut seen = Vec::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name != "__name__") {
        match &matcher.test {
            MatchTest::Equal(value) if !seen.contains(&matcher.name.as_str()) => {
                labels.set(&matcher.name, value.clone());
                seen.push(&matcher.name);
            }
            // Demanded twice or not exactly: unknown.
            _ => {
                labels.remove(&matcher.name);
            }
        }
    }
    labels.build()
}

/// The value of the only series that has one, NaN where there is none or several.
fn only_values(vector: &Vector, grid: Grid) -> Vec<f64> {
    let only = |step: usize| {
        let mut values = vector.series.iter().filter_map(|series| series.floats.get(step));
        match (values.next(), values.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    (0..grid.steps).map(only).collect()
}

/// The lesser of two numbers. As in Go -Inf wins over NaN, and NaN over all else.
fn lesser(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// The greater of two numbers. As in Go +Inf wins over NaN, and NaN over all else.
fn greater(a: f64, b: f64) -> f64 {
    -lesser(-a, -b)
}
