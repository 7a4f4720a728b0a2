//! The state of one alerting rule: which alerts are pending, firing, or just resolved.

use std::collections::HashMap;

use binnacle_proto::Labels;

use super::file::AlertSpec;
use super::view::{AlertState, AlertView};

/// How long a resolved alert is remembered, so that its end is sent more than once, in milliseconds.
const RESOLVED_RETENTION_MS: i64 = 15 * 60_000;

/// One alert.
#[derive(Debug, Clone)]
pub(super) struct Alert {
    pub(super) labels: Labels,
    pub(super) annotations: Vec<(String, String)>,
    pub(super) state: AlertState,
    pub(super) value: f64,
    pub(super) active_at_ms: i64,
    pub(super) fired_at_ms: i64,
    pub(super) resolved_at_ms: Option<i64>,
    pub(super) keep_firing_since_ms: Option<i64>,
    pub(super) last_sent_ms: Option<i64>,
}

/// What one evaluation found for one label set.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) labels: Labels,
    pub(super) annotations: Vec<(String, String)>,
    pub(super) value: f64,
}

/// The alerts of a rule.
#[derive(Debug, Clone, Default)]
pub(super) struct Alerts {
    by_labels: HashMap<Labels, Alert>,
}

impl Alerts {
    /// Takes over what an evaluation at `at_ms` found; the number of alerts pending or firing.
    ///
    /// `restored` answers since when an alert that is new to this process was active before a restart.
    pub(super) fn update(
        &mut self,
        spec: &AlertSpec,
        found: Vec<Found>,
        at_ms: i64,
        restored: &dyn Fn(&Labels) -> Option<i64>,
    ) -> usize {
        let hold_ms = spec.hold.as_millis() as i64;
        let keep_ms = spec.keep_firing.as_millis() as i64;
        let seen: std::collections::HashSet<Labels> = found.iter().map(|one| one.labels.clone()).collect();
        for one in found {
            match self.by_labels.get_mut(&one.labels) {
                Some(alert) if alert.state != AlertState::Inactive => {
                    alert.value = one.value;
                    alert.annotations = one.annotations;
                    alert.keep_firing_since_ms = None;
                }
                _ => {
                    let alert = Alert {
                        active_at_ms: restored(&one.labels).unwrap_or(at_ms),
                        labels: one.labels.clone(),
                        annotations: one.annotations,
                        state: AlertState::Pending,
                        value: one.value,
                        fired_at_ms: 0,
                        resolved_at_ms: None,
                        keep_firing_since_ms: None,
                        last_sent_ms: None,
                    };
                    self.by_labels.insert(one.labels, alert);
                }
            }
        }
        self.by_labels.retain(|labels, alert| {
            if seen.contains(labels) {
                return true;
            }
            if alert.state == AlertState::Firing && keep_ms > 0 {
                let since = *alert.keep_firing_since_ms.get_or_insert(at_ms);
                if at_ms - since < keep_ms {
                    return true;
                }
            }
            let forgotten = alert.resolved_at_ms.is_some_and(|at| at_ms - at > RESOLVED_RETENTION_MS);
            if alert.state == AlertState::Pending || forgotten {
                return false;
            }
            if alert.state != AlertState::Inactive {
                alert.state = AlertState::Inactive;
                alert.resolved_at_ms = Some(at_ms);
            }
            true
        });
        let mut active = 0;
        for alert in self.by_labels.values_mut().filter(|alert| alert.state != AlertState::Inactive) {
            active += 1;
            if alert.state == AlertState::Pending && at_ms - alert.active_at_ms >= hold_ms {
                alert.state = AlertState::Firing;
                alert.fired_at_ms = at_ms;
            }
        }
        active
    }

    pub(super) fn clear(&mut self) {
        self.by_labels.clear();
    }

    /// Pending and firing alerts.
    pub(super) fn active(&self) -> impl Iterator<Item = &Alert> {
        self.by_labels.values().filter(|alert| alert.state != AlertState::Inactive)
    }

