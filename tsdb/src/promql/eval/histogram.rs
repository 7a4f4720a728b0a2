//! `histogram_quantile` and `histogram_fraction` over series with an `le` label.

use binnacle_proto::Labels;
use hashbrown::HashMap;

use super::buckets::{Bucket, fraction, quantile};
use super::relabel::text;
use super::{Evaluation, merge_equal};
use crate::Error;
use crate::promql::column::{Column, Grid, Series, Vector};
use crate::promql::notes::Note;
use crate::promql::number::{format_value, parse_value};
use crate::promql::plan::Node;

/// The buckets of one histogram.
struct Histogram<'a> {
    labels: Labels,
    /// Upper bound and counts of each bucket.
    buckets: Vec<(f64, &'a Series)>,
}

impl Evaluation<'_> {
    pub(super) fn histogram_quantile(&self, args: &[Node], grid: Grid) -> Result<Vector, Error> {
        let quantiles = self.quantiles(&args[0], grid)?;
        let inner = self.vector(&args[1], grid)?;
        self.each_histogram(&inner, &args[1], grid, |step, buckets| quantile(quantiles[step], buckets))
    }

    pub(super) fn histogram_quantiles(&self, args: &[Node], grid: Grid) -> Result<Vector, Error> {
        let inner = self.vector(&args[0], grid)?;
        let label = text(&args[1])?;
        if label.is_empty() {
            return Err(Error::Execution("invalid label name in histogram_quantiles()".into()));
        }
        let mut all = Vector::empty(self.guard);
        for arg in &args[2..] {
            let quantiles = self.quantiles(arg, grid)?;
            let mut one = self
                .each_histogram(&inner, &args[0], grid, |step, buckets| quantile(quantiles[step], buckets))?;
            // The label names the quantile; a quantile that changes from step to step makes several series.
            for series in one.series.drain(..) {
                self.split_by_quantile(label, &series, &quantiles, grid, &mut all)?;
            }
        }
        merge_equal(all)
    }

    fn split_by_quantile(
        &self,
        label: &str,
        series: &Series,
        quantiles: &[f64],
        grid: Grid,
        into: &mut Vector,
    ) -> Result<(), Error> {
        let mut place_of: HashMap<u64, usize> = HashMap::new();
        for (step, value) in series.floats.iter() {
            let q = quantiles[step];
            let place = match place_of.get(&q.to_bits()) {
                Some(place) => *place,
                None => {
                    let mut builder = series.labels.to_builder();
                    builder.set(label, open_metrics(q));
                    let floats = Column::absent(grid.steps);
                    into.push(Series { labels: builder.build(), drop_name: true, floats })?;
                    place_of.insert(q.to_bits(), into.series.len() - 1);
                    into.series.len() - 1
                }
            };
            into.series[place].floats.set(step, Some(value));
        }
        Ok(())
    }

    pub(super) fn histogram_fraction(&self, args: &[Node], grid: Grid) -> Result<Vector, Error> {
        let (lower, upper) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
        let inner = self.vector(&args[2], grid)?;
        self.each_histogram(&inner, &args[2], grid, |step, buckets| {
            (fraction(lower[step], upper[step], buckets), false)
        })
    }

    fn quantiles(&self, arg: &Node, grid: Grid) -> Result<Vec<f64>, Error> {
        let quantiles = self.scalar(arg, grid)?;
        for q in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.notes.add(&Note::InvalidQuantile(*q), arg.at);
        }
        Ok(quantiles)
    }

    /// Groups buckets by their other labels and applies `work` at every step. `work` says whether it had
    /// to correct the counts.
    fn each_histogram(
        &self,
        inner: &Vector,
        arg: &Node,
        grid: Grid,
        work: impl Fn(usize, &mut Vec<Bucket>) -> (f64, bool),
    ) -> Result<Vector, Error> {
        let histograms = self.histograms(inner, arg);
        let mut vector = Vector::empty(self.guard);
        let mut buckets = Vec::new();
        for histogram in histograms {
            self.guard.check()?;
            let mut floats = Column::absent(grid.steps);
            for step in 0..grid.steps {
                buckets.clear();
                buckets.extend(
                    histogram
                        .buckets
                        .iter()
                        .filter_map(|(le, series)| Some(Bucket { le: *le, count: series.floats.get(step)? })),
                );
                if !buckets.is_empty() {
                    let (value, corrected) = work(step, &mut buckets);
                    floats.set(step, Some(value));
                    if corrected {
                        let name = histogram.labels.metric_name().unwrap_or_default();
                        self.notes.add(&Note::ForcedMonotonicity(name), arg.at);
                    }
                }
            }
            if floats.has_any() {
                let labels = histogram.labels.filtered(|name| name != "__name__");
                vector.push(Series { labels, drop_name: true, floats })?;
            }
        }
        merge_equal(vector)
    }

    fn histograms<'a>(&self, inner: &'a Vector, arg: &Node) -> Vec<Histogram<'a>> {
        let mut place_of: HashMap<Labels, usize> = HashMap::new();
        let mut histograms: Vec<Histogram<'a>> = Vec::new();
        for series in &inner.series {
            let le = series.labels.get("le").unwrap_or_default();
            let Some(bound) = parse_value(le) else {
                let metric = series.labels.metric_name().unwrap_or_default();
                self.notes.add(&Note::BadBucketLabel { metric, le }, arg.at);
                continue;
            };
            let labels = series.labels.filtered(|name| name != "le");
            let place = *place_of.entry(labels.clone()).or_insert(histograms.len());
            if place == histograms.len() {
                histograms.push(Histogram { labels, buckets: Vec::new() });
            }
            histograms[place].buckets.push((bound, series));
        }
        histograms
    }
}

/// A number as OpenMetrics wants it in labels: always with a point or an exponent.
fn open_metrics(value: f64) -> String {
    let text = format_value(value);
    if value.is_finite() && !text.contains('.') { format!("{text}.0") } else { text }
}
