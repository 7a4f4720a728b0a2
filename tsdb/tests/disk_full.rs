//! A full disk stops acknowledgements, not reads and not the process; space that comes back is used.
//!
//! Runs on small file systems of its own, for which it must be root.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use binnacle_proto::Labels;
use binnacle_tsdb::{
    Config, Db, Error, Guard, GuardLimits, Hints, MatchTest, Matcher, Points, Sample, Select, SeriesRef,
    Source,
};

const SERIES: u64 = 2000;

/// A file system in memory, gone with this value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, options.as_c_str()) {
            Ok(()) => Some(Self(dir)),
            Err(error) => {
                println!("skipped: needs root to mount a small file system ({error})");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

fn config(dir: &Path, min_free_bytes: u64) -> Config {
    Config {
        dir: dir.join("tsdb"),
        retention: Duration::ZERO,
        future_window: Duration::ZERO,
        head_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        min_free_bytes,
        ..Config::default()
    }
}

fn resolve(db: &Db) -> Vec<SeriesRef> {
    let labels = |i: u64| Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]).unwrap();
    (0..SERIES).map(|i| db.resolve(&labels(i)).unwrap()).collect()
}

/// Values that do not compress.
fn value(series: u64, round: u64) -> f64 {
    let mut bits = (series << 32 | round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits ^= bits >> 29;
    bits.wrapping_mul(0xbf58_476d_1ce4_e5b9) as f64
}

fn append(db: &Db, series: &[SeriesRef], round: u64) -> Result<(), Error> {
    let samples = series.iter().enumerate().map(|(i, series)| Sample {
        series: *series,
        t_ms: round as i64 * 1000,
        value: value(i as u64, round),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let appended = runtime.block_on(db.append(samples.collect(), 0))?;
    assert_eq!(appended.stored + appended.repeated, SERIES, "{appended:?}");
    Ok(())
}

fn check(db: &Db, acknowledged: u64) {
    #[expect(clippy::disallowed_methods, reason = "a guard needs an instant")]
    let guard = Guard::new(GuardLimits::default(), Instant::now());
    for i in [0, 1, SERIES / 2, SERIES - 1] {
        let matcher = Matcher { name: "i".into(), test: MatchTest::Equal(i.to_string()) };
        let select =
            Select { matchers: vec![matcher], start_ms: 0, end_ms: i64::MAX, hints: Hints::default() };
        let selected = db.select(&select, &guard).unwrap();
        let mut points = Points::default();
        selected.reader.read(0, &guard, &mut points).unwrap();
        assert!(points.len() as u64 >= acknowledged, "{} of {acknowledged}", points.len());
        for round in 0..acknowledged {
            assert_eq!(points.timestamps[round as usize], round as i64 * 1000);
            assert_eq!(points.values[round as usize], value(i, round));
        }
    }
}

/// Fills the disk with samples, takes a file away and goes on.
fn fill_and_recover(min_free_bytes: u64) {
    let Some(disk) = SmallDisk::mount(64 << 20) else { return };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0u8; 32 << 20]).unwrap();
    let db = Db::open(config(disk.path(), min_free_bytes)).unwrap();
    let series = resolve(&db);
    let mut round = 0;
    let refused = loop {
        match append(&db, &series, round) {
            Ok(()) => round += 1,
            Err(error) => break error,
        }
        assert!(round < 100_000, "the disk does not fill");
    };
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    assert!(db.stats().unavailable && db.stats().wal_failures > 0);
    assert!(round > 5, "{round}");
    // The store opens anew after a failed write, which may give some space back; once that is used up,
    // it is refused again, and reads go on.
    let refused = loop {
        match append(&db, &series, round) {
            Ok(()) => round += 1,
            Err(error) => break error,
        }
        assert!(round < 100_000, "the disk does not fill again");
    };
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    check(&db, round);
    let _ = db.maintain(0);
    check(&db, round);

    std::fs::remove_file(&ballast).unwrap();
    let mut tries = 0;
    while let Err(error) = append(&db, &series, round) {
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        // Maintenance may be needed to open the store again; a server calls it every few seconds.
        let _ = db.maintain(0);
        tries += 1;
        assert!(tries < 20, "no recovery: {error}");
    }
    round += 1;
    assert!(!db.stats().unavailable);
    for _ in 0..10 {
        append(&db, &series, round).unwrap();
        round += 1;
    }
    check(&db, round);
    db.close().unwrap();
    drop(db);
    check(&Db::open(config(disk.path(), min_free_bytes)).unwrap(), round);
    println!("{round} rounds of {SERIES} samples survived a full disk (reserve {min_free_bytes} bytes)");
}

#[test]
fn a_reserve_on_the_disk_is_kept() {
    fill_and_recover(8 << 20);
}

#[test]
fn a_disk_that_is_really_full_is_survived() {
    fill_and_recover(0);
}
