//! Trend, probability, score, rank.

use std::cmp::Ordering;

use super::{Assessment, Config, Knowledge, Subject, base_adj};
use crate::decide::Qos;
use crate::decide::statistics::{Line, normal_below, theil_sen};

/// Most points that a trend is fitted through: the newest. The fit is quadratic.
const MAX_POINTS: usize = 120;

/// Burstable containers move up to here.
const BURSTABLE_TOP: i32 = 999;

/// The node's own memory, all containers together.
pub(super) struct Outlook {
    pub time_to_oom_s: Option<f64>,
    pub probability: f64,
}

fn newest(subject: &Subject, config: &Config, now_ms: i64) -> (Knowledge, Option<(i64, f64)>) {
    match subject.working_set.last() {
        None => (Knowledge::Missing, None),
        Some(last) if now_ms - last.0 > config.max_age_ms => (Knowledge::Stale, Some(*last)),
        Some(last) => (Knowledge::Level, Some(*last)),
    }
}

fn trend(subject: &Subject, config: &Config) -> Option<Line> {
    let points = &subject.working_set[subject.working_set.len().saturating_sub(MAX_POINTS)..];
    let span_ms = points.last()?.0 - points.first()?.0;
    if span_ms < config.min_span_ms { None } else { theil_sen(points) }
}

/// Probability that `level` plus growth passes `room` within the cool-down.
fn exceeds(line: &Line, headroom: f64, age_s: f64, config: &Config) -> f64 {
    let ahead_s = config.cool_down_ms as f64 / 1000.0 + age_s;
    let grown = line.slope * ahead_s;
    // At least a thousandth of the headroom, so that a perfectly straight line is not infinitely sure.
    let sigma = line.residual.hypot(line.slope_error * ahead_s).max(headroom.abs() * 1e-3).max(1.0);
    normal_below((grown - headroom) / sigma)
}

fn time_to(line: &Line, headroom: f64, age_s: f64) -> Option<f64> {
    // Less than a byte a second is rest, not growth.
    if line.slope < 1.0 { None } else { Some((headroom.max(0.0) / line.slope - age_s).max(0.0)) }
}

/// Containers whose memory is unknown count with their request, and with no growth.
pub(super) fn node_outlook(capacity: u64, subjects: &[Subject], config: &Config, now_ms: i64) -> Outlook {
    let mut sum = Line { slope: 0.0, level: 0.0, slope_error: 0.0, residual: 0.0 };
    for subject in subjects {
        let (knowledge, last) = newest(subject, config, now_ms);
        match (knowledge, trend(subject, config), last) {
            (Knowledge::Level, Some(line), _) => {
                sum.slope += line.slope;
                sum.level += line.level;
                sum.slope_error = sum.slope_error.hypot(line.slope_error);
                sum.residual = sum.residual.hypot(line.residual);
            }
            (Knowledge::Level, None, Some((_, bytes))) => sum.level += bytes,
            _ => sum.level += subject.request_bytes as f64,
        }
    }
    if capacity == 0 {
        return Outlook { time_to_oom_s: None, probability: 0.0 };
    }
    let headroom = capacity as f64 - sum.level;
    Outlook {
        time_to_oom_s: time_to(&sum, headroom, 0.0),
        probability: if sum.slope < 1.0 && headroom > 0.0 {
            0.0
        } else {
            exceeds(&sum, headroom, 0.0, config)
        },
    }
}

