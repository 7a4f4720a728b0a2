//! Tests of the Push stream over a real connection, with stores that fail when they are told to.

use std::collections::HashMap;
use std::time::Duration;

use binnacle_logs::Block;
use binnacle_proto::Labels;
use binnacle_proto::node::node_client::NodeClient;
use binnacle_proto::node::{BatchBody, SampleBlock, SeriesDef};
use binnacle_tsdb::{Exemplar, Sample, SeriesRef};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use prost::Message;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;

use super::stores::Turn;
use super::*;

/// Stores in memory that refuse the values they are told to refuse.
#[derive(Default)]
struct Fake {
    full: Mutex<Vec<f64>>,
    /// Batches with this value are stored only when the semaphore lets them.
    slow: Mutex<Option<(f64, Arc<Semaphore>)>>,
    stored: Mutex<Vec<f64>>,
    exemplars: Mutex<Vec<(Labels, Exemplar)>>,
    series: Mutex<HashMap<Labels, u64>>,
    /// Series that are not known any more.
    forgotten: Mutex<Vec<SeriesRef>>,
}

impl Stores for Fake {
    fn resolve(&self, labels: &Labels) -> Result<Option<SeriesRef>, binnacle_tsdb::Error> {
        let mut series = self.series.lock();
        let next = series.len() as u64;
        Ok(Some(SeriesRef(*series.entry(labels.clone()).or_insert(next))))
    }

    fn exemplars(&self, exemplars: Vec<(Labels, Exemplar)>) {
        self.exemplars.lock().extend(exemplars);
    }

    fn append(
        self: Arc<Self>,
        samples: Vec<Sample>,
        _blocks: Vec<Block>,
        _turn: Turn,
        _now_ms: i64,
    ) -> BoxFuture<'static, Result<u64, String>> {
        async move {
            let slow = self.slow.lock().clone();
            if let Some((value, gate)) = slow
                && samples.iter().any(|sample| sample.value == value)
            {
                gate.acquire().await.unwrap().forget();
            }
            if samples.iter().any(|sample| self.full.lock().contains(&sample.value)) {
                return Err("disk full".into());
            }
            if samples.iter().any(|sample| self.forgotten.lock().contains(&sample.series)) {
                return Ok(1);
            }
            self.stored.lock().extend(samples.iter().map(|sample| sample.value));
            Ok(0)
        }
        .boxed()
    }
}

struct Server {
    fake: Arc<Fake>,
    counters: Arc<Counters>,
    address: String,
    shutdown: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn server(settings: Settings) -> Server {
    let (fake, counters, shutdown) =
        (Arc::<Fake>::default(), Arc::<Counters>::default(), CancellationToken::new());
    let clock = Clock::manual(1_000);
    let deps = Deps {
        gate: crate::authority::Gate::open(clock.clone()),
        settings,
        registry: Registry::detached(clock.clone()),
        counters: counters.clone(),
        clock,
        shutdown: shutdown.clone(),
    };
    let service = Service::with_stores(fake.clone(), deps);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tonic::transport::Server::builder()
        .add_service(service.into_server())
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown.clone().cancelled_owned());
    tokio::spawn(serving);
    Server { fake, counters, address, shutdown }
}

struct Agent {
    batches: mpsc::Sender<Batch>,
    acks: Streaming<Ack>,
}

