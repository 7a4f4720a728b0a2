//! Entrances for fuzzing, not part of the API: every decoder of what comes from the disk, and the
//! parsers of what people write. Each takes any bytes and may refuse them, but neither panics nor asks
//! for memory that the bytes do not justify. What comes over HTTP is fuzzed through [`crate::http::router`].

use std::path::Path;
use std::time::Duration;

use binnacle_proto::Labels;

use crate::codec::{self, encode_chunk};
use crate::rules::{self, Template};
use crate::select::{Points, Segments};
use crate::store::posting_from_bytes;
use crate::wal::{self, WalSample};
use crate::{Engine, EngineConfig, Guard, GuardLimits, MemorySource, QueryOptions};

/// A name, what to call, and valid inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), Vec<Vec<u8>>);

/// All entrances.
pub fn targets() -> Vec<Target> {
    vec![
        ("chunk", chunk, chunks()),
        ("row of a rollup", rollup, rollups()),
        ("log record", record, records()),
        ("posting", |bytes| drop(posting_from_bytes(bytes)), postings()),
        ("PromQL", promql, texts(&QUERIES)),
        ("rule file", rule_file, texts(&RULE_FILES)),
        ("template", template, texts(&TEMPLATES)),
    ]
}

/// Width of the buckets of the rows that are decoded, in milliseconds.
const ROLLUP_MS: i64 = 300_000;
const QUERIES: [&str; 4] = [
    "sum by (a) (rate(m{b=~\"x|y.*\"}[5m] offset 1h @ 7)) / on (a) group_left (c) -m > bool 2 ^ 0x1f",
    "topk(3, quantile_over_time(0.5, (m or vector(1))[1h:1m])) unless absent({__name__=~\"m+\"})",
    "label_replace(histogram_quantile(0.9, m), \"x\", \"$1\", \"y\", \"(.*)\") * ignoring (x) m",
    "max_over_time(deriv(m[5m])[10m:]) and {\"métrique\", 'l'!~\"z\"} == NaN or 1e3 % Inf",
];
const RULE_FILES: [&str; 1] = [
    "groups:\n- name: g\n  interval: 1m\n  limit: 3\n  rules:\n  - record: a:b\n    \
     expr: sum(m)\n    labels: {x: y}\n  - alert: A\n    expr: m > 0\n    for: 5m\n    keep_firing_for: 1h\n    \
     annotations:\n      text: '{{ $labels.x }} {{ $value | humanize }}'\n",
];
const TEMPLATES: [&str; 2] = [
    "{{ range query \"m\" }}{{ .Labels.x | title }}{{ else }}{{ printf \"%05.2f\" 3.1 }}{{ end }}",
    "{{- with $x := (index . 0) -}}{{ if and (gt 1 2) (eq \"a\" $x) }}a{{ else if not true }}b{{ end }}{{ end -}}",
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn chunk(bytes: &[u8]) {
    let mut points = Points::default();
    let _ = codec::decode_chunk(bytes, 0, i64::MIN, i64::MAX, &mut points);
    // A checksum hides the decoder behind it.
    let _ = codec::decode_body(bytes, 0, -1000, i64::MAX, &mut points);
}

fn chunks() -> Vec<Vec<u8>> {
    let shapes: [fn(i64) -> (i64, f64); 5] = [
        |i| (i * 15_000, 7.0),
        |i| (i * 15_000 + i % 3, (i * i) as f64),
        |i| (i * 15_000, i as f64 / 1e3 + 1e9),
        |i| (i, f64::from_bits((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        |i| (i * 1_000, if i % 7 == 0 { f64::NAN } else { i as f64 }),
    ];
    let chunk = |shape: fn(i64) -> (i64, f64)| {
        let mut points = Points::default();
        (0..130).map(shape).for_each(|(t_ms, value)| points.push(t_ms, value));
        let mut bytes = encode_chunk(&points);
        bytes.truncate(bytes.len() - codec::CHECKSUM_BYTES);
        bytes
    };
    shapes.map(chunk).to_vec()
}

fn rollup(bytes: &[u8]) {
    let _ = codec::decode_rollup(bytes, 0, ROLLUP_MS);
    let _ = codec::decode_rollup_body(bytes, -ROLLUP_MS, ROLLUP_MS);
}

fn rollups() -> Vec<Vec<u8>> {
    let shapes: [fn(i64) -> f64; 3] = [|i| (i % 100 * 3) as f64, |_| 7.0, |i| (i as f64).sin()];
    let row = |shape: fn(i64) -> f64| {
        let mut points = Points::default();
        (0..300).for_each(|i| points.push(i * 60_000, shape(i)));
        let mut segments = Segments::default();
        segments.push_samples(&points, ROLLUP_MS);
        let mut bytes = codec::encode_rollup(&segments, 0, ROLLUP_MS);
        bytes.truncate(bytes.len() - codec::CHECKSUM_BYTES);
        bytes
    };
    shapes.map(row).to_vec()
}

fn record(bytes: &[u8]) {
    let _ = wal::decode_record(bytes);
    let _ = wal::decode_body(bytes, &mut wal::Record::default());
}

fn records() -> Vec<Vec<u8>> {
    let labels = Labels::from_pairs([("__name__", "m"), ("x", "y")]).unwrap_or_default();
    let samples: Vec<_> =
        (0..40).map(|i| WalSample { id: i % 5, t_ms: i64::from(i), value: f64::from(i) }).collect();
    vec![wal::encode_body([(3, labels)].iter(), samples.iter())]
}

fn postings() -> Vec<Vec<u8>> {
    let sparse = (0..500).map(|id| id * 977).collect();
    let dense = (0..70_000).collect();
    [sparse, dense].iter().map(crate::store::posting_to_bytes).collect()
}

#[expect(clippy::disallowed_methods, reason = "a guard needs an instant")]
fn promql(bytes: &[u8]) {
    let mut source = MemorySource::new();
    for (at, value) in [(0, 1.0), (60_000, 3.0), (120_000, f64::NAN)] {
        source.append(Labels::from_pairs([("__name__", "m"), ("a", "x")]).unwrap_or_default(), at, value);
    }
    let limits =
        GuardLimits { max_bytes: 8 << 20, max_samples: 100_000, timeout: Duration::from_millis(200) };
    let guard = Guard::new(limits, std::time::Instant::now());
    let options = QueryOptions { guard, lookback: None };
    let engine = Engine::new(EngineConfig::default());
    let _ = engine.instant(&source, &String::from_utf8_lossy(bytes), 120_000, &options);
}

fn rule_file(bytes: &[u8]) {
    let _ =
        rules::parse_file(Path::new("rules.yaml"), &String::from_utf8_lossy(bytes), rules::Language::PromQl);
}

fn template(bytes: &[u8]) {
    let _ = Template::parse(&String::from_utf8_lossy(bytes));
}
