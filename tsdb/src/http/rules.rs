//! `rules`, `alerts` and `alertmanagers`.

use std::collections::BTreeMap;

use axum::extract::State;
use serde_json::{Map, Value, json};

use super::Api;
use super::answer::{ApiError, Outcome, success};
use super::params::Params;
use super::status::rfc3339;
use crate::rules::{AlertView, GroupView, RuleKind, RuleView};
use crate::select::Matcher;

/// `GET /api/v1/rules`: `type`, `rule_name[]`, `rule_group[]`, `file[]`, `match[]`, `exclude_alerts`,
/// `group_limit`, `group_next_token`.
pub(super) async fn rules(State(api): State<Api>, params: Params) -> Outcome {
    let wanted = Wanted::read(&params)?;
    let (limit, after) = (params.limit("group_limit")?, params.one("group_next_token"));
    if after.is_some() && limit.is_none() {
        return Err(ApiError::parameter("group_next_token", "group_limit needs to be given with it"));
    }
    let mut groups = api.rules().map(|rules| rules.groups()).unwrap_or_default();
    groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    if let Some(after) = after {
        let Some(at) = groups.iter().position(|group| token(group) == after) else {
            return Err(ApiError::parameter("group_next_token", "there is no such group any more"));
        };
        groups.drain(..=at);
    }
    let mut shown = Vec::new();
    let mut next = None;
    let mut previous = String::new();
    for group in &groups {
        let rules: Vec<Value> = group
            .rules
            .iter()
            .filter(|rule| wanted.rule(group, rule))
            .map(|rule| wanted.show(rule))
            .collect();
        if rules.is_empty() && wanted.is_filtered {
            continue;
        }
        if limit.is_some_and(|limit| shown.len() >= limit) {
            next = Some(previous);
            break;
        }
        previous = token(group);
        shown.push(json!({
            "name": group.name,
            "file": group.file,
            "rules": rules,
            "interval": group.interval_seconds,
            "limit": group.limit,
            "evaluationTime": group.evaluation_seconds,
            "lastEvaluation": evaluated_at(group.last_evaluation_ms),
        }));
    }
    let mut data = json!({ "groups": shown });
    if let (Some(next), Some(fields)) = (next, data.as_object_mut()) {
        fields.insert("groupNextToken".into(), next.into());
    }
    success(&data)
}

/// `GET /api/v1/alerts`: all that are pending or firing.
pub(super) async fn alerts(State(api): State<Api>) -> Outcome {
    let groups = api.rules().map(|rules| rules.groups()).unwrap_or_default();
    let mut shown = Vec::new();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        if let RuleKind::Alerting { alerts, .. } = &rule.kind {
            shown.extend(alerts.iter().map(alert));
        }
    }
    success(&json!({ "alerts": shown }))
}

/// `GET /api/v1/alertmanagers`.
pub(super) async fn alertmanagers(State(api): State<Api>) -> Outcome {
    let addresses = api.rules().map(|rules| rules.alertmanagers()).unwrap_or_default();
    let active: Vec<Value> = addresses.iter().map(|url| json!({ "url": url })).collect();
    success(&json!({ "activeAlertmanagers": active, "droppedAlertmanagers": [] }))
}

/// Which rules were asked for.
struct Wanted {
    kind: Option<bool>,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<Vec<Matcher>>,
    without_alerts: bool,
    is_filtered: bool,
}

impl Wanted {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let kind = match params.one("type").map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("alert") => Some(true),
            Some("record") => Some(false),
            Some(other) => {
                return Err(ApiError::parameter(
                    "type",
                    format!("not supported value {other:?}: use alert or record"),
                ));
            }
        };
        let without_alerts = match params.one("exclude_alerts") {
            None => false,
            Some(text) => text.parse().map_err(|_| {
                ApiError::parameter("exclude_alerts", format!("{text:?} is not true or false"))
            })?,
        };
        let all = |name| params.all(name).map(str::to_owned).collect::<Vec<_>>();
        let mut wanted = Self {
            kind,
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            selectors: params.selectors()?,
            without_alerts,
            is_filtered: false,
        };
        wanted.is_filtered = wanted.kind.is_some()
            || ![&wanted.names, &wanted.groups, &wanted.files].iter().all(|given| given.is_empty())
            || !wanted.selectors.is_empty();
        Ok(wanted)
    }

    fn rule(&self, group: &GroupView, rule: &RuleView) -> bool {
        let given = |allowed: &[String], have: &String| allowed.is_empty() || allowed.contains(have);
        let is_alerting = matches!(rule.kind, RuleKind::Alerting { .. });
        let label =
            |name: &str| rule.labels.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value);
        self.kind.is_none_or(|alerting| alerting == is_alerting)
            && given(&self.names, &rule.name)
            && given(&self.groups, &group.name)
            && given(&self.files, &group.file)
            && (self.selectors.is_empty()
                || self.selectors.iter().any(|matchers| {
                    matchers.iter().all(|matcher| matcher.matches_value(label(&matcher.name)))
                }))
    }

    fn show(&self, rule: &RuleView) -> Value {
        let mut fields = Map::new();
        fields.insert("name".into(), rule.name.clone().into());
        fields.insert("query".into(), rule.query.clone().into());
        // Prometheus leaves out what a recording rule does not set.
        if !rule.labels.is_empty() || matches!(rule.kind, RuleKind::Alerting { .. }) {
            fields.insert("labels".into(), pairs(&rule.labels));
        }
        fields.insert("health".into(), rule.health.as_str().into());
        if let Some(error) = &rule.last_error {
            fields.insert("lastError".into(), error.clone().into());
        }
        fields.insert("evaluationTime".into(), rule.evaluation_seconds.into());
        fields.insert("lastEvaluation".into(), evaluated_at(rule.last_evaluation_ms).into());
        match &rule.kind {
            RuleKind::Recording => {
                fields.insert("type".into(), "recording".into());
            }
            RuleKind::Alerting { for_seconds, keep_firing_seconds, annotations, alerts } => {
                fields.insert("type".into(), "alerting".into());
                fields.insert("state".into(), rule.state().as_str().into());
                fields.insert("duration".into(), (*for_seconds).into());
                fields.insert("keepFiringFor".into(), (*keep_firing_seconds).into());
                fields.insert("annotations".into(), pairs(annotations));
                let shown: Vec<Value> =
                    if self.without_alerts { Vec::new() } else { alerts.iter().map(alert).collect() };
                fields.insert("alerts".into(), shown.into());
            }
        }
        Value::Object(fields)
    }
}

fn alert(alert: &AlertView) -> Value {
    let labels: BTreeMap<&str, &str> = alert.labels.iter().collect();
    let mut shown = json!({
        "labels": labels,
        "annotations": pairs(&alert.annotations),
        "state": alert.state.as_str(),
        "activeAt": rfc3339(alert.active_at_ms),
        "value": crate::rules::go_exponent(alert.value),
    });
    if let (Some(since), Some(fields)) = (alert.keep_firing_since_ms, shown.as_object_mut()) {
        fields.insert("keepFiringSince".into(), rfc3339(since).into());
    }
    shown
}

fn pairs(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect())
}

fn token(group: &GroupView) -> String {
    format!("{:016x}", twox_hash::XxHash3_64::oneshot(format!("{}\0{}", group.file, group.name).as_bytes()))
}

/// Go's zero time stands for "never".
fn evaluated_at(t_ms: i64) -> String {
    if t_ms == 0 { "0001-01-01T00:00:00Z".into() } else { rfc3339(t_ms) }
}
