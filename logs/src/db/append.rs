//! The way in: what is not acceptable is cut or refused and counted, the rest waits to be durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use binnacle_proto::Labels;
use tokio::sync::oneshot;

use super::Db;
use super::commit::{Item, Request};
use super::wal;
use crate::streams::Stream;
use crate::{Appended, Block, Error, Record};

/// Nanoseconds of a millisecond.
const MS: i64 = 1_000_000;

/// Why records were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The reason of the last one.
    pub reason: String,
    /// Whether some would be taken later.
    pub try_again: bool,
}

impl Refusal {
    /// Notes one more; one worth another try is not hidden by one that is not.
    fn note(why: &mut Option<Self>, reason: String, try_again: bool) {
        if try_again || why.as_ref().is_none_or(|why| !why.try_again) {
            *why = Some(Self { reason, try_again });
        }
    }
}

impl Db {
    /// Appends records; when this returns `Ok` they are durable, each once. Records that are refused
    /// for good are counted in [`Appended::refused`] and do not hold up the others.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they cannot be made durable: nothing was acknowledged, retry.
    pub async fn append(&self, blocks: Vec<Block>, now_ms: i64) -> Result<Appended, Error> {
        Ok(self.append_explained(blocks, now_ms).await?.0)
    }

    /// As [`Db::append`], and why records were refused.
    pub(crate) async fn append_explained(
        &self,
        blocks: Vec<Block>,
        now_ms: i64,
    ) -> Result<(Appended, Option<Refusal>), Error> {
        let mut why = None;
        let mut refused = 0;
        let mut items = Vec::with_capacity(blocks.len());
        for block in blocks {
            let count = block.records.len() as u64;
            match self.resolve(&block.labels) {
                Ok(stream) => {
                    let (item, dropped) = self.admit(stream, block, now_ms, &mut why);
                    refused += dropped;
                    items.push(item);
                }
                Err(refusal) => {
                    refused += count;
                    Refusal::note(&mut why, refusal.reason, refusal.try_again);
                }
            }
        }
        let mut appended = Appended { refused, ..Appended::default() };
        if items.is_empty() {
            return Ok((appended, why));
        }
        let done = self.submit(items, now_ms).await?;
        appended.stored = done.stored;
        appended.repeated = done.repeated;
        Ok((appended, why))
    }

