use std::fs;
use std::process::Command;

use super::*;
use crate::pods::spec::Mount;
use crate::pods::state::LogFile;

/// Not a test of its own: other tests start this test binary with `SHIM_DIR` set to have a shim process.
#[test]
fn as_a_shim_process() {
    if let Some(dir) = std::env::var_os("SHIM_DIR") {
        let code = shim(vec![dir]);
        std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
    }
}

fn launch(dir: &Path, script: &str) -> Launch {
    Launch {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("SECRET".to_owned(), "s3cr3t".to_owned()),
        ],
        working_dir: String::new(),
        mounts: Vec::new(),
        cgroups: Vec::new(),
        oom_score_adj: 500,
        log: LogFile { path: dir.join("logs/main/0.log"), max_bytes: 1 << 20, max_files: 5, gzip: false },
    }
}

/// Runs a shim to its end; returns how the container ended and its log.
fn run_shim(dir: &Path, launch: &Launch) -> (Ended, String) {
    durable::save(&dir.join("spec.json"), launch).unwrap();
    let exe = std::env::current_exe().unwrap();
    let status = Command::new(exe)
        .args(["pods::shim::tests::as_a_shim_process", "--exact", "--nocapture", "--test-threads=1"])
        .env("SHIM_DIR", dir)
        .status()
        .unwrap();
    assert!(status.success());
    let ended = durable::load(&dir.join("ended.json")).unwrap().unwrap();
    (ended, fs::read_to_string(&launch.log.path).unwrap_or_default())
}

fn texts(log: &str, stream: &str) -> Vec<String> {
    let split = |line: &str| line.splitn(4, ' ').map(str::to_owned).collect::<Vec<_>>();
    log.lines().map(split).filter(|parts| parts[1] == stream).map(|parts| parts[3].clone()).collect()
}

#[test]
fn output_environment_adjustment_and_status_are_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "echo $SECRET; cat /proc/self/oom_score_adj; pwd; env | wc -l >/dev/null; echo bad >&2; exit 7";
    let (ended, log) = run_shim(dir.path(), &launch(dir.path(), script));
    assert_eq!((ended.exit_code, ended.error.as_str()), (7, ""));
    assert_eq!(texts(&log, "stdout"), ["s3cr3t", "500", "/"]);
    assert_eq!(texts(&log, "stderr"), ["bad"]);
    let started: Started = durable::load(&dir.path().join("started.json")).unwrap().unwrap();
    assert!(started.process.pid > 0 && started.process.pid != started.shim.pid);
    assert!(!started.process.lives(Path::new("/proc")));
}

#[test]
fn a_signal_is_told_as_128_and_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, _) = run_shim(dir.path(), &launch(dir.path(), "kill -9 $$"));
    assert_eq!(ended.exit_code, 137);
}

#[test]
fn what_cannot_be_started_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut launch = launch(dir.path(), "");
    launch.argv = vec!["/no/such/program".to_owned()];
    let (ended, _) = run_shim(dir.path(), &launch);
    assert_eq!(ended.exit_code, 127);
    assert!(ended.error.contains("/no/such/program"), "{}", ended.error);
    launch.argv = vec!["/bin/true".to_owned()];
    launch.working_dir = "/no/such/directory".to_owned();
    let (ended, _) = run_shim(dir.path(), &launch);
    assert!(ended.error.contains("working directory /no/such/directory"), "{}", ended.error);
}

#[test]
fn what_the_container_leaves_behind_is_killed_and_its_output_kept() {
    let dir = tempfile::tempdir().unwrap();
    let script = "sleep 1000 & echo $!; printf unfinished; exit 0";
    let (ended, log) = run_shim(dir.path(), &launch(dir.path(), script));
    assert_eq!(ended.exit_code, 0);
    let out = texts(&log, "stdout");
    assert_eq!(out[1], "unfinished");
    let left: i32 = out[0].parse().unwrap();
    let state = fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn a_second_shim_of_a_run_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let lock = File::create(dir.path().join("lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert!(run(dir.path()).is_err());
    drop(lock);
    let error = run(dir.path()).unwrap_err().to_string();
    assert!(error.contains("withdrew"), "{error}");
}

#[test]
fn mounts_are_the_containers_alone() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let script = format!("echo hello > {}/file && cat /proc/self/mountinfo", path(&target));
    let mut launch = launch(dir.path(), &script);
    let mount = Mount { host_path: path(&source), mount_path: path(&target), read_only: false };
    launch.mounts = vec![mount.clone()];
    let (ended, log) = run_shim(dir.path(), &launch);
    assert_eq!(ended.exit_code, 0, "{log}");
    assert!(log.contains(&path(&target)));
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "hello\n");
    assert!(!target.join("file").exists());

    launch.mounts = vec![Mount { read_only: true, ..mount }];
    let (ended, log) = run_shim(dir.path(), &launch);
    assert_ne!(ended.exit_code, 0);
    assert!(texts(&log, "stderr").iter().any(|line| line.contains("Read-only")), "{log}");
}
