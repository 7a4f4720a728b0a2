//! Arithmetic and comparison.

use hashbrown::HashMap;
use rayon::prelude::*;

use super::matching::show;
use super::{Evaluation, merge_equal};
use crate::Error;
use crate::promql::column::{Charge, Column, Evaluated, Grid, Series, Vector};
use crate::promql::plan::{Binary, Many, Operator};

impl Evaluation<'_> {
    /// A binary operation.
    pub(super) fn binary(&self, binary: &Binary, grid: Grid) -> Result<Evaluated, Error> {
        let left = self.eval(&binary.left, grid)?;
        let right = self.eval(&binary.right, grid)?;
        Ok(match (left, right) {
            (Evaluated::Scalar(mut left), Evaluated::Scalar(right)) => {
                for (value, right) in left.iter_mut().zip(&right) {
                    *value = binary.operator.apply(*value, *right);
                }
                Evaluated::Scalar(left)
            }
            (Evaluated::Vector(vector), Evaluated::Scalar(scalar)) => {
                Evaluated::Vector(with_scalar(binary, vector, &scalar, false))
            }
            (Evaluated::Scalar(scalar), Evaluated::Vector(vector)) => {
                Evaluated::Vector(with_scalar(binary, vector, &scalar, true))
            }
            (Evaluated::Vector(left), Evaluated::Vector(right)) if binary.operator.is_set() => {
                Evaluated::Vector(self.set_operation(binary, left, right, grid)?)
            }
            (Evaluated::Vector(left), Evaluated::Vector(right)) => {
                Evaluated::Vector(self.join(binary, &left, &right, grid)?)
            }
        })
    }

    /// Two vectors, series matched with series.
    fn join(&self, binary: &Binary, left: &Vector, right: &Vector, grid: Grid) -> Result<Vector, Error> {
        let groups = binary.matching.groups(&left.series, &right.series);
        let _groups = self.scratch(groups.count * 64)?;
        let right_is_many = binary.matching.many == Many::Right;
        let (many, one) = if right_is_many { (right, left) } else { (left, right) };
        let (many_of, one_of) =
            if right_is_many { (&groups.right, &groups.left) } else { (&groups.left, &groups.right) };
        let mut members: Vec<Group<'_>> = (0..groups.count).map(|_| Group::default()).collect();
        for (series, group) in many.series.iter().zip(many_of) {
            members[*group].many.push(series);
        }
        for (series, group) in one.series.iter().zip(one_of) {
            members[*group].one.push(series);
        }
        let fills = binary.matching.fill_left.is_some() || binary.matching.fill_right.is_some();
        // Ambiguity on the one side matters only where there is something to match.
        let ambiguous = members.iter().any(|group| group.one.len() > 1);
        let counts = |step| fills || many.series.iter().any(|series| series.has(step));
        let counted: Vec<bool> = if ambiguous { (0..grid.steps).map(counts).collect() } else { Vec::new() };
        let join = Join { binary, grid, right_is_many, counted, evaluation: self };
        let joined: Result<Vec<Vec<Series>>, Error> =
            self.spread(|| members.par_iter().map(|group| join.group(group)).collect());
        let series: Vec<Series> = joined?.into_iter().flatten().collect();
        let charge = Charge::adopt(self.guard, series.len() as u64 * Series::cost(grid.steps));
        merge_equal(Vector { series, charge })
    }
}

/// A vector and a number; `swapped` when the number is on the left.
fn with_scalar(binary: &Binary, mut vector: Vector, scalar: &[f64], swapped: bool) -> Vector {
    let operator = binary.operator;
    for series in &mut vector.series {
        series.drop_name |= !operator.compares() || binary.returns_bool;
        series.floats.map(|step, value| {
            let (left, right) = if swapped { (scalar[step], value) } else { (value, scalar[step]) };
            if !operator.compares() || binary.returns_bool {
                Some(operator.apply(left, right))
            } else {
                operator.holds(left, right).then_some(value)
            }
        });
    }
    vector.series.retain(Series::has_any);
    vector
}

/// Series of both sides that match.
#[derive(Default)]
struct Group<'a> {
    many: Vec<&'a Series>,
    one: Vec<&'a Series>,
}

struct Join<'a> {
    binary: &'a Binary,
    grid: Grid,
    right_is_many: bool,
    /// Steps at which ambiguity on the one side is an error; empty when there is none.
    counted: Vec<bool>,
    evaluation: &'a Evaluation<'a>,
}

