//! Behaviours that the test scripts of Prometheus do not look at: limits, bad input, plans.

use std::time::{Duration, Instant};

use binnacle_proto::Labels;
use proptest::prelude::*;

use super::*;
use crate::Error;
use crate::select::{GuardLimits, LimitError, MemorySource};

fn source(series: usize, samples: i64) -> MemorySource {
    let mut source = MemorySource::new();
    for i in 0..series {
        let pairs =
            [("__name__", "cpu_total".to_owned()), ("ns", (i % 3).to_string()), ("pod", i.to_string())];
        let labels = Labels::from_pairs(pairs).unwrap();
        for at in 0..samples {
            source.append(labels.clone(), at * 15_000, (at * (i as i64 + 1)) as f64);
        }
    }
    source
}

#[expect(clippy::disallowed_methods, reason = "the deadline of a test counts from now")]
fn options(limits: GuardLimits) -> QueryOptions {
    QueryOptions { guard: Guard::new(limits, Instant::now()), lookback: None }
}

fn usual() -> QueryOptions {
    options(GuardLimits::default())
}

fn refused(expr: &str, limits: GuardLimits) -> Error {
    let engine = Engine::default();
    let result = engine.range(&source(60, 240), expr, 0, 3_600_000, 1_000, &options(limits));
    match result {
        Err(why) => why,
        Ok(answer) => panic!("{expr} should be refused, yields {} series", format!("{answer:?}").len()),
    }
}

#[test]
fn queries_of_death_are_refused_by_the_name_of_a_limit() {
    let small = GuardLimits { max_bytes: 3 << 20, ..GuardLimits::default() };
    let join = ["cpu_total"; 10].join(" * ignoring (x) ");
    for expr in [
        r#"{__name__=~".+"} or {__name__=~".+"} + 0"#,
        join.as_str(),
        "sum_over_time(vector(1)[10y:1ms])",
        "max_over_time(rate(cpu_total[5m])[30d:1s])",
        r#"count_values("value", rate(cpu_total[1m] offset 1s) + on (pod) time() * cpu_total)"#,
    ] {
        let why = refused(expr, small);
        assert!(matches!(why, Error::Limit(LimitError::Bytes { .. }) | Error::Parse(_)), "{expr}: {why}");
        assert!(why.to_string().contains("http.query_max_bytes") || matches!(why, Error::Parse(_)), "{why}");
    }
    let few = GuardLimits { max_samples: 1_000, ..GuardLimits::default() };
    assert!(refused("cpu_total", few).to_string().contains("http.query_max_samples"));
    let hasty = GuardLimits { timeout: Duration::ZERO, ..GuardLimits::default() };
    assert!(refused("rate(cpu_total[5m])", hasty).to_string().contains("http.query_timeout_seconds"));
}

#[test]
fn a_canceled_query_stops() {
    let options = usual();
    options.guard.cancel();
    let result = Engine::default().instant(&source(10, 10), "sum(cpu_total)", 60_000, &options);
    assert!(matches!(result, Err(Error::Limit(LimitError::Canceled))));
}

#[test]
fn a_query_gives_back_what_it_took() {
    let options = options(GuardLimits { max_bytes: 2 << 20, ..GuardLimits::default() });
    let source = source(60, 240);
    for _ in 0..50 {
        Engine::default()
            .range(&source, "sum by (ns) (rate(cpu_total[5m])) / 2", 0, 3_600_000, 15_000, &options)
            .unwrap();
    }
}

