mod bad;
mod hostpath;
mod inside;
mod race;
mod traces;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;

use super::*;
use crate::pods::LogMount;

/// What a server stores: of each source only what ends after the largest end so far.
#[derive(Default)]
struct Server {
    ends: HashMap<String, u64>,
    /// By the label `stream`.
    lines: BTreeMap<String, Vec<String>>,
    labels: Vec<binnacle_proto::Labels>,
    /// Source and end of each record: what a failure is understood by.
    records: Vec<(String, u64, String)>,
    repeats: usize,
}

impl Server {
    fn store(&mut self, block: &LogLines) {
        let end = self.ends.entry(block.source.clone()).or_default();
        let stream = block.labels.get("stream").unwrap().to_owned();
        if !self.labels.contains(&block.labels) {
            self.labels.push(block.labels.clone());
        }
        let mut previous = 0;
        for line in &block.lines {
            assert!(line.end_offset > previous, "ends do not ascend in {}", block.source);
            previous = line.end_offset;
            if line.end_offset <= *end {
                self.repeats += 1;
                continue;
            }
            let text = String::from_utf8_lossy(&line.line).into_owned();
            self.records.push((block.source.clone(), line.end_offset, text.clone()));
            self.lines.entry(stream.clone()).or_default().push(text);
        }
        *end = (*end).max(block.end);
    }
}

/// A generator of which each seed gives the same.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A tailer with a server, and a clock of its own.
struct Bench {
    dir: PathBuf,
    mounts: Vec<LogMount>,
    wanted: Wanted,
    tailer: Tailer,
    server: Server,
    /// Sent and not stored yet.
    flight: VecDeque<(LogLines, OnDurable)>,
    now_ms: i64,
    metrics: crate::selfmetrics::SelfMetrics,
}

fn reading(dir: &Path) -> crate::config::Logs {
    crate::config::Logs {
        max_bytes_per_second: 0,
        docker_dir: dir.join("docker"),
        ..crate::config::Logs::default()
    }
}

fn open(dir: &Path, metrics: &crate::selfmetrics::SelfMetrics) -> Tailer {
    open_with(dir, metrics, reading(dir))
}

fn open_with(dir: &Path, metrics: &crate::selfmetrics::SelfMetrics, reading: crate::config::Logs) -> Tailer {
    // A test may have processes of its own making.
    let proc_root = Some(dir.join("proc")).filter(|made| made.exists()).unwrap_or("/proc".into());
    Tailer::open(Setup {
        node: "alpha".to_owned(),
        job: "kubelet".to_owned(),
        pod_log_dir: dir.join("pods"),
        proc_root,
        checkpoint: dir.join("logs.json"),
        metrics: metrics.clone(),
        reading,
        watch: None,
    })
    .unwrap()
}

impl Bench {
    fn new(dir: &Path) -> Self {
        let metrics = crate::selfmetrics::SelfMetrics::default();
        Self {
            dir: dir.to_owned(),
            mounts: Vec::new(),
            wanted: Wanted::default(),
            tailer: open(dir, &metrics),
            server: Server::default(),
            flight: VecDeque::new(),
            now_ms: clock::now_ms(),
            metrics,
        }
    }

    /// With a pod that has a volume.
    fn with_volume(dir: &Path) -> (Self, PathBuf) {
        let host = host(dir);
        let mut bench = Self::new(dir);
        bench.mounts = vec![volume(&host)];
        (bench, host)
    }

    /// 100 ms pass, or what the files' own times say; `store` of what is in flight is stored.
    fn step(&mut self, store: usize) {
        self.now_ms = (self.now_ms + 100).max(clock::now_ms());
        self.turn(store);
    }

    /// The same without time passing.
    fn turn(&mut self, store: usize) {
        self.tailer.scan(&self.mounts, &self.wanted, self.now_ms);
        for _ in 0..20 {
            let blocks = self.tailer.read(self.now_ms * 1_000_000).unwrap();
            if blocks.is_empty() {
                break;
            }
            self.flight.extend(blocks);
        }
        for _ in 0..store.min(self.flight.len()) {
            let (block, on_durable) = self.flight.pop_front().unwrap();
            self.server.store(&block);
            on_durable();
        }
        self.tailer.save_if_moved().unwrap();
    }

