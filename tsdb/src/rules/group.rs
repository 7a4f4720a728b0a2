//! One evaluation of a group: expressions to samples, alert states and notifications.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use binnacle_proto::{Labels, STALE_NAN, is_stale};

use super::alert::{Alert, Alerts, Found, restored_active_at};
use super::file::{AlertSpec, GroupSpec, RuleSpec, Templated};
use super::notify::Notification;
use super::scope::Scope;
use super::template::Data;
use super::view::{AlertState, GroupView, Health, RuleKind, RuleView};
use crate::Error;
use crate::promql::{QueryOptions, Value};
use crate::select::{Guard, Hints, MatchTest, Matcher, Points, Select};

/// How far back the state of alerts is looked for after a restart, in milliseconds.
const OUTAGE_TOLERANCE_MS: i64 = 3_600_000;

/// Shortest time an alert stays pending after a restart, in milliseconds.
const GRACE_MS: i64 = 600_000;

/// A group and its state.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) spec: GroupSpec,
    rules: Vec<RuleState>,
    /// Series of rules that are no longer in the group: they end at the next evaluation.
    orphans: HashSet<Labels>,
    restored: bool,
    last_evaluation_ms: i64,
    evaluation_seconds: f64,
}

#[derive(Debug, Clone, Default)]
struct RuleState {
    /// What the rule gave at the latest evaluation.
    series: HashSet<Labels>,
    alerts: Alerts,
    error: Option<String>,
    last_evaluation_ms: i64,
    evaluation_seconds: f64,
}

/// What one evaluation gives.
#[derive(Default)]
pub(super) struct Evaluated {
    pub(super) samples: Vec<(Labels, i64, f64)>,
    pub(super) alerts: Vec<Notification>,
    pub(super) failures: u64,
}

impl Group {
    /// A group that begins, with the state of `before` for rules that are written the same.
    pub(super) fn new(spec: GroupSpec, before: Option<&Self>) -> Self {
        let mut rules = vec![RuleState::default(); spec.rules.len()];
        let mut orphans = HashSet::new();
        if let Some(before) = before {
            orphans.clone_from(&before.orphans);
            let mut free: Vec<bool> = vec![true; spec.rules.len()];
            for (rule, state) in before.spec.rules.iter().zip(&before.rules) {
                let same = (0..spec.rules.len()).find(|at| free[*at] && spec.rules[*at].is_same(rule));
                match same {
                    Some(at) => {
                        free[at] = false;
                        rules[at] = state.clone();
                    }
                    None => orphans.extend(state.series.iter().cloned()),
                }
            }
        }
        Self {
            restored: before.is_some_and(|before| before.restored),
            last_evaluation_ms: before.map_or(0, |before| before.last_evaluation_ms),
            evaluation_seconds: 0.0,
            spec,
            rules,
            orphans,
        }
    }

    /// A group of which nothing is stored from before.
    pub(super) fn without_past(spec: GroupSpec) -> Self {
        Self { restored: true, ..Self::new(spec, None) }
    }

    /// Why the latest evaluation of a rule failed.
    pub(super) fn error(&self, rule: usize) -> Option<&str> {
        self.rules.get(rule).and_then(|state| state.error.as_deref())
    }

    /// The alerts of a rule that fire.
    pub(super) fn firing(&self, rule: usize) -> impl Iterator<Item = &Alert> {
        let alerts = self.rules.get(rule).into_iter().flat_map(|state| state.alerts.active());
        alerts.filter(|alert| alert.state == AlertState::Firing)
    }

    pub(super) fn interval(&self, scope: &Scope) -> Duration {
        self.spec.interval.unwrap_or(scope.config.evaluation_interval())
    }

    /// Markers that end every series of the group, which goes.
    pub(super) fn end(&self, at_ms: i64) -> Vec<(Labels, i64, f64)> {
        let series = self.rules.iter().flat_map(|rule| &rule.series).chain(&self.orphans);
        series.map(|labels| (labels.clone(), at_ms, STALE_NAN)).collect()
    }

