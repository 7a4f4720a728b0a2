//! Good and bad expositions, and a printer to read back.

use std::fmt::Write as _;

use binnacle_proto::Labels;
use proptest::prelude::*;

use super::*;

type Sample = (String, f64, Option<i64>);

fn read(text: &str, format: Format) -> Result<Vec<Sample>, Malformed> {
    let mut parser = Parser::new(text.as_bytes(), format)?;
    let mut samples = Vec::new();
    while let Some(exposed) = parser.next()? {
        samples.push((series(&exposed).unwrap().to_string(), exposed.value, exposed.t_ms));
    }
    Ok(samples)
}

fn names(text: &str, format: Format) -> Vec<String> {
    read(text, format).unwrap().into_iter().map(|(name, _, _)| name).collect()
}

const TEXT: &str = r#"# HELP go_threads How many
# TYPE go_threads gauge
go_threads 7

  # TYPE request_seconds histogram
request_seconds_bucket{le="1",path="/a\\b\"c\n"} 3
request_seconds_bucket{le="+Inf", path="x" ,} 4 1700000000123
request_seconds_sum 1e-3
# TYPE rpc summary
rpc { quantile = "0.5" } NaN
rpc{quantile="1"}	-Inf	-5
# a comment of no kind
#HELPless
# TYPE le_is_plain gauge
le_is_plain{le="1"}2
{"name with.dots","label.with-dots"="x"} +Inf
le_is_plain{a="1"b="2"} 0
ends_without_newline 1"#;

