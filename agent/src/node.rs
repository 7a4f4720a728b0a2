//! The node itself: families with the names, labels and units of node_exporter.

mod disk;
mod filesystem;
mod interface;
mod load;
mod memory;
mod network;
mod processor;
mod protocol;
mod system;
mod time;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use binnacle_proto::LabelsBuilder;

use crate::Config;
use crate::clock;
use crate::kernel::Buffer;
use crate::sample::{Page, Scrape, Series};
use crate::selfmetrics::{Counter, SelfMetrics};

/// Where collectors read.
#[derive(Clone)]
pub(crate) struct Roots {
    pub(crate) proc: Arc<Path>,
    pub(crate) sys: Arc<Path>,
    /// The node's root file system.
    pub(crate) host: PathBuf,
}

/// Why a collector has nothing to say in this round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The kernel does not offer it here: nothing is wrong.
    #[error("not offered by this kernel")]
    NotOffered,
    /// It is there and cannot be understood.
    #[error("{0}")]
    Malformed(String),
}

/// One source of node series.
pub(crate) trait Collector: Send {
    /// As node_exporter calls it.
    fn name(&self) -> &'static str;

    /// Reads and emits.
    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure>;
}

/// All collectors of the node.
pub(crate) struct Node {
    collectors: Vec<Running>,
    scrapes: Page,
    buffer: Buffer,
}

struct Running {
    collector: Box<dyn Collector>,
    page: Page,
    errors: Counter,
    /// Of the last round: seconds it took, and whether it went well.
    last: (f64, bool),
}

impl Node {
    pub(crate) fn new(config: &Config, metrics: &SelfMetrics) -> Self {
        let roots = Roots {
            proc: Arc::from(config.proc_root.as_path()),
            sys: Arc::from(config.sys_root.as_path()),
            host: config.host_root.clone(),
        };
        let mut base = LabelsBuilder::new();
        base.set("job", config.node_job.as_str()).set("instance", config.node.as_str());
        let run = |collector: Box<dyn Collector>| Running {
            errors: metrics
                .counter("binnacle_agent_collector_errors_total", &[("collector", collector.name())]),
            page: Page::new(base.clone()),
            collector,
            last: (0.0, false),
        };
        let collectors = all(&roots).into_iter().map(run).collect();
        Self { collectors, scrapes: Page::new(base.clone()), buffer: Buffer::default() }
    }

    /// Runs all of them.
    pub(crate) fn collect(&mut self, samples: &mut Vec<(Series, f64)>) {
        for running in &mut self.collectors {
            let begun = clock::instant();
            let mut scrape = running.page.scrape(samples);
            let result = running.collector.collect(&mut self.buffer, &mut scrape);
            scrape.finish();
            let name = running.collector.name();
            if let Err(Failure::Malformed(problem)) = &result {
                running.errors.add(1);
                tracing::debug!(collector = name, problem, "collector failed");
            }
            running.last = (clock::instant().duration_since(begun).as_secs_f64(), result.is_ok());
        }
        let mut scrape = self.scrapes.scrape(samples);
        for running in &self.collectors {
            let (seconds, well) = running.last;
            let labels = [("collector", running.collector.name())];
            scrape.emit("node_scrape_collector_duration_seconds", &labels, seconds);
            scrape.emit("node_scrape_collector_success", &labels, f64::from(u8::from(well)));
        }
        scrape.finish();
    }
}

/// Every collector there is.
fn all(roots: &Roots) -> Vec<Box<dyn Collector>> {
    vec![
        Box::new(processor::Cpu::new(roots)),
        Box::new(processor::Stat::new(roots)),
        Box::new(load::LoadAvg::new(roots)),
        Box::new(load::Pressure::new(roots)),
        Box::new(memory::MemInfo::new(roots)),
        Box::new(memory::VmStat::new(roots)),
        Box::new(disk::DiskStats::new(roots)),
        Box::new(filesystem::FileSystem::new(roots)),
        Box::new(network::NetDev::new(roots)),
        Box::new(system::FileFd::new(roots)),
        Box::new(system::Uname),
        Box::new(system::Entropy::new(roots)),
        Box::new(time::Time::new(roots)),
        Box::new(time::Timex),
        Box::new(processor::SchedStat::new(roots)),
        Box::new(interface::NetClass::new(roots)),
        Box::new(protocol::NetStat::new(roots)),
        Box::new(protocol::SockStat::new(roots)),
        Box::new(protocol::SoftNet::new(roots)),
        Box::new(protocol::Arp::new(roots)),
        Box::new(protocol::Conntrack::new(roots)),
    ]
}

/// The number in a field, or what is wrong with it.
fn field(text: Option<&str>, what: &str) -> Result<f64, Failure> {
    let text = text.ok_or_else(|| Failure::Malformed(format!("{what}: absent")))?;
    text.parse().map_err(|_| Failure::Malformed(format!("{what}: {text:?} is not a number")))
}

#[cfg(test)]
mod tests;
