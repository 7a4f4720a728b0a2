//! A request into samples, exemplars and metadata; what cannot be taken is counted with its reason.

use std::collections::BTreeMap;

use binnacle_proto::STALE_NAN;
use binnacle_proto::otlp::Resource;

use super::attributes::LabelSet;
use super::histogram::histogram_point;
use super::message::{Exemplar as WireExemplar, ExportRequest, Metric, NumberPoint, SummaryPoint};
use super::names::{NameKind, metric_name};
use super::target::{Target, TargetInfo};
use super::{OtlpConfig, Refused, Sink};
use crate::Error;
use crate::exemplars::Exemplar;
use crate::promql::format_value;
use crate::remote::MetricKind;

/// Temporality of values since the start.
const CUMULATIVE: i32 = 2;

/// Flag of a point that says that there is no value any more.
const NO_RECORDED_VALUE: u32 = 1;

/// Most bounds or quantiles of a point: each is a series with all labels of the point.
pub(super) const MAX_SERIES_OF_POINT: usize = 1_000;

/// Why points are refused whose labels would be copied for several series.
const LABELS_TOO_LONG: &str = "points with more bytes of labels than tsdb.max_labels_bytes";

/// What became of a request.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// Data points that samples were made of.
    pub(crate) points: u64,
    /// Data points that cannot be taken, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

/// Translates a request. Points whose labels take more than `max_labels_bytes` are not taken apart.
///
/// # Errors
/// What the sink says.
pub(crate) fn translate(
    request: &ExportRequest,
    config: &OtlpConfig,
    max_labels_bytes: usize,
    sink: &mut dyn Sink,
) -> Result<Translated, Error> {
    let mut out = Translated::default();
    let mut target_info = TargetInfo::default();
    let empty = Resource::default();
    for metrics in &request.resource_metrics {
        let resource = metrics.resource.as_ref().unwrap_or(&empty);
        let target = Target::of(resource, config);
        let mut one = OneResource { target, times: None, max_labels_bytes, out: &mut out, sink: &mut *sink };
        for metric in metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            one.metric(metric)?;
        }
        if let Some(times) = one.times {
            target_info.write(resource, &one.target, times, max_labels_bytes, one.sink)?;
        }
    }
    Ok(out)
}

struct OneResource<'a> {
    target: Target,
    /// Times of the first and the last point, in milliseconds.
    times: Option<(i64, i64)>,
    max_labels_bytes: usize,
    out: &'a mut Translated,
    sink: &'a mut dyn Sink,
}

