//! Starts containers through a shim, and finds those again that an earlier agent started.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Live, PodEntry, Runtime, pod_cgroup};
use crate::pods::cgroup::Limits;
use crate::pods::qos;
use crate::pods::spec::{Container, HOST_IMAGE, Pod};
use crate::pods::state::{LastRun, Launch, LogFile, Started, make_private_dir};
use crate::{durable, identity};

/// How a shim is started.
pub(in crate::pods) struct ShimCommand {
    pub(in crate::pods) program: OsString,
    /// Come before the directory of the run.
    pub(in crate::pods) args: Vec<OsString>,
    /// Set to the directory, where it is not an argument.
    pub(in crate::pods) variable: Option<&'static str>,
}

impl ShimCommand {
    /// This very program, also when its file was replaced meanwhile.
    pub(in crate::pods) fn own() -> Self {
        Self { program: "/proc/self/exe".into(), args: vec!["shim".into()], variable: None }
    }

    fn spawn(&self, dir: &std::path::Path) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg0("binnacle-shim").args(&self.args);
        match self.variable {
            Some(name) => command.env(name, dir),
            None => command.arg(dir),
        };
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(dir.join("shim.log"))?);
        // SAFETY: `setsid` is a plain system call, safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                Ok(())
            });
        }
        command.spawn()
    }
}

impl Runtime {
    /// Starts every container whose time has come.
    pub(super) fn start_due(&mut self, now_ms: i64) {
        let mut due = Vec::new();
        for (uid, pod) in self.pods.iter().filter(|(_, pod)| pod.ending.is_none()) {
            for container in &pod.record.pod.containers {
                let record = pod.record.containers.get(&container.name);
                if record.is_none_or(|record| !record.launched && record.next_start_ms <= now_ms) {
                    due.push((uid.clone(), container.clone()));
                }
            }
        }
        for (uid, container) in due {
            self.changed = true;
            if let Err(problem) = self.launch(&uid, &container) {
                self.not_launched(&uid, &container.name, problem, now_ms);
            }
        }
    }

