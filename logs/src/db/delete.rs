//! Deleting records: blocks that hold some of them are written anew without.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::maintain::remove_block;
use super::seal::{start, write_block};
use super::{Db, Shared};
use crate::Error;
use crate::block::Segment;
use crate::logql::{LogExpr, Stage};
use crate::query::{Guard, Needs, Pipeline, Plan, scan};
use crate::store::{Batch, BlockMeta};
use crate::streams::Stream;

use super::read::{Part, PartData, Selection};

impl Db {
    /// Deletes the records of `start_ns..=end_ns` that a selector with line filters finds; answers how
    /// many. Blocks.
    ///
    /// # Errors
    /// [`Error::BadInput`] for an expression with other stages, and when storage fails: some blocks
    /// may be done then, and the same call does the rest.
    pub(crate) fn delete(&self, log: &LogExpr, start_ns: i64, end_ns: i64) -> Result<u64, Error> {
        if log.stages.iter().any(|stage| !matches!(stage, Stage::Line(_))) {
            return Err(Error::BadInput("deletes take a selector with line filters and nothing else".into()));
        }
        let pipeline = Pipeline::new(&log.stages, Needs::Only(Vec::new()), false)?;
        let plan = Plan {
            pipeline: &pipeline,
            start_ns,
            end_ns,
            needs_lines: true,
            needs_fields: false,
            backward: false,
        };
        let _one_at_a_time = self.shared.maintenance.lock();
        let streams = self.streams(&log.matchers, start_ns, end_ns);
        for stream in &streams {
            start(&self.shared, stream);
        }
        let waiting = || streams.iter().any(|stream| stream.head.lock().next_sealing().is_some());
        self.shared.sealers.wait_while(|| waiting() && !self.shared.seal_fails.load(Relaxed));
        if waiting() {
            return Err(Error::Unavailable { reason: "blocks cannot be written".into() });
        }
        let mut deleted = 0;
        for stream in &streams {
            let blocks: Vec<BlockMeta> = stream.head.lock().blocks().to_vec();
            for meta in blocks.iter().filter(|meta| meta.key.min_ns <= end_ns && meta.max_ns >= start_ns) {
                deleted += self.rewrite(stream, meta, &plan)?;
            }
        }
        self.shared.counters.deleted.fetch_add(deleted, Relaxed);
        Ok(deleted)
    }

    fn rewrite(&self, stream: &Arc<Stream>, meta: &BlockMeta, plan: &Plan<'_>) -> Result<u64, Error> {
        let shared: &Shared = &self.shared;
        let Some(segment) = self.read(meta, true)? else { return Ok(0) };
        let segment = Arc::new(segment);
        let part = Part {
            stream: 0,
            min_ns: meta.key.min_ns,
            max_ns: meta.max_ns,
            data: PartData::Memory(segment.clone()),
        };
        let selection = Selection { streams: vec![stream.clone()], parts: Vec::new() };
        let guard = Guard::new(&crate::Limits { timeout_ms: u64::MAX, ..shared.config.query.clone() });
        let mut gone = vec![false; segment.len()];
        let mut deleted = 0;
        scan(self, &selection, &part, plan, &guard, &mut |passed| {
            gone[passed.index] = true;
            deleted += 1;
            Ok(true)
        })?;
        if deleted == 0 {
            return Ok(0);
        }
        let mut kept = Segment::default();
        (0..segment.len()).filter(|index| !gone[*index]).for_each(|index| kept.push_from(&segment, index));
        let mut batch = Batch::default();
        remove_block(shared, &mut batch, meta);
        let new = write_block(shared, &mut batch, stream.id, &kept, meta.key.seq)?;
        shared.store.write(batch, true)?;
        stream.head.lock().replace_block(meta, new);
        Ok(deleted)
    }
}
