//! The dictionary of one stream: symbols, series, and what a body means with them.

use binnacle_logs::{Block, Position, Record};
use binnacle_proto::Labels;
use binnacle_proto::node::{self, BatchBody, LogBlock, SampleBlock, SeriesDef};
use binnacle_tsdb::{Exemplar, Sample, SeriesRef};

use crate::config::Ingest as Settings;

/// Why a batch cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is wrong for good: the stream is ended.
    Invalid(String),
    /// The tables are full: the stream is ended, a new one starts with empty tables.
    Full(String),
}

/// What a batch holds, in the stores' own types.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub samples: Vec<Sample>,
    pub blocks: Vec<Block>,
    /// With the labels of their series.
    pub exemplars: Vec<(Labels, Exemplar)>,
    /// Samples of series that the database cannot create now: the batch must come again.
    pub open_samples: u64,
    /// Samples of series that the database refuses for good.
    pub refused_samples: u64,
    /// Lines of streams whose labels are not acceptable.
    pub refused_lines: u64,
    /// Exemplars whose labels are not acceptable.
    pub refused_exemplars: u64,
}

/// What became of a series definition.
#[derive(Debug)]
enum Slot {
    Known(SeriesRef),
    /// The database could not tell now; asked again when a sample comes.
    Open(Labels),
    /// The database refuses it.
    Refused,
}

/// The tables of one stream.
#[derive(Debug, Default)]
pub(super) struct Tables {
    symbols: Vec<String>,
    symbol_bytes: usize,
    series: Vec<Slot>,
    refused_series: u64,
}

/// Asks the database for the reference of a series: `Ok(None)` when it refuses the series for good.
pub(super) type Resolve<'a> = &'a dyn Fn(&Labels) -> Result<Option<SeriesRef>, binnacle_tsdb::Error>;

impl Tables {
    /// Takes up what is new in a body and turns the rest into samples and log blocks.
    pub(super) fn apply(
        &mut self,
        node: &str,
        body: BatchBody,
        settings: &Settings,
        resolve: Resolve<'_>,
    ) -> Result<Content, Refusal> {
        self.add_symbols(body.symbols, settings)?;
        for definition in body.series {
            self.add_series(definition, settings, resolve)?;
        }
        let mut content = Content::default();
        content.samples.reserve(body.samples.iter().map(|block| block.values.len()).sum());
        for block in body.samples {
            self.add_samples(&block, &mut content, resolve)?;
        }
        for block in body.logs {
            self.add_lines(node, block, &mut content, settings)?;
        }
        for exemplar in body.exemplars {
            self.add_exemplar(&exemplar, &mut content, settings)?;
        }
        Ok(content)
    }

    /// How many series were refused by the database so far.
    pub(super) fn refused_series(&self) -> u64 {
        self.refused_series
    }

    fn add_symbols(&mut self, symbols: Vec<String>, settings: &Settings) -> Result<(), Refusal> {
        if self.symbols.len() + symbols.len() > settings.max_symbols {
            let most = settings.max_symbols;
            return Err(Refusal::Full(format!("more than {most} symbols in a stream (ingest.max_symbols)")));
        }
        for symbol in symbols {
            if symbol.len() > settings.max_symbol_len {
                let (have, most) = (symbol.len(), settings.max_symbol_len);
                let head: String = symbol.chars().take(40).collect();
                return Err(Refusal::Invalid(format!(
                    "the symbol {head:?}… has {have} bytes; at most {most} are taken (ingest.max_symbol_len)"
                )));
            }
            self.symbol_bytes += symbol.len();
            if self.symbol_bytes > settings.max_symbol_bytes {
                let most = settings.max_symbol_bytes;
                return Err(Refusal::Full(format!(
                    "more than {most} bytes of symbols in a stream (ingest.max_symbol_bytes)"
                )));
            }
            self.symbols.push(symbol);
        }
        Ok(())
    }

    fn add_series(
        &mut self,
        definition: SeriesDef,
        settings: &Settings,
        resolve: Resolve<'_>,
    ) -> Result<(), Refusal> {
        let next = self.series.len();
        if definition.id as usize != next {
            return Err(Refusal::Invalid(format!("series {} is defined where {next} comes", definition.id)));
        }
        if next >= settings.max_series {
            let most = settings.max_series;
            return Err(Refusal::Full(format!("more than {most} series in a stream (ingest.max_series)")));
        }
        let labels = self.labels(&definition.label_symbols, settings)?;
        let slot = match labels {
            Err(_) => Slot::Refused,
            Ok(labels) => match resolve(&labels) {
                Ok(Some(series)) => Slot::Known(series),
                Ok(None) => Slot::Refused,
                Err(_) => Slot::Open(labels),
            },
        };
        self.refused_series += u64::from(matches!(slot, Slot::Refused));
        self.series.push(slot);
        Ok(())
    }

