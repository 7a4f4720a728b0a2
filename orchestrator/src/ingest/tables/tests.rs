//! Tests of the dictionary.

use binnacle_proto::node::LogLine;

use super::*;

const NODE: &str = "n";

fn by_count(
    count: &std::cell::Cell<u64>,
) -> impl Fn(&Labels) -> Result<Option<SeriesRef>, binnacle_tsdb::Error> {
    |_| {
        count.set(count.get() + 1);
        Ok(Some(SeriesRef(count.get())))
    }
}

fn symbols(text: &[&str]) -> Vec<String> {
    text.iter().map(|text| (*text).to_owned()).collect()
}

fn series(id: u32, label_symbols: &[u32]) -> SeriesDef {
    SeriesDef { id, label_symbols: label_symbols.to_vec() }
}

fn samples(t_ms: i64, id_deltas: &[u32], values: &[f64]) -> SampleBlock {
    SampleBlock { timestamp_ms: t_ms, id_deltas: id_deltas.to_vec(), values: values.to_vec() }
}

#[test]
fn series_are_resolved_once_and_named_by_id_from_then_on() {
    let (mut tables, count) = (Tables::default(), std::cell::Cell::new(0));
    let resolve = by_count(&count);
    let settings = Settings::default();
    let first = BatchBody {
        symbols: symbols(&["__name__", "a", "b"]),
        series: vec![series(0, &[0, 1]), series(1, &[0, 2])],
        samples: vec![samples(5, &[0, 1], &[1.0, 2.0])],
        ..BatchBody::default()
    };
    let content = tables.apply(NODE, first, &settings, &resolve).unwrap();
    assert_eq!(
        content.samples.iter().map(|s| (s.series.0, s.value)).collect::<Vec<_>>(),
        [(1, 1.0), (2, 2.0)]
    );
    let second = BatchBody { samples: vec![samples(6, &[1], &[3.0])], ..BatchBody::default() };
    let content = tables.apply(NODE, second, &settings, &resolve).unwrap();
    assert_eq!(content.samples, [Sample { series: SeriesRef(2), t_ms: 6, value: 3.0 }]);
    assert_eq!(count.get(), 2);
}

#[test]
fn what_is_wrong_for_good_is_named() {
    let count = std::cell::Cell::new(0);
    let resolve = by_count(&count);
    let settings = Settings { max_labels: 1, max_symbol_len: 8, ..Settings::default() };
    let refused = |body: BatchBody| match Tables::default().apply(NODE, body, &settings, &resolve) {
        Err(Refusal::Invalid(message)) => message,
        other => panic!("{other:?}"),
    };
    let names = || symbols(&["__name__", "a"]);
    let of = |series: Vec<SeriesDef>, samples: Vec<SampleBlock>| BatchBody {
        symbols: names(),
        series,
        samples,
        ..BatchBody::default()
    };
    assert_eq!(refused(of(vec![series(1, &[0, 1])], vec![])), "series 1 is defined where 0 comes");
    assert_eq!(refused(of(vec![series(0, &[0, 2])], vec![])), "symbol 2 is not defined");
    assert_eq!(refused(of(vec![series(0, &[0])], vec![])), "1 label symbols are not pairs");
    assert!(refused(of(vec![series(0, &[0, 1, 1, 0])], vec![])).contains("ingest.max_labels"));
    let undefined = of(vec![series(0, &[0, 1])], vec![samples(1, &[1], &[1.0])]);
    assert_eq!(refused(undefined), "a sample names series 1, which is not defined");
    let uneven = of(vec![series(0, &[0, 1])], vec![samples(1, &[0], &[])]);
    assert_eq!(refused(uneven), "a sample block has 1 ids and 0 values");
    let long = BatchBody { symbols: symbols(&["123456789"]), ..BatchBody::default() };
    assert!(refused(long).contains("ingest.max_symbol_len"));
}

