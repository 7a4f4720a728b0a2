//! What must survive a restart of the server, in one small file.
//!
//! The file is replaced as a whole: written beside, fsynced, renamed, folder fsynced. A file that
//! cannot be read stops the server: starting with an empty state would end every pod that runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::objects::Definition;
use crate::decide::hpa::HpaState;
use crate::decide::{Owner, Phase};

/// Version of the file's layout.
const VERSION: u32 = 1;

/// Everything that is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Definitions that pods were made from, by hash.
    pub definitions: BTreeMap<String, Definition>,
    /// All pods, by uid.
    pub pods: BTreeMap<String, PodRecord>,
    /// Replicas of deployments, by `namespace/name`.
    pub scales: BTreeMap<String, Scale>,
    /// Autoscalers' states, by `namespace/name`.
    pub hpas: BTreeMap<String, HpaState>,
}

/// Replicas that a deployment should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Wanted now.
    pub replicas: u32,
    /// What the manifest said when this was set: when the manifest says something else, it counts.
    pub manifest: u32,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodRecord {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What it belongs to.
    pub owner: Owner,
    /// Hash of its definition.
    pub definition: String,
    /// Node it is bound to.
    pub node: Option<String>,
    /// When it was made.
    pub created_ms: i64,
    /// When it was bound.
    pub bound_ms: Option<i64>,
    /// When the node started it.
    pub started_ms: Option<i64>,
    /// As last reported.
    pub phase: Phase,
    /// Short CamelCase, empty when all is well.
    pub reason: String,
    /// A sentence about the reason.
    pub message: String,
    /// The Ready condition; `None` before the first report.
    pub ready: Option<bool>,
    /// When `ready` last changed.
    pub ready_changed_ms: i64,
    /// Restarts of all containers.
    pub restarts: u32,
    /// When its end was asked for.
    pub deleting_ms: Option<i64>,
    /// When it was over.
    pub ended_ms: Option<i64>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    state: &'a State,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    state: State,
}

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("state of the cluster, {path}: {reason}")]
pub struct StoreError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// The file, and what is in it.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    saved: State,
}

impl Store {
    /// Opens the file in `folder`, which is made when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made, or the file is there and cannot be read: show it to the
    /// operator and do not go on.
    pub fn open(folder: &Path) -> Result<(Self, State), StoreError> {
        let path = folder.join("state.json");
        let error = |reason: String| StoreError { path: path.clone(), reason };
        fs::create_dir_all(folder).map_err(|e| error(format!("cannot create the folder: {e}")))?;
        let state = match fs::read(&path) {
            Ok(bytes) => {
                let read: Read =
                    serde_json::from_slice(&bytes).map_err(|e| error(format!("cannot be read: {e}")))?;
                if read.version != VERSION {
                    let found = read.version;
                    return Err(error(format!("has layout {found}, this server knows {VERSION}")));
                }
                read.state
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => State::default(),
            Err(e) => return Err(error(format!("cannot be read: {e}"))),
        };
        Ok((Self { path, saved: state.clone() }, state))
    }

    /// Whether `state` differs from what is in the file.
    pub fn differs(&self, state: &State) -> bool {
        self.saved != *state
    }

    /// Makes `state` durable; nothing is written when nothing changed. Blocks.
    ///
    /// # Errors
    /// When it could not be made durable: what was there before still is.
    pub fn save(&mut self, state: &State) -> Result<(), StoreError> {
        if !self.differs(state) {
            return Ok(());
        }
        let error =
            |reason: std::io::Error| StoreError { path: self.path.clone(), reason: reason.to_string() };
        let bytes = serde_json::to_vec(&Written { version: VERSION, state })
            .map_err(|e| StoreError { path: self.path.clone(), reason: e.to_string() })?;
        let beside = self.path.with_extension("json.new");
        let mut file = File::create(&beside).map_err(error)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(error)?;
        fs::rename(&beside, &self.path).map_err(error)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(error)?;
        }
        self.saved = state.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> PodRecord {
        PodRecord {
            namespace: "default".into(),
            name: name.into(),
            owner: Owner::Deployment { name: "web".into(), template_hash: "abc".into() },
            definition: "abc".into(),
            node: Some("alpha".into()),
            created_ms: 1,
            bound_ms: Some(2),
            started_ms: None,
            phase: Phase::Pending,
            reason: String::new(),
            message: String::new(),
            ready: None,
            ready_changed_ms: 0,
            restarts: 0,
            deleting_ms: None,
            ended_ms: None,
        }
    }

    #[test]
    fn state_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut state) = Store::open(folder.path()).unwrap();
        assert_eq!(state, State::default());
        state.pods.insert("u1".into(), record("web-1"));
        state.scales.insert("default/web".into(), Scale { replicas: 3, manifest: 1 });
        assert!(store.differs(&state));
        store.save(&state).unwrap();
        assert!(!store.differs(&state));
        let (_, again) = Store::open(folder.path()).unwrap();
        assert_eq!(again, state);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_empty_state() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("state.json"), b"{\"version\":1,\"sta").unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("state.json"), "{error}");
        fs::write(folder.path().join("state.json"), b"{\"version\":9,\"state\":{}}").unwrap();
        assert!(Store::open(folder.path()).is_err());
    }

    #[test]
    fn a_half_written_file_beside_is_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut state) = Store::open(folder.path()).unwrap();
        state.pods.insert("u1".into(), record("web-1"));
        store.save(&state).unwrap();
        fs::write(folder.path().join("state.json.new"), b"half").unwrap();
        assert_eq!(Store::open(folder.path()).unwrap().1, state);
    }
}
