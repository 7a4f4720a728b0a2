//! Small chunks become large ones, and nothing else changes.

use super::*;

#[test]
fn small_chunks_of_a_day_become_one_and_every_sample_stays() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    let samples: Vec<(i64, f64)> = (0..1200).map(|i| (i * 15_000, (i % 7) as f64)).collect();
    for part in samples.chunks(240) {
        // The newest first and the others late: chunks that overlap.
        put(&db, &name("a"), &part[200..]);
        db.core().flush_all().unwrap();
        put(&db, &name("a"), &part[..200]);
        put(&db, &name("b"), part);
        db.core().flush_all().unwrap();
    }
    let chunks = |id| db.core().store.chunks(crate::day::Day(0), id).unwrap().len();
    assert_eq!((chunks(0), chunks(1)), (10, 5));
    db.maintain(0).unwrap();
    // The last small one of the first series waits for others.
    assert_eq!((chunks(0), chunks(1)), (2, 1));
    assert_eq!(read_all(&db, "a"), samples);
    assert_eq!(read_all(&db, "b"), samples);
    let stats = db.stats();
    assert_eq!((stats.chunks_merged, stats.chunks_merged_into, stats.merge_passes), (14, 2, 1));
    assert!(stats.merge_bytes_after < stats.merge_bytes_before, "{stats:?}");
    // What is deleted stays deleted, and what comes later does not win over what was there.
    let range = TimeRange { start_ms: 0, end_ms: 599 * 15_000 };
    db.delete_series(&[vec![equal("__name__", "a")]], range).unwrap();
    put(&db, &name("a"), &[(1190 * 15_000, 77.0)]);
    db.core().flush_all().unwrap();
    db.core().look_for_work().unwrap();
    db.maintain(0).unwrap();
    assert_eq!(read_all(&db, "a"), samples[600..]);
    db.close().unwrap();
    drop(db);
    let db = Db::open(config(dir.path())).unwrap();
    assert_eq!(read_all(&db, "a"), samples[600..]);
    assert_eq!(read_all(&db, "b"), samples);
}

#[test]
fn a_merge_leaves_a_corrupt_chunk_and_its_neighbours_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    for t in 0..5 {
        put(&db, &name("a"), &[(t * MINUTE, t as f64)]);
        db.core().flush_all().unwrap();
    }
    let chunk = db.core().store.chunks(crate::day::Day(0), 0).unwrap().remove(2);
    let mut batch = db.core().store.batch().unwrap();
    let mut bytes = chunk.bytes.clone();
    *bytes.last_mut().unwrap() ^= 1;
    batch.put_chunk(crate::day::Day(0), 0, chunk.t0_ms, chunk.generation, &bytes);
    db.core().store.write(batch).unwrap();
    db.core().look_for_work().unwrap();
    db.maintain(0).unwrap();
    assert_eq!((db.stats().chunks_merged, db.stats().chunks_corrupt), (0, 1));
    assert_eq!(read_all(&db, "a").len(), 4);
}
