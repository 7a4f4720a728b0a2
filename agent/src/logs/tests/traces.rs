//! Stack traces: through rotations, and when the agent is killed.

use super::*;

const TRACE: [&str; 3] =
    ["java.lang.IllegalStateException: broken", "\tat a.B.c(B.java:1)", "Caused by: java.io.IOException: x"];

#[test]
fn a_trace_becomes_one_record_by_the_next_line_and_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = container(dir.path(), "web");
    let mut bench = Bench::new(dir.path());
    let write = |lines: &[&str]| lines.iter().for_each(|line| append(&log, &cri("stderr", "F", line)));
    write(&["before"]);
    write(&TRACE);
    write(&["after"]);
    write(&TRACE);
    bench.step(usize::MAX);
    let whole = TRACE.join("\n");
    assert_eq!(bench.lines("stderr"), ["before", &whole, "after"], "the second may go on");
    // Killed while it is held: it is read again, and nothing is lost or twice.
    bench.kill(0);
    bench.step(usize::MAX);
    assert_eq!(bench.lines("stderr").len(), 3);
    for _ in 0..12 {
        bench.step(usize::MAX);
    }
    assert_eq!(bench.lines("stderr"), ["before", &whole, "after", &whole]);
    write(&TRACE[..2]);
    bench.step(usize::MAX);
    fs::rename(&log, log.with_file_name("0.log.20260101-000000")).unwrap();
    write(&["next"]);
    bench.settle();
    assert_eq!(bench.lines("stderr")[4..], [TRACE[..2].join("\n"), "next".to_owned()]);
    assert!(bench.metrics.render().contains("binnacle_agent_log_lines_joined_total"));
}

#[test]
fn a_trace_goes_on_after_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let log = container(dir.path(), "web");
    let mut bench = Bench::new(dir.path());
    let write = |lines: &[&str]| lines.iter().for_each(|line| append(&log, &cri("stderr", "F", line)));
    write(&["before", TRACE[0]]);
    bench.step(usize::MAX);
    fs::rename(&log, log.with_file_name("0.log.20260101-000000")).unwrap();
    write(&TRACE[1..2]);
    for _ in 0..5 {
        bench.step(usize::MAX);
    }
    // The first file is read to its end, yet not behind the trace that it begins.
    bench.kill(0);
    fs::rename(&log, log.with_file_name("0.log.20260102-000000")).unwrap();
    write(&[TRACE[2], "after"]);
    bench.settle();
    assert_eq!(bench.lines("stderr"), ["before", &TRACE.join("\n"), "after"]);
}

#[test]
fn a_trace_that_was_ended_by_time_just_before_a_kill_is_stored_once() {
    for stored in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let log = container(dir.path(), "web");
        let mut bench = Bench::new(dir.path());
        let write = |lines: &[&str]| lines.iter().for_each(|line| append(&log, &cri("stderr", "F", line)));
        write(&TRACE[..2]);
        for _ in 0..15 {
            bench.step(0);
        }
        assert_eq!(bench.flight.len(), 1, "it was ended by time");
        bench.kill(stored);
        write(&[TRACE[2], "after"]);
        bench.settle();
        assert_eq!(bench.lines("stderr"), [&TRACE[..2].join("\n"), TRACE[2], "after"]);
        assert_eq!(bench.server.repeats, stored);
    }
}

#[test]
fn a_trace_over_a_rotation_becomes_the_same_record_when_it_is_read_again_slowly() {
    for stored in [0, usize::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let log = container(dir.path(), "web");
        let mut bench = Bench::new(dir.path());
        let write = |lines: &[&str]| lines.iter().for_each(|line| append(&log, &cri("stderr", "F", line)));
        write(&TRACE[..2]);
        bench.step(0);
        fs::rename(&log, log.with_file_name("0.log.20260101-000000")).unwrap();
        write(&[TRACE[2], "after"]);
        for _ in 0..8 {
            bench.step(0);
        }
        assert!(!bench.flight.is_empty(), "both files were read");
        bench.kill(stored);
        bench.step(0);
        // The uplink is busy: the next file is not looked at before the trace has waited too long.
        bench.now_ms += 5_000;
        bench.settle();
        assert_eq!(bench.lines("stderr"), [&TRACE.join("\n"), "after"]);
    }
}

#[test]
fn a_file_is_not_passed_before_the_records_that_go_on_in_it_are_behind_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let log = container(dir.path(), "web");
    let mut bench = Bench::new(dir.path());
    let write = |stream: &str, line: &str| append(&log, &cri(stream, "F", line));
    // Of two traces at the end of the file one goes on in the next.
    write("stderr", "java.lang.Error: held");
    TRACE[..2].iter().for_each(|line| write("stdout", line));
    bench.step(usize::MAX);
    fs::rename(&log, log.with_file_name("0.log.20260101-000000")).unwrap();
    write("stdout", TRACE[2]);
    write("stdout", "after");
    for _ in 0..6 {
        bench.step(usize::MAX);
    }
    assert_eq!(bench.lines("stdout"), [&TRACE.join("\n"), "after"]);
    assert!(bench.lines("stderr").is_empty(), "it still waits");
    bench.kill(0);
    bench.settle();
    assert_eq!(bench.lines("stdout"), [&TRACE.join("\n"), "after"]);
    assert_eq!(bench.lines("stderr"), ["java.lang.Error: held"]);
}

#[test]
fn a_file_is_not_passed_before_an_older_one_whose_end_decides_what_its_next_line_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = container(dir.path(), "web");
    let mut bench = Bench::new(dir.path());
    let write = |stream: &str, line: &str| append(&log, &cri(stream, "F", line));
    // The older file is read again from here on as long as this waits.
    write("stdout", "java.lang.Error: held");
    TRACE[..2].iter().for_each(|line| write("stderr", line));
    bench.step(usize::MAX);
    fs::rename(&log, log.with_file_name("0.log.20260101-000000")).unwrap();
    write("stderr", "between");
    for _ in 0..6 {
        bench.step(usize::MAX);
    }
    assert_eq!(bench.lines("stderr"), [&TRACE[..2].join("\n"), "between"]);
    bench.kill(0);
    write("stderr", TRACE[2]);
    bench.settle();
    assert_eq!(bench.lines("stderr"), [&TRACE[..2].join("\n"), "between", TRACE[2]]);
    assert_eq!(bench.lines("stdout"), ["java.lang.Error: held"]);
}
