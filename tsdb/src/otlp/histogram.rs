//! Histograms with explicit bounds into Prometheus' classic buckets.

use binnacle_proto::STALE_NAN;

use super::attributes::LabelSet;
use super::message::HistogramPoint;
use super::translate::{Translated, exemplar, is_gone};
use crate::promql::format_value;

/// Adds `_sum`, `_count` and one `_bucket` a bound, the last without bound.
///
/// # Errors
/// Why the point cannot be taken; nothing of it is added then.
pub(super) fn histogram_point(
    name: &str,
    point: &HistogramPoint,
    labels: &LabelSet,
    time_ms: i64,
    out: &mut Translated,
) -> Result<(), String> {
    let bounds = &point.explicit_bounds;
    if !point.bucket_counts.is_empty() && point.bucket_counts.len() != bounds.len() + 1 {
        return Err("histograms whose buckets do not fit their bounds".to_owned());
    }
    if !bounds.is_sorted_by(|a, b| a < b) {
        return Err("histograms whose bounds do not ascend".to_owned());
    }
    let gone = is_gone(point.flags);
    let value = |value: f64| if gone { STALE_NAN } else { value };
    let bucket = format!("{name}_bucket");
    let mut rows = Vec::with_capacity(bounds.len() + 3);
    if let Some(sum) = point.sum {
        rows.push((labels.named(&format!("{name}_sum"), None)?, value(sum)));
    }
    rows.push((labels.named(&format!("{name}_count"), None)?, value(point.count as f64)));
    let first_bucket = rows.len();
    let mut below = 0u64;
    for (bound, count) in bounds.iter().zip(&point.bucket_counts) {
        below = below.saturating_add(*count);
        // A last bound of infinity is the bucket that every histogram has.
        if bound.is_infinite() {
            continue;
        }
        rows.push((labels.named(&bucket, Some(("le", &format_value(*bound))))?, value(below as f64)));
    }
    rows.push((labels.named(&bucket, Some(("le", "+Inf")))?, value(point.count as f64)));
    for wire in &point.exemplars {
        let Some(exemplar) = exemplar(wire) else { continue };
        // It belongs to the lowest bucket that holds its value.
        let at = bounds.iter().position(|bound| exemplar.value <= *bound).unwrap_or(bounds.len());
        let series = rows.get(first_bucket + at).or(rows.last()).map(|(labels, _)| labels.clone());
        out.exemplars.extend(series.map(|series| (series, exemplar)));
    }
    out.samples.extend(rows.into_iter().map(|(labels, value)| (labels, time_ms, value)));
    Ok(())
}
