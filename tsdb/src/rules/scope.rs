//! What the evaluation of rules reads: samples, settings, limits. It writes nothing.

use std::sync::Arc;

use super::manager::RulesConfig;
use crate::Engine;
use crate::select::{GuardLimits, Source};

/// What every evaluation needs.
pub(super) struct Scope {
    pub(super) source: Arc<dyn Source>,
    pub(super) engine: Engine,
    pub(super) limits: GuardLimits,
    pub(super) config: RulesConfig,
    /// The external labels as templates take them.
    pub(super) external_labels: Vec<(String, String)>,
}

impl Scope {
    pub(super) fn new(
        source: Arc<dyn Source>,
        engine: Engine,
        limits: GuardLimits,
        config: RulesConfig,
    ) -> Self {
        let list = config.external_labels.iter();
        let external_labels = list.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { source, engine, limits, config, external_labels }
    }
}
