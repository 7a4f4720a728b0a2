//! Kubernetes' rules from requests and limits to kernel numbers.

use super::spec::{Amounts, Qos};

/// `oom_score_adj` that a container starts with, as the kubelet sets it.
///
/// A burstable container that asked for a large part of the node's memory is killed late: its adjustment is
/// 1000 less its thousandths of the node, between 3 and 999. Without a capacity it counts as asking for
/// nothing.
pub(crate) fn oom_score_adj(qos: Qos, memory_request: u64, memory_capacity: u64) -> i32 {
    match qos {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let thousandths = (u128::from(memory_request) * 1000)
                .checked_div(u128::from(memory_capacity))
                .unwrap_or(0)
                .min(1000);
            (1000 - thousandths as i32).clamp(3, 999)
        }
    }
}

/// Relative CPU weight in cgroup v1's unit (1024 a core), from the request, else from the limit.
pub(crate) fn cpu_shares(requests: Amounts, limits: Amounts) -> u64 {
    let millis = if requests.cpu_millis > 0 { requests.cpu_millis } else { limits.cpu_millis };
    (millis * 1024 / 1000).clamp(2, 262_144)
}

/// The same weight in cgroup v2's unit (1 … 10000), by the formula container runtimes share.
pub(crate) fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Length of a CPU bandwidth period in microseconds, as the kubelet sets it.
pub(crate) const CPU_PERIOD_US: u64 = 100_000;

/// CPU time per period in microseconds, or `None` without a limit. The kernel takes no less than 1 ms.
pub(crate) fn cpu_quota_us(limit_millis: u64) -> Option<u64> {
    (limit_millis > 0).then(|| (limit_millis * CPU_PERIOD_US / 1000).max(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_examples() {
        let gib = 1 << 30;
        assert_eq!(oom_score_adj(Qos::Guaranteed, gib, 4 * gib), -997);
        assert_eq!(oom_score_adj(Qos::BestEffort, 0, 4 * gib), 1000);
        assert_eq!(oom_score_adj(Qos::Burstable, gib, 4 * gib), 750);
        assert_eq!(oom_score_adj(Qos::Burstable, 0, 4 * gib), 999);
        assert_eq!(oom_score_adj(Qos::Burstable, 4 * gib, 4 * gib), 3);
        assert_eq!(oom_score_adj(Qos::Burstable, gib, 0), 999);
    }

    #[test]
    fn shares_weight_and_quota() {
        let amounts = |cpu_millis| Amounts { cpu_millis, memory_bytes: 0 };
        assert_eq!(cpu_shares(amounts(500), amounts(1000)), 512);
        assert_eq!(cpu_shares(amounts(0), amounts(1000)), 1024);
        assert_eq!(cpu_shares(amounts(0), amounts(0)), 2);
        assert_eq!(cpu_weight(2), 1);
        assert_eq!(cpu_weight(1024), 39);
        assert_eq!(cpu_weight(262_144), 10_000);
        assert_eq!(cpu_quota_us(250), Some(25_000));
        assert_eq!(cpu_quota_us(1), Some(1000));
        assert_eq!(cpu_quota_us(0), None);
    }
}