    /// The agent is killed: some of what is in flight was stored, but nobody told it.
    fn kill(&mut self, stored: usize) {
        for (block, _) in self.flight.drain(..).take(stored) {
            self.server.store(&block);
        }
        self.tailer = open(&self.dir, &self.metrics);
    }

    /// Steps until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.step(usize::MAX);
        }
        assert!(self.tailer.is_idle() && self.flight.is_empty());
    }

    /// The records in which a number of a stream is, and those before and after them.
    fn about(&self, stream: &str, number: u64) -> String {
        let of_stream: Vec<_> =
            self.server.records.iter().filter(|(source, ..)| source.ends_with(stream)).collect();
        let has = |text: &str| {
            text.lines().any(|line| line.rsplit_once("seq=").is_some_and(|(_, n)| n == number.to_string()))
        };
        let at = (0..of_stream.len()).filter(|at| has(&of_stream[*at].2));
        at.map(|at| format!("{:#?}\n", &of_stream[at.saturating_sub(2)..(at + 3).min(of_stream.len())]))
            .collect()
    }

    fn lines(&self, stream: &str) -> &[String] {
        self.server.lines.get(stream).map_or(&[], Vec::as_slice)
    }
}

/// The folder of a volume.
fn host(dir: &Path) -> PathBuf {
    let host = dir.join("host");
    fs::create_dir_all(&host).unwrap();
    host
}

/// A pod's volume, whose files are logs.
fn volume(host: &Path) -> LogMount {
    LogMount {
        namespace: "default".to_owned(),
        pod: "web".to_owned(),
        container: "main".to_owned(),
        host_path: host.to_owned(),
        mount_path: "/var/app".into(),
        patterns: Vec::new(),
        started_ms: 0,
    }
}

