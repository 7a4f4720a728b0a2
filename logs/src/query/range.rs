//! Range aggregations: from lines to one value a series and step.

use std::ops::Range;

use binnacle_proto::Labels;
use hashbrown::HashMap;
use rayon::prelude::*;

use super::fields::{ERROR, Fields};
use super::guard::Guard;
use super::metric::{Steps, Values};
use super::pipeline::{LabelTest, Needs, Pipeline, label_test, parse_number};
use super::scan::{Passed, Plan, scan};
use crate::logql::{Convert, Grouping, LabelFilter, RangeAgg, RangeOp, parse_bytes, parse_duration_ns};
use crate::{Db, Error};

/// What the lines of one series add up to.
enum Sum {
    /// Differences between neighbouring steps of a running count and sum.
    Steps(Vec<[f64; 2]>),
    /// All samples: time and value.
    Samples(Vec<(i64, f64)>),
}

/// What one thread has gathered.
#[derive(Default)]
struct Gathered {
    series: Vec<(Labels, Sum)>,
    by_labels: HashMap<Labels, usize>,
    /// Finds a series by the labels that matter, as they stand in the fields.
    by_key: HashMap<Vec<u8>, usize>,
    key: Vec<u8>,
    /// Finds the series of a stream's lines without metadata, when fields do not matter.
    by_stream: HashMap<usize, usize>,
}

/// A range aggregation ready to run.
struct Job<'a> {
    agg: &'a RangeAgg,
    grouping: Option<&'a Grouping>,
    filters: Vec<LabelTest>,
    steps: Steps,
    guard: &'a Guard,
}

/// Evaluates a range aggregation at all steps. `grouping` overrides its own: an outer `sum` over a
/// count hands its grouping down, so that inner series need not be kept apart.
pub(super) fn evaluate(
    db: &Db,
    agg: &RangeAgg,
    grouping: Option<&Grouping>,
    steps: Steps,
    guard: &Guard,
) -> Result<Vec<Values>, Error> {
    let grouping = grouping.or(agg.grouping.as_ref());
    let mut filters = Vec::new();
    let mut used: Vec<LabelFilter> = Vec::new();
    if let Some(unwrap) = &agg.unwrap {
        for filter in &unwrap.filters {
            filters.push(label_test(filter).map_err(Error::BadInput)?);
            used.push(filter.clone());
        }
    }
    let pipeline = Pipeline::new(&agg.log.stages, needs(agg, grouping, &used), false)?;
    let plan = Plan {
        pipeline: &pipeline,
        start_ns: steps.start_ns.saturating_sub(agg.range_ns).saturating_sub(agg.offset_ns).saturating_add(1),
        end_ns: steps.last_ns().saturating_sub(agg.offset_ns),
        // Without stages the columns of times and lengths are enough.
        needs_lines: !(pipeline.is_empty() && agg.unwrap.is_none()),
        needs_fields: agg.unwrap.is_some(),
        backward: false,
    };
    let selection = db.select(&agg.log.matchers, plan.start_ns, plan.end_ns);
    guard.selected(selection.streams.len());
    let job = Job { agg, grouping, filters, steps, guard };
    let gathered = selection
        .parts
        .par_iter()
        .try_fold(Gathered::default, |mut gathered, part| {
            let has_steps = plan.pipeline.has_steps();
            scan(db, &selection, part, &plan, guard, &mut |passed| {
                job.add(passed, has_steps, &mut gathered)?;
                Ok(true)
            })?;
            Ok::<_, Error>(gathered)
        })
        .try_reduce(Gathered::default, |left, right| Ok(left.merge(right)))?;
    job.finish(gathered)
}

/// The labels that the aggregation makes use of.
fn needs(agg: &RangeAgg, grouping: Option<&Grouping>, filters: &[LabelFilter]) -> Needs {
    let Some(grouping) = grouping.filter(|grouping| !grouping.without) else { return Needs::All };
    let mut names = grouping.names.clone();
    if let Some(unwrap) = &agg.unwrap {
        names.push(unwrap.label.clone());
    }
    fn of_filter(filter: &LabelFilter, names: &mut Vec<String>) {
        match filter {
            LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
                of_filter(left, names);
                of_filter(right, names);
            }
            LabelFilter::Text(matcher) => names.push(matcher.name.clone()),
            LabelFilter::Number { name, .. } | LabelFilter::Ip { name, .. } => names.push(name.clone()),
        }
    }
    filters.iter().for_each(|filter| of_filter(filter, &mut names));
    Needs::Only(names)
}

