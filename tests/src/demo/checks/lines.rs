//! Every numbered line of `chatty` is found again, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::checks::unix_nanoseconds;
use binnacle_tests::client::Client;

/// The file that `chatty` writes, on this side of the hostPath volume.
const FILE: &str = "/tmp/binnacle-demo/chatty/app.log";
/// How long the last line may be on its way.
const PATIENCE: u32 = 20;

pub async fn verdict(client: &Client, begun_ns: i64) -> Result<String> {
    let written = fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let rotated = fs::read_to_string(format!("{FILE}.1")).unwrap_or_default();
    let last = written.lines().chain(rotated.lines()).filter_map(sequence).max();
    let last = last.with_context(|| format!("{FILE} has no numbered line"))?;
    let stdout = complete(client, "stdout", last, begun_ns).await?;
    let file = complete(client, "file", last, begun_ns).await?;
    Ok(format!("stdout {stdout}, file {file}: none missing, none twice"))
}

/// Waits until the line `last` has arrived, then looks for gaps.
async fn complete(client: &Client, stream: &str, last: u64, begun_ns: i64) -> Result<String> {
    let selector = format!(r#"{{container="chatty",stream="{stream}"}}"#);
    let mut attempts = 0;
    loop {
        let lines = client.logs(&selector, begun_ns, unix_nanoseconds()).await?;
        let mut by_pod: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for line in &lines {
            let number =
                sequence(&line.line).with_context(|| format!("line without number: {:?}", line.line))?;
            by_pod.entry(line.labels.get("pod").cloned().unwrap_or_default()).or_default().push(number);
        }
        let newest = by_pod.values().flatten().max().copied();
        attempts += 1;
        if newest.is_none_or(|newest| newest < last) && attempts < PATIENCE {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        }
        ensure!(newest >= Some(last), "{stream}: line {last} was written, the newest found is {newest:?}");
        for (pod, sequences) in &by_pod {
            judge(stream, pod, sequences)?;
        }
        return Ok(format!("{} lines", lines.len()));
    }
}

fn judge(stream: &str, pod: &str, sequences: &[u64]) -> Result<()> {
    let unique: BTreeSet<u64> = sequences.iter().copied().collect();
    let twice = sequences.len() - unique.len();
    let most = unique.last().copied().unwrap_or_default();
    let missing: Vec<u64> = (0..=most).filter(|n| !unique.contains(n)).collect();
    ensure!(twice == 0, "{stream} of {pod}: {twice} lines are there twice");
    let first = &missing[..missing.len().min(5)];
    ensure!(
        missing.is_empty(),
        "{stream} of {pod}: {} of {} lines missing, first {first:?}",
        missing.len(),
        most + 1
    );
    Ok(())
}

fn sequence(line: &str) -> Option<u64> {
    line.rsplit_once("seq=")?.1.trim().parse().ok()
}
