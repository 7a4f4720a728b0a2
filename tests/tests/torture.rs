//! Numbered lines from several writers, through rotations of every kind, while the real agent and the real server are
//! killed at random: no number is missing, none is twice.
//!
//! `BINNACLE_TORTURE_ROTATIONS` says how many rotations there are (40; `make test-torture`: 1,000),
//! `BINNACLE_TORTURE_SEED` repeats a run as far as the clock allows. Files on a hostPath volume and inside a container
//! need root, for a pod.

mod torture {
    pub mod site;
}

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_tests::client::Client;
use binnacle_tests::process::{Agent, Server, is_root, wait_until};
use binnacle_tests::random::Random;
use torture::site::{Format, Site, Written};

/// How long it may take until everything is there, once nothing is killed any more.
const SETTLED: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "the seed of a run, and lines of today")]
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The cgroup of the agent's pods; what is in it ends when dropped.
struct Parent(String);

impl Drop for Parent {
    fn drop(&mut self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for root in hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            clear(&root.join(&self.0));
        }
    }
}

fn clear(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path());
        }
    }
    let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
        let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let _still_ending = fs::remove_dir(cgroup);
}

/// The agent with its folders.
struct Node {
    home: PathBuf,
    config: PathBuf,
    agent: Option<Agent>,
}

impl Node {
    fn new(home: &Path, server: &Server, parent: &Parent) -> Result<Self> {
        let config = home.join("agent.toml");
        let text = format!(
            "node = \"alpha\"\nserver = \"{}\"\ninterval = \"1s\"\nstate_dir = \"{home}/state\"\non_exit = \"stop-pods\"\n\
             pod_log_dir = \"{home}/logs\"\ncgroup_parent = \"{}\"\ncri_socket = \"{home}/no.sock\"\n\
             [logs]\ndocker_dir = \"{home}/docker\"\n\
             [uplink]\nbackoff_min = \"20ms\"\nbackoff_max = \"300ms\"\n",
            server.grpc_url(),
            parent.0,
            home = home.display(),
        );
        fs::write(&config, text)?;
        let mut node = Self { home: home.to_owned(), config, agent: None };
        node.start()?;
        Ok(node)
    }

    fn start(&mut self) -> Result<()> {
        self.agent = Some(Agent::start(&self.home, ["--config", &self.config.display().to_string()])?);
        Ok(())
    }

    /// Leaves the agent's log where it can be read after the test.
    fn keep_log(&self, seed: u64) -> Result<()> {
        let kept = std::env::temp_dir().join(format!("binnacle-torture-{seed}.log"));
        fs::copy(self.home.join("agent.log"), &kept)?;
        println!("the agent's log is in {}", kept.display());
        Ok(())
    }

    /// `SIGKILL`.
    fn kill(&mut self) {
        self.agent = None;
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.home.join("agent.log")).unwrap_or_default();
        let lines: Vec<&str> =
            log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// A pod that sleeps: its annotation and its volume say where log files are.
fn manifest(home: &Path) -> String {
    let home = home.display();
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: writer}}\nspec:\n  replicas: 1\n  \
         selector: {{matchLabels: {{app: writer}}}}\n  template:\n    metadata:\n      labels: {{app: writer}}\n      \
         annotations: {{binnacle.io/logs: \"{home}/mounted/*.log, {home}/inside/*.log\"}}\n    spec:\n      \
         containers:\n        - name: main\n          image: host\n          command: [sleep, \"3600\"]\n          \
         volumeMounts:\n            - {{name: volume, mountPath: {home}/mounted}}\n      \
         volumes:\n        - {{name: volume, hostPath: {{path: {home}/volume}}}}\n"
    )
}

/// Kills agent and server, each in its turn or both, until the writers are done.
async fn kill_at_random(
    node: &mut Node,
    server: &mut Server,
    random: &mut Random,
    keep: &AtomicBool,
    done: &AtomicBool,
) -> Result<(u32, u32)> {
    let (mut agents, mut servers) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random.between(600, 3500) as u64)).await;
        let (agent, with_server) = (random.chance(75), random.chance(35));
        // Rotated files are not deleted while nobody can read them: what is deleted then is lost, and counted.
        keep.store(true, Ordering::Relaxed);
        if agent {
            node.kill();
            agents += 1;
        }
        if with_server {
            server.kill()?;
            servers += 1;
            server.start_again().await?;
        }
        if agent {
            tokio::time::sleep(Duration::from_millis(random.between(0, 400) as u64)).await;
            node.start()?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        keep.store(false, Ordering::Relaxed);
    }
    Ok((agents, servers))
}

