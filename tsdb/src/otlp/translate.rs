//! A request into samples, exemplars and metadata; what cannot be taken is counted with its reason.

use std::collections::BTreeMap;

use binnacle_proto::otlp::{KeyValue, Resource};
use binnacle_proto::{Labels, STALE_NAN};

use super::OtlpConfig;
use super::attributes::{IDENTIFYING, LabelSet, attribute};
use super::histogram::histogram_point;
use super::message::{Exemplar as WireExemplar, ExportRequest, Metric, NumberPoint, SummaryPoint};
use super::names::{NameKind, metric_name};
use crate::exemplars::Exemplar;
use crate::promql::format_value;
use crate::remote::MetricKind;

/// Temporality of values since the start.
const CUMULATIVE: i32 = 2;

/// Flag of a point that says that there is no value any more.
const NO_RECORDED_VALUE: u32 = 1;

/// Distance of the samples of `target_info` within one request, in milliseconds: half the look-back.
const TARGET_INFO_STEP_MS: i64 = 150_000;

/// Samples of `target_info` of one resource in one request, at most.
const MAX_TARGET_INFO: i64 = 1_000;

/// What a request comes to.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    pub(crate) samples: Vec<(Labels, i64, f64)>,
    pub(crate) exemplars: Vec<(Labels, Exemplar)>,
    pub(crate) metadata: Vec<FamilyNote>,
    /// Data points that samples were made of.
    pub(crate) points: u64,
    /// Data points that cannot be taken, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

/// What is said of a family.
#[derive(Debug, PartialEq)]
pub(crate) struct FamilyNote {
    pub(crate) name: String,
    pub(crate) kind: MetricKind,
    pub(crate) help: String,
    pub(crate) unit: String,
}

/// Translates a request.
pub(crate) fn translate(request: &ExportRequest, config: &OtlpConfig) -> Translated {
    let mut out = Translated::default();
    let empty = Resource::default();
    for metrics in &request.resource_metrics {
        let resource = metrics.resource.as_ref().unwrap_or(&empty);
        let mut one = OneResource { target: Target::of(resource, config), times: None, out: &mut out };
        for metric in metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            one.metric(metric);
        }
        let times = one.times;
        target_info(resource, times, &mut out);
    }
    out
}

/// Labels that every series of a resource has.
pub(super) struct Target {
    job: Option<String>,
    instance: Option<String>,
    promoted: Vec<KeyValue>,
}

impl Target {
    fn of(resource: &Resource, config: &OtlpConfig) -> Self {
        let attributes = &resource.attributes;
        let job = attribute(attributes, "service.name").map(|name| {
            match attribute(attributes, "service.namespace") {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name,
            }
        });
        let is_promoted = |one: &&KeyValue| config.promote_resource_attributes.contains(&one.key);
        Self {
            job,
            instance: attribute(attributes, "service.instance.id"),
            promoted: attributes.iter().filter(is_promoted).cloned().collect(),
        }
    }

    /// Labels of a point.
    pub(super) fn labels(&self, attributes: &[KeyValue]) -> LabelSet {
        let mut labels = LabelSet::of(attributes, |_| true);
        for one in &self.promoted {
            let value = one.text();
            labels.set_missing(&super::names::label_name(&one.key), &value);
        }
        self.identify(&mut labels);
        labels
    }

    fn identify(&self, labels: &mut LabelSet) {
        if let Some(job) = &self.job {
            labels.set("job", job.as_str());
        }
        if let Some(instance) = &self.instance {
            labels.set("instance", instance.as_str());
        }
    }
}

struct OneResource<'a> {
    target: Target,
    /// Times of the first and the last point, in milliseconds.
    times: Option<(i64, i64)>,
    out: &'a mut Translated,
}

