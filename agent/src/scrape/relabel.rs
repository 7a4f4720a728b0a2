//! Relabelling, as Prometheus does it: rules that change, keep or drop label sets.

use binnacle_proto::LabelsBuilder;
use regex::{Captures, Regex, RegexBuilder};
use serde::Deserialize;

use super::md5::md5;

/// Largest compiled expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// What a rule does with the joined values of its source labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Action {
    /// By its name in a file, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "replace" => Self::Replace,
            "keep" => Self::Keep,
            "drop" => Self::Drop,
            "keepequal" => Self::KeepEqual,
            "dropequal" => Self::DropEqual,
            "hashmod" => Self::HashMod,
            "labelmap" => Self::LabelMap,
            "labeldrop" => Self::LabelDrop,
            "labelkeep" => Self::LabelKeep,
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            _ => return None,
        })
    }
}

/// A rule as it is written; what is absent has Prometheus' default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) source_labels: Option<Vec<String>>,
    pub(super) separator: Option<String>,
    pub(super) target_label: Option<String>,
    pub(super) regex: Option<String>,
    pub(super) modulus: Option<u64>,
    pub(super) replacement: Option<String>,
    pub(super) action: Option<String>,
}

/// A rule that is in order.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    target_label: String,
    /// Anchored at both ends.
    regex: Regex,
    modulus: u64,
    replacement: String,
}

impl Rule {
    /// Checks a rule.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub(super) fn new(written: &Written) -> Result<Self, String> {
        let name = written.action.as_deref().unwrap_or("replace");
        let action = Action::named(name).ok_or_else(|| format!("action: {name:?} is not one"))?;
        let name = name.to_ascii_lowercase();
        let target_label = written.target_label.clone().unwrap_or_default();
        let needs_target = matches!(
            action,
            Action::Replace
                | Action::HashMod
                | Action::Lowercase
                | Action::Uppercase
                | Action::KeepEqual
                | Action::DropEqual
        );
        if needs_target && target_label.is_empty() {
            return Err(format!("target_label: {name} needs one"));
        }
        if action == Action::HashMod && written.modulus.unwrap_or(0) == 0 {
            return Err("modulus: hashmod needs one above 0".to_owned());
        }
        let given = [
            ("source_labels", written.source_labels.is_some()),
            ("separator", written.separator.is_some()),
            ("target_label", written.target_label.is_some()),
            ("regex", written.regex.is_some()),
            ("modulus", written.modulus.is_some()),
            ("replacement", written.replacement.is_some()),
        ];
        let taken: &[&str] = match action {
            Action::LabelDrop | Action::LabelKeep => &["regex"],
            Action::KeepEqual | Action::DropEqual => &["source_labels", "target_label"],
            _ => &["source_labels", "separator", "target_label", "regex", "modulus", "replacement"],
        };
        if let Some((field, _)) = given.iter().find(|(field, given)| *given && !taken.contains(field)) {
            return Err(format!("{field}: {name} takes only {}", taken.join(" and ")));
        }
        let text = written.regex.as_deref().unwrap_or("(.*)");
        let regex = RegexBuilder::new(&format!("^(?s:{text})$")).size_limit(MAX_REGEX_BYTES).build();
        Ok(Self {
            action,
            source_labels: written.source_labels.clone().unwrap_or_default(),
            separator: written.separator.clone().unwrap_or_else(|| ";".to_owned()),
            target_label,
            regex: regex.map_err(|e| format!("regex: {e}"))?,
            modulus: written.modulus.unwrap_or(0),
            replacement: written.replacement.clone().unwrap_or_else(|| "$1".to_owned()),
        })
    }

    /// Changes `labels`; false when they are to be dropped.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let values: Vec<&str> =
            self.source_labels.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
        let value = values.join(&self.separator);
        match self.action {
            Action::Keep => return self.regex.is_match(&value),
            Action::Drop => return !self.regex.is_match(&value),
            Action::KeepEqual => return labels.get(&self.target_label).unwrap_or_default() == value,
            Action::DropEqual => return labels.get(&self.target_label).unwrap_or_default() != value,
            Action::Replace => {
                let Some(captures) = self.regex.captures(&value) else { return true };
                let target = expand(&self.target_label, &captures);
                if !target.is_empty() {
                    let text = expand(&self.replacement, &captures);
                    labels.set(&target, text);
                }
            }
            Action::HashMod => {
                let digest = md5(value.as_bytes());
                let mut low = [0; 8];
                low.copy_from_slice(&digest[8..]);
                let hash = u64::from_be_bytes(low) % self.modulus;
                labels.set(&self.target_label, hash.to_string());
            }
            Action::Lowercase => {
                labels.set(&self.target_label, value.to_lowercase());
            }
            Action::Uppercase => {
                labels.set(&self.target_label, value.to_uppercase());
            }
            Action::LabelMap => {
                for (name, value) in pairs(labels) {
                    if let Some(captures) = self.regex.captures(&name) {
                        let new = expand(&self.replacement, &captures);
                        if !new.is_empty() {
                            labels.set(&new, value);
                        }
                    }
                }
            }
            Action::LabelDrop | Action::LabelKeep => {
                let keep = self.action == Action::LabelKeep;
                for (name, _) in pairs(labels) {
                    if self.regex.is_match(&name) != keep {
                        labels.remove(&name);
                    }
                }
            }
        }
        true
    }
}

/// Applies rules in their order; false when one of them drops the set.
pub(super) fn relabel(labels: &mut LabelsBuilder, rules: &[Rule]) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

