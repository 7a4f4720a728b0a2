//! Dashboards: the built-in web page, and those for Grafana as files in `grafana/`.
//!
//! Not here: who serves them (`binnacle`).
//!
//! ```
//! assert!(binnacle_dashboards::PAGE.starts_with("<!doctype html>"));
//! ```

/// The built-in web page: one file without any outside resource.
pub const PAGE: &str = include_str!("../page/index.html");