    /// Alerts that must be told now: newly firing, newly resolved, or due again. Marks them as sent.
    pub(super) fn due(&mut self, at_ms: i64, resend_ms: i64) -> Vec<Alert> {
        let mut due = Vec::new();
        for alert in self.by_labels.values_mut() {
            let is_due = match (alert.state, alert.resolved_at_ms, alert.last_sent_ms) {
                (AlertState::Pending, ..) => false,
                (_, _, None) => alert.state == AlertState::Firing,
                (_, Some(resolved), Some(sent)) if resolved > sent => true,
                (_, _, Some(sent)) => sent + resend_ms <= at_ms,
            };
            if is_due {
                alert.last_sent_ms = Some(at_ms);
                due.push(alert.clone());
            }
        }
        due
    }

    pub(super) fn views(&self) -> Vec<AlertView> {
        let mut views: Vec<AlertView> = self
            .active()
            .map(|alert| AlertView {
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                state: alert.state,
                active_at_ms: alert.active_at_ms,
                keep_firing_since_ms: alert.keep_firing_since_ms,
                value: alert.value,
            })
            .collect();
        views.sort_by(|a, b| a.labels.cmp(&b.labels));
        views
    }
}

/// Since when an alert counts as active after a restart: `active_ms` is what was stored, `down_ms`
/// when it was last stored. Pending time spent before the restart counts; of what is left at least
/// `grace_ms` are waited, so that targets can come back first.
pub(super) fn restored_active_at(
    active_ms: i64,
    down_ms: i64,
    at_ms: i64,
    hold_ms: i64,
    grace_ms: i64,
) -> i64 {
    let left = hold_ms - (down_ms - active_ms);
    if left <= 0 {
        active_ms
    } else if left < grace_ms {
        at_ms + grace_ms - hold_ms
    } else {
        active_ms + (at_ms - down_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn labels() -> Labels {
        Labels::from_pairs([("alertname", "A")]).unwrap()
    }

    fn found() -> Vec<Found> {
        vec![Found { labels: labels(), annotations: Vec::new(), value: 1.0 }]
    }

    fn state(alerts: &Alerts) -> Option<AlertState> {
        alerts.active().next().map(|alert| alert.state)
    }

    #[test]
    fn an_alert_is_pending_then_firing_then_resolved_and_told_each_time() {
        let spec =
            AlertSpec { hold: Duration::from_secs(60), keep_firing: Duration::ZERO, annotations: Vec::new() };
        let mut alerts = Alerts::default();
        alerts.update(&spec, found(), 0, &|_| None);
        assert_eq!(state(&alerts), Some(AlertState::Pending));
        assert!(alerts.due(0, 60_000).is_empty());
        alerts.update(&spec, found(), 60_000, &|_| None);
        assert_eq!(state(&alerts), Some(AlertState::Firing));
        assert_eq!(alerts.due(60_000, 60_000).len(), 1);
        assert!(alerts.due(90_000, 60_000).is_empty());
        assert_eq!(alerts.due(120_000, 60_000).len(), 1);
        alerts.update(&spec, Vec::new(), 130_000, &|_| None);
        assert_eq!(state(&alerts), None);
        let due = alerts.due(130_000, 60_000);
        assert_eq!(due[0].resolved_at_ms, Some(130_000));
        alerts.update(&spec, Vec::new(), 130_000 + RESOLVED_RETENTION_MS + 1, &|_| None);
        assert!(alerts.due(i64::MAX / 2, 60_000).is_empty());
    }

    #[test]
    fn keep_firing_for_bridges_a_gap() {
        let spec =
            AlertSpec { hold: Duration::ZERO, keep_firing: Duration::from_secs(60), annotations: Vec::new() };
        let mut alerts = Alerts::default();
        alerts.update(&spec, found(), 0, &|_| None);
        alerts.update(&spec, Vec::new(), 30_000, &|_| None);
        assert_eq!(state(&alerts), Some(AlertState::Firing));
        alerts.update(&spec, Vec::new(), 89_000, &|_| None);
        assert_eq!(state(&alerts), Some(AlertState::Firing));
        alerts.update(&spec, Vec::new(), 90_000, &|_| None);
        assert_eq!(state(&alerts), None);
    }

    #[test]
    fn pending_time_survives_a_restart() {
        // Was firing.
        assert_eq!(restored_active_at(0, 100, 500, 60, 10), 0);
        // A little was left: at least the grace period is waited.
        assert_eq!(restored_active_at(0, 55, 500, 60, 10), 450);
        // Much was left: the downtime does not count.
        assert_eq!(restored_active_at(0, 20, 500, 60, 10), 480);
    }
}
