//! Files as Prometheus takes them, and what is refused.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Vec<Job>, Vec<Finding>> {
    raw::jobs(text, Path::new("/etc/prom"), &mut BTreeSet::new())
}

#[test]
fn a_file_of_prometheus_is_taken_with_its_defaults() {
    let text = "
global:
  scrape_interval: 15s
  evaluation_interval: 15s
rule_files: [ 'rules/*.yml' ]
alerting:
  alertmanagers: []
scrape_configs:
  - job_name: node
    static_configs:
      - targets: ['127.0.0.1:9100', \"localhost:9101\"]
        labels: { env: test, shard: 1 }
  - job_name: files
    scrape_interval: 1m30s
    scrape_timeout: 20s
    metrics_path: /probe
    params: { module: [http_2xx], target: ['a b'] }
    honor_labels: true
    honor_timestamps: false
    body_size_limit: 10MB
    sample_limit: 1000
    basic_auth: { username: me, password_file: secret.txt }
    file_sd_configs:
      - files: ['targets/*.yml', /abs/x.json]
        refresh_interval: 5m
    relabel_configs:
      - source_labels: [__address__]
        target_label: instance
        regex: '([^:]+):.*'
        replacement: 1
    metric_relabel_configs:
      - { action: drop, source_labels: [__name__], regex: go_.* }
";
    let jobs = parse(text).unwrap();
    assert_eq!(jobs.len(), 2);
    let node = &jobs[0];
    assert_eq!((node.interval, node.timeout), (Duration::from_secs(15), Duration::from_secs(10)));
    assert_eq!(node.groups[0].targets, ["127.0.0.1:9100", "localhost:9101"]);
    assert_eq!(node.groups[0].labels.get("shard"), Some("1"));
    assert!(node.honor_timestamps && !node.honor_labels && node.compression);
    let files = &jobs[1];
    assert_eq!((files.interval, files.timeout), (Duration::from_secs(90), Duration::from_secs(20)));
    assert_eq!((files.limits.body_size, files.limits.samples), (10 << 20, 1000));
    assert_eq!(files.files[0].patterns, [Path::new("/etc/prom/targets/*.yml"), Path::new("/abs/x.json")]);
    assert_eq!((files.relabel.len(), files.metric_relabel.len()), (1, 1));
    let found = files.discovered(&Labels::from_pairs([("__address__", "h:1")]).unwrap());
    assert_eq!(found.get("__param_module"), Some("http_2xx"));
    assert_eq!(found.get("__scrape_interval__"), Some("1m30s"));
}

#[test]
fn what_cannot_be_done_is_refused_with_its_line() {
    for (text, line, part) in [
        ("scrape_configs:\n  - job_name: a\n    nonsense: 1\n", 3, "nonsense"),
        ("scrape_configs:\n  - job_name: a\n    kubernetes_sd_configs: []\n", 3, "kubernetes_sd_configs"),
        ("scrape_configs:\n  - job_name: a\n    scheme: ftp\n", 3, "https"),
        ("scrape_configs:\n  - job_name: a\n    tls_config: { cert_file: x }\n", 3, "go together"),
        ("scrape_configs:\n  - job_name: a\n    tls_config: { server_name: 'a b' }\n", 3, "server_name"),
        ("scrape_configs:\n  - job_name: a\n    tls_config:\n      min_version: TLS9\n", 4, "TLS13"),
        ("scrape_configs:\n  - job_name: a\n    scrape_interval: 2y\n", 3, "year"),
        ("scrape_configs:\n  - job_name: a\n    scrape_interval: 5\n", 3, "duration"),
        ("scrape_configs:\n  - job_name: a\n  - job_name: a\n", 3, "twice"),
        ("scrape_configs:\n  - job_name: a\n    scrape_interval: 5s\n    scrape_timeout: 6s\n", 4, "longer"),
        (
            "scrape_configs:\n  - job_name: a\n    relabel_configs:\n      - action: keep\n        regex: x\n      - action: hashmod\n",
            6,
            "target_label",
        ),
        (
            "scrape_configs:\n  - job_name: a\n    static_configs:\n      - targets: ['http://x']\n",
            4,
            "address",
        ),
        ("scrape_configs:\n  - job_name: a\n    file_sd_configs:\n      - files: [x.txt]\n", 4, ".json"),
        ("scrape_configs:\n  - job_name: a\n    body_size_limit: 10\n", 3, "size"),
        ("scrape_configs:\n  - job_name: a\n    authorization: { type: Bearer }\n", 3, "credentials"),
        ("globals: {}\n", 1, "globals"),
    ] {
        let findings = parse(text).expect_err(text);
        let shown: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.line, f.problem)).collect();
        assert!(findings[0].line == line && findings[0].problem.contains(part), "{text}: {shown:?}");
    }
}

#[test]
fn what_is_wrong_in_global_is_found_once_with_and_without_jobs() {
    for jobs in ["", "scrape_configs:\n  - job_name: a\n  - job_name: b\n"] {
        let findings = parse(&format!("global:\n  scrape_interval: 5\n{jobs}")).unwrap_err();
        assert_eq!((findings.len(), findings[0].line), (1, 2), "{findings:?}");
    }
    let jobs = parse("global: { scrape_timeout: 20s, sample_limit: 7 }\nscrape_configs:\n  - job_name: a\n")
        .unwrap();
    assert_eq!((jobs[0].timeout, jobs[0].limits.samples), (Duration::from_secs(20), 7));
}

#[test]
fn files_of_targets_are_json_or_yaml() {
    let json = r#"[{"targets": ["a:1"], "labels": {"x": "y"}}, {"targets": []}]"#;
    let read = groups(json, true).unwrap();
    assert_eq!((read.len(), read[0].labels.get("x")), (2, Some("y")));
    assert_eq!(groups("- targets: [a:1]\n  labels: {x: y}\n- targets: []\n", false).unwrap(), read);
    assert_eq!(groups("[{\"targets\": [\"a:1\"],\n\"label\": {}}]", true).unwrap_err().line, 2);
    assert_eq!(groups("- targets: [a:1]\n  label: {}\n", false).unwrap_err().line, 2);
    assert!(groups("# nothing yet\n", false).unwrap().is_empty());
}