impl OneResource<'_> {
    fn metric(&mut self, metric: &Metric) -> Result<(), Error> {
        let (kind, name_kind) = kinds(metric);
        let name = metric_name(&metric.name, &metric.unit, name_kind);
        let points = points(metric);
        let cumulative = |temporality| temporality == CUMULATIVE;
        if name.is_empty() {
            self.refuse("metrics without a name", points);
            return Ok(());
        }
        // Every point has these.
        if name.len() + self.target.byte_len() > self.max_labels_bytes {
            self.refuse(LABELS_TOO_LONG, points);
            return Ok(());
        }
        if let Some(gauge) = &metric.gauge {
            for point in &gauge.data_points {
                self.number(&name, point)?;
            }
        } else if let Some(sum) = &metric.sum {
            if !cumulative(sum.aggregation_temporality) {
                self.refuse("sums whose temporality is not cumulative", points);
                return Ok(());
            }
            for point in &sum.data_points {
                self.number(&name, point)?;
            }
        } else if let Some(histogram) = &metric.histogram {
            if !cumulative(histogram.aggregation_temporality) {
                self.refuse("histograms whose temporality is not cumulative", points);
                return Ok(());
            }
            for point in &histogram.data_points {
                let time_ms = ms(point.time_unix_nano);
                let labels = self.target.labels(&point.attributes);
                let taken = self
                    .check_len(&name, &labels)
                    .and_then(|()| histogram_point(&name, point, &labels, time_ms, self.sink));
                self.settle(taken, time_ms)?;
            }
        } else if let Some(summary) = &metric.summary {
            for point in &summary.data_points {
                let taken = self.summary(&name, point);
                self.settle(taken, ms(point.time_unix_nano))?;
            }
        } else {
            if points > 0 {
                self.refuse("exponential histograms, which are not stored yet", points);
            }
            return Ok(());
        }
        self.sink.family(&name, kind, &metric.description, &metric.unit);
        Ok(())
    }

    fn number(&mut self, name: &str, point: &NumberPoint) -> Result<(), Error> {
        let value = match (point.as_double, point.as_int) {
            _ if is_gone(point.flags) => STALE_NAN,
            (Some(value), _) => value,
            (None, Some(value)) => value as f64,
            (None, None) => 0.0,
        };
        let time_ms = ms(point.time_unix_nano);
        let labels = self.target.labels(&point.attributes).named(name, None);
        self.sink.sample(&labels, time_ms, value)?;
        for exemplar in point.exemplars.iter().filter_map(exemplar) {
            self.sink.exemplar(&labels, exemplar);
        }
        self.settle(Ok(()), time_ms)
    }

    fn summary(&mut self, name: &str, point: &SummaryPoint) -> Result<(), Refused> {
        let time_ms = ms(point.time_unix_nano);
        let labels = self.target.labels(&point.attributes);
        self.check_len(name, &labels)?;
        if point.quantile_values.len() > MAX_SERIES_OF_POINT {
            return Err(Refused::Point("summaries with too many quantiles"));
        }
        let gone = is_gone(point.flags);
        let value = |value: f64| if gone { STALE_NAN } else { value };
        self.sink.sample(&labels.named(&format!("{name}_sum"), None), time_ms, value(point.sum))?;
        let count = value(point.count as f64);
        self.sink.sample(&labels.named(&format!("{name}_count"), None), time_ms, count)?;
        for one in &point.quantile_values {
            let quantile = format_value(one.quantile);
            let series = labels.named(name, Some(("quantile", &quantile)));
            self.sink.sample(&series, time_ms, value(one.value))?;
        }
        Ok(())
    }

    /// Labels of a point with several series are copied for each.
    fn check_len(&self, name: &str, labels: &LabelSet) -> Result<(), Refused> {
        if labels.named(name, None).byte_len() > self.max_labels_bytes {
            return Err(Refused::Point(LABELS_TOO_LONG));
        }
        Ok(())
    }

    /// Counts what became of a point.
    fn settle(&mut self, taken: Result<(), Refused>, time_ms: i64) -> Result<(), Error> {
        match taken {
            Ok(()) => {
                self.out.points += 1;
                let (first, last) = self.times.unwrap_or((time_ms, time_ms));
                self.times = Some((first.min(time_ms), last.max(time_ms)));
            }
            Err(Refused::Point(reason)) => self.refuse(reason, 1),
            Err(Refused::All(error)) => return Err(error),
        }
        Ok(())
    }

    fn refuse(&mut self, reason: &'static str, points: u64) {
        *self.out.refused.entry(reason).or_default() += points;
    }
}

fn kinds(metric: &Metric) -> (MetricKind, NameKind) {
    if metric.gauge.is_some() {
        return (MetricKind::Gauge, NameKind::Gauge);
    }
    match &metric.sum {
        Some(sum) if sum.is_monotonic => (MetricKind::Counter, NameKind::Counter),
        Some(_) => (MetricKind::Gauge, NameKind::Other),
        None if metric.summary.is_some() => (MetricKind::Summary, NameKind::Other),
        None => (MetricKind::Histogram, NameKind::Other),
    }
}

/// Data points of a metric.
fn points(metric: &Metric) -> u64 {
    let count = metric.gauge.as_ref().map_or(0, |data| data.data_points.len())
        + metric.sum.as_ref().map_or(0, |data| data.data_points.len())
        + metric.histogram.as_ref().map_or(0, |data| data.data_points.len())
        + metric.exponential_histogram.as_ref().map_or(0, |data| data.data_points.len())
        + metric.summary.as_ref().map_or(0, |data| data.data_points.len());
    count as u64
}

pub(super) fn is_gone(flags: u32) -> bool {
    flags & NO_RECORDED_VALUE != 0
}

fn ms(unix_nano: u64) -> i64 {
    (unix_nano / 1_000_000) as i64
}

/// An exemplar as it is kept; `None` when it has no value.
pub(super) fn exemplar(wire: &WireExemplar) -> Option<Exemplar> {
    let value = wire.as_double.or(wire.as_int.map(|value| value as f64))?;
    let mut labels = LabelSet::of(&wire.filtered_attributes, |_| true);
    for (name, id) in [("trace_id", &wire.trace_id), ("span_id", &wire.span_id)] {
        if id.iter().any(|byte| *byte != 0) {
            labels.set(name, id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
    }
    Some(Exemplar { labels: labels.plain(), value, t_ms: ms(wire.time_unix_nano) })
}