    fn add_samples(
        &mut self,
        block: &SampleBlock,
        content: &mut Content,
        resolve: Resolve<'_>,
    ) -> Result<(), Refusal> {
        let SampleBlock { timestamp_ms: t_ms, id_deltas, values } = block;
        if id_deltas.len() != values.len() {
            let (ids, values) = (id_deltas.len(), values.len());
            return Err(Refusal::Invalid(format!("a sample block has {ids} ids and {values} values")));
        }
        let mut id = 0u32;
        for (delta, value) in id_deltas.iter().zip(values) {
            id = id.wrapping_add(*delta);
            let Some(slot) = self.series.get_mut(id as usize) else {
                return Err(Refusal::Invalid(format!("a sample names series {id}, which is not defined")));
            };
            if let Slot::Open(labels) = slot {
                match resolve(labels) {
                    Ok(Some(series)) => *slot = Slot::Known(series),
                    Ok(None) => {
                        self.refused_series += 1;
                        *slot = Slot::Refused;
                    }
                    // Still not: the batch is not acknowledged, the agent sends it again.
                    Err(_) => {}
                }
            }
            match slot {
                Slot::Known(series) => {
                    content.samples.push(Sample { series: *series, t_ms: *t_ms, value: *value });
                }
                Slot::Open(_) => content.open_samples += 1,
                Slot::Refused => content.refused_samples += 1,
            }
        }
        Ok(())
    }

    fn add_lines(
        &self,
        node: &str,
        block: LogBlock,
        content: &mut Content,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        let Ok(labels) = self.labels(&block.label_symbols, settings)? else {
            content.refused_lines += block.lines.len() as u64;
            return Ok(());
        };
        let mut records = Vec::with_capacity(block.lines.len());
        for line in block.lines {
            let metadata = if line.metadata_symbols.is_empty() {
                Labels::empty()
            } else {
                // Metadata that is not acceptable is left out; the line is worth more than it.
                self.labels(&line.metadata_symbols, settings)?.unwrap_or_default()
            };
            records.push(Record { time_ns: line.time_ns, line: line.line, metadata, end: line.end_offset });
        }
        let position = (!block.source.is_empty()).then(|| Position {
            node: node.to_owned(),
            source: block.source,
            end: block.end_offset,
        });
        content.blocks.push(Block { labels, position, records });
        Ok(())
    }

    /// What is not acceptable of an exemplar is left out: it is worth less than the batch.
    fn add_exemplar(
        &self,
        exemplar: &node::Exemplar,
        content: &mut Content,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        let series = self.labels(&exemplar.series_symbols, settings)?;
        let pairs = exemplar.labels.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str()));
        let own = Labels::from_pairs(pairs);
        match (series, own) {
            (Ok(series), Ok(labels)) if exemplar.labels.len() <= 2 * settings.max_labels => {
                let exemplar = Exemplar { labels, value: exemplar.value, t_ms: exemplar.timestamp_ms };
                content.exemplars.push((series, exemplar));
            }
            _ => content.refused_exemplars += 1,
        }
        Ok(())
    }

    /// The label set of alternating names and values. The inner error: duplicate or empty names.
    fn labels(
        &self,
        symbols: &[u32],
        settings: &Settings,
    ) -> Result<Result<Labels, binnacle_proto::LabelsError>, Refusal> {
        if !symbols.len().is_multiple_of(2) {
            return Err(Refusal::Invalid(format!("{} label symbols are not pairs", symbols.len())));
        }
        if symbols.len() / 2 > settings.max_labels {
            let (have, most) = (symbols.len() / 2, settings.max_labels);
            return Err(Refusal::Invalid(format!(
                "a label set has {have} labels; at most {most} are taken (ingest.max_labels)"
            )));
        }
        let mut pairs = Vec::with_capacity(symbols.len() / 2);
        for pair in symbols.chunks_exact(2) {
            pairs.push((self.symbol(pair[0])?, self.symbol(pair[1])?));
        }
        Ok(Labels::from_pairs(pairs))
    }

    fn symbol(&self, index: u32) -> Result<&str, Refusal> {
        self.symbols
            .get(index as usize)
            .map(String::as_str)
            .ok_or_else(|| Refusal::Invalid(format!("symbol {index} is not defined")))
    }
}

#[cfg(test)]
mod tests;
