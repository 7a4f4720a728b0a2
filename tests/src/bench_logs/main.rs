//! `make bench-logs`: the log store beside files and grep, same machine, same lines; and the agent that reads them.
//!
//! No other log store is in Debian: its package `loki` is a program for genetic linkage analysis.

mod agent;
mod baseline;
mod data;
mod load;
mod measure;
mod report;

use anyhow::Result;
use clap::Parser;

use data::Shape;

/// Pushes lines of many services over Loki's API, asks for them, and prints what that takes.
#[derive(Parser)]
#[command(name = "binnacle-bench-logs", version)]
struct Args {
    /// Megabytes of lines.
    #[arg(long, default_value_t = 1000)]
    megabytes: usize,
    /// Streams.
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// How often each query is repeated; the median counts.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Leave out files and grep.
    #[arg(long)]
    no_baseline: bool,
    /// Lines that the agent finds when it comes.
    #[arg(long, default_value_t = 2_000_000)]
    agent_backlog: usize,
    /// Lines a second that it reads afterwards.
    #[arg(long, default_value_t = 10_000)]
    agent_rate: usize,
    /// For how many seconds.
    #[arg(long, default_value_t = 30)]
    agent_seconds: u64,
}

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "the server takes lines of today")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let now_ns = jiff::Timestamp::now().as_nanosecond() as i64;
    let shape = Shape::new(args.megabytes, args.streams.max(3), now_ns);
    println!("{} MB of lines in {} streams, two connections", args.megabytes, shape.streams);
    let numbers = measure::run(&shape, now_ns, args.repeat).await?;
    let kept = if args.no_baseline {
        Vec::new()
    } else {
        println!("measuring files …");
        tokio::task::spawn_blocking(move || baseline::run(&shape)).await??
    };
    report::print(&numbers, &kept);
    println!("\nmeasuring the agent …");
    let flow =
        agent::Flow { backlog: args.agent_backlog, rate: args.agent_rate, seconds: args.agent_seconds };
    report::print_agent(&flow, &agent::run(&flow).await?);
    Ok(())
}
