//! Names of Docker's containers, from the folder it keeps of each.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// Largest file with a container's settings, in bytes.
const MAX_SETTINGS: u64 = 4 << 20;

/// The part of `config.v2.json` that matters here.
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

/// The container's name, without its slash; `None` when the folder is no container's, or one of Kubernetes, whose logs
/// are read where Kubernetes has them.
pub(super) fn docker_name(dir: &Path) -> Option<String> {
    let file = dir.join("config.v2.json");
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