    /// Evaluates one rule of the group as of `at_ms`. The samples of rules before it are stored
    /// already, so that it can build on them.
    #[expect(clippy::disallowed_methods, reason = "measures how long the evaluation takes; bounds it")]
    pub(super) fn evaluate_rule(
        &mut self,
        index: usize,
        at_ms: i64,
        scope: &Scope,
        only_recording: bool,
    ) -> Evaluated {
        let Some(rule) = self.spec.rules.get(index) else { return Evaluated::default() };
        if only_recording && rule.alert.is_some() {
            return Evaluated::default();
        }
        let began = Instant::now();
        let offset = self.spec.query_offset.unwrap_or(scope.config.query_offset());
        let sample_ms = at_ms - offset.as_millis() as i64;
        let state = &mut self.rules[index];
        let guard = Guard::new(scope.limits, began);
        let (limit, of_logs) = (self.spec.limit, self.spec.of_logs);
        let one = Evaluation { scope, rule, at_ms, sample_ms, limit, of_logs, guard };
        let mut evaluated = Evaluated::default();
        let given = match &rule.alert {
            None => one.recording(),
            Some(alert) => one.alerting(alert, &mut state.alerts, self.restored),
        };
        match given {
            Ok(samples) => {
                state.error = None;
                let series: HashSet<Labels> = samples.iter().map(|(labels, _)| labels.clone()).collect();
                let ended = state.series.difference(&series).map(|labels| (labels.clone(), STALE_NAN));
                let all = samples.into_iter().chain(ended.collect::<Vec<_>>());
                evaluated.samples = all.map(|(labels, value)| (labels, sample_ms, value)).collect();
                state.series = series;
            }
            Err(error) => {
                let message = error.to_string();
                tracing::warn!(rule = %rule.name, group = %self.spec.name, error = %message, "a rule could not be evaluated");
                state.error = Some(message);
                evaluated.failures = 1;
            }
        }
        let interval_ms = self.spec.interval.unwrap_or(scope.config.evaluation_interval()).as_millis() as i64;
        let resend_ms = scope.config.resend_delay_seconds as i64 * 1000;
        if rule.alert.is_some() {
            let valid_until_ms = at_ms + 4 * interval_ms.max(resend_ms);
            let due = state.alerts.due(at_ms, resend_ms);
            evaluated.alerts =
                due.into_iter().map(|alert| notification(alert, rule, valid_until_ms)).collect();
        }
        state.last_evaluation_ms = at_ms;
        state.evaluation_seconds = began.elapsed().as_secs_f64();
        evaluated
    }

    /// Ends an evaluation: what is left to write.
    pub(super) fn finish(&mut self, at_ms: i64) -> Vec<(Labels, i64, f64)> {
        self.restored = true;
        self.last_evaluation_ms = at_ms;
        self.evaluation_seconds = self.rules.iter().map(|rule| rule.evaluation_seconds).sum();
        let living: HashSet<&Labels> = self.rules.iter().flat_map(|rule| &rule.series).collect();
        let orphans = std::mem::take(&mut self.orphans);
        orphans
            .into_iter()
            .filter(|labels| !living.contains(labels))
            .map(|labels| (labels, at_ms, STALE_NAN))
            .collect()
    }

    /// When a recording rule of the group last gave a sample, if that is after `since_ms`: what comes
    /// after it was missed.
    #[expect(clippy::disallowed_methods, reason = "bounds the look-up")]
    pub(super) fn last_recorded(
        &self,
        since_ms: i64,
        now_ms: i64,
        scope: &Scope,
    ) -> Result<Option<i64>, Error> {
        let guard = Guard::new(scope.limits, Instant::now());
        let mut last = None;
        for rule in self.spec.rules.iter().filter(|rule| rule.alert.is_none()) {
            let mut matchers = vec![equal("__name__", &rule.name)];
            matchers.extend(rule.labels.iter().map(|label| equal(&label.name, &label.text)));
            for (_, t_ms, _) in latest(scope, matchers, since_ms, now_ms, &guard)? {
                last = last.max(Some(t_ms));
            }
        }
        Ok(last)
    }

