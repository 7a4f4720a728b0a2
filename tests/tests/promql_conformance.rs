//! The Prometheus project's test scripts, against a store in memory and against the real database.

use std::io::Write;

use binnacle_tests::promqltest::{DatabaseStore, MemoryStore, Skips, Store, folder, run_file, scripts};

const SKIPS: &str = include_str!("../promqltest_skips.txt");

/// Shows a line even when the test passes.
fn show(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs all scripts and prints one line a script; fails on the first unlisted failure at the end.
fn run_all(store: &mut dyn Store) {
    let folder = folder();
    let scripts = match scripts(&folder) {
        Ok(scripts) if !scripts.is_empty() => scripts,
        _ => {
            show(&format!("skipped: no test scripts in {} (set BINNACLE_PROMQLTEST)", folder.display()));
            return;
        }
    };
    let skips = Skips::parse(SKIPS).expect("the list of skips is readable");
    let (mut failed, mut needless) = (Vec::new(), Vec::new());
    for path in scripts {
        match run_file(&path, store, &skips) {
            Ok(report) => {
                show(&report.line());
                failed.extend(report.failed);
                needless.extend(report.needless);
            }
            Err(why) => failed.push(why),
        }
    }
    for failure in &failed {
        show(&format!("FAILED {failure}"));
    }
    for line in &needless {
        show(&format!("LISTED BUT PASSES {line}"));
    }
    assert!(failed.is_empty(), "{} evaluations failed that are not on the list of skips", failed.len());
    assert!(needless.is_empty(), "{} evaluations pass but are on the list of skips", needless.len());
}

#[test]
fn scripts_pass_in_memory() {
    run_all(&mut MemoryStore::default());
}

#[test]
fn scripts_pass_on_the_database() {
    run_all(&mut DatabaseStore::open().expect("a database opens"));
}
