//! Where a script's samples go.

use binnacle_proto::Labels;
use binnacle_tsdb::{MemorySource, Source};

/// A store that a script can be run against.
pub trait Store {
    /// Adds samples, timestamps in milliseconds.
    ///
    /// # Errors
    /// When the store refuses them.
    fn append(&mut self, labels: &Labels, samples: &[(i64, f64)]) -> Result<(), String>;

    /// Forgets everything.
    ///
    /// # Errors
    /// When the store cannot.
    fn clear(&mut self) -> Result<(), String>;

    /// What to query.
    fn source(&self) -> &dyn Source;
}

/// Samples in memory.
#[derive(Default)]
pub struct MemoryStore(MemorySource);

impl Store for MemoryStore {
    fn append(&mut self, labels: &Labels, samples: &[(i64, f64)]) -> Result<(), String> {
        for (t_ms, value) in samples {
            self.0.append(labels.clone(), *t_ms, *value);
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), String> {
        self.0 = MemorySource::new();
        Ok(())
    }

    fn source(&self) -> &dyn Source {
        &self.0
    }
}
