//! `info`: adds labels of info metrics to the series they describe.

use binnacle_proto::{Labels, LabelsBuilder};
use hashbrown::{HashMap, HashSet};

use super::{Evaluation, merge_equal};
use crate::Error;
use crate::promql::column::{Column, Grid, Series, Vector};
use crate::promql::plan::{Kind, Node, Range, RangeOf, Selector, When};
use crate::select::{MatchTest, Matcher};

/// Labels that tell which info series belongs to a series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Info series at each step: those of one metric and one target, newest first.
struct Infos {
    /// Info series with the time of their sample, in seconds.
    series: Vec<Series>,
    /// By metric name and identifying labels.
    of: HashMap<(String, Labels), Vec<usize>>,
}

impl Evaluation<'_> {
    pub(super) fn info(&self, args: &[Node], grid: Grid) -> Result<Vector, Error> {
        let base = self.vector(&args[0], grid)?;
        let wanted: &[Matcher] = match args.get(1).map(|arg| &arg.kind) {
            Some(Kind::Instant(selector)) => &selector.matchers,
            _ => &[],
        };
        let (names, data): (Vec<&Matcher>, Vec<&Matcher>) =
            wanted.iter().partition(|matcher| matcher.name == "__name__");
        let default = default_name(&names)?;
        let names: Vec<&Matcher> = names.into_iter().chain(&default).collect();
        // An info metric is not described by others (nor by itself).
        let is_info = |series: &Series| {
            let name = series.labels.metric_name().unwrap_or_default();
            (args.len() < 2 || wanted.iter().any(|matcher| matcher.name == "__name__"))
                && names.iter().all(|matcher| matcher.matches_value(name))
        };
        let when = when_of(&args[0], When { fixed_ms: None, offset_ms: 0 });
        let infos = self.infos(&base, is_info, &names, &data, (when, grid))?;
        let mut vector = Vector::empty(self.guard);
        for series in &base.series {
            self.guard.check()?;
            if is_info(series) {
                vector.push(series.clone())?;
            } else {
                self.enrich(series, &infos, &data, grid, &mut vector)?;
            }
        }
        merge_equal(vector)
    }

    fn infos(
        &self,
        base: &Vector,
        is_info: impl Fn(&Series) -> bool,
        names: &[&Matcher],
        data: &[&Matcher],
        (when, grid): (Option<When>, Grid),
    ) -> Result<Infos, Error> {
        let mut values: [HashSet<&str>; 2] = Default::default();
        for series in base.series.iter().filter(|series| !is_info(series)) {
            for (label, values) in IDENTIFYING.iter().zip(&mut values) {
                values.extend(series.labels.get(label));
            }
        }
        if values.iter().all(HashSet::is_empty) {
            return Ok(Infos { series: Vec::new(), of: HashMap::new() });
        }
        let mut matchers: Vec<Matcher> = names.iter().chain(data).map(|matcher| (*matcher).clone()).collect();
        for (label, values) in IDENTIFYING.iter().zip(&values).filter(|(_, values)| !values.is_empty()) {
            let alternatives: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
            let pattern = alternatives.join("|");
            let regex = Matcher::anchored(&pattern).map_err(|why| {
                Error::Execution(format!("info: too many different values of {label}: {why}"))
            })?;
            matchers.push(Matcher { name: (*label).to_owned(), test: MatchTest::Regex(regex) });
        }
        let when = when.unwrap_or(When { fixed_ms: None, offset_ms: 0 });
        let selector = Selector { matchers, when, text: String::new() };
        let found = self.sample_times(&selector, grid)?;
        let mut of: HashMap<(String, Labels), Vec<usize>> = HashMap::new();
        for (place, series) in found.series.iter().enumerate() {
            let name = series.labels.metric_name().unwrap_or_default().to_owned();
            of.entry((name, identity(&series.labels))).or_default().push(place);
        }
        Ok(Infos { series: found.series, of })
    }

    fn enrich(
        &self,
        series: &Series,
        infos: &Infos,
        data: &[&Matcher],
        grid: Grid,
        into: &mut Vector,
    ) -> Result<(), Error> {
        let identity = identity(&series.labels);
        let candidates: Vec<&Vec<usize>> =
            infos.of.iter().filter(|((_, of), _)| *of == identity).map(|(_, places)| places).collect();
        let keep_bare = data.iter().all(|matcher| matcher.matches_value(""));
        let mut place_of: HashMap<Labels, usize> = HashMap::new();
        for (step, value) in series.floats.iter() {
            let mut added = LabelsBuilder::new();
            let mut found = false;
            for places in &candidates {
                let Some(info) = newest(&infos.series, places, step)? else { continue };
                found = true;
                for (name, value) in info.labels.iter().filter(|(name, _)| *name != "__name__") {
                    if !data.is_empty() && !data.iter().any(|matcher| matcher.name == name) {
                        continue;
                    }
                    if added.get(name).is_some_and(|have| have != value) {
                        return Err(Error::Execution(format!("conflicting label: {name}")));
                    }
                    if series.labels.get(name).is_none() {
                        added.set(name, value);
                    }
                }
            }
            if !found && !keep_bare {
                continue;
            }
            let mut labels = series.labels.to_builder();
            for (name, value) in added.build().iter() {
                labels.set(name, value);
            }
            let labels = labels.build();
            let place = match place_of.get(&labels) {
                Some(place) => *place,
                None => {
                    place_of.insert(labels.clone(), into.series.len());
                    into.push(Series {
                        labels,
                        drop_name: series.drop_name,
                        floats: Column::absent(grid.steps),
                    })?;
                    into.series.len() - 1
                }
            };
            into.series[place].floats.set(step, Some(value));
        }
        Ok(())
    }
}