fn pairs(labels: &LabelsBuilder) -> Vec<(String, String)> {
    labels.build().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn expand(template: &str, captures: &Captures<'_>) -> String {
    if !template.contains('$') {
        return template.to_owned();
    }
    let mut text = String::new();
    captures.expand(template, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use binnacle_proto::Labels;

    use super::*;

    fn list(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// Applies one rule to `{a="foo", b="bar", c="baz", __tmp_x="1"}`.
    fn applied(written: Written) -> Option<String> {
        let rule = Rule::new(&written).unwrap();
        let pairs = [("a", "foo"), ("b", "bar"), ("c", "baz"), ("__tmp_x", "1")];
        let mut labels = Labels::from_pairs(pairs).unwrap().to_builder();
        relabel(&mut labels, &[rule]).then(|| labels.build().to_string())
    }

    #[test]
    fn every_action_does_what_prometheus_does() {
        let whole = r#"{__tmp_x="1", a="foo", b="bar", c="baz"}"#;
        let cases: Vec<(Written, Option<&str>)> = vec![
            (
                Written {
                    source_labels: list(&["a", "b"]),
                    regex: some("f(.*);(.*)r"),
                    target_label: some("d"),
                    replacement: some("${1}-${2}-$$"),
                    ..Written::default()
                },
                Some(r#"{__tmp_x="1", a="foo", b="bar", c="baz", d="oo-ba-$"}"#),
            ),
            // No match: nothing changes.
            (
                Written {
                    source_labels: list(&["a"]),
                    regex: some("oo"),
                    target_label: some("a"),
                    replacement: some("x"),
                    ..Written::default()
                },
                Some(whole),
            ),
            // An empty result removes the label.
            (
                Written { source_labels: list(&["none"]), target_label: some("a"), ..Written::default() },
                Some(r#"{__tmp_x="1", b="bar", c="baz"}"#),
            ),
            // The target may be made from the match.
            (
                Written {
                    source_labels: list(&["a"]),
                    regex: some("(f).*"),
                    target_label: some("${1}_name"),
                    replacement: some("$1"),
                    ..Written::default()
                },
                Some(r#"{__tmp_x="1", a="foo", b="bar", c="baz", f_name="f"}"#),
            ),
            (
                Written {
                    source_labels: list(&["a"]),
                    regex: some("f.*"),
                    action: some("keep"),
                    ..Written::default()
                },
                Some(whole),
            ),
            (
                Written {
                    source_labels: list(&["a"]),
                    regex: some("fo"),
                    action: some("keep"),
                    ..Written::default()
                },
                None,
            ),
            (
                Written {
                    source_labels: list(&["a"]),
                    regex: some("foo"),
                    action: some("Drop"),
                    ..Written::default()
                },
                None,
            ),
            (
                Written {
                    source_labels: list(&["a"]),
                    target_label: some("b"),
                    action: some("keepequal"),
                    ..Written::default()
                },
                None,
            ),
            (
                Written {
                    source_labels: list(&["a"]),
                    target_label: some("b"),
                    action: some("dropequal"),
                    ..Written::default()
                },
                Some(whole),
            ),
            (
                Written {
                    regex: some("__tmp_(.*)"),
                    replacement: some("kept_$1"),
                    action: some("labelmap"),
                    ..Written::default()
                },
                Some(r#"{__tmp_x="1", a="foo", b="bar", c="baz", kept_x="1"}"#),
            ),
            (
                Written { regex: some("[ab]"), action: some("labeldrop"), ..Written::default() },
                Some(r#"{__tmp_x="1", c="baz"}"#),
            ),
            (
                Written { regex: some("[ab]"), action: some("labelkeep"), ..Written::default() },
                Some(r#"{a="foo", b="bar"}"#),
            ),
            (
                Written {
                    source_labels: list(&["a", "b"]),
                    separator: some("/"),
                    target_label: some("d"),
                    action: some("uppercase"),
                    ..Written::default()
                },
                Some(r#"{__tmp_x="1", a="foo", b="bar", c="baz", d="FOO/BAR"}"#),
            ),
            (
                Written {
                    source_labels: list(&["a"]),
                    target_label: some("a"),
                    action: some("lowercase"),
                    ..Written::default()
                },
                Some(whole),
            ),
            // 976 is what Prometheus' own tests expect for this value and modulus.
            (
                Written {
                    source_labels: list(&["c"]),
                    target_label: some("d"),
                    modulus: Some(1000),
                    action: some("hashmod"),
                    ..Written::default()
                },
                Some(r#"{__tmp_x="1", a="foo", b="bar", c="baz", d="976"}"#),
            ),
        ];
        for (written, expected) in cases {
            let what = format!("{written:?}");
            assert_eq!(applied(written).as_deref(), expected, "{what}");
        }
    }

    #[test]
    fn rules_that_cannot_work_are_refused_with_their_field() {
        let cases = [
            (Written::default(), "target_label"),
            (Written { action: some("explode"), ..Written::default() }, "action"),
            (Written { action: some("hashmod"), target_label: some("x"), ..Written::default() }, "modulus"),
            (Written { action: some("keep"), regex: some("("), ..Written::default() }, "regex"),
            (
                Written { action: some("labeldrop"), source_labels: list(&["a"]), ..Written::default() },
                "source_labels",
            ),
            (
                Written {
                    action: some("keepequal"),
                    target_label: some("x"),
                    regex: some("x"),
                    ..Written::default()
                },
                "regex",
            ),
        ];
        for (written, field) in cases {
            let error = Rule::new(&written).unwrap_err();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
