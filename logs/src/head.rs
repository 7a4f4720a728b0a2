//! What one stream has in memory: open records, blocks being sealed, and the index of sealed ones.

use std::sync::Arc;

use binnacle_proto::Labels;
use hashbrown::HashSet;

use crate::block::{Segment, identity};
use crate::store::BlockMeta;

/// A page of open records is frozen at this size in bytes; a reader copies the last page only.
const PAGE_BYTES: usize = 64 << 10;

/// The state of one stream.
#[derive(Default)]
pub(crate) struct Head {
    /// Records that arrive go here.
    open: Segment,
    /// Frozen pages of the open block.
    pages: Vec<Arc<Segment>>,
    /// Size of the open block for budgets.
    open_cost: usize,
    /// WAL sequences of the first and last record of the open block.
    open_seqs: Option<(u64, u64)>,
    /// When the open block got its first record.
    opened_ms: i64,
    /// Identities of the open block's records; built when first needed.
    identities: Option<HashSet<u64>>,
    /// Blocks on their way to the store, oldest first.
    sealing: Vec<Arc<Sealing>>,
    /// Sealed blocks by first time.
    blocks: Vec<BlockMeta>,
    /// Latest time of any record.
    max_ns: Option<i64>,
    /// WAL sequence up to which all records are in sealed blocks.
    pub sealed_seq: u64,
}

/// A block on its way to the store.
pub(crate) struct Sealing {
    /// Its records.
    pub pages: Vec<Arc<Segment>>,
    /// WAL sequences of its first and last record.
    pub seqs: (u64, u64),
    /// Size for budgets.
    pub cost: usize,
    identities: Option<HashSet<u64>>,
}

/// Whether a record is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    No,
    Yes,
    /// It may be in a sealed block that spans its time.
    AskBlocks,
}

impl Head {
    /// Appends a record.
    pub fn push(&mut self, time_ns: i64, line: &[u8], metadata: &Labels, seq: u64, now_ms: i64) -> usize {
        if self.open_seqs.is_none() {
            self.opened_ms = now_ms;
        }
        let first = self.open_seqs.map_or(seq, |(first, _)| first);
        self.open_seqs = Some((first, seq));
        self.max_ns = Some(self.max_ns.map_or(time_ns, |max| max.max(time_ns)));
        if let Some(identities) = &mut self.identities {
            identities.insert(identity(time_ns, line, Some(metadata)));
        }
        let before = self.open.cost();
        self.open.push(time_ns, line, Some(metadata));
        let added = self.open.cost() - before;
        self.open_cost += added;
        if self.open.cost() >= PAGE_BYTES {
            self.freeze();
        }
        added
    }

    fn freeze(&mut self) {
        if !self.open.is_empty() {
            let mut page = std::mem::take(&mut self.open);
            page.shrink();
            self.pages.push(Arc::new(page));
        }
    }

    /// Whether the record is there already, as far as memory can tell.
    pub fn knows(&mut self, time_ns: i64, line: &[u8], metadata: &Labels) -> Known {
        if self.max_ns.is_none_or(|max| time_ns > max) {
            return Known::No;
        }
        let id = identity(time_ns, line, Some(metadata));
        let (pages, open) = (&self.pages, &self.open);
        let open_identities = self.identities.get_or_insert_with(|| {
            let all = pages.iter().map(Arc::as_ref).chain([open]);
            all.flat_map(|page| (0..page.len()).map(|i| page.identity(i))).collect()
        });
        if open_identities.contains(&id) || self.sealing.iter().any(|sealing| sealing.holds(id)) {
            return Known::Yes;
        }
        if self.blocks_at(time_ns).next().is_some() { Known::AskBlocks } else { Known::No }
    }

    /// Sealed blocks that span a time.
    pub fn blocks_at(&self, time_ns: i64) -> impl Iterator<Item = &BlockMeta> {
        let upto = self.blocks.partition_point(|block| block.key.min_ns <= time_ns);
        self.blocks[..upto].iter().filter(move |block| block.max_ns >= time_ns)
    }

    /// Size of the open block.
    pub fn open_cost(&self) -> usize {
        self.open_cost
    }

    /// Whether the open block got its first record that long ago. A block opened "in the future"
    /// (after a replay, or when the clock was set back) counts from now.
    pub fn older_than(&mut self, age_ms: i64, now_ms: i64) -> bool {
        self.opened_ms = self.opened_ms.min(now_ms);
        self.open_seqs.is_some() && now_ms - self.opened_ms >= age_ms
    }

