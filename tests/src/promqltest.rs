//! Runs the Prometheus project's PromQL test scripts against any [`Store`].
//!
//! The format is described in the README beside the scripts. A script is parsed into commands, each
//! evaluation is run and compared, and what is on the list of skips by hand is reported as skipped, or
//! as passing although it is listed.

mod compare;
mod database;
mod load;
mod run;
mod script;
mod skips;

use std::path::{Path, PathBuf};

pub use database::DatabaseStore;
pub use load::{MemoryStore, Store};
pub use run::{FileReport, run_file};
pub use skips::Skips;

/// Names the folder with the scripts.
pub const FOLDER_VARIABLE: &str = "BINNACLE_PROMQLTEST";

/// The folder with the scripts: the environment's, or `shared/promqltest` beside the repository.
pub fn folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/promqltest");
    std::env::var_os(FOLDER_VARIABLE).map_or(beside, PathBuf::from)
}

/// All scripts of a folder, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn scripts(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    found.sort();
    Ok(found)
}
