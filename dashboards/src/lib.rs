//! Dashboards: the built-in web page, and those for Grafana as files in `grafana/`.
//!
//! Not here: who serves them (`binnacle`).
//!
//! ```
//! assert!(binnacle_dashboards::PAGE.starts_with("<!doctype html>"));
//! ```

/// Name and text of each dashboard for Grafana. They ask for two data sources: one of type
/// `prometheus`, one of type `loki`; Binnacle is both.
pub const GRAFANA: [(&str, &str); 4] = [
    ("cluster.json", include_str!("../grafana/cluster.json")),
    ("decisions.json", include_str!("../grafana/decisions.json")),
    ("pods.json", include_str!("../grafana/pods.json")),
    ("server.json", include_str!("../grafana/server.json")),
];

/// The built-in web page: one file without any outside resource.
pub const PAGE: &str = include_str!("../page/index.html");
