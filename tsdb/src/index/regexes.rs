//! What a regex can match, as far as it can be told without running it.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// Most values that a regex is unfolded to; beyond, scanning is as good.
const MAX_LITERALS: usize = 256;

/// All strings that an anchored pattern matches, when they are few.
pub(super) fn literals(pattern: &str) -> Option<Vec<String>> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut values = unfold(inner(&hir)?)?;
    values.sort_unstable();
    values.dedup();
    Some(values)
}

/// What every match of an anchored pattern starts with.
pub(super) fn prefix(pattern: &str) -> String {
    let Ok(hir) = regex_syntax::parse(pattern) else { return String::new() };
    let Some(parts) = inner(&hir) else { return String::new() };
    let mut prefix = Vec::new();
    for part in parts {
        let part = strip(part);
        if let HirKind::Concat(parts) = part.kind() {
            // A group at the front: take what is literal in it and stop.
            for part in parts {
                let HirKind::Literal(literal) = strip(part).kind() else { break };
                prefix.extend_from_slice(&literal.0);
            }
            break;
        }
        let HirKind::Literal(literal) = part.kind() else { break };
        prefix.extend_from_slice(&literal.0);
    }
    // Cut in the middle of a character it is still a prefix up to there.
    match String::from_utf8(prefix) {
        Ok(text) => text,
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            String::from_utf8_lossy(&error.into_bytes()[..valid]).into_owned()
        }
    }
}

/// The parts between the anchors; `None` when the pattern is not anchored at both ends.
fn inner(hir: &Hir) -> Option<&[Hir]> {
    let HirKind::Concat(parts) = hir.kind() else { return None };
    let (first, rest) = parts.split_first()?;
    let (last, middle) = rest.split_last()?;
    let anchored =
        matches!(first.kind(), HirKind::Look(Look::Start)) && matches!(last.kind(), HirKind::Look(Look::End));
    anchored.then_some(middle)
}

fn strip(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(capture) => strip(&capture.sub),
        _ => hir,
    }
}

fn unfold(parts: &[Hir]) -> Option<Vec<String>> {
    let mut values = vec![String::new()];
    for part in parts {
        let ends = unfold_one(strip(part))?;
        if values.len() * ends.len() > MAX_LITERALS {
            return None;
        }
        values =
            values.iter().flat_map(|start| ends.iter().map(move |end| format!("{start}{end}"))).collect();
    }
    Some(values)
}

fn unfold_one(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Capture(capture) => unfold_one(&capture.sub),
        HirKind::Concat(parts) => unfold(parts),
        HirKind::Alternation(choices) => {
            let mut values = Vec::new();
            for choice in choices {
                values.extend(unfold_one(choice)?);
                if values.len() > MAX_LITERALS {
                    return None;
                }
            }
            Some(values)
        }
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            let size: usize = ranges.iter().map(|range| range.len()).sum();
            let chars = || ranges.iter().flat_map(|range| range.start()..=range.end());
            (size <= MAX_LITERALS).then(|| chars().map(String::from).collect())
        }
        HirKind::Repetition(repetition) if repetition.max == Some(1) => {
            let mut values = unfold_one(&repetition.sub)?;
            if repetition.min == 0 {
                values.push(String::new());
            }
            Some(values)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::Matcher;

    fn of(pattern: &str) -> (Option<Vec<String>>, String) {
        let regex = Matcher::anchored(pattern).unwrap();
        (literals(regex.as_str()), prefix(regex.as_str()))
    }

    fn values(values: &[&str]) -> Option<Vec<String>> {
        Some(values.iter().map(|v| (*v).to_owned()).collect())
    }

    #[test]
    fn alternations_and_small_classes_become_values() {
        assert_eq!(of("a|b").0, values(&["a", "b"]));
        assert_eq!(of("web-(0|1)").0, values(&["web-0", "web-1"]));
        assert_eq!(of("5[0-2]x?").0, values(&["50", "50x", "51", "51x", "52", "52x"]));
        assert_eq!(of("").0, values(&[""]));
        assert_eq!(of("a+").0, None);
        assert_eq!(of("(?i)ab").0, values(&["AB", "Ab", "aB", "ab"]));
    }

    #[test]
    fn literal_prefixes_are_found() {
        assert_eq!(of("container_.+").1, "container_");
        assert_eq!(of("(node_cpu.*)").1, "node_cpu");
        assert_eq!(of("a.*|b.*").1, "");
        assert_eq!(of("x?y").1, "");
    }
}