    pub(super) fn view(&self, scope: &Scope) -> GroupView {
        let pairs = |templated: &[Templated]| {
            templated.iter().map(|one| (one.name.clone(), one.text.clone())).collect::<Vec<_>>()
        };
        let rules = self.spec.rules.iter().zip(&self.rules).map(|(rule, state)| RuleView {
            name: rule.name.clone(),
            query: rule.expr.clone(),
            labels: pairs(&rule.labels),
            health: match (&state.error, state.last_evaluation_ms) {
                (Some(_), _) => Health::Err,
                (None, 0) => Health::Unknown,
                (None, _) => Health::Ok,
            },
            last_error: state.error.clone(),
            last_evaluation_ms: state.last_evaluation_ms,
            evaluation_seconds: state.evaluation_seconds,
            kind: match &rule.alert {
                None => RuleKind::Recording,
                Some(alert) => RuleKind::Alerting {
                    for_seconds: alert.hold.as_secs_f64(),
                    keep_firing_seconds: alert.keep_firing.as_secs_f64(),
                    annotations: pairs(&alert.annotations),
                    alerts: state.alerts.views(),
                },
            },
        });
        GroupView {
            name: self.spec.name.clone(),
            file: self.spec.file.clone(),
            interval_seconds: self.interval(scope).as_secs_f64(),
            limit: self.spec.limit,
            rules: rules.collect(),
            last_evaluation_ms: self.last_evaluation_ms,
            evaluation_seconds: self.evaluation_seconds,
        }
    }
}

/// One rule at one instant.
struct Evaluation<'a> {
    scope: &'a Scope,
    rule: &'a RuleSpec,
    at_ms: i64,
    sample_ms: i64,
    limit: usize,
    of_logs: bool,
    guard: Guard,
}