impl Join<'_> {
    fn group(&self, group: &Group<'_>) -> Result<Vec<Series>, Error> {
        self.evaluation.guard.check()?;
        let matching = &self.binary.matching;
        let mut results =
            Results { join: self, of_pair: HashMap::new(), series: Vec::new(), last: Vec::new() };
        if (group.many.is_empty() && matching.fill_left.is_none() && group.one.len() < 2)
            || (group.one.is_empty() && matching.fill_right.is_none())
        {
            return Ok(results.series);
        }
        for step in 0..self.grid.steps {
            let one = self.only(&group.one, step)?;
            let one_value = match one {
                Some(place) => group.one[place].floats.get(step),
                None => matching.fill_right,
            };
            let Some(one_value) = one_value else { continue };
            let mut matched = false;
            for (place, series) in group.many.iter().enumerate() {
                let Some(value) = series.floats.get(step) else { continue };
                if matched && matching.many == Many::Neither {
                    return Err(Error::Execution(
                        "multiple matches for labels: many-to-one matching must be explicit \
                         (group_left/group_right)"
                            .into(),
                    ));
                }
                matched = true;
                results.add(group, (Some(place), one), step, (value, one_value))?;
            }
            if let (false, Some(_), Some(fill)) = (matched, one, matching.fill_left) {
                results.add(group, (None, one), step, (fill, one_value))?;
            }
        }
        let mut series = results.series;
        series.retain(Series::has_any);
        Ok(series)
    }

    /// The series of the one side that has a sample at a step.
    fn only(&self, one: &[&Series], step: usize) -> Result<Option<usize>, Error> {
        let mut present =
            one.iter().enumerate().filter(|(_, series)| series.has(step)).map(|(place, _)| place);
        let first = present.next();
        if let (Some(first), Some(second), true) =
            (first, present.next(), self.counted.get(step) == Some(&true))
        {
            let side = if self.right_is_many { "left" } else { "right" };
            let group = show(&self.binary.matching.group_labels(&one[first].labels));
            let (a, b) = (&one[first].labels, &one[second].labels);
            let (a, b) = if a <= b { (a, b) } else { (b, a) };
            return Err(Error::Execution(format!(
                "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
                 [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                show(a),
                show(b)
            )));
        }
        Ok(first)
    }
}

/// Which series of a group were combined; `None` stands for a filled-in value.
type Pair = (Option<usize>, Option<usize>);

/// Result series of one group.
struct Results<'a> {
    join: &'a Join<'a>,
    of_pair: HashMap<Pair, usize>,
    series: Vec<Series>,
    /// The step at which each result was last written, to tell equal results apart.
    last: Vec<Option<usize>>,
}

impl Results<'_> {
    fn add(
        &mut self,
        group: &Group<'_>,
        pair: Pair,
        step: usize,
        (many, one): (f64, f64),
    ) -> Result<(), Error> {
        let place = match self.of_pair.get(&pair) {
            Some(place) => *place,
            None => self.create(group, pair)?,
        };
        if self.last[place] == Some(step) {
            return Err(Error::Execution(
                "multiple matches for labels: grouping labels must ensure unique matches".into(),
            ));
        }
        self.last[place] = Some(step);
        let (left, right) = if self.join.right_is_many { (one, many) } else { (many, one) };
        let value = value(self.join.binary, left, right);
        self.series[place].floats.set(step, value);
        Ok(())
    }

    /// Finds or creates the result of a pair that is seen for the first time.
    fn create(&mut self, group: &Group<'_>, (many, one): Pair) -> Result<usize, Error> {
        let binary = self.join.binary;
        let sample = many.map(|place| group.many[place]);
        let other = one.map(|place| group.one[place]);
        let Some(any) = sample.or(other) else {
            return Err(Error::Execution("a match group without series".into()));
        };
        let filled = binary.matching.group_labels(&any.labels);
        let many_labels = sample.map_or(&filled, |series| &series.labels);
        let one_labels = other.map_or(&filled, |series| &series.labels);
        let labels = binary.matching.result_labels(binary.operator, many_labels, one_labels);
        // A name marked for removal stays marked through a filter.
        let drop_name = binary.returns_bool || sample.is_some_and(|series| series.drop_name);
        let place = match self.series.iter().position(|series| series.labels == labels) {
            Some(place) => place,
            None => {
                self.join.evaluation.guard.charge_bytes(Series::cost(self.join.grid.steps))?;
                self.series.push(Series { labels, drop_name, floats: Column::absent(self.join.grid.steps) });
                self.last.push(None);
                self.series.len() - 1
            }
        };
        self.of_pair.insert((many, one), place);
        Ok(place)
    }
}

fn value(binary: &Binary, left: f64, right: f64) -> Option<f64> {
    let operator: Operator = binary.operator;
    if !operator.compares() || binary.returns_bool {
        Some(operator.apply(left, right))
    } else {
        operator.holds(left, right).then_some(left)
    }
}
