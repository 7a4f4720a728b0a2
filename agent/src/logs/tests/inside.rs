//! Files inside containers: with directories that look like `/proc`, and with a real process.

use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::identity::{Container, LOGS_ANNOTATION, Registry};

/// A container whose root is a directory.
struct Fake {
    proc: PathBuf,
    rootfs: PathBuf,
    who: Container,
}

impl Fake {
    fn start(dir: &Path, pid: i32, annotation: &str) -> Self {
        let (proc, rootfs) = (dir.join("proc").join(pid.to_string()), dir.join(format!("rootfs{pid}")));
        fs::create_dir_all(&proc).unwrap();
        fs::create_dir_all(rootfs.join("var/log")).unwrap();
        symlink(&rootfs, proc.join("root")).unwrap();
        let who = Container {
            id: format!("id-{pid}"),
            namespace: "shop".into(),
            pod: "web-0".into(),
            uid: "u1".into(),
            container: "main".into(),
            annotations: [(LOGS_ANNOTATION.to_owned(), annotation.to_owned())].into(),
            pid: Some(pid),
            ..Container::default()
        };
        fs::write(proc.join("cgroup"), format!("0::/kubepods/podu1/{}\n", who.id)).unwrap();
        Self { proc, rootfs, who }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.rootfs.join("var/log").join(name)
    }

    /// The process is gone; what it had written is still held.
    fn end(&self) {
        fs::remove_dir_all(&self.proc).unwrap();
    }
}

impl Bench {
    /// What the node knows to run.
    fn run(&mut self, containers: &[&Container]) {
        let registry = Registry::default();
        containers.iter().for_each(|who| registry.insert((*who).clone()));
        registry.set_complete();
        self.wanted = Wanted::default();
        self.wanted.refresh(&registry, &reading(&self.dir));
    }

    fn counted(&self, name: &str) -> u64 {
        let text = self.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
    }
}

fn seqs(from: u64, to: u64) -> String {
    (from..to).map(|n| format!("seq={n}\n")).collect()
}

fn expect(bench: &Bench, count: u64) {
    let lines: Vec<String> = (0..count).map(|n| format!("seq={n}")).collect();
    assert_eq!(bench.lines("file"), lines);
}

#[test]
fn files_inside_are_followed_through_rotation_and_read_to_the_end_of_their_container() {
    let dir = tempfile::tempdir().unwrap();
    let web = Fake::start(dir.path(), 10, "/var/log/*.log");
    let mut bench = Bench::new(dir.path());
    bench.run(&[&web.who]);
    append(&web.log("app.log"), &seqs(0, 3));
    bench.step(usize::MAX);
    fs::rename(web.log("app.log"), web.log("app.log.1")).unwrap();
    append(&web.log("app.log"), &seqs(3, 5));
    bench.settle();
    expect(&bench, 5);
    // Killed: read on where the server has it.
    append(&web.log("app.log"), &seqs(5, 7));
    bench.step(0);
    bench.kill(1);
    bench.settle();
    expect(&bench, 7);
    // Written, rotated, and over before anybody looked again.
    append(&web.log("app.log"), &seqs(7, 9));
    fs::rename(web.log("app.log"), web.log("app.log.2")).unwrap();
    append(&web.log("app.log"), &(seqs(9, 11) + "seq=11"));
    web.end();
    bench.run(&[]);
    bench.settle();
    expect(&bench, 12);
    let labels = &bench.server.labels[0];
    assert_eq!((labels.get("filename"), labels.get("pod")), (Some("/var/log/app.log"), Some("web-0")));
    for _ in 0..700 {
        bench.step(usize::MAX);
    }
    assert!(!bench.tailer.reads_inside(), "nothing of the container is held any more");
    assert!(!fs::read_to_string(dir.path().join("logs.json")).unwrap().contains("inside/"));
}

