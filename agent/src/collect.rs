//! The rounds: every interval, read everything once and hand it to the uplink.

use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::LabelsBuilder;
use tokio::time::MissedTickBehavior;

use crate::agent::Context;
use crate::cgroup::Containers;
use crate::kernel::{Buffer, KernelFile};
use crate::node::Node;
use crate::sample::{Page, Round};
use crate::selfmetrics::{Counter, Gauge, SelfMetrics};
use crate::watch::{Changes, Watch};
use crate::{Config, Error, clock};

/// How long changes are gathered before they are looked at.
const TOGETHER: Duration = Duration::from_millis(300);

/// Everything that is read in a round.
pub(crate) struct Collectors {
    containers: Containers,
    node: Node,
    machine: Machine,
    own: Page,
    process: Process,
    metrics: SelfMetrics,
    rounds: Counter,
    samples: Counter,
    seconds: Gauge,
    /// How large the last round was: the next will be about the same.
    expected: usize,
}

impl Collectors {
    pub(crate) fn new(context: &Context) -> Self {
        let (config, metrics) = (&*context.config, &context.metrics);
        let mut own = LabelsBuilder::new();
        own.set("job", "binnacle-agent")
            .set("instance", config.node.as_str())
            .set("node", config.node.as_str());
        let info = [("version", env!("CARGO_PKG_VERSION")), ("cgroups", &context.cgroups.mode().to_string())];
        metrics.gauge("binnacle_agent_build_info", &info).set(1.0);
        Self {
            containers: Containers::new(config, context.cgroups.clone(), context.registry.clone(), metrics),
            node: Node::new(config, metrics),
            machine: Machine::new(config),
            own: Page::new(own),
            process: Process::new(config, metrics),
            metrics: metrics.clone(),
            rounds: metrics.counter("binnacle_agent_rounds_total", &[]),
            samples: metrics.counter("binnacle_agent_samples_total", &[]),
            seconds: metrics.gauge("binnacle_agent_round_seconds", &[]),
            expected: 0,
        }
    }

    /// Reads cgroups that are new, without waiting for the next round.
    fn newcomers(&mut self) -> Round {
        let mut samples = Vec::new();
        let t_ms = clock::now_ms();
        self.containers.collect_new(&mut samples);
        self.samples.add(samples.len() as u64);
        Round::new(t_ms, samples)
    }

    /// Reads everything once.
    pub(crate) fn round(&mut self) -> Round {
        let begun = clock::instant();
        let t_ms = clock::now_ms();
        let mut samples = Vec::with_capacity(self.expected + self.expected / 16);
        self.containers.collect(t_ms, &mut samples);
        self.machine.collect(&mut samples);
        self.node.collect(&mut samples);
        self.process.collect();
        let mut scrape = self.own.scrape(&mut samples);
        self.metrics.emit(&mut scrape);
        scrape.finish();
        self.expected = samples.len();
        self.rounds.add(1);
        self.samples.add(samples.len() as u64);
        self.seconds.set(clock::instant().duration_since(begun).as_secs_f64());
        Round::new(t_ms, samples)
    }
}

/// Collects until shutdown.
pub(crate) async fn run(context: Context) -> Result<(), Error> {
    let mut collectors = Collectors::new(&context);
    let mut changes = match Watch::new("cgroups", &context.metrics) {
        Ok((watch, changes)) => {
            collectors.containers.watched_by(watch);
            Some(changes)
        }
        Err(error) => {
            tracing::warn!(%error, "cgroups are not watched: new ones are found in each round");
            None
        }
    };
    let mut ticks = tokio::time::interval(context.config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let is_tick = tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => true,
            () = changed(&mut changes) => false,
        };
        // Kernel files may block (a dead NFS server behind a mount): not on the runtime's threads.
        let read = tokio::task::spawn_blocking(move || {
            let round = if is_tick { collectors.round() } else { collectors.newcomers() };
            (collectors, round)
        });
        let (back, round) =
            read.await.map_err(|e| Error::Task { task: "collectors", reason: e.to_string() })?;
        collectors = back;
        if round.samples.is_empty() {
            continue;
        }
        if is_tick && context.config.http.is_some() {
            context.last.set(&round);
        }
        if context.uplink.send_samples(round).await.is_err() {
            return Ok(());
        }
    }
}

/// Waits for changes among the cgroups, and a moment longer: engines make several directories in a row.
async fn changed(changes: &mut Option<Changes>) {
    let Some(watching) = changes else { return std::future::pending().await };
    if let Err(error) = watching.wait().await {
        tracing::error!(%error, "cgroups are watched no longer");
        *changes = None;
        return;
    }
    tokio::time::sleep(TOGETHER).await;
}

/// What the node offers: its capacity where given, else what the machine has.
struct Machine {
    page: Page,
    cores: Option<f64>,
    memory: Option<f64>,
    cpuinfo: KernelFile,
    meminfo: KernelFile,
    buffer: Buffer,
}

impl Machine {
    fn new(config: &Config) -> Self {
        let mut base = LabelsBuilder::new();
        base.set("node", config.node.as_str()).set("instance", config.node.as_str());
        for (name, value) in &config.container_labels {
            base.set(name, value.as_str());
        }
        let proc: Arc<std::path::Path> = Arc::from(config.proc_root.as_path());
        Self {
            page: Page::new(base),
            cores: config.capacity.cpu_millis.map(|millis| millis as f64 / 1000.0),
            memory: config.capacity.memory_bytes.map(|bytes| bytes as f64),
            cpuinfo: KernelFile::new(&proc, "stat"),
            meminfo: KernelFile::new(&proc, "meminfo"),
            buffer: Buffer::default(),
        }
    }

    fn collect(&mut self, samples: &mut Vec<(crate::sample::Series, f64)>) {
        let is_core = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
        let cores = self.cores.or_else(|| {
            self.cpuinfo.read(&mut self.buffer).map(|text| text.lines().filter(is_core).count() as f64)
        });
        let memory = self.memory.or_else(|| {
            let text = self.meminfo.read(&mut self.buffer)?;
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024.0)
        });
        let mut scrape = self.page.scrape(samples);
        scrape.maybe("machine_cpu_cores", &[], cores);
        scrape.maybe("machine_memory_bytes", &[], memory);
        scrape.finish();
    }
}

/// What the agent itself uses.
struct Process {
    stat: KernelFile,
    status: KernelFile,
    buffer: Buffer,
    cpu: Gauge,
    resident: Gauge,
}

impl Process {
    fn new(config: &Config, metrics: &SelfMetrics) -> Self {
        let proc: Arc<std::path::Path> = Arc::from(config.proc_root.as_path());
        Self {
            stat: KernelFile::new(&proc, "self/stat"),
            status: KernelFile::new(&proc, "self/status"),
            buffer: Buffer::default(),
            cpu: metrics.gauge("binnacle_agent_cpu_seconds_total", &[]),
            resident: metrics.gauge("binnacle_agent_resident_memory_bytes", &[]),
        }
    }

    fn collect(&mut self) {
        if let Some(text) = self.stat.read(&mut self.buffer) {
            // Fields 14 and 15, counted from behind the name, which may hold blanks.
            let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace());
            let ticks: f64 =
                fields.into_iter().flatten().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
            self.cpu.set(ticks / 100.0);
        }
        if let Some(text) = self.status.read(&mut self.buffer) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
            self.resident.set(kib.unwrap_or_default() * 1024.0);
        }
    }
}
