//! node_exporter, scraped at the agent's pace.

use std::time::Duration;

use anyhow::Result;
use binnacle_tests::metrics_server::{Program, free_port, program_or_skip, until};
use binnacle_tests::usage::{Memory, cpu_seconds};

pub async fn run(interval: Duration, time: Duration) -> Result<()> {
    let Some(path) = program_or_skip("prometheus-node-exporter", "prometheus-node-exporter") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let program = Program::start(&path, &[format!("--web.listen-address=127.0.0.1:{port}")], folder.path())?;
    let client = binnacle_tests::client::http_client(Duration::from_secs(60), None)?;
    let url = format!("http://127.0.0.1:{port}/metrics");
    let scrape = || async {
        let answer = client.get(&url).header("Accept-Encoding", "gzip").send().await.ok()?;
        Some(answer.bytes().await.ok()?.len())
    };
    until("node_exporter to answer", Duration::from_secs(10), scrape).await?;
    scrape().await;
    let samples = client.get(&url).send().await?.text().await?;
    let samples = samples.lines().filter(|line| !line.starts_with('#')).count();
    let begun = cpu_seconds(program.pid())?;
    let (mut bytes, mut rounds) = (0, 0);
    while interval * rounds < time {
        bytes += scrape().await.unwrap_or(0);
        rounds += 1;
        tokio::time::sleep(interval).await;
    }
    let (used, memory) = (cpu_seconds(program.pid())? - begun, Memory::of(program.pid())?);
    println!("node_exporter, scraped every {} s, {} s measured:", interval.as_secs(), time.as_secs());
    println!("  CPU                  {:.2}% of a core", used / time.as_secs_f64() * 100.0);
    println!("  resident memory      {:.1} MiB (peak {:.1})", memory.resident_mib(), memory.peak_mib());
    println!("  samples a scrape     {samples}");
    println!(
        "  bytes of the body    {:.2} a sample, gzip",
        bytes as f64 / f64::from(rounds) / samples as f64
    );
    Ok(())
}
