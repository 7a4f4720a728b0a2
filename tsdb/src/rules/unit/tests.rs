//! Test files as people write them.

use super::*;

const RULES: &str = r#"
groups:
  - name: load
    rules:
      - record: job:load:sum
        expr: sum by (job) (load)
      - alert: Busy
        expr: job:load:sum > 5
        for: 2m
        labels: {severity: page, site: "{{ $externalLabels.site }}"}
        annotations: {summary: "{{ $labels.job }} has {{ $value }}"}
"#;

const TEST: &str = r#"
rule_files: ["*rules.yml"]
evaluation_interval: 1m
tests:
  - name: it grows
    interval: 1m
    input_series:
      - series: load{job="a", host="x"}
        values: 1+1x10
      - series: load{job="a", host="y"}
        values: 1x3 _x2 stale 2x4
    external_labels: {site: bay}
    alert_rule_test:
      - eval_time: 5m
        alertname: Busy
      - eval_time: 7m30s
        alertname: Busy
        exp_alerts:
          - exp_labels: {job: a, severity: page, site: bay}
            exp_annotations: {summary: a has 10}
    promql_expr_test:
      - expr: job:load:sum
        eval_time: 4m
        exp_samples:
          - labels: job:load:sum{job="a"}
            value: 6
"#;

fn run(rules: &str, test: &str) -> UnitReport {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("load_rules.yml"), rules).unwrap();
    let file = folder.path().join("test.yml");
    std::fs::write(&file, test).unwrap();
    unit_test(&file, None)
}

#[test]
fn a_good_file_passes() {
    let report = run(RULES, TEST);
    assert_eq!((report.tests, report.failures.as_slice()), (1, [].as_slice()));
    assert!(report.notes.is_empty());
}

#[test]
fn a_difference_is_shown_with_its_line() {
    let report = run(RULES, &TEST.replace("value: 6", "value: 5"));
    assert_eq!(report.failures.len(), 1);
    let failure = &report.failures[0];
    assert_eq!(failure.line, 22);
    assert!(
        failure.message.contains("- job:load:sum{job=\"a\"} 5\n    + job:load:sum{job=\"a\"} 6"),
        "{failure}"
    );
    let report = run(RULES, &TEST.replace("a has 10", "a has 9"));
    assert_eq!(report.failures[0].line, 17, "{}", report.failures[0]);
    assert!(
        report.failures[0].message.contains("+ labels {alertname=\"Busy\", job=\"a\""),
        "{}",
        report.failures[0]
    );
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    for (from, to, line, part) in [
        ("values: 1+1x10", "values: 1 +1x10x", 9, "input_series"),
        ("series: load{job=\"a\", host=\"x\"}", "series: load 5", 8, "cannot read the series"),
        ("values: 1+1x10", "values: 1x99999999999", 9, "input_series"),
        ("values: 1+1x10", "values: '{{sum:1}}'", 9, "native histograms"),
        ("interval: 1m\n    input", "interval: soon\n    input", 6, "interval: not a valid duration"),
        ("eval_time: 5m", "eval_tme: 5m", 14, "eval_tme"),
        ("{job=\"a\"}\n", "{job=\"a\"\n", 25, "closing brace"),
        ("expr: job:load:sum", "expr: sum(", 22, "expr \"sum(\""),
    ] {
        let report = run(RULES, &TEST.replacen(from, to, 1));
        assert_eq!(report.failures.len(), 1, "{to}: {:?}", report.failures);
        let failure = &report.failures[0];
        assert!(failure.message.contains(part), "{to}: {failure}");
        assert!(failure.line.abs_diff(line) <= 1, "{to}: {failure}");
    }
    let report = run(&RULES.replace("sum by (job) (load)", "sum("), TEST);
    assert!(report.failures[0].file.ends_with("load_rules.yml"));
    let report = run(RULES, &TEST.replace("*rules.yml", "no*.yml"));
    assert_eq!(report.notes.len(), 1);
    assert!(!report.failures.is_empty(), "without its rules the test cannot pass");
}

#[test]
fn tests_can_be_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.yml");
    std::fs::write(&file, "tests: [{name: one}, {name: two}]").unwrap();
    let report = unit_test(&file, Some(&regex::Regex::new("^tw").unwrap()));
    assert_eq!((report.tests, report.left_out), (1, 1));
}
