//! Against trees in a temporary folder, and against real cgroups where the tests may make them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use binnacle_proto::is_stale;

use super::*;
use crate::clock;
use crate::watch::Watch;

mod families;

const CONTAINER: &str = "4f0a8b1e2c3d4e5f60718293a4b5c6d7e8f9010203040506070809a0b0c0d0e0";
const SUCCESSOR: &str = "5f0a8b1e2c3d4e5f60718293a4b5c6d7e8f9010203040506070809a0b0c0d0e0";
const UID: &str = "7b2d6e1c-93ab-4f0e-8d55-0c1f2a3b4c5d";
const MIB: u64 = 1 << 20;

fn containers(config: &Config) -> (Containers, Registry) {
    let registry = Registry::default();
    let cgroups = Arc::new(Cgroups::discover(config).unwrap());
    (Containers::new(config, cgroups, registry.clone(), &SelfMetrics::default()), registry)
}

fn leaky(id: &str) -> Container {
    Container {
        id: id.into(),
        namespace: "demo".into(),
        pod: "leaky-0".into(),
        uid: UID.into(),
        container: "leaky".into(),
        image: "host".into(),
        ..Container::default()
    }
}

type Samples = BTreeMap<String, f64>;

/// One round, as family and id (or more labels of a choice) to value.
fn round(containers: &mut Containers) -> Samples {
    let mut samples = Vec::new();
    containers.collect(clock::now_ms(), &mut samples);
    let mut seen = Samples::new();
    for (series, value) in samples {
        let chosen =
            series.labels().filtered(|name| !matches!(name, "node" | "instance" | "job" | "metrics_path"));
        let earlier = seen.insert(chosen.to_string(), value);
        assert!(earlier.is_none(), "{chosen} twice");
    }
    seen
}

fn of<'a>(samples: &'a Samples, family: &str, part: &str) -> Vec<(&'a str, f64)> {
    let matches = |series: &&String| series.split('{').next() == Some(family) && series.contains(part);
    samples.iter().filter(|(series, _)| matches(series)).map(|(series, v)| (series.as_str(), *v)).collect()
}

fn one(samples: &Samples, family: &str, part: &str) -> f64 {
    let found = of(samples, family, part);
    assert_eq!(found.len(), 1, "{family} with {part}: {found:?} of {samples:#?}");
    found[0].1
}

/// A version 2 tree in a temporary folder.
struct Tree {
    dir: tempfile::TempDir,
    config: Config,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let tree = root.join("cg");
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::create_dir_all(&tree).unwrap();
        let mounts = format!("30 22 0:1 / {} rw - cgroup2 cgroup2 rw\n", tree.display());
        fs::write(root.join("proc/self/mountinfo"), mounts).unwrap();
        fs::write(tree.join("cgroup.controllers"), "cpu io memory pids\n").unwrap();
        let config = Config {
            cgroup_root: tree,
            proc_root: root.join("proc"),
            sys_root: root.join("sys"),
            cgroup_parent: "/alpha".into(),
            ..Config::default()
        };
        Self { dir, config }
    }

    fn write(&self, id: &str, files: &[(&str, &str)]) {
        let path = self.dir.path().join("cg/alpha").join(id.trim_start_matches('/'));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("cgroup.procs"), "1\n2\n").unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
    }

    fn remove(&self, id: &str) {
        fs::remove_dir_all(self.dir.path().join("cg/alpha").join(id.trim_start_matches('/'))).unwrap();
    }
}

#[tokio::test]
async fn cgroups_are_found_though_the_parent_of_all_is_made_later() {
    let tree = Tree::new();
    let (mut containers, _) = containers(&tree.config);
    let (watch, _changes) = Watch::new("test", &SelfMetrics::default()).unwrap();
    containers.watched_by(watch);
    assert!(round(&mut containers).is_empty());
    tree.write("/kubepods", &[("memory.current", "1000\n")]);
    assert!(!round(&mut containers).is_empty());
}

