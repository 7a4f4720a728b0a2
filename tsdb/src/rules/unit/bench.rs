//! Rules over samples in memory that come to be known as time goes on.

use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::Labels;
use parking_lot::RwLock;

use super::file::{Fired, Test};
use crate::promql::{EngineConfig, QueryOptions, Value};
use crate::rules::file::GroupSpec;
use crate::rules::group::Group;
use crate::rules::manager::RulesConfig;
use crate::rules::scope::Scope;
use crate::select::{Guard, GuardLimits, MemorySource, Select, Selected, Source};
use crate::{Engine, Error};

/// One test under way.
pub(super) struct Bench {
    samples: Arc<Shared>,
    /// Samples of the test that are not known yet, the latest first.
    ahead: Vec<(i64, Labels, f64)>,
    scope: Scope,
    groups: Vec<Group>,
}

#[derive(Default)]
struct Shared(RwLock<MemorySource>);

impl Source for Shared {
    fn select(&self, select: &Select, guard: &Guard) -> Result<Selected, Error> {
        self.0.read().select(select, guard)
    }
}

impl Bench {
    pub(super) fn new(test: &Test, groups: &[GroupSpec], evaluation_interval_ms: i64) -> Self {
        let samples: Arc<Shared> = Arc::default();
        let config = RulesConfig {
            evaluation_interval_seconds: (test.interval_ms / 1000).max(1) as u64,
            external_url: test.external_url.clone(),
            external_labels: test.external_labels.clone(),
            ..RulesConfig::default()
        };
        let engine =
            Engine::new(EngineConfig { subquery_step_ms: evaluation_interval_ms, ..EngineConfig::default() });
        let limits = GuardLimits { timeout: Duration::from_secs(600), ..GuardLimits::default() };
        let mut ahead: Vec<(i64, Labels, f64)> = Vec::new();
        for (labels, row) in &test.series {
            ahead.extend(row.iter().map(|(t_ms, value)| (*t_ms, labels.clone(), *value)));
        }
        ahead.sort_by_key(|sample| std::cmp::Reverse(sample.0));
        Self {
            scope: Scope::new(samples.clone(), engine, None, limits, config),
            samples,
            ahead,
            groups: groups.iter().cloned().map(Group::without_past).collect(),
        }
    }

    /// Evaluates every group at `at_ms`.
    ///
    /// # Errors
    /// Which rules failed, and why.
    pub(super) fn step(&mut self, at_ms: i64) -> Result<(), Vec<String>> {
        {
            let mut known = self.samples.0.write();
            while let Some((t_ms, labels, value)) = self.ahead.pop_if(|sample| sample.0 <= at_ms) {
                known.append(labels, t_ms, value);
            }
        }
        let mut errors = Vec::new();
        for group in &mut self.groups {
            for index in 0..group.spec.rules.len() {
                let given = group.evaluate_rule(index, at_ms, &self.scope, false);
                let name = &group.spec.rules[index].name;
                errors.extend(group.error(index).map(|error| format!("rule {name:?}: {error}")));
                self.samples.store(given.samples);
            }
            self.samples.store(group.finish(at_ms));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The alerts of a name that fire as of the latest step, in order.
    pub(super) fn firing(&self, name: &str) -> Vec<Fired> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut fired = Vec::new();
        for group in &self.groups {
            let rules = group.spec.rules.iter().enumerate();
            for (index, _) in rules.filter(|(_, rule)| rule.alert.is_some() && rule.name == name) {
                fired.extend(group.firing(index).map(|alert| Fired {
                    labels: alert.labels.iter().map(owned).collect(),
                    annotations: alert.annotations.iter().cloned().collect(),
                }));
            }
        }
        fired.sort();
        fired
    }

    /// The samples that an expression gives, in the order of their labels.
    ///
    /// # Errors
    /// What is wrong with the expression, or its result.
    #[expect(clippy::disallowed_methods, reason = "the deadline of an evaluation counts from its start")]
    pub(super) fn query(&self, expr: &str, at_ms: i64) -> Result<Vec<(Labels, f64)>, String> {
        let guard = Guard::new(self.scope.limits, std::time::Instant::now());
        let options = QueryOptions { guard, lookback: None };
        let answer = self.scope.engine.instant(&*self.samples, expr, at_ms, &options);
        let mut found: Vec<(Labels, f64)> = match answer.map_err(|error| error.to_string())?.value {
            Value::Vector(samples) => samples.into_iter().map(|one| (one.labels, one.value)).collect(),
            Value::Scalar(value) => vec![(Labels::empty(), value)],
            _ => return Err("its result is neither a vector nor a scalar".to_owned()),
        };
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

impl Shared {
    fn store(&self, samples: Vec<(Labels, i64, f64)>) {
        let mut known = self.0.write();
        for (labels, t_ms, value) in samples {
            known.append(labels, t_ms, value);
        }
    }
}
