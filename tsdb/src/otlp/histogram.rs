//! Histograms with explicit bounds into Prometheus' classic buckets.

use binnacle_proto::{Labels, STALE_NAN};

use super::attributes::LabelSet;
use super::message::HistogramPoint;
use super::translate::{MAX_SERIES_OF_POINT, exemplar, is_gone};
use super::{Refused, Sink};
use crate::promql::format_value;

/// Hands on `_sum`, `_count` and one `_bucket` a bound, the last without bound.
///
/// # Errors
/// Why the point cannot be taken, nothing of it is handed on then; or what the sink says.
pub(super) fn histogram_point(
    name: &str,
    point: &HistogramPoint,
    labels: &LabelSet,
    time_ms: i64,
    sink: &mut dyn Sink,
) -> Result<(), Refused> {
    check(point)?;
    let bounds = &point.explicit_bounds;
    let gone = is_gone(point.flags);
    let value = |value: f64| if gone { STALE_NAN } else { value };
    if let Some(sum) = point.sum {
        sink.sample(&labels.named(&format!("{name}_sum"), None), time_ms, value(sum))?;
    }
    sink.sample(&labels.named(&format!("{name}_count"), None), time_ms, value(point.count as f64))?;
    let bucket = format!("{name}_bucket");
    let mut buckets: Vec<Labels> = Vec::new();
    let mut below = 0u64;
    for (bound, count) in bounds.iter().zip(&point.bucket_counts) {
        below = below.saturating_add(*count);
        // A last bound of infinity is the bucket that every histogram has.
        if bound.is_infinite() {
            continue;
        }
        let series = labels.named(&bucket, Some(("le", &format_value(*bound))));
        sink.sample(&series, time_ms, value(below as f64))?;
        if !point.exemplars.is_empty() {
            buckets.push(series);
        }
    }
    let last = labels.named(&bucket, Some(("le", "+Inf")));
    sink.sample(&last, time_ms, value(point.count as f64))?;
    for wire in &point.exemplars {
        let Some(exemplar) = exemplar(wire) else { continue };
        // It belongs to the lowest bucket that holds its value.
        let at = bounds.iter().position(|bound| exemplar.value <= *bound).unwrap_or(bounds.len());
        sink.exemplar(buckets.get(at).unwrap_or(&last), exemplar);
    }
    Ok(())
}

/// Whether buckets can be made of a point.
fn check(point: &HistogramPoint) -> Result<(), Refused> {
    let bounds = &point.explicit_bounds;
    let wrong = if bounds.len() >= MAX_SERIES_OF_POINT {
        "histograms with too many bounds"
    } else if !point.bucket_counts.is_empty() && point.bucket_counts.len() != bounds.len() + 1 {
        "histograms whose buckets do not fit their bounds"
    } else if !bounds.iter().all(|bound| bound.is_finite() || *bound == f64::INFINITY) {
        "histograms with a bound that is no number"
    } else if !bounds.is_sorted_by(|a, b| a < b) {
        "histograms whose bounds do not ascend"
    } else {
        return Ok(());
    };
    Err(Refused::Point(wrong))
}