fn cri(stream: &str, tag: &str, text: &str) -> String {
    let time = Timestamp::from_nanosecond(i128::from(clock::now_ns())).unwrap();
    format!("{} {stream} {tag} {text}\n", time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"))
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Names of rotated files, oldest first.
fn rotate(path: &Path, random: &mut Random, n: u64) {
    let rotated = PathBuf::from(format!("{}.20260101-{n:06}", path.display()));
    if random.below(2) == 0 {
        fs::rename(path, &rotated).unwrap();
        File::create(path).unwrap();
    } else {
        fs::copy(path, &rotated).unwrap();
        OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    }
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut old: Vec<PathBuf> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|old| old.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}.2")))
        .collect();
    old.sort();
    if random.below(2) == 0
        && let Some(plain) = old.iter().rev().nth(1).filter(|path| path.extension().unwrap() != "gz")
    {
        let partial = PathBuf::from(format!("{}.gz.tmp", plain.display()));
        let mut encoder = GzEncoder::new(File::create(&partial).unwrap(), Compression::fast());
        std::io::copy(&mut File::open(plain).unwrap(), &mut encoder).unwrap();
        encoder.finish().unwrap();
        fs::rename(&partial, format!("{}.gz", plain.display())).unwrap();
        fs::remove_file(plain).unwrap();
    }
    while old.len() > 8 {
        let _ = fs::remove_file(&old[0]);
        let _ = fs::remove_file(format!("{}.gz", old[0].display()));
        old.remove(0);
    }
}

/// Numbered lines on two streams and in a plain file, through rotations of every kind, while the agent is killed.
fn torture(seed: u64, rotations: u64) {
    let dir = tempfile::tempdir().unwrap();
    let container = dir.path().join("pods/default_web_u1/main");
    fs::create_dir_all(&container).unwrap();
    let (mut bench, host) = Bench::with_volume(dir.path());
    let (log, file) = (container.join("0.log"), host.join("app.log"));
    let mut random = Random(seed);
    let (mut out, mut err, mut raw) = (0u64, 0u64, 0u64);
    for n in 0..rotations {
        for _ in 0..random.below(4) {
            let mut text = String::new();
            for _ in 0..random.below(30) {
                match random.below(5) {
                    0 => {
                        text.push_str(&cri("stderr", "F", &format!("seq={err}")));
                        err += 1;
                    }
                    4 => {
                        // A trace, perhaps in parts, perhaps with a line of the other stream in it.
                        if random.below(3) > 0 {
                            text.push_str(&cri("stderr", "F", &format!("java.lang.Error: seq={err}")));
                            err += 1;
                        }
                        for _ in 0..random.below(4) {
                            text.push_str(&cri("stderr", "F", &format!("\tat a.b seq={err}")));
                            err += 1;
                            if random.below(5) == 0 {
                                text.push_str(&cri("stdout", "F", &format!("a.b.Exception: seq={out}")));
                                out += 1;
                            }
                        }
                    }
                    1 => {
                        // A line in two pieces, another stream between them.
                        text.push_str(&cri("stdout", "P", "se"));
                        text.push_str(&cri("stderr", "F", &format!("seq={err}")));
                        err += 1;
                        text.push_str(&cri("stdout", "F", &format!("q={out}")));
                        out += 1;
                    }
                    _ => {
                        text.push_str(&cri("stdout", "F", &format!("seq={out}")));
                        out += 1;
                    }
                }
            }
            append(&log, &text);
            let kinds = ["x", "a.b.Exception:", "\tat a.b"];
            let lines: String = (0..random.below(20))
                .map(|n| format!("{} {n} seq={}\n", kinds[random.below(3) as usize], raw + n))
                .collect();
            raw += lines.lines().count() as u64;
            append(&file, &lines);
            // Now and then long enough for a trace to be ended by time.
            for _ in 0..if random.below(6) == 0 { 12 } else { 1 } {
                bench.step(random.below(6) as usize);
            }
        }
        if random.below(3) == 0 {
            // A line whose end comes after the rotation.
            append(&log, &cri("stdout", "P", "seq"));
            if random.below(2) == 0 {
                bench.step(random.below(6) as usize);
            }
            append(&file, &format!("x seq={raw}\n"));
            raw += 1;
            rotate(&log, &mut random, n);
            append(&log, &cri("stdout", "F", &format!("={out}")));
            out += 1;
        } else if log.exists() {
            rotate(&log, &mut random, n);
        }
        if file.exists() && fs::metadata(&file).unwrap().len() > 0 {
            rotate(&file, &mut random, n);
        }
        if random.below(4) == 0 {
            bench.kill(random.below(4) as usize);
            if random.below(2) == 0 {
                // Reading again takes its time.
                bench.turn(random.below(2) as usize);
                bench.now_ms += 1_500;
            }
        }
        // At most two rotations pass before the tailer looks again.
        if n % 2 == 1 {
            bench.step(random.below(8) as usize);
        }
    }
    bench.settle();
    for (stream, count) in [("stdout", out), ("stderr", err), ("file", raw)] {
        let mut seen: Vec<u64> = bench
            .lines(stream)
            .iter()
            .flat_map(|record| record.split('\n'))
            .map(|line| {
                let number = line.rsplit_once("seq=").and_then(|(_, number)| number.parse().ok());
                number.unwrap_or_else(|| panic!("seed {seed}: {stream}: a broken line: {line:?}"))
            })
            .collect();
        seen.sort_unstable();
        let expect: Vec<u64> = (0..count).collect();
        let missing: Vec<u64> = expect.iter().filter(|n| seen.binary_search(n).is_err()).copied().collect();
        assert!(missing.is_empty(), "seed {seed}: {stream}: missing {missing:?} of {count}");
        let twice: Vec<u64> = seen.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
        let about = twice.first().map(|number| bench.about(stream, *number)).unwrap_or_default();
        assert!(twice.is_empty(), "seed {seed}: {stream}: twice {twice:?}\n{about}");
        assert_eq!(seen.len(), expect.len(), "seed {seed}: {stream}");
    }
    assert!(bench.server.repeats > 0 || rotations < 100, "no repeat was sent: the kills had no effect");
}

#[test]
fn no_line_is_lost_or_stored_twice_through_rotations_and_kills() {
    for seed in 1..=4 {
        torture(seed, 100);
    }
}

/// `BINNACLE_ROTATIONS` makes it longer (`make test-rotation`), `BINNACLE_ROTATION_SEED` repeats one run.
#[test]
fn as_many_rotations_as_are_asked_for() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rotations = number("BINNACLE_ROTATIONS").unwrap_or(50);
    for seed in number("BINNACLE_ROTATION_SEED").map_or(100..103, |seed| seed..seed + 1) {
        torture(seed, rotations);
        println!("seed {seed}: {rotations} rotations, nothing lost, nothing twice");
    }
}

