//! The crates depend on each other only as ARCHITECTURE.md draws it.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Every edge that the picture has; nothing else may stand in a `Cargo.toml`, dev-dependencies included.
const ALLOWED: &[(&str, &[&str])] = &[
    ("binnacle-proto", &[]),
    ("binnacle-tsdb", &["binnacle-proto"]),
    ("binnacle-logs", &["binnacle-proto"]),
    ("binnacle-agent", &["binnacle-proto"]),
    ("binnacle-dashboards", &[]),
    ("binnacle", &["binnacle-dashboards", "binnacle-logs", "binnacle-proto", "binnacle-tsdb"]),
    (
        "binnacle-tests",
        &[
            "binnacle",
            "binnacle-agent",
            "binnacle-dashboards",
            "binnacle-logs",
            "binnacle-proto",
            "binnacle-tsdb",
        ],
    ),
];

#[test]
fn crates_depend_on_each_other_only_as_the_picture_allows() {
    let metadata = workspace_metadata();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let packages = metadata["packages"].as_array().unwrap();
    let members: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();

    let drawn: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(members, drawn, "a crate was added or removed: draw it in ARCHITECTURE.md and here");

    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            if members.contains(on) && !allowed[name].contains(&on) {
                wrong.push(format!("{name} -> {on}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the picture does not have: {wrong:?}");
}

#[test]
fn only_the_two_stores_know_rocksdb() {
    let metadata = workspace_metadata();
    let mut users: Vec<&str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["dependencies"].as_array().unwrap().iter().any(|d| d["name"] == "rocksdb"))
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    users.sort_unstable();
    assert_eq!(users, ["binnacle-logs", "binnacle-tsdb"]);
}

fn workspace_metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
