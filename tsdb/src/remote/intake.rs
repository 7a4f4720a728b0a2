//! What the protocols have in common: label sets into series, samples to the database, the rest counted.

use binnacle_proto::Labels;

use super::counters::{Counters, SampleCounters, add};
use super::metadata::Metadata;
use super::receiver::{Version, WriteError, Written};
use super::room::Room;
use super::wire::WireError;
use super::{v1, v2};
use crate::exemplars::{Exemplar, Exemplars};
use crate::{Db, Error, Sample, SeriesRef};

/// Exemplars and their labels that wait for the samples of their request, in bytes.
const MAX_EXEMPLAR_BYTES: usize = 4 << 20;

/// Longest reason given for a series that is refused, in bytes.
const MAX_REASON_BYTES: usize = 1024;

/// Samples for which there is memory at the beginning.
const FIRST_SAMPLES: usize = 128;

/// A request, decoded: the samples with their series, and what cannot be stored.
pub(super) struct Batch {
    /// What the request holds, until its samples are durable.
    pub(super) room: Room,
    pub(super) samples: Vec<Sample>,
    pub(super) histograms: u64,
    exemplars: Vec<(Labels, Exemplar)>,
    /// What these take.
    exemplar_bytes: usize,
    exemplars_kept: u64,
    bad_series_samples: u64,
    /// The first series that was refused, and why.
    bad_series: Option<String>,
}

/// What decoding needs besides the bytes.
pub(super) struct Intake {
    pub(super) db: Db,
    pub(super) metadata: Metadata,
    exemplars: Exemplars,
    pub(super) counters: Counters,
}

impl Intake {
    pub(super) fn new(db: Db, exemplars: Exemplars, max_metadata_families: usize) -> Self {
        let metadata = Metadata::new(max_metadata_families);
        Self { db, metadata, exemplars, counters: Counters::default() }
    }

    pub(super) fn decode(&self, version: Version, body: &[u8], room: Room) -> Result<Batch, WriteError> {
        let decoded = snap::raw::Decoder::new().decompress_vec(body).map_err(|error| {
            WriteError::NotRemoteWrite(format!("the body is not remote write: snappy block: {error}"))
        })?;
        let mut batch = Batch::new(room);
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
            Err(DecodeError::Room(error)) => Err(error),
        }
    }

    /// Makes the samples durable; `counters` are those of the protocol they came by.
    pub(super) async fn append(
        &self,
        mut batch: Batch,
        counters: &SampleCounters,
        now_ms: i64,
    ) -> Result<Written, WriteError> {
        add(&self.counters.histograms_dropped, batch.histograms);
        add(&counters.bad_series, batch.bad_series_samples);
        let mut refused = Vec::new();
        let mut refused_samples = batch.bad_series_samples;
        if let Some(reason) = &batch.bad_series {
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
            let appended = self.db.append(std::mem::take(&mut batch.samples), now_ms).await?;
            add(&counters.stored, appended.stored);
            add(&counters.repeated, appended.repeated);
            add(&counters.conflicting, appended.conflicting);
            add(&counters.out_of_bounds, appended.out_of_bounds);
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
        batch.keep_exemplars(self);
        let exemplars = batch.exemplars_kept;
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
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            samples: Vec::new(),
            histograms: 0,
            exemplars: Vec::new(),
            exemplar_bytes: 0,
            exemplars_kept: 0,
            bad_series_samples: 0,
            bad_series: None,
        }
    }

    /// Takes a sample, whose series is settled later: an empty one is two bytes of a request.
    #[inline]
    pub(super) fn push(&mut self, sample: Sample) -> Result<(), DecodeError> {
        if self.samples.len() == self.samples.capacity() {
            let more = self.samples.capacity().max(FIRST_SAMPLES);
            self.room.grow(more * size_of::<Sample>()).map_err(DecodeError::Room)?;
            self.samples.reserve_exact(more);
        }
        self.samples.push(sample);
        Ok(())
    }

    /// Takes an exemplar. The labels of many can be much longer than the request, when they share what is
    /// in it: beyond a measure they go to the ring, which is bounded, before the samples are durable.
    pub(super) fn exemplar(&mut self, intake: &Intake, series: &Labels, exemplar: Exemplar) {
        self.exemplar_bytes +=
            size_of::<(Labels, Exemplar)>() + series.byte_len() + exemplar.labels.byte_len();
        self.exemplars.push((series.clone(), exemplar));
        if self.exemplar_bytes > MAX_EXEMPLAR_BYTES {
            self.keep_exemplars(intake);
        }
    }

    fn keep_exemplars(&mut self, intake: &Intake) {
        self.exemplar_bytes = 0;
        self.exemplars_kept += intake.exemplars.add(std::mem::take(&mut self.exemplars));
    }

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
                self.bad_series.get_or_insert_with(|| shortened(reason));
            }
        }
    }
}

/// A reason may repeat what was sent, at any length.
fn shortened(mut reason: String) -> String {
    if reason.len() > MAX_REASON_BYTES {
        let cut = (0..=MAX_REASON_BYTES).rev().find(|at| reason.is_char_boundary(*at));
        reason.truncate(cut.unwrap_or(0));
        reason.push('…');
    }
    reason
}

/// Why decoding stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Storage(#[from] Error),
    #[error(transparent)]
    Room(WriteError),
}
