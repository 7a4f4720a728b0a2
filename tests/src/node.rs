//! A node whose every sample and line is known: speaks the agent's protocol and remembers what was
//! acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use binnacle_proto::node::node_client::NodeClient;
use binnacle_proto::node::{Ack, Batch, BatchBody, LogBlock, LogLine, SampleBlock, SeriesDef};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::Client;

/// What a node sends: in batch `n` (1, 2, …) one sample of value `n` at `start_ms + n · step_ms` for
/// each series, and `lines` numbered lines.
#[derive(Debug, Clone)]
pub struct Script {
    /// Name of the node.
    pub node: String,
    /// Name of the metric; the series differ in their label `i`.
    pub metric: String,
    /// Series in each batch.
    pub series: u32,
    /// Log lines in each batch.
    pub lines: u32,
    /// Time of batch 0, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Time between batches, in milliseconds.
    pub step_ms: i64,
}

/// Most batches sent and not acknowledged.
const WINDOW: usize = 32;

/// A node that follows its script over as many connections as it takes.
pub struct Node {
    script: Script,
    session: u64,
    url: String,
    link: Option<Link>,
    next: u64,
    unacknowledged: VecDeque<u64>,
    acknowledged: u64,
    waits: Vec<String>,
}

struct Link {
    batches: mpsc::Sender<Batch>,
    acks: Streaming<Ack>,
    defined: bool,
}

impl Node {
    /// A node that speaks to the server at `url`; it connects when it has something to say.
    pub fn new(script: Script, url: &str) -> Self {
        let session = 1 + u64::from(std::process::id());
        Self {
            script,
            session,
            url: url.to_owned(),
            link: None,
            next: 1,
            unacknowledged: VecDeque::new(),
            acknowledged: 0,
            waits: Vec::new(),
        }
    }

    /// The last batch that was acknowledged: it and all before it must never be lost.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Reasons for which the server made the node wait.
    pub fn waits(&self) -> &[String] {
        &self.waits
    }

    /// Sends what it may and takes the answers, for one step; connects when it is not connected.
    ///
    /// # Errors
    /// When the connection broke; the next call connects anew and sends again what was not
    /// acknowledged.
    pub async fn step(&mut self) -> Result<()> {
        let result = self.try_step().await;
        if result.is_err() {
            self.link = None;
        }
        result
    }