impl Agent {
    async fn connect(server: &Server) -> Self {
        let mut client = NodeClient::connect(server.address.clone()).await.unwrap();
        let (batches, receiver) = mpsc::channel(100);
        let acks = client.push(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { batches, acks }
    }

    async fn send(&self, batch: Batch) {
        self.batches.send(batch).await.unwrap();
    }

    async fn answer(&mut self) -> Result<Ack, Status> {
        tokio::time::timeout(Duration::from_secs(10), self.acks.message()).await.unwrap().map(Option::unwrap)
    }

    /// Reads acks up to `sequence`.
    async fn acked(&mut self, sequence: u64) {
        loop {
            let ack = self.answer().await.unwrap();
            assert_eq!(ack.wait_ms, 0, "{}", ack.wait_reason);
            assert!(ack.sequence <= sequence);
            if ack.sequence == sequence {
                return;
            }
        }
    }
}

/// A batch of one sample whose value is its sequence; the first of a stream defines the series.
fn batch(sequence: u64, first: bool) -> Batch {
    let mut body = BatchBody {
        samples: vec![SampleBlock { timestamp_ms: 1, id_deltas: vec![0], values: vec![sequence as f64] }],
        ..BatchBody::default()
    };
    if first {
        body.symbols = vec!["__name__".into(), "x".into()];
        body.series = vec![SeriesDef { id: 0, label_symbols: vec![0, 1] }];
    }
    of(sequence, &body)
}

fn of(sequence: u64, body: &BatchBody) -> Batch {
    let plain = body.encode_to_vec();
    Batch {
        node: "n".into(),
        session: 7,
        sequence,
        body_size: plain.len() as u32,
        body: zstd::bulk::compress(&plain, 1).unwrap(),
        sent_ms: 0,
    }
}

#[tokio::test]
async fn batches_are_acknowledged_in_order_when_they_are_stored() {
    let server = server(Settings::default()).await;
    let gate = Arc::new(Semaphore::new(0));
    *server.fake.slow.lock() = Some((1.0, gate.clone()));
    let mut agent = Agent::connect(&server).await;
    for sequence in 1..=3 {
        agent.send(batch(sequence, sequence == 1)).await;
    }
    // The second and third are stored, but nothing may be acknowledged before the first.
    while server.fake.stored.lock().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let early = tokio::time::timeout(Duration::from_millis(50), agent.acks.message()).await;
    assert!(early.is_err(), "{early:?}");
    gate.add_permits(1);
    let ack = agent.answer().await.unwrap();
    assert_eq!((ack.session, ack.sequence, ack.server_ms), (7, 1, 1_000));
    assert_eq!(ack.credit_bytes, Settings::default().credit_bytes);
    agent.acked(3).await;
}

#[tokio::test]
async fn repeats_are_acknowledged_and_stored_once_also_on_a_new_stream() {
    let server = server(Settings::default()).await;
    let mut agent = Agent::connect(&server).await;
    agent.send(batch(1, true)).await;
    agent.send(batch(2, false)).await;
    agent.acked(2).await;
    let mut agent = Agent::connect(&server).await;
    agent.send(batch(2, true)).await;
    agent.send(batch(3, false)).await;
    agent.acked(3).await;
    assert_eq!(*server.fake.stored.lock(), [1.0, 2.0, 3.0]);
    assert_eq!(server.counters.batches_repeated.get(), 1);
}

#[tokio::test]
async fn full_store_makes_the_agent_wait_and_loses_nothing() {
    let server = server(Settings::default()).await;
    server.fake.full.lock().push(2.0);
    let mut agent = Agent::connect(&server).await;
    for sequence in 1..=4 {
        agent.send(batch(sequence, sequence == 1)).await;
    }
    agent.acked(1).await;
    let wait = agent.answer().await.unwrap();
    assert_eq!((wait.sequence, wait.wait_ms, wait.wait_reason.as_str()), (1, 5_000, "disk full"));
    // The third and fourth may be stored already, but they are behind the second.
    let early = tokio::time::timeout(Duration::from_millis(50), agent.acks.message()).await;
    assert!(early.is_err(), "{early:?}");
    server.fake.full.lock().clear();
    for sequence in 2..=4 {
        agent.send(batch(sequence, false)).await;
    }
    agent.acked(4).await;
    let stored = server.fake.stored.lock();
    assert!([1.0, 2.0, 3.0, 4.0].iter().all(|value| stored.contains(value)), "{stored:?}");
}

#[tokio::test]
async fn series_that_the_database_forgot_are_defined_again_on_a_new_stream() {
    let server = server(Settings::default()).await;
    let mut agent = Agent::connect(&server).await;
    agent.send(batch(1, true)).await;
    agent.acked(1).await;
    server.fake.forgotten.lock().push(SeriesRef(0));
    server.fake.series.lock().insert(Labels::empty(), 0); // the next one gets another reference
    server.fake.series.lock().remove(&Labels::from_pairs([("__name__", "x")]).unwrap());
    server.fake.series.lock().insert(Labels::from_pairs([("a", "b")]).unwrap(), 1);
    agent.send(batch(2, false)).await;
    assert_eq!(agent.answer().await.unwrap_err().code(), Code::Aborted);
    let mut agent = Agent::connect(&server).await;
    agent.send(batch(2, true)).await;
    agent.acked(2).await;
    assert_eq!(*server.fake.stored.lock(), [1.0, 2.0]);
}

#[tokio::test]
async fn stream_speaks_for_one_session_of_one_node() {
    let server = server(Settings::default()).await;
    for (node, session) in [("other", 7), ("n", 8)] {
        let mut agent = Agent::connect(&server).await;
        agent.send(batch(1, true)).await;
        agent.acked(1).await;
        agent.send(Batch { node: node.into(), session, ..batch(2, false) }).await;
        assert_eq!(agent.answer().await.unwrap_err().code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn bodies_that_lie_about_their_size_are_refused() {
    let server = server(Settings { max_body_bytes: 1 << 16, ..Settings::default() }).await;
    let bomb = zstd::bulk::compress(&vec![0; 10 << 20], 1).unwrap();
    let good = batch(1, true);
    let cases = [
        (Batch { body_size: 10 << 20, body: bomb.clone(), ..good.clone() }, "ingest.max_body_bytes"),
        (Batch { body_size: 1 << 16, body: bomb, ..good.clone() }, "is not zstd of 65536 bytes"),
        (Batch { body_size: good.body_size + 1, ..good.clone() }, "as it says"),
        (Batch { body: b"text".to_vec(), ..good.clone() }, "is not zstd"),
        (Batch { session: 0, ..good.clone() }, "must not be 0"),
        (Batch { node: String::new(), ..good }, "node name"),
    ];
    for (batch, expected) in cases {
        let mut agent = Agent::connect(&server).await;
        agent.send(batch).await;
        let status = agent.answer().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(expected), "{}", status.message());
    }
    assert_eq!(server.counters.streams_refused.get(), 6);
    assert!(server.fake.stored.lock().is_empty());
}

#[tokio::test]
async fn streams_are_bounded() {
    let server = server(Settings { max_streams: 1, ..Settings::default() }).await;
    let _first = Agent::connect(&server).await;
    let mut client = NodeClient::connect(server.address.clone()).await.unwrap();
    let status = client.push(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("ingest.max_streams"), "{}", status.message());
}

#[tokio::test]
async fn exemplars_are_kept_with_their_batch_and_bad_ones_do_not_hold_it_up() {
    let server = server(Settings::default()).await;
    let mut agent = Agent::connect(&server).await;
    let exemplar = |labels: &[&str]| binnacle_proto::node::Exemplar {
        series_symbols: vec![0, 1],
        labels: labels.iter().map(|text| (*text).to_owned()).collect(),
        value: 0.5,
        timestamp_ms: 7,
    };
    let body = BatchBody {
        symbols: vec!["__name__".into(), "x".into()],
        exemplars: vec![
            exemplar(&["trace_id", "abc"]),
            exemplar(&["a", "1", "a", "2"]),
            exemplar(&["", "1"]),
        ],
        ..BatchBody::default()
    };
    agent.send(of(1, &body)).await;
    agent.acked(1).await;
    let pair = |name, value| Labels::from_pairs([(name, value)]).unwrap();
    let kept = Exemplar { labels: pair("trace_id", "abc"), value: 0.5, t_ms: 7 };
    assert_eq!(*server.fake.exemplars.lock(), [(pair("__name__", "x"), kept)]);
    assert_eq!(server.counters.exemplars_refused.get(), 2);
    // A symbol that is not there is a broken stream, in exemplars as elsewhere.
    let mut wrong = body;
    (wrong.symbols, wrong.exemplars[0].series_symbols) = (Vec::new(), vec![0, 9]);
    agent.send(of(2, &wrong)).await;
    assert_eq!(agent.answer().await.unwrap_err().code(), Code::InvalidArgument);
}
