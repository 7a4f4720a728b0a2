//! `sort` and its forms; they matter to instant queries only.

use std::cmp::Ordering;

use super::Evaluation;
use super::relabel::text;
use crate::Error;
use crate::promql::column::{Grid, Vector};
use crate::promql::plan::{Function, Node};

impl Evaluation<'_> {
    pub(super) fn sorted(&self, function: Function, args: &[Node], grid: Grid) -> Result<Vector, Error> {
        let mut vector = self.vector(&args[0], grid)?;
        if grid.steps > 1 {
            return Ok(vector);
        }
        match function {
            Function::Sort | Function::SortDesc => {
                let descending = matches!(function, Function::SortDesc);
                vector.series.sort_by(|a, b| match (a.floats.get(0), b.floats.get(0)) {
                    (Some(a), Some(b)) => by_value(a, b, descending),
                    (a, b) => b.is_some().cmp(&a.is_some()),
                });
            }
            _ => {
                let labels = args[1..].iter().map(text).collect::<Result<Vec<&str>, Error>>()?;
                vector.series.sort_by(|a, b| {
                    let value = |of: &crate::promql::column::Series, label: &str| {
                        of.labels.get(label).unwrap_or_default().to_owned()
                    };
                    let differing = labels.iter().find(|label| value(a, label) != value(b, label));
                    match differing {
                        Some(label) => natural(&value(a, label), &value(b, label)),
                        None => a.labels.cmp(&b.labels),
                    }
                });
                if matches!(function, Function::SortByLabelDesc) {
                    vector.series.reverse();
                }
            }
        }
        Ok(vector)
    }
}

/// NaN comes last either way.
fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let ascending = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { ascending.reverse() } else { ascending }
        }
        (a, b) => a.cmp(&b),
    }
}

/// Natural order: runs of digits compare as numbers, all else as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (chunk_a, rest_a) = split_chunk(a);
        let (chunk_b, rest_b) = split_chunk(b);
        if chunk_a.is_empty() || chunk_b.is_empty() {
            return chunk_a.len().cmp(&chunk_b.len());
        }
        let order = match (chunk_a.parse::<u64>(), chunk_b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => chunk_a.cmp(chunk_b),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

fn split_chunk(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_text_compare_as_numbers() {
        let mut names = ["cpu10", "cpu9", "cpu", "cpu09x", "1", "host-2.b", "host-2.a", "host-10"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["1", "cpu", "cpu9", "cpu09x", "cpu10", "host-2.a", "host-2.b", "host-10"]);
    }
}
