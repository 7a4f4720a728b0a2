//! Tells when something changed in watched directories and files, so that nobody has to look all the time.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::selfmetrics::{Counter, Gauge, SelfMetrics};

/// Directories and files that one part of the agent watches at most. The kernel holds about 1 KiB for each.
const MAX_WATCHES: usize = 20_000;

/// Events are read in pieces of this size, in bytes.
const EVENT_BYTES: usize = 16 << 10;

/// Adds watches, and tells whether anything changed. Clones share it.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Shared>);

struct Shared {
    watches: Mutex<(Watches, HashSet<WatchDescriptor>)>,
    changed: AtomicBool,
    /// A watch was refused: who relies on this has to look by himself.
    blind: AtomicBool,
    count: Gauge,
    refused: Counter,
}

/// Waits for changes; there is one of it for each [`Watch`].
pub(crate) struct Changes {
    events: AsyncFd<Inotify>,
    buffer: Vec<u8>,
    watch: Watch,
    overflows: Counter,
}

/// What is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Names that come, go and change in a directory.
    Names,
    /// What is written to a file.
    Content,
}

impl Watch {
    /// Nothing watched yet; `part` names it in metrics.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub(crate) fn new(part: &'static str, metrics: &SelfMetrics) -> io::Result<(Self, Changes)> {
        let inotify = Inotify::init()?;
        let labels = [("part", part)];
        let watch = Self(Arc::new(Shared {
            watches: Mutex::new((inotify.watches(), HashSet::new())),
            changed: AtomicBool::new(false),
            blind: AtomicBool::new(false),
            count: metrics.gauge("binnacle_agent_watches", &labels),
            refused: metrics.counter("binnacle_agent_watches_refused_total", &labels),
        }));
        // SAFETY: the instance owns its descriptor and keeps the same one until it is dropped.
        let events = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?;
        let changes = Changes {
            events,
            buffer: vec![0; EVENT_BYTES],
            watch: watch.clone(),
            overflows: metrics.counter("binnacle_agent_watch_overflows_total", &labels),
        };
        Ok((watch, changes))
    }

    /// Watches `path`; again does nothing more. What is not there is not watched.
    pub(crate) fn add(&self, path: &Path, what: What) {
        let mask = match what {
            What::Names => {
                WatchMask::CREATE
                    | WatchMask::DELETE
                    | WatchMask::MOVE
                    | WatchMask::DELETE_SELF
                    | WatchMask::ONLYDIR
            }
            What::Content => WatchMask::MODIFY | WatchMask::ATTRIB | WatchMask::MOVE_SELF,
        };
        let mut watches = self.0.watches.lock();
        let (adding, known) = &mut *watches;
        if known.len() >= MAX_WATCHES {
            self.refuse();
            return;
        }
        match adding.add(path, mask | WatchMask::MASK_ADD) {
            Ok(descriptor) => {
                known.insert(descriptor);
                self.0.count.set(known.len() as f64);
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot watch");
                self.refuse();
            }
        }
    }

    fn refuse(&self) {
        self.0.refused.add(1);
        if !self.0.blind.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the kernel watches no more files (fs.inotify.max_user_watches): they are looked at in turn"
            );
        }
    }

    /// Whether something changed since the last call, or cannot be known.
    pub(crate) fn take_changed(&self) -> bool {
        self.0.changed.swap(false, Ordering::AcqRel) || self.is_blind()
    }

    /// Whether something is not watched that should be.
    pub(crate) fn is_blind(&self) -> bool {
        self.0.blind.load(Ordering::Relaxed)
    }

    /// As if something had changed.
    pub(crate) fn mark(&self) {
        self.0.changed.store(true, Ordering::Release);
    }
}

impl Changes {
    /// Waits until something changes, and notes it.
    ///
    /// # Errors
    /// When events cannot be read.
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.events.readable_mut().await?;
            let buffer = &mut self.buffer;
            let read = guard.try_io(|inotify| {
                let (mut gone, mut overflow) = (Vec::new(), false);
                for event in inotify.get_mut().read_events(buffer)? {
                    overflow |= event.mask.contains(EventMask::Q_OVERFLOW);
                    if event.mask.contains(EventMask::IGNORED) {
                        gone.push(event.wd);
                    }
                }
                Ok((gone, overflow))
            });
            // Would block: nothing was there after all.
            let Ok(read) = read else { continue };
            let (gone, overflow) = read.inspect_err(|_| self.watch.0.blind.store(true, Ordering::Relaxed))?;
            self.overflows.add(u64::from(overflow));
            if overflow || !gone.is_empty() {
                let mut watches = self.watch.0.watches.lock();
                if overflow {
                    // Which watches have ended meanwhile is not known: those that are added again count again.
                    watches.1.clear();
                }
                gone.iter().for_each(|descriptor| {
                    watches.1.remove(descriptor);
                });
                self.watch.0.count.set(watches.1.len() as f64);
            }
            self.watch.mark();
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn new_names_and_new_content_are_noticed_and_watches_end_with_what_they_watch() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = SelfMetrics::default();
        let (watch, mut changes) = Watch::new("test", &metrics).unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        watch.add(dir.path(), What::Names);
        watch.add(&inner, What::Names);
        watch.add(&inner, What::Names);
        watch.add(&dir.path().join("absent"), What::Names);
        assert!(metrics.render().contains("binnacle_agent_watches{part=\"test\"} 2"), "{}", metrics.render());
        let quiet = tokio::time::timeout(Duration::from_millis(50), changes.wait()).await;
        assert!(quiet.is_err() && !watch.take_changed());
        let file = dir.path().join("file");
        std::fs::write(&file, "a").unwrap();
        changes.wait().await.unwrap();
        assert!(watch.take_changed() && !watch.take_changed());
        watch.add(&file, What::Content);
        std::fs::write(&file, "b").unwrap();
        changes.wait().await.unwrap();
        assert!(watch.take_changed());
        std::fs::remove_dir(&inner).unwrap();
        while !metrics.render().contains("binnacle_agent_watches{part=\"test\"} 2") {
            changes.wait().await.unwrap();
        }
        assert!(!watch.is_blind());
    }
}