#[test]
fn the_next_run_of_a_container_goes_on_with_what_is_on_a_volume() {
    let dir = tempfile::tempdir().unwrap();
    let first = Fake::start(dir.path(), 10, "/var/log/*.log,/data/*.log");
    let second = Fake::start(dir.path(), 11, "/var/log/*.log,/data/*.log");
    let volume = dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    // What both runs have mounted: links of the node stand for mounts, so they are hard ones.
    for run in [&first, &second] {
        fs::create_dir(run.rootfs.join("data")).unwrap();
    }
    append(&first.rootfs.join("data/app.log"), &seqs(0, 3));
    fs::hard_link(first.rootfs.join("data/app.log"), second.rootfs.join("data/app.log")).unwrap();
    let mut bench = Bench::new(dir.path());
    bench.run(&[&first.who]);
    bench.step(usize::MAX);
    append(&first.rootfs.join("data/app.log"), &seqs(3, 5));
    first.end();
    bench.run(&[&second.who]);
    bench.step(usize::MAX);
    append(&second.rootfs.join("data/app.log"), &seqs(5, 8));
    bench.settle();
    expect(&bench, 8);
    // And over a restart of the agent in between.
    bench.kill(0);
    second.end();
    let third = Fake::start(dir.path(), 12, "/data/*.log");
    fs::create_dir(third.rootfs.join("data")).unwrap();
    fs::hard_link(first.rootfs.join("data/app.log"), third.rootfs.join("data/app.log")).unwrap();
    append(&third.rootfs.join("data/app.log"), &seqs(8, 9));
    bench.run(&[&third.who]);
    bench.settle();
    expect(&bench, 9);
    assert_eq!(bench.counted("binnacle_agent_log_bytes_lost_total"), 0);
}

#[test]
fn what_a_container_left_unread_while_no_agent_was_there_is_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let web = Fake::start(dir.path(), 10, "/var/log/app.log");
    let mut bench = Bench::new(dir.path());
    bench.run(&[&web.who]);
    append(&web.log("app.log"), &seqs(0, 3));
    bench.settle();
    append(&web.log("app.log"), &seqs(3, 5));
    bench.step(0);
    bench.kill(0);
    web.end();
    bench.run(&[]);
    for _ in 0..700 {
        bench.step(usize::MAX);
    }
    expect(&bench, 3);
    assert_eq!(bench.counted("binnacle_agent_log_bytes_lost_total"), seqs(3, 5).len() as u64);
    assert!(!fs::read_to_string(dir.path().join("logs.json")).unwrap().contains("inside/"));
}

#[test]
fn a_container_is_held_no_longer_than_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let web = Fake::start(dir.path(), 10, "/var/log/app.log");
    let mut bench = Bench::new(dir.path());
    let slow = crate::config::Logs {
        max_bytes_per_second: 10,
        container_hold: std::time::Duration::from_secs(5),
        ..reading(dir.path())
    };
    bench.tailer = open_with(dir.path(), &bench.metrics, slow);
    bench.run(&[&web.who]);
    append(&web.log("app.log"), &format!("{}\n", "x".repeat(1000)).repeat(1000));
    bench.step(usize::MAX);
    web.end();
    for _ in 0..40 {
        bench.step(usize::MAX);
    }
    assert_eq!(bench.counted("binnacle_agent_log_bytes_lost_total"), 0);
    for _ in 0..20 {
        bench.step(usize::MAX);
    }
    let (read, lost) = (
        bench.counted("binnacle_agent_log_bytes_read_total"),
        bench.counted("binnacle_agent_log_bytes_lost_total"),
    );
    assert!(lost > 0 && read < 1_001_000, "{read} {lost}");
    assert!((1_000_000..=1_002_000).contains(&(read + lost)), "{read} {lost}");
}

#[test]
fn a_container_that_swaps_its_log_for_something_else_shows_nothing_of_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let web = Fake::start(dir.path(), 10, "/var/log/*.log,/var/log/named");
    let secret = dir.path().join("secret");
    fs::write(&secret, "root:secret\n").unwrap();
    let mut bench = Bench::new(dir.path());
    bench.run(&[&web.who]);
    append(&web.log("app.log"), &seqs(0, 2));
    bench.settle();
    fs::remove_file(web.log("app.log")).unwrap();
    for (to, name) in
        [(secret.to_str().unwrap(), "app.log"), ("../../../secret", "app.log.1"), ("/dev/zero", "named")]
    {
        symlink(to, web.log(name)).unwrap();
    }
    bench.settle();
    expect(&bench, 2);
}

#[test]
fn more_files_than_the_limit_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let web = Fake::start(dir.path(), 10, "/var/log/*");
    for n in 0..130 {
        append(&web.log(&format!("{n}.log")), "x\n");
    }
    let mut bench = Bench::new(dir.path());
    bench.run(&[&web.who]);
    bench.settle();
    assert_eq!(bench.lines("file").len(), 100);
    assert!(bench.metrics.render().contains("binnacle_agent_log_files_left_out{why=\"too_many_files\"} 30"));
}