impl Job<'_> {
    fn add(&self, passed: &mut Passed<'_, '_>, has_steps: bool, to: &mut Gathered) -> Result<(), Error> {
        let agg = self.agg;
        let bytes = matches!(agg.op, RangeOp::BytesOverTime | RangeOp::BytesRate);
        let mut value = if bytes { self.length(passed, has_steps) } else { 1.0 };
        if let Some(unwrap) = &agg.unwrap {
            let fields = &mut passed.row.fields;
            let text = fields.get(&unwrap.label);
            if text.is_empty() {
                return Ok(());
            }
            match convert(text, unwrap.convert) {
                Some(number) => value = number,
                None => {
                    let details = format!("cannot read {text:?} as a {}", kind(unwrap.convert));
                    value = 0.0;
                    fields.fail("SampleExtractionErr", &details);
                }
            }
            if !self.filters.iter().all(|filter| filter.passes(fields)) {
                return Ok(());
            }
        }
        let fields = &passed.row.fields;
        if let Some(error) = fields.error() {
            return Err(self.failed(error, fields));
        }
        let series = if has_steps || agg.unwrap.is_some() {
            self.series(fields, to)?
        } else {
            self.plain_series(passed, to)?
        };
        let time_ns = passed.row.time_ns.saturating_add(agg.offset_ns);
        match &mut to.series[series].1 {
            Sum::Steps(steps) => {
                let range = self.steps.covering(time_ns, agg.range_ns);
                if !range.is_empty() {
                    let (from, to) = (range.start, range.end);
                    steps[from] = [steps[from][0] + 1.0, steps[from][1] + value];
                    steps[to] = [steps[to][0] - 1.0, steps[to][1] - value];
                }
            }
            Sum::Samples(samples) => {
                if samples.len() == samples.capacity() {
                    self.guard.keep(samples.len().max(4) as u64 * 16)?;
                }
                samples.push((time_ns, value));
            }
        }
        Ok(())
    }

    /// The series of a line whose labels are those of its stream and metadata.
    fn plain_series(&self, passed: &Passed<'_, '_>, to: &mut Gathered) -> Result<usize, Error> {
        if passed.metadata.is_none()
            && let Some(&series) = to.by_stream.get(&passed.stream_index)
        {
            return Ok(series);
        }
        let mut fields = Fields::default();
        fields.reset(passed.stream, passed.metadata);
        let series = self.series(&fields, to)?;
        if passed.metadata.is_none() {
            to.by_stream.insert(passed.stream_index, series);
        }
        Ok(series)
    }

    /// Length of the line as it came out of the pipeline.
    fn length(&self, passed: &Passed<'_, '_>, has_steps: bool) -> f64 {
        if has_steps { passed.row.line.len() as f64 } else { passed.line_len as f64 }
    }

    fn failed(&self, error: &str, fields: &Fields<'_>) -> Error {
        let labels = fields.labels(|_| true);
        Error::Execution(format!(
            "pipeline error: '{error}' for series: '{labels}'.\n\
             Use a label filter to intentionally skip this error. (e.g | {ERROR}!=\"{error}\").\n\
             To skip all potential errors you can match empty errors.(e.g {ERROR}=\"\")\n\
             The label filter can also be specified after unwrap. (e.g | unwrap latency | {ERROR}=\"\" )\n"
        ))
    }

    /// Whether a label stays with the series.
    fn keeps(&self, name: &str) -> bool {
        let is_unwrapped = self.agg.unwrap.as_ref().is_some_and(|unwrap| unwrap.label == name);
        match self.grouping {
            None => !is_unwrapped,
            Some(grouping) if grouping.without => {
                !is_unwrapped && !grouping.names.iter().any(|have| have == name)
            }
            Some(grouping) => grouping.names.iter().any(|have| have == name),
        }
    }

    /// The series that a line belongs to.
    fn series(&self, fields: &Fields<'_>, to: &mut Gathered) -> Result<usize, Error> {
        let mut key = std::mem::take(&mut to.key);
        key.clear();
        for field in fields.iter().filter(|field| self.keeps(&field.name)) {
            for text in [&field.name, &field.value] {
                key.extend_from_slice(&(text.len() as u32).to_le_bytes());
                key.extend_from_slice(text.as_bytes());
            }
        }
        if let Some(&series) = to.by_key.get(&key) {
            to.key = key;
            return Ok(series);
        }
        let pairs =
            fields.iter().filter(|field| self.keeps(&field.name)).map(|field| (&*field.name, &*field.value));
        let labels = Labels::from_pairs(pairs).unwrap_or_default();
        self.guard.keep(labels.byte_len() as u64 * 2 + key.len() as u64 + 96)?;
        let series = match to.by_labels.get(&labels) {
            Some(&series) => series,
            None => {
                let sum = if self.counts() {
                    self.guard.keep(self.steps.count as u64 * 16)?;
                    Sum::Steps(vec![[0.0; 2]; self.steps.count + 1])
                } else {
                    Sum::Samples(Vec::new())
                };
                to.series.push((labels.clone(), sum));
                to.by_labels.insert(labels, to.series.len() - 1);
                to.series.len() - 1
            }
        };
        to.by_key.insert(key, series);
        Ok(series)
    }

    /// Whether whole numbers are added up, so that order does not matter.
    fn counts(&self) -> bool {
        matches!(
            self.agg.op,
            RangeOp::CountOverTime | RangeOp::BytesOverTime | RangeOp::BytesRate | RangeOp::AbsentOverTime
        ) || (self.agg.op == RangeOp::Rate && self.agg.unwrap.is_none())
    }

    fn finish(&self, gathered: Gathered) -> Result<Vec<Values>, Error> {
        let seconds = self.agg.range_ns as f64 / 1e9;
        let per_second = matches!(self.agg.op, RangeOp::Rate | RangeOp::BytesRate);
        let mut out = Vec::with_capacity(gathered.series.len());
        for (labels, sum) in gathered.series {
            self.guard.keep(self.steps.count as u64 * 16)?;
            let values = match sum {
                Sum::Steps(differences) => {
                    let (mut count, mut sum) = (0.0, 0.0);
                    let mut values = Vec::with_capacity(self.steps.count);
                    for [more, added] in &differences[..self.steps.count] {
                        count += more;
                        sum += added;
                        let value = if per_second { sum / seconds } else { sum };
                        values.push((count > 0.0).then_some(value));
                    }
                    values
                }
                Sum::Samples(mut samples) => {
                    samples.sort_by_key(|(time, _)| *time);
                    self.guard.check()?;
                    windows(&samples, self.steps, self.agg)
                }
            };
            out.push(Values { labels, values });
        }
        if self.agg.op == RangeOp::AbsentOverTime {
            return Ok(vec![self.absent(&out)]);
        }
        out.retain(|series| series.values.iter().any(Option::is_some));
        Ok(out)
    }

    fn absent(&self, series: &[Values]) -> Values {
        let equal = self.agg.log.matchers.iter().filter_map(|m| Some((m.name.as_str(), m.equal_to()?)));
        let labels = Labels::from_pairs(equal).unwrap_or_default();
        let is_absent = |step: usize| series.iter().all(|series| series.values[step].is_none());
        Values { labels, values: (0..self.steps.count).map(|step| is_absent(step).then_some(1.0)).collect() }
    }
}

