//! Files on host paths whose pod ends while no agent is there.

use super::*;

#[test]
fn what_an_ended_pod_left_is_read_by_the_next_agent() {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("host");
    fs::create_dir_all(&host).unwrap();
    let log = host.join("app.log");
    let mut bench = Bench::new(dir.path());
    bench.mounts = vec![volume(&host)];
    append(&log, "one\n");
    bench.settle();
    bench.kill(0);
    bench.mounts = Vec::new();
    append(&log, "two\n");
    fs::rename(&log, host.join("app.log.1")).unwrap();
    append(&log, "three\n");
    bench.settle();
    assert_eq!(bench.lines("file"), ["one", "two", "three"]);
    assert_eq!(bench.server.labels.len(), 1, "they are the pod's: {:?}", bench.server.labels);
}

#[test]
fn what_an_ended_pod_took_with_it_is_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("host");
    fs::create_dir_all(&host).unwrap();
    let mut bench = Bench::new(dir.path());
    bench.mounts = vec![volume(&host)];
    append(&host.join("app.log"), "one\n");
    bench.step(usize::MAX);
    append(&host.join("app.log"), "two, never stored\n");
    bench.step(0);
    bench.step(0);
    bench.kill(0);
    bench.mounts = Vec::new();
    fs::remove_dir_all(&host).unwrap();
    for _ in 0..1000 {
        bench.step(usize::MAX);
    }
    assert_eq!(bench.lines("file"), ["one"]);
    let text = bench.metrics.render();
    let lost = text.lines().find(|line| line.starts_with("binnacle_agent_log_bytes_lost_total"));
    assert!(lost.is_some_and(|line| line.ends_with(" 18")), "{lost:?}");
    let saved = fs::read_to_string(dir.path().join("logs.json")).unwrap();
    assert!(!saved.contains("app.log"), "nothing is kept of it: {saved}");
}