/// The condition on the info metric's name that goes without saying.
fn default_name(names: &[&Matcher]) -> Result<Option<Matcher>, Error> {
    let positive = |matcher: &&Matcher| matches!(matcher.test, MatchTest::Equal(_) | MatchTest::Regex(_));
    let test = if names.is_empty() {
        MatchTest::Equal("target_info".to_owned())
    } else if !names.iter().any(positive) {
        // Exclusions alone leave all that is named like an info metric.
        let regex = Matcher::anchored(".+_info").map_err(|why| Error::Execution(why.to_string()))?;
        MatchTest::Regex(regex)
    } else {
        return Ok(None);
    };
    Ok(Some(Matcher { name: "__name__".to_owned(), test }))
}

/// When the described series are looked at: `@` and `offset` of the first selector, and of the subqueries
/// around it. Info series are looked at then, too.
fn when_of(node: &Node, around: When) -> Option<When> {
    let within = |when: &When| match when.fixed_ms {
        Some(_) => *when,
        None => {
            When { fixed_ms: around.fixed_ms, offset_ms: around.offset_ms.saturating_add(when.offset_ms) }
        }
    };
    match &node.kind {
        Kind::Number(_) | Kind::Text(_) => None,
        Kind::Instant(selector) => Some(within(&selector.when)),
        Kind::Range(Range { of: RangeOf::Selector(selector), .. }) => Some(within(&selector.when)),
        Kind::Range(Range { of: RangeOf::Subquery { inner, when, .. }, .. }) => when_of(inner, within(when)),
        Kind::Negate(inner) => when_of(inner, around),
        Kind::Binary(binary) => when_of(&binary.left, around).or_else(|| when_of(&binary.right, around)),
        Kind::Aggregate(aggregate) => when_of(&aggregate.inner, around),
        Kind::Call(_, args) => args.iter().find_map(|arg| when_of(arg, around)),
    }
}

fn identity(labels: &Labels) -> Labels {
    labels.filtered(|name| IDENTIFYING.contains(&name))
}

/// The info series with the newest sample at a step.
fn newest<'a>(series: &'a [Series], places: &[usize], step: usize) -> Result<Option<&'a Series>, Error> {
    let mut best: Option<(f64, &Series)> = None;
    for place in places {
        let Some(at) = series[*place].floats.get(step) else { continue };
        match best {
            Some((have, other)) if have == at => {
                return Err(Error::Execution(format!(
                    "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                    super::matching::show(&other.labels),
                    (have * 1000.0) as i64,
                    super::matching::show(&series[*place].labels),
                    (at * 1000.0) as i64
                )));
            }
            Some((have, _)) if have > at => {}
            _ => best = Some((at, &series[*place])),
        }
    }
    Ok(best.map(|(_, series)| series))
}
