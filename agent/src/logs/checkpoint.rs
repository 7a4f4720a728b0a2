//! How far each log file was stored by the server; survives the agent.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content::{Inode, Print};
use super::hostpath::HostFile;
use crate::durable;

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What the server knows the file by; unique for good.
    pub(super) source: String,
    pub(super) inode: Inode,
    /// Of its beginning.
    pub(super) head: Print,
    /// Up to here everything is stored by the server.
    pub(super) offset: u64,
    /// Of the bytes before `offset`.
    pub(super) tail: Print,
    /// Largest size seen: what is beyond `offset` is lost when the file is gone.
    pub(super) size: u64,
    /// Whether it was rotated and read to its end.
    pub(super) finished: bool,
    /// Ends of lines after which a trace was ended by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) cuts: Vec<u64>,
    /// Ends of lines after which a trace went on in the next file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) joins: Vec<u64>,
}

/// The checkpoint file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    /// Counted up for each file that is begun.
    generation: u64,
    /// By group of files.
    groups: BTreeMap<String, Vec<Entry>>,
    /// Whose the files on host paths are, by group: their pods may end while no agent is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    host_files: BTreeMap<String, HostFile>,
}

/// The checkpoint file, and where it is.
pub(super) struct Checkpoint {
    path: PathBuf,
    saved: Saved,
}

impl Checkpoint {
    /// Reads the file; begins an empty one where there is none.
    ///
    /// # Errors
    /// When it cannot be read or is not a checkpoint: going on would send everything twice.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let saved = durable::load(path)?.unwrap_or_default();
        Ok(Self { path: path.to_owned(), saved })
    }

    /// The number of a new file, never given before.
    pub(super) fn next_generation(&mut self) -> u64 {
        self.saved.generation += 1;
        self.saved.generation
    }

    /// Entries of a group, as they were last set.
    pub(super) fn group(&self, key: &str) -> &[Entry] {
        self.saved.groups.get(key).map_or(&[], Vec::as_slice)
    }

    /// Names of all groups.
    pub(super) fn keys(&self) -> Vec<String> {
        self.saved.groups.keys().cloned().collect()
    }

    /// Replaces the entries of a group; without entries it is forgotten.
    pub(super) fn set(&mut self, key: &str, entries: Vec<Entry>) {
        if entries.is_empty() {
            self.saved.groups.remove(key);
            self.saved.host_files.remove(key);
        } else {
            self.saved.groups.insert(key.to_owned(), entries);
        }
    }

    /// Whose the files of a group on a host path are.
    pub(super) fn host_file(&self, key: &str) -> Option<&HostFile> {
        self.saved.host_files.get(key)
    }

    /// Notes whose they are.
    pub(super) fn set_host_file(&mut self, key: &str, file: HostFile) {
        self.saved.host_files.insert(key.to_owned(), file);
    }

    /// Makes it durable: whole or not at all.
    pub(super) fn save(&self) -> io::Result<()> {
        durable::save(&self.path, &self.saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_comes_back_and_damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs.json");
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.next_generation(), 1);
        let entry = Entry {
            source: "s".to_owned(),
            inode: Inode { dev: 1, ino: 2 },
            head: Print { len: 3, hash: u64::MAX },
            offset: 10,
            tail: Print::default(),
            size: 20,
            finished: false,
            cuts: vec![5],
            joins: vec![6],
        };
        checkpoint.set("g", vec![entry.clone()]);
        checkpoint.save().unwrap();
        let mut again = Checkpoint::open(&path).unwrap();
        assert_eq!(again.group("g"), [entry]);
        assert_eq!(again.next_generation(), 2);
        std::fs::write(&path, "{").unwrap();
        assert!(Checkpoint::open(&path).is_err());
    }
}