impl Gathered {
    fn merge(mut self, mut other: Self) -> Self {
        if self.series.len() < other.series.len() {
            std::mem::swap(&mut self, &mut other);
        }
        for (labels, sum) in other.series {
            match self.by_labels.get(&labels) {
                Some(&at) => match (&mut self.series[at].1, sum) {
                    (Sum::Steps(have), Sum::Steps(more)) => {
                        have.iter_mut().zip(more).for_each(|(a, b)| *a = [a[0] + b[0], a[1] + b[1]])
                    }
                    (Sum::Samples(have), Sum::Samples(more)) => have.extend(more),
                    // One query gathers in one way.
                    (Sum::Steps(_), Sum::Samples(_)) | (Sum::Samples(_), Sum::Steps(_)) => {}
                },
                None => {
                    self.by_labels.insert(labels.clone(), self.series.len());
                    self.series.push((labels, sum));
                }
            }
        }
        self
    }
}

fn convert(text: &str, convert: Convert) -> Option<f64> {
    match convert {
        Convert::Plain => parse_number(text),
        Convert::Bytes => parse_bytes(text).map(|bytes| bytes as f64),
        Convert::Duration | Convert::DurationSeconds => parse_duration_ns(text).map(|ns| ns as f64 / 1e9),
    }
}

fn kind(convert: Convert) -> &'static str {
    match convert {
        Convert::Plain => "number",
        Convert::Bytes => "size",
        Convert::Duration | Convert::DurationSeconds => "duration",
    }
}

