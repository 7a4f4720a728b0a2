//! Cgroups as a container engine makes them, with a sleeping process each; they go away with the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Containers in a pod.
const IN_A_POD: usize = 2;

pub struct Containers {
    parent: String,
    /// Directories, parents before children.
    made: Vec<PathBuf>,
    processes: Vec<Child>,
}

impl Containers {
    pub fn make(count: usize) -> Result<Self> {
        let parent = format!("/binnacle-bench-{}", std::process::id());
        let mounts = hierarchies()?;
        let mut all = Self { parent: parent.clone(), made: Vec::new(), processes: Vec::new() };
        for mount in &mounts {
            for dir in ["", "/kubepods", "/kubepods/burstable"] {
                all.directory(mount, &format!("{parent}{dir}"))?;
            }
        }
        for number in 0..count {
            let pod = format!(
                "{parent}/kubepods/burstable/pod{:08x}-0000-4000-8000-000000000000",
                number / IN_A_POD
            );
            let container = format!("{pod}/{number:064x}");
            let process = Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn()?;
            let pid = process.id();
            all.processes.push(process);
            for mount in &mounts {
                if number % IN_A_POD == 0 {
                    all.directory(mount, &pod)?;
                }
                let dir = all.directory(mount, &container)?;
                fs::write(dir.join("cgroup.procs"), pid.to_string())
                    .with_context(|| dir.display().to_string())?;
            }
        }
        Ok(all)
    }

    /// The cgroup that is the node.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    fn directory(&mut self, mount: &Path, cgroup: &str) -> Result<PathBuf> {
        let dir = mount.join(cgroup.trim_start_matches('/'));
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        self.made.push(dir.clone());
        Ok(dir)
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        for dir in self.made.iter().rev() {
            if let Err(error) = fs::remove_dir(dir) {
                eprintln!("{} is left: {error}", dir.display());
            }
        }
    }
}

/// Where the version 1 controllers that the agent reads are mounted.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut mounts: Vec<PathBuf> = Vec::new();
    for line in table.lines().filter(|line| line.contains(" - cgroup ")) {
        let options = line.rsplit(' ').next().unwrap_or_default();
        let wanted = ["cpu", "cpuacct", "memory", "blkio", "pids"];
        if options.split(',').any(|option| wanted.contains(&option)) {
            mounts.push(line.split(' ').nth(4).context("odd mount table")?.into());
        }
    }
    if mounts.is_empty() {
        bail!("no cgroup v1 hierarchy is mounted here");
    }
    Ok(mounts)
}
