//! `label_replace` and `label_join`.

use super::{Evaluation, merge_equal};
use crate::Error;
use crate::promql::column::{Grid, Vector};
use crate::promql::plan::{Kind, Node};
use crate::select::Matcher;

/// The text of a string argument.
pub(super) fn text(arg: &Node) -> Result<&str, Error> {
    match &arg.kind {
        Kind::Text(text) => Ok(text),
        _ => Err(Error::Execution("expected a string".into())),
    }
}

impl Evaluation<'_> {
    pub(super) fn label_replace(&self, args: &[Node], grid: Grid) -> Result<Vector, Error> {
        let [_, target, replacement, source, pattern] = args else {
            return Err(Error::Execution("label_replace takes five arguments".into()));
        };
        let (target, replacement) = (text(target)?, text(replacement)?);
        let (source, pattern) = (text(source)?, text(pattern)?);
        let regex = Matcher::anchored(pattern).map_err(|_| {
            Error::Execution(format!("invalid regular expression in label_replace(): {pattern}"))
        })?;
        if target.is_empty() {
            return Err(Error::Execution(format!(
                "invalid destination label name in label_replace(): {target}"
            )));
        }
        let mut vector = self.vector(&args[0], grid)?;
        let mut expanded = String::new();
        for series in &mut vector.series {
            let value = series.labels.get(source).unwrap_or_default();
            let Some(found) = regex.captures(value) else { continue };
            expanded.clear();
            found.expand(replacement, &mut expanded);
            let mut builder = series.labels.to_builder();
            builder.set(target, expanded.as_str());
            series.labels = builder.build();
            if target == "__name__" {
                // A name set on purpose stays.
                series.drop_name = false;
            }
        }
        merge_equal(vector)
    }

    pub(super) fn label_join(&self, args: &[Node], grid: Grid) -> Result<Vector, Error> {
        let (target, separator) = (text(&args[1])?, text(&args[2])?);
        let sources = args[3..].iter().map(text).collect::<Result<Vec<&str>, Error>>()?;
        if let Some(source) = sources.iter().find(|source| source.is_empty()) {
            return Err(Error::Execution(format!("invalid source label name in label_join(): {source}")));
        }
        if target.is_empty() {
            return Err(Error::Execution(format!(
                "invalid destination label name in label_join(): {target}"
            )));
        }
        let mut vector = self.vector(&args[0], grid)?;
        for series in &mut vector.series {
            let values: Vec<&str> =
                sources.iter().map(|source| series.labels.get(source).unwrap_or_default()).collect();
            let mut builder = series.labels.to_builder();
            builder.set(target, values.join(separator));
            series.labels = builder.build();
            if target == "__name__" {
                series.drop_name = false;
            }
        }
        merge_equal(vector)
    }
}
