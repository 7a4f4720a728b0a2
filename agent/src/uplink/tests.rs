//! The uplink against a server in this process that misbehaves: drops connections, delays and repeats
//! acknowledgements, asks to wait, forgets what it was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::serve::ListenerExt;
use binnacle_proto::node::node_server::{Node, NodeServer};
use binnacle_proto::node::{self, Ack, Batch};
use futures::Stream;
use parking_lot::Mutex;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::sample::Series;

type Acks = Pin<Box<dyn Stream<Item = Result<Ack, Status>> + Send>>;

/// What the server does with each batch it is sent, by how many it has seen.
type Plan = fn(u64) -> Act;

const HOLD: Duration = Duration::from_millis(10);

enum Act {
    /// Stores and acknowledges.
    Ack,
    /// Stores, and acknowledges together with the next, or after `HOLD`.
    Hold,
    /// Stores, and breaks the connection before acknowledging.
    StoreAndDrop,
    /// Breaks the connection; nothing is stored.
    Drop,
    /// Stores nothing and asks to wait.
    Wait,
}

#[derive(Clone)]
struct Fake(Arc<State>);

struct State {
    plan: Plan,
    credit: u64,
    seen: AtomicU64,
    /// What is durable: by sequence, so that repeats are one.
    stored: Mutex<BTreeMap<u64, Stored>>,
    /// Most bytes of bodies that were unacknowledged at a time, and whether the credit was overrun.
    overrun: Mutex<Option<String>>,
    problems: Mutex<Vec<String>>,
}

#[derive(Clone, PartialEq, Debug)]
struct Stored {
    rounds: Vec<(i64, Vec<(String, f64)>)>,
    lines: Vec<Vec<u8>>,
}

impl Fake {
    fn new(plan: Plan, credit: u64) -> Self {
        Self(Arc::new(State {
            plan,
            credit,
            seen: AtomicU64::new(0),
            stored: Mutex::default(),
            overrun: Mutex::default(),
            problems: Mutex::default(),
        }))
    }

    async fn serve(&self, address: &str) -> (SocketAddr, CancellationToken) {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let service = NodeServer::new(self.clone());
        let router = axum::Router::new().route_service("/binnacle.node.v1.Node/{*method}", service);
        let listener = listener.tap_io(|socket| socket.set_nodelay(true).unwrap());
        let serve = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(serve.into_future());
        (address, stop)
    }

    fn times(&self) -> Vec<i64> {
        let stored = self.0.stored.lock();
        stored.values().flat_map(|stored| stored.rounds.iter().map(|(t, _)| *t)).collect()
    }

    fn lines(&self) -> Vec<String> {
        let stored = self.0.stored.lock();
        let lines = stored.values().flat_map(|stored| stored.lines.iter());
        lines.map(|line| String::from_utf8(line.clone()).unwrap()).collect()
    }

    async fn push_stream(
        self,
        mut batches: Streaming<Batch>,
        acks: tokio::sync::mpsc::Sender<Result<Ack, Status>>,
    ) {
        let mut decoder = Decoder::default();
        let (mut unacked, mut first, mut expected) = (0u64, true, None);
        let mut held: Option<Ack> = None;
        loop {
            let batch = match tokio::time::timeout(HOLD, batches.message()).await {
                Ok(Ok(Some(batch))) => batch,
                Ok(_) => return,
                Err(_) => {
                    if let Some(ack) = held.take() {
                        unacked = 0;
                        let _ = acks.send(Ok(ack)).await;
                    }
                    continue;
                }
            };
            unacked += batch.body.len() as u64;
            if unacked > self.0.credit && unacked > batch.body.len() as u64 && !first {
                *self.0.overrun.lock() = Some(format!("{unacked} bytes, the credit is {}", self.0.credit));
            }
            first = false;
            if expected.is_some_and(|expected| expected != batch.sequence) || batch.session == 0 {
                self.0.problems.lock().push(format!("{expected:?} was expected: {}", batch.sequence));
            }
            expected = Some(batch.sequence + 1);
            let stored = match decode(&mut decoder, &batch) {
                Ok(stored) => stored,
                Err(problem) => return self.0.problems.lock().push(problem.to_string()),
            };
            let ack = Ack {
                session: batch.session,
                sequence: batch.sequence,
                credit_bytes: self.0.credit,
                server_ms: 1,
                ..Ack::default()
            };
            let act = (self.0.plan)(self.0.seen.fetch_add(1, Ordering::Relaxed));
            if matches!(act, Act::Ack | Act::Hold | Act::StoreAndDrop) {
                let known = self.0.stored.lock().insert(batch.sequence, stored.clone());
                if known.is_some_and(|known| known != stored) {
                    self.0.problems.lock().push(format!("batch {} has changed", batch.sequence));
                }
            }
            match act {
                Act::Ack => {
                    unacked = 0;
                    // Acknowledgements may repeat.
                    let _ = acks.send(Ok(ack.clone())).await;
                    let _ = acks.send(Ok(ack)).await;
                }
                Act::Hold => {
                    held = Some(ack);
                    continue;
                }
                Act::Wait => {
                    let sequence = batch.sequence - 1;
                    let wait = Ack { sequence, wait_ms: 20, wait_reason: "disk full".into(), ..ack };
                    let _ = acks.send(Ok(wait)).await;
                }
                Act::StoreAndDrop | Act::Drop => return,
            }
            held = None;
        }
    }
}

