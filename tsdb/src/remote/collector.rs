//! Takes what OpenTelemetry metrics come to, each series as it is made: none waits with its labels.

use binnacle_proto::Labels;

use super::MetricKind;
use super::intake::Batch;
use super::receiver::{Receiver, WriteError, Written};
use super::room::Room;
use crate::exemplars::Exemplar;
use crate::otlp::Sink;
use crate::{Error, Sample, SeriesRef};

/// Samples of one request.
pub(crate) struct Collector {
    receiver: Receiver,
    batch: Batch,
}

impl Collector {
    pub(super) fn new(receiver: Receiver, room: Room) -> Self {
        Self { receiver, batch: Batch::new(room) }
    }

    /// Stores the samples; when it returns `Ok` they are durable.
    pub(crate) async fn append(self, now_ms: i64) -> Result<Written, WriteError> {
        let intake = &self.receiver.0.intake;
        intake.append(self.batch, &intake.counters.otlp, now_ms).await
    }
}

impl Sink for Collector {
    fn sample(&mut self, series: &Labels, t_ms: i64, value: f64) -> Result<(), Error> {
        let first = self.batch.samples.len();
        self.batch.samples.push(Sample { series: SeriesRef(0), t_ms, value });
        match self.receiver.0.intake.db.resolve(series) {
            Ok(series) => self.batch.settle(first, Ok(series)),
            // The store as a whole cannot take it: the sender keeps the request and comes back.
            Err(error @ (Error::Unavailable { .. } | Error::Storage { .. })) => return Err(error),
            Err(error) => self.batch.settle(first, Err(error.to_string())),
        }
        Ok(())
    }

    fn exemplar(&mut self, series: &Labels, exemplar: Exemplar) {
        self.batch.exemplar(&self.receiver.0.intake, series, exemplar);
    }

    fn family(&mut self, name: &str, kind: MetricKind, help: &str, unit: &str) {
        self.receiver.0.intake.metadata(name, kind, help, unit);
    }
}