impl OneResource<'_> {
    fn metric(&mut self, metric: &Metric) {
        let (kind, name_kind) = kinds(metric);
        let name = metric_name(&metric.name, &metric.unit, name_kind);
        let points = points(metric);
        if name.is_empty() {
            self.refuse("metrics without a name", points);
            return;
        }
        let cumulative = |temporality| temporality == CUMULATIVE;
        if let Some(gauge) = &metric.gauge {
            gauge.data_points.iter().for_each(|point| self.number(&name, point));
        } else if let Some(sum) = &metric.sum {
            if !cumulative(sum.aggregation_temporality) {
                self.refuse("sums whose temporality is not cumulative", points);
                return;
            }
            sum.data_points.iter().for_each(|point| self.number(&name, point));
        } else if let Some(histogram) = &metric.histogram {
            if !cumulative(histogram.aggregation_temporality) {
                self.refuse("histograms whose temporality is not cumulative", points);
                return;
            }
            for point in &histogram.data_points {
                let time_ms = ms(point.time_unix_nano);
                let labels = self.target.labels(&point.attributes);
                match histogram_point(&name, point, &labels, time_ms, self.out) {
                    Ok(()) => self.seen(time_ms),
                    Err(reason) => self.refuse(&reason, 1),
                }
            }
        } else if let Some(summary) = &metric.summary {
            summary.data_points.iter().for_each(|point| self.summary(&name, point));
        } else {
            if points > 0 {
                self.refuse("exponential histograms, which are not stored yet", points);
            }
            return;
        }
        let (help, unit) = (metric.description.clone(), metric.unit.clone());
        self.out.metadata.push(FamilyNote { name, kind, help, unit });
    }

    fn number(&mut self, name: &str, point: &NumberPoint) {
        let value = match (point.as_double, point.as_int) {
            _ if is_gone(point.flags) => STALE_NAN,
            (Some(value), _) => value,
            (None, Some(value)) => value as f64,
            (None, None) => 0.0,
        };
        let time_ms = ms(point.time_unix_nano);
        match self.target.labels(&point.attributes).named(name, None) {
            Ok(labels) => {
                for one in &point.exemplars {
                    self.out.exemplars.extend(exemplar(one).map(|exemplar| (labels.clone(), exemplar)));
                }
                self.out.samples.push((labels, time_ms, value));
                self.seen(time_ms);
            }
            Err(reason) => self.refuse(&reason, 1),
        }
    }

    fn summary(&mut self, name: &str, point: &SummaryPoint) {
        let time_ms = ms(point.time_unix_nano);
        let labels = self.target.labels(&point.attributes);
        let gone = is_gone(point.flags);
        let value = |value: f64| if gone { STALE_NAN } else { value };
        let mut rows = vec![
            (labels.named(&format!("{name}_sum"), None), value(point.sum)),
            (labels.named(&format!("{name}_count"), None), value(point.count as f64)),
        ];
        for one in &point.quantile_values {
            let quantile = format_value(one.quantile);
            rows.push((labels.named(name, Some(("quantile", &quantile))), value(one.value)));
        }
        for (labels, value) in rows {
            match labels {
                Ok(labels) => self.out.samples.push((labels, time_ms, value)),
                Err(reason) => return self.refuse(&reason, 1),
            }
        }
        self.seen(time_ms);
    }

    fn seen(&mut self, time_ms: i64) {
        self.out.points += 1;
        let (first, last) = self.times.unwrap_or((time_ms, time_ms));
        self.times = Some((first.min(time_ms), last.max(time_ms)));
    }

    fn refuse(&mut self, reason: &str, points: u64) {
        *self.out.refused.entry(reason.to_owned()).or_default() += points;
    }
}

/// `target_info` holds the attributes of a resource that its other series do not have.
fn target_info(resource: &Resource, times: Option<(i64, i64)>, out: &mut Translated) {
    let Some((first, last)) = times else { return };
    let describing = |key: &str| !IDENTIFYING.contains(&key);
    if !resource.attributes.iter().any(|one| describing(&one.key)) {
        return;
    }
    let mut labels = LabelSet::of(&resource.attributes, describing);
    Target::of(resource, &OtlpConfig::default()).identify(&mut labels);
    if !labels.contains("job") && !labels.contains("instance") {
        return;
    }
    let labels = match labels.named("target_info", None) {
        Ok(labels) => labels,
        Err(reason) => {
            // The points are stored; what describes their source is not.
            *out.refused.entry(format!("target_info: {reason}")).or_default() += 0;
            return;
        }
    };
    let mut at_ms = first.max(last.saturating_sub(TARGET_INFO_STEP_MS * MAX_TARGET_INFO));
    while at_ms < last {
        out.samples.push((labels.clone(), at_ms, 1.0));
        at_ms += TARGET_INFO_STEP_MS;
    }
    out.samples.push((labels, last, 1.0));
    out.metadata.push(FamilyNote {
        name: "target_info".to_owned(),
        kind: MetricKind::Gauge,
        help: "Target metadata".to_owned(),
        unit: String::new(),
    });
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
    let labels = labels.plain()?;
    Some(Exemplar { labels, value, t_ms: ms(wire.time_unix_nano) })
}
