//! Sets the stage and clears it: folders, server, agents, cgroups.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use crate::procs;

/// The nodes of the demo, each with a subtree of this machine's cgroups.
pub const NODES: [&str; 2] = ["alpha", "beta"];

/// Everything that the demo writes; the manifests' hostPath volumes are in it too.
const FOLDER: &str = "/tmp/binnacle-demo";

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(15);

pub struct Stage {
    /// Name and process, in the order they were started.
    children: Vec<(String, Child)>,
    binaries: PathBuf,
    http: String,
    grpc: String,
}

impl Stage {
    /// Prepares folders; clears what an earlier run left that was killed.
    pub fn prepare(http: &str, grpc: &str) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("the demo makes cgroups and sets oom_score_adj: run it as root");
        }
        for address in [http, grpc] {
            std::net::TcpListener::bind(address).with_context(|| {
                format!("{address} is taken: end what listens there, or choose others with --http and --grpc")
            })?;
        }
        clear_cgroups()?;
        make_folder()?;
        let binaries = std::env::current_exe()?.parent().context("the demo has no folder")?.to_owned();
        Ok(Self { children: Vec::new(), binaries, http: http.to_owned(), grpc: grpc.to_owned() })
    }

    /// Starts the server. Its log goes to a file in the demo's folder.
    pub fn start_server(&mut self, manifests: &Path) -> Result<()> {
        let config = manifests.join("binnacle.toml");
        let mut command = self.command("binnacle")?;
        command.arg("server").arg("--config").arg(config);
        command.arg("--data-dir").arg(format!("{FOLDER}/server"));
        command.args(["--http", &self.http, "--grpc", &self.grpc]).arg("--manifests").arg(manifests);
        self.spawn("server", command)
    }

    /// Starts the agent of one node of one core and 2 GiB.
    pub fn start_agent(&mut self, node: &str) -> Result<()> {
        let folder = format!("{FOLDER}/{node}");
        let mut command = self.command("binnacle-agent")?;
        command.args(["--server", &format!("http://{}", self.grpc), "--node", node]);
        command.args(["--cgroup-parent", &format!("{}/{node}", procs::PARENT)]);
        command.args(["--capacity", "cpu=1,memory=2Gi", "--interval", "1s"]);
        command.args(["--pod-log-dir", &format!("{folder}/pods"), "--state-dir", &format!("{folder}/state")]);
        command.args(["--on-exit", "stop-pods"]);
        self.spawn(node, command)
    }

    fn command(&self, binary: &str) -> Result<Command> {
        let path = self.binaries.join(binary);
        if !path.exists() {
            bail!("{} is missing: run `make build`", path.display());
        }
        let mut command = Command::new(path);
        let paths = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{paths}", self.binaries.display()));
        Ok(command)
    }

    fn spawn(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = fs::File::create(log_path(name))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C reaches the demo alone, which then ends the others in order.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    /// An error when one of the processes has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        for (name, child) in &mut self.children {
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(log_path(name)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n  ");
                bail!("{name} ended by itself ({status}); the end of its log:\n  {tail}");
            }
        }
        Ok(())
    }

    /// Ends agents first (they stop their pods), then the server, and removes what the demo made.
    pub async fn clear(&mut self, keep_files: bool) -> Result<()> {
        for (name, mut child) in self.children.drain(..).rev() {
            let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) else {
                continue;
            };
            let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                eprintln!("{name} did not end within {GRACE:?} of SIGTERM: killed");
                child.kill().await?;
            }
        }
        clear_cgroups()?;
        if !keep_files {
            fs::remove_dir_all(FOLDER).with_context(|| format!("cannot remove {FOLDER}"))?;
        }
        Ok(())
    }
}

/// Where a process' log goes.
pub fn log_path(name: &str) -> PathBuf {
    PathBuf::from(format!("{FOLDER}/{name}.log"))
}

/// Makes the demo's folder anew. It must be a real folder of ours: others can write to `/tmp`.
fn make_folder() -> Result<()> {
    match fs::symlink_metadata(FOLDER) {
        Ok(found) if found.is_dir() && found.uid() == 0 => fs::remove_dir_all(FOLDER)?,
        Ok(_) => bail!("{FOLDER} is not a folder of root's: remove it"),
        Err(_) => {}
    }
    fs::DirBuilder::new().mode(0o700).create(FOLDER)?;
    for node in NODES {
        fs::create_dir_all(format!("{FOLDER}/{node}/pods"))?;
        fs::create_dir_all(format!("{FOLDER}/{node}/state"))?;
    }
    Ok(())
}

/// Kills what still runs in the demo's cgroups and removes them, deepest first.
fn clear_cgroups() -> Result<()> {
    for mount in procs::cgroup_mounts() {
        let top = mount.join(&procs::PARENT[1..]);
        for _ in 0..50 {
            if !top.exists() {
                break;
            }
            clear_tree(&top);
            std::thread::park_timeout(Duration::from_millis(50));
        }
        if top.exists() {
            bail!("cannot remove the cgroup {}", top.display());
        }
    }
    Ok(())
}

fn clear_tree(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear_tree(&entry.path());
        }
    }
    let pids = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
        let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let _still_ending = fs::remove_dir(folder);
}