fn decode(decoder: &mut Decoder, batch: &Batch) -> Result<Stored, decode::Malformed> {
    let body = decoder.body(&batch.body)?;
    let mut stored = Stored { rounds: Vec::new(), lines: Vec::new() };
    for round in decoder.rounds(&body)? {
        let samples = round.samples.iter().map(|(series, value)| (series.labels().to_string(), *value));
        let mut samples: Vec<(String, f64)> = samples.collect();
        // Series are numbered anew on each stream, and with them changes the order.
        samples.sort_by(|a, b| a.0.cmp(&b.0));
        stored.rounds.push((round.t_ms, samples));
    }
    for block in body.logs {
        let labels = decoder.labels(&block.label_symbols)?;
        assert_eq!(labels.get("pod"), Some("chatty-0"));
        stored.lines.extend(block.lines.into_iter().map(|line| line.line));
    }
    Ok(stored)
}

#[tonic::async_trait]
impl Node for Fake {
    type PushStream = Acks;
    type ControlStream = Pin<Box<dyn Stream<Item = Result<node::Command, Status>> + Send>>;

    async fn push(&self, request: Request<Streaming<Batch>>) -> Result<Response<Acks>, Status> {
        let (acks, out) = tokio::sync::mpsc::channel(1);
        tokio::spawn(self.clone().push_stream(request.into_inner(), acks));
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }

    async fn control(
        &self,
        _: Request<Streaming<node::Report>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

struct Agent {
    sender: Sender,
    shutdown: CancellationToken,
    metrics: SelfMetrics,
    task: tokio::task::JoinHandle<Result<(), Error>>,
    series: Vec<Series>,
}

fn agent(address: SocketAddr, state_dir: &std::path::Path, change: impl FnOnce(&mut Config)) -> Agent {
    let mut config = Config {
        server: format!("http://{address}"),
        node: "alpha".into(),
        state_dir: state_dir.to_owned(),
        ..Config::default()
    };
    config.uplink.backoff_min = Duration::from_millis(2);
    config.uplink.backoff_max = Duration::from_millis(20);
    config.uplink.linger = Duration::from_millis(5);
    change(&mut config);
    let (sender, receiver) = channel();
    let (shutdown, metrics) = (CancellationToken::new(), SelfMetrics::default());
    let setup = Setup {
        credentials: Credentials::load(&config, &metrics).unwrap(),
        node: config.node.clone(),
        config: Arc::new(config),
        session: 42,
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
    };
    let task = tokio::spawn(run(setup, receiver));
    let labels = |i: usize| Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]).unwrap();
    Agent { sender, shutdown, metrics, task, series: (0..20).map(|i| Series::new(labels(i))).collect() }
}

impl Agent {
    async fn round(&self, t_ms: i64) {
        // The set of series changes from round to round.
        let skip = (t_ms % 5) as usize;
        let samples = self.series.iter().skip(skip).map(|series| (series.clone(), t_ms as f64)).collect();
        self.sender.send_samples(Round::new(t_ms, samples)).await.unwrap();
    }