#[test]
fn streams_carry_the_labels_of_their_container() {
    let dir = tempfile::tempdir().unwrap();
    let container = dir.path().join("pods/default_web-0_u1/main");
    fs::create_dir_all(&container).unwrap();
    append(&container.join("0.log"), &(cri("stdout", "F", "hello") + &cri("stderr", "F", "oops")));
    append(&container.join("1.log"), &cri("stdout", "F", "again"));
    let mut bench = Bench::new(dir.path());
    bench.settle();
    assert_eq!(bench.lines("stdout"), ["hello", "again"]);
    assert_eq!(bench.lines("stderr"), ["oops"]);
    let expect = r#"{container="main", job="kubelet", namespace="default", node="alpha", pod="web-0", stream="stdout"}"#;
    let shown: Vec<String> = bench.server.labels.iter().map(ToString::to_string).collect();
    assert!(
        shown.iter().any(|labels| labels.replace("\", ", "\",") == expect.replace("\", ", "\",")),
        "{shown:?}"
    );
    let text = bench.metrics.render();
    assert!(
        text.contains(
            "binnacle_agent_log_lines_acked_total{namespace=\"default\",pod=\"web-0\",container=\"main\"} 3"
        ),
        "{text}"
    );
}

#[test]
fn a_file_that_vanishes_unread_is_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let container = dir.path().join("pods/default_web_u1/main");
    fs::create_dir_all(&container).unwrap();
    append(&container.join("0.log"), &cri("stdout", "F", "one"));
    let mut bench = Bench::new(dir.path());
    bench.settle();
    let more = cri("stdout", "F", "two");
    append(&container.join("0.log"), &more);
    bench.step(0);
    bench.kill(0);
    fs::remove_dir_all(dir.path().join("pods/default_web_u1")).unwrap();
    bench.settle();
    assert_eq!(bench.lines("stdout"), ["one"]);
    let text = bench.metrics.render();
    let lost = format!(
        "binnacle_agent_log_bytes_lost_total{{namespace=\"default\",pod=\"web\",container=\"main\"}} {}",
        more.len()
    );
    assert!(text.contains(&lost), "{text}");
}

/// Makes the log directory of a container and gives the path of its log.
fn container(dir: &Path, name: &str) -> PathBuf {
    let container = dir.join(format!("pods/default_{name}_u1/main"));
    fs::create_dir_all(&container).unwrap();
    container.join("0.log")
}

#[test]
fn dockers_files_are_read_by_the_names_of_their_containers() {
    let dir = tempfile::tempdir().unwrap();
    let id = "4f0a8b1e2c3d4e5f60718293a4b5c6d7e8f9010203040506070809a0b0c0d0e0";
    let folder = dir.path().join("docker").join(id);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.v2.json"), r#"{"Name":"/web","Config":{"Labels":null}}"#).unwrap();
    let log = folder.join(format!("{id}-json.log"));
    let line = |stream: &str, text: &str| {
        format!("{{\"log\":\"{text}\",\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:00:00.5Z\"}}\n")
    };
    append(
        &log,
        &(line("stdout", "one\\n")
            + &line("stdout", "tw")
            + &line("stderr", "oops\\n")
            + &line("stdout", "o\\n")),
    );
    let mut bench = Bench::new(dir.path());
    bench.settle();
    fs::rename(&log, folder.join(format!("{id}-json.log.1"))).unwrap();
    append(&log, &line("stdout", "three\\n"));
    bench.settle();
    assert_eq!(bench.lines("stdout"), ["one", "two", "three"]);
    assert_eq!(bench.lines("stderr"), ["oops"]);
    assert_eq!(bench.server.labels[0].get("container"), Some("web"));
    // A link below the pods' folder leads to such a file, too.
    let target = dir.path().join("x-json.log");
    append(&target, &line("stdout", "linked\\n"));
    std::os::unix::fs::symlink(&target, container(dir.path(), "old")).unwrap();
    bench.settle();
    assert_eq!(bench.lines("stdout").last().map(String::as_str), Some("linked"));
}
