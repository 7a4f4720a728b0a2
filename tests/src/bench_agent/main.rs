//! `make bench-agent`: what the agent costs on a node with many containers, beside node_exporter at the same pace.

mod calls;
mod containers;
mod exporter;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use binnacle_tests::process::{Agent, Server, is_root};
use binnacle_tests::proxy::{Mode, Proxy};
use binnacle_tests::usage::{Memory, cpu_seconds};
use clap::Parser;

use containers::Containers;

/// Real cgroups with a sleeping process each; the agent and node_exporter look at the machine in turn.
#[derive(Parser)]
#[command(name = "binnacle-bench-agent", version)]
struct Args {
    /// Containers, two a pod.
    #[arg(long, default_value_t = 100)]
    containers: usize,
    /// Seconds between two rounds.
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// Seconds measured.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Seconds for which system calls are counted, after the rest.
    #[arg(long, default_value_t = 60)]
    trace_seconds: u64,
}

/// Rounds before the measurement: everything is opened and named in the first.
const WARM_UP_ROUNDS: u64 = 2;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if !is_root() {
        bail!("the benchmark makes cgroups: run it as root");
    }
    let interval = Duration::from_secs(args.interval);
    let containers = Containers::make(args.containers)?;
    let server = Server::start(Vec::<String>::new()).await?;
    let target = server.grpc_url().trim_start_matches("http://").parse()?;
    let wire = Proxy::start(target, 0, Mode::Clean, 0).await?;
    let folder = server.folder().join("agent");
    std::fs::create_dir_all(&folder)?;
    let agent = Agent::start(&folder, agent_args(&args, &containers, wire.address().to_string(), &folder))?;
    let client = server.client()?;
    tokio::time::sleep(interval * WARM_UP_ROUNDS as u32 + interval / 2).await;

    let begun = cpu_seconds(agent.pid())?;
    let (bytes, samples) = (wire.bytes(), acked(&client).await?);
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let (used, memory) = (cpu_seconds(agent.pid())? - begun, Memory::of(agent.pid())?);
    let (bytes, samples) = (wire.bytes() - bytes, acked(&client).await? - samples);
    let rounds = args.seconds as f64 / args.interval as f64;
    println!("agent, {} containers every {} s, {} s measured:", args.containers, args.interval, args.seconds);
    println!("  CPU                  {:.2}% of a core", used / args.seconds as f64 * 100.0);
    println!("  resident memory      {:.1} MiB (peak {:.1})", memory.resident_mib(), memory.peak_mib());
    println!("  samples a round      {:.0}", samples / rounds);
    println!(
        "  bytes on the wire    {:.2} a sample, {:.0} a round",
        bytes as f64 / samples,
        bytes as f64 / rounds
    );
    match calls::count(agent.pid(), args.trace_seconds, &folder)? {
        Some(calls) => {
            let traced_rounds = args.trace_seconds as f64 / args.interval as f64;
            println!("  system calls         {:.0} a round, of them", calls.total / traced_rounds);
            for (name, count) in calls.by_name.iter().take(8) {
                println!("    {name:<18} {:.0}", count / traced_rounds);
            }
        }
        None => println!("  system calls         not counted: needs strace"),
    }
    if !agent.log().is_empty() {
        let complaints: Vec<String> =
            agent.log().lines().filter(|line| !line.contains("INFO")).map(str::to_owned).collect();
        println!("  complaints           {}", complaints.len());
        complaints.iter().take(3).for_each(|line| println!("    {line}"));
    }
    drop(agent);
    exporter::run(interval, Duration::from_secs(args.seconds)).await
}

fn agent_args(args: &Args, containers: &Containers, server: String, folder: &std::path::Path) -> Vec<String> {
    let path = |name: &str| -> String {
        let path: PathBuf = folder.join(name);
        path.display().to_string()
    };
    [
        ("--server", format!("http://{server}")),
        ("--node", "bench".to_owned()),
        ("--cgroup-parent", containers.parent().to_owned()),
        ("--interval", format!("{}s", args.interval)),
        ("--state-dir", path("state")),
        ("--pod-log-dir", path("pods")),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

/// Samples that the server has made durable.
async fn acked(client: &binnacle_tests::client::Client) -> Result<f64> {
    let query = "max(last_over_time(binnacle_agent_samples_acked_total[5m]))";
    Ok(client.number(query, None).await?.unwrap_or(0.0))
}
