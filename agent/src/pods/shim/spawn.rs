//! Starts a container's first process: in its cgroup, with its mounts, and nothing of the agent's.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::NotStarted;
use crate::pods::spec::Mount;
use crate::pods::state::Launch;

/// Longest explanation that comes back from the new process.
const MAX_PROBLEM: u64 = 4096;

/// Starts the program, its output going to pipes.
pub(super) fn spawn(launch: &Launch) -> Result<Child, NotStarted> {
    let Some((program, args)) = launch.argv.split_first() else {
        return Err(NotStarted { exit_code: 128, problem: "no command".to_owned() });
    };
    let (problem_in, problem_out) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|e| NotStarted::before("pipe")(e.into()))?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let prepared = launch.clone();
    let problem_out = File::from(problem_out);
    // SAFETY: the shim has a single thread, so allocation and locks are safe between fork and exec.
    unsafe {
        command.pre_exec(move || {
            prepare(&prepared).map_err(|(problem, e)| {
                let _ = (&problem_out).write_all(problem.as_bytes());
                e
            })
        });
    }
    let spawned = command.spawn();
    // The closure holds the writing end: without it the read below sees the end.
    drop(command);
    spawned.map_err(|e| {
        let problem = read_problem(problem_in);
        if !problem.is_empty() {
            return NotStarted { exit_code: 128, problem };
        }
        let exit_code = if e.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        NotStarted { exit_code, problem: format!("{program}: {e}") }
    })
}

fn read_problem(pipe: OwnedFd) -> String {
    let mut text = String::new();
    let _ = File::from(pipe).take(MAX_PROBLEM).read_to_string(&mut text);
    text
}

/// What the new process does before it becomes the program.
fn prepare(launch: &Launch) -> Result<(), (String, io::Error)> {
    let failed = |what: String| move |e: io::Error| (format!("{what}: {e}"), e);
    unblock_signals().map_err(failed("signals".to_owned()))?;
    rustix::process::setsid().map_err(|e| failed("setsid".to_owned())(e.into()))?;
    for dir in &launch.cgroups {
        let path = dir.join("cgroup.procs");
        fs::write(&path, "0").map_err(failed(path.display().to_string()))?;
    }
    adjust(launch.oom_score_adj).map_err(failed(format!("oom_score_adj {}", launch.oom_score_adj)))?;
    bind_mounts(&launch.mounts)?;
    let dir = if launch.working_dir.is_empty() { "/" } else { &launch.working_dir };
    std::env::set_current_dir(dir).map_err(failed(format!("working directory {dir}")))
}

/// Sets `oom_score_adj`. Less than 0 needs `CAP_SYS_RESOURCE`: without it, 0 is as near as one gets, and the
/// status, which is read back, shows it.
fn adjust(value: i32) -> io::Result<()> {
    let set = |value: i32| fs::write("/proc/self/oom_score_adj", value.to_string());
    match set(value) {
        Err(e) if value < 0 && e.kind() == io::ErrorKind::PermissionDenied => set(0),
        other => other,
    }
}

/// The shim takes its signals by reading them; the program gets its own as usual.
fn unblock_signals() -> io::Result<()> {
    // SAFETY: `none` is initialised by `sigemptyset` before it is read.
    let done = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the mounts in a mount namespace of this process alone. Without the right to, a mount that would change
/// nothing is left out, and any other is an error.
fn bind_mounts(mounts: &[Mount]) -> Result<(), (String, io::Error)> {
    if mounts.is_empty() {
        return Ok(());
    }
    // SAFETY: only the mount namespace is unshared; no descriptor or memory is.
    if let Err(e) = unsafe { unshare_unsafe(UnshareFlags::NEWNS) } {
        let changes = |mount: &&Mount| mount.host_path != mount.mount_path || mount.read_only;
        return match mounts.iter().find(changes) {
            None => Ok(()),
            Some(mount) => {
                let what = format!("mounting {} at {}", mount.host_path, mount.mount_path);
                Err((format!("{what}: a mount namespace needs root (CAP_SYS_ADMIN): {e}"), e.into()))
            }
        };
    }
    let failed = |what: &str, e: rustix::io::Errno| (format!("{what}: {e}"), io::Error::from(e));
    // What the host mounts later is still seen; what is mounted here is not seen by the host.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|e| failed("mount propagation", e))?;
    for mount in mounts {
        let what = format!("mounting {} at {}", mount.host_path, mount.mount_path);
        make_ends(mount).map_err(|e| (format!("{what}: {e}"), e))?;
        mount_bind(&mount.host_path, &mount.mount_path).map_err(|e| failed(&what, e))?;
        if mount.read_only {
            let target = CString::new(Path::new(&mount.mount_path).as_os_str().as_bytes())
                .map_err(|e| (what.clone(), io::Error::new(io::ErrorKind::InvalidInput, e)))?;
            mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "").map_err(|e| failed(&what, e))?;
        }
    }
    Ok(())
}

/// Makes a missing source directory, and what is mounted over: the container shares the node's file system.
fn make_ends(mount: &Mount) -> io::Result<()> {
    let (source, target) = (Path::new(&mount.host_path), Path::new(&mount.mount_path));
    if !source.exists() {
        fs::create_dir_all(source)?;
    }
    if target.exists() {
        return Ok(());
    }
    if source.is_dir() {
        return fs::create_dir_all(target);
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create(target).map(|_| ())
}