/// Every number of a stream, in the order of the records.
async fn numbers(client: &Client, selector: &str, from_ms: i64) -> Result<Vec<u64>> {
    let end_ns = (now_ms() + 60_000) * 1_000_000;
    let mut numbers = Vec::new();
    for record in client.logs(selector, from_ms * 1_000_000, end_ns).await? {
        for line in record.line.split('\n') {
            let number =
                line.rsplit_once("seq=").and_then(|(_, number)| number.trim_end_matches(')').parse().ok());
            numbers.push(number.with_context(|| format!("{selector}: a broken line: {line:?}"))?);
        }
    }
    Ok(numbers)
}

async fn check(client: &Client, written: &Written, from_ms: i64) -> Result<()> {
    for (selector, count) in &written.streams {
        let mut seen = numbers(client, selector, from_ms).await?;
        let in_order = seen.clone();
        seen.sort_unstable();
        let twice: Vec<u64> = seen.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        let missing: Vec<u64> = (0..*count).filter(|n| seen.binary_search(n).is_err()).collect();
        ensure!(
            twice.is_empty() && missing.is_empty() && seen.len() as u64 == *count,
            "{selector}: of {count} are {} missing {:?} and {} twice {:?}; rotations by the number before which they \
             were: {}",
            missing.len(),
            &missing[..missing.len().min(20)],
            twice.len(),
            &twice[..twice.len().min(20)],
            written.history.join(" "),
        );
        let turned = in_order.windows(2).filter(|pair| pair[0] > pair[1]).count();
        println!("{selector}: {count} numbers, once each; {turned} out of order");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_is_missing_and_none_is_twice() -> Result<()> {
    let rotations = number("BINNACLE_TORTURE_ROTATIONS", 40);
    let seed = number("BINNACLE_TORTURE_SEED", now_ms() as u64);
    println!("seed {seed}, {rotations} rotations");
    let from_ms = now_ms() - 1000;
    let folder = tempfile::Builder::new().prefix("binnacle-torture-").tempdir()?;
    let home = folder.path();
    for dir in ["logs/shop_web_u1/main", "logs/shop_api_u2/main", "volume", "inside", "manifests", "mounted"]
    {
        fs::create_dir_all(home.join(dir))?;
    }
    let mut sites = vec![
        (home.join("logs/shop_web_u1/main/0.log"), Format::Cri, "pod=\"web\""),
        (home.join("logs/shop_api_u2/main/0.log"), Format::Cri, "pod=\"api\""),
    ];
    if is_root() {
        fs::write(home.join("manifests/writer.yaml"), manifest(home))?;
        sites.push((home.join("volume/app.log"), Format::Raw, "filename=~\".*/mounted/.*\""));
        sites.push((home.join("inside/app.log"), Format::Raw, "filename=~\".*/inside/.*\""));
    }
    let parent = Parent(format!("binnacle-torture-{}", std::process::id()));
    let mut server =
        Server::start(["--manifests".to_owned(), home.join("manifests").display().to_string()]).await?;
    let mut node = Node::new(home, &server, &parent)?;
    if sites.len() > 2 {
        let runs = || async {
            let pods = server.client()?.number("sum(kube_pod_status_phase{phase=\"Running\"})", None).await?;
            anyhow::Ok(pods == Some(1.0))
        };
        wait_until("the pod", SETTLED, || async { runs().await.unwrap_or(false) })
            .await
            .with_context(|| format!("{}\n{}", node.log(), server.log()))?;
    }

    let (keep, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let each = rotations.div_ceil(sites.len() as u64);
    let writers: Vec<_> = sites
        .into_iter()
        .enumerate()
        .map(|(at, (path, format, selector))| {
            let site = Site::new(
                path,
                format,
                selector,
                Random::new(seed.wrapping_mul(31) + at as u64),
                keep.clone(),
            );
            tokio::spawn(site.write(each))
        })
        .collect();
    let finished = done.clone();
    let write = async move {
        let written = futures::future::join_all(writers).await;
        finished.store(true, Ordering::Relaxed);
        written.into_iter().map(|ended| anyhow::Ok(ended??)).collect::<Result<Vec<Written>>>()
    };
    let mut random = Random::new(seed);
    let (written, killed) =
        tokio::join!(write, kill_at_random(&mut node, &mut server, &mut random, &keep, &done));
    let (written, (agents, servers)) = (written?, killed?);
    println!("{agents} kills of the agent, {servers} of the server");

    let client = server.client()?;
    for written in &written {
        for (selector, count) in &written.streams {
            let all = || async {
                numbers(&client, selector, from_ms).await.is_ok_and(|seen| seen.len() as u64 >= *count)
            };
            // What is missing is said below.
            let _late = wait_until(selector, SETTLED, all).await;
        }
        let checked = check(&client, written, from_ms).await;
        if checked.is_err() {
            node.keep_log(seed)?;
        }
        checked.with_context(|| format!("seed {seed}\n{}", node.log()))?;
    }
    let agent = node.agent.as_mut().context("no agent")?;
    agent.stop().await?;
    let log = agent.log();
    ensure!(!log.contains("panicked") && !log.contains("bytes are lost"), "{}", node.log());
    Ok(())
}
