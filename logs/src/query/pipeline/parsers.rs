//! Stages that make labels of a line.

use std::borrow::Cow;

use super::{Pipeline, Row};
use crate::query::fields::Fields;
use crate::query::json::{self, Scalar, Scanner, Step};
use crate::query::logfmt;
use crate::query::pattern::Pattern;

const JSON_ERROR: &str = "JSONParserErr";

/// Runs `$body` on the line as text. What it finds borrows from the line when the line is as it was
/// stored, and is copied when a stage has made it.
macro_rules! with_text {
    ($row:ident, |$text:ident, $fields:ident, $keep:ident| $body:expr) => {
        match &$row.line {
            Cow::Borrowed(line) if std::str::from_utf8(line).is_ok() => {
                let line: &[u8] = *line;
                let $text = std::str::from_utf8(line).unwrap_or_default();
                let $fields = &mut $row.fields;
                let $keep = |value| value;
                $body
            }
            line => {
                let owned = String::from_utf8_lossy(line).into_owned();
                let $text = owned.as_str();
                let $fields = &mut $row.fields;
                let $keep = own;
                $body
            }
        }
    };
}

fn own<'a>(value: Cow<'_, str>) -> Cow<'a, str> {
    Cow::Owned(value.into_owned())
}

impl Pipeline {
    pub(super) fn json<'a>(&self, row: &mut Row<'a>) {
        let wanted = |name: &str, parent: bool| self.wants(name, parent);
        with_text!(row, |text, fields, keep| {
            let parsed =
                json::flatten(text, &wanted, &mut |name, value| fields.extract(keep(name), keep(value)));
            if parsed.is_none() {
                fields.fail(JSON_ERROR, "Malformed JSON error");
            }
        });
    }

    pub(super) fn logfmt<'a>(
        &self,
        strict: bool,
        keep_empty: bool,
        keys: &'a [(String, String)],
        row: &mut Row<'a>,
    ) {
        with_text!(row, |text, fields, keep| {
            let each = |key, value: Option<Cow<'_, str>>| {
                if !keep_empty && value.as_ref().is_none_or(|value| value.is_empty()) {
                    return;
                }
                let value = value.unwrap_or_default();
                if keys.is_empty() {
                    let name = json::sanitize(Cow::Borrowed(key));
                    if !name.is_empty() && self.wants(&name, false) {
                        fields.extract(own(name), own(value));
                    }
                    return;
                }
                for (name, _) in keys.iter().filter(|(_, wanted)| wanted == key) {
                    fields.extract(Cow::Borrowed(name.as_str()), own(Cow::Borrowed(&value)));
                }
            };
            let _: fn(Cow<'a, str>) -> Cow<'a, str> = keep;
            if let Err(reason) = logfmt::pairs(text, strict, each) {
                fields.fail("LogfmtParserErr", &reason);
            }
        });
    }
}

pub(super) fn json_paths<'a>(paths: &'a [(String, Vec<Step>)], row: &mut Row<'a>) {
    with_text!(row, |text, fields, keep| {
        for (name, path) in paths {
            match json::lookup(text, path) {
                None => {
                    fields.fail(JSON_ERROR, "Malformed JSON error");
                    return;
                }
                Some(Some(value)) => fields.extract(Cow::Borrowed(name.as_str()), keep(value)),
                Some(None) => {}
            }
        }
    });
}

pub(super) fn regexp<'a>(regex: &'a regex::Regex, row: &mut Row<'a>) {
    with_text!(row, |text, fields, keep| {
        if let Some(captures) = regex.captures(text) {
            for name in regex.capture_names().flatten() {
                if let Some(found) = captures.name(name) {
                    fields.extract(Cow::Borrowed(name), keep(Cow::Borrowed(found.as_str())));
                }
            }
        }
    });
}

pub(super) fn pattern<'a>(pattern: &'a Pattern, row: &mut Row<'a>) {
    with_text!(row, |text, fields, keep| {
        pattern.captures(text, |name, value| fields.extract(Cow::Borrowed(name), keep(Cow::Borrowed(value))));
    });
}

/// Labels from a flat JSON object; its `_entry` becomes the line.
pub(super) fn unpack(row: &mut Row<'_>) {
    let mut entry: Option<String> = None;
    with_text!(row, |text, fields, keep| {
        if unpack_object(text, fields, keep, &mut entry).is_none() {
            fields.fail(JSON_ERROR, "Malformed JSON error");
        }
    });
    if let Some(entry) = entry {
        row.line = Cow::Owned(entry.into_bytes());
    }
}

fn unpack_object<'t, 'a>(
    text: &'t str,
    fields: &mut Fields<'a>,
    keep: impl Fn(Cow<'t, str>) -> Cow<'a, str>,
    entry: &mut Option<String>,
) -> Option<()> {
    let mut scanner = Scanner::new(text);
    scanner.object(|scanner, key| {
        let Some(Scalar::Text(value)) = scanner.value()? else { return Some(()) };
        if key == "_entry" {
            *entry = Some(value.into_owned());
        } else {
            let name = json::sanitize(key);
            if !name.is_empty() {
                fields.extract(keep(name), keep(value));
            }
        }
        Some(())
    })?;
    scanner.at_end().then_some(())
}

/// Takes out ANSI colour sequences.
pub(super) fn decolorize(row: &mut Row<'_>) {
    if !row.line.contains(&0x1b) {
        return;
    }
    let mut out = Vec::with_capacity(row.line.len());
    let mut rest: &[u8] = &row.line;
    while let Some(at) = memchr::memchr(0x1b, rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix(b"[") {
            let end = tail.iter().position(|b| (0x40..=0x7e).contains(b)).map_or(tail.len(), |at| at + 1);
            rest = &tail[end..];
        }
    }
    out.extend_from_slice(rest);
    row.line = Cow::Owned(out);
}
