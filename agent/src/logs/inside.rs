//! Log files inside containers' own file systems: whose are wanted, and which there are.
//!
//! A pod says it with the annotation `binnacle.io/logs`, the configuration with `[[logs.container_files]]`. Everything
//! that is found is the container's word: see [`Root`] for what keeps it from leading elsewhere.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use super::content::Inode;
use super::hostpath::SLACK_MS;
use super::pattern::{is_path, name_matches};
use super::root::{self, Root, is_outside};
use crate::config;
use crate::identity::{Container, LOGS_ANNOTATION, Registry, SANDBOX};

/// Most patterns of one container.
const MAX_PATTERNS: usize = 32;

/// Longest path of a file, in bytes: it becomes a label.
const MAX_PATH: usize = 1024;

/// Which files of the container are logs, as it sees them: patterns with `*`.
pub(crate) fn declared(reading: &config::Logs, who: &Container) -> Vec<String> {
    if who.container == SANDBOX {
        return Vec::new();
    }
    let annotated = who.annotations.get(LOGS_ANNOTATION).map(String::as_str).unwrap_or_default();
    let annotated = annotated.split(',').map(str::trim);
    let rules = reading.container_files.iter().filter(|rule| {
        let parts =
            [(&rule.namespace, &who.namespace), (&rule.pod, &who.pod), (&rule.container, &who.container)];
        parts.into_iter().all(|(pattern, name)| name_matches(pattern, name))
    });
    let configured = rules.flat_map(|rule| rule.paths.iter().map(String::as_str));
    let mut patterns: Vec<String> =
        annotated.chain(configured).filter(|path| is_path(path)).map(str::to_owned).collect();
    patterns.truncate(MAX_PATTERNS);
    patterns
}

/// Containers of which files are wanted.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) containers: Vec<(Arc<Container>, Vec<String>)>,
    /// Whether all containers of the node are known: one that is not among them is gone.
    pub(super) is_complete: bool,
    generation: Option<u64>,
}

impl Wanted {
    /// Looks at the registry if it has changed.
    pub(super) fn refresh(&mut self, registry: &Registry, reading: &config::Logs) {
        let generation = Some(registry.generation());
        self.is_complete = registry.is_complete();
        if self.generation == generation {
            return;
        }
        self.generation = generation;
        let all = registry.all().into_iter().map(|who| (declared(reading, &who), who));
        let wanted = all.filter(|(patterns, _)| !patterns.is_empty());
        self.containers = wanted.map(|(patterns, who)| (who, patterns)).collect();
        // Of several that see a file the first has it.
        self.containers.sort_by(|(a, _), (b, _)| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
    }
}

/// How many files were not taken, by reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Devices, pipes, sockets, directories.
    pub(super) not_files: usize,
    /// Links that lead out of the container.
    pub(super) outside: usize,
    /// Names that are no text, or too long.
    pub(super) names: usize,
    /// More than are read of one container.
    pub(super) too_many: usize,
    /// Directories of which not all was looked at.
    pub(super) large_directories: usize,
}

impl LeftOut {
    /// With the value of the label `why`.
    pub(super) fn counts(&self) -> [(&'static str, usize); 5] {
        [
            ("not_a_file", self.not_files),
            ("outside", self.outside),
            ("name", self.names),
            ("too_many_files", self.too_many),
            ("large_directory", self.large_directories),
        ]
    }
}

/// A log file inside a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inner {
    /// As the container sees it.
    pub(super) path: String,
    pub(super) inode: Inode,
    /// When it was last written.
    pub(super) mtime_ms: i64,
}

/// Finds the files that the patterns say. A `*` stands for no link; a link that is named is followed.
pub(super) fn find(root: &Root, patterns: &[String], left_out: &mut LeftOut) -> Vec<Inner> {
    let mut search = Search { root, left: root::MAX_ENTRIES, found: Vec::new(), left_out };
    for pattern in patterns {
        let names: Vec<&str> = pattern.split('/').skip(1).collect();
        search.walk(PathBuf::from("/"), &names, true);
    }
    let mut found = search.found;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    found
}

struct Search<'a> {
    root: &'a Root,
    /// Entries of directories that may still be looked at.
    left: usize,
    found: Vec<Inner>,
    left_out: &'a mut LeftOut,
}