#[test]
fn text_is_read_as_prometheus_reads_it() {
    let samples = read(TEXT, Format::Text).unwrap();
    let shown: Vec<(&str, Option<i64>)> = samples.iter().map(|(name, _, t)| (name.as_str(), *t)).collect();
    assert_eq!(
        shown,
        [
            ("go_threads", None),
            (r#"request_seconds_bucket{le="1.0", path="/a\\b\"c\n"}"#, None),
            (r#"request_seconds_bucket{le="+Inf", path="x"}"#, Some(1_700_000_000_123)),
            ("request_seconds_sum", None),
            (r#"rpc{quantile="0.5"}"#, None),
            (r#"rpc{quantile="1.0"}"#, Some(-5)),
            (r#"le_is_plain{le="1"}"#, None),
            (r#"{__name__="name with.dots", "label.with-dots"="x"}"#, None),
            (r#"le_is_plain{a="1", b="2"}"#, None),
            ("ends_without_newline", None),
        ]
    );
    assert!(samples[4].1.is_nan());
    assert_eq!((samples[3].1, samples[5].1), (0.001, f64::NEG_INFINITY));
}

#[test]
fn open_metrics_with_exemplars_created_lines_and_its_end() {
    let text = "# TYPE a counter\n# UNIT b_seconds seconds\n# HELP a Text \\\"quoted\\\"\n\
                a_total{x=\"1\"} 5 12.5 # {trace_id=\"KOO\"} 0.67 11.25\na_total{x=\"2\"} 6 # {} 1\na_created{x=\"1\"} 1.5e9\n\
                # TYPE h histogram\nh_bucket{le=\"2\"} 1 # {a=\"b\"} 2\n# TYPE i info\ni_info{v=\"1\"} 1\n# EOF\n";
    let samples = read(text, Format::OpenMetrics).unwrap();
    assert_eq!(samples[0], (r#"a_total{x="1"}"#.to_owned(), 5.0, Some(12_500)));
    assert_eq!(samples[2].0, r#"a_created{x="1"}"#);
    assert_eq!(samples[3].0, r#"h_bucket{le="2.0"}"#);
    assert_eq!(samples.len(), 5);
    let mut parser = Parser::new(text.as_bytes(), Format::OpenMetrics).unwrap();
    let mut exemplars = 0;
    while let Some(exposed) = parser.next().unwrap() {
        exemplars += usize::from(exposed.exemplar.is_some());
    }
    assert_eq!(exemplars, 3);
    assert_eq!(names("# EOF", Format::OpenMetrics).len(), 0);
}

#[test]
fn malformed_text_is_refused_with_its_line() {
    for (text, line, part) in [
        ("a 1\nb\n", 2, "a value"),
        ("a 1\nb one\n", 2, "not a number"),
        ("a 1 2 3\n", 1, "end"),
        ("a 1 x\n", 1, "timestamp"),
        ("a{x=\"1} 1\n", 1, "quote"),
        ("a{x=1} 1\n", 1, "quotes"),
        ("a{x} 1\n", 1, "\"=\""),
        ("a{x=\"1\" 1\n", 1, "label"),
        ("# TYPE a thing\n", 1, "not a type"),
        ("# TYPE a counter \n", 1, "not a type"),
        ("# HELP \n", 1, "HELP"),
        ("a 1\n\n\n{x=\"1\"} 1\n", 4, "name"),
        ("a{\"b\"} 1\n", 1, "twice"),
        ("0a 1\n", 1, "name"),
        ("a 1\r\n", 1, "not a number"),
        ("a 0x1p2\n", 1, "not a number"),
        ("é 1\n", 1, "name"),
    ] {
        let error = read(text, Format::Text).expect_err(text);
        assert!(error.line == line && error.problem.contains(part), "{text:?}: {error}");
    }
    assert_eq!(Parser::new(b"a 1\nb{x=\"\xff\"} 1\n", Format::Text).err().map(|e| e.line), Some(2));
}

#[test]
fn malformed_open_metrics_is_refused_with_its_line() {
    for (text, line, part) in [
        ("a 1\n", 2, "# EOF"),
        ("", 1, "# EOF"),
        ("# EOF\na 1\n", 2, "follows"),
        ("a 1\n\n# EOF\n", 2, "name"),
        ("a  1\n# EOF\n", 1, "not a number"),
        ("a{x=\"1\", y=\"2\"} 1\n# EOF\n", 1, "label"),
        ("a{x=\"1\"y=\"2\"} 1\n# EOF\n", 1, "\",\""),
        ("# a comment\n# EOF\n", 1, "comment"),
        ("# TYPE a untyped\n# EOF\n", 1, "not a type"),
        ("# UNIT a seconds\n# EOF\n", 1, "unit"),
        ("a 1 Inf\n# EOF\n", 1, "timestamp"),
        ("a 1 # {x=\"1\"}\n# EOF\n", 1, "exemplar"),
        ("a 1", 1, "end"),
    ] {
        let error = read(text, Format::OpenMetrics).expect_err(text);
        assert!(error.line == line && error.problem.contains(part), "{text:?}: {error}");
    }
}

#[test]
fn labels_given_twice_are_refused_and_targets_labels_displace() {
    let body = b"a{x=\"1\",x=\"2\"} 1\n";
    let exposed = Parser::new(body, Format::Text).unwrap().next().unwrap().unwrap();
    assert!(series(&exposed).unwrap_err().contains("twice"));
    let of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
    let sample = of(&[("__name__", "m"), ("job", "theirs"), ("exported_job", "older")]);
    let target = of(&[("job", "ours"), ("instance", "i")]);
    assert_eq!(
        with_target(&sample, &target, false).build().to_string(),
        r#"m{exported_exported_job="theirs", exported_job="older", instance="i", job="ours"}"#
    );
    assert_eq!(
        with_target(&sample, &target, true).build().to_string(),
        r#"m{exported_job="older", instance="i", job="theirs"}"#
    );
}

/// Writes samples as a target would.
fn print(samples: &[(Labels, f64, Option<i64>)], format: Format) -> String {
    let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut text = String::new();
    for (labels, value, t_ms) in samples {
        let _ = write!(text, "{{\"{}\"", quote(labels.metric_name().unwrap_or_default()));
        for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
            let _ = write!(text, ",\"{}\"=\"{}\"", quote(name), quote(value));
        }
        let _ = write!(text, "}} {value:?}");
        match (t_ms, format) {
            (Some(ms), Format::Text) => {
                let _ = write!(text, " {ms}");
            }
            (Some(ms), Format::OpenMetrics) => {
                let _ = write!(text, " {}", *ms as f64 / 1000.0);
            }
            (None, _) => {}
        }
        text.push('\n');
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(
        given in proptest::collection::vec(
            ("[a-zA-Z_é.\\\\\" ]{1,8}", proptest::collection::btree_map("[a-z.\"]{1,5}", "[^\0]{1,8}", 0..4),
             proptest::num::f64::ANY, proptest::option::of(0i64..4_000_000_000_000)),
            0..8),
        strict: bool,
    ) {
        let format = if strict { Format::OpenMetrics } else { Format::Text };
        let samples: Vec<(Labels, f64, Option<i64>)> = given.into_iter().map(|(name, labels, value, t_ms)| {
            let pairs = labels.into_iter().chain([("__name__".to_owned(), name)]);
            (Labels::from_pairs(pairs).unwrap(), value, t_ms)
        }).collect();
        let text = print(&samples, format);
        let back = read(&text, format).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(back.len(), samples.len());
        for ((labels, value, t_ms), (name, read_value, read_ms)) in samples.iter().zip(&back) {
            prop_assert_eq!(&labels.to_string(), name);
            prop_assert!(value == read_value || (value.is_nan() && read_value.is_nan()));
            prop_assert!(t_ms.unwrap_or(0).abs_diff(read_ms.unwrap_or(0)) <= 1);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a{}\",=\\\\# \t\n1E.OFTYPHL]{0,60}", strict: bool) {
        let format = if strict { Format::OpenMetrics } else { Format::Text };
        if let Ok(mut parser) = Parser::new(text.as_bytes(), format) {
            while let Ok(Some(exposed)) = parser.next() {
                let _ = series(&exposed);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(mut parser) = Parser::new(&bytes, Format::Text) {
            while let Ok(Some(exposed)) = parser.next() {
                let _ = series(&exposed);
            }
        }
    }
}
