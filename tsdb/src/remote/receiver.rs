//! Takes a remote write request from its compressed body to durable samples.

use std::sync::Arc;

use binnacle_proto::Labels;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::counters::{Counters, add};
use super::metadata::Metadata;
use super::wire::WireError;
use super::{v1, v2};
use crate::exemplars::{Exemplar, Exemplars};
use crate::otlp::Translated;
use crate::{Db, Error, Sample, SeriesRef};

/// What a byte of snappy can expand to at most, rounded up: a copy of 64 bytes takes three.
const SNAPPY_MAX_RATIO: usize = 22;

/// Unit of the budget for requests in flight, in bytes.
const BUDGET_UNIT: usize = 1024;

/// Bodies larger than this are decoded on a blocking thread, in bytes after decompression.
const INLINE_BYTES: usize = 4 << 20;

/// Limits of remote write; part of the section `[http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiverConfig {
    /// Largest compressed body, in bytes.
    pub max_body_bytes: usize,
    /// Largest body after decompression, in bytes.
    pub max_decoded_bytes: usize,
    /// Memory of all requests in flight, in bytes; more are asked to come back (429).
    pub max_in_flight_bytes: usize,
    /// Metric families whose metadata is kept.
    pub max_metadata_families: usize,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            max_decoded_bytes: 128 << 20,
            max_in_flight_bytes: 256 << 20,
            max_metadata_families: 50_000,
        }
    }
}

/// The version of the protocol that a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

/// What became of a request that could be read.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Samples that are durable, repeated ones included.
    pub(crate) samples: u64,
    /// Exemplars that are kept.
    pub(crate) exemplars: u64,
    /// Samples that were refused.
    pub(crate) refused_samples: u64,
    /// What was refused, as a sentence: the request is not to be sent again.
    pub(crate) refused: Option<String>,
}

/// Why nothing of a request was taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("{0}")]
    NotRemoteWrite(String),
    #[error(
        "the body is {bytes} bytes after decompression; {limit} are allowed (limit http.remote_write.max_decoded_bytes)"
    )]
    TooLarge { bytes: usize, limit: usize },
    #[error(
        "too many requests at one time: they would hold more than {limit} bytes (limit http.remote_write.max_in_flight_bytes); come back later"
    )]
    Busy { limit: usize },
    #[error(transparent)]
    Storage(#[from] Error),
}

/// A request, decoded: the samples with their series, and what cannot be stored.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) samples: Vec<Sample>,
    pub(super) histograms: u64,
    pub(super) exemplars: Vec<(Labels, Exemplar)>,
    pub(super) bad_series_samples: u64,
    /// The first series that was refused, and why.
    pub(super) bad_series: Option<String>,
}

/// The receiving end; clones share caches and counters.
#[derive(Clone)]
pub(crate) struct Receiver(Arc<Inner>);

struct Inner {
    config: ReceiverConfig,
    budget: Semaphore,
    intake: Intake,
}

/// What decoding needs besides the bytes.
pub(super) struct Intake {
    db: Db,
    pub(super) metadata: Metadata,
    exemplars: Exemplars,
    counters: Counters,
}

impl Receiver {
    pub(crate) fn new(db: Db, config: ReceiverConfig, exemplars: Exemplars) -> Self {
        let intake = Intake {
            db,
            exemplars,
            metadata: Metadata::new(config.max_metadata_families),
            counters: Counters::default(),
        };
        let budget = Semaphore::new((config.max_in_flight_bytes / BUDGET_UNIT).max(1));
        Self(Arc::new(Inner { config, budget, intake }))
    }

    pub(crate) fn config(&self) -> &ReceiverConfig {
        &self.0.config
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.0.intake.metadata
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.intake.counters
    }

    /// Decodes a body and appends its samples; when it returns `Ok` what it counts is durable.
    pub(crate) async fn write(
        &self,
        version: Version,
        body: bytes::Bytes,
        now_ms: i64,
    ) -> Result<Written, WriteError> {
        let done = self.write_uncounted(version, body, now_ms).await;
        let counters = self.counters();
        match &done {
            Ok(written) if written.refused.is_none() => add(&counters.requests_ok, 1),
            Ok(_) | Err(WriteError::NotRemoteWrite(_) | WriteError::TooLarge { .. }) => {
                add(&counters.requests_refused, 1);
            }
            Err(WriteError::Busy { .. }) => add(&counters.requests_busy, 1),
            Err(WriteError::Storage(_)) => add(&counters.requests_failed, 1),
        }
        done
    }

