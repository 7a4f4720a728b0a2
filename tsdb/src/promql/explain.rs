//! What a query did: its plan, and what each node cost.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::column::Evaluated;
use super::plan::{Aggregate, Kind, Node, RangeOf};
use crate::Error;
use crate::select::Guard;

/// A node of a plan and its cost. Costs include those of the nodes below.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanNode {
    /// What it does, e.g. `rate` or `up{job="node"}`.
    pub operation: String,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Series found in storage, for selectors.
    pub selected_series: usize,
    /// Width of the buckets that storage has summed samples up in, when some were used.
    pub rollup: Option<&'static str>,
    /// Series answered from these alone; the others' samples were read, because the answer would not
    /// have been exact.
    pub rollup_series: usize,
    /// Series in its result.
    pub result_series: usize,
    /// Samples read from storage.
    pub samples: u64,
    /// Memory of its result in bytes.
    pub result_bytes: u64,
    /// Whether it was evaluated once for all steps.
    pub step_invariant: bool,
    /// Its operands.
    pub inputs: Vec<PlanNode>,
}

/// Costs of the nodes of a plan, by their number.
#[derive(Debug, Default)]
pub(super) struct Costs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    of: Vec<Cost>,
    /// Nodes under evaluation, innermost last.
    open: Vec<usize>,
}

#[derive(Debug, Default, Clone)]
struct Cost {
    time: Duration,
    selected: usize,
    rollup: Option<&'static str>,
    rollup_series: usize,
    series: usize,
    samples: u64,
    bytes: u64,
}

impl Costs {
    /// Runs `work`, which evaluates `node`, and notes what it costs.
    #[expect(clippy::disallowed_methods, reason = "measures how long work takes; no result depends on it")]
    pub(super) fn measure(
        &self,
        node: &Node,
        guard: &Guard,
        work: impl FnOnce() -> Result<Evaluated, Error>,
    ) -> Result<Evaluated, Error> {
        let (begun, samples) = (Instant::now(), guard.samples());
        {
            let mut state = self.0.lock();
            if state.of.len() <= node.id {
                state.of.resize(node.id + 1, Cost::default());
            }
            state.open.push(node.id);
        }
        let result = work();
        let mut state = self.0.lock();
        state.open.pop();
        let cost = &mut state.of[node.id];
        cost.time += begun.elapsed();
        cost.samples += guard.samples() - samples;
        if let Ok(value) = &result {
            cost.series = cost.series.max(value.series_count());
            cost.bytes = cost.bytes.max(value.bytes());
        }
        result
    }

    /// Notes how many series the innermost open node has found in storage.
    pub(super) fn selected(&self, series: usize) {
        let mut state = self.0.lock();
        if let Some(id) = state.open.last().copied() {
            state.of[id].selected += series;
        }
    }

    /// Notes that the innermost open node was answered from buckets, for so many series.
    pub(super) fn rolled_up(&self, width: &'static str, series: usize) {
        let mut state = self.0.lock();
        if let Some(id) = state.open.last().copied() {
            state.of[id].rollup = Some(width);
            state.of[id].rollup_series += series;
        }
    }

    /// The plan with its costs.
    pub(super) fn plan(&self, node: &Node) -> PlanNode {
        let cost = self.0.lock().of.get(node.id).cloned().unwrap_or_default();
        let inputs = inputs(node).into_iter().map(|input| self.plan(input)).collect();
        PlanNode {
            operation: operation(node),
            seconds: cost.time.as_secs_f64(),
            selected_series: cost.selected,
            rollup: cost.rollup,
            rollup_series: cost.rollup_series,
            result_series: cost.series,
            samples: cost.samples,
            result_bytes: cost.bytes,
            step_invariant: node.fixed,
            inputs,
        }
    }
}

/// The nodes that a node evaluates.
fn inputs(node: &Node) -> Vec<&Node> {
    match &node.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Instant(_) => Vec::new(),
        Kind::Range(range) => match &range.of {
            RangeOf::Selector(_) => Vec::new(),
            RangeOf::Subquery { inner, .. } => vec![inner],
        },
        Kind::Negate(inner) => vec![inner],
        Kind::Binary(binary) => vec![&binary.left, &binary.right],
        Kind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.inner]).collect(),
        Kind::Call(_, args) => args.iter().collect(),
    }
}

fn operation(node: &Node) -> String {
    match &node.kind {
        Kind::Number(value) => super::format_value(*value),
        Kind::Text(text) => format!("{text:?}"),
        Kind::Instant(selector) => selector.text.clone(),
        Kind::Range(range) => {
            let length = Duration::from_millis(range.range_ms.unsigned_abs());
            let length = super::format_duration(length);
            match &range.of {
                RangeOf::Selector(selector) => format!("{}[{length}]", selector.text),
                RangeOf::Subquery { .. } => format!("subquery [{length}:]"),
            }
        }
        Kind::Negate(_) => "-".to_owned(),
        Kind::Binary(binary) => format!("{:?}", binary.operator).to_lowercase(),
        Kind::Aggregate(aggregate) => aggregation(aggregate),
        Kind::Call(function, _) => function.name().to_owned(),
    }
}

fn aggregation(aggregate: &Aggregate) -> String {
    let name = format!("{:?}", aggregate.aggregator).to_lowercase();
    let labels = aggregate.labels.join(", ");
    match (aggregate.without, aggregate.labels.is_empty()) {
        (false, true) => name,
        (false, false) => format!("{name} by ({labels})"),
        (true, _) => format!("{name} without ({labels})"),
    }
}
