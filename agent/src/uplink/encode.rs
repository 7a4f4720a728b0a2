//! Batches on the wire: a dictionary of one stream, and what it makes of rounds and log lines.

use binnacle_proto::{Labels, node};
use hashbrown::HashMap;
use prost::Message;

use super::LogLines;
use crate::sample::{Exemplar, Round, Series};

/// zstd's fastest level of its usual range: the columns are small, and the processor is not ours.
const LEVEL: i32 = 1;

/// What one stream (or one segment of the spool) has already named.
#[derive(Default)]
pub(crate) struct Dictionary {
    symbols: HashMap<Box<str>, u32>,
    /// The stream's number of a series by the process' number.
    series: HashMap<u32, u32>,
    /// Reused from block to block.
    column: Vec<(u32, f64)>,
}

/// A body ready to be sent.
pub(crate) struct Encoded {
    /// Compressed.
    pub(crate) body: Vec<u8>,
    /// Size before compression.
    pub(crate) size: usize,
}

impl Dictionary {
    /// Encodes rounds and lines, naming what is new to the stream. The bodies of a stream must be sent
    /// in the order in which they were encoded.
    pub(crate) fn encode<'a>(
        &mut self,
        rounds: &[Round],
        logs: impl Iterator<Item = &'a LogLines>,
    ) -> std::io::Result<Encoded> {
        let mut body = node::BatchBody::default();
        for round in rounds {
            let block = self.sample_block(round, &mut body);
            body.samples.push(block);
            for exemplar in &round.exemplars {
                let exemplar = self.exemplar(exemplar, &mut body);
                body.exemplars.push(exemplar);
            }
        }
        for lines in logs {
            let block = self.log_block(lines, &mut body);
            body.logs.push(block);
        }
        let plain = body.encode_to_vec();
        Ok(Encoded { body: zstd::bulk::compress(&plain, LEVEL)?, size: plain.len() })
    }

    /// How many series the stream knows; ended ones included.
    pub(crate) fn series_len(&self) -> usize {
        self.series.len()
    }

    fn sample_block(&mut self, round: &Round, body: &mut node::BatchBody) -> node::SampleBlock {
        let mut column = std::mem::take(&mut self.column);
        column.clear();
        column.extend(round.samples.iter().map(|(series, value)| (self.series(series, body), *value)));
        // Nearly sorted from the second round on: collectors keep their order.
        column.sort_by_key(|(id, _)| *id);
        let mut block = node::SampleBlock {
            timestamp_ms: round.t_ms,
            id_deltas: Vec::with_capacity(column.len()),
            values: Vec::with_capacity(column.len()),
        };
        let mut previous = 0;
        for (id, value) in &column {
            block.id_deltas.push(id - previous);
            block.values.push(*value);
            previous = *id;
        }
        self.column = column;
        block
    }

    fn exemplar(&mut self, exemplar: &Exemplar, body: &mut node::BatchBody) -> node::Exemplar {
        let labels = exemplar.labels.iter().flat_map(|(name, value)| [name.to_owned(), value.to_owned()]);
        node::Exemplar {
            series_symbols: self.label_symbols(&exemplar.series, body),
            labels: labels.collect(),
            value: exemplar.value,
            timestamp_ms: exemplar.t_ms,
        }
    }

    fn log_block(&mut self, lines: &LogLines, body: &mut node::BatchBody) -> node::LogBlock {
        let label_symbols = self.label_symbols(&lines.labels, body);
        let mut encoded = Vec::with_capacity(lines.lines.len());
        for line in &lines.lines {
            let metadata = line.metadata.iter().flat_map(|(name, value)| [name, value]);
            encoded.push(node::LogLine {
                time_ns: line.time_ns,
                line: line.line.clone(),
                end_offset: line.end_offset,
                metadata_symbols: metadata.map(|text| self.symbol(text, body)).collect(),
            });
        }
        node::LogBlock {
            label_symbols,
            source: lines.source.clone(),
            begin_offset: lines.begin,
            end_offset: lines.end,
            lines: encoded,
        }
    }

    fn series(&mut self, series: &Series, body: &mut node::BatchBody) -> u32 {
        if let Some(id) = self.series.get(&series.id()) {
            return *id;
        }
        let id = self.series.len() as u32;
        let label_symbols = self.label_symbols(series.labels(), body);
        body.series.push(node::SeriesDef { id, label_symbols });
        self.series.insert(series.id(), id);
        id
    }

    fn label_symbols(&mut self, labels: &Labels, body: &mut node::BatchBody) -> Vec<u32> {
        labels.iter().flat_map(|(name, value)| [name, value]).map(|text| self.symbol(text, body)).collect()
    }

    fn symbol(&mut self, text: &str, body: &mut node::BatchBody) -> u32 {
        if let Some(symbol) = self.symbols.get(text) {
            return *symbol;
        }
        let symbol = self.symbols.len() as u32;
        self.symbols.insert(text.into(), symbol);
        body.symbols.push(text.to_owned());
        symbol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 60 series a container, a third changes from round to round: counters of nanoseconds and bytes
    /// by any amount, sizes of memory by pages.
    fn round(series: &[Series], number: i64, random: &mut u64) -> Round {
        let mut chance = |bound: u64| {
            *random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (*random >> 33) % bound
        };
        let value = |at: usize| match at % 60 {
            0..6 => (number as u64 * 137_000_000 + chance(100_000_000)) as f64 / 1e9,
            6..12 => (number as u64 * 40_000 + chance(60_000)) as f64,
            12..20 => ((chance(50_000) + 1_000) * 4096) as f64,
            20..40 => 0.0,
            _ => (at % 60 * 1024) as f64,
        };
        let samples = (0..series.len()).map(value).collect::<Vec<_>>();
        Round::new(10_000 * number, series.iter().cloned().zip(samples).collect())
    }

    #[test]
    fn a_sample_of_a_hundred_containers_costs_at_most_four_bytes() {
        let series: Vec<Series> = (0..6_000)
            .map(|at| {
                let (name, id) =
                    (format!("container_metric_{}_total", at % 60), format!("/pods/pod{}", at / 60));
                Series::new(Labels::from_pairs([("__name__", name), ("id", id)]).unwrap())
            })
            .collect();
        let (mut dictionary, mut random) = (Dictionary::default(), 7);
        let first =
            dictionary.encode(&[round(&series, 0, &mut random)], std::iter::empty()).unwrap().body.len();
        let (mut bytes, rounds) = (0, 20);
        for number in 1..=rounds {
            bytes += dictionary
                .encode(&[round(&series, number, &mut random)], std::iter::empty())
                .unwrap()
                .body
                .len();
        }
        let cost = bytes as f64 / (rounds as f64 * series.len() as f64);
        println!("{cost:.2} bytes a sample; the first round, with its names, {first} bytes");
        assert!(cost <= 4.0, "{cost:.2} bytes a sample");
    }
}
