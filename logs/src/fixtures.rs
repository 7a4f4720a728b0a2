//! Bytes of every released format, checked in, still mean what they meant.
//!
//! A file of `tests/fixtures` holds the bytes as they were once written, in hexadecimal. Files are never
//! changed; a format that is new has a new file. The run that misses one writes it and fails, so that
//! somebody looks at it and checks it in.

use std::fmt::Write as _;
use std::path::PathBuf;

use binnacle_proto::Labels;

use crate::block::{Filter, Sealed, Segment, build_filter, seal, seal_1};
use crate::db::{decode_wal, encode_wal_value};

const NOW: i64 = 1_700_000_000_000_000_000;

/// The bytes of a fixture; `make` gives those of a new one.
fn bytes(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", name].iter().collect();
    if let Ok(text) = std::fs::read_to_string(&path) {
        let text = text.trim();
        return (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect();
    }
    let text = make().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    std::fs::write(&path, text + "\n").unwrap();
    panic!(
        "there was no {}: it has been written; look whether it should be, and check it in",
        path.display()
    );
}

fn set(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

/// Lines of many kinds: empty, long, not UTF-8, at one instant, before 1970.
fn plain() -> Segment {
    let mut segment = Segment::default();
    segment.push(-5, b"before the epoch", None);
    segment.push(NOW, b"", None);
    segment.push(NOW, b"not \xff\xfe UTF-8", None);
    segment.push(NOW, "naïve ünïcödé".as_bytes(), None);
    for i in 0..200i64 {
        let line = format!("level=info number={i} id={:08x}", i.wrapping_mul(0x9e37_79b9) as u32);
        segment.push(NOW + 1_000_000 * i + i % 7, line.as_bytes(), None);
    }
    segment.push(NOW + 1_000_000_000, "x".repeat(5000).as_bytes(), None);
    segment
}

/// Records with and without metadata: constant, of few values, whole numbers, fractions, all different.
fn with_metadata() -> Segment {
    let mut segment = Segment::default();
    for i in 0..600i64 {
        let metadata = set(&[
            ("host", "h-1"),
            ("level", ["info", "warn", "error"][(i % 3) as usize]),
            ("status", &(200 + i * 7 % 500).to_string()),
            ("took", &format!("{}.5", i * 3)),
            ("trace_id", &format!("{:016x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64))),
        ]);
        let none = i % 10 == 9;
        segment.push(NOW + i * 1000, format!("line {i}").as_bytes(), (!none).then_some(&metadata));
    }
    segment
}

fn assert_same(have: &Segment, want: &Segment) {
    assert_eq!(have.times, want.times);
    assert_eq!(have.ends, want.ends);
    assert_eq!(have.lines, want.lines);
    for index in 0..want.len() {
        assert_eq!(have.metadata(index), want.metadata(index), "record {index}");
    }
}

#[test]
fn blocks_can_be_read() {
    type Seal = fn(&Segment, i32) -> std::io::Result<Vec<u8>>;
    let blocks: [(&str, Segment, Seal); 4] = [
        ("block-1-plain.txt", plain(), seal_1),
        ("block-1-metadata.txt", with_metadata(), seal_1),
        ("block-2-plain.txt", plain(), seal),
        ("block-2-metadata.txt", with_metadata(), seal),
    ];
    for (name, segment, seal) in blocks {
        let bytes = bytes(name, || seal(&segment, 3).unwrap());
        let sealed = Sealed::open(&bytes).unwrap();
        assert_eq!(sealed.times().unwrap(), segment.times, "{name}");
        assert_same(&sealed.decode(true).unwrap(), &segment);
    }
}

#[test]
fn filters_can_be_asked() {
    let segment = plain();
    let bytes = bytes("filter-1.txt", || build_filter(&segment));
    let filter = Filter::parse(&bytes).unwrap();
    for held in ["level=info", "number=17 id=", "ünïcödé", "BEFORE THE", "=info number=1"] {
        assert!(filter.may_hold(held.as_bytes()), "{held}");
    }
    for absent in ["needle", "level=warning", " infos number"] {
        assert!(!filter.may_hold(absent.as_bytes()), "{absent}");
    }
}

#[test]
fn values_of_the_log_can_be_read() {
    let records = |stream: u32| {
        let metadata = set(&[("trace", "1"), ("é", "ü")]);
        vec![
            (NOW, format!("first of {stream}").into_bytes(), Labels::empty()),
            (NOW - 7, b"out of order \xff".to_vec(), metadata),
            (NOW + 9, Vec::new(), Labels::empty()),
        ]
    };
    let frames = [vec![(3u32, false, records(3)), (4, true, records(4))], vec![(300, true, records(300))]];
    let bytes = bytes("wal-1.txt", || encode_wal_value(&frames));
    let mut have = Vec::new();
    decode_wal(&bytes, |stream, positioned, records| {
        let records: Vec<_> = records.into_iter().map(|r| (r.time_ns, r.line.to_vec(), r.metadata)).collect();
        have.push((stream, positioned, records));
    })
    .unwrap();
    assert_eq!(have, frames.concat());
}
