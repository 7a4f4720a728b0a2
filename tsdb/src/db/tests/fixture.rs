//! A database of the first release, checked in, opens and holds what it held.
//!
//! `database-1.zst` is a compressed list of files: length of the name, name, length, bytes; lengths as
//! 32-bit little-endian integers. What RocksDB does not need to open is left out.

use std::io::Read as _;

use super::*;
use crate::fixtures::checked_in;

fn unpack(into: &Path) {
    let packed = checked_in("database-1.zst", packed);
    let files = zstd::decode_all(packed.as_slice()).unwrap();
    let mut rest = files.as_slice();
    let mut take = |len: Option<usize>| {
        let len = len.unwrap_or_else(|| {
            let mut bytes = [0; 4];
            rest.read_exact(&mut bytes).unwrap();
            u32::from_le_bytes(bytes) as usize
        });
        let (taken, left) = rest.split_at(len);
        rest = left;
        (taken, left.is_empty())
    };
    loop {
        let (name, _) = take(None);
        let (bytes, end) = take(None);
        std::fs::write(into.join(std::str::from_utf8(name).unwrap()), bytes).unwrap();
        if end {
            return;
        }
    }
}

/// Samples of a series, each five minutes, over two days and a bit.
fn samples(series: usize) -> Vec<(i64, f64)> {
    (0..600).map(|i| (i * 5 * MINUTE, ((i * 37) % 101 + series as i64) as f64 / 8.0)).collect()
}

fn of(series: usize) -> Labels {
    labels(&[("__name__", "fixture_total"), ("s", &series.to_string()), ("pod", "web-1")])
}

#[test]
fn a_database_of_the_first_release_opens() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("db")).unwrap();
    unpack(&dir.path().join("db"));
    let db = Db::open(config(dir.path())).unwrap();
    let check = |db: &Db| {
        let want: Vec<_> = (0..3).map(|series| (of(series), samples(series))).collect();
        assert_eq!(read(db, &[equal("pod", "web-1")], i64::MIN, i64::MAX), want);
    };
    check(&db);
    assert!(db.stats().wal_records > 0, "some of it is in the log only");
    assert!(db.core().rolled_up_within(0, DAY), "a day of it is rolled up");
    let hours = rollup::explained(&db, "sum(count_over_time(fixture_total[20h]))", 22 * 60 * MINUTE);
    assert_eq!(hours.inputs[0].rollup, Some("1h"));
    assert_eq!(hours.inputs[0].samples, 3 * 20);
    // It can be written to.
    put(&db, &of(0), &[(700 * 5 * MINUTE, 1.0)]);
    db.close().unwrap();
    drop(db);
    let db = Db::open(config(dir.path())).unwrap();
    assert_eq!(read(&db, &[equal("s", "0")], 700 * 5 * MINUTE, i64::MAX)[0].1, [(700 * 5 * MINUTE, 1.0)]);
    assert_eq!(db.stats().chunks_corrupt, 0);
}

/// A database as it is written now.
fn packed() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(&dir.path().join("live"))).unwrap();
    for part in 0..6 {
        for series in 0..3 {
            put(&db, &of(series), &samples(series)[part * 100..(part + 1) * 100]);
        }
        // The last part stays in the log.
        if part < 5 {
            db.core().flush_all().unwrap();
        }
        if part == 2 {
            // The first day is over: of it alone there are chunks, and rows.
            db.maintain(DAY + 60 * MINUTE).unwrap();
        }
    }
    let copy = dir.path().join("copy");
    db.snapshot(&copy).unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(copy.join("db")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("OPTIONS") || name.starts_with("LOG") {
            continue;
        }
        let bytes = std::fs::read(copy.join("db").join(&name)).unwrap();
        for part in [name.as_bytes(), &bytes] {
            files.extend_from_slice(&(part.len() as u32).to_le_bytes());
            files.extend_from_slice(part);
        }
    }
    zstd::encode_all(files.as_slice(), 19).unwrap()
}
