//! Rule files: YAML into groups of rules whose expressions and templates parse.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::bounded::read_text_bounded;
use super::scope::LogQueries;
use super::template::Template;

/// Largest rule file, in bytes.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// One thing that is wrong with a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1; 0 when it is about the whole file.
    pub line: u64,
    /// What is wrong, with the field and what is allowed.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What the expressions of a file are written in. Nothing in a file says it: `sum(rate({a="b"}[5m]))` is
/// both.
#[derive(Clone, Copy)]
pub(crate) enum Language<'a> {
    PromQl,
    LogQl(&'a dyn LogQueries),
}

impl Language<'_> {
    fn check(self, expr: &str) -> Result<(), String> {
        match self {
            Self::PromQl => crate::promql::format_query(expr).map(drop).map_err(|error| error.to_string()),
            Self::LogQl(logs) => logs.check(expr),
        }
    }
}

/// A group of rules, evaluated together and in order.
#[derive(Debug, Clone)]
pub(crate) struct GroupSpec {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) interval: Option<Duration>,
    pub(crate) query_offset: Option<Duration>,
    pub(crate) limit: usize,
    /// Whether the expressions are LogQL.
    pub(crate) of_logs: bool,
    pub(crate) rules: Vec<RuleSpec>,
}

#[derive(Debug, Clone)]
pub(crate) struct RuleSpec {
    /// The series or alert it gives.
    pub(crate) name: String,
    pub(crate) expr: String,
    pub(crate) labels: Vec<Templated>,
    /// `None` for a recording rule.
    pub(crate) alert: Option<AlertSpec>,
}

#[derive(Debug, Clone)]
pub(crate) struct AlertSpec {
    pub(crate) hold: Duration,
    pub(crate) keep_firing: Duration,
    pub(crate) annotations: Vec<Templated>,
}

/// A label or annotation.
#[derive(Debug, Clone)]
pub(crate) struct Templated {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) template: Template,
}

impl GroupSpec {
    /// Whether the other is written the same, so that its state can go on untouched.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.file, &self.name, self.interval, self.query_offset, self.limit, self.of_logs)
            == (&other.file, &other.name, other.interval, other.query_offset, other.limit, other.of_logs)
            && self.rules.len() == other.rules.len()
            && self.rules.iter().zip(&other.rules).all(|(a, b)| a.is_same(b))
    }
}

impl RuleSpec {
    /// Whether the other rule is written the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let texts = |templated: &[Templated]| {
            templated.iter().map(|one| (one.name.clone(), one.text.clone())).collect::<Vec<_>>()
        };
        self.name == other.name
            && self.expr == other.expr
            && texts(&self.labels) == texts(&other.labels)
            && match (&self.alert, &other.alert) {
                (None, None) => true,
                (Some(a), Some(b)) => {
                    (a.hold, a.keep_firing) == (b.hold, b.keep_firing)
                        && texts(&a.annotations) == texts(&b.annotations)
                }
                _ => false,
            }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    groups: Option<Vec<RawGroup>>,
}

type Texts = BTreeMap<String, Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Spanned<String>,
    interval: Option<Spanned<String>>,
    query_offset: Option<Spanned<String>>,
    limit: Option<usize>,
    labels: Option<Texts>,
    rules: Option<Vec<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Spanned<String>,
    #[serde(rename = "for")]
    hold: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    labels: Option<Texts>,
    annotations: Option<Texts>,
}

/// Reads files and gives their groups.
///
/// # Errors
/// All that is wrong with any of them.
pub(crate) fn load(files: &[PathBuf], language: Language<'_>) -> Result<Vec<GroupSpec>, Vec<Finding>> {
    let (mut groups, mut findings) = (Vec::new(), Vec::new());
    for file in files {
        let whole = |message: String| Finding { file: file.clone(), line: 0, message };
        match read_text_bounded(file, MAX_FILE_BYTES) {
            Ok(text) => match parse(file, &text, language) {
                Ok(found) => groups.extend(found),
                Err(found) => findings.extend(found),
            },
            Err(error) => findings.push(whole(format!("cannot be read: {error}"))),
        }
    }
    if findings.is_empty() { Ok(groups) } else { Err(findings) }
}

/// What is wrong with rule files, for `binnacle check rules`; and how many rules are in order.
/// With `logs`, the expressions are LogQL.
pub fn check(files: &[PathBuf], logs: Option<&dyn LogQueries>) -> (usize, Vec<Finding>) {
    let language = logs.map_or(Language::PromQl, Language::LogQl);
    let (mut rules, mut findings) = (0, Vec::new());
    for file in files {
        match load(std::slice::from_ref(file), language) {
            Ok(groups) => rules += groups.iter().map(|group| group.rules.len()).sum::<usize>(),
            Err(found) => findings.extend(found),
        }
    }
    (rules, findings)
}

