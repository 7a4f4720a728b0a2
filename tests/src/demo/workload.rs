//! The programs inside the demo's containers. They are edges: they watch the clock and burn it.
#![expect(clippy::disallowed_methods, reason = "a workload is made of wall time and sleep")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Workload {
    /// A service whose total load rises and falls and is shared by its replicas.
    Web {
        /// Folder in which the replicas find each other.
        #[arg(long)]
        shared: PathBuf,
        /// Cores that all replicas together use at the peak.
        #[arg(long, default_value_t = 1.2)]
        peak_cores: f64,
        /// Seconds from one rise to the next.
        #[arg(long, default_value_t = 90)]
        period_seconds: u64,
    },
    /// A service that never gives memory back.
    Leaky {
        /// Growth in MiB a second.
        #[arg(long, default_value_t = 2)]
        mib_per_second: usize,
    },
    /// A service that writes numbered lines to stdout and to a file.
    Chatty {
        /// Lines a second on each of the two.
        #[arg(long, default_value_t = 50)]
        lines_per_second: u64,
        /// The file; it is rotated by renaming every 1,000 lines.
        #[arg(long)]
        file: PathBuf,
    },
}

impl Workload {
    /// Runs until the process is ended.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Web { shared, peak_cores, period_seconds } => web(&shared, peak_cores, period_seconds),
            Self::Leaky { mib_per_second } => leaky(mib_per_second),
            Self::Chatty { lines_per_second, file } => chatty(lines_per_second, &file),
        }
    }
}

/// Length of one burst and pause.
const SLOT: Duration = Duration::from_millis(50);
/// A replica whose file is older is gone.
const HEARTBEAT_FRESH: Duration = Duration::from_secs(3);
/// Load outside the peak, in cores.
const LOW_CORES: f64 = 0.06;
/// The peak's begin and end within a period.
const PEAK: std::ops::Range<f64> = 0.17..0.60;

fn web(shared: &Path, peak_cores: f64, period_seconds: u64) -> Result<()> {
    fs::create_dir_all(shared).with_context(|| format!("cannot create {}", shared.display()))?;
    let started = start_of_load(shared)?;
    let mine = shared.join(format!("replica-{}", std::process::id()));
    let mut replicas = 1;
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|at| at.elapsed() > Duration::from_millis(500)) {
            fs::write(&mine, b"")?;
            replicas = fresh_replicas(shared)?.max(1);
            looked = Some(Instant::now());
        }
        let age = SystemTime::now().duration_since(started).unwrap_or_default().as_secs_f64();
        let phase = (age / period_seconds as f64).fract();
        let total = if PEAK.contains(&phase) { peak_cores } else { LOW_CORES };
        burn(SLOT, (total / replicas as f64).min(0.95));
    }
}

/// When the first replica began: all share its file's time.
fn start_of_load(shared: &Path) -> Result<SystemTime> {
    let path = shared.join("start");
    let _created_or_there = OpenOptions::new().write(true).create_new(true).open(&path);
    fs::metadata(&path)?.modified().with_context(|| format!("cannot read the time of {}", path.display()))
}

fn fresh_replicas(shared: &Path) -> Result<usize> {
    let mut fresh = 0;
    for entry in fs::read_dir(shared)?.flatten() {
        let is_replica = entry.file_name().to_string_lossy().starts_with("replica-");
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        fresh += usize::from(is_replica && age.is_some_and(|age| age < HEARTBEAT_FRESH));
    }
    Ok(fresh)
}

/// Computes for `share` of `slot`, sleeps for the rest.
fn burn(slot: Duration, share: f64) {
    let begun = Instant::now();
    let work = slot.mul_f64(share);
    let mut x = 1u64;
    while begun.elapsed() < work {
        for _ in 0..1000 {
            x = std::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(1));
        }
    }
    sleep(slot.saturating_sub(begun.elapsed()));
}

fn leaky(mib_per_second: usize) -> Result<()> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        // Ones, so that every page is touched and counted.
        kept.push(vec![1; (mib_per_second << 20) / 4]);
        println!("holding {} MiB", kept.iter().map(Vec::len).sum::<usize>() >> 20);
        sleep(Duration::from_millis(250));
    }
}

fn chatty(lines_per_second: u64, path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut file = open_log(path)?;
    let pause = Duration::from_nanos(1_000_000_000 / lines_per_second.max(1));
    for sequence in 0u64.. {
        println!("chatty stdout seq={sequence}");
        writeln!(file, "chatty file seq={sequence}")?;
        file.flush()?;
        if sequence % 1000 == 999 {
            fs::rename(path, path.with_extension("log.1"))?;
            file = open_log(path)?;
        }
        sleep(pause);
    }
    Ok(())
}

fn open_log(path: &Path) -> Result<BufWriter<File>> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    Ok(BufWriter::new(file))
}