pub(super) fn assess(
    subject: &Subject,
    capacity: u64,
    outlook: &Outlook,
    config: &Config,
    now_ms: i64,
) -> Assessment {
    let (mut knowledge, last) = newest(subject, config, now_ms);
    let age_ms = last.map(|(t_ms, _)| now_ms - t_ms);
    let age_s = age_ms.unwrap_or(0).max(0) as f64 / 1000.0;
    let mut working_set = last.filter(|_| knowledge == Knowledge::Level).map(|(_, bytes)| bytes);
    let mut slope = None;
    let mut time_to_oom_s = None;
    let mut own = 0.0;
    let line = if knowledge == Knowledge::Level { trend(subject, config) } else { None };
    if let Some(line) = line {
        knowledge = Knowledge::Trend;
        working_set = Some(line.level.max(0.0));
        slope = Some(line.slope);
        if let Some(limit) = subject.limit_bytes {
            let headroom = limit as f64 - line.level;
            time_to_oom_s = time_to(&line, headroom, age_s);
            own = if line.slope < 1.0 && headroom > 0.0 {
                0.0
            } else {
                exceeds(&line, headroom, age_s, config)
            };
        }
    }
    let mut probability = own.max(outlook.probability);
    // Waiting for memory means that the kernel already reclaims: what looks uncertain is less so.
    if let Some(pressure) = subject.pressure.filter(|_| probability > 0.0) {
        probability = 1.0 - (1.0 - probability) * (1.0 - pressure.clamp(0.0, 1.0));
    }
    let above = (working_set.unwrap_or(0.0) - subject.request_bytes as f64).max(0.0);
    let base = base_adj(subject.qos, subject.request_bytes, capacity);
    Assessment {
        uid: subject.uid.clone(),
        namespace: subject.namespace.clone(),
        pod: subject.pod.clone(),
        container: subject.container.clone(),
        qos: subject.qos,
        knowledge,
        age_ms,
        working_set_bytes: working_set,
        limit_bytes: subject.limit_bytes,
        slope,
        time_to_oom_s,
        probability,
        score: above * probability * subject.restart_cost,
        base_adj: base,
        target_adj: base,
        observed_adj: subject.observed_adj,
        write: false,
    }
}

/// BestEffort before Burstable before Guaranteed; within a class the higher score, then the larger
/// working set, then the name so that equal ones do not change places.
pub(super) fn first_to_go(a: &Assessment, b: &Assessment) -> Ordering {
    a.qos
        .cmp(&b.qos)
        .then(b.score.total_cmp(&a.score))
        .then(b.working_set_bytes.unwrap_or(0.0).total_cmp(&a.working_set_bytes.unwrap_or(0.0)))
        .then_with(|| (&a.namespace, &a.pod, &a.container).cmp(&(&b.namespace, &b.pod, &b.container)))
}

/// Burstable containers rise from their base towards 999 by their probability, and never past one
/// that should go before them. Without a fresh sample the base stands.
pub(super) fn set_targets(containers: &mut [Assessment], config: &Config) {
    let mut ceiling = BURSTABLE_TOP;
    for c in containers.iter_mut() {
        if c.qos == Qos::Burstable && c.score > 0.0 {
            let raised = f64::from(c.base_adj) + f64::from(BURSTABLE_TOP - c.base_adj) * c.probability;
            // Rank within the class, but never below what Kubernetes itself would give.
            c.target_adj = (raised.round() as i32).min(ceiling).max(c.base_adj);
            ceiling = (c.target_adj - 1).max(3);
        }
        c.write = (c.target_adj - c.observed_adj).abs() >= config.adj_step
            || (c.target_adj != c.observed_adj && c.target_adj == c.base_adj);
    }
}

/// The kernel kills the largest sum of memory share (in thousandths) and `oom_score_adj`; −1000 is
/// never killed.
pub(super) fn kernel_choice(containers: &[Assessment], capacity: u64) -> Option<String> {
    let badness = |c: &Assessment| {
        c.working_set_bytes.unwrap_or(0.0) * 1000.0 / capacity.max(1) as f64 + f64::from(c.observed_adj)
    };
    containers
        .iter()
        .filter(|c| c.observed_adj > -1000)
        .max_by(|a, b| badness(a).total_cmp(&badness(b)))
        .map(|c| format!("{}/{}/{}", c.namespace, c.pod, c.container))
}
