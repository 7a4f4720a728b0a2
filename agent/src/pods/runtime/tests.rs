use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::cgroup::Cgroups;
use crate::pods::handle::{Handle, channel};
use crate::pods::spec::tests::message;
use crate::pods::state::ProcessId;

/// A runtime whose shims are this test binary.
struct Fixture {
    runtime: Runtime,
    /// Kept: without it the runtime has nobody to speak with.
    _handle: Handle,
    events: mpsc::Receiver<node::NodeEvent>,
}

fn config(dir: &Path) -> Config {
    let mut config = Config {
        node: "test".to_owned(),
        state_dir: dir.join("state"),
        pod_log_dir: dir.join("logs"),
        interval: Duration::from_millis(100),
        ..Config::default()
    };
    config.pods.backoff_min = Duration::from_millis(50);
    config.pods.backoff_max = Duration::from_millis(200);
    config
}

fn fixture(config: Config, tree: Tree) -> Fixture {
    let (handle, inbox, events) = channel();
    let setup = Setup {
        config: Arc::new(config),
        tree,
        registry: Registry::default(),
        metrics: SelfMetrics::default(),
        shutdown: CancellationToken::new(),
        shim: ShimCommand {
            program: std::env::current_exe().unwrap().into(),
            args: ["pods::shim::tests::as_a_shim_process", "--exact", "--nocapture", "--test-threads=1"]
                .map(Into::into)
                .to_vec(),
            variable: Some("SHIM_DIR"),
        },
    };
    Fixture { runtime: Runtime::open(setup, inbox).unwrap(), _handle: handle, events }
}

/// The real hierarchies of this machine, below a cgroup of the test's own; `None`, visibly, without root.
fn real_cgroups(config: &mut Config, name: &str) -> Option<Tree> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    config.cgroup_parent = format!("/binnacle-test-{}-{name}", std::process::id());
    let tree = Tree::new(&Cgroups::discover(config).unwrap());
    let tried = tree.create_parent().and_then(|_| tree.group("").remove());
    match tried {
        Ok(()) => Some(tree),
        Err(e) => {
            eprintln!("skipped: needs writable cgroups: {e}");
            None
        }
    }
}

impl Fixture {
    /// Steps until `done` or for ten seconds.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begin_ms = clock::now_ms();
        while clock::now_ms() - begin_ms < 10_000 {
            self.runtime.step(clock::now_ms());
            if done(self) {
                return;
            }
            self.runtime.pass_time(Duration::from_millis(5));
        }
        panic!("{what} did not happen: {:#?}", self.statuses());
    }

    fn statuses(&mut self) -> Vec<node::PodStatus> {
        self.runtime.publish(clock::now_ms());
        self.runtime.inbox.statuses.borrow().to_vec()
    }

    fn status(&mut self, uid: &str) -> node::PodStatus {
        self.statuses().into_iter().find(|pod| pod.uid == uid).unwrap_or_default()
    }

    fn running(&mut self, uid: &str) -> bool {
        self.status(uid).containers.iter().any(|container| container.running)
    }

    fn end(mut self) {
        self.runtime.stop_all();
        let statuses = self.statuses();
        assert!(self.runtime.pods.is_empty() && self.runtime.trash.is_empty(), "{statuses:#?}");
    }
}

fn log_of(dir: &Path, uid: &str, run: u32) -> String {
    fs::read_to_string(dir.join(format!("logs/default_pod-{uid}_{uid}/main/{run}.log"))).unwrap_or_default()
}

#[test]
fn a_pod_runs_to_its_end_and_is_forgotten_when_no_longer_assigned() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = fixture(config(dir.path()), Tree::empty());
    fixture.runtime.assign(vec![message("u1", &["/bin/sh", "-c", "echo hello; exit 3"])]).unwrap();
    fixture.until("the end", |f| f.status("u1").phase == "Failed");
    let status = fixture.status("u1");
    assert_eq!((status.containers[0].exit_code, status.reason.as_str()), (3, "Error"));
    assert!(log_of(dir.path(), "u1", 0).ends_with("stdout F hello\n"));
    fixture.runtime.assign(vec![]).unwrap();
    fixture.until("forgetting", |f| f.statuses().is_empty());
    assert!(!dir.path().join("state/pods/u1").exists());
    assert!(dir.path().join("state/gone/default_pod-u1_u1").exists());
}