#[test]
fn deep_queries_fit_a_small_stack() {
    let calls = format!("{}vector(1){}", "abs(".repeat(390), ")".repeat(390));
    let chain = vec!["vector(1)"; 390].join("+");
    let signs = format!("{}vector(1)", "-".repeat(390));
    let run = move || {
        for expr in [calls.as_str(), &chain, &signs] {
            Engine::default().instant(&MemorySource::new(), expr, 0, &usual()).unwrap();
            format_query(expr).unwrap();
        }
    };
    // As large as the stack of a blocking thread of the runtime.
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn impossible_bounds_are_refused() {
    let engine = Engine::default();
    let range = |start, end, step| engine.range(&MemorySource::new(), "1", start, end, step, &usual());
    assert!(matches!(range(10, 0, 1), Err(Error::BadInput(_))));
    assert!(matches!(range(0, 10, 0), Err(Error::BadInput(_))));
    assert!(matches!(range(i64::MIN, i64::MAX, 1), Err(Error::BadInput(_))));
    let too_fine = range(0, 11_001, 1).unwrap_err().to_string();
    assert!(too_fine.contains("query.max_points_per_series"), "{too_fine}");
    assert!(range(0, 11_000, 1).is_ok());
    assert!(matches!(
        engine.range(&MemorySource::new(), "a[5m]", 0, 1, 1, &usual()),
        Err(Error::BadInput(_))
    ));
}

#[test]
fn a_plan_tells_what_each_node_cost() {
    let expr = "sum by (ns) (rate(cpu_total[5m])) > 0 * 1";
    let (answer, plan) = Engine::default()
        .explain_range(&source(30, 240), expr, 600_000, 3_600_000, 60_000, &usual())
        .unwrap();
    assert!(matches!(answer.value, Value::Matrix(series) if series.len() == 3));
    assert_eq!(plan.operation, "greater");
    let sum = &plan.inputs[0];
    assert_eq!((sum.operation.as_str(), sum.result_series), ("sum by (ns)", 3));
    let rate = &sum.inputs[0];
    assert_eq!((rate.operation.as_str(), rate.selected_series, rate.result_series), ("rate", 30, 30));
    assert!(rate.samples > 0 && rate.samples == plan.samples && rate.result_bytes > 0);
    assert_eq!(rate.inputs[0].operation, "cpu_total[5m]");
    assert!(plan.inputs[1].step_invariant);
}

#[test]
fn warnings_of_the_store_and_infos_with_their_place_reach_the_answer() {
    let source = source(30, 240);
    let answer = Engine::default()
        .instant(&source, "quantile(2, increase(cpu_total[5m]))", 600_000, &usual())
        .unwrap();
    assert_eq!(answer.warnings, ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]);
    let mut gauge = MemorySource::new();
    for at in 0..10 {
        gauge.append(Labels::from_pairs([("__name__", "temp")]).unwrap(), at * 15_000, 1.0);
    }
    let answer = Engine::default().instant(&gauge, "abs(\n  rate(temp[5m]))", 100_000, &usual()).unwrap();
    assert_eq!(answer.infos.len(), 1);
    assert!(answer.infos[0].ends_with(": \"temp\" (2:8)"), "{:?}", answer.infos);
}

/// Pieces that queries are made of, right and wrong.
const PIECES: [&str; 48] = [
    "a",
    "b{c=\"d\"}",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "[5m]",
    "[5m:1m]",
    ":",
    ",",
    "+",
    "-",
    "*",
    "/",
    "^",
    "%",
    "==",
    "=~",
    "bool",
    "on",
    "group_left",
    "by",
    "without",
    "sum",
    "topk",
    "rate",
    "abs",
    "offset",
    "@",
    "start()",
    "end()",
    "1",
    "0x",
    "0x1f",
    "1e99",
    "Inf",
    "NaN",
    "5m",
    "\"\\xff\"",
    "'",
    "`",
    "\\",
    "é",
    "#",
    "fill",
    "unless",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_text_makes_the_engine_panic(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 1..14), spaced: bool) {
        let query = pieces.join(if spaced { " " } else { "" });
        let _ = Engine::default().instant(&source(2, 4), &query, 60_000, &usual());
        let _ = format_query(&query);
        let _ = parse_selector(&query);
    }
}
