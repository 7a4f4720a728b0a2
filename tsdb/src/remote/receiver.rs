//! Takes a remote write request from its compressed body to durable samples.

use std::sync::Arc;

use serde::Deserialize;

use super::collector::Collector;
use super::counters::{Counters, add};
use super::intake::Intake;
use super::metadata::Metadata;
use super::room::{Budget, Room};
use crate::exemplars::Exemplars;
use crate::{Db, Error};

/// What a byte of snappy can expand to at most, rounded up: a copy of 64 bytes takes three.
const SNAPPY_MAX_RATIO: usize = 22;

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
    #[error(
        "the request takes {bytes} bytes of memory while it is taken in; {limit} are allowed for all requests together (limit http.remote_write.max_in_flight_bytes): send less at a time"
    )]
    NeverFits { bytes: usize, limit: usize },
    #[error(transparent)]
    Storage(#[from] Error),
}

/// The receiving end; clones share caches and counters.
#[derive(Clone)]
pub(crate) struct Receiver(pub(super) Arc<Inner>);

pub(super) struct Inner {
    config: ReceiverConfig,
    budget: Budget,
    pub(super) intake: Intake,
}

impl Receiver {
    pub(crate) fn new(db: Db, config: ReceiverConfig, exemplars: Exemplars) -> Self {
        let intake = Intake::new(db, exemplars, config.max_metadata_families);
        let budget = Budget::new(config.max_in_flight_bytes);
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
            Ok(_)
            | Err(
                WriteError::NotRemoteWrite(_) | WriteError::TooLarge { .. } | WriteError::NeverFits { .. },
            ) => {
                add(&counters.requests_refused, 1);
            }
            Err(WriteError::Busy { .. }) => add(&counters.requests_busy, 1),
            Err(WriteError::Storage(_)) => add(&counters.requests_failed, 1),
        }
        done
    }

    /// Memory for one request, none of it taken yet.
    pub(crate) fn room(&self) -> Room {
        self.0.budget.room()
    }

    /// Takes what OpenTelemetry metrics come to; `room` is held until it is durable.
    pub(crate) fn collector(&self, room: Room) -> Collector {
        Collector::new(self.clone(), room)
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
        let mut room = self.room();
        room.grow(bytes + body.len())?;
        let batch = if bytes <= INLINE_BYTES {
            inner.intake.decode(version, &body, room)?
        } else {
            let shared = self.clone();
            let decoded =
                tokio::task::spawn_blocking(move || shared.0.intake.decode(version, &body, room)).await;
            decoded.map_err(|error| Error::Execution(format!("decoding ended early: {error}")))??
        };
        inner.intake.append(batch, &inner.intake.counters.write, now_ms).await
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
