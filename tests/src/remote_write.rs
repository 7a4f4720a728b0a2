//! Remote write 1.0 from the sender's side.

use anyhow::{Result, bail};
use binnacle_proto::Labels;
use prost::Message;

/// A series and samples of it: milliseconds since the epoch and value.
pub type SeriesSamples = (Labels, Vec<(i64, f64)>);

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Sends samples to the server at `base`, `http://…`.
///
/// # Errors
/// When the server does not take all of them; its words are in the message.
pub async fn send(http: &reqwest::Client, base: &str, series: &[SeriesSamples]) -> Result<()> {
    let labels = |labels: &Labels| -> Vec<Label> {
        labels.iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
    };
    let one = |(of, samples): &SeriesSamples| TimeSeries {
        labels: labels(of),
        samples: samples.iter().map(|(t_ms, value)| Sample { value: *value, timestamp: *t_ms }).collect(),
    };
    let request = WriteRequest { timeseries: series.iter().map(one).collect() };
    let answer = http
        .post(format!("{base}/api/v1/write"))
        .header("Content-Encoding", "snappy")
        .header("Content-Type", "application/x-protobuf")
        .header("X-Prometheus-Remote-Write-Version", "0.1.0")
        .body(snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?)
        .send()
        .await?;
    if !answer.status().is_success() {
        bail!("remote write: {}: {}", answer.status(), answer.text().await?);
    }
    Ok(())
}
