//! Builds the label set of a sample whose text the parser has checked.

use binnacle_proto::{Labels, LabelsBuilder};

use super::{Exposed, ExposedExemplar, Kind, float};

/// The labels of a sample, the metric's name among them.
///
/// # Errors
/// When a label is given twice, or one is called `__name__`.
pub(in crate::scrape) fn series(exposed: &Exposed<'_>) -> Result<Labels, String> {
    let (name, braces) = match exposed.key.find('{') {
        Some(at) => (exposed.key[..at].trim_end(), &exposed.key[at..]),
        None => (exposed.key, ""),
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push(("__name__".to_owned(), name.to_owned()));
    }
    read(braces, exposed.kind, &mut pairs);
    Labels::from_pairs(pairs).map_err(|e| e.to_string())
}

/// The labels of an exemplar.
///
/// # Errors
/// When one is given twice.
pub(in crate::scrape) fn exemplar_labels(exemplar: &ExposedExemplar<'_>) -> Result<Labels, String> {
    let mut pairs = Vec::new();
    read(exemplar.labels, Kind::Other, &mut pairs);
    Labels::from_pairs(pairs).map_err(|e| e.to_string())
}

/// What stands in braces, as pairs.
fn read(braces: &str, kind: Kind, pairs: &mut Vec<(String, String)>) {
    let mut rest = braces.strip_prefix('{').unwrap_or(braces);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.starts_with('}') || rest.is_empty() {
            return;
        }
        let label;
        (label, rest) = if rest.starts_with('"') {
            quoted(rest)
        } else {
            let end = rest.find([' ', '\t', '=']).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(value) = rest.strip_prefix('=') else {
            pairs.push(("__name__".to_owned(), label));
            continue;
        };
        let value_text;
        (value_text, rest) = quoted(value.trim_start_matches([' ', '\t']));
        let normal = match (kind, label.as_str()) {
            (Kind::Histogram, "le") | (Kind::Summary, "quantile") => {
                float::parse(&value_text).map(float::canonical)
            }
            _ => None,
        };
        pairs.push((label, normal.unwrap_or(value_text)));
    }
}

/// The text in quotes that `rest` begins with, without its escapes, and what follows it.
fn quoted(rest: &str) -> (String, &str) {
    let body = rest.strip_prefix('"').unwrap_or(rest);
    let Some(plain) = body.find(['"', '\\']) else { return (body.to_owned(), "") };
    if body.as_bytes()[plain] == b'"' {
        return (body[..plain].to_owned(), &body[plain + 1..]);
    }
    let mut text = String::with_capacity(body.len().min(256));
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &body[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, same @ ('"' | '\\'))) => text.push(same),
                // What is not an escape is kept as it stands.
                Some((_, other)) => text.extend(['\\', other]),
                None => text.push('\\'),
            },
            other => text.push(other),
        }
    }
    (text, "")
}

/// Starts a changed copy with the target's labels: those of the target win, and what the sample has under
/// the same name becomes `exported_…`; the other way round with `honor`.
pub(in crate::scrape) fn with_target(sample: &Labels, target: &Labels, honor: bool) -> LabelsBuilder {
    let mut labels = sample.to_builder();
    let mut displaced: Vec<(&str, &str)> = Vec::new();
    for (name, value) in target.iter() {
        match sample.get(name) {
            Some(_) if honor => continue,
            Some(exposed) => displaced.push((name, exposed)),
            None => {}
        }
        labels.set(name, value);
    }
    displaced.sort_by_key(|(name, _)| name.len());
    for (name, value) in displaced {
        let mut new = format!("exported_{name}");
        while labels.get(&new).is_some() {
            new.insert_str(0, "exported_");
        }
        labels.set(&new, value);
    }
    labels
}