/// The value of each step's window over sorted samples.
fn windows(samples: &[(i64, f64)], steps: Steps, agg: &RangeAgg) -> Vec<Option<f64>> {
    let (mut first, mut end) = (0, 0);
    let mut values = Vec::with_capacity(steps.count);
    for step in 0..steps.count {
        let at = steps.at(step);
        while end < samples.len() && samples[end].0 <= at {
            end += 1;
        }
        while first < end && samples[first].0 <= at.saturating_sub(agg.range_ns) {
            first += 1;
        }
        values.push(if first == end { None } else { aggregate(&samples[first..end], at, agg) });
    }
    values
}

fn aggregate(window: &[(i64, f64)], at_ns: i64, agg: &RangeAgg) -> Option<f64> {
    let values = || window.iter().map(|(_, value)| *value);
    let seconds = agg.range_ns as f64 / 1e9;
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (mut mean, mut count) = (0.0, 0.0);
        for value in values {
            count += 1.0;
            mean += (value - mean) / count;
        }
        mean
    };
    Some(match agg.op {
        RangeOp::SumOverTime => values().sum(),
        RangeOp::Rate => values().sum::<f64>() / seconds,
        RangeOp::AvgOverTime => mean(&mut values()),
        RangeOp::MinOverTime => values().reduce(|a, b| if b < a || a.is_nan() { b } else { a })?,
        RangeOp::MaxOverTime => values().reduce(|a, b| if b > a || a.is_nan() { b } else { a })?,
        RangeOp::FirstOverTime => values().next()?,
        RangeOp::LastOverTime => values().next_back()?,
        RangeOp::StdvarOverTime | RangeOp::StddevOverTime => {
            let center = mean(&mut values());
            let variance = mean(&mut values().map(|value| (value - center) * (value - center)));
            if agg.op == RangeOp::StddevOverTime { variance.sqrt() } else { variance }
        }
        RangeOp::QuantileOverTime => {
            let mut sorted: Vec<f64> = values().collect();
            quantile(&mut sorted, agg.param.unwrap_or_default())
        }
        RangeOp::RateCounter => counter_rate(window, at_ns, agg.range_ns)?,
        RangeOp::CountOverTime | RangeOp::BytesRate | RangeOp::BytesOverTime | RangeOp::AbsentOverTime => {
            values().sum()
        }
    })
}

/// The quantile with linear interpolation, as PromQL has it.
pub(super) fn quantile(values: &mut [f64], q: f64) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(f64::total_cmp);
    let rank = q * (values.len() - 1) as f64;
    let low = rank.floor() as usize;
    let high = (low + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[low] * (1.0 - weight) + values[high] * weight
}

/// Increase of a counter a second, extrapolated to the window's ends as PromQL's `rate` does.
fn counter_rate(window: &[(i64, f64)], at_ns: i64, range_ns: i64) -> Option<f64> {
    let (first, last) = (window.first()?, window.last()?);
    if window.len() < 2 {
        return None;
    }
    let mut increase = last.1 - first.1;
    for pair in window.windows(2) {
        if pair[1].1 < pair[0].1 {
            increase += pair[0].1;
        }
    }
    let to_seconds = |ns: i64| ns as f64 / 1e9;
    let sampled = to_seconds(last.0 - first.0);
    if sampled <= 0.0 {
        return None;
    }
    let average = sampled / (window.len() - 1) as f64;
    let limit = average * 1.1;
    let mut to_start = to_seconds(first.0 - (at_ns - range_ns));
    let mut to_end = to_seconds(at_ns - last.0);
    if increase > 0.0 && first.1 >= 0.0 {
        // A counter is never below zero.
        to_start = to_start.min(sampled * (first.1 / increase));
    }
    to_start = if to_start < limit { to_start } else { average / 2.0 };
    to_end = if to_end < limit { to_end } else { average / 2.0 };
    Some(increase * ((sampled + to_start + to_end) / sampled) / to_seconds(range_ns))
}

impl Steps {
    /// The steps whose window holds a sample.
    fn covering(self, time_ns: i64, range_ns: i64) -> Range<usize> {
        let first_at = time_ns.saturating_sub(self.start_ns);
        let step = self.step_ns.max(1);
        // Smallest step at or after the sample, and the first whose window begins at or after it.
        let first = if first_at <= 0 { 0 } else { (first_at + step - 1) / step };
        let beyond_at = first_at.saturating_add(range_ns);
        let beyond = if beyond_at <= 0 { 0 } else { (beyond_at + step - 1) / step };
        let count = self.count as i64;
        (first.min(count) as usize)..(beyond.min(count).max(first.min(count)) as usize)
    }
}
