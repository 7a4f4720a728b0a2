//! The load: Loki's push API with snappy and protobuf, two connections.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use prost::Message;

use crate::data::{Batch, Lines, Shape, labels};

const CONNECTIONS: usize = 2;
/// Streams of one request.
const REQUEST_STREAMS: usize = 20;
/// Requests made beforehand, so that making them does not slow the server down.
const AHEAD: usize = 8;

#[derive(Clone, PartialEq, Message)]
struct Push {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Time>,
    #[prost(string, tag = "2")]
    line: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    pub lines: u64,
    /// Bytes of lines, a line feed each.
    pub bytes: u64,
}

/// Sends all lines of `shape` to the server at `url`.
pub async fn load(url: &str, shape: &Shape) -> Result<Sent> {
    let url = format!("{url}/loki/api/v1/push");
    let (bodies, waiting) = tokio::sync::mpsc::channel::<(Vec<u8>, Sent)>(AHEAD);
    let mut lines = shape.lines();
    let making = tokio::task::spawn_blocking(move || -> Result<()> {
        while let Some((push, sent)) = request(&mut lines) {
            let body = snap::raw::Encoder::new().compress_vec(&push.encode_to_vec())?;
            if bodies.blocking_send((body, sent)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    });
    let waiting = tokio::sync::Mutex::new(waiting);
    let senders = (0..CONNECTIONS).map(|_| async {
        let http = binnacle_tests::client::http_client(Duration::from_secs(120), None)?;
        let mut all = Sent::default();
        loop {
            let next = waiting.lock().await.recv().await;
            let Some((body, sent)) = next else { return Ok::<_, anyhow::Error>(all) };
            let request = http.post(&url).header("Content-Type", "application/x-protobuf").body(body);
            let answer = request.send().await.context("push")?;
            if answer.status() != 204 {
                bail!("push: {}: {}", answer.status(), answer.text().await?);
            }
            all.lines += sent.lines;
            all.bytes += sent.bytes;
        }
    });
    let shares = futures::future::try_join_all(senders).await?;
    making.await??;
    let add = |a: Sent, b: Sent| Sent { lines: a.lines + b.lines, bytes: a.bytes + b.bytes };
    Ok(shares.into_iter().fold(Sent::default(), add))
}

fn request(lines: &mut Lines) -> Option<(Push, Sent)> {
    let (mut push, mut sent) = (Push::default(), Sent::default());
    for Batch { stream, lines } in lines.take(REQUEST_STREAMS) {
        sent.lines += lines.len() as u64;
        sent.bytes += lines.iter().map(|(_, line)| line.len() as u64 + 1).sum::<u64>();
        let pairs = labels(stream).map(|(name, value)| format!("{name}={value:?}")).join(",");
        let entry = |(time_ns, line): (i64, String)| {
            let (seconds, nanos) = (time_ns / 1_000_000_000, (time_ns % 1_000_000_000) as i32);
            Entry { timestamp: Some(Time { seconds, nanos }), line }
        };
        push.streams
            .push(Stream { labels: format!("{{{pairs}}}"), entries: lines.into_iter().map(entry).collect() });
    }
    (sent.lines > 0).then_some((push, sent))
}
