//! cAdvisor-shaped series: 20 a container, with the kinds of numbers that a kernel gives.

use std::time::{SystemTime, UNIX_EPOCH};

/// Distance of samples in milliseconds.
pub const INTERVAL_MS: i64 = 15_000;
/// Containers of one pod.
const CONTAINERS_PER_POD: usize = 2;
const NODES: usize = 10;
const NAMESPACES: usize = 20;

/// How a value moves from one sample to the next.
#[derive(Clone, Copy)]
enum Motion {
    /// Seconds with nanosecond digits, always growing.
    CpuSeconds,
    /// Bytes in whole pages, up and down.
    Pages,
    /// A byte or packet counter.
    Counter(u64),
    /// A counter that rarely moves.
    Rare,
    /// The same for good.
    Constant(f64),
}

const METRICS: [(&str, Motion); 20] = [
    ("container_cpu_usage_seconds_total", Motion::CpuSeconds),
    ("container_cpu_user_seconds_total", Motion::CpuSeconds),
    ("container_cpu_system_seconds_total", Motion::CpuSeconds),
    ("container_cpu_cfs_periods_total", Motion::Counter(150)),
    ("container_cpu_cfs_throttled_periods_total", Motion::Rare),
    ("container_memory_usage_bytes", Motion::Pages),
    ("container_memory_working_set_bytes", Motion::Pages),
    ("container_memory_rss", Motion::Pages),
    ("container_memory_cache", Motion::Pages),
    ("container_memory_failcnt", Motion::Rare),
    ("container_network_receive_bytes_total", Motion::Counter(90_000)),
    ("container_network_transmit_bytes_total", Motion::Counter(60_000)),
    ("container_network_receive_packets_total", Motion::Counter(700)),
    ("container_network_transmit_packets_total", Motion::Counter(500)),
    ("container_fs_reads_bytes_total", Motion::Rare),
    ("container_fs_writes_bytes_total", Motion::Counter(40_000)),
    ("container_processes", Motion::Constant(3.0)),
    ("container_oom_events_total", Motion::Constant(0.0)),
    ("container_spec_memory_limit_bytes", Motion::Constant(536_870_912.0)),
    ("container_start_time_seconds", Motion::Constant(1_700_000_000.0)),
];

/// Names of the metrics.
pub const METRIC_NAMES: [&str; METRICS.len()] = {
    let mut names = [""; METRICS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = METRICS[at].0;
        at += 1;
    }
    names
};

/// The size of a run.
pub struct Shape {
    containers: usize,
    pub steps: usize,
    pub start_ms: i64,
}

impl Shape {
    /// `series` is rounded down to whole pods. The last sample is about a minute old.
    #[expect(clippy::disallowed_methods, reason = "the peers refuse samples that are far from now")]
    pub fn new(series: usize, hours: f64) -> Self {
        let pods = (series / METRICS.len() / CONTAINERS_PER_POD).max(1);
        let steps = (hours * 3_600_000.0 / INTERVAL_MS as f64) as usize;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let start_ms = (now_ms - 60_000 - steps as i64 * INTERVAL_MS) / INTERVAL_MS * INTERVAL_MS;
        Self { containers: pods * CONTAINERS_PER_POD, steps, start_ms }
    }

    pub fn series(&self) -> usize {
        self.containers * METRICS.len()
    }

    pub fn samples(&self) -> usize {
        self.series() * self.steps
    }

    pub fn end_ms(&self) -> i64 {
        self.start_ms + (self.steps as i64 - 1) * INTERVAL_MS
    }

    /// One generator a series.
    pub fn generators(&self) -> Vec<Series> {
        (0..self.containers)
            .flat_map(|container| METRICS.iter().map(move |metric| Series::new(container, metric)))
            .collect()
    }
}

/// One series and its next value.
pub struct Series {
    pub labels: Vec<(&'static str, String)>,
    motion: Motion,
    value: f64,
    /// State of an xorshift generator: the same data in every run.
    random: u64,
}

impl Series {
    fn new(container: usize, (name, motion): &(&'static str, Motion)) -> Self {
        let pod = container / CONTAINERS_PER_POD;
        let id = format!("/kubepods/burstable/pod{pod:08x}-5f0b-4c9a-9d5e-7f4a6c2b1e00/{container:064x}");
        let mut labels = vec![
            ("__name__", (*name).to_owned()),
            ("container", format!("app-{}", container % CONTAINERS_PER_POD)),
            ("id", id),
            ("image", format!("registry.local/team/app-{}:1.{}", pod % 40, pod % 7)),
            ("instance", format!("10.0.0.{}:10250", pod % NODES)),
            ("job", "kubelet".to_owned()),
            ("metrics_path", "/metrics/cadvisor".to_owned()),
            ("name", format!("{container:064x}")),
            ("namespace", format!("team-{}", pod % NAMESPACES)),
            ("node", format!("node-{}", pod % NODES)),
            ("pod", format!("app-{}-{pod:010x}-x{}", pod % 40, pod % 1000)),
        ];
        labels.sort();
        let random = (container as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ name.len() as u64;
        let value = match motion {
            Motion::Constant(value) => *value,
            Motion::Pages => 100e6,
            _ => 0.0,
        };
        Self { labels, motion: *motion, value, random }
    }

    /// The value of the next sample.
    pub fn next(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let dice = self.random >> 16;
        match self.motion {
            Motion::CpuSeconds => {
                let nanoseconds = (self.value * 1e9).round() + (dice % 6_000_000_000) as f64;
                self.value = nanoseconds / 1e9;
            }
            Motion::Pages => {
                let pages = (dice % 129) as f64 - 64.0;
                self.value = (self.value / 4096.0 + pages).max(1.0).round() * 4096.0;
            }
            Motion::Counter(mean) => self.value += (dice % (2 * mean)) as f64,
            Motion::Rare => self.value += f64::from(u8::from(dice.is_multiple_of(200))),
            Motion::Constant(_) => {}
        }
        self.value
    }
}
