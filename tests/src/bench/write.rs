//! The load: remote write 1.0, two connections, 10,000 samples a request.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::data::{INTERVAL_MS, Series, Shape};

/// Samples of one request.
const REQUEST_SAMPLES: usize = 10_000;
const CONNECTIONS: usize = 2;

/// Sends all samples of `shape`; each connection has its own half of the series.
pub async fn load(url: &str, shape: &Shape) -> Result<()> {
    let mut all = shape.generators();
    let mut shares = Vec::new();
    for connection in (0..CONNECTIONS).rev() {
        shares.push(all.split_off(all.len() * connection / CONNECTIONS));
    }
    let senders = shares.into_iter().map(|share| send_share(url, share, shape));
    futures::future::try_join_all(senders).await?;
    Ok(())
}

async fn send_share(url: &str, mut share: Vec<Series>, shape: &Shape) -> Result<()> {
    let http = binnacle_tests::client::http_client(Duration::from_secs(60), None)?;
    let labels: Vec<Vec<u8>> = share.iter().map(encode_labels).collect();
    let (mut body, mut samples) = (Vec::new(), 0);
    for step in 0..shape.steps {
        let t_ms = shape.start_ms + step as i64 * INTERVAL_MS;
        for (series, labels) in share.iter_mut().zip(&labels) {
            push_series(&mut body, labels, series.next(), t_ms);
            samples += 1;
            if samples == REQUEST_SAMPLES {
                send(&http, url, &body).await?;
                body.clear();
                samples = 0;
            }
        }
    }
    if samples > 0 { send(&http, url, &body).await } else { Ok(()) }
}

async fn send(http: &reqwest::Client, url: &str, body: &[u8]) -> Result<()> {
    let compressed = snap::raw::Encoder::new().compress_vec(body)?;
    let request = http
        .post(url)
        .header("Content-Encoding", "snappy")
        .header("Content-Type", "application/x-protobuf")
        .header("X-Prometheus-Remote-Write-Version", "0.1.0")
        .body(compressed);
    let answer = request.send().await.context("remote write")?;
    let status = answer.status();
    if !status.is_success() {
        bail!("remote write: {status}: {}", answer.text().await?);
    }
    Ok(())
}

/// The `labels` fields of a `TimeSeries` message, encoded.
fn encode_labels(series: &Series) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in &series.labels {
        let mut label = Vec::new();
        push_bytes(&mut label, 0x0a, name.as_bytes());
        push_bytes(&mut label, 0x12, value.as_bytes());
        push_bytes(&mut bytes, 0x0a, &label);
    }
    bytes
}

/// One `timeseries` field of a `WriteRequest`, with one sample.
fn push_series(body: &mut Vec<u8>, labels: &[u8], value: f64, t_ms: i64) {
    let mut sample = [0u8; 24];
    sample[0] = 0x09;
    sample[1..9].copy_from_slice(&value.to_le_bytes());
    sample[9] = 0x10;
    let end = 10 + put_varint(&mut sample[10..], t_ms as u64);
    body.push(0x0a);
    push_varint(body, (labels.len() + 2 + end) as u64);
    body.extend_from_slice(labels);
    push_bytes(body, 0x12, &sample[..end]);
}

fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_varint(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0u8; 10];
    let len = put_varint(&mut bytes, value);
    out.extend_from_slice(&bytes[..len]);
}

fn put_varint(out: &mut [u8], mut value: u64) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        out[at] = (value as u8) | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}
