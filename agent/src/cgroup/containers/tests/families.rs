//! The contract's list of container families, word by word, against both versions of cgroups.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use super::*;

/// Families that both versions have.
const BOTH: [&str; 46] = [
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_throttled_seconds_total",
    "container_cpu_system_seconds_total",
    "container_cpu_usage_seconds_total",
    "container_cpu_user_seconds_total",
    "container_file_descriptors",
    "container_fs_reads_bytes_total",
    "container_fs_reads_total",
    "container_fs_writes_bytes_total",
    "container_fs_writes_total",
    "container_last_seen",
    "container_memory_cache",
    "container_memory_events_total",
    "container_memory_failcnt",
    "container_memory_failures_total",
    "container_memory_mapped_file",
    "container_memory_max_usage_bytes",
    "container_memory_rss",
    "container_memory_swap",
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "container_network_receive_bytes_total",
    "container_network_receive_errors_total",
    "container_network_receive_packets_dropped_total",
    "container_network_receive_packets_total",
    "container_network_transmit_bytes_total",
    "container_network_transmit_errors_total",
    "container_network_transmit_packets_dropped_total",
    "container_network_transmit_packets_total",
    "container_oom_events_total",
    "container_pressure_cpu_stalled_seconds_total",
    "container_pressure_cpu_waiting_seconds_total",
    "container_pressure_io_stalled_seconds_total",
    "container_pressure_io_waiting_seconds_total",
    "container_pressure_memory_stalled_seconds_total",
    "container_pressure_memory_waiting_seconds_total",
    "container_processes",
    "container_spec_cpu_period",
    "container_spec_cpu_quota",
    "container_spec_cpu_shares",
    "container_spec_memory_limit_bytes",
    "container_spec_memory_reservation_limit_bytes",
    "container_spec_memory_swap_limit_bytes",
    "container_start_time_seconds",
    "container_threads",
];

const PRESSURE: &str =
    "some avg10=0.00 avg60=0.00 avg300=0.00 total=15\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4\n";

const V1: [(&str, &str, &str); 20] = [
    ("cpu", "cpu.stat", "nr_periods 10\nnr_throttled 2\nthrottled_time 300000\n"),
    ("cpu", "cpu.cfs_period_us", "100000\n"),
    ("cpu", "cpu.cfs_quota_us", "50000\n"),
    ("cpu", "cpu.shares", "1024\n"),
    ("cpuacct", "cpuacct.usage", "2500000\n"),
    ("cpuacct", "cpuacct.stat", "user 10\nsystem 5\n"),
    (
        "memory",
        "memory.stat",
        "cache 1\ntotal_inactive_file 100\ntotal_rss 600\ntotal_cache 300\ntotal_swap 0\ntotal_mapped_file 20\n\
         pgfault 7\npgmajfault 1\ntotal_pgfault 8\ntotal_pgmajfault 2\n",
    ),
    ("memory", "memory.usage_in_bytes", "1000\n"),
    ("memory", "memory.max_usage_in_bytes", "2000\n"),
    ("memory", "memory.failcnt", "3\n"),
    ("memory", "memory.limit_in_bytes", "4096\n"),
    ("memory", "memory.soft_limit_in_bytes", "9223372036854771712\n"),
    ("memory", "memory.memsw.limit_in_bytes", "9223372036854771712\n"),
    ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
    ("blkio", "blkio.throttle.io_service_bytes_recursive", "254:0 Read 10\n254:0 Write 20\nTotal 30\n"),
    ("blkio", "blkio.throttle.io_serviced_recursive", "254:0 Read 3\n254:0 Write 4\nTotal 7\n"),
    ("pids", "pids.current", "5\n"),
    ("unified", "cpu.pressure", PRESSURE),
    ("unified", "memory.pressure", PRESSURE),
    ("unified", "io.pressure", PRESSURE),
];