    /// Sends until batch `last` is acknowledged, through broken connections.
    ///
    /// # Errors
    /// When that takes longer than `timeout`.
    pub async fn finish(&mut self, last: u64, timeout: Duration) -> Result<()> {
        let work = async {
            while self.acknowledged < last {
                if self.step().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        if tokio::time::timeout(timeout, work).await.is_err() {
            bail!("acknowledged are {} of {last} batches after {timeout:?}", self.acknowledged);
        }
        Ok(())
    }

    async fn try_step(&mut self) -> Result<()> {
        if self.link.is_none() {
            self.connect().await?;
        }
        while self.unacknowledged.len() < WINDOW {
            let sequence = self.next;
            self.send(sequence).await?;
            self.unacknowledged.push_back(sequence);
            self.next += 1;
        }
        let link = self.link.as_mut().context("not connected")?;
        let ack = link.acks.message().await?.context("the server closed the stream")?;
        if ack.session != self.session || ack.sequence > self.next {
            bail!("an ack for what was never sent: {ack:?}");
        }
        self.acknowledged = self.acknowledged.max(ack.sequence);
        self.unacknowledged.retain(|sequence| *sequence > ack.sequence);
        if ack.wait_ms > 0 {
            self.waits.push(ack.wait_reason);
            tokio::time::sleep(Duration::from_millis(ack.wait_ms.into())).await;
            for sequence in self.unacknowledged.clone() {
                self.send(sequence).await?;
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<()> {
        let mut client = NodeClient::connect(self.url.clone()).await?;
        let (batches, receiver) = mpsc::channel(WINDOW);
        let acks = client.push(ReceiverStream::new(receiver)).await?.into_inner();
        self.link = Some(Link { batches, acks, defined: false });
        for sequence in self.unacknowledged.clone() {
            self.send(sequence).await?;
        }
        Ok(())
    }

    async fn send(&mut self, sequence: u64) -> Result<()> {
        let link = self.link.as_mut().context("not connected")?;
        let batch = self.script.batch(self.session, sequence, !link.defined);
        link.defined = true;
        link.batches.send(batch).await.context("the stream is closed")
    }
}

impl Script {
    /// Time of a batch's samples, in milliseconds since the epoch.
    pub fn time_ms(&self, sequence: u64) -> i64 {
        self.start_ms + self.step_ms * sequence as i64
    }

    /// The text of line number `line` of the node, counted from 0.
    pub fn line(&self, line: u64) -> String {
        format!("node {} line {line:08}", self.node)
    }

    /// Every sample and line up to batch `acknowledged` is there, once.
    ///
    /// # Errors
    /// What is missing or too much, or what the server said.
    pub async fn check(&self, client: &Client, acknowledged: u64) -> Result<()> {
        if acknowledged == 0 {
            return Ok(());
        }
        let (script, node, metric) = (self, &self.node, &self.metric);
        let (end_ms, step_ms) = (script.time_ms(acknowledged), script.step_ms);
        let span_ms = step_ms * acknowledged as i64;
        // Left-open: from just after batch 0 to the acknowledged one.
        let selector = format!(r#"{metric}{{node="{node}"}}[{span_ms}ms]"#);
        let at = Some(end_ms as f64 / 1000.0);
        let counts = client.query(&format!("count_over_time({selector})"), at).await?;
        ensure!(counts.len() == script.series as usize, "{node}: {} series", counts.len());
        for sample in &counts {
            ensure!(sample.value == acknowledged as f64, "{node}: {sample:?}, acknowledged {acknowledged}");
        }
        let sums = client.query(&format!("sum_over_time({selector})"), at).await?;
        let sum = (acknowledged * (acknowledged + 1) / 2) as f64;
        for sample in &sums {
            ensure!(sample.value == sum, "{node}: {sample:?}, the sum must be {sum}");
        }

        let (start_ns, end_ns) = (script.start_ms * 1_000_000, (end_ms + 1) * 1_000_000);
        let lines = client.logs(&format!(r#"{{node="{node}",job="test"}}"#), start_ns, end_ns).await?;
        let expected = acknowledged * u64::from(script.lines);
        let found: std::collections::BTreeSet<&str> = lines.iter().map(|line| line.line.as_str()).collect();
        let missing: Vec<u64> = (0..expected).filter(|n| !found.contains(script.line(*n).as_str())).collect();
        ensure!(
            missing.is_empty() && lines.len() as u64 == expected,
            "{node}: {} lines found, {expected} acknowledged, {} missing, first {:?}",
            lines.len(),
            missing.len(),
            missing.iter().take(3).collect::<Vec<_>>(),
        );
        for (number, line) in lines.iter().enumerate() {
            let expected = script.line(number as u64);
            ensure!(line.line == expected, "{node}: {:?} where {expected:?} comes", line.line);
        }
        Ok(())
    }

    fn batch(&self, session: u64, sequence: u64, define: bool) -> Batch {
        let mut body = BatchBody::default();
        if define {
            let fixed = ["__name__", self.metric.as_str(), "node", self.node.as_str(), "job", "test", "i"];
            body.symbols = fixed.iter().map(|symbol| (*symbol).to_owned()).collect();
            for id in 0..self.series {
                body.symbols.push(id.to_string());
                let label_symbols = vec![0, 1, 2, 3, 4, 5, 6, fixed.len() as u32 + id];
                body.series.push(SeriesDef { id, label_symbols });
            }
        }
        if self.series > 0 {
            let id_deltas = (0..self.series).map(|id| u32::from(id > 0)).collect();
            let values = vec![sequence as f64; self.series as usize];
            body.samples.push(SampleBlock { timestamp_ms: self.time_ms(sequence), id_deltas, values });
        }
        if self.lines > 0 {
            body.logs.push(self.log_block(sequence));
        }
        let plain = body.encode_to_vec();
        Batch {
            node: self.node.clone(),
            session,
            sequence,
            body_size: plain.len() as u32,
            body: zstd::bulk::compress(&plain, 1).unwrap_or_default(),
            sent_ms: self.time_ms(sequence),
        }
    }

    fn log_block(&self, sequence: u64) -> LogBlock {
        let first = (sequence - 1) * u64::from(self.lines);
        let line_len = self.line(0).len() as u64 + 1;
        let lines = (first..first + u64::from(self.lines)).map(|line| LogLine {
            // One nanosecond apart, so that the order is the lines' own.
            time_ns: self.time_ms(sequence) * 1_000_000 + (line - first) as i64,
            line: self.line(line).into_bytes(),
            end_offset: (line + 1) * line_len,
            metadata_symbols: Vec::new(),
        });
        LogBlock {
            label_symbols: vec![2, 3, 4, 5],
            source: format!("script-{}", self.node),
            begin_offset: first * line_len,
            end_offset: (first + u64::from(self.lines)) * line_len,
            lines: lines.collect(),
        }
    }
}
