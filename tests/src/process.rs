//! The real binaries under control: started, asked, killed, started again.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::Client;

/// How long a process may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The path of one of the workspace's binaries, beside the running test.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    // Tests lie in `release/deps`, binaries in `release`.
    for folder in test.ancestors().skip(1).take(2) {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("the binary {name} is not built: run `cargo build --release --workspace --bins` first")
}

/// A `binnacle server` with a folder of its own. Killed when dropped.
pub struct Server {
    child: Option<Child>,
    folder: tempfile::TempDir,
    args: Vec<String>,
    http: SocketAddr,
    grpc: SocketAddr,
    starts: u32,
    https: bool,
    tls: bool,
}

impl Server {
    /// Starts a server on free ports, with more arguments, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not built or does not become ready; the message has the end of its log.
    pub async fn start<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Result<Self> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self {
            child: None,
            folder: tempfile::Builder::new().prefix("binnacle-test-").tempdir()?,
            args: args.into_iter().map(Into::into).collect(),
            http: anywhere,
            grpc: anywhere,
            starts: 0,
            https: false,
            tls: false,
        };
        server.start_again().await?;
        Ok(server)
    }

    /// Starts it again after its end, on the same ports and folder.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.starts += 1;
        let log_path = self.log_path();
        let log = File::create(&log_path)?;
        let mut command = Command::new(binary("binnacle")?);
        command.args(["server", "--log-json"]);
        // A test may choose a folder and an address of its own.
        if !self.args.iter().any(|arg| arg == "--data-dir") {
            command.arg("--data-dir").arg(self.folder.path().join("data"));
        }
        if !self.args.iter().any(|arg| arg == "--http") {
            command.args(["--http", &self.http.to_string()]);
        }
        command.args(["--grpc", &self.grpc.to_string()]);
        command.args(&self.args);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        let started = now();
        loop {
            if let Some(ready) = log_record(&log_path, "binnacle is ready")? {
                let address = |field: &str| -> Result<SocketAddr> {
                    Ok(ready["fields"][field].as_str().context("the log names no address")?.parse()?)
                };
                (self.http, self.grpc) = (address("http")?, address("grpc")?);
                let is = |field: &str| ready["fields"][field] == true;
                (self.https, self.tls) = (is("https"), is("tls"));
                break;
            }
            if let Some(status) = self.child.as_mut().context("no process")?.try_wait()? {
                bail!("the server ended ({status}):\n{}", self.log());
            }
            if started.elapsed() > START_TIMEOUT {
                bail!("the server is not ready after {START_TIMEOUT:?}:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let client = self.client()?;
        while !client.ready().await {
            if started.elapsed() > START_TIMEOUT {
                bail!("the server does not answer after {START_TIMEOUT:?}:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// A client of its HTTP interfaces.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn client(&self) -> Result<Client> {
        if !self.https {
            return Client::new(&self.http_url());
        }
        Client::with_authority(&self.http_url(), &fs::read_to_string(self.authority())?)
    }

    /// `http://…`, or `https://…` when it has TLS, of the HTTP interfaces.
    pub fn http_url(&self) -> String {
        format!("http{}://{}", if self.https { "s" } else { "" }, here(self.http))
    }

    /// `http://…`, or `https://…` when it has TLS, for agents.
    pub fn grpc_url(&self) -> String {
        format!("http{}://{}", if self.tls { "s" } else { "" }, here(self.grpc))
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The certificate of its own authority.
    pub fn authority(&self) -> PathBuf {
        self.data_dir().join("tls/authority.pem")
    }

    /// Runs `binnacle` with these arguments and `--data-dir` of this server; what it printed.
    ///
    /// # Errors
    /// When it fails; the message has what it said.
    pub fn command<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = Command::new(binary("binnacle")?);
        command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        let output = command.arg("--data-dir").arg(self.data_dir()).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Its own folder; the data is in `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The log of the latest start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Kills it without a chance to clean up.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid as i32)).context("the server does not run")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Asks it to stop and waits; says how it ended and how long that took.
    ///
    /// # Errors
    /// When it does not run, or does not end within a minute.
    pub async fn stop(&mut self) -> Result<(ExitStatus, Duration)> {
        self.signal(Signal::TERM)?;
        let started = now();
        let mut child = self.child.take().context("the server does not run")?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok((status, started.elapsed()));
            }
            if started.elapsed() > Duration::from_secs(60) {
                child.kill()?;
                bail!("the server did not end within a minute:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join(format!("server-{}.log", self.starts))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A `binnacle-agent`. Killed when dropped.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts an agent with these arguments; its log goes to a file in `folder`.
    ///
    /// # Errors
    /// When it is not built or cannot be started.
    pub fn start<S: AsRef<str>>(folder: &Path, args: impl IntoIterator<Item = S>) -> Result<Self> {
        let log = folder.join("agent.log");
        let file = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(binary("binnacle-agent")?);
        command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self { child: command.spawn()?, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to stop and waits.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let pid = Pid::from_raw(self.child.id() as i32).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        let started = now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > Duration::from_secs(60) {
                bail!("the agent did not end within a minute:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How to reach an address of this machine.
fn here(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::from(([127, 0, 0, 1], address.port())),
        false => address,
    }
}

/// Whether the tests run as root; prints why a test is skipped when not.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Waits until `ready` says so.
///
/// # Errors
/// When it does not within `timeout`.
pub async fn wait_until<F>(what: &str, timeout: Duration, mut ready: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = bool>,
{
    until(what, timeout, || {
        let ready = ready();
        async move { ready.await.then_some(()) }
    })
    .await
}

/// Asks until the answer is `Some`.
///
/// # Errors
/// When it is not within `timeout`.
pub async fn until<T, F>(what: &str, timeout: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let started = now();
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if started.elapsed() > timeout {
            bail!("{what}: not within {timeout:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The first record of a JSON log with this message.
fn log_record(path: &Path, message: &str) -> Result<Option<Value>> {
    for line in BufReader::new(File::open(path)?).lines() {
        if let Ok(record) = serde_json::from_str::<Value>(&line?)
            && record["fields"]["message"] == message
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

#[expect(clippy::disallowed_methods, reason = "waits for real processes")]
fn now() -> Instant {
    Instant::now()
}