const V2: [(&str, &str); 17] = [
    (
        "cpu.stat",
        "usage_usec 25\nuser_usec 20\nsystem_usec 5\nnr_periods 10\nnr_throttled 2\nthrottled_usec 3\nnr_bursts 0\n",
    ),
    ("cpu.max", "50000 100000\n"),
    ("cpu.weight", "39\n"),
    ("memory.current", "1000\n"),
    ("memory.stat", "anon 600\nfile 300\nfile_mapped 20\ninactive_file 100\npgfault 7\npgmajfault 1\n"),
    ("memory.peak", "2000\n"),
    ("memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 0\n"),
    ("memory.max", "4096\n"),
    ("memory.low", "0\n"),
    ("memory.swap.current", "0\n"),
    ("memory.swap.max", "max\n"),
    ("io.stat", "254:0 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=0 dios=0\n"),
    ("pids.current", "5\n"),
    ("cpu.pressure", PRESSURE),
    ("memory.pressure", PRESSURE),
    ("io.pressure", PRESSURE),
    ("cgroup.procs", "7\n"),
];

/// Families of a pod with a container and a sandbox whose files `write` makes in `cgroups`.
fn families(mounts: &str, write: impl Fn(&std::path::Path, &str)) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let (root, tree) = (dir.path(), dir.path().join("cg"));
    fs::create_dir_all(root.join("proc/self")).unwrap();
    fs::write(root.join("proc/self/mountinfo"), mounts.replace("{}", &tree.display().to_string())).unwrap();
    for pid in ["1", "7"] {
        let process = root.join("proc").join(pid);
        fs::create_dir_all(process.join("ns")).unwrap();
        fs::create_dir_all(process.join("net")).unwrap();
        fs::create_dir_all(process.join("fd/0")).unwrap();
        symlink(format!("net:[{pid}]"), process.join("ns/net")).unwrap();
        fs::write(process.join("net/dev"), "a\nb\n  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n").unwrap();
    }
    let pod = format!("/kubepods/pod{UID}");
    for id in [pod.clone(), format!("{pod}/{CONTAINER}"), format!("{pod}/{SUCCESSOR}")] {
        write(&tree, &id);
    }
    let config = Config {
        cgroup_root: tree,
        proc_root: root.join("proc"),
        sys_root: root.join("sys"),
        ..Config::default()
    };
    let (mut containers, registry) = containers(&config);
    registry.insert(leaky(CONTAINER));
    registry.insert(Container { container: crate::identity::SANDBOX.into(), ..leaky(SUCCESSOR) });
    let name = |series: &String| series.split('{').next().unwrap_or_default().to_owned();
    round(&mut containers).keys().map(name).collect()
}

fn missing(families: &BTreeSet<String>) -> Vec<&'static str> {
    BOTH.into_iter().filter(|family| !families.contains(*family)).collect()
}

#[test]
fn version_1_has_every_family_of_the_contract() {
    let controllers = ["cpu", "cpuacct", "memory", "blkio", "pids"];
    let mounts: String = controllers
        .iter()
        .map(|name| format!("30 22 0:1 / {{}}/{name} rw - cgroup cgroup rw,{name}\n"))
        .collect();
    let mounts = mounts + "31 22 0:1 / {}/unified rw - cgroup2 cgroup2 rw\n";
    let families = families(&mounts, |tree, id| {
        fs::create_dir_all(tree.join("unified")).unwrap();
        fs::write(tree.join("unified/cgroup.controllers"), "").unwrap();
        for (controller, name, text) in V1 {
            let dir = tree.join(controller).join(id.trim_start_matches('/'));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("cgroup.procs"), "7\n").unwrap();
            fs::write(dir.join(name), text).unwrap();
        }
    });
    assert_eq!(missing(&families), [""; 0]);
}

#[test]
fn version_2_has_every_family_of_the_contract() {
    let families = families("30 22 0:1 / {} rw - cgroup2 cgroup2 rw\n", |tree, id| {
        let dir = tree.join(id.trim_start_matches('/'));
        fs::create_dir_all(&dir).unwrap();
        fs::write(tree.join("cgroup.controllers"), "cpu io memory pids\n").unwrap();
        for (name, text) in V2 {
            fs::write(dir.join(name), text).unwrap();
        }
    });
    assert_eq!(missing(&families), [""; 0]);
}
