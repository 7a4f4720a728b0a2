//! Counts the bytes between agent and server, framing and all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Wire {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
}

impl Wire {
    /// Passes everything on to `server`.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                let counter = counter.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    let _ = (agent.set_nodelay(true), server.set_nodelay(true));
                    let ((mut from_agent, mut to_agent), (mut from_server, mut to_server)) =
                        (agent.into_split(), server.into_split());
                    let up = async {
                        let mut buffer = vec![0; 64 << 10];
                        while let Ok(have @ 1..) = from_agent.read(&mut buffer).await {
                            counter.fetch_add(have as u64, Ordering::Relaxed);
                            if to_server.write_all(&buffer[..have]).await.is_err() {
                                return;
                            }
                        }
                    };
                    let down = tokio::io::copy(&mut from_server, &mut to_agent);
                    tokio::select! { () = up => {}, _ = down => {} }
                });
            }
        });
        Ok(Self { address, sent })
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Bytes from agents so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}