impl Search<'_> {
    fn walk(&mut self, dir: PathBuf, names: &[&str], is_named: bool) {
        let Some((first, rest)) = names.split_first() else { return self.take(&dir, is_named) };
        if !first.contains('*') {
            return self.walk(dir.join(first), rest, true);
        }
        let Ok(open) = self.root.dir(&dir) else { return };
        let Ok((mut entries, more)) = root::names(open) else { return };
        if more || entries.len() > self.left {
            self.left_out.large_directories += 1;
            entries.truncate(self.left);
        }
        self.left -= entries.len();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, kind) in entries {
            let Some(text) = name.to_str().filter(|text| !text.chars().any(char::is_control)) else {
                let is_last = rest.is_empty() && kind == FileType::RegularFile;
                self.left_out.names += usize::from(is_last && name_matches(first, &name.to_string_lossy()));
                continue;
            };
            // Directories that are links lead to files by another name than their own.
            if name_matches(first, text) && kind != FileType::Symlink {
                self.walk(dir.join(text), rest, false);
            }
        }
    }

    fn take(&mut self, path: &Path, is_named: bool) {
        let meta = match self.root.look(path, is_named) {
            Ok(meta) => meta,
            Err(e) => {
                self.left_out.outside += usize::from(is_outside(&e));
                return;
            }
        };
        if meta.is_symlink() {
            return;
        }
        if !meta.is_file() {
            self.left_out.not_files += 1;
            return;
        }
        match path.to_str().filter(|path| path.len() <= MAX_PATH) {
            Some(text) => self.found.push(Inner {
                path: text.to_owned(),
                inode: Inode::of(&meta),
                mtime_ms: meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000,
            }),
            None => self.left_out.names += 1,
        }
    }
}

/// Files last written before this were there before the container.
pub(super) fn since_ms(who: &Container) -> i64 {
    who.started_ms.saturating_sub(SLACK_MS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::ContainerFiles;

    fn container(annotation: &str) -> Container {
        Container {
            namespace: "shop".into(),
            pod: "web-0".into(),
            container: "main".into(),
            annotations: [(LOGS_ANNOTATION.to_owned(), annotation.to_owned())].into(),
            ..Container::default()
        }
    }

    #[test]
    fn annotations_and_rules_say_which_files_are_logs() {
        let rule = ContainerFiles {
            namespace: "shop".into(),
            pod: "web-*".into(),
            container: "*".into(),
            paths: vec!["/srv/*.txt".into()],
        };
        let other = ContainerFiles { namespace: "other".into(), ..rule.clone() };
        let reading = config::Logs { container_files: vec![rule, other], ..config::Logs::default() };
        let who = container("/var/log/app.log , ../x,, /a/../b");
        assert_eq!(declared(&reading, &who), ["/var/log/app.log", "/srv/*.txt"]);
        assert!(declared(&reading, &Container { container: SANDBOX.into(), ..who }).is_empty());
        let many = container(&"/x,".repeat(100));
        assert_eq!(declared(&config::Logs::default(), &many).len(), MAX_PATTERNS);
    }

    /// The root of a container that has this directory as its own.
    fn rooted(proc: &Path, dir: &Path) -> Root {
        fs::create_dir(proc.join("7")).unwrap();
        fs::write(proc.join("7/cgroup"), "0::/abc").unwrap();
        symlink(dir, proc.join("7/root")).unwrap();
        Root::of_container(proc, 7, "abc").unwrap()
    }

    #[test]
    fn only_files_within_the_root_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let (at, secret) = (dir.path().join("volume"), dir.path().join("secret.log"));
        fs::create_dir_all(at.join("a/b")).unwrap();
        for name in ["a/one.log", "a/two.log", "a/b/x.log", "a/line\nbreak.log"] {
            fs::write(at.join(name), "x").unwrap();
        }
        fs::write(&secret, "x").unwrap();
        fs::create_dir(at.join("a/dir.log")).unwrap();
        symlink("one.log", at.join("a/link.log")).unwrap();
        symlink("/proc/self/root/secret.log", at.join("a/named")).unwrap();
        fs::create_dir_all(at.join("proc/self")).unwrap();
        symlink(&secret, at.join("a/absent")).unwrap();
        symlink(at.join("a"), at.join("loop")).unwrap();
        let root = rooted(dir.path(), &at);
        let mut left_out = LeftOut::default();
        let patterns = ["/a/*.log", "/*/b/x.log", "/a/named", "/a/absent", "/a/one.log"].map(str::to_owned);
        let found = find(&root, &patterns, &mut left_out);
        let paths: Vec<_> = found.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["/a/b/x.log", "/a/one.log", "/a/two.log"]);
        assert_eq!(left_out, LeftOut { not_files: 1, names: 1, ..LeftOut::default() });
    }

    #[test]
    fn large_directories_are_looked_at_in_part() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..root::MAX_ENTRIES + 10 {
            fs::write(dir.path().join(format!("{n}.log")), "x").unwrap();
        }
        let mut left_out = LeftOut::default();
        let proc = tempfile::tempdir().unwrap();
        let found = find(&rooted(proc.path(), dir.path()), &["/*.log".to_owned()], &mut left_out);
        assert_eq!((found.len(), left_out.large_directories), (root::MAX_ENTRIES, 1));
    }
}
