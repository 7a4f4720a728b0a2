//! Stabilisation and limits: how far a proposal may be followed now.

use super::HpaSpec;
use super::model::{Config, Decision, HpaState, PolicyKind, Recommendation, Rules, ScaleEvent, SelectPolicy};

/// Turns a proposal into the size to set: first the most cautious recommendation of each window,
/// then the policies and `minReplicas`/`maxReplicas`. Fills conditions and state of `decision`.
pub(super) fn normalize(
    spec: &HpaSpec,
    current: u32,
    proposed: u32,
    config: &Config,
    decision: &mut Decision,
    now_ms: i64,
) -> u32 {
    let down_ms = spec.behavior.down.stabilization_ms.unwrap_or(config.downscale_stabilization_ms);
    let windows = (spec.behavior.up.stabilization_ms.unwrap_or(0), down_ms);
    let stabilized = stabilize(windows, current, proposed, &mut decision.state, now_ms);
    decision.stabilized = Some(stabilized);
    let (reason, message) = if stabilized == proposed {
        ("ReadyForNewScale", "recommended size matches current size")
    } else if proposed >= current {
        (
            "ScaleUpStabilized",
            "recent recommendations were lower than current one, applying the lowest recent recommendation",
        )
    } else {
        (
            "ScaleDownStabilized",
            "recent recommendations were higher than current one, applying the highest recent recommendation",
        )
    };
    decision.set_condition("AbleToScale", true, reason, message);
    let (desired, reason, message) = limit(spec, current, stabilized, &decision.state, now_ms);
    let limited = desired != stabilized;
    decision.limited = limited.then_some(reason);
    decision.set_condition("ScalingLimited", limited, reason, message);
    desired
}

/// The current size, pulled up to the least recommendation of the up window and down to the largest
/// of the down window.
fn stabilize(
    (up_ms, down_ms): (i64, i64),
    current: u32,
    proposed: u32,
    state: &mut HpaState,
    now_ms: i64,
) -> u32 {
    let (up_after, down_after) = (now_ms - up_ms, now_ms - down_ms);
    let (mut up, mut down) = (proposed, proposed);
    for past in &state.recommendations {
        if past.t_ms > up_after {
            up = up.min(past.replicas);
        }
        if past.t_ms > down_after {
            down = down.max(past.replicas);
        }
    }
    state.recommendations.retain(|past| past.t_ms > up_after.min(down_after));
    state.recommendations.push(Recommendation { t_ms: now_ms, replicas: proposed });
    current.max(up).min(down)
}

fn limit(
    spec: &HpaSpec,
    current: u32,
    wanted: u32,
    state: &HpaState,
    now_ms: i64,
) -> (u32, &'static str, &'static str) {
    if wanted > current {
        let by_rate = up_limit(&spec.behavior.up, current, state, now_ms).max(current);
        let (most, reason, message) = if spec.max_replicas > by_rate {
            (
                by_rate,
                "ScaleUpLimit",
                "the desired replica count is increasing faster than the maximum scale rate",
            )
        } else {
            (
                spec.max_replicas,
                "TooManyReplicas",
                "the desired replica count is more than the maximum replica count",
            )
        };
        if wanted > most {
            return (most, reason, message);
        }
    } else if wanted < current {
        let by_rate = down_limit(&spec.behavior.down, current, state, now_ms).min(current);
        let (least, reason, message) = if spec.min_replicas < by_rate {
            (
                by_rate,
                "ScaleDownLimit",
                "the desired replica count is decreasing faster than the maximum scale rate",
            )
        } else {
            (
                spec.min_replicas,
                "TooFewReplicas",
                "the desired replica count is less than the minimum replica count",
            )
        };
        if wanted < least {
            return (least, reason, message);
        }
    }
    (wanted, "DesiredWithinRange", "the desired count is within the acceptable range")
}

/// Sum of changes that are younger than `period_ms`.
fn changed(events: &[ScaleEvent], period_ms: i64, now_ms: i64) -> i64 {
    events.iter().filter(|e| e.t_ms > now_ms - period_ms).map(|e| i64::from(e.change)).sum()
}

fn up_limit(rules: &Rules, current: u32, state: &HpaState, now_ms: i64) -> u32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = i64::from(current) - changed(&state.ups, policy.period_ms, now_ms)
            + changed(&state.downs, policy.period_ms, now_ms);
        match policy.kind {
            PolicyKind::Pods => start + i64::from(policy.value),
            PolicyKind::Percent => (start as f64 * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i64,
        }
    });
    let limit = match rules.select {
        SelectPolicy::Disabled => return current,
        SelectPolicy::Max => limits.max(),
        SelectPolicy::Min => limits.min(),
    };
    u32::try_from(limit.unwrap_or(i64::from(current)).max(0)).unwrap_or(u32::MAX)
}

fn down_limit(rules: &Rules, current: u32, state: &HpaState, now_ms: i64) -> u32 {
    let limits = rules.policies.iter().map(|policy| {
        let start = i64::from(current) - changed(&state.ups, policy.period_ms, now_ms)
            + changed(&state.downs, policy.period_ms, now_ms);
        match policy.kind {
            PolicyKind::Pods => start - i64::from(policy.value),
            PolicyKind::Percent => (start as f64 * (1.0 - f64::from(policy.value) / 100.0)).trunc() as i64,
        }
    });
    let limit = match rules.select {
        SelectPolicy::Disabled => return current,
        SelectPolicy::Max => limits.min(),
        SelectPolicy::Min => limits.max(),
    };
    u32::try_from(limit.unwrap_or(i64::from(current)).max(0)).unwrap_or(u32::MAX)
}

/// Adds the change to the events that the policies count, and drops those that no policy needs.
pub(super) fn remember_scaling(state: &mut HpaState, spec: &HpaSpec, from: u32, to: u32, now_ms: i64) {
    let longest = |rules: &Rules| rules.policies.iter().map(|p| p.period_ms).max().unwrap_or(0);
    let keep = longest(&spec.behavior.up).max(longest(&spec.behavior.down));
    for events in [&mut state.ups, &mut state.downs] {
        events.retain(|event| event.t_ms > now_ms - keep);
    }
    let event = ScaleEvent { t_ms: now_ms, change: from.abs_diff(to) };
    if to > from {
        state.ups.push(event)
    } else {
        state.downs.push(event)
    }
    state.last_scale_ms = Some(now_ms);
}