#[test]
fn a_file_that_two_containers_see_is_read_once_and_rotated_files_are_no_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let web = Fake::start(dir.path(), 10, "/var/log/app*");
    let mut side = Fake::start(dir.path(), 11, "/var/log/app*");
    side.who.container = "aside".into();
    append(&web.log("app.log"), &seqs(0, 3));
    fs::hard_link(web.log("app.log"), side.log("app.log")).unwrap();
    let mut bench = Bench::new(dir.path());
    bench.run(&[&web.who, &side.who]);
    bench.settle();
    expect(&bench, 3);
    for run in [&web, &side] {
        fs::rename(run.log("app.log"), run.log("app.log.1")).unwrap();
    }
    bench.step(usize::MAX);
    append(&web.log("app.log"), &seqs(3, 5));
    fs::hard_link(web.log("app.log"), side.log("app.log")).unwrap();
    bench.settle();
    expect(&bench, 5);
}

/// A process with a mount namespace and a root of its own, as a container has. Ended when dropped.
struct Jail(Child);

impl Drop for Jail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Needs root and busybox.
fn jail(dir: &Path) -> Option<Jail> {
    if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        println!("skipped: needs root and the package busybox-static");
        return None;
    }
    let at = dir.join("jail");
    fs::create_dir_all(&at).unwrap();
    // Its root and the volume in it are file systems that nobody else sees.
    let script = "mount -t tmpfs none $0 && mkdir -p $0/bin $0/var/log $0/data && mount -t tmpfs none $0/data && \
                  cp /bin/busybox $0/bin/ && exec chroot $0 /bin/busybox sleep 1000";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&at);
    let jail = Jail(command.stdin(Stdio::null()).spawn().unwrap());
    for _ in 0..500 {
        if fs::read(format!("/proc/{}/cmdline", jail.0.id())).unwrap().starts_with(b"/bin/busybox") {
            return Some(jail);
        }
        #[expect(clippy::disallowed_methods, reason = "waits for a real process")]
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the process does not start");
}

#[test]
fn a_real_process_with_a_root_of_its_own_is_read_beyond_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut jail) = jail(dir.path()) else { return };
    let pid = jail.0.id() as i32;
    let who = Container {
        // Every process is in some cgroup.
        id: ":/".into(),
        pid: Some(pid),
        container: "main".into(),
        annotations: [(LOGS_ANNOTATION.to_owned(), "/var/log/*.log,/data/*.log".to_owned())].into(),
        ..Container::default()
    };
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let mut bench = Bench::new(dir.path());
    bench.run(&[&who]);
    append(&root.join("var/log/app.log"), &seqs(0, 3));
    bench.step(usize::MAX);
    append(&root.join("data/app.log"), &seqs(3, 5));
    bench.settle();
    expect(&bench, 5);
    assert!(!dir.path().join("jail/var").exists(), "the node does not see these files");
    append(&root.join("var/log/app.log"), &seqs(5, 8));
    fs::rename(root.join("var/log/app.log"), root.join("var/log/app.log.1")).unwrap();
    append(&root.join("var/log/app.log"), &seqs(8, 9));
    jail.0.kill().unwrap();
    jail.0.wait().unwrap();
    bench.run(&[]);
    bench.settle();
    expect(&bench, 9);
    // On a volume, too: its mount ends with the process, what is open does not.
    let Some(mut jail) = self::jail(dir.path()) else { return };
    let pid = jail.0.id() as i32;
    let who = Container { pid: Some(pid), uid: "u2".into(), ..who };
    let data = PathBuf::from(format!("/proc/{pid}/root/data"));
    append(&data.join("app.log"), &seqs(9, 10));
    bench.run(&[&who]);
    bench.step(usize::MAX);
    append(&data.join("app.log"), &seqs(10, 12));
    fs::rename(data.join("app.log"), data.join("app.log.1")).unwrap();
    append(&data.join("app.log"), &seqs(12, 13));
    jail.0.kill().unwrap();
    jail.0.wait().unwrap();
    bench.run(&[]);
    bench.settle();
    expect(&bench, 13);
    assert_eq!(bench.counted("binnacle_agent_log_bytes_lost_total"), 0);
}
