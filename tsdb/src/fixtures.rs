//! Bytes of released formats, checked in under `tests/fixtures`.

use std::path::{Path, PathBuf};

pub(crate) fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures"].iter().collect()
}

/// The bytes of a file that is checked in. The run that misses one writes what `make` gives, and fails.
pub(crate) fn checked_in(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    checked_in_to(&folder(), name, make)
}

fn checked_in_to(folder: &Path, name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = folder.join(name);
    if !path.exists() {
        std::fs::write(&path, make()).unwrap();
        panic!("{} was missing and is written: look at it, check it in", path.display());
    }
    std::fs::read(&path).unwrap()
}

#[test]
fn a_missing_file_is_written_by_the_run_that_misses_it_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let read = || checked_in_to(folder.path(), "a", || b"bytes".to_vec());
    let failed = std::panic::catch_unwind(read).unwrap_err();
    assert!(failed.downcast_ref::<String>().unwrap().contains("was missing and is written"));
    assert_eq!(checked_in_to(folder.path(), "a", || panic!("it is there")), b"bytes");
}
