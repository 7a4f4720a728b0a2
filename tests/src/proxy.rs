//! A loopback TCP proxy that is a bad network: delays, truncates, stalls, cuts, is away. Seeded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

use crate::random::Random;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Carries everything at once.
    Clean = 0,
    /// Each connection is delayed, and cut after a random number of bytes, somewhere in the middle.
    Faulty = 1,
    /// Connections are refused, and those that are open are cut.
    Away = 2,
}

/// The proxy; ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    max_life: u64,
    mode: AtomicU8,
    seed: u64,
    cuts: AtomicU64,
    bytes: AtomicU64,
}

impl Proxy {
    /// A proxy in front of `target`; with the same seed the connection of a number has the same faults in the
    /// same traffic. With [`Mode::Faulty`] a direction of a connection lives for at most `max_life` bytes.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(target: SocketAddr, seed: u64, mode: Mode, max_life: u64) -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            max_life,
            mode: AtomicU8::new(mode as u8),
            seed,
            cuts: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, for open connections too.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// Connections that have ended: were cut, nearly all.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Bytes carried to the target.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends a task with its owner.
struct Bound(AbortHandle);

impl Drop for Bound {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = Vec::new();
    for number in 0.. {
        let Ok((near, _)) = listener.accept().await else { return };
        let task = tokio::spawn(carry(near, shared.clone(), number));
        open.push(Bound(task.abort_handle()));
        open.retain(|task: &Bound| !task.0.is_finished());
    }
}

async fn carry(near: TcpStream, shared: Arc<Shared>, number: u64) {
    if shared.is(Mode::Away) {
        return;
    }
    let Ok(far) = TcpStream::connect(shared.target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let random = |direction: u64| Random::new(shared.seed ^ (2 * number + direction) << 32);
    // What ends a direction ends the connection: both halves are dropped.
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        () = pump(near_in, far_out, &shared, random(0), true) => {}
        () = pump(far_in, near_out, &shared, random(1), false) => {}
        () = away(&shared) => {}
    }
    shared.cuts.fetch_add(1, Ordering::Relaxed);
}

async fn away(shared: &Shared) {
    while !shared.is(Mode::Away) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Carries one direction until it ends, or a fault ends it.
async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    shared: &Shared,
    mut random: Random,
    up: bool,
) {
    let mut buffer = vec![0; 8 << 10];
    let mut life = random.bits() % shared.max_life.max(1);
    loop {
        let Ok(read) = from.read(&mut buffer).await else { return };
        if read == 0 {
            return;
        }
        let mut bytes = &buffer[..read];
        if shared.is(Mode::Faulty) {
            match random.below(40) {
                0 => tokio::time::sleep(Duration::from_millis(random.bits() % 30)).await,
                // Nothing goes on for a while, and then never again.
                1 if random.below(3) == 0 => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    return;
                }
                _ => {}
            }
            // In the middle of a frame, most likely.
            if life < read as u64 {
                bytes = &bytes[..life as usize];
            }
        }
        if up {
            shared.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        if to.write_all(bytes).await.is_err() || bytes.len() < read {
            return;
        }
        life = life.saturating_sub(read as u64);
    }
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::Relaxed) == mode as u8
    }
}
