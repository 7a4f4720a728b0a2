//! Reads one cgroup, each controller from where it is.

use std::path::Path;
use std::sync::Arc;

use super::usage::{Faults, Pressure, Usage};
use super::{Cgroups, Controller, Home, v1, v2};
use crate::kernel::{Buffer, KernelFile, keyed};

/// The open files of one cgroup.
pub(crate) struct Reader {
    cpu: Option<CpuFiles>,
    memory: Option<MemoryFiles>,
    io: Option<IoFiles>,
    processes: Option<KernelFile>,
    threads: Option<KernelFile>,
    pressure: Option<[KernelFile; 3]>,
}

enum CpuFiles {
    /// `cpuacct` may be in another hierarchy than `cpu`, or absent, as may `cpu`.
    V1(v1::CpuFiles),
    V2(v2::CpuFiles),
}

enum MemoryFiles {
    V1(v1::MemoryFiles),
    V2(v2::MemoryFiles),
}

enum IoFiles {
    V1(v1::IoFiles),
    V2(KernelFile),
}

impl Reader {
    /// A reader of cgroup `id`; opens nothing yet.
    pub(crate) fn new(cgroups: &Cgroups, id: &str) -> Self {
        let dir = |controller| {
            let home = cgroups.home(controller)?;
            Some((home, Arc::<Path>::from(cgroups.below(home.mount(), id))))
        };
        let (cpu, cpuacct) = (dir(Controller::Cpu), dir(Controller::Cpuacct));
        let cpu = match (&cpu, &cpuacct) {
            (Some((Home::V2(_), dir)), _) => Some(CpuFiles::V2(v2::CpuFiles::new(dir))),
            (None, None) => None,
            _ => {
                let dir = |dir: &Option<(&Home, Arc<Path>)>| dir.as_ref().map(|(_, dir)| dir.clone());
                Some(CpuFiles::V1(v1::CpuFiles::new(dir(&cpu), dir(&cpuacct))))
            }
        };
        let memory = dir(Controller::Memory).map(|(home, dir)| match home {
            Home::V1(_) => MemoryFiles::V1(v1::MemoryFiles::new(&dir)),
            Home::V2(_) => MemoryFiles::V2(v2::MemoryFiles::new(&dir)),
        });
        let io = dir(Controller::Io).map(|(home, dir)| match home {
            Home::V1(_) => IoFiles::V1(v1::IoFiles::new(&dir)),
            Home::V2(_) => IoFiles::V2(KernelFile::new(&dir, "io.stat")),
        });
        // Processes are in every hierarchy; one is enough.
        let any = Controller::ALL.into_iter().find_map(dir);
        let unified: Option<Arc<Path>> = cgroups.unified_dir(id).map(Arc::from);
        Self {
            cpu,
            memory,
            io,
            processes: any.map(|(_, dir)| KernelFile::listing(&dir, "cgroup.procs")),
            threads: dir(Controller::Pids).map(|(_, dir)| KernelFile::new(&dir, "pids.current")),
            pressure: unified.map(|dir| {
                ["cpu.pressure", "memory.pressure", "io.pressure"].map(|n| KernelFile::new(&dir, n))
            }),
        }
    }

    /// The processes in this very cgroup, at most `most`.
    pub(crate) fn processes(&mut self, buffer: &mut Buffer, most: usize) -> Vec<u32> {
        let text = self.processes.as_mut().and_then(|file| file.read(buffer)).unwrap_or_default();
        text.lines().take(most).filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Reads everything anew. What has vanished is absent.
    pub(crate) fn read(&mut self, buffer: &mut Buffer) -> Usage {
        let mut usage = Usage::default();
        match &mut self.cpu {
            Some(CpuFiles::V1(files)) => usage.cpu = files.read(buffer),
            Some(CpuFiles::V2(files)) => usage.cpu = files.read(buffer),
            None => {}
        }
        match &mut self.memory {
            Some(MemoryFiles::V1(files)) => usage.memory = files.read(buffer),
            Some(MemoryFiles::V2(files)) => usage.memory = files.read(buffer),
            None => {}
        }
        match &mut self.io {
            Some(IoFiles::V1(files)) => usage.io = files.read(buffer),
            Some(IoFiles::V2(file)) => usage.io = file.read(buffer).map(v2::parse_io).unwrap_or_default(),
            None => {}
        }
        if let Some(text) = self.processes.as_mut().and_then(|file| file.read(buffer)) {
            usage.processes = Some(text.lines().filter(|line| !line.is_empty()).count() as u64);
            usage.a_process = text.lines().next().and_then(|pid| pid.parse().ok());
        }
        usage.threads =
            self.threads.as_mut().and_then(|file| file.read(buffer)).and_then(crate::kernel::number);
        if let Some([cpu, memory, io]) = &mut self.pressure {
            let mut read = |file: &mut KernelFile| file.read(buffer).map(parse_pressure).unwrap_or_default();
            usage.pressure.cpu = read(cpu);
            usage.pressure.memory = read(memory);
            usage.pressure.io = read(io);
        }
        usage
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234` and the same for `full`.
pub(crate) fn parse_pressure(text: &str) -> Pressure {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.rsplit_once("total=")?.1.trim().parse().ok()
    };
    Pressure { waiting_us: total("some "), stalled_us: total("full ") }
}

/// The two fault counters with a prefix to their keys.
pub(super) fn faults(stat: &str, all: &str, major: &str) -> Faults {
    Faults { all: keyed(stat, all), major: keyed(stat, major) }
}
