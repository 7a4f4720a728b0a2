//! Which targets there are: listed in the configuration, listed in files, and pods that ask for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use binnacle_proto::{Labels, LabelsBuilder};

use super::config::{FileDiscovery, Group, Job, groups, read};
use crate::pods::AnnotatedPod;
use crate::selfmetrics::{Counter, Gauge, SelfMetrics};

/// Files that are read of one pattern at most.
const MAX_FILES: usize = 1_000;

/// Reads files of targets anew when they change. A file that is not in order leaves what it said before.
pub(super) struct Files {
    known: BTreeMap<PathBuf, Known>,
    errors: Counter,
    left_out: Gauge,
    /// How many files were left out when that was last said.
    said: usize,
}

#[derive(Default)]
struct Known {
    /// Of what was read last; `None` when it could not be read.
    looks: Option<(SystemTime, u64)>,
    groups: Vec<Group>,
    /// What was wrong with it: said once.
    complaint: String,
}

impl Files {
    pub(super) fn new(metrics: &SelfMetrics) -> Self {
        Self {
            known: BTreeMap::new(),
            errors: metrics.counter("binnacle_agent_scrape_file_sd_errors_total", &[]),
            left_out: metrics.gauge("binnacle_agent_scrape_files_left_out", &[]),
            said: 0,
        }
    }

    /// Looks at all files; true when anything is different.
    pub(super) fn refresh<'a>(&mut self, discoveries: impl Iterator<Item = &'a FileDiscovery>) -> bool {
        let (mut present, mut left_out) = (Vec::new(), 0);
        for pattern in discoveries.flat_map(|files| &files.patterns) {
            let mut files = expand(pattern);
            left_out += files.len().saturating_sub(MAX_FILES);
            files.truncate(MAX_FILES);
            present.append(&mut files);
        }
        present.sort();
        present.dedup();
        self.left_out.set(left_out as f64);
        if left_out != std::mem::replace(&mut self.said, left_out) && left_out > 0 {
            tracing::error!(left_out, limit = MAX_FILES, "a pattern names too many files of targets");
        }
        let before = self.known.len();
        self.known.retain(|path, _| present.binary_search(path).is_ok());
        let mut changed = self.known.len() != before;
        for path in present {
            let looks =
                std::fs::metadata(&path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
            if looks.is_some() && self.known.get(&path).is_some_and(|known| known.looks == looks) {
                continue;
            }
            let is_json = path.extension().is_some_and(|e| e == "json");
            let known = self.known.entry(path.clone()).or_default();
            // What could not be read is tried again: that may change without the file.
            let text = read(&path);
            known.looks = looks.filter(|_| text.is_ok());
            let found = text.map_err(|e| (0, e));
            match found.and_then(|text| groups(&text, is_json).map_err(|e| (e.line, e.problem))) {
                Ok(groups) => {
                    changed |= known.groups != groups;
                    known.groups = groups;
                    known.complaint.clear();
                }
                Err((line, problem)) => {
                    self.errors.add(1);
                    if known.complaint != problem {
                        tracing::error!(file = %path.display(), line, problem, "file of targets is not in order: the former list stands");
                    }
                    known.complaint = problem;
                }
            }
        }
        changed
    }

    fn of<'a>(&'a self, files: &'a FileDiscovery) -> impl Iterator<Item = (&'a Path, &'a Group)> {
        let is_of = |path: &Path| files.patterns.iter().any(|pattern| matches(pattern, path));
        let known = self.known.iter().filter(move |(path, _)| is_of(path));
        known.flat_map(|(path, known)| known.groups.iter().map(|group| (path.as_path(), group)))
    }
}

/// What a job discovers, before relabelling.
pub(super) fn found(job: &Job, files: &Files) -> Vec<Labels> {
    let mut found = Vec::new();
    for group in &job.groups {
        found.extend(group.targets.iter().map(|target| labelled(&group.labels, target, None)));
    }
    for (path, group) in job.files.iter().flat_map(|list| files.of(list)) {
        let path = path.to_string_lossy();
        found.extend(group.targets.iter().map(|target| labelled(&group.labels, target, Some(&path))));
    }
    found
}

fn labelled(labels: &Labels, address: &str, file: Option<&str>) -> Labels {
    let mut labels = labels.to_builder();
    labels.set("__address__", address);
    if let Some(file) = file {
        labels.set("__meta_filepath", file);
    }
    labels.build()
}

/// What the annotations of a pod ask for; `None` when it does not want to be scraped.
///
/// # Errors
/// The annotation that makes no sense.
pub(super) fn of_pod(pod: &AnnotatedPod, node: &str) -> Result<Option<Labels>, String> {
    let annotation = |name: &str| pod.annotations.get(&format!("prometheus.io/{name}")).map(String::as_str);
    if annotation("scrape") != Some("true") {
        return Ok(None);
    }
    let port = annotation("port").ok_or("prometheus.io/port is missing")?;
    let port: u16 = port.parse().map_err(|_| format!("prometheus.io/port: {port:?} is not a port"))?;
    let mut labels = LabelsBuilder::new();
    // Pods of this agent are processes of the node, without a network of their own.
    labels.set("__address__", format!("127.0.0.1:{port}"));
    labels.set("__metrics_path__", annotation("path").unwrap_or("/metrics"));
    labels.set("__scheme__", annotation("scheme").unwrap_or("http"));
    labels.set("namespace", pod.namespace.as_str()).set("pod", pod.name.as_str()).set("node", node);
    Ok(Some(labels.build()))
}