    async fn line(&self, text: String, calls: &Arc<AtomicU64>) {
        let labels = Labels::from_pairs([("pod", "chatty-0")]).unwrap();
        let line = Line { line: text.into_bytes(), ..Line::default() };
        let lines = LogLines { labels, lines: vec![line], ..LogLines::default() };
        let calls = calls.clone();
        let on_durable = move || {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        self.sender.send_logs(lines, Box::new(on_durable)).await.unwrap();
    }

    /// Stops sending and waits till the uplink has drained.
    async fn finish(self) {
        drop(self.sender);
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Sends rounds and lines to a server with this plan and checks that everything arrives once.
async fn exchange(plan: Plan, credit: u64) -> Fake {
    let fake = Fake::new(plan, credit);
    let (address, _stop) = fake.serve("127.0.0.1:0").await;
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(address, dir.path(), |config| config.uplink.queue_rounds = 3);
    let calls = Arc::new(AtomicU64::new(0));
    for t in 0..200 {
        agent.round(t).await;
        agent.line(format!("line {t}"), &calls).await;
    }
    agent.finish().await;
    assert_eq!(*fake.0.problems.lock(), Vec::<String>::new());
    assert_eq!(*fake.0.overrun.lock(), None);
    assert_eq!(fake.times(), (0..200).collect::<Vec<_>>());
    assert_eq!(fake.lines(), (0..200).map(|t| format!("line {t}")).collect::<Vec<_>>());
    assert_eq!(calls.load(Ordering::Relaxed), 200, "each block is durable once");
    fake
}

#[tokio::test]
async fn everything_arrives_once_at_a_good_server() {
    let fake = exchange(|_| Act::Ack, 1 << 20).await;
    let stored = fake.0.stored.lock();
    let (t, samples) = stored.values().flat_map(|stored| &stored.rounds).nth(7).unwrap();
    assert_eq!(*t, 7);
    assert_eq!(samples.len(), 18);
    assert!(samples.contains(&(r#"m{i="19"}"#.to_owned(), 7.0)));
}

#[tokio::test]
async fn late_and_cumulative_acknowledgements_are_enough() {
    exchange(|n| if n % 3 == 0 { Act::Ack } else { Act::Hold }, 1 << 20).await;
}

#[tokio::test]
async fn broken_connections_lose_nothing_and_double_nothing() {
    let plan = |n: u64| match n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 {
        0 => Act::StoreAndDrop,
        1 => Act::Drop,
        2 => Act::Wait,
        _ => Act::Ack,
    };
    exchange(plan, 1 << 20).await;
}

#[tokio::test]
async fn a_small_credit_is_kept_to() {
    exchange(|n| if n % 2 == 0 { Act::Ack } else { Act::Hold }, 600).await;
}

#[tokio::test]
async fn no_credit_at_all_still_lets_one_batch_through_at_a_time() {
    exchange(|_| Act::Ack, 0).await;
}

#[tokio::test]
async fn a_server_that_comes_late_gets_everything_from_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let agent = agent(address, dir.path(), |config| config.uplink.queue_rounds = 4);
    for t in 0..60 {
        agent.round(t).await;
    }
    let calls = Arc::new(AtomicU64::new(0));
    agent.line("waits in memory".into(), &calls).await;
    let fake = Fake::new(|_| Act::Ack, 1 << 20);
    let (_, _stop) = fake.serve(&address.to_string()).await;
    let metrics = agent.metrics.clone();
    agent.finish().await;
    assert_eq!(fake.times(), (0..60).collect::<Vec<_>>());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(metrics.counter("binnacle_agent_connection_failures_total", &[]).get() > 0);
    assert!(!metrics.render().contains("lost_total"));
}

#[tokio::test]
async fn what_an_agent_could_not_send_its_successor_sends() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let first = agent(nowhere, dir.path(), |config| {
        config.uplink.queue_rounds = 4;
        config.uplink.drain = Duration::from_millis(50);
    });
    for t in 0..20 {
        first.round(t).await;
    }
    first.finish().await;
    let fake = Fake::new(|_| Act::Ack, 1 << 20);
    let (address, _stop) = fake.serve("127.0.0.1:0").await;
    let second = agent(address, dir.path(), |_| {});
    second.round(20).await;
    second.finish().await;
    assert_eq!(fake.times(), (0..=20).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(dir.path().join("spool")).unwrap().count(), 0);
}

#[tokio::test]
async fn lines_are_not_taken_while_the_server_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let agent = agent(nowhere, dir.path(), |config| {
        (config.uplink.batch_bytes, config.uplink.unacked_bytes) = (1000, 1000);
        config.uplink.drain = Duration::from_millis(10);
    });
    let calls = Arc::new(AtomicU64::new(0));
    let mut taken = 0;
    let patience = Duration::from_millis(200);
    while tokio::time::timeout(patience, agent.line("x".repeat(500), &calls)).await.is_ok() {
        taken += 1;
        assert!(taken < 100, "nothing holds the tailer back");
    }
    assert!(taken >= 2);
    agent.round(1).await;
    agent.finish().await;
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}