/// Parses the text of one file.
pub(crate) fn parse(file: &Path, text: &str, language: Language<'_>) -> Result<Vec<GroupSpec>, Vec<Finding>> {
    let mut reader = Reader { file, language, findings: Vec::new() };
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let raw: RawFile = match serde_saphyr::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let line = error.location().map_or(0, |location| location.line());
            reader.find(line, error.without_snippet().to_string());
            return Err(reader.findings);
        }
    };
    let mut groups = Vec::new();
    let mut names = BTreeSet::new();
    for group in raw.groups.unwrap_or_default() {
        let line = group.name.referenced.line();
        if group.name.value.is_empty() {
            reader.find(line, "groups.name: the name of a group must not be empty");
        }
        if !names.insert(group.name.value.clone()) {
            reader.find(line, format!("groups.name: {:?} is given twice in this file", group.name.value));
        }
        groups.push(reader.group(group));
    }
    if reader.findings.is_empty() { Ok(groups) } else { Err(reader.findings) }
}

struct Reader<'a> {
    file: &'a Path,
    language: Language<'a>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn find(&mut self, line: u64, message: impl Into<String>) {
        self.findings.push(Finding { file: self.file.to_owned(), line, message: message.into() });
    }

    fn duration(&mut self, field: &str, text: Option<&Spanned<String>>) -> Option<Duration> {
        let text = text?;
        match crate::promql::parse_duration(&text.value) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.find(text.referenced.line(), format!("{field}: {error}"));
                None
            }
        }
    }

    fn group(&mut self, raw: RawGroup) -> GroupSpec {
        let interval =
            self.duration("interval", raw.interval.as_ref()).filter(|interval| !interval.is_zero());
        let query_offset = self.duration("query_offset", raw.query_offset.as_ref());
        let shared = raw.labels.unwrap_or_default();
        let rules = raw.rules.unwrap_or_default();
        GroupSpec {
            file: self.file.display().to_string(),
            name: raw.name.value.clone(),
            interval,
            query_offset,
            limit: raw.limit.unwrap_or(0),
            of_logs: matches!(self.language, Language::LogQl(_)),
            rules: rules.into_iter().filter_map(|rule| self.rule(&raw.name.value, &shared, rule)).collect(),
        }
    }

    fn rule(&mut self, group: &str, shared: &Texts, raw: RawRule) -> Option<RuleSpec> {
        let line = raw.expr.referenced.line();
        let (name, is_alert) = match (&raw.record, &raw.alert) {
            (Some(record), None) => (record, false),
            (None, Some(alert)) => (alert, true),
            (Some(_), Some(alert)) => {
                self.find(alert.referenced.line(), "only one of record and alert must be set");
                return None;
            }
            (None, None) => {
                self.find(line, format!("group {group:?}: one of record and alert must be set"));
                return None;
            }
        };
        let at = name.referenced.line();
        let name = name.value.clone();
        if name.is_empty() {
            self.find(at, "the name of a rule must not be empty");
        }
        if let Err(error) = self.language.check(&raw.expr.value) {
            self.find(line, format!("rule {name:?}: expr: {error}"));
        }
        if !is_alert {
            // Any UTF-8 can be a name; braces mean that the expression stands in the wrong place.
            if name.contains(['{', '}']) {
                self.find(at, format!("record: {name:?} has braces, which the name of a series cannot have"));
            }
            for (field, given) in [
                ("for", raw.hold.as_ref().map(|text| text.referenced.line())),
                ("keep_firing_for", raw.keep_firing_for.as_ref().map(|text| text.referenced.line())),
                ("annotations", raw.annotations.as_ref().map(|_| at)),
            ] {
                if let Some(line) = given {
                    self.find(line, format!("rule {name:?}: {field} is for alerting rules only"));
                }
            }
        }
        let mut labels = shared.clone();
        labels.extend(raw.labels.unwrap_or_default());
        let hold = self.duration("for", raw.hold.as_ref()).unwrap_or_default();
        let keep_firing = self.duration("keep_firing_for", raw.keep_firing_for.as_ref()).unwrap_or_default();
        let labels = self.templated(&name, "labels", labels);
        let annotations = self.templated(&name, "annotations", raw.annotations.unwrap_or_default());
        let alert = is_alert.then_some(AlertSpec { hold, keep_firing, annotations });
        Some(RuleSpec { name, expr: raw.expr.value.trim().to_owned(), labels, alert })
    }

    fn templated(&mut self, rule: &str, field: &str, texts: Texts) -> Vec<Templated> {
        let mut all = Vec::with_capacity(texts.len());
        for (name, text) in texts {
            let line = text.referenced.line();
            if name.is_empty() || (field == "labels" && name == "__name__") {
                self.find(line, format!("rule {rule:?}: {field}: {name:?} is not a name that can be set"));
            }
            match Template::parse(&text.value) {
                Ok(template) => all.push(Templated { name, text: text.value, template }),
                Err(error) => self.find(line, format!("rule {rule:?}: {field}.{name}: template, {error}")),
            }
        }
        all
    }
}

