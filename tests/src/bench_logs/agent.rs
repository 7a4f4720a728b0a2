//! The agent reads container logs: first what was written before it came, as fast as it can; then a steady flow.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use binnacle_tests::process::{Agent, Server};
use binnacle_tests::random::Random;
use binnacle_tests::usage::{Memory, cpu_seconds};
use tokio::time::Instant;

use crate::data;
use crate::measure::metric;

/// A line in its file, time and line feed included.
const LINE_BYTES: usize = 216;
const CONTAINERS: usize = 10;
/// What the store counts.
const RECORDS: &str = "binnacle_logs_records_total";
/// How often the steady writer writes.
const STEP: Duration = Duration::from_millis(100);
/// How long the last line may be on its way.
const STORED_WITHIN: Duration = Duration::from_secs(300);

/// What is written.
pub struct Flow {
    /// Lines that are there before the agent is.
    pub backlog: usize,
    /// Lines a second afterwards.
    pub rate: usize,
    /// How long that goes on, in seconds.
    pub seconds: u64,
}

/// The agent's numbers.
pub struct Numbers {
    /// Lines a second of the agent's CPU, from its start to the last line's acknowledgement.
    pub backlog_lines_a_cpu_second: f64,
    /// The same of wall time; the server works beside it.
    pub backlog_lines_a_second: f64,
    /// Most memory meanwhile.
    pub backlog_peak_mib: f64,
    /// Cores at the steady rate.
    pub steady_cores: f64,
    pub steady_mib: f64,
}

/// Runs a server and an agent.
pub async fn run(flow: &Flow) -> Result<Numbers> {
    let mut server = Server::start(Vec::<String>::new()).await?;
    let folder = server.folder().join("agent");
    let mut files = open(&folder.join("pods"))?;
    let mut random = Random::new(7);
    let mut text = String::new();
    for at in 0..flow.backlog {
        line(&mut random, &mut text)?;
        if text.len() > 1 << 18 || at + 1 == flow.backlog {
            files[at % CONTAINERS].write_all(text.as_bytes())?;
            text.clear();
        }
    }
    let mut expected = metric(&server, RECORDS).await? + flow.backlog as f64;
    let config = folder.join("agent.toml");
    fs::write(&config, settings(&folder, &server.grpc_url()))?;
    let begun = Instant::now();
    let agent = Agent::start(&folder, ["--config", &config.display().to_string()])?;
    stored(&server, &agent, expected).await?;
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(agent.pid())?);
    let peak = Memory::of(agent.pid())?;

    let (begun, before) = (Instant::now(), cpu_seconds(agent.pid())?);
    let steps = flow.seconds * 1000 / STEP.as_millis() as u64;
    let lines = flow.rate * STEP.as_millis() as usize / 1000;
    for step in 1..=steps {
        for file in &mut files {
            for _ in 0..lines / CONTAINERS {
                line(&mut random, &mut text)?;
            }
            file.write_all(text.as_bytes())?;
            text.clear();
        }
        tokio::time::sleep_until(begun + STEP * step as u32).await;
    }
    let steady_cores = (cpu_seconds(agent.pid())? - before) / begun.elapsed().as_secs_f64();
    expected += (steps as usize * (lines / CONTAINERS) * CONTAINERS) as f64;
    stored(&server, &agent, expected).await?;
    let steady_mib = Memory::of(agent.pid())?.resident_mib();
    drop(agent);
    server.stop().await?;
    Ok(Numbers {
        backlog_lines_a_cpu_second: flow.backlog as f64 / cpu,
        backlog_lines_a_second: flow.backlog as f64 / wall,
        backlog_peak_mib: peak.peak_mib(),
        steady_cores,
        steady_mib,
    })
}

/// Waits until the store has so many records.
async fn stored(server: &Server, agent: &Agent, expected: f64) -> Result<()> {
    let begun = Instant::now();
    loop {
        let records = metric(server, RECORDS).await?;
        if records >= expected {
            return Ok(());
        }
        if begun.elapsed() > STORED_WITHIN {
            bail!(
                "{records} of {expected} records within {STORED_WITHIN:?}; the agent says:\n{}",
                agent.log()
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A log file for each container.
fn open(pods: &Path) -> Result<Vec<File>> {
    let file = |n: usize| {
        let dir = pods.join(format!("shop_web-{n}_uid-{n}/main"));
        fs::create_dir_all(&dir)?;
        File::create(dir.join("0.log")).context("log file")
    };
    (0..CONTAINERS).map(file).collect()
}

/// Adds a line of the CRI format.
#[expect(clippy::disallowed_methods, reason = "lines of now")]
fn line(random: &mut Random, text: &mut String) -> Result<()> {
    use std::fmt::Write as _;
    let (begun, kind) = (text.len(), random.below(3));
    write!(text, "{:.9} stdout F ", jiff::Timestamp::now())?;
    text.push_str(&data::line(random, kind));
    let len = (text.len() - begun).min(LINE_BYTES - 1);
    text.truncate(begun + len);
    text.extend(std::iter::repeat_n('.', LINE_BYTES - 1 - len));
    text.push('\n');
    Ok(())
}

fn settings(folder: &Path, server: &str) -> String {
    let folder = folder.display();
    format!(
        "node = \"bench\"\nserver = \"{server}\"\nstate_dir = \"{folder}/state\"\npod_log_dir = \"{folder}/pods\"\n\
         cri_socket = \"{folder}/no.sock\"\n[logs]\nmax_bytes_per_second = 0\ndocker_dir = \"{folder}/docker\"\n"
    )
}