/// The files that a pattern names now, in order.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    if !pattern.to_string_lossy().contains('*') {
        return if pattern.exists() { vec![pattern.to_owned()] } else { Vec::new() };
    }
    let dir = pattern.parent().unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| matches(pattern, path)).collect();
    files.sort();
    files
}

/// Whether `path` is one that `pattern`, with `*` in its last part, names.
fn matches(pattern: &Path, path: &Path) -> bool {
    let (Some(wanted), Some(name)) = (pattern.file_name(), path.file_name()) else { return false };
    let (wanted, name) = (wanted.to_string_lossy(), name.to_string_lossy());
    pattern.parent() == path.parent() && fits(wanted.as_bytes(), name.as_bytes())
}

/// Whether `name` fits `pattern`, in which `*` stands for any bytes.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, n) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_again_when_they_change_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = FileDiscovery { patterns: vec![dir.path().join("*.yml"), dir.path().join("x.json")] };
        let metrics = SelfMetrics::default();
        let mut known = Files::new(&metrics);
        let addresses = |known: &Files| -> Vec<String> {
            known.of(&files).flat_map(|(_, group)| group.targets.clone()).collect()
        };
        assert!(!known.refresh(std::iter::once(&files)));
        std::fs::write(dir.path().join("a.yml"), "- targets: [a:1, b:2]\n").unwrap();
        std::fs::write(dir.path().join("x.json"), r#"[{"targets": ["c:3"]}]"#).unwrap();
        std::fs::write(dir.path().join("a.yaml"), "- targets: [d:4]\n").unwrap();
        assert!(known.refresh(std::iter::once(&files)));
        assert_eq!(addresses(&known), ["a:1", "b:2", "c:3"]);
        assert!(!known.refresh(std::iter::once(&files)));
        std::fs::write(dir.path().join("a.yml"), "- target: [a:1]\n").unwrap();
        assert!(!known.refresh(std::iter::once(&files)));
        assert_eq!(addresses(&known), ["a:1", "b:2", "c:3"]);
        assert!(metrics.render().contains("binnacle_agent_scrape_file_sd_errors_total 1"));
        std::fs::remove_file(dir.path().join("a.yml")).unwrap();
        assert!(known.refresh(std::iter::once(&files)));
        assert_eq!(addresses(&known), ["c:3"]);
    }

    #[test]
    fn files_beyond_the_bound_are_left_out_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MAX_FILES + 2 {
            std::fs::write(dir.path().join(format!("{number:05}.yml")), "- targets: [a:1]\n").unwrap();
        }
        let files = FileDiscovery { patterns: vec![dir.path().join("*.yml")] };
        let metrics = SelfMetrics::default();
        let mut known = Files::new(&metrics);
        assert!(known.refresh(std::iter::once(&files)));
        assert_eq!(known.of(&files).count(), MAX_FILES);
        assert!(metrics.render().contains("binnacle_agent_scrape_files_left_out 2"));
    }

    #[test]
    fn a_file_that_could_not_be_read_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yml");
        let files = FileDiscovery { patterns: vec![file.clone()] };
        let mut known = Files::new(&SelfMetrics::default());
        // Nobody can read a folder, not even root; its time is the file's.
        std::fs::create_dir(&file).unwrap();
        assert!(!known.refresh(std::iter::once(&files)));
        assert_eq!(known.known[&file].looks, None);
        std::fs::remove_dir(&file).unwrap();
        std::fs::write(&file, "- targets: [a:1]\n").unwrap();
        assert!(known.refresh(std::iter::once(&files)));
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, fit) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "axxbyyc", true),
            ("a*", "b", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), fit, "{pattern} {name}");
        }
    }

    #[test]
    fn pods_ask_by_annotations() {
        let pod = |pairs: &[(&str, &str)]| AnnotatedPod {
            namespace: "ns".to_owned(),
            name: "web-0".to_owned(),
            annotations: pairs.iter().map(|(n, v)| (format!("prometheus.io/{n}"), (*v).to_owned())).collect(),
        };
        assert_eq!(of_pod(&pod(&[("port", "80")]), "n"), Ok(None));
        let labels =
            of_pod(&pod(&[("scrape", "true"), ("port", "80"), ("path", "/m")]), "n").unwrap().unwrap();
        assert_eq!(
            labels.to_string(),
            r#"{__address__="127.0.0.1:80", __metrics_path__="/m", __scheme__="http", namespace="ns", node="n", pod="web-0"}"#
        );
        assert!(of_pod(&pod(&[("scrape", "true")]), "n").unwrap_err().contains("port"));
        assert!(of_pod(&pod(&[("scrape", "true"), ("port", "x")]), "n").is_err());
    }
}
