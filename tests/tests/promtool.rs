//! promtool asks our server, and judges the rule files that we accept.

use std::path::{Path, PathBuf};
use std::process::Command;

use binnacle_proto::Labels;
use binnacle_tests::metrics_server::{MetricsServer, now_ms, peer_program, program_or_skip};
use binnacle_tsdb::Sample;

/// The current one, or Debian's.
fn promtool_or_skip() -> Option<PathBuf> {
    peer_program("promtool").or_else(|| program_or_skip("promtool", "prometheus"))
}

async fn run(promtool: &Path, args: Vec<String>) -> String {
    let (promtool, shown) = (promtool.to_owned(), args.join(" "));
    let output = tokio::task::spawn_blocking(move || Command::new(promtool).args(args).output());
    let output = output.await.expect("no panic").expect("promtool starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "promtool {shown}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_reads_our_answers() {
    let Some(promtool) = promtool_or_skip() else { return };
    let server = MetricsServer::start().await.unwrap();
    let now = now_ms() / 1000 * 1000;
    for (job, value) in [("a", 1.5), ("b", 2.0)] {
        let labels = Labels::from_pairs([("__name__", "fed"), ("job", job)]).unwrap();
        let series = server.db.resolve(&labels).unwrap();
        let samples = (0..10).map(|i| Sample { series, t_ms: now - i * 10_000, value }).collect();
        server.db.append(samples, now).await.unwrap();
    }
    let url = server.url.clone();
    let query = |words: &[&str]| {
        let mut args = vec!["query".to_owned()];
        args.extend(words.iter().map(|word| (*word).to_owned()));
        args
    };
    let (start, end) = (((now - 60_000) / 1000).to_string(), (now / 1000).to_string());
    let text = run(&promtool, query(&["instant", &url, "fed"])).await;
    assert!(text.contains("fed{job=\"a\"} => 1.5 @["), "{text}");
    let text = run(
        &promtool,
        query(&["range", "--start", &start, "--end", &end, "--step", "10s", &url, "sum(fed)"]),
    )
    .await;
    assert_eq!(text.matches("3.5 @[").count(), 7, "{text}");
    let text = run(&promtool, query(&["series", "--match", "fed", &url])).await;
    // Up to 3.4 promtool prints the name among the labels.
    assert!(text.contains("fed{job=\"b\"}") || text.contains("__name__=\"fed\", job=\"b\""), "{text}");
    let text = run(&promtool, query(&["labels", &url, "job"])).await;
    assert_eq!(text.lines().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_and_we_agree_on_rule_files() {
    let Some(promtool) = promtool_or_skip() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yml");
    let good = "groups:\n- name: g\n  interval: 30s\n  limit: 5\n  rules:\n  - record: a:b\n    expr: sum(x)\n  \
                - alert: A\n    expr: a:b > 1\n    for: 5m\n    labels: {severity: page}\n    \
                annotations: {summary: '{{ $labels.job }}: {{ $value | humanize }}'}\n";
    for (from, to, is_good) in [
        ("", "", true),
        ("sum(x)", "sum(x", false),
        ("interval: 30s", "intervall: 30s", false),
        ("record: a:b", "record: 'a{b}'", false),
        ("for: 5m", "for: long", false),
        ("{{ $value | humanize }}", "{{ $value | nope }}", false),
        ("{{ $labels.job }}", "{{ range query \"up\" }}{{ .Value }}{{ end }}", true),
        ("{{ $labels.job }}", "{{ if true }}", false),
    ] {
        std::fs::write(&path, good.replace(from, to)).unwrap();
        let theirs = Command::new(&promtool).args(["check", "rules"]).arg(&path).output().unwrap();
        let (_, findings) = binnacle_tsdb::rules::check(std::slice::from_ref(&path), None);
        assert_eq!(theirs.status.success(), is_good, "{to}: {}", String::from_utf8_lossy(&theirs.stderr));
        assert_eq!(findings.is_empty(), is_good, "{to}: {findings:?}");
    }
}
