//! Bad input: floods, endless lines, bytes that are no text, links on volumes.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_line_without_end_is_cut_and_what_follows_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let container = dir.path().join("pods/default_web_u1/main");
    fs::create_dir_all(&container).unwrap();
    let long = "x".repeat(3 << 20);
    append(&container.join("0.log"), &format!("{long}\nnot of the format\n{}", cri("stdout", "F", "fine")));
    let mut bench = Bench::new(dir.path());
    bench.settle();
    let lines = bench.lines("stdout");
    assert_eq!(lines.len(), 3);
    assert!(lines[0].len() <= join::MAX_LINE && lines[0].starts_with("xxx"));
    assert_eq!(lines[1..], ["not of the format", "fine"]);
    assert!(bench.metrics.render().contains("binnacle_agent_log_lines_malformed_total"));
}

#[test]
fn a_flood_waits_and_the_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let (flood, calm) = (container(dir.path(), "flood"), container(dir.path(), "calm"));
    let mut bench = Bench::new(dir.path());
    let limited = crate::config::Logs { max_bytes_per_second: 100_000, ..reading(dir.path()) };
    bench.tailer = open_with(dir.path(), &bench.metrics, limited);
    let line = cri("stdout", "F", &"x".repeat(200));
    append(&flood, &line.repeat(4_000));
    for n in 0..10 {
        append(&calm, &cri("stderr", "F", &n.to_string()));
        bench.step(usize::MAX);
        assert_eq!(bench.lines("stderr").len(), n + 1, "the calm one is not kept waiting");
    }
    let read = bench.lines("stdout").len() * line.len();
    assert!((200_000..500_000).contains(&read), "{read} bytes in a second");
    assert!(bench.metrics.render().lines().any(|line| {
        line.starts_with("binnacle_agent_log_turns_limited_total")
            && line.contains("flood")
            && !line.ends_with(" 0")
    }));
    bench.settle();
    assert_eq!(bench.lines("stdout").len(), 4_000, "nothing is lost");
}

#[test]
fn a_container_cannot_get_around_its_rate_with_many_files() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path());
    let mut bench = Bench::new(dir.path());
    let limited = crate::config::Logs { max_bytes_per_second: 100_000, ..reading(dir.path()) };
    bench.tailer = open_with(dir.path(), &bench.metrics, limited);
    bench.mounts = vec![volume(&host)];
    for n in 0..20 {
        append(&host.join(format!("{n}.log")), &format!("{}\n", "x".repeat(999)).repeat(300));
    }
    for _ in 0..10 {
        bench.step(usize::MAX);
    }
    let read = bench.lines("file").len() * 1000;
    assert!((200_000..500_000).contains(&read), "{read} bytes in a second");
}

#[test]
fn ten_megabytes_in_one_line_become_one_record_and_the_rest_is_counted() {
    const LONG: usize = 10 << 20;
    let dir = tempfile::tempdir().unwrap();
    let (log, host) = (container(dir.path(), "web"), host(dir.path()));
    // An engine cuts it into pieces of 16 KiB; a plain file has it in one.
    let piece = cri("stdout", "P", &"x".repeat(16 << 10));
    append(&log, &(piece.repeat(LONG / (16 << 10)) + &cri("stdout", "F", "") + &cri("stdout", "F", "next")));
    append(&host.join("app.log"), &("y".repeat(LONG) + "\nnext\n"));
    let mut bench = Bench::new(dir.path());
    bench.mounts = vec![volume(&host)];
    bench.settle();
    for stream in ["stdout", "file"] {
        let lines = bench.lines(stream);
        assert_eq!((lines.len(), lines[0].len(), lines[1].as_str()), (2, join::MAX_LINE, "next"), "{stream}");
    }
    let cut = format!(
        "binnacle_agent_log_bytes_cut_total{{namespace=\"default\",pod=\"web\",container=\"main\"}} {}",
        2 * (LONG - join::MAX_LINE)
    );
    assert!(bench.metrics.render().contains(&cut), "{}", bench.metrics.render());
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (log, host) = (container(dir.path(), "web"), host(dir.path()));
    let bytes = b"caf\xe9 \xff\xfe \x00 end";
    let write = |path: &Path, line: &[u8]| {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(&[line, b"\n"].concat()).unwrap();
    };
    write(&log, &[cri("stderr", "F", "").trim_end_matches('\n').as_bytes(), bytes].concat());
    write(&host.join("app.log"), bytes);
    let mut bench = Bench::new(dir.path());
    bench.mounts = vec![volume(&host)];
    bench.step(0);
    let sent: Vec<&[u8]> =
        bench.flight.iter().flat_map(|(block, _)| &block.lines).map(|line| line.line.as_slice()).collect();
    assert_eq!(sent, [bytes, bytes]);
}

#[test]
fn a_volume_shows_nothing_of_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path());
    fs::write(dir.path().join("secret"), "root:secret\n").unwrap();
    let mut bench = Bench::new(dir.path());
    bench.mounts = vec![volume(&host)];
    append(&host.join("app.log"), "one\n");
    bench.settle();
    fs::remove_file(host.join("app.log")).unwrap();
    symlink(dir.path().join("secret"), host.join("app.log")).unwrap();
    symlink("../secret", host.join("app.log.1")).unwrap();
    bench.settle();
    assert_eq!(bench.lines("file"), ["one"]);
}

#[test]
fn a_line_whose_end_never_comes_holds_no_file_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let log = container(dir.path(), "web");
    let mut bench = Bench::new(dir.path());
    append(&log, &cri("stdout", "P", "begun"));
    let files = 20;
    for n in 0..files {
        append(&log, &cri("stderr", "F", &format!("line {n}")));
        fs::rename(&log, log.with_file_name(format!("0.log.20260101-{n:06}"))).unwrap();
        for _ in 0..5 {
            bench.step(usize::MAX);
        }
    }
    append(&log, &cri("stderr", "F", "last"));
    bench.settle();
    assert_eq!(bench.lines("stdout"), ["begun"]);
    assert_eq!(bench.lines("stderr").len(), files + 1);
    bench.kill(0);
    bench.settle();
    assert_eq!(bench.server.repeats, 0, "all of it is behind the checkpoint");
}