#[test]
fn the_assignment_is_idempotent_and_stops_what_is_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = fixture(config(dir.path()), Tree::empty());
    let (a, b) = (message("a", &["sleep", "100"]), message("b", &["sleep", "100"]));
    fixture.runtime.assign(vec![a.clone(), b.clone()]).unwrap();
    fixture.until("start", |f| f.running("a") && f.running("b"));
    let pid = fixture.status("a").containers[0].pid;
    fixture.runtime.assign(vec![a]).unwrap();
    fixture.until("the end of b", |f| f.statuses().len() == 1);
    assert_eq!(fixture.status("a").containers[0].pid, pid);
    fixture.end();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_container_that_keeps_failing_is_started_again_with_growing_pauses() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = fixture(config(dir.path()), Tree::empty());
    let mut spec = message("u1", &["/bin/sh", "-c", "exit 1"]);
    spec.restart_policy = "Always".to_owned();
    fixture.runtime.assign(vec![spec]).unwrap();
    fixture.until("three restarts", |f| f.status("u1").containers[0].restarts >= 3);
    let record = fixture.runtime.pods["u1"].record.containers["main"].clone();
    assert!(record.backoff_ms >= 100, "{record:?}");
    fixture.until("back-off", |f| f.status("u1").reason == "CrashLoopBackOff");
    fixture.end();
}

#[test]
fn sigterm_comes_first_and_sigkill_after_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = fixture(config(dir.path()), Tree::empty());
    let script = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done";
    let mut spec = message("u1", &["/bin/sh", "-c", script]);
    spec.termination_grace_seconds = 1;
    fixture.runtime.assign(vec![spec]).unwrap();
    fixture.until("start", |_| log_of(dir.path(), "u1", 0).contains("ready"));
    let begin_ms = clock::now_ms();
    fixture.runtime.assign(vec![]).unwrap();
    // Without cgroups the shim's own kill is what is left: the runtime cannot find the processes.
    fixture.until("SIGTERM", |_| log_of(dir.path(), "u1", 0).contains("asked"));
    let pid = fixture.status("u1").containers[0].pid;
    // SAFETY: a plain system call on a process that this test started.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    fixture.until("the end", |f| f.statuses().is_empty());
    assert!(clock::now_ms() - begin_ms < 10_000);
}

#[test]
fn an_evicted_pod_ends_as_failed_and_stays_so_for_the_next_agent() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = fixture(config(dir.path()), Tree::empty());
    first.runtime.assign(vec![message("u1", &["sleep", "100"])]).unwrap();
    first.until("start", |f| f.running("u1"));
    let evict = |uid: &str| node::EvictPod {
        pod_uid: uid.to_owned(),
        reason: "memory is short".to_owned(),
        grace_seconds: 5,
    };
    assert!(matches!(first.runtime.evict(&evict("other"), 0), Err(super::super::Refusal::NoPod(_))));
    let now_ms = clock::now_ms();
    first.runtime.evict(&evict("u1"), now_ms).unwrap();
    assert_eq!(first.runtime.evict(&evict("u1"), now_ms).unwrap(), "evicted");
    first.until("the end", |f| f.status("u1").phase == "Failed");
    assert_eq!(first.status("u1").reason, "Evicted");
    drop(first);
    let mut second = fixture(config(dir.path()), Tree::empty());
    second.runtime.step(clock::now_ms());
    let status = second.status("u1");
    assert_eq!((status.phase.as_str(), status.reason.as_str()), ("Failed", "Evicted"));
    assert_eq!(status.message, "memory is short");
}

