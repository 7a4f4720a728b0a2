//! Where batches go: both stores at once.

use std::sync::Arc;

use binnacle_logs::Block;
use binnacle_proto::Labels;
use binnacle_tsdb::{Exemplar, Sample, SeriesRef};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::selfmetrics::Counters;

/// The place of a batch's lines in their stream.
///
/// The log store keeps only the end of what it has of a source. Lines that became durable before
/// earlier ones of the same source, or although those had failed, would make it take the earlier ones
/// for repeats when they come. So the lines of a stream are stored batch after batch; samples need no
/// order and wait for nobody.
pub(super) struct Turn {
    /// Ready when the lines of the batch before are settled; an error when that failed. `None` for the
    /// first.
    before: Option<oneshot::Receiver<()>>,
    /// Told when these are settled; dropped when that failed.
    done: oneshot::Sender<()>,
}

impl Turn {
    /// The turn after the one that `last` belongs to; `last` becomes this one's.
    pub(super) fn after(last: &mut Option<oneshot::Receiver<()>>) -> Self {
        let (done, settled) = oneshot::channel();
        Self { before: last.replace(settled), done }
    }
}

/// What a stream needs of the stores. The other implementation is that of the tests, which fails
/// when it is told to.
pub(super) trait Stores: Send + Sync + 'static {
    /// The reference of a series, or `None` when the database refuses it for good.
    ///
    /// # Errors
    /// When the database cannot tell now; ask again.
    fn resolve(&self, labels: &Labels) -> Result<Option<SeriesRef>, binnacle_tsdb::Error>;

    /// Keeps exemplars of series, in memory.
    fn exemplars(&self, exemplars: Vec<(Labels, Exemplar)>);

    /// Makes samples and lines durable, the lines in their turn. Returns how many samples were not stored
    /// because their series is not known any more: it must be resolved again.
    ///
    /// # Errors
    /// Why they are not; send them again.
    fn append(
        self: Arc<Self>,
        samples: Vec<Sample>,
        blocks: Vec<Block>,
        turn: Turn,
        now_ms: i64,
    ) -> BoxFuture<'static, Result<u64, String>>;
}

/// The real stores.
pub(super) struct Both {
    pub db: binnacle_tsdb::Db,
    /// Holds the exemplars.
    pub api: binnacle_tsdb::http::Api,
    pub logs: binnacle_logs::Db,
    pub counters: Arc<Counters>,
}

impl Stores for Both {
    fn resolve(&self, labels: &Labels) -> Result<Option<SeriesRef>, binnacle_tsdb::Error> {
        use binnacle_tsdb::Error;
        match self.db.resolve(labels) {
            Ok(series) => Ok(Some(series)),
            Err(error @ (Error::Unavailable { .. } | Error::Storage { .. })) => Err(error),
            Err(error) => {
                tracing::debug!(%labels, %error, "series refused");
                Ok(None)
            }
        }
    }

    fn exemplars(&self, exemplars: Vec<(Labels, Exemplar)>) {
        self.counters.exemplars.add(exemplars.len() as u64);
        self.api.add_exemplars(exemplars);
    }

    fn append(
        self: Arc<Self>,
        samples: Vec<Sample>,
        blocks: Vec<Block>,
        turn: Turn,
        now_ms: i64,
    ) -> BoxFuture<'static, Result<u64, String>> {
        async move {
            let in_turn = async {
                if let Some(before) = turn.before
                    && before.await.is_err()
                {
                    return Err("the lines of a batch before are not durable".to_owned());
                }
                self.append_lines(blocks, now_ms).await?;
                // Nobody waits when this is the last batch.
                let _ = turn.done.send(());
                Ok(())
            };
            let (samples, lines) = tokio::join!(self.append_samples(samples, now_ms), in_turn);
            lines.and(samples)
        }
        .boxed()
    }
}

impl Both {
    async fn append_samples(&self, samples: Vec<Sample>, now_ms: i64) -> Result<u64, String> {
        if samples.is_empty() {
            return Ok(0);
        }
        let asked = samples.len() as u64;
        match self.db.append(samples, now_ms).await {
            Ok(appended) => {
                self.counters.samples.add(appended.stored);
                self.counters.samples_repeated.add(appended.repeated);
                self.counters.samples_conflicting.add(appended.conflicting);
                self.counters.samples_out_of_bounds.add(appended.out_of_bounds);
                Ok(appended.unknown_series)
            }
            // Sending them again would not help: they are acknowledged, counted and said.
            Err(error @ binnacle_tsdb::Error::BadInput(_)) => {
                self.counters.samples_refused.add(asked);
                tracing::error!(samples = asked, %error, "samples refused");
                Ok(0)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn append_lines(&self, blocks: Vec<Block>, now_ms: i64) -> Result<(), String> {
        if blocks.is_empty() {
            return Ok(());
        }
        let asked = blocks.iter().map(|block| block.records.len() as u64).sum();
        match self.logs.append(blocks, now_ms).await {
            Ok(appended) => {
                self.counters.lines.add(appended.stored);
                self.counters.lines_repeated.add(appended.repeated);
                Ok(())
            }
            Err(error @ binnacle_logs::Error::BadInput(_)) => {
                self.counters.lines_refused.add(asked);
                tracing::error!(lines = asked, %error, "log lines refused");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
