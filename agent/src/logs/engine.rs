//! Names of Docker's containers, from the folder it keeps of each.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

/// Largest file with a container's settings, in bytes.
const MAX_SETTINGS: u64 = 4 << 20;

/// The file with a container's settings.
const SETTINGS: &str = "config.v2.json";

/// The part of it that matters here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    name: String,
    #[serde(default)]
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

/// Names of containers by their folders. A folder of others is not read again before it changes.
#[derive(Default)]
pub(super) struct Names {
    others: HashMap<PathBuf, SystemTime>,
}

impl Names {
    /// As [`docker_name`].
    pub(super) fn of(&mut self, dir: &Path) -> Option<String> {
        let written = std::fs::metadata(dir.join(SETTINGS)).and_then(|meta| meta.modified()).ok();
        if written.is_some() && self.others.get(dir).copied() == written {
            return None;
        }
        let name = docker_name(dir);
        if let Some(written) = written.filter(|_| name.is_none()) {
            self.others.insert(dir.to_owned(), written);
        } else {
            self.others.remove(dir);
        }
        name
    }

    /// Forgets folders that are gone.
    pub(super) fn keep(&mut self, present: impl Fn(&Path) -> bool) {
        self.others.retain(|dir, _| present(dir));
    }
}

/// The container's name, without its slash; `None` when the folder is no container's, or one of Kubernetes, whose logs
/// are read where Kubernetes has them.
fn docker_name(dir: &Path) -> Option<String> {
    let file = dir.join(SETTINGS);
    if std::fs::metadata(&file).ok()?.len() > MAX_SETTINGS {
        return None;
    }
    let settings: Settings = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
    let labels = settings.config.labels.unwrap_or_default();
    if labels.contains_key("io.kubernetes.pod.name") {
        return None;
    }
    Some(settings.name.trim_start_matches('/').to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_others_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(SETTINGS);
        let write = |text: &str, seconds: u64| {
            std::fs::write(&file, text).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        };
        let mut names = Names::default();
        write(r#"{"Name":"/k8s","Config":{"Labels":{"io.kubernetes.pod.name":"p"}}}"#, 1);
        assert_eq!(names.of(dir.path()), None);
        // Only the time counts.
        write(r#"{"Name":"/web"}"#, 1);
        assert_eq!(names.of(dir.path()), None);
        write(r#"{"Name":"/web"}"#, 2);
        assert_eq!(names.of(dir.path()), Some("web".to_owned()));
        write("{", 3);
        assert_eq!(names.of(dir.path()), None);
        names.keep(|_| false);
        assert!(names.others.is_empty());
    }

    #[test]
    fn names_of_plain_containers_only() {
        let dir = tempfile::tempdir().unwrap();
        let named = |text: &str| {
            std::fs::write(dir.path().join("config.v2.json"), text).unwrap();
            docker_name(dir.path())
        };
        assert_eq!(
            named(r#"{"Name":"/web","Config":{"Labels":{"a":"b"}},"Other":1}"#),
            Some("web".to_owned())
        );
        assert_eq!(named(r#"{"Name":"/web"}"#), Some("web".to_owned()));
        assert_eq!(named(r#"{"Name":"/k8s","Config":{"Labels":{"io.kubernetes.pod.name":"p"}}}"#), None);
        assert_eq!(named("{"), None);
        assert_eq!(docker_name(&dir.path().join("absent")), None);
    }
}
