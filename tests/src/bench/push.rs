//! The load over gRPC, as agents send it: labels once a connection, then ids and a column of values for
//! each round. Two connections, each with half of the series and a batch a round.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use binnacle_proto::node::node_client::NodeClient;
use binnacle_proto::node::{Batch, BatchBody, SampleBlock, SeriesDef};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::data::{INTERVAL_MS, Series, Shape};

const CONNECTIONS: usize = 2;
/// Batches on their way at one time, a connection.
const WINDOW: u64 = 16;
/// Samples of a batch.
const BATCH_SAMPLES: usize = 10_000;

/// Sends all samples of `shape` to the server at `url`; the bytes of the compressed bodies.
pub async fn load(url: &str, shape: &Shape) -> Result<u64> {
    let mut all = shape.generators();
    let mut shares = Vec::new();
    for connection in (0..CONNECTIONS).rev() {
        shares.push(all.split_off(all.len() * connection / CONNECTIONS));
    }
    let senders = shares.into_iter().enumerate().map(|(number, share)| send_share(url, number, share, shape));
    Ok(futures::future::try_join_all(senders).await?.into_iter().sum())
}

async fn send_share(url: &str, number: usize, mut share: Vec<Series>, shape: &Shape) -> Result<u64> {
    let mut client = NodeClient::connect(url.to_owned()).await?;
    let (batches, receiver) = mpsc::channel(WINDOW as usize);
    let mut acks = client.push(ReceiverStream::new(receiver)).await?.into_inner();
    let (mut sequence, mut acknowledged, mut bytes) = (0, 0, 0);
    let mut definitions = Some(define(&share));
    for step in 0..shape.steps {
        let timestamp_ms = shape.start_ms + step as i64 * INTERVAL_MS;
        let mut first_id = 0u32;
        for part in share.chunks_mut(BATCH_SAMPLES) {
            let mut body = definitions.take().unwrap_or_default();
            let id_deltas = (0..part.len()).map(|at| if at == 0 { first_id } else { 1 }).collect();
            let values = part.iter_mut().map(Series::next).collect();
            body.samples.push(SampleBlock { timestamp_ms, id_deltas, values });
            first_id += part.len() as u32;
            sequence += 1;
            let plain = body.encode_to_vec();
            let body = zstd::bulk::compress(&plain, 1)?;
            bytes += body.len() as u64;
            let node = format!("bench-{number}");
            let body_size = plain.len() as u32;
            let batch = Batch { node, session: 1, sequence, body_size, body, sent_ms: timestamp_ms };
            batches.send(batch).await.context("the stream is closed")?;
            while sequence - acknowledged >= WINDOW {
                acknowledged = ack(&mut acks).await?;
            }
        }
    }
    while acknowledged < sequence {
        acknowledged = ack(&mut acks).await?;
    }
    Ok(bytes)
}

async fn ack(acks: &mut tonic::Streaming<binnacle_proto::node::Ack>) -> Result<u64> {
    let ack = acks.message().await?.context("the server closed the stream")?;
    if ack.wait_ms > 0 {
        bail!("the server asks to wait: {}", ack.wait_reason);
    }
    Ok(ack.sequence)
}

/// Symbols and series of a stream.
fn define(share: &[Series]) -> BatchBody {
    let mut body = BatchBody::default();
    let mut known: HashMap<String, u32> = HashMap::new();
    for (id, series) in share.iter().enumerate() {
        let mut label_symbols = Vec::with_capacity(series.labels.len() * 2);
        for text in series.labels.iter().flat_map(|(name, value)| [*name, value.as_str()]) {
            let next = known.len() as u32;
            let symbol = *known.entry(text.to_owned()).or_insert_with(|| {
                body.symbols.push(text.to_owned());
                next
            });
            label_symbols.push(symbol);
        }
        body.series.push(SeriesDef { id: id as u32, label_symbols });
    }
    body
}
