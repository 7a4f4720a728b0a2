//! One YAML document: its place in the file, its fields, and whether Kubernetes knows them.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::Wrong;

/// A document with the line of each of its fields.
pub(super) struct Document {
    /// Text of the document, empty lines before it so that line numbers are the file's.
    text: String,
    tree: Tree,
    first_line: usize,
}

/// Splits a file at `---`. Each part comes with the number of lines before it.
pub(super) fn split(text: &str) -> Vec<(usize, String)> {
    let mut parts: Vec<(usize, String)> = vec![(0, String::new())];
    for (i, line) in text.lines().enumerate() {
        let begins = line == "---" || line.starts_with("--- ") || line.starts_with("---\t");
        if begins || line == "..." {
            parts.push((i + 1, String::new()));
            let rest = line.trim_start_matches('-').trim_start();
            if begins && !rest.is_empty() && !rest.starts_with('#') {
                // A document may begin on the marker's line.
                parts.push((i, format!("{rest}\n")));
            }
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    parts.retain(|(_, part)| part.lines().any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#')));
    parts
}

impl Document {
    /// Parses one part of [`split`].
    ///
    /// # Errors
    /// Line and message when it is not YAML.
    pub(super) fn parse(lines_before: usize, part: &str) -> Result<Self, (Option<u64>, String)> {
        let text = format!("{}{part}", "\n".repeat(lines_before));
        let tree: Spanned<Tree> = serde_saphyr::from_str(&text).map_err(|e| located(&e))?;
        Ok(Self { text, tree: tree.value, first_line: lines_before + 1 })
    }

    /// The text of a field at the top, when it is a string.
    pub(super) fn top(&self, field: &str) -> Option<&str> {
        match self.tree.child(field)?.1 {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The line of a field; that of the nearest field around it when the field is not there.
    pub(super) fn line_of(&self, field: &str) -> u64 {
        let mut line = self.first_line as u64;
        let mut at = &self.tree;
        for step in steps(field) {
            match at.child(&step) {
                Some((child_line, child)) => {
                    line = child_line;
                    at = child;
                }
                None => break,
            }
        }
        line
    }

    /// Reads the document as a Kubernetes object and refuses what that object does not have.
    ///
    /// # Errors
    /// Line, field and message.
    pub(super) fn object<T: DeserializeOwned + Serialize>(&self) -> Result<T, (Option<u64>, String, String)> {
        let object: T = serde_saphyr::from_str(&self.text).map_err(|error| {
            let (line, message) = located(&error);
            let field = line.and_then(|line| self.tree.field_at(line, String::new())).unwrap_or_default();
            (line, field, message)
        })?;
        // What was read is written again: a field that is not there any more was not understood.
        let known = serde_json::to_value(&object).map_err(|e| (None, String::new(), e.to_string()))?;
        match self.tree.first_unknown(&known, "") {
            None => Ok(object),
            Some(field) => Err((Some(self.line_of(&field)), field, "unknown field".to_owned())),
        }
    }

    /// Where `wrong` is.
    pub(super) fn locate(&self, wrong: Wrong) -> (Option<u64>, String, String) {
        (Some(self.line_of(&wrong.field)), wrong.field, wrong.message)
    }
}

fn located(error: &serde_saphyr::Error) -> (Option<u64>, String) {
    // The first line says what is wrong; further ones draw the place, which we name ourselves.
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    (error.location().map(|location| location.line()).filter(|line| *line > 0), message)
}

/// Steps of a path: `a.b[2].c` is `a`, `b`, `2`, `c`. Label names in brackets and quotes stay whole.
fn steps(field: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, tail) = inner.split_once(']').unwrap_or((inner, ""));
            steps.push(step.trim_matches('"').to_owned());
            rest = tail;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    steps
}

/// YAML with lines.
#[derive(Debug)]
enum Tree {
    Null,
    Text(String),
    Other,
    List(Vec<(u64, Tree)>),
    Map(Vec<(String, u64, Tree)>),
}

impl Tree {
    fn child(&self, step: &str) -> Option<(u64, &Tree)> {
        match self {
            Self::Map(entries) => entries.iter().find(|e| e.0 == step).map(|e| (e.1, &e.2)),
            Self::List(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)).map(|i| (i.0, &i.1)),
            _ => None,
        }
    }

    /// The first field, in the order of the file, that `known` does not have.
    fn first_unknown(&self, known: &Value, path: &str) -> Option<String> {
        match self {
            Self::Map(entries) => entries.iter().find_map(|(key, _, child)| {
                let path = join(path, key);
                match (child, known.get(key)) {
                    // What is null or an empty collection may be left out when written.
                    (Self::Null, None) => None,
                    (Self::Map(inner), None) if inner.is_empty() => None,
                    (Self::List(inner), None) if inner.is_empty() => None,
                    (_, None) => Some(path),
                    (child, Some(known)) => child.first_unknown(known, &path),
                }
            }),
            Self::List(items) => items
                .iter()
                .enumerate()
                .find_map(|(i, (_, child))| child.first_unknown(known.get(i)?, &format!("{path}[{i}]"))),
            _ => None,
        }
    }

    /// The innermost field that begins on `line`.
    fn field_at(&self, line: u64, path: String) -> Option<String> {
        match self {
            Self::Map(entries) => entries.iter().find_map(|(key, at, child)| {
                let path = join(&path, key);
                child.field_at(line, path.clone()).or_else(|| (*at == line).then_some(path))
            }),
            Self::List(items) => items.iter().enumerate().find_map(|(i, (at, child))| {
                let path = format!("{path}[{i}]");
                child.field_at(line, path.clone()).or_else(|| (*at == line).then_some(path))
            }),
            _ => None,
        }
    }
}

fn join(path: &str, key: &str) -> String {
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Build;
        impl<'de> Visitor<'de> for Build {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }
            fn visit_none<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Tree, D::Error> {
                Tree::deserialize(d)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Spanned<Tree>>()? {
                    items.push((item.referenced.line(), item.value));
                }
                Ok(Tree::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    let value = map.next_value::<Spanned<Tree>>()?;
                    entries.push((key.value, key.referenced.line(), value.value));
                }
                Ok(Tree::Map(entries))
            }
        }
        deserializer.deserialize_any(Build)
    }
}