#[test]
fn full_tables_end_the_stream() {
    let count = std::cell::Cell::new(0);
    let resolve = by_count(&count);
    let settings = Settings { max_symbols: 2, max_series: 1, max_symbol_bytes: 9, ..Settings::default() };
    let full = |body: BatchBody| match Tables::default().apply(NODE, body, &settings, &resolve) {
        Err(Refusal::Full(message)) => message,
        other => panic!("{other:?}"),
    };
    let three = BatchBody { symbols: symbols(&["a", "b", "c"]), ..BatchBody::default() };
    assert!(full(three).contains("ingest.max_symbols"));
    let heavy = BatchBody { symbols: symbols(&["__name__", "bb"]), ..BatchBody::default() };
    assert!(full(heavy).contains("ingest.max_symbol_bytes"));
    let two = BatchBody {
        symbols: symbols(&["__name__", "a"]),
        series: vec![series(0, &[0, 1]), series(1, &[1, 0])],
        ..BatchBody::default()
    };
    assert!(full(two).contains("ingest.max_series"));
}

#[test]
fn series_that_cannot_be_created_now_are_asked_for_again() {
    let (mut tables, settings) = (Tables::default(), Settings::default());
    let body = BatchBody {
        symbols: symbols(&["__name__", "a"]),
        series: vec![series(0, &[0, 1])],
        samples: vec![samples(5, &[0], &[1.0])],
        ..BatchBody::default()
    };
    let full = |_: &Labels| Err(binnacle_tsdb::Error::Unavailable { reason: "full".into() });
    let content = tables.apply(NODE, body, &settings, &full).unwrap();
    assert_eq!((content.samples.len(), content.open_samples), (0, 1));
    let again = || BatchBody { samples: vec![samples(5, &[0], &[1.0])], ..BatchBody::default() };
    let content = tables.apply(NODE, again(), &settings, &|_| Ok(Some(SeriesRef(9)))).unwrap();
    assert_eq!((content.samples.len(), content.open_samples), (1, 0));
}

#[test]
fn refused_series_lose_their_samples_only() {
    let (mut tables, settings) = (Tables::default(), Settings::default());
    let body = BatchBody {
        symbols: symbols(&["__name__", "a", "b"]),
        series: vec![series(0, &[0, 1]), series(1, &[0, 2]), series(2, &[0, 1, 0, 2])],
        samples: vec![samples(5, &[0, 1, 1], &[1.0, 2.0, 3.0])],
        ..BatchBody::default()
    };
    let only_b = |labels: &Labels| Ok((labels.metric_name() == Some("b")).then_some(SeriesRef(4)));
    let content = tables.apply(NODE, body, &settings, &only_b).unwrap();
    assert_eq!(content.samples, [Sample { series: SeriesRef(4), t_ms: 5, value: 2.0 }]);
    assert_eq!((content.refused_samples, tables.refused_series()), (2, 2));
}

#[test]
fn log_lines_keep_position_and_metadata() {
    let mut tables = Tables::default();
    let body = BatchBody {
        symbols: symbols(&["pod", "web", "trace", "7"]),
        logs: vec![LogBlock {
            label_symbols: vec![0, 1],
            source: "8:1".into(),
            begin_offset: 10,
            end_offset: 15,
            lines: vec![LogLine {
                time_ns: 3,
                line: b"four".to_vec(),
                end_offset: 15,
                metadata_symbols: vec![2, 3],
            }],
        }],
        ..BatchBody::default()
    };
    let content = tables.apply(NODE, body, &Settings::default(), &|_| Ok(None)).unwrap();
    let block = &content.blocks[0];
    assert_eq!(block.labels.to_string(), r#"{pod="web"}"#);
    assert_eq!(block.position, Some(Position { node: NODE.into(), source: "8:1".into(), end: 15 }));
    assert_eq!(block.records[0].metadata.get("trace"), Some("7"));
    assert_eq!((block.records[0].end, block.records[0].time_ns), (15, 3));
}