#[test]
fn an_inner_cgroup_is_new_neither_at_first_nor_later() {
    let tree = Tree::new();
    let outer = format!("/kubepods/pod{UID}/{CONTAINER}");
    tree.write(&outer, &[("memory.current", "1000\n")]);
    tree.write(&format!("{outer}/container"), &[("memory.current", "900\n")]);
    let (mut containers, _) = containers(&tree.config);
    assert!(containers.is_new(&outer) && !containers.is_new(&format!("{outer}/container")));
    containers.collect_new(&mut Vec::new());
    let left: Vec<String> =
        scan(&containers.cgroups).0.into_keys().filter(|id| containers.is_new(id)).collect();
    assert!(left.is_empty() && containers.known.contains_key(&outer), "{left:?}");
}

#[test]
fn a_version_2_cgroup_has_cadvisors_families_and_units() {
    let tree = Tree::new();
    let pod = format!("/kubepods/pod{UID}");
    let files = [
        (
            "cpu.stat",
            "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 2\nthrottled_usec 300000\n",
        ),
        ("cpu.max", "50000 100000\n"),
        ("cpu.weight", "39\n"),
        ("memory.current", "1000\n"),
        ("memory.stat", "anon 600\nfile 300\nfile_mapped 20\ninactive_file 100\npgfault 7\npgmajfault 1\n"),
        ("memory.max", "4096\n"),
        ("memory.low", "0\n"),
        ("memory.swap.max", "max\n"),
        ("memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n"),
        ("io.stat", "254:0 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=0 dios=0\n"),
        ("pids.current", "5\n"),
        (
            "cpu.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        ),
    ];
    tree.write(&pod, &[]);
    tree.write(&format!("{pod}/{CONTAINER}"), &files);
    let uevent = tree.dir.path().join("sys/dev/block/254:0");
    fs::create_dir_all(&uevent).unwrap();
    fs::write(uevent.join("uevent"), "MAJOR=254\nDEVNAME=vda\n").unwrap();
    let (mut containers, registry) = containers(&tree.config);
    registry.insert(leaky(CONTAINER));
    let samples = round(&mut containers);
    let labels = format!(
        r#"container="leaky", id="{pod}/{CONTAINER}", image="host", name="{CONTAINER}", namespace="demo", pod="leaky-0""#
    );
    for (family, value) in [
        ("container_cpu_user_seconds_total", 2.0),
        ("container_cpu_cfs_throttled_periods_total", 2.0),
        ("container_cpu_cfs_throttled_seconds_total", 0.3),
        ("container_spec_cpu_quota", 50_000.0),
        ("container_spec_cpu_shares", 998.0),
        ("container_memory_usage_bytes", 1000.0),
        ("container_memory_working_set_bytes", 900.0),
        ("container_memory_rss", 600.0),
        ("container_memory_cache", 300.0),
        ("container_spec_memory_limit_bytes", 4096.0),
        ("container_spec_memory_swap_limit_bytes", 0.0),
        ("container_threads", 5.0),
        ("container_processes", 2.0),
        ("container_pressure_cpu_waiting_seconds_total", 1.5),
    ] {
        assert_eq!(one(&samples, family, &labels), value, "{family}");
    }
    assert_eq!(one(&samples, "container_cpu_usage_seconds_total", r#"cpu="total""#), 2.5);
    assert_eq!(one(&samples, "container_fs_writes_bytes_total", r#"device="/dev/vda""#), 20.0);
    assert_eq!(one(&samples, "container_memory_events_total", r#"event="oom_kill""#), 4.0);
    assert_eq!(one(&samples, "container_oom_events_total", r#"container="leaky""#), 4.0);
    assert!(of(&samples, "container_memory_swap", CONTAINER).is_empty(), "absent is not zero");
    assert!(of(&samples, "container_pressure_io_waiting_seconds_total", CONTAINER).is_empty());
}

#[test]
fn a_cgroup_that_vanishes_ends_and_one_that_becomes_known_changes_its_labels() {
    let tree = Tree::new();
    let id = format!("/kubepods/pod{UID}/{CONTAINER}");
    tree.write(&id, &[("memory.current", "1000\n")]);
    let (mut containers, registry) = containers(&tree.config);
    let samples = round(&mut containers);
    assert_eq!(one(&samples, "container_memory_usage_bytes", &id), 1000.0);
    registry.insert(leaky(CONTAINER));
    let samples = round(&mut containers);
    let both = of(&samples, "container_memory_usage_bytes", &id);
    assert_eq!(both.len(), 2);
    assert!(both.iter().any(|(series, v)| !series.contains("pod=") && is_stale(*v)));
    assert!(both.iter().any(|(series, v)| series.contains(r#"pod="leaky-0""#) && *v == 1000.0));
    tree.remove(&id);
    let samples = round(&mut containers);
    assert!(is_stale(one(&samples, "container_memory_usage_bytes", &id)));
    assert!(of(&round(&mut containers), "container_memory_usage_bytes", &id).is_empty());
}

#[tokio::test]
async fn a_new_cgroup_is_seen_without_waiting_for_the_next_round() {
    let tree = Tree::new();
    tree.write("/", &[]);
    let (mut containers, _) = containers(&tree.config);
    let (watch, mut changes) = Watch::new("test", &SelfMetrics::default()).unwrap();
    containers.watched_by(watch.clone());
    round(&mut containers);
    let id = format!("/kubepods/pod{UID}/{CONTAINER}");
    tree.write(&id, &[("memory.current", "1000\n")]);
    changes.wait().await.unwrap();
    let mut samples = Vec::new();
    containers.collect_new(&mut samples);
    let is_new = |labels: &binnacle_proto::Labels| labels.get("id") == Some(id.as_str());
    assert!(samples.iter().any(|(series, value)| is_new(series.labels()) && *value == 1000.0));
    let before = samples.len();
    containers.collect_new(&mut samples);
    assert_eq!(samples.len(), before, "it is new once");
    // Gone ones end in the next round, and what was made meanwhile in new ones is watched as well.
    assert_eq!(one(&round(&mut containers), "container_memory_usage_bytes", CONTAINER), 1000.0);
    tree.write(&format!("/kubepods/pod{UID}/{SUCCESSOR}"), &[("memory.current", "7\n")]);
    changes.wait().await.unwrap();
    tree.remove(&id);
    changes.wait().await.unwrap();
    let samples = round(&mut containers);
    assert_eq!(one(&samples, "container_memory_usage_bytes", SUCCESSOR), 7.0);
    assert!(is_stale(one(&samples, "container_memory_usage_bytes", CONTAINER)));
}

#[test]
fn kills_in_version_2_outlive_the_container() {
    let tree = Tree::new();
    let pod = format!("/kubepods/pod{UID}");
    tree.write(&pod, &[("memory.events", "oom 0\noom_kill 0\n")]);
    tree.write(&format!("{pod}/{CONTAINER}"), &[("memory.events", "oom 0\noom_kill 0\n")]);
    let (mut containers, registry) = containers(&tree.config);
    registry.insert(leaky(CONTAINER));
    assert_eq!(one(&round(&mut containers), "container_oom_events_total", "leaky"), 0.0);
    tree.write(&pod, &[("memory.events", "oom 1\noom_kill 2\noom_group_kill 1\n")]);
    tree.remove(&format!("{pod}/{CONTAINER}"));
    tree.write(&format!("{pod}/{SUCCESSOR}"), &[("memory.events", "oom 0\noom_kill 0\n")]);
    registry.insert(leaky(SUCCESSOR));
    for _ in 0..3 {
        assert_eq!(one(&round(&mut containers), "container_oom_events_total", "leaky"), 1.0);
    }
}

/// A node of our own among this machine's cgroups; removed when dropped.
struct Real {
    config: Config,
    cgroups: Cgroups,
    made: Vec<PathBuf>,
    children: Vec<Child>,
}

impl Real {
    /// `None`, and a line that says why, where cgroups cannot be made.
    fn new(name: &str) -> Option<Self> {
        let parent = format!("/binnacle-test-{name}-{}", std::process::id());
        let config = Config { cgroup_parent: parent, ..Config::default() };
        let cgroups = match Cgroups::discover(&config) {
            Ok(cgroups) if rustix::process::geteuid().is_root() => cgroups,
            Ok(_) => {
                println!("skipped: needs root");
                return None;
            }
            Err(error) => {
                println!("skipped: no cgroups: {error}");
                return None;
            }
        };
        let mut real = Self { config, cgroups, made: Vec::new(), children: Vec::new() };
        if !real.make("/") {
            println!("skipped: cgroups cannot be made here");
            return None;
        }
        Some(real)
    }

    /// Makes the cgroup and those above it in every hierarchy, with all controllers.
    fn make(&mut self, id: &str) -> bool {
        let mounts: Vec<PathBuf> = self.cgroups.hierarchies().into_iter().map(PathBuf::from).collect();
        for mount in mounts {
            let mut above = mount.clone();
            let target = self.cgroups.below(&mount, id);
            let relative = target.strip_prefix(&mount).unwrap().to_owned();
            for part in &relative {
                if let Ok(offered) = fs::read_to_string(above.join("cgroup.controllers")) {
                    for controller in offered.split_whitespace() {
                        let _ = fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
                    }
                }
                above.push(part);
                match fs::create_dir(&above) {
                    Ok(()) => self.made.push(above.clone()),
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                    Err(_) => return false,
                }
            }
        }
        true
    }

    fn remove(&mut self, id: &str) {
        let mounts: Vec<PathBuf> = self.cgroups.hierarchies().into_iter().map(PathBuf::from).collect();
        for mount in mounts {
            let path = self.cgroups.below(&mount, id);
            // The last process may take a moment to leave.
            for _ in 0..200 {
                if fs::remove_dir(&path).is_ok() || !path.exists() {
                    break;
                }
                pause(10);
            }
            self.made.retain(|made| *made != path);
        }
    }

    /// Writes the file to the cgroup's directory of this controller.
    fn set(&self, controller: Controller, id: &str, file: &str, value: &str) -> std::io::Result<()> {
        fs::write(self.cgroups.dir(controller, id).unwrap().join(file), value)
    }

    /// Starts this very test binary as a helper inside the cgroup; it begins when told to.
    fn start(&mut self, id: &str, task: &str) -> usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cgroup::containers::tests::helper", "--nocapture", "--include-ignored"])
            .env("BINNACLE_TEST_TASK", task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for mount in self.cgroups.hierarchies() {
            let path = self.cgroups.below(mount, id).join("cgroup.procs");
            fs::write(path, child.id().to_string()).unwrap();
        }
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        self.children.push(child);
        self.children.len() - 1
    }

    fn wait_until_ready(&mut self, child: usize) {
        let lines = BufReader::new(self.children[child].stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")));
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for path in std::mem::take(&mut self.made).iter().rev() {
            for _ in 0..200 {
                if fs::remove_dir(path).is_ok() || !path.exists() {
                    break;
                }
                pause(10);
            }
        }
    }
}

fn pause(ms: u64) {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(std::time::Duration::from_millis(ms));
}

/// Not a test: what [`Real::start`] runs in a cgroup. Without its variable it does nothing.
#[test]
fn helper() {
    let Ok(task) = std::env::var("BINNACLE_TEST_TASK") else { return };
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    if let Some(mib) = task.strip_prefix("eat ") {
        let mut memory = vec![0u8; mib.parse::<usize>().unwrap() << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        std::hint::black_box(&memory);
        println!("ready");
        std::io::stdin().read_line(&mut line).unwrap();
    } else {
        let mut x = 0u64;
        println!("ready");
        loop {
            x = std::hint::black_box(x.wrapping_add(1));
        }
    }
}

/// Processor time of a process by `/proc`, in seconds.
fn proc_cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
fn a_burner_and_an_eater_of_known_size_are_measured_rightly() {
    let Some(mut real) = Real::new("burn") else { return };
    let id = format!("/kubepods/pod{UID}/{CONTAINER}");
    assert!(real.make(&id));
    let (mut containers, registry) = containers(&real.config);
    registry.insert(leaky(CONTAINER));
    let eater = real.start(&id, "eat 48");
    real.wait_until_ready(eater);
    let burner = real.start(&id, "burn");
    real.wait_until_ready(burner);
    pause(500);
    let pids: Vec<u32> = real.children.iter().map(Child::id).collect();
    let cpu = || pids.iter().map(|pid| proc_cpu(*pid)).sum::<f64>();
    let (before, first) = (cpu(), round(&mut containers));
    pause(1000);
    let (second, after) = (round(&mut containers), cpu());
    let used = |samples: &Samples| one(samples, "container_cpu_usage_seconds_total", &id);
    let (ours, theirs) = (used(&second) - used(&first), after - before);
    // /proc counts in hundredths of a second, for two processes, at two times.
    assert!((ours - theirs).abs() < 0.06 + 0.05 * theirs, "{ours} s, /proc says {theirs} s");
    assert!(ours > 0.2, "the burner hardly ran: {ours} s");
    let working_set = one(&second, "container_memory_working_set_bytes", &id);
    let rss = one(&second, "container_memory_rss", &id);
    let (low, high) = (48 * MIB, 64 * MIB);
    for value in [working_set, rss] {
        assert!(value >= low as f64 && value <= high as f64, "{value} is not within {low}…{high}");
    }
    assert_eq!(one(&second, "container_processes", &id), 2.0);
    // The node as a whole is its subtree.
    let whole = one(&second, "container_cpu_usage_seconds_total", r#"id="/""#);
    assert!(whole >= used(&second) * 0.99, "{whole}");
}

#[test]
fn an_oom_kill_is_counted_once_and_outlives_its_container() {
    let Some(mut real) = Real::new("oom") else { return };
    let pod = format!("/kubepods/pod{UID}");
    let id = format!("{pod}/{CONTAINER}");
    assert!(real.make(&id));
    let limit = (32 * MIB).to_string();
    match real.cgroups.home(Controller::Memory) {
        Some(Home::V1(_)) => {
            real.set(Controller::Memory, &id, "memory.limit_in_bytes", &limit).unwrap();
            // Absent without swap accounting.
            let _ = real.set(Controller::Memory, &id, "memory.memsw.limit_in_bytes", &limit);
        }
        Some(Home::V2(_)) => {
            real.set(Controller::Memory, &id, "memory.max", &limit).unwrap();
            let _ = real.set(Controller::Memory, &id, "memory.swap.max", "0");
        }
        None => return println!("skipped: no memory controller"),
    }
    let (mut containers, registry) = containers(&real.config);
    registry.insert(leaky(CONTAINER));
    let samples = round(&mut containers);
    assert_eq!(one(&samples, "container_oom_events_total", "leaky"), 0.0);
    assert_eq!(one(&samples, "container_spec_memory_limit_bytes", &id), (32 * MIB) as f64);
    let eater = real.start(&id, "eat 256");
    let status = real.children[eater].wait().unwrap();
    assert!(!status.success(), "it was to be killed: {status}");
    // Nobody looks before the cgroup is gone.
    real.remove(&id);
    let successor = format!("{pod}/{SUCCESSOR}");
    assert!(real.make(&successor));
    registry.remove(CONTAINER);
    registry.insert(leaky(SUCCESSOR));
    let part = format!(r#"container="leaky", id="{pod}""#);
    let counted = |containers: &mut Containers| one(&round(containers), "container_oom_events_total", &part);
    // The kernel tells of a version 1 cgroup's end with a delay.
    for _ in 0..100 {
        if counted(&mut containers) > 0.0 {
            break;
        }
        pause(20);
    }
    for _ in 0..3 {
        assert_eq!(counted(&mut containers), 1.0);
    }
}
