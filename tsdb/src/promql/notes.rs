//! Annotations: what makes an answer doubtful (warnings) or may be of interest (infos), in Prometheus'
//! words so that what reads them there reads them here.

use parking_lot::Mutex;

use super::number::format_value;
use super::positions::line_column;

/// Most annotations of each kind that are kept word by word.
const MAX_NOTES: usize = 10;

/// Collects the annotations of one query; equal ones once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    query: String,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    warnings: Vec<String>,
    infos: Vec<String>,
    more_warnings: usize,
    more_infos: usize,
}

/// What may be noted.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Note<'a> {
    /// A quantile outside of 0…1.
    InvalidQuantile(f64),
    /// A ratio outside of -1…1, with the bound it was capped to.
    InvalidRatio(f64, f64),
    /// A bucket whose `le` is not a number.
    BadBucketLabel { metric: &'a str, le: &'a str },
    /// `rate` or `increase` of what is not named like a counter.
    NotACounter(&'a str),
    /// Buckets whose counts decrease.
    ForcedMonotonicity(&'a str),
}

impl Notes {
    /// An empty collection for a query.
    pub(super) fn new(query: &str) -> Self {
        Self { query: query.to_owned(), kept: Mutex::default() }
    }

    /// Adds a warning of the store, verbatim.
    pub(super) fn add_warning(&self, text: String) {
        let kept = &mut *self.kept.lock();
        keep(&mut kept.warnings, &mut kept.more_warnings, text);
    }

    /// Adds an annotation about the node at byte offset `at`.
    pub(super) fn add(&self, note: &Note<'_>, at: usize) {
        let place = line_column(&self.query, at);
        let kept = &mut *self.kept.lock();
        if note.is_info() {
            keep(&mut kept.infos, &mut kept.more_infos, format!("PromQL info: {} ({place})", note.text()));
        } else {
            keep(
                &mut kept.warnings,
                &mut kept.more_warnings,
                format!("PromQL warning: {} ({place})", note.text()),
            );
        }
    }

    /// Warnings and infos.
    pub(super) fn into_texts(self) -> (Vec<String>, Vec<String>) {
        let mut kept = self.kept.into_inner();
        if kept.more_warnings > 0 {
            kept.warnings.push(format!("{} more warning annotations omitted", kept.more_warnings));
        }
        if kept.more_infos > 0 {
            kept.infos.push(format!("{} more info annotations omitted", kept.more_infos));
        }
        (kept.warnings, kept.infos)
    }
}

fn keep(texts: &mut Vec<String>, more: &mut usize, text: String) {
    if texts.contains(&text) {
    } else if texts.len() < MAX_NOTES {
        texts.push(text);
    } else {
        *more += 1;
    }
}

impl Note<'_> {
    fn is_info(&self) -> bool {
        matches!(self, Self::NotACounter(_) | Self::ForcedMonotonicity(_))
    }

    fn text(&self) -> String {
        let named = |metric: &str| {
            if metric.is_empty() { String::new() } else { format!(" for metric name {metric:?}") }
        };
        match self {
            Self::InvalidQuantile(q) => {
                format!("quantile value should be between 0 and 1, got {}", format_value(*q))
            }
            Self::InvalidRatio(ratio, cap) => format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                format_value(*ratio),
                format_value(*cap)
            ),
            Self::BadBucketLabel { metric, le } => {
                format!("bucket label \"le\" is missing or has a malformed value of {le:?}{}", named(metric))
            }
            Self::NotACounter(metric) => format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}"
            ),
            Self::ForcedMonotonicity(metric) => format!(
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                named(metric)
            ),
        }
    }
}
