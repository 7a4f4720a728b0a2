//! A bad network between agents and the server, a server that is away, a spool that is full: what was
//! taken arrives once, and what is lost is counted.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_tests::client::Client;
use binnacle_tests::node::{Node, Script};
use binnacle_tests::process::{Agent, Server, is_root, wait_until};
use binnacle_tests::proxy::{Mode, Proxy};

const NO_ARGS: [&str; 0] = [];
const SOON: Duration = Duration::from_secs(60);
/// Most bytes in one direction of a connection of the bad network. A stream's first batch names all series
/// and must fit, or nothing would ever arrive.
const MAX_LIFE: u64 = 40 << 10;
/// Time between the agent's rounds.
const INTERVAL_MS: i64 = 200;

#[expect(clippy::disallowed_methods, reason = "samples must be of today")]
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Of the bad network; `BINNACLE_TRANSPORT_SEED` gives another one.
fn seed() -> u64 {
    let given = std::env::var("BINNACLE_TRANSPORT_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(7)
}

async fn proxy(server: &Server, seed: u64, mode: Mode) -> Result<Proxy> {
    println!("seed {seed}");
    let target = server.grpc_url().trim_start_matches("http://").parse()?;
    Proxy::start(target, seed, mode, MAX_LIFE).await
}

/// An agent behind a proxy, whose one pod writes numbered lines.
struct Site {
    agent: Agent,
    home: PathBuf,
    lines: u64,
}

impl Site {
    /// `more` is text for the agent's configuration.
    fn start(folder: &Path, proxy: &Proxy, more: &str) -> Result<Self> {
        let home = folder.join("node");
        fs::create_dir_all(home.join("logs/default_talker_1234/main"))?;
        let config = home.join("agent.toml");
        let text = format!(
            "node = \"alpha\"\nserver = \"http://{}\"\ninterval = \"{INTERVAL_MS}ms\"\nstate_dir = \"{home}/state\"\n\
             pod_log_dir = \"{home}/logs\"\ncgroup_parent = \"binnacle-test-{}\"\n\
             [uplink]\nbackoff_min = \"20ms\"\nbackoff_max = \"500ms\"\n{more}\n",
            proxy.address(),
            std::process::id(),
            home = home.display(),
        );
        fs::write(&config, text)?;
        let agent = Agent::start(&home, ["--config", &config.display().to_string()])?;
        Ok(Self { agent, home, lines: 0 })
    }

    /// Writes `count` more lines.
    fn write(&mut self, count: u64) -> Result<()> {
        let path = self.home.join("logs/default_talker_1234/main/0.log");
        let mut file = fs::File::options().create(true).append(true).open(path)?;
        for number in self.lines..self.lines + count {
            let time = jiff::Timestamp::from_millisecond(now_ms())?;
            writeln!(file, "{time} stdout F line {number:06}")?;
        }
        self.lines += count;
        Ok(())
    }

    /// Waits until every line is there, once and in order.
    async fn check_lines(&self, client: &Client, from_ms: i64) -> Result<()> {
        let read = || async {
            let end_ns = (now_ms() + 60_000) * 1_000_000;
            client.logs("{pod=\"talker\"}", from_ms * 1_000_000, end_ns).await.unwrap_or_default()
        };
        let all = || async { read().await.len() as u64 >= self.lines };
        wait_until("all lines", SOON, all).await.with_context(|| self.agent.log())?;
        let mut found: Vec<String> = read().await.into_iter().map(|line| line.line).collect();
        found.sort_unstable();
        let expected: Vec<String> = (0..self.lines).map(|number| format!("line {number:06}")).collect();
        ensure!(found == expected, "{} lines found, {} written", found.len(), expected.len());
        Ok(())
    }

    /// The agent's rounds that the server has: time in milliseconds, and the number that the agent gave.
    async fn rounds(&self, client: &Client) -> Result<Vec<(i64, i64)>> {
        let query = "binnacle_agent_rounds_total{node=\"alpha\"}[1h]".to_owned();
        let data = client.get("/api/v1/query", &[("query", query)]).await?;
        let values = data["result"][0]["values"].as_array().context("no rounds")?;
        let round = |value: &serde_json::Value| {
            let time_ms = (value[0].as_f64()? * 1000.0).round() as i64;
            Some((time_ms, value[1].as_str()?.parse::<f64>().ok()? as i64))
        };
        values.iter().map(|value| round(value).context("not a sample")).collect()
    }

    async fn has_rounds(&self, client: &Client, least: usize) -> bool {
        self.rounds(client).await.is_ok_and(|rounds| rounds.len() >= least)
    }

    /// Waits until a round of now is there, then looks for holes.
    async fn check_rounds(&self, client: &Client) -> Result<()> {
        let from_ms = now_ms();
        let caught_up = || async {
            self.rounds(client).await.is_ok_and(|rounds| rounds.last().is_some_and(|last| last.0 > from_ms))
        };
        wait_until("all rounds", SOON, caught_up).await.with_context(|| self.agent.log())?;
        let rounds = self.rounds(client).await?;
        for pair in rounds.windows(2) {
            ensure!(
                pair[1].1 == pair[0].1 + 1,
                "rounds are missing or twice: {pair:?}\n{}",
                self.agent.log()
            );
        }
        let lost = self.number(client, "binnacle_agent_lost_total").await?;
        ensure!(lost == 0.0, "{lost} samples lost");
        println!("{} rounds", rounds.len());
        Ok(())
    }

    async fn number(&self, client: &Client, name: &str) -> Result<f64> {
        let expr = format!("sum({name}) or vector(0)");
        Ok(client.number(&expr, None).await?.unwrap_or(0.0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_batch_arrives_once_over_a_network_that_cuts_anywhere() -> Result<()> {
    let server = Server::start(NO_ARGS).await?;
    let proxy = proxy(&server, seed(), Mode::Faulty).await?;
    let script = Script {
        node: "alpha".into(),
        metric: "transport_test".into(),
        series: 40,
        lines: 15,
        start_ms: now_ms() - 600_000,
        step_ms: 20,
    };
    let mut node = Node::new(script.clone(), &format!("http://{}", proxy.address()));
    let mut last = 0;
    let work = async {
        while proxy.cuts() < 40 {
            if node.step().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        last = node.acknowledged() + 50;
    };
    tokio::time::timeout(2 * SOON, work).await.context("the network is too good")?;
    proxy.set(Mode::Clean);
    node.finish(last, SOON).await?;
    println!("{} cuts, {} batches", proxy.cuts(), node.acknowledged());
    script.check(&server.client()?, node.acknowledged()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_loses_nothing_on_a_network_that_cuts_anywhere() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(NO_ARGS).await?;
    let client = server.client()?;
    let proxy = proxy(&server, seed(), Mode::Faulty).await?;
    let from_ms = now_ms();
    let mut site = Site::start(folder.path(), &proxy, "")?;
    let work = async {
        while proxy.cuts() < 20 {
            site.write(20)?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::time::timeout(2 * SOON, work).await.context("the network is too good")??;
    proxy.set(Mode::Clean);
    site.write(20)?;
    site.check_lines(&client, from_ms).await?;
    println!("{} cuts, {} lines", proxy.cuts(), site.lines);
    site.check_rounds(&client).await
}

/// What is beyond four rounds of samples goes to the spool.
const SMALL_QUEUE: &str = "queue_rounds = 4\nunacked_bytes = 16384";

/// At the default interval of 10 s the outage is of 75 rounds, more than 12 minutes.
const OUTAGE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_for_long_gets_everything_from_the_spool() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(NO_ARGS).await?;
    let client = server.client()?;
    let proxy = proxy(&server, 1, Mode::Clean).await?;
    let from_ms = now_ms();
    let mut site = Site::start(folder.path(), &proxy, SMALL_QUEUE)?;
    let there = || async { site.has_rounds(&client, 5).await };
    wait_until("the first rounds", SOON, there).await.with_context(|| site.agent.log())?;
    proxy.set(Mode::Away);
    site.write(500)?;
    tokio::time::sleep(OUTAGE).await;
    let spooled: u64 = sizes(&site.home.join("state/spool"))?;
    ensure!(spooled > 10_000, "{spooled} bytes in the spool");
    proxy.set(Mode::Clean);
    site.check_lines(&client, from_ms).await?;
    let emptied = || async { sizes(&site.home.join("state/spool")).is_ok_and(|bytes| bytes == 0) };
    wait_until("the spool is sent", SOON, emptied).await.with_context(|| site.agent.log())?;
    println!("{spooled} bytes were spooled");
    site.check_rounds(&client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_full_keeps_the_beginning_and_counts_the_rest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(NO_ARGS).await?;
    let client = server.client()?;
    let proxy = proxy(&server, 1, Mode::Clean).await?;
    let bound = 64 << 10;
    let more = format!("{SMALL_QUEUE}\nspool_bytes = {bound}");
    let site = Site::start(folder.path(), &proxy, &more)?;
    let there = || async { site.has_rounds(&client, 5).await };
    wait_until("the first rounds", SOON, there).await.with_context(|| site.agent.log())?;
    let away_ms = now_ms();
    proxy.set(Mode::Away);
    let full = || async { sizes(&site.home.join("state/spool")).is_ok_and(|bytes| bytes >= bound) };
    wait_until("the spool is full", SOON, full).await.with_context(|| site.agent.log())?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    // One record more than the bound, at most.
    let spooled = sizes(&site.home.join("state/spool"))?;
    ensure!(spooled < 2 * bound, "{spooled} bytes in a spool of {bound}");
    proxy.set(Mode::Clean);
    let counted = || async {
        site.number(&client, "binnacle_agent_lost_total{what=\"samples\",why=\"spool_full\"}")
            .await
            .is_ok_and(|n| n > 0.0)
    };
    wait_until("the loss is counted", SOON, counted).await.with_context(|| site.agent.log())?;
    let rounds = site.rounds(&client).await?;
    let holes: Vec<_> = rounds.windows(2).filter(|pair| pair[1].1 != pair[0].1 + 1).collect();
    println!("away from {away_ms}, holes {holes:?}");
    // The beginning of the outage is there; what is missing comes after it. While the spool is sent, room
    // for some rounds may come between.
    let later = holes.iter().all(|pair| pair[0].0 > away_ms);
    ensure!(!holes.is_empty() && later, "away from {away_ms}, holes {holes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_whose_disk_is_full_counts_the_loss_and_recovers() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let disk = Disk::mount(&folder.path().join("node/state/spool"), "128k")?;
    let server = Server::start(NO_ARGS).await?;
    let client = server.client()?;
    let proxy = proxy(&server, 1, Mode::Clean).await?;
    let site = Site::start(folder.path(), &proxy, SMALL_QUEUE)?;
    let there = || async { site.has_rounds(&client, 5).await };
    wait_until("the first rounds", SOON, there).await.with_context(|| site.agent.log())?;
    proxy.set(Mode::Away);
    let full = || async { site.agent.log().contains("No space left on device") };
    wait_until("the disk is full", SOON, full).await.with_context(|| site.agent.log())?;
    proxy.set(Mode::Clean);
    let counted = || async {
        site.number(&client, "binnacle_agent_lost_total{what=\"samples\",why=\"spool_error\"}")
            .await
            .is_ok_and(|n| n > 0.0)
    };
    wait_until("the loss is counted", SOON, counted).await.with_context(|| site.agent.log())?;
    let emptied = || async { sizes(&site.home.join("state/spool")).is_ok_and(|bytes| bytes == 0) };
    wait_until("the spool is sent", SOON, emptied).await.with_context(|| site.agent.log())?;
    // A short outage afterwards costs nothing.
    let before = site.rounds(&client).await?.last().context("no rounds")?.0;
    proxy.set(Mode::Away);
    tokio::time::sleep(Duration::from_secs(3)).await;
    proxy.set(Mode::Clean);
    let from_ms = now_ms();
    let caught_up = || async {
        site.rounds(&client).await.is_ok_and(|rounds| rounds.last().is_some_and(|last| last.0 > from_ms))
    };
    wait_until("all rounds", SOON, caught_up).await.with_context(|| site.agent.log())?;
    let rounds = site.rounds(&client).await?;
    let whole = rounds.windows(2).filter(|pair| pair[0].0 >= before).all(|pair| pair[1].1 == pair[0].1 + 1);
    ensure!(whole, "rounds are missing after the disk had room again");
    drop(site);
    drop(disk);
    Ok(())
}

/// Bytes of the files of a folder.
fn sizes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        // A segment may be removed at this moment.
        sum += entry?.metadata().map_or(0, |meta| meta.len());
    }
    Ok(sum)
}

/// A small file system in memory.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Result<Self> {
        fs::create_dir_all(at)?;
        let options = format!("size={size}");
        let mut mount = std::process::Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status()?;
        ensure!(status.success(), "mount: {status}");
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process may still have a file open.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
