//! `make bench`: Binnacle beside VictoriaMetrics and Prometheus, same machine, same data, same queries.

mod contender;
mod data;
mod measure;
mod push;
mod report;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use contender::Contender;
use data::Shape;

/// Loads cAdvisor-shaped series into each contender in turn and prints ratios.
#[derive(Parser)]
#[command(name = "binnacle-bench", version)]
pub struct Args {
    /// Active series.
    #[arg(long, default_value_t = 10_000)]
    series: usize,
    /// Hours of samples, one every 15 s.
    #[arg(long, default_value_t = 3.0)]
    hours: f64,
    /// Who takes part, in this order.
    #[arg(long, value_delimiter = ',', default_value = "binnacle,binnacle-grpc,victoria-metrics,prometheus")]
    contenders: Vec<contender::Kind>,
    /// Folder with the peers' binaries, as `tests/peers.sh` leaves it.
    #[arg(long, env = "BINNACLE_PEERS")]
    peers: Option<PathBuf>,
    /// How often each query is repeated; the median counts.
    #[arg(long, default_value_t = 11)]
    repeat: usize,
    /// How long a contender may go on merging before its disk use counts, in seconds.
    #[arg(long, default_value_t = 30)]
    settle: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let shape = Shape::new(args.series, args.hours);
    println!(
        "{} series, {} samples each, {} samples, two connections, 10,000 samples a request",
        shape.series(),
        shape.steps,
        shape.samples()
    );
    let settle = Duration::from_secs(args.settle);
    let mut rows = Vec::new();
    for kind in &args.contenders {
        let Some(contender) = Contender::find(*kind, args.peers.as_deref())? else {
            println!("skipped: {kind}: no binary; tests/peers.sh fetches it");
            continue;
        };
        println!("measuring {kind} …");
        rows.push(measure::run(contender, &shape, args.repeat, settle).await?);
    }
    report::print(&rows);
    Ok(())
}