#[test]
fn the_next_agent_takes_over_what_runs_and_what_ended_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = fixture(config(dir.path()), Tree::empty());
    let short = message("short", &["/bin/sh", "-c", "sleep 0.3; exit 9"]);
    first.runtime.assign(vec![message("long", &["sleep", "100"]), short]).unwrap();
    first.until("start", |f| f.running("long") && f.running("short"));
    let before = first.status("long").containers[0].clone();
    let Runtime { mut pods, .. } = first.runtime;
    let mut child = pods.get_mut("short").unwrap().live.get_mut("main").unwrap().child.take().unwrap();
    child.wait().unwrap();

    let mut second = fixture(config(dir.path()), Tree::empty());
    second.until("the end of the short one", |f| f.status("short").phase == "Failed");
    assert_eq!(second.status("short").containers[0].exit_code, 9);
    let after = second.status("long").containers[0].clone();
    assert_eq!((after.id, after.pid, after.restarts), (before.id, before.pid, 0));
    assert_eq!(second.runtime.setup.registry.all().len(), 1);
    // Reaps the shim that is a child of this process.
    let reaper = pods.get_mut("long").unwrap().live.get_mut("main").unwrap().child.take().unwrap();
    let wait = std::thread::spawn(move || { reaper }.wait());
    second.end();
    wait.join().unwrap().unwrap();
}

#[test]
fn what_cannot_run_is_told_and_does_not_hinder_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = fixture(config(dir.path()), Tree::empty());
    let mut image = message("image", &["true"]);
    image.containers[0].image = "nginx:1.27".to_owned();
    let missing = message("missing", &["/no/such/program"]);
    let good = message("good", &["/bin/true"]);
    fixture.runtime.assign(vec![image, message("../bad", &["true"]), missing, good]).unwrap();
    fixture.until("the good one", |f| f.status("good").phase == "Succeeded");
    fixture.until("the missing one", |f| f.status("missing").phase == "Failed");
    let image = fixture.status("image");
    assert_eq!((image.phase.as_str(), image.reason.as_str()), ("Failed", "StartError"));
    assert!(image.message.contains("nginx:1.27"), "{}", image.message);
    let bad = fixture.status("../bad");
    assert_eq!((bad.phase.as_str(), bad.reason.as_str()), ("Failed", "InvalidPod"));
    let missing = fixture.status("missing");
    assert_eq!(missing.containers[0].exit_code, 127, "{missing:?}");
}

/// Fills memory, in 1 MiB steps, by a shell alone.
const LEAK: &str = "x=$(head -c 1048576 /dev/zero | tr '\\0' x); y=; while :; do y=$y$x; done";

#[test]
fn a_leak_is_killed_at_the_limit_of_a_real_cgroup_and_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.capacity.memory_bytes = Some(1 << 30);
    let Some(tree) = real_cgroups(&mut config, "oom") else { return };
    let mut fixture = fixture(config, tree.clone());
    let mut spec = message("leaky", &["/bin/sh", "-c", LEAK]);
    spec.qos_class = "Burstable".to_owned();
    let amount = node::Resources { cpu_millis: 500, memory_bytes: 32 << 20 };
    spec.containers[0].limits = Some(amount);
    spec.containers[0].requests = Some(amount);
    fixture.runtime.assign(vec![spec]).unwrap();
    fixture.until("start", |f| f.running("leaky"));
    let status = fixture.status("leaky").containers[0].clone();
    assert_eq!(status.memory_limit_bytes, 32 << 20);
    assert_eq!(status.oom_score_adj, 1000 - 1000 * 32 / 1024);
    fixture.until("the kill", |f| f.status("leaky").phase == "Failed");
    let status = fixture.status("leaky").containers[0].clone();
    assert_eq!((status.reason.as_str(), status.exit_code), ("OOMKilled", 137));
    let event = fixture.events.try_recv().unwrap();
    assert_eq!((event.reason.as_str(), event.container.as_str()), ("OOMKilled", "main"));
    assert_eq!(event.fields["memory_limit_bytes"], (32 << 20).to_string());
    assert_eq!(event.fields["oom_kills"], "1");
    // Its cgroup stays a while for the collector; no second event comes of it.
    assert!(tree.group("kubepods/burstable/podleaky").exists());
    fixture.runtime.next_oom_ms = 0;
    fixture.runtime.step(clock::now_ms());
    assert!(fixture.events.try_recv().is_err());
    fixture.end();
    assert!(!tree.group("").exists());
}

