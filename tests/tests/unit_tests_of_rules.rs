//! promtool and we come to the same verdict on unit tests of rule files.

use std::path::Path;
use std::process::Command;

use binnacle_tests::metrics_server::peer_or_skip;

const RULES: &str = r#"
groups:
  - name: second
    rules:
      - record: job:errors:ratio
        expr: job:errors:rate5m / job:requests:rate5m
  - name: first
    interval: 30s
    rules:
      - record: job:errors:rate5m
        expr: sum by (job) (rate(errors_total[5m]))
      - record: job:requests:rate5m
        expr: sum by (job) (rate(requests_total[5m]))
  - name: alerts
    limit: 3
    rules:
      - alert: Down
        expr: up == 0
        for: 2m
        keep_firing_for: 1m
        labels: {severity: page, site: "{{ $externalLabels.site }}"}
        annotations:
          summary: "{{ $labels.instance }} is down, {{ $value }}"
          link: "{{ $externalURL }}/x?{{ with query \"count(up)\" }}{{ . | first | value }}{{ end }}"
      - alert: Ratio
        expr: job:errors:ratio > 0.25
"#;

const TESTS: &str = r#"
rule_files: ["ru?es/*.yml"]
evaluation_interval: 1m
group_eval_order: [first, second]
fuzzy_compare: false
tests:
  - interval: 1m
    name: errors
    input_series:
      - series: 'errors_total{job="a"}'
        values: '0+30x10'
      - series: requests_total{job="a"}
        values: 0+60x5 300+120x5
      - {series: 'up{instance="i"}', values: '1 1 0x4 _ 1 stale 1'}
      - {series: 'temperature', values: '-2+4x3 1e1 .5 inf -inf _x2 20'}
    external_labels: {site: bay}
    external_url: http://here
    alert_rule_test:
      - eval_time: 3m
        alertname: Down
      - eval_time: 4m30s
        alertname: Down
        exp_alerts:
          - exp_labels: {severity: page, site: bay, instance: i}
            exp_annotations: {summary: "i is down, 0", link: "http://here/x?1"}
      - eval_time: 7m
        alertname: Down
        exp_alerts:
          - exp_labels: {severity: page, site: bay, instance: i}
            exp_annotations: {summary: "i is down, 0", link: "http://here/x?1"}
      - eval_time: 9m
        alertname: Down
      - eval_time: 5m
        alertname: Ratio
        exp_alerts: [{exp_labels: {job: a}}]
    promql_expr_test:
      - expr: job:errors:ratio
        eval_time: 5m
        exp_samples: [{labels: 'job:errors:ratio{job="a"}', value: 0.5}]
      - expr: temperature
        eval_time: 2m
        exp_samples: [{labels: '{__name__="temperature"}', value: 6}]
      - expr: sum(temperature) * 2
        eval_time: 150s
        exp_samples: [{value: 12}]
      - expr: ALERTS{alertname="Down"}
        eval_time: 2m
        exp_samples:
          - labels: ALERTS{alertname="Down", alertstate="pending", instance="i", severity="page", site="bay"}
            value: 1
      - expr: up
        eval_time: 9m
      - expr: count_over_time(temperature[4m:])
        eval_time: 4m
        exp_samples: [{labels: '{}', value: 4}]
      - expr: "3.5"
        exp_samples: [{labels: '{}', value: 3.5}]
"#;

