//! The folder: which files there are, which have changed, what they gave.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Problem;
use super::convert;
use super::document::{Document, split};
use crate::cluster::objects::Objects;

/// Largest manifest file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most manifest files.
const MAX_FILES: usize = 1_000;
/// Most objects of all files.
const MAX_OBJECTS: usize = 10_000;

/// What tells a changed file from an unchanged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

#[derive(Debug, Clone, Default)]
struct File {
    fingerprint: Option<Fingerprint>,
    /// The objects of the last version that could be used.
    objects: Objects,
    /// Why the present version cannot be used.
    problem: Option<Problem>,
}

/// The manifests of one folder, as last read.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    files: BTreeMap<PathBuf, File>,
    /// Why the folder itself could not be read, or what no single file is to blame for.
    problem: Option<Problem>,
    objects: Objects,
    conflicts: Vec<Problem>,
}

impl Folder {
    /// A folder that has not been read yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            files: BTreeMap::new(),
            problem: None,
            objects: Objects::default(),
            conflicts: Vec::new(),
        }
    }

    /// The objects of all files in their last usable version.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What is refused at present.
    pub fn problems(&self) -> Vec<Problem> {
        let files = self.files.values().filter_map(|file| file.problem.clone());
        self.problem.iter().cloned().chain(files).chain(self.conflicts.iter().cloned()).collect()
    }

    /// Reads what has changed; everything when `all`. Says whether anything is different now.
    pub fn refresh(&mut self, all: bool) -> bool {
        let paths = match list(&self.path) {
            Ok(paths) => paths,
            Err(problem) => {
                // The objects stay: a folder that cannot be listed for a moment must not stop pods.
                let new = self.problem.as_ref() != Some(&problem);
                self.problem = Some(problem);
                return new;
            }
        };
        let mut changed = self.problem.take().is_some();
        let before = self.files.len();
        self.files.retain(|path, _| paths.contains(path));
        changed |= self.files.len() != before;
        for path in paths {
            let file = self.files.entry(path.clone()).or_default();
            let fingerprint = fingerprint(&path);
            if !all && fingerprint.is_some() && fingerprint == file.fingerprint {
                continue;
            }
            changed = true;
            file.fingerprint = fingerprint;
            match read(&path) {
                Ok(objects) => {
                    file.objects = objects;
                    file.problem = None;
                }
                Err(problem) => file.problem = Some(problem),
            }
        }
        if changed {
            self.merge();
        }
        changed
    }

    fn merge(&mut self) {
        let mut merged = Objects::default();
        self.conflicts.clear();
        for (path, file) in &self.files {
            let mut refuse = |kind: &str, key: &dyn std::fmt::Display, why: &str| {
                self.conflicts.push(Problem {
                    file: path.clone(),
                    line: None,
                    field: "metadata.name".to_owned(),
                    message: format!("{kind} {key} {why}"),
                });
            };
            let twice = "is defined in another file too; that one counts";
            if merged.len() + file.objects.len() > MAX_OBJECTS {
                let why = format!("exceeds the {MAX_OBJECTS} objects that may be defined");
                refuse("file", &path.display(), &why);
                continue;
            }
            macro_rules! take {
                ($kind:literal, $field:ident) => {
                    for (key, object) in &file.objects.$field {
                        if merged.$field.contains_key(key) {
                            refuse($kind, key, twice);
                        } else {
                            merged.$field.insert(key.clone(), object.clone());
                        }
                    }
                };
            }
            take!("Deployment", deployments);
            take!("HorizontalPodAutoscaler", hpas);
            take!("Pod", pods);
            take!("PodDisruptionBudget", budgets);
        }
        self.objects = merged;
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem =
        |message: String| Problem { file: folder.to_owned(), line: None, field: String::new(), message };
    let mut paths = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|e| problem(format!("cannot be read: {e}")))?;
    for entry in entries {
        let path = entry.map_err(|e| problem(format!("cannot be read: {e}")))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let kind = path.extension().and_then(|e| e.to_str());
        if !hidden && matches!(kind, Some("yaml" | "yml" | "json")) && path.is_file() {
            paths.push(path);
        }
    }
    if paths.len() > MAX_FILES {
        return Err(problem(format!("has {} manifests and may have {MAX_FILES}", paths.len())));
    }
    paths.sort();
    Ok(paths)
}

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    Some(Fingerprint { modified, size: metadata.len(), inode: metadata.ino() })
}

fn read(path: &Path) -> Result<Objects, Problem> {
    let problem = |(line, field, message): (Option<u64>, String, String)| Problem {
        file: path.to_owned(),
        line,
        field,
        message,
    };
    let plain = |message: String| problem((None, String::new(), message));
    let size = std::fs::metadata(path).map_err(|e| plain(format!("cannot be read: {e}")))?.len();
    if size > MAX_FILE_BYTES {
        return Err(plain(format!("has {size} bytes and may have {MAX_FILE_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| plain(format!("cannot be read: {e}")))?;
    let mut objects = Objects::default();
    for (lines_before, part) in split(&text) {
        let document = Document::parse(lines_before, &part)
            .map_err(|(line, message)| problem((line, String::new(), message)))?;
        convert::add(&document, &mut objects).map_err(problem)?;
    }
    Ok(objects)
}

#[cfg(test)]
pub(super) fn parse_text(text: &str) -> Result<Objects, Problem> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.yaml");
    std::fs::write(&path, text).unwrap();
    read(&path).map_err(|mut problem| {
        problem.file = PathBuf::from("m.yaml");
        problem
    })
}