    async fn submit(&self, items: Vec<Item>, now_ms: i64) -> Result<Appended, Error> {
        let closed = || Error::Unavailable { reason: "the log store is closed".into() };
        let frame = wal::encode(&items);
        let bytes: usize = items.iter().flat_map(|item| &item.records).map(|r| r.line.len() + 64).sum();
        let room = &self.shared.room;
        let want = (bytes >> 10).clamp(1, (self.shared.config.pending_bytes >> 10).max(1));
        let permit = room.clone().acquire_many_owned(want as u32).await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let commits = self.threads.commits.lock().clone().ok_or_else(closed)?;
        let request = Request { items, frame, now_ms, reply, permit };
        commits.send(request).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// The stream with these labels, marked as about to be written to.
    fn resolve(&self, labels: &Labels) -> Result<Arc<Stream>, Refusal> {
        {
            let streams = self.shared.streams.read();
            if let Some(stream) = streams.get(labels) {
                stream.pending.fetch_add(1, Relaxed);
                return Ok(stream.clone());
            }
        }
        let counters = &self.shared.counters;
        if let Some(reason) = self.unacceptable(labels) {
            counters.refused_labels.fetch_add(1, Relaxed);
            return Err(Refusal { reason, try_again: false });
        }
        let mut streams = self.shared.streams.write();
        let stream = match streams.get(labels) {
            Some(stream) => stream.clone(),
            None if streams.len() >= self.shared.config.max_streams => {
                counters.refused_streams.fetch_add(1, Relaxed);
                let max = self.shared.config.max_streams;
                let reason = format!("stream {labels} would be one more than {max} (logs.max_streams)");
                return Err(Refusal { reason, try_again: true });
            }
            None => streams.create(labels),
        };
        stream.pending.fetch_add(1, Relaxed);
        Ok(stream)
    }

    fn unacceptable(&self, labels: &Labels) -> Option<String> {
        let config = &self.shared.config;
        if labels.is_empty() {
            return Some("a stream needs at least one label".into());
        }
        if labels.len() > config.max_labels {
            let (have, max) = (labels.len(), config.max_labels);
            return Some(format!("stream {labels} has {have} labels, more than {max} (logs.max_labels)"));
        }
        for (name, value) in labels.iter() {
            if name.len() > config.max_label_name_bytes {
                return Some(format!(
                    "a label name is longer than {} bytes (logs.max_label_name_bytes)",
                    config.max_label_name_bytes
                ));
            }
            if value.len() > config.max_label_value_bytes {
                return Some(format!(
                    "the value of label {name} is longer than {} bytes (logs.max_label_value_bytes)",
                    config.max_label_value_bytes
                ));
            }
        }
        None
    }

    /// Keeps what may be stored of a block.
    fn admit(
        &self,
        stream: Arc<Stream>,
        block: Block,
        now_ms: i64,
        why: &mut Option<Refusal>,
    ) -> (Item, u64) {
        let config = &self.shared.config;
        let counters = &self.shared.counters;
        let oldest = self.shared.oldest_ns(&stream, now_ms);
        let newest = now_ms.saturating_add(i64::from(config.max_future_seconds) * 1000).saturating_mul(MS);
        let before = block.records.len();
        let mut records = block.records;
        // What has a position is read from files by an agent, which waits when its own limit says so.
        let is_limited = block.position.is_none() && config.stream_bytes_per_second > 0;
        let mut rate = stream.rate.lock();
        if is_limited {
            rate.fill(config, now_ms);
        }
        records.retain_mut(|record| {
            if record.time_ns < oldest {
                counters.refused_old.fetch_add(1, Relaxed);
                let reason =
                    format!("entry for stream {} has timestamp too old: {} ns", block.labels, record.time_ns);
                Refusal::note(why, reason, false);
                return false;
            }
            if record.time_ns > newest {
                counters.refused_future.fetch_add(1, Relaxed);
                let reason =
                    format!("entry for stream {} has timestamp too new: {} ns", block.labels, record.time_ns);
                Refusal::note(why, reason, false);
                return false;
            }
            self.cut(record);
            if is_limited && !rate.take(record.line.len() as u64) {
                counters.refused_rate.fetch_add(1, Relaxed);
                let reason = format!(
                    "stream {} comes faster than {} bytes a second (logs.stream_bytes_per_second)",
                    block.labels, config.stream_bytes_per_second
                );
                Refusal::note(why, reason, true);
                return false;
            }
            true
        });
        drop(rate);
        let refused = (before - records.len()) as u64;
        (Item { stream, position: block.position, records }, refused)
    }

    fn cut(&self, record: &mut Record) {
        let config = &self.shared.config;
        let counters = &self.shared.counters;
        let is_text = std::str::from_utf8(&record.line).is_ok();
        if !is_text {
            counters.invalid_utf8.fetch_add(1, Relaxed);
        }
        if record.line.len() > config.max_line_bytes {
            let mut end = config.max_line_bytes;
            // A letter is not cut in two.
            while is_text && end > 0 && record.line[end] & 0xc0 == 0x80 {
                end -= 1;
            }
            record.line.truncate(end);
            counters.cut_lines.fetch_add(1, Relaxed);
        }
        if record.metadata.byte_len() > config.max_metadata_bytes {
            record.metadata = Labels::empty();
            counters.dropped_metadata.fetch_add(1, Relaxed);
        }
    }
}

/// Joins blocks of one stream without a position, keeping order, so that a push of many small
/// streams costs one look-up each.
pub(crate) fn join_blocks(blocks: Vec<Block>) -> Vec<Block> {
    let mut at: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<Block> = Vec::new();
    for block in blocks {
        if block.position.is_some() {
            out.push(block);
            continue;
        }
        match at.get(&block.labels) {
            Some(&index) => out[index].records.extend(block.records),
            None => {
                at.insert(block.labels.clone(), out.len());
                out.push(block);
            }
        }
    }
    out
}
