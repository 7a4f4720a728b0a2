//! Generated queries against a real Prometheus 3 with the same samples. `BINNACLE_SEED` and
//! `BINNACLE_QUERIES` choose others than the usual ones.

use std::io::Write;
use std::time::Instant;

use binnacle_tests::differential::{Dataset, Generator, Outcome, Peer, Query, compare, find};
use binnacle_tests::random::Random;
use binnacle_tsdb::{Answer, Engine, Error, Guard, GuardLimits, MemorySource, QueryOptions};
use futures::StreamExt;

const SEED: u64 = 20_261_121;
const QUERIES: usize = 2_000;
/// Queries asked of the peer at a time.
const AT_ONCE: usize = 4;

fn setting<T: std::str::FromStr>(name: &str, usual: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[expect(clippy::disallowed_methods, reason = "the deadline of a test counts from now")]
fn ours(source: &MemorySource, query: &Query) -> Result<Answer, Error> {
    let options = QueryOptions { guard: Guard::new(GuardLimits::default(), Instant::now()), lookback: None };
    match query.range {
        None => Engine::default().instant(source, &query.expr, query.start_ms, &options),
        Some((end_ms, step_ms)) => {
            Engine::default().range(source, &query.expr, query.start_ms, end_ms, step_ms, &options)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_queries_yield_what_prometheus_yields() {
    let Some(binary) = find() else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no Prometheus 3 (run tests/peers.sh or set PROMETHEUS_BIN)"
        );
        return;
    };
    let (seed, count) = (setting("BINNACLE_SEED", SEED), setting("BINNACLE_QUERIES", QUERIES));
    let mut random = Random::new(seed);
    let dataset = Dataset::new(&mut random);
    let peer = Peer::start(&binary).await.expect("the peer starts");
    peer.load(&dataset).await.expect("the peer takes the samples");
    let mut source = MemorySource::new();
    for (labels, samples) in &dataset.0 {
        for (t_ms, value) in samples {
            source.append(labels.clone(), *t_ms, *value);
        }
    }
    let mut generator = Generator(random);
    let queries: Vec<Query> = (0..count).map(|_| generator.query()).collect();
    let (source, peer_ref) = (&source, &peer);
    let outcomes: Vec<(Query, Outcome)> = futures::stream::iter(queries)
        .map(|query| async move {
            let theirs = peer_ref.ask(&query).await.expect("the peer answers");
            let outcome = compare(&ours(source, &query), &theirs);
            (query, outcome)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let failing = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::BothFail).count();
    let different: Vec<&(Query, Outcome)> =
        outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Different(_))).collect();
    let filled = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Same(series) if *series > 0))
        .count();
    let version = peer.version().await.expect("the peer tells its version");
    let _ = writeln!(
        std::io::stderr(),
        "Prometheus {version}, seed {seed}: {} queries, {} the same ({filled} of them not empty), {failing} refused \
         by both, {} different",
        outcomes.len(),
        outcomes.len() - failing - different.len(),
        different.len()
    );
    for (query, outcome) in different.iter().take(setting("BINNACLE_SHOW", 20)) {
        let _ = writeln!(std::io::stderr(), "{query:?}\n    {outcome:?}");
    }
    assert!(different.is_empty(), "{} answers differ (seed {seed})", different.len());
    assert!(filled * 2 > outcomes.len(), "too few queries have an answer to compare");
}