/// The files that patterns name: a `*` may stand in the last part of the path.
///
/// # Errors
/// When a file named without `*` does not exist, or a folder cannot be read.
pub(crate) fn matching(patterns: &[String]) -> Result<Vec<PathBuf>, Vec<Finding>> {
    let (mut files, mut findings) = (BTreeSet::new(), Vec::new());
    for pattern in patterns {
        let path = Path::new(pattern);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.contains('*') {
            files.insert(path.to_owned());
            continue;
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("rule_files {pattern:?}: the folder cannot be read: {error}");
                findings.push(Finding { file: folder.to_owned(), line: 0, message });
                continue;
            }
        };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(|have| matches_star(name, have)) {
                files.insert(entry.path());
            }
        }
    }
    if findings.is_empty() { Ok(files.into_iter().collect()) } else { Err(findings) }
}

fn matches_star(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (i, part) in parts.iter().enumerate() {
        if i + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        match parse(Path::new("r.yml"), text, Language::PromQl) {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(ToString::to_string).collect(),
        }
    }

    const GOOD: &str = r#"
groups:
  - name: example
    interval: 30s
    query_offset: 5s
    limit: 10
    labels: {team: a}
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: Down
        expr: up == 0
        for: 5m
        keep_firing_for: 1m
        labels:
          severity: "{{ if eq $labels.job \"x\" }}page{{ else }}ticket{{ end }}"
          level: 1.0
        annotations:
          summary: "{{ $labels.instance }} is down"
"#;

    #[test]
    fn a_good_file_gives_its_groups() {
        let groups = parse(Path::new("r.yml"), GOOD, Language::PromQl).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].interval, Some(Duration::from_secs(30)));
        let alert = &groups[0].rules[1];
        assert_eq!(alert.alert.as_ref().unwrap().hold, Duration::from_secs(300));
        let labels: Vec<(&str, &str)> =
            alert.labels.iter().map(|l| (l.name.as_str(), l.text.as_str())).collect();
        assert_eq!(labels[0], ("level", "1.0"));
        assert_eq!(labels[2], ("team", "a"));
        assert!(parse(Path::new("r.yml"), "# nothing\n", Language::PromQl).unwrap().is_empty());
        assert!(parse(Path::new("r.yml"), "groups:\n", Language::PromQl).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, line, part) in [
            ("interval: 30s", "intervall: 30s", 4, "intervall"),
            ("interval: 30s", "interval: 30", 4, "interval: not a valid duration"),
            ("expr: up == 0", "expr: up ==", 12, "rule \"Down\": expr"),
            ("for: 5m", "for: soon", 13, "for: not a valid duration"),
            (
                "{{ $labels.instance }} is",
                "{{ $labels.instance is",
                19,
                "annotations.summary: template, line 1",
            ),
            ("record: job:up:sum", "record: 'up{job}'", 9, "has braces"),
            ("- alert: Down", "- alert: Down\n        record: x", 11, "only one of record and alert"),
            ("limit: 10", "limit: many", 6, ""),
            ("expr: sum by (job) (up)", "for: 5m", 10, "missing field `expr`"),
        ] {
            let found = findings(&GOOD.replace(from, to));
            assert_eq!(found.len(), 1, "{to}: {found:?}");
            assert!(found[0].starts_with(&format!("r.yml:{line}")), "{to}: {found:?}");
            assert!(found[0].contains(part), "{to}: {found:?}");
        }
        assert_eq!(findings("groups: [").len(), 1);
        assert!(!findings("groups:\n- name: a\n- name: a\n").is_empty());
    }

    #[test]
    fn stars_match_names() {
        for (pattern, name, is_match) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "axxbyyc", true),
            ("a*", "b", false),
        ] {
            assert_eq!(matches_star(pattern, name), is_match, "{pattern} {name}");
        }
    }
}