    /// Takes `bytes` from the budget of requests in flight, until the answer is dropped.
    pub(crate) fn room(&self, bytes: usize) -> Result<SemaphorePermit<'_>, WriteError> {
        let units = u32::try_from(bytes / BUDGET_UNIT + 1).unwrap_or(u32::MAX);
        let limit = self.0.config.max_in_flight_bytes;
        self.0.budget.try_acquire_many(units).map_err(|_| WriteError::Busy { limit })
    }

    /// Stores what OpenTelemetry metrics came to; when it returns `Ok` it is durable.
    pub(crate) async fn store(&self, translated: Translated, now_ms: i64) -> Result<Written, WriteError> {
        let intake = &self.0.intake;
        let mut batch = Batch { exemplars: translated.exemplars, ..Batch::default() };
        for (labels, t_ms, value) in translated.samples {
            let first = batch.samples.len();
            batch.samples.push(Sample { series: SeriesRef(0), t_ms, value });
            match intake.db.resolve(&labels) {
                Ok(series) => batch.settle(first, Ok(series)),
                Err(error @ (Error::Unavailable { .. } | Error::Storage { .. })) => return Err(error.into()),
                Err(error) => batch.settle(first, Err(error.to_string())),
            }
        }
        for note in &translated.metadata {
            intake.metadata(&note.name, note.kind, &note.help, &note.unit);
        }
        intake.append(batch, now_ms).await
    }

    async fn write_uncounted(
        &self,
        version: Version,
        body: bytes::Bytes,
        now_ms: i64,
    ) -> Result<Written, WriteError> {
        let inner = &self.0;
        add(&inner.intake.counters.bytes, body.len() as u64);
        let bytes = declared_len(&body)?;
        let limit = inner.config.max_decoded_bytes;
        if bytes > limit {
            return Err(WriteError::TooLarge { bytes, limit });
        }
        let _room = self.room(bytes + body.len())?;
        let batch = if bytes <= INLINE_BYTES {
            inner.intake.decode(version, &body)?
        } else {
            let shared = self.clone();
            let decoded = tokio::task::spawn_blocking(move || shared.0.intake.decode(version, &body)).await;
            decoded.map_err(|error| Error::Execution(format!("decoding ended early: {error}")))??
        };
        inner.intake.append(batch, now_ms).await
    }
}

/// The length that a snappy block declares, checked against what it can be.
fn declared_len(body: &[u8]) -> Result<usize, WriteError> {
    let not_snappy = |reason: String| {
        WriteError::NotRemoteWrite(format!(
            "the body is not remote write: it must be a snappy block (Content-Encoding: snappy) that holds a \
             protobuf WriteRequest; {reason}"
        ))
    };
    let declared = snap::raw::decompress_len(body).map_err(|error| not_snappy(error.to_string()))?;
    if declared > body.len().saturating_mul(SNAPPY_MAX_RATIO) {
        let len = body.len();
        return Err(not_snappy(format!("it declares {declared} bytes, which {len} bytes cannot hold")));
    }
    Ok(declared)
}

impl Intake {
    fn decode(&self, version: Version, body: &[u8]) -> Result<Batch, WriteError> {
        let decoded = snap::raw::Decoder::new().decompress_vec(body).map_err(|error| {
            WriteError::NotRemoteWrite(format!("the body is not remote write: snappy block: {error}"))
        })?;
        let mut batch = Batch::default();
        let (read, message) = match version {
            Version::V1 => (v1::decode(&decoded, self, &mut batch), "prometheus.WriteRequest"),
            Version::V2 => (v2::decode(&decoded, self, &mut batch), "io.prometheus.write.v2.Request"),
        };
        match read {
            Ok(()) => Ok(batch),
            Err(DecodeError::Wire(error)) => Err(WriteError::NotRemoteWrite(format!(
                "the body is not remote write: it is not a {message}: {error}"
            ))),
            Err(DecodeError::Storage(error)) => Err(error.into()),
        }
    }

