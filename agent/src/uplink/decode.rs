//! Reads bodies back: for the spool, whose records are bodies.

use binnacle_proto::{Labels, node};
use hashbrown::HashMap;
use prost::Message;

use crate::sample::{Exemplar, Round, Series};

/// Most bytes a body may have when decompressed: what the spool writes is far below it.
pub(crate) const MAX_BODY: usize = 64 << 20;

/// Most series remembered between segments; then they are forgotten and named anew.
const MAX_KNOWN: usize = 200_000;

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a body: {0}")]
pub(crate) struct Malformed(pub(crate) String);

/// The reader's side of [`super::encode::Dictionary`].
#[derive(Default)]
pub(crate) struct Decoder {
    pub(crate) symbols: Vec<String>,
    series: Vec<Series>,
    /// Handles by labels, kept when the tables start anew, so that a series has one handle.
    known: HashMap<Labels, Series>,
}

impl Decoder {
    /// Starts a new segment: tables are empty again.
    pub(crate) fn restart(&mut self) {
        self.symbols.clear();
        self.series.clear();
        if self.known.len() > MAX_KNOWN {
            self.known.clear();
        }
    }

    /// Decompresses and parses a body and adds to the tables what it names.
    pub(crate) fn body(&mut self, compressed: &[u8]) -> Result<node::BatchBody, Malformed> {
        let bad = |e: &dyn std::fmt::Display| Malformed(e.to_string());
        let size = zstd::zstd_safe::get_frame_content_size(compressed).map_err(|e| bad(&e))?;
        let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(MAX_BODY).min(MAX_BODY);
        let plain = zstd::bulk::decompress(compressed, size).map_err(|e| bad(&e))?;
        let mut body = node::BatchBody::decode(plain.as_slice()).map_err(|e| bad(&e))?;
        self.symbols.append(&mut body.symbols);
        for def in std::mem::take(&mut body.series) {
            if def.id as usize != self.series.len() {
                return Err(Malformed(format!("series {} follows {}", def.id, self.series.len())));
            }
            let labels = self.labels(&def.label_symbols)?;
            let series = self.known.entry_ref(&labels).or_insert_with(|| Series::new(labels.clone()));
            self.series.push(series.clone());
        }
        Ok(body)
    }

    /// The rounds of a body.
    pub(crate) fn rounds(&self, body: &node::BatchBody) -> Result<Vec<Round>, Malformed> {
        let mut rounds = body.samples.iter().map(|block| self.round(block)).collect::<Result<Vec<_>, _>>()?;
        // A record of the spool is one round.
        if let Some(last) = rounds.last_mut() {
            last.exemplars =
                body.exemplars.iter().map(|exemplar| self.exemplar(exemplar)).collect::<Result<_, _>>()?;
        }
        Ok(rounds)
    }

    /// The label set that these symbols spell.
    pub(crate) fn labels(&self, symbols: &[u32]) -> Result<Labels, Malformed> {
        let text = |at: u32| self.symbols.get(at as usize).map(String::as_str).unwrap_or_default();
        let pairs = symbols.chunks_exact(2).map(|pair| (text(pair[0]), text(pair[1])));
        Labels::from_pairs(pairs).map_err(|e| Malformed(e.to_string()))
    }

    fn exemplar(&self, exemplar: &node::Exemplar) -> Result<Exemplar, Malformed> {
        let pairs = exemplar.labels.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str()));
        Ok(Exemplar {
            series: self.labels(&exemplar.series_symbols)?,
            labels: Labels::from_pairs(pairs).map_err(|e| Malformed(e.to_string()))?,
            value: exemplar.value,
            t_ms: exemplar.timestamp_ms,
        })
    }

    fn round(&self, block: &node::SampleBlock) -> Result<Round, Malformed> {
        if block.id_deltas.len() != block.values.len() {
            return Err(Malformed("as many ids as values are needed".into()));
        }
        let mut id = 0u32;
        let mut samples = Vec::with_capacity(block.values.len());
        for (delta, value) in block.id_deltas.iter().zip(&block.values) {
            id = id.wrapping_add(*delta);
            let series = self.series.get(id as usize);
            let series = series.ok_or_else(|| Malformed(format!("series {id} is not known")))?;
            samples.push((series.clone(), *value));
        }
        Ok(Round::new(block.timestamp_ms, samples))
    }
}
