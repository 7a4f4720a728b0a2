//! What the evaluation of rules reads: samples, settings, limits. It writes nothing.

use std::sync::Arc;

use binnacle_proto::Labels;

use super::manager::RulesConfig;
use crate::Engine;
use crate::select::{GuardLimits, Source};

/// Evaluates the expressions of `rules.log_files`, which are not PromQL: LogQL over a log store.
pub trait LogQueries: Send + Sync {
    /// Looks at an expression without evaluating it.
    ///
    /// # Errors
    /// What is wrong with it, or that it asks for lines instead of numbers.
    fn check(&self, expr: &str) -> Result<(), String>;

    /// The series at `at_ms` with their values; a number is one series without labels. Blocks.
    ///
    /// # Errors
    /// Why there is no value.
    fn instant(&self, expr: &str, at_ms: i64) -> Result<Vec<(Labels, f64)>, String>;
}

/// What every evaluation needs.
pub(super) struct Scope {
    pub(super) source: Arc<dyn Source>,
    pub(super) engine: Engine,
    /// `None` when there is no log store.
    pub(super) logs: Option<Arc<dyn LogQueries>>,
    pub(super) limits: GuardLimits,
    pub(super) config: RulesConfig,
    /// The external labels as templates take them.
    pub(super) external_labels: Vec<(String, String)>,
}

impl Scope {
    pub(super) fn new(
        source: Arc<dyn Source>,
        engine: Engine,
        logs: Option<Arc<dyn LogQueries>>,
        limits: GuardLimits,
        config: RulesConfig,
    ) -> Self {
        let list = config.external_labels.iter();
        let external_labels = list.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { source, engine, logs, limits, config, external_labels }
    }
}
