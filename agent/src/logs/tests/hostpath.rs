//! Files on host paths: whose they are, and what their pods leave when they end.

use super::*;

#[test]
fn the_pod_that_writes_a_file_now_owns_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path());
    let mount = |pod: &str, started_ms| LogMount { pod: pod.to_owned(), started_ms, ..volume(&host) };
    let mut bench = Bench::new(dir.path());
    bench.mounts = vec![mount("first", 1)];
    append(&host.join("app.log"), "one\n");
    bench.settle();
    bench.mounts = vec![mount("first", 1), mount("second", 2)];
    append(&host.join("app.log"), "two\n");
    bench.settle();
    assert_eq!(bench.lines("file"), ["one", "two"]);
    let pods: Vec<_> = bench.server.labels.iter().filter_map(|labels| labels.get("pod")).collect();
    assert_eq!(pods, ["first", "second"]);
    assert_eq!(bench.server.labels[0].get("filename"), Some("/var/app/app.log"));
}

#[test]
fn a_rotated_file_is_read_to_its_end_though_its_successor_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, host) = Bench::with_volume(dir.path());
    append(&host.join("app.log"), "one\n");
    bench.settle();
    append(&host.join("app.log"), "two\n");
    bench.kill(0);
    fs::rename(host.join("app.log"), host.join("app.log.1")).unwrap();
    bench.settle();
    assert_eq!(bench.lines("file"), ["one", "two"]);
    append(&host.join("app.log"), "three\n");
    bench.settle();
    assert_eq!(bench.lines("file"), ["one", "two", "three"]);
}

#[test]
fn what_an_ended_pod_left_is_read_by_the_next_agent() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, host) = Bench::with_volume(dir.path());
    let log = host.join("app.log");
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
    let (mut bench, host) = Bench::with_volume(dir.path());
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