    fn launch(&mut self, uid: &str, container: &Container) -> Result<(), String> {
        let id = random_id().map_err(|e| format!("/dev/urandom: {e}"))?;
        let Some(entry) = self.pods.get_mut(uid) else { return Ok(()) };
        let record = entry.of(&container.name);
        record.launched = true;
        record.id = id.clone();
        record.oom_kills_seen = 0;
        let run = record.run;
        self.save_pod(uid);
        let Some(pod) = self.pods.get(uid).map(|entry| entry.record.pod.clone()) else { return Ok(()) };
        if container.image != HOST_IMAGE {
            return Err(format!("image {:?}: this node runs {HOST_IMAGE:?} only", container.image));
        }
        self.make_parent()?;
        self.limit_node()?;
        let relative = format!("{}/{id}", pod_cgroup(&pod));
        let group = self.setup.tree.group(&relative);
        group.create().map_err(|e| format!("cgroup: {e}"))?;
        self.limit_pod(&pod)?;
        let limits = Limits {
            cpu_shares: qos::cpu_shares(container.requests, container.limits),
            cpu_quota_us: qos::cpu_quota_us(self.within_node(container.limits.cpu_millis)),
            memory_bytes: container.limits.memory_bytes,
            oom_group: true,
        };
        group.limit(&limits).map_err(|e| format!("limits: {e}"))?;

        let dir = self.state.run(uid, &container.name, run);
        make_private_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let launch = self.launch_of(&pod, container, run, group.dirs());
        durable::save(&dir.join("spec.json"), &launch).map_err(|e| format!("{}: {e}", dir.display()))?;
        let child = self.setup.shim.spawn(&dir).map_err(|e| format!("shim: {e}"))?;
        let shim = watch_process(child.id() as i32);
        let live = Live {
            id,
            group,
            child: Some(child),
            shim,
            started: None,
            term_sent: false,
            oom_kills: 0,
            working_set: None,
        };
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.live.insert(container.name.clone(), live);
        }
        Ok(())
    }

    fn launch_of(
        &self,
        pod: &Pod,
        container: &Container,
        run: u32,
        cgroups: Vec<std::path::PathBuf>,
    ) -> Launch {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
        let mut env = vec![
            ("PATH".to_owned(), path),
            ("HOME".to_owned(), "/".to_owned()),
            ("HOSTNAME".to_owned(), pod.name.clone()),
        ];
        env.extend(container.env.iter().cloned());
        let log_name = format!("{}_{}_{}", pod.namespace, pod.name, pod.uid);
        Launch {
            argv: container.argv.clone(),
            env,
            working_dir: container.working_dir.clone(),
            mounts: container.mounts.clone(),
            cgroups,
            oom_score_adj: qos::oom_score_adj(
                pod.qos,
                container.requests.memory_bytes,
                self.capacity.memory_bytes,
            ),
            log: LogFile {
                path: self
                    .setup
                    .config
                    .pod_log_dir
                    .join(log_name)
                    .join(&container.name)
                    .join(format!("{run}.log")),
                max_bytes: self.setup.config.pods.log_max_bytes,
                max_files: self.setup.config.pods.log_max_files,
                gzip: self.setup.config.pods.log_gzip,
            },
        }
    }

    /// A container that could not even be launched counts as one that ended with an error.
    fn not_launched(&mut self, uid: &str, name: &str, problem: String, now_ms: i64) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        tracing::warn!(pod = %entry.full_name(), container = name, problem, "container was not started");
        let id = entry.of(name).id.clone();
        let group = self.setup.tree.group(&format!("{}/{id}", pod_cgroup(&entry.record.pod)));
        self.trash.push((now_ms, group));
        let last = LastRun {
            started_ms: 0,
            exit_code: 128,
            finished_ms: now_ms,
            reason: "StartError".to_owned(),
            message: problem,
        };
        self.conclude(uid, name, last, now_ms);
    }

    /// Learns from the shims which processes they started.
    pub(super) fn read_started(&mut self, now_ms: i64) {
        let mut found = Vec::new();
        for (uid, pod) in &self.pods {
            for (name, _) in pod.live.iter().filter(|(_, live)| live.started.is_none()) {
                let run = pod.record.containers.get(name).map_or(0, |record| record.run);
                let path = self.state.run(uid, name, run).join("started.json");
                match durable::load::<Started>(&path) {
                    Ok(Some(started)) => found.push((uid.clone(), name.clone(), started)),
                    Ok(None) => {}
                    Err(e) => tracing::warn!(path = %path.display(), error = %e, "unreadable"),
                }
            }
        }
        for (uid, name, started) in found {
            let Some(entry) = self.pods.get_mut(&uid) else { continue };
            let known = identity_of(entry, &name, &started);
            let Some(live) = entry.live.get_mut(&name) else { continue };
            live.working_set = live.group.working_set().ok().flatten().map(|bytes| (now_ms, bytes));
            live.started = Some(started);
            self.setup.registry.insert(known);
            self.changed = true;
        }
    }

    /// Takes over what earlier agents started: containers that live are watched again, for others the end is
    /// read from what their shim left.
    pub(super) fn adopt(&mut self) -> io::Result<()> {
        for record in self.state.pods()? {
            let uid = record.pod.uid.clone();
            let mut entry = PodEntry { record, ending: None, live: Default::default() };
            let cgroup = pod_cgroup(&entry.record.pod);
            let launched = entry.record.containers.iter().filter(|(_, c)| c.launched && !c.finished);
            let launched: Vec<_> = launched.map(|(name, c)| (name.clone(), c.clone())).collect();
            for (name, container) in launched {
                let dir = self.state.run(&uid, &name, container.run);
                let started = durable::load::<Started>(&dir.join("started.json"))?;
                let lives = shim_lives(&dir);
                if !lives {
                    // A shim that has not come to its lock yet finds nothing to start.
                    let _ = std::fs::remove_file(dir.join("spec.json"));
                }
                let shim = started
                    .as_ref()
                    .filter(|started| lives && started.shim.lives(&self.setup.config.proc_root))
                    .and_then(|started| watch_process(started.shim.pid));
                if let Some(started) = &started
                    && lives
                {
                    self.setup.registry.insert(identity_of(&entry, &name, started));
                }
                let live = Live {
                    group: self.setup.tree.group(&format!("{cgroup}/{}", container.id)),
                    id: container.id,
                    child: None,
                    shim,
                    started,
                    term_sent: false,
                    oom_kills: container.oom_kills_seen,
                    working_set: None,
                };
                entry.live.insert(name, live);
            }
            if !entry.record.evicted.is_empty() {
                entry.end(false, 0);
            }
            let (running, name) = (entry.live.len(), entry.full_name());
            tracing::info!(pod = name, uid, running, "pod of an earlier agent is taken over");
            self.pods.insert(uid, entry);
        }
        Ok(())
    }
}

/// What the rest of the agent knows the container by.
fn identity_of(entry: &PodEntry, name: &str, started: &Started) -> identity::Container {
    let pod = &entry.record.pod;
    let id = entry.record.containers.get(name).map(|record| record.id.clone()).unwrap_or_default();
    let mounts = entry.container(name).map(|container| container.mounts.as_slice()).unwrap_or_default();
    identity::Container {
        name: id.clone(),
        id,
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        container: name.to_owned(),
        image: entry.container(name).map(|container| container.image.clone()).unwrap_or_default(),
        labels: pod.labels.clone(),
        annotations: identity::for_the_agent(&pod.annotations),
        volumes: mounts
            .iter()
            .filter(|mount| !mount.read_only)
            .map(|mount| mount.mount_path.clone().into())
            .collect(),
        started_ms: started.started_ms,
        pid: Some(started.process.pid),
    }
}

/// A descriptor that is readable once the process has ended; `None` when there is none (any more).
fn watch_process(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Whether a shim holds the lock of this run.
pub(super) fn shim_lives(dir: &std::path::Path) -> bool {
    let Ok(lock) = File::open(dir.join("lock")) else { return false };
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// 64 hexadecimal digits, as container engines name containers.
fn random_id() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
