//! Entrances for fuzzing, not part of the API: every decoder of what comes from the disk, and LogQL with
//! its parsers of lines. Each takes any bytes and may refuse them, but neither panics nor asks for memory
//! that the bytes do not justify. What comes over HTTP is fuzzed through [`crate::http::router`].

use binnacle_proto::Labels;

use crate::block::{Filter, Sealed, Segment, seal};
use crate::db::decode_wal;

/// A name, what to call, and valid inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), Vec<Vec<u8>>);

/// All entrances.
pub fn targets() -> Vec<Target> {
    vec![
        ("block", block, blocks()),
        ("filter", filter, Vec::new()),
        ("value of the log", wal, Vec::new()),
        ("LogQL", logql, QUERIES.iter().map(|query| query.as_bytes().to_vec()).collect()),
    ]
}

const QUERIES: [&str; 5] = [
    r#"sum by (a) (rate({x="y", z=~"a|b.*"} |= "err" != `no` |~ "(?i)x+" | json | n > 5ms [5m] offset 1h))"#,
    r#"{x!~"y"} | logfmt --strict a="b.c", d | line_format "{{ .a | upper }} {{ if eq .b 1 }}c{{ end }}""#,
    r#"quantile_over_time(0.9, {x="y"} | pattern "<_> <b>" | unwrap duration(b) | __error__="" [1m]) by (c)"#,
    r#"topk(3, count_over_time({x="y"} | regexp "(?P<n>\\d+)" | label_format m="{{.n}}" | drop n [1m])) > 2"#,
    r#"{x="y"} |> "a <_> b" | ip("10.0.0.0/8") | decolorize | unpack | keep a, b="c" | distinct a"#,
];

fn logql(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(expr) = crate::parse(&text) {
        let printed = expr.to_string();
        assert!(crate::parse(&printed).is_ok(), "{text:?} is printed as {printed:?}, which cannot be parsed");
    }
}

fn filter(bytes: &[u8]) {
    let _ = Filter::parse(bytes);
}

fn wal(bytes: &[u8]) {
    let _ = decode_wal(bytes, |_, _, records| drop(records));
}

fn block(bytes: &[u8]) {
    if let Ok(sealed) = Sealed::open(bytes) {
        let _ = sealed.decode(true);
    }
    // The checksum hides the decoder behind it.
    if let Ok(sealed) = Sealed::unverified(bytes) {
        let _ = sealed.decode(true);
        let _ = sealed.decode(false);
    }
}

fn blocks() -> Vec<Vec<u8>> {
    let mut segment = Segment::default();
    for i in 0..50 {
        // A column of each kind: constant, dictionary, integers, decimals, text; in some sets and in all.
        let (word, number) = (["a", "b"][i as usize % 2], (i * 7 % 50).to_string());
        let (decimal, text) = (format!("{number}.25"), format!("{:x}", i * 0x9e37_79b9));
        let pairs = [("c", "1"), ("d", word), ("i", &*number), ("f", &*decimal), ("t", &*text)];
        let set = Labels::from_pairs(pairs.into_iter().skip(i as usize % 5 / 3)).unwrap_or_default();
        segment.push(i * 1_000_003, format!("line {i}").as_bytes(), (i % 3 > 0).then_some(&set));
    }
    seal(&segment, 1).into_iter().collect()
}
