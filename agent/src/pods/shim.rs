//! The parent process of one container: starts it in its cgroup, writes its log, tells how it ended.
//!
//! It is a process of its own, in its own session, so that containers outlive the agent. It speaks with the
//! agent through the files of the run's directory (see [`super::state`]) alone.

mod log;
mod spawn;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::state::{Ended, Launch, ProcessId, Started};
use crate::{clock, durable};
use log::{CriLog, Stream};

/// `oom_score_adj` of shims: what they hold is small, and without them an exit status is lost.
const OWN_OOM_SCORE_ADJ: i32 = -998;

/// How long output is read on after the container's processes were killed: somebody outside of the cgroup may
/// hold the pipe open.
const DRAIN_MS: i64 = 2000;

/// Most bytes read from a pipe at once.
const READ_BYTES: usize = 64 * 1024;

/// The hidden subcommand `shim DIR`: runs what `DIR/spec.json` says until it ends.
pub fn shim(args: Vec<OsString>) -> ExitCode {
    let [dir] = args.as_slice() else {
        eprintln!("usage: shim DIR");
        return ExitCode::FAILURE;
    };
    match run(Path::new(dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{}: {e}", Path::new(dir).display());
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path) -> io::Result<()> {
    let lock = File::create(dir.join("lock"))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let launch: Launch = durable::load(&dir.join("spec.json"))?
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the agent withdrew spec.json"))?;
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", OWN_OOM_SCORE_ADJ.to_string()) {
        eprintln!("oom_score_adj below 0 needs CAP_SYS_RESOURCE, here and for the container: {e}");
    }
    let ended = match supervise(dir, &launch) {
        Ok(ended) => ended,
        Err(failed) => Ended {
            exit_code: failed.exit_code,
            error: failed.problem,
            finished_ms: clock::now_ms(),
            log_bytes_lost: 0,
        },
    };
    durable::save(&dir.join("ended.json"), &ended)
}

/// Why a container was not started.
struct NotStarted {
    exit_code: i32,
    problem: String,
}

impl NotStarted {
    fn before(what: &str) -> impl FnOnce(io::Error) -> Self {
        move |e| Self { exit_code: 128, problem: format!("{what}: {e}") }
    }
}

fn supervise(dir: &Path, launch: &Launch) -> Result<Ended, NotStarted> {
    let mut log = CriLog::open(launch.log.clone())
        .map_err(NotStarted::before(&format!("log file {}", launch.log.path.display())))?;
    let signals = Signals::take().map_err(NotStarted::before("signals of the shim"))?;
    // Orphans of the container become children of the shim, not of the node's init.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|e| NotStarted::before("subreaper")(e.into()))?;
    let mut child = spawn::spawn(launch)?;
    let pid = child.id() as i32;
    let started_ms = clock::now_ms();
    let proc_root = Path::new("/proc");
    let started = ProcessId::of(proc_root, std::process::id() as i32).and_then(|shim| {
        let process = ProcessId::of(proc_root, pid)?;
        durable::save(&dir.join("started.json"), &Started { shim, process, started_ms })
    });
    if let Err(e) = started {
        // Nobody could find this container again: better none than one that is lost.
        kill_rest(launch, pid);
        let _ = child.wait();
        return Err(NotStarted::before("started.json")(e));
    }
    let stdout = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let stderr = child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let mut outputs = [(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
    let exit_code = follow(&mut log, &signals, &mut outputs, launch, pid);
    Ok(Ended { exit_code, error: String::new(), finished_ms: clock::now_ms(), log_bytes_lost: log.lost() })
}

/// Copies output to the log and reaps processes until the container has ended. Returns its exit status.
fn follow(
    log: &mut CriLog,
    signals: &Signals,
    outputs: &mut [(Stream, Option<File>); 2],
    launch: &Launch,
    pid: i32,
) -> i32 {
    for (_, pipe) in outputs.iter() {
        if let Some(pipe) = pipe
            && let Ok(flags) = fcntl_getfl(pipe)
        {
            let _ = fcntl_setfl(pipe, flags | OFlags::NONBLOCK);
        }
    }
    // Of its end the process's own descriptor tells for certain; SIGCHLD is for orphans.
    let watched = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut buffer = vec![0; READ_BYTES];
    let mut ended: Option<(i32, i64)> = None;
    loop {
        let mut fds = vec![PollFd::new(&signals.0, PollFlags::IN)];
        let open = outputs.iter().filter_map(|(_, pipe)| pipe.as_ref());
        fds.extend(open.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let none_open = fds.len() == 1;
        let watched = watched.as_ref().filter(|_| ended.is_none());
        fds.extend(watched.map(|process| PollFd::new(process, PollFlags::IN)));
        // After the end: look every 50 ms for processes that are left.
        let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        if let Err(e) = poll(&mut fds, ended.is_some().then_some(&pause))
            && e != rustix::io::Errno::INTR
        {
            eprintln!("poll: {e}");
        }
        drop(fds);
        for (stream, pipe) in outputs.iter_mut() {
            copy_ready(log, *stream, pipe, &mut buffer);
        }
        if signals.drain().contains(&libc::SIGTERM) && ended.is_none() {
            // SAFETY: a plain system call on numbers; the child has not been reaped.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        if let Some(status) = reap(pid) {
            ended = Some((status, clock::now_ms()));
        }
        if let Some((status, since_ms)) = ended {
            let left = kill_rest(launch, pid);
            let waited = clock::now_ms() - since_ms >= DRAIN_MS;
            if (left == 0 && none_open) || waited {
                for (stream, _) in outputs.iter() {
                    log.end(*stream, clock::now_ns());
                }
                return status;
            }
        }
    }
}

/// Reads what is there; closes the pipe at its end.
fn copy_ready(log: &mut CriLog, stream: Stream, pipe: &mut Option<File>, buffer: &mut [u8]) {
    let Some(open) = pipe else { return };
    match open.read(buffer) {
        Ok(0) => {
            log.end(stream, clock::now_ns());
            *pipe = None;
        }
        Ok(count) => log.feed(stream, &buffer[..count], clock::now_ns()),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(e) => {
            eprintln!("output of the container: {e}");
            *pipe = None;
        }
    }
}

/// Reaps every child that ended. Returns the exit status of `pid` if it is among them.
fn reap(pid: i32) -> Option<i32> {
    let mut found = None;
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let child = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        if child <= 0 {
            return found;
        }
        if child == pid {
            let code = if libc::WIFSIGNALED(status) {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            };
            found = Some(code);
        }
    }
}

/// Kills what is left of the container. Returns how many processes there were.
fn kill_rest(launch: &Launch, pid: i32) -> usize {
    if launch.cgroups.is_empty() {
        // SAFETY: a plain system call; the container's first process leads a group of its own.
        return usize::from(unsafe { libc::kill(-pid, libc::SIGKILL) } == 0);
    }
    let mut pids: Vec<i32> = Vec::new();
    for dir in &launch.cgroups {
        let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 0));
    }
    pids.sort_unstable();
    pids.dedup();
    for &pid in &pids {
        // SAFETY: a plain system call on numbers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    pids.len()
}

/// Signals of the shim, taken by reading them.
struct Signals(OwnedFd);

impl Signals {
    fn take() -> io::Result<Self> {
        // SAFETY: `set` is initialised by `sigemptyset` before it is read; the descriptor is new and owned here.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&mut set, signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Numbers of the signals that came.
    fn drain(&self) -> Vec<i32> {
        const SIZE: usize = size_of::<libc::signalfd_siginfo>();
        let mut numbers = Vec::new();
        let mut info = [0u8; SIZE];
        // SAFETY: the buffer is as long as said.
        while unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), SIZE) } == SIZE as isize {
            // The signal's number is the first field.
            numbers.push(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]));
        }
        numbers
    }
}

#[cfg(test)]
mod tests;
