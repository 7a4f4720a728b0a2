//! Tells when something changed in watched directories and files, so that nobody has to look all the time.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
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
    watched: Mutex<Watched>,
    changed: AtomicBool,
    /// Events cannot be read any more: who relies on this has to look by himself.
    deaf: AtomicBool,
    /// Watches at most.
    most: usize,
    count: Gauge,
    refused: Counter,
}

struct Watched {
    watches: Watches,
    known: HashSet<WatchDescriptor>,
    /// What should be watched and is not: tried again, for others may have ended.
    waiting: HashMap<PathBuf, What>,
    /// Whether it was said that there are too many.
    said: bool,
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
        Self::bounded(part, MAX_WATCHES, metrics)
    }

    fn bounded(part: &'static str, most: usize, metrics: &SelfMetrics) -> io::Result<(Self, Changes)> {
        let inotify = Inotify::init()?;
        let labels = [("part", part)];
        let watch = Self(Arc::new(Shared {
            watched: Mutex::new(Watched {
                watches: inotify.watches(),
                known: HashSet::new(),
                waiting: HashMap::new(),
                said: false,
            }),
            changed: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            most,
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
        let mut watched = self.0.watched.lock();
        if self.try_add(&mut watched, path, what) {
            return;
        }
        self.0.refused.add(1);
        if !std::mem::replace(&mut watched.said, true) {
            tracing::warn!(
                "the kernel watches no more files (fs.inotify.max_user_watches): they are looked at in turn"
            );
        }
        // Beyond that somebody looks by himself anyway.
        if watched.waiting.len() < self.0.most {
            watched.waiting.insert(path.to_owned(), what);
        }
    }

    /// False when there is no room for it.
    fn try_add(&self, watched: &mut Watched, path: &Path, what: What) -> bool {
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
        if watched.known.len() >= self.0.most {
            return false;
        }
        match watched.watches.add(path, mask | WatchMask::MASK_ADD) {
            Ok(descriptor) => {
                watched.known.insert(descriptor);
                self.0.count.set(watched.known.len() as f64);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => true,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot watch");
                false
            }
        }
    }

    /// Watches what had no room before, as far as there is some now.
    fn retry(&self, watched: &mut Watched) {
        for (path, what) in std::mem::take(&mut watched.waiting) {
            if !watched.waiting.is_empty() || !self.try_add(watched, &path, what) {
                watched.waiting.insert(path, what);
            }
        }
        if watched.waiting.is_empty() && std::mem::take(&mut watched.said) {
            tracing::info!("everything is watched again");
        }
    }

    /// Whether something changed since the last call, or cannot be known.
    pub(crate) fn take_changed(&self) -> bool {
        let is_blind = self.is_blind();
        self.0.changed.swap(false, Ordering::AcqRel) || is_blind
    }

    /// Whether something is not watched that should be. What came to be watched only now may have changed before:
    /// once more, that is unknown.
    pub(crate) fn is_blind(&self) -> bool {
        let mut watched = self.0.watched.lock();
        let was_blind = !watched.waiting.is_empty();
        if was_blind {
            self.retry(&mut watched);
        }
        was_blind || self.0.deaf.load(Ordering::Relaxed)
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
            let (gone, overflow) = read.inspect_err(|_| self.watch.0.deaf.store(true, Ordering::Relaxed))?;
            self.overflows.add(u64::from(overflow));
            if overflow || !gone.is_empty() {
                let mut watched = self.watch.0.watched.lock();
                if overflow {
                    // Which watches have ended meanwhile is not known: those that are added again count again.
                    watched.known.clear();
                }
                gone.iter().for_each(|descriptor| {
                    watched.known.remove(descriptor);
                });
                self.watch.0.count.set(watched.known.len() as f64);
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

    #[tokio::test]
    async fn what_had_no_room_is_watched_when_there_is_some() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = SelfMetrics::default();
        let (watch, mut changes) = Watch::bounded("test", 1, &metrics).unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        std::fs::create_dir(&first).unwrap();
        std::fs::create_dir(&second).unwrap();
        watch.add(&first, What::Names);
        assert!(!watch.is_blind());
        watch.add(&second, What::Names);
        assert!(watch.is_blind() && watch.take_changed() && watch.take_changed());
        std::fs::remove_dir(&first).unwrap();
        while !metrics.render().contains("binnacle_agent_watches{part=\"test\"} 0") {
            changes.wait().await.unwrap();
        }
        assert!(watch.take_changed());
        assert!(!watch.is_blind() && !watch.take_changed());
        std::fs::write(second.join("file"), "a").unwrap();
        changes.wait().await.unwrap();
        assert!(watch.take_changed());
    }
}