/// What is changed in the files above, and whether all tests pass then.
const CHANGES: [(&str, &str, bool); 28] = [
    ("", "", true),
    // Expectations that do not hold.
    ("value: 0.5}", "value: 0.4}", false),
    ("value: 0.5}", "value: 0.5000000000000001}", false),
    ("fuzzy_compare: false", "fuzzy_compare: true", true),
    ("i is down, 0", "i is down, 1", false),
    ("site: bay, instance: i}", "site: bay, instance: j}", false),
    ("[{exp_labels: {job: a}}]", "[{exp_labels: {job: a}}, {exp_labels: {job: b}}]", false),
    ("alertname: Ratio\n        exp_alerts: [{exp_labels: {job: a}}]", "alertname: Ratio", false),
    ("expr: up\n        eval_time: 9m", "expr: up\n        eval_time: 7m", false),
    ("- eval_time: 9m", "- eval_time: 8m", false),
    ("value: 3.5}", "value: .nan}", false),
    // Expressions that give nothing to compare.
    ("expr: \"3.5\"", "expr: '\"text\"'", false),
    ("expr: \"3.5\"", "expr: up[5m]", false),
    ("expr: \"3.5\"", "expr: up +", false),
    // Files that are not in order.
    ("interval: 1m\n    name", "interval: often\n    name", false),
    ("values: '0+30x10'", "values: '0+30 x10'", false),
    ("values: '0+30x10'", "values: '0+30x10 stalex2'", false),
    ("labels: 'job:errors:ratio{job=\"a\"}'", "labels: 'job:errors:ratio{job=\"a\"'", false),
    ("group_eval_order: [first, second]", "group_eval_order: [first, first]", false),
    ("alertname: Ratio", "alertnme: Ratio", false),
    ("fuzzy_compare: false", "start_timestamp: 5", false),
    ("ru?es/*.yml", "nothing/*.yml", false),
    ("expr: up == 0", "expr: up ==", false),
    ("limit: 3", "limt: 3", false),
    // A rule that fails while it is evaluated.
    (
        "expr: up == 0",
        "expr: up == on() group_left() temperature == on () group_left () up offset -1m == ignoring() vector(1) == on(x) (label_replace(up, \"y\", \"1\", \"\", \"\") or up)",
        false,
    ),
    // What is a minute old is the same here, so that both orders pass.
    ("[first, second]", "[second, first]", true),
    // Shorter evaluation sees more samples; the subquery's own step follows it.
    ("evaluation_interval: 1m", "evaluation_interval: 30s", false),
    ("x5 300+120x5", "x5 _ 420+120x4", true),
];

#[test]
fn promtool_and_we_agree_on_unit_tests() {
    let promtool = peer_or_skip("promtool");
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules/a.yml");
    std::fs::create_dir(folder.path().join("rules")).expect("a folder");
    let test = folder.path().join("test.yml");
    for (from, to, passes) in CHANGES {
        assert!(RULES.contains(from) || TESTS.contains(from), "{from:?} is in neither file");
        std::fs::write(&rules, RULES.replace(from, to)).expect("written");
        std::fs::write(&test, TESTS.replace(from, to)).expect("written");
        let ours = binnacle_tsdb::rules::unit_test(&test, None);
        let shown: Vec<String> = ours.failures.iter().map(ToString::to_string).collect();
        assert_eq!(ours.failures.is_empty(), passes, "{from:?} to {to:?}: {}", shown.join("\n"));
        if let Some(promtool) = &promtool {
            let theirs = verdict(promtool, &test);
            assert_eq!(
                theirs.0,
                passes,
                "promtool on {from:?} to {to:?}: {}\nours: {}",
                theirs.1,
                shown.join("\n")
            );
        }
    }
}

fn verdict(promtool: &Path, test: &Path) -> (bool, String) {
    let output = Command::new(promtool).args(["test", "rules"]).arg(test).output().expect("promtool starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_command_line_says_what_differs_and_fails() {
    let binnacle = binnacle_tests::process::binary("binnacle").expect("built before");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("rules")).expect("a folder");
    std::fs::write(folder.path().join("rules/a.yml"), RULES).expect("written");
    let test = folder.path().join("test.yml");
    let run = |text: &str| {
        std::fs::write(&test, text).expect("written");
        Command::new(&binnacle).args(["test", "rules"]).arg(&test).output().expect("binnacle starts")
    };
    let good = run(TESTS);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(String::from_utf8_lossy(&good.stdout).contains("test.yml: ok: 1 tests run"));
    let bad = run(&TESTS.replace("value: 0.5}", "value: 0.4}"));
    assert_eq!(bad.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&bad.stderr);
    assert!(shown.contains("test.yml:37: test \"errors\": expr \"job:errors:ratio\" at 5m"), "{shown}");
    assert!(
        shown.contains("- job:errors:ratio{job=\"a\"} 0.4\n    + job:errors:ratio{job=\"a\"} 0.5"),
        "{shown}"
    );
}
