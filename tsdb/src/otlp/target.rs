//! What a resource is: `job`, `instance`, labels that its series have, and `target_info` for the rest.

use binnacle_proto::Labels;
use binnacle_proto::otlp::{KeyValue, Resource};

use super::attributes::{IDENTIFYING, LabelSet, attribute};
use super::{OtlpConfig, Sink};
use crate::Error;
use crate::remote::MetricKind;

/// Distance of the samples of `target_info` within one request, in milliseconds: half the look-back.
const STEP_MS: i64 = 150_000;

/// Samples of `target_info` of one resource in one request, at most.
const MAX_OF_RESOURCE: i64 = 1_000;

/// The same for all resources of a request. The last of each resource is not counted.
const MAX_OF_REQUEST: i64 = 10_000;

/// Labels that every series of a resource has.
pub(super) struct Target {
    job: Option<String>,
    instance: Option<String>,
    promoted: Labels,
}

impl Target {
    pub(super) fn of(resource: &Resource, config: &OtlpConfig) -> Self {
        let attributes = &resource.attributes;
        let job = attribute(attributes, "service.name").map(|name| {
            match attribute(attributes, "service.namespace") {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name,
            }
        });
        let is_promoted = |key: &str| config.promote_resource_attributes.iter().any(|one| one == key);
        Self {
            job,
            instance: attribute(attributes, "service.instance.id"),
            promoted: LabelSet::of(attributes, is_promoted).plain(),
        }
    }

    /// Bytes of these labels, about.
    pub(super) fn byte_len(&self) -> usize {
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        len(&self.job) + len(&self.instance) + self.promoted.byte_len()
    }

    /// Labels of a point.
    pub(super) fn labels(&self, attributes: &[KeyValue]) -> LabelSet {
        let mut labels = LabelSet::of(attributes, |_| true);
        for (name, value) in self.promoted.iter() {
            labels.set_missing(name, value);
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

/// Samples of `target_info` that a request may still come to.
pub(super) struct TargetInfo {
    left: i64,
}

impl Default for TargetInfo {
    fn default() -> Self {
        Self { left: MAX_OF_REQUEST }
    }
}

impl TargetInfo {
    /// `target_info` holds the attributes of a resource that its other series do not have, from the
    /// first to the last time of these.
    ///
    /// # Errors
    /// What the sink says.
    pub(super) fn write(
        &mut self,
        resource: &Resource,
        target: &Target,
        (first, last): (i64, i64),
        max_labels_bytes: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let describing = |key: &str| !IDENTIFYING.contains(&key);
        if !resource.attributes.iter().any(|one| describing(&one.key)) {
            return Ok(());
        }
        let mut labels = LabelSet::of(&resource.attributes, describing);
        target.identify(&mut labels);
        if !labels.contains("job") && !labels.contains("instance") {
            return Ok(());
        }
        let labels = labels.named("target_info", None);
        // What cannot be stored is refused once.
        let fits = labels.byte_len() <= max_labels_bytes;
        let steps = if fits { MAX_OF_RESOURCE.min(self.left) } else { 0 };
        let mut at_ms = first.max(last.saturating_sub(STEP_MS * steps));
        while at_ms < last {
            sink.sample(&labels, at_ms, 1.0)?;
            self.left -= 1;
            at_ms += STEP_MS;
        }
        sink.sample(&labels, last, 1.0)?;
        sink.family("target_info", MetricKind::Gauge, "Target metadata", "");
        Ok(())
    }
}