    /// Whether there may be records within the bounds (both inclusive).
    pub fn touches(&self, start_ns: i64, end_ns: i64) -> bool {
        let within =
            |page: &Segment| page.bounds().is_some_and(|(min, max)| min <= end_ns && max >= start_ns);
        self.blocks.iter().any(|block| block.key.min_ns <= end_ns && block.max_ns >= start_ns)
            || self.sealing.iter().flat_map(|sealing| &sealing.pages).any(|page| within(page))
            || self.pages.iter().any(|page| within(page))
            || within(&self.open)
    }

    /// The first WAL sequence that this stream still needs.
    pub fn needs_wal_from(&self) -> Option<u64> {
        let sealing = self.sealing.first().map(|sealing| sealing.seqs.0);
        sealing.or(self.open_from())
    }

    /// The WAL sequence of the open block's first record.
    pub fn open_from(&self) -> Option<u64> {
        self.open_seqs.map(|(first, _)| first)
    }

    /// Ends the open block, which then waits to be sealed. `false` when it has no records.
    pub fn start_sealing(&mut self) -> bool {
        let Some(seqs) = self.open_seqs.take() else { return false };
        self.freeze();
        self.sealing.push(Arc::new(Sealing {
            pages: std::mem::take(&mut self.pages),
            seqs,
            cost: std::mem::take(&mut self.open_cost),
            identities: self.identities.take(),
        }));
        true
    }

    /// The block to seal next.
    pub fn next_sealing(&self) -> Option<Arc<Sealing>> {
        self.sealing.first().cloned()
    }

    /// The oldest waiting block is in the store now, as these blocks.
    pub fn finish_sealing(&mut self, metas: &[BlockMeta]) {
        if !self.sealing.is_empty() {
            let done = self.sealing.remove(0);
            self.sealed_seq = self.sealed_seq.max(done.seqs.1);
        }
        for meta in metas {
            self.add_block(*meta);
        }
    }

    /// Adds a block of the store to the index.
    pub fn add_block(&mut self, meta: BlockMeta) {
        self.max_ns = Some(self.max_ns.map_or(meta.max_ns, |max| max.max(meta.max_ns)));
        let at = self.blocks.partition_point(|have| have.key.min_ns <= meta.key.min_ns);
        self.blocks.insert(at, meta);
    }

    /// Takes out the blocks for which `gone` says yes.
    pub fn remove_blocks(&mut self, gone: impl Fn(&BlockMeta) -> bool) -> Vec<BlockMeta> {
        let (out, keep) = self.blocks.iter().partition(|block| gone(block));
        self.blocks = keep;
        out
    }

    /// Puts a block in another's place, or nothing.
    pub fn replace_block(&mut self, old: &BlockMeta, new: Option<BlockMeta>) {
        self.blocks.retain(|block| block.key != old.key);
        if let Some(new) = new {
            self.add_block(new);
        }
    }

    /// The index of sealed blocks.
    pub fn blocks(&self) -> &[BlockMeta] {
        &self.blocks
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.open_seqs.is_none() && self.sealing.is_empty() && self.blocks.is_empty()
    }

    /// All records in memory that may lie within the bounds (both inclusive), as pages.
    pub fn memory(&self, start_ns: i64, end_ns: i64) -> Vec<Arc<Segment>> {
        let within =
            |page: &Segment| page.bounds().is_some_and(|(min, max)| min <= end_ns && max >= start_ns);
        let sealing = self.sealing.iter().flat_map(|sealing| &sealing.pages);
        let mut out: Vec<_> = sealing.chain(&self.pages).filter(|page| within(page)).cloned().collect();
        if within(&self.open) {
            out.push(Arc::new(self.open.clone()));
        }
        out
    }
}

impl Sealing {
    fn holds(&self, id: u64) -> bool {
        match &self.identities {
            Some(identities) => identities.contains(&id),
            None => self.pages.iter().any(|page| (0..page.len()).any(|i| page.identity(i) == id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_known_while_open_and_while_sealing() {
        let none = Labels::empty();
        let mut head = Head::default();
        assert_eq!(head.knows(5, b"x", &none), Known::No);
        head.push(5, b"x", &none, 1, 0);
        assert_eq!(head.knows(5, b"x", &none), Known::Yes);
        assert_eq!(head.knows(5, b"y", &none), Known::No);
        head.push(5, b"y", &none, 2, 0);
        assert_eq!(head.knows(5, b"y", &none), Known::Yes);
        assert!(head.start_sealing());
        assert_eq!(head.knows(5, b"y", &none), Known::Yes);
        assert_eq!(head.needs_wal_from(), Some(1));
        assert!(!head.start_sealing());
    }
}
