//! Bytes of every released format, checked in, still mean what they meant.
//!
//! A file holds what was encoded and the bytes of it at the time. New codecs get new files; those that
//! are there are never changed.

use std::fmt::Write as _;

use super::{decode_chunk, decode_rollup, encode_chunk, encode_rollup};
use crate::fixtures::{checked_in, folder};
use crate::select::{Points, Segments};

const START_MS: i64 = 1_700_000_000_000;

fn points(times: impl Iterator<Item = i64>, value: impl Fn(i64) -> f64) -> Points {
    let mut points = Points::default();
    times.enumerate().for_each(|(at, t_ms)| points.push(START_MS + t_ms, value(at as i64)));
    points
}

fn regular() -> impl Iterator<Item = i64> {
    (0..100).map(|at| at * 15_000)
}

/// A chunk for every codec and every way of an integer column.
fn chunks() -> Vec<(&'static str, Points)> {
    let noise = |at: i64| at.wrapping_mul(0x1E37_79B9_7F4A_7C15).rotate_left(17) & 0xffff;
    vec![
        ("one-sample", points(std::iter::once(0), |_| 42.0)),
        ("regular-constant", points(regular(), |_| 536_870_912.0)),
        ("irregular-constant", points((0..100).map(move |at| at * 15_000 + noise(at) % 1000), |_| -1.5)),
        ("integers-as-they-are", points(regular(), move |at| (noise(at) % 100 + 1_000_000) as f64)),
        ("integers-differences", points(regular(), move |at| (at * 70_000 + noise(at)) as f64)),
        ("integers-second-differences", points(regular(), |at| (at * at * 37 + 5 * at) as f64)),
        ("integers-divisor", points(regular(), move |at| (noise(at) * 4096) as f64)),
        ("integers-patches", points(regular(), |at| (at + if at > 60 { 1 << 40 } else { 0 }) as f64)),
        ("decimals-nanoseconds", points(regular(), move |at| (at * 3_000_000_000 + noise(at)) as f64 / 1e9)),
        (
            "decimals-exceptions",
            points(regular(), |at| match at {
                7 => f64::from_bits(binnacle_proto::STALE_NAN.to_bits()),
                50 => f64::INFINITY,
                _ => at as f64 / 100.0,
            }),
        ),
        ("xor", points(regular(), |at| (at as f64 * 0.7).sin())),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// First line: the bytes. Then for each sample its time and the bits of its value.
fn chunk_file(points: &Points, bytes: &[u8]) -> String {
    let mut text = hex(bytes) + "\n";
    for (t_ms, value) in points.timestamps.iter().zip(&points.values) {
        let _ = writeln!(text, "{t_ms} {:016x}", value.to_bits());
    }
    text
}

fn segments() -> Segments {
    let mut segments = Segments::default();
    let samples = points((0..1000).map(|at| at * 60_000), |at| (at % 400 * 3) as f64);
    segments.push_samples(&samples, 300_000);
    segments
}

#[test]
fn chunks_of_every_codec_can_be_read() {
    for (name, points) in chunks() {
        checked_in(&format!("chunk-1-{name}.txt"), || {
            chunk_file(&points, &encode_chunk(&points)).into_bytes()
        });
    }
    // Those of codecs that are not written any more as well.
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_string_lossy().starts_with("chunk-") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        let bytes = unhex(lines.next().unwrap());
        let want: Vec<(i64, u64)> = lines
            .map(|line| line.split_once(' ').unwrap())
            .map(|(t_ms, bits)| (t_ms.parse().unwrap(), u64::from_str_radix(bits, 16).unwrap()))
            .collect();
        let mut have = Points::default();
        decode_chunk(&bytes, want[0].0, i64::MIN, i64::MAX, &mut have).unwrap();
        let have: Vec<(i64, u64)> =
            have.timestamps.into_iter().zip(have.values.into_iter().map(f64::to_bits)).collect();
        assert_eq!(have, want, "{}", path.display());
    }
}

#[test]
fn rows_of_rollups_can_be_read() {
    let start_ms = START_MS / 300_000 * 300_000;
    let row = || hex(&encode_rollup(&segments(), start_ms, 300_000)) + "\n";
    let text = String::from_utf8(checked_in("rollup-1.txt", || row().into_bytes())).unwrap();
    let have = decode_rollup(&unhex(text.trim()), start_ms, 300_000).unwrap();
    assert_eq!(format!("{have:?}"), format!("{:?}", segments()));
}