#[test]
fn commands_act_on_real_processes_and_cgroups_and_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.capacity.cpu_millis = Some(1000);
    let Some(tree) = real_cgroups(&mut config, "commands") else { return };
    let mut fixture = fixture(config, tree.clone());
    let mut spec = message("u1", &["/bin/sh", "-c", "sleep 100 & sleep 100"]);
    spec.qos_class = "Burstable".to_owned();
    spec.containers[0].limits = Some(node::Resources { cpu_millis: 4000, memory_bytes: 64 << 20 });
    fixture.runtime.assign(vec![spec]).unwrap();
    fixture.until("start", |f| f.running("u1"));
    let group = fixture.runtime.pods["u1"].live["main"].group.clone();
    fixture.until("two processes", |_| group.processes().unwrap().len() >= 2);

    let adjust = |value| node::SetOomScoreAdj { pod_uid: "u1".into(), container: "main".into(), value };
    assert_eq!(fixture.runtime.set_oom_score_adj(&adjust(987)).unwrap(), "987");
    for pid in group.processes().unwrap() {
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "987");
    }
    assert!(fixture.runtime.set_oom_score_adj(&adjust(1001)).is_err());
    let limit = |bytes| node::SetMemoryLimit { pod_uid: "u1".into(), container: "main".into(), bytes };
    for bytes in [128 << 20, 48 << 20] {
        assert_eq!(fixture.runtime.set_memory_limit(&limit(bytes)).unwrap(), bytes.to_string());
        assert_eq!(tree.group("kubepods/burstable/podu1").memory_limit().unwrap(), Some(bytes));
    }
    assert!(fixture.runtime.set_memory_limit(&limit(4096)).is_err());
    let id = fixture.status("u1").containers[0].id.clone();
    assert_eq!(id.len(), 64);
    assert_eq!(fixture.runtime.setup.registry.get(&id).unwrap().pod, "pod-u1");
    fixture.end();
    assert!(!group.exists());
}

#[test]
fn a_pod_that_ignores_sigterm_is_killed_with_everything_in_its_cgroup() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let Some(tree) = real_cgroups(&mut config, "kill") else { return };
    let mut fixture = fixture(config, tree);
    let script = "trap '' TERM; setsid sleep 100 & while :; do sleep 0.05; done";
    let mut spec = message("u1", &["/bin/sh", "-c", script]);
    spec.termination_grace_seconds = 1;
    fixture.runtime.assign(vec![spec]).unwrap();
    fixture.until("start", |f| f.running("u1"));
    let group = fixture.runtime.pods["u1"].live["main"].group.clone();
    fixture.until("children", |_| group.processes().unwrap().len() >= 2);
    let processes: Vec<ProcessId> = group
        .processes()
        .unwrap()
        .into_iter()
        .filter_map(|pid| ProcessId::of(Path::new("/proc"), pid).ok())
        .collect();
    fixture.runtime.assign(vec![]).unwrap();
    fixture.until("the end", |f| f.statuses().is_empty());
    fixture.until("cgroups to go", |f| f.runtime.trash.is_empty());
    assert!(!group.exists());
    let alive = |id: &ProcessId| {
        fs::read_to_string(format!("/proc/{}/stat", id.pid)).is_ok_and(|s| !s.contains(") Z "))
            && id.lives(Path::new("/proc"))
    };
    assert!(!processes.iter().any(alive));
    fixture.end();
}