    async fn append(&self, batch: Batch, now_ms: i64) -> Result<Written, WriteError> {
        let counters = &self.counters;
        add(&counters.histograms_dropped, batch.histograms);
        add(&counters.samples_bad_series, batch.bad_series_samples);
        let mut refused = Vec::new();
        let mut refused_samples = batch.bad_series_samples;
        if let Some(reason) = batch.bad_series {
            refused.push(format!(
                "{} samples of series that cannot be stored: {reason}",
                batch.bad_series_samples
            ));
        }
        if batch.histograms > 0 {
            refused.push(format!("{} native histograms, which are not stored yet", batch.histograms));
        }
        let mut samples = 0;
        if !batch.samples.is_empty() {
            let appended = self.db.append(batch.samples, now_ms).await?;
            add(&counters.samples_stored, appended.stored);
            add(&counters.samples_repeated, appended.repeated);
            add(&counters.samples_conflicting, appended.conflicting);
            add(&counters.samples_out_of_bounds, appended.out_of_bounds);
            if appended.unknown_series > 0 {
                // Dropped between look-up and append. Sent again, it is found; the rest is a repetition.
                let reason = format!("{} series ended while their samples came in", appended.unknown_series);
                return Err(Error::Unavailable { reason }.into());
            }
            samples = appended.stored + appended.repeated;
            refused_samples += appended.conflicting + appended.out_of_bounds;
            if appended.conflicting > 0 {
                refused.push(format!(
                    "{}: duplicate sample for timestamp, with another value",
                    appended.conflicting
                ));
            }
            if appended.out_of_bounds > 0 {
                refused.push(format!(
                    "{}: out of bounds, older than the out-of-order window or too far in the future",
                    appended.out_of_bounds
                ));
            }
        }
        let exemplars = self.exemplars.add(batch.exemplars);
        let refused = (!refused.is_empty()).then(|| format!("refused: {}", refused.join("; ")));
        Ok(Written { samples, exemplars, refused_samples, refused })
    }

    /// The series of a label block; `labels` parses it when it is not known yet.
    pub(super) fn series(
        &self,
        block: &[u8],
        labels: impl FnOnce() -> Result<Result<Labels, String>, WireError>,
    ) -> Result<Result<SeriesRef, String>, DecodeError> {
        let mut broken = None;
        let resolved = self.db.resolve_cached(block, || match labels() {
            Ok(Ok(labels)) if labels.metric_name().is_none() => {
                Err(Error::BadInput(format!("{labels} has no metric name (label __name__)")))
            }
            Ok(labels) => labels.map_err(Error::BadInput),
            Err(error) => {
                broken = Some(error);
                Err(Error::BadInput(error.to_string()))
            }
        });
        match (resolved, broken) {
            (_, Some(error)) => Err(error.into()),
            (Ok(series), None) => Ok(Ok(series)),
            // The store as a whole cannot take it: the sender keeps the request and comes back.
            (Err(error @ (Error::Unavailable { .. } | Error::Storage { .. })), None) => Err(error.into()),
            (Err(error), None) => Ok(Err(error.to_string())),
        }
    }

    /// Keeps metadata, or counts that there was no room.
    pub(super) fn metadata(&self, name: &str, kind: super::MetricKind, help: &str, unit: &str) {
        if !self.metadata.set(name, kind, help, unit) {
            add(&self.counters.metadata_dropped, 1);
        }
    }
}

impl Batch {
    /// Gives the samples from `first` on their series, or takes them out with the reason.
    pub(super) fn settle(&mut self, first: usize, series: Result<SeriesRef, String>) {
        match series {
            Ok(series) => {
                for sample in &mut self.samples[first..] {
                    sample.series = series;
                }
            }
            Err(reason) => {
                self.bad_series_samples += (self.samples.len() - first) as u64;
                self.samples.truncate(first);
                self.bad_series.get_or_insert(reason);
            }
        }
    }
}

/// Why decoding stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Storage(#[from] Error),
}