impl Evaluation<'_> {
    /// Evaluates in the language of the rule's file; templates ask in the same.
    fn query(&self, expr: &str) -> Result<Vec<(Labels, f64)>, Error> {
        if self.of_logs {
            let logs = self.scope.logs.as_ref();
            let logs = logs.ok_or_else(|| Error::Execution("there is no log store here".into()))?;
            return logs.instant(expr, self.sample_ms).map_err(Error::Execution);
        }
        let options = QueryOptions { guard: self.guard.clone(), lookback: None };
        match self.scope.engine.instant(&*self.scope.source, expr, self.sample_ms, &options)?.value {
            Value::Vector(samples) => {
                Ok(samples.into_iter().map(|sample| (sample.labels, sample.value)).collect())
            }
            Value::Scalar(value) => Ok(vec![(Labels::empty(), value)]),
            _ => Err(Error::Execution("rule result is not a vector or scalar".into())),
        }
    }

    fn recording(&self) -> Result<Vec<(Labels, f64)>, Error> {
        let mut given = Vec::new();
        let mut seen = HashSet::new();
        for (labels, value) in self.query(&self.rule.expr)? {
            let mut builder = labels.to_builder();
            for label in &self.rule.labels {
                builder.set(&label.name, label.text.as_str());
            }
            builder.set("__name__", self.rule.name.as_str());
            let labels = builder.build();
            if !seen.insert(labels.clone()) {
                return Err(Error::Execution(
                    "vector contains metrics with the same labelset after applying rule labels".into(),
                ));
            }
            given.push((labels, value));
        }
        self.within_limit(given.len(), "series")?;
        Ok(given)
    }

    fn alerting(
        &self,
        spec: &AlertSpec,
        alerts: &mut Alerts,
        restored: bool,
    ) -> Result<Vec<(Labels, f64)>, Error> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for (labels, value) in self.query(&self.rule.expr)? {
            let mut builder = labels.filtered(|name| name != "__name__").to_builder();
            for label in &self.rule.labels {
                builder.set(&label.name, self.expanded(label, &labels, value));
            }
            builder.set("alertname", self.rule.name.as_str());
            let alert = builder.build();
            if !seen.insert(alert.clone()) {
                return Err(Error::Execution(
                    "vector contains metrics with the same labelset after applying alert labels".into(),
                ));
            }
            let annotations = spec.annotations.iter();
            let annotations =
                annotations.map(|one| (one.name.clone(), self.expanded(one, &labels, value))).collect();
            found.push(Found { labels: alert, annotations, value });
        }
        let before = if restored || found.is_empty() { HashMap::new() } else { self.stored_state(spec)? };
        let active = alerts.update(spec, found, self.at_ms, &|labels| before.get(labels).copied());
        if self.limit > 0 && active > self.limit {
            alerts.clear();
        }
        self.within_limit(active, "alerts")?;
        let mut given = Vec::new();
        for alert in alerts.active() {
            let mut builder = alert.labels.to_builder();
            builder.set("__name__", "ALERTS_FOR_STATE");
            given.push((builder.build(), (alert.active_at_ms / 1000) as f64));
            builder.set("__name__", "ALERTS").set("alertstate", alert.state.as_str());
            given.push((builder.build(), 1.0));
        }
        Ok(given)
    }

    fn within_limit(&self, count: usize, what: &str) -> Result<(), Error> {
        if self.limit > 0 && count > self.limit {
            return Err(Error::Execution(format!("exceeded limit of {} with {count} {what}", self.limit)));
        }
        Ok(())
    }

    /// Text of a label or annotation; a template that fails says so in its place, as in Prometheus.
    fn expanded(&self, templated: &Templated, labels: &Labels, value: f64) -> String {
        let query = |expr: &str| self.query(expr).map_err(|error| error.to_string());
        let data = Data {
            labels,
            external_labels: &self.scope.external_labels,
            external_url: &self.scope.config.external_url,
            value,
            at_ms: self.at_ms,
            query: &query,
        };
        templated.template.expand(&data).unwrap_or_else(|error| {
            tracing::warn!(rule = %self.rule.name, field = %templated.name, %error, "a template could not be filled in");
            format!("<error expanding template: {error}>")
        })
    }

    /// Since when the alerts of this rule were active before a restart.
    fn stored_state(&self, spec: &AlertSpec) -> Result<HashMap<Labels, i64>, Error> {
        let matchers = vec![equal("__name__", "ALERTS_FOR_STATE"), equal("alertname", &self.rule.name)];
        let since = self.sample_ms - OUTAGE_TOLERANCE_MS;
        let hold_ms = spec.hold.as_millis() as i64;
        let found = latest(self.scope, matchers, since, self.sample_ms, &self.guard)?;
        Ok(found
            .into_iter()
            .filter(|(_, _, value)| !is_stale(*value))
            .map(|(labels, down_ms, active_seconds)| {
                let active_ms = (active_seconds * 1000.0) as i64;
                let active = restored_active_at(active_ms, down_ms, self.sample_ms, hold_ms, GRACE_MS);
                (labels.filtered(|name| name != "__name__"), active)
            })
            .collect())
    }
}

fn equal(name: &str, value: &str) -> Matcher {
    Matcher { name: name.to_owned(), test: MatchTest::Equal(value.to_owned()) }
}

/// The latest sample of each series that matches.
fn latest(
    scope: &Scope,
    matchers: Vec<Matcher>,
    start_ms: i64,
    end_ms: i64,
    guard: &Guard,
) -> Result<Vec<(Labels, i64, f64)>, Error> {
    let select = Select { matchers, start_ms, end_ms, hints: Hints::default() };
    let selected = scope.source.select(&select, guard)?;
    let mut found = Vec::with_capacity(selected.series.len());
    let mut points = Points::default();
    for (i, labels) in selected.series.iter().enumerate() {
        points.clear();
        selected.reader.read(i, guard, &mut points)?;
        if let (Some(t_ms), Some(value)) = (points.timestamps.last(), points.values.last()) {
            found.push((labels.clone(), *t_ms, *value));
        }
    }
    Ok(found)
}

/// What is told of an alert. A firing one ends by itself when nobody says it again.
fn notification(alert: Alert, rule: &RuleSpec, valid_until_ms: i64) -> Notification {
    Notification {
        is_firing: alert.state == AlertState::Firing,
        starts_at_ms: alert.fired_at_ms,
        ends_at_ms: alert.resolved_at_ms.unwrap_or(valid_until_ms),
        labels: alert.labels,
        annotations: alert.annotations,
        expr: rule.expr.clone(),
    }
}
