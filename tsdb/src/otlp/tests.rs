//! Requests as senders write them.

use super::*;

const REQUEST: &str = r#"{"resourceMetrics": [{
  "resource": {"attributes": [
    {"key": "service.name", "value": {"stringValue": "shop"}},
    {"key": "service.namespace", "value": {"stringValue": "eu"}},
    {"key": "service.instance.id", "value": {"stringValue": "i1"}},
    {"key": "host.name", "value": {"stringValue": "h"}}]},
  "scopeMetrics": [{"scope": {"name": "lib"}, "metrics": [
    {"name": "queue.length", "unit": "{item}", "gauge": {"dataPoints": [
      {"timeUnixNano": "1700000000000000000", "asInt": "5", "attributes": [{"key": "q.name", "value": {"stringValue": "a"}}]},
      {"timeUnixNano": "1700000001000000000", "flags": 1}]}},
    {"name": "sent", "unit": "By", "description": "Bytes sent.", "sum": {"aggregationTemporality": 2, "isMonotonic": true,
      "dataPoints": [{"timeUnixNano": 1700000000000000000, "asDouble": 1.5, "exemplars": [
        {"timeUnixNano": "1700000000000000000", "asDouble": 0.5, "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}]}]}},
    {"name": "lost", "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [{"asInt": 1}, {"asInt": 2}]}},
    {"name": "latency", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": [
      {"timeUnixNano": "1700000000000000000", "count": "6", "sum": 3, "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 1]}]}},
    {"name": "old", "summary": {"dataPoints": [
      {"timeUnixNano": "1700000000000000000", "count": 2, "sum": 4, "quantileValues": [{"quantile": 0.5, "value": 1}]}]}},
    {"name": "exp", "exponentialHistogram": {"dataPoints": [{"scale": 1}, {}, {}]}}
  ]}]}]}"#;

/// Keeps all that it is given.
#[derive(Default)]
struct Kept {
    samples: Vec<(Labels, i64, f64)>,
    exemplars: Vec<(Labels, Exemplar)>,
    families: Vec<(String, MetricKind, String)>,
}

impl Sink for Kept {
    fn sample(&mut self, series: &Labels, t_ms: i64, value: f64) -> Result<(), Error> {
        self.samples.push((series.clone(), t_ms, value));
        Ok(())
    }

    fn exemplar(&mut self, series: &Labels, exemplar: Exemplar) {
        self.exemplars.push((series.clone(), exemplar));
    }

    fn family(&mut self, name: &str, kind: MetricKind, help: &str, _: &str) {
        self.families.push((name.to_owned(), kind, help.to_owned()));
    }
}

const MAX_LABELS_BYTES: usize = 1000;

fn translated(request: &str, config: &OtlpConfig) -> (Translated, Kept) {
    let mut kept = Kept::default();
    let request = decode_json(request.as_bytes()).unwrap();
    let translated = translate(&request, config, MAX_LABELS_BYTES, &mut kept).unwrap();
    (translated, kept)
}

/// A request with one metric of one resource.
fn one_metric(resource: &str, metric: &str) -> String {
    format!(
        r#"{{"resourceMetrics": [{{"resource": {{"attributes": [{resource}]}}, "scopeMetrics": [{{"metrics": [{metric}]}}]}}]}}"#
    )
}

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key": "{key}", "value": {{"stringValue": "{value}"}}}}"#)
}

fn shown(kept: &Kept) -> Vec<String> {
    let show = |(labels, t_ms, value): &(Labels, i64, f64)| {
        let labels = labels.filtered(|name| name != "job" && name != "instance");
        format!("{labels} {value} @{}", t_ms - 1_700_000_000_000)
    };
    kept.samples.iter().map(show).collect()
}

fn refused(translated: &Translated) -> Vec<(&str, u64)> {
    translated.refused.iter().map(|(reason, count)| (*reason, *count)).collect()
}

#[test]
fn points_become_samples_and_what_cannot_is_counted() {
    let (translated, kept) = translated(REQUEST, &OtlpConfig::default());
    assert_eq!(
        shown(&kept),
        [
            r#"queue_length{q_name="a"} 5 @0"#,
            "queue_length NaN @1000",
            "sent_bytes_total 1.5 @0",
            "latency_seconds_sum 3 @0",
            "latency_seconds_count 6 @0",
            r#"latency_seconds_bucket{le="0.5"} 1 @0"#,
            r#"latency_seconds_bucket{le="1"} 3 @0"#,
            r#"latency_seconds_bucket{le="+Inf"} 6 @0"#,
            "old_sum 4 @0",
            "old_count 2 @0",
            r#"old{quantile="0.5"} 1 @0"#,
            r#"target_info{host_name="h"} 1 @0"#,
            r#"target_info{host_name="h"} 1 @1000"#,
        ]
    );
    assert!(binnacle_proto::is_stale(kept.samples[1].2));
    for (labels, _, _) in &kept.samples {
        assert_eq!((labels.get("job"), labels.get("instance")), (Some("eu/shop"), Some("i1")), "{labels}");
    }
    assert_eq!(
        refused(&translated),
        [
            ("exponential histograms, which are not stored yet", 3),
            ("sums whose temporality is not cumulative", 2)
        ]
    );
    assert_eq!(translated.points, 5);
    let (series, exemplar) = &kept.exemplars[0];
    assert_eq!(series.metric_name(), Some("sent_bytes_total"));
    assert_eq!(exemplar.labels.get("trace_id"), Some("0af7651916cd43dd8448eb211c80319c"));
    let sent = kept.families.iter().find(|family| family.0 == "sent_bytes_total").unwrap();
    assert_eq!((sent.1, sent.2.as_str()), (MetricKind::Counter, "Bytes sent."));
}

#[test]
fn resource_attributes_can_be_promoted() {
    let config = OtlpConfig { promote_resource_attributes: vec!["host.name".to_owned()] };
    let (_, kept) = translated(REQUEST, &config);
    assert!(kept.samples.iter().all(|(labels, _, _)| labels.get("host_name") == Some("h")));
}

#[test]
fn bodies_that_are_no_requests_are_refused_with_the_place() {
    assert!(decode_json(br#"{"resourceMetrics": 5}"#).unwrap_err().contains("line 1"));
    assert!(decode_json(br#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [{"timeUnixNano": "soon"}]}}]}]}]}"#).is_err());
    assert!(decode_protobuf(&[0x0a, 0x05, 1]).is_err());
}

#[test]
fn points_far_apart_do_not_multiply() {
    let times = r#"[{"timeUnixNano": "1000000"}, {"timeUnixNano": "1700000000000000000"}]"#;
    let metric = format!(r#"{{"name": "m", "gauge": {{"dataPoints": {times}}}}}"#);
    let resource = [text("service.name", "a"), text("host.name", "h")].join(",");
    let one = one_metric(&resource, &metric);
    let (_, kept) = translated(&one, &OtlpConfig::default());
    assert_eq!(kept.samples.len(), 2 + 1_000 + 1);
    let inner =
        one.strip_prefix(r#"{"resourceMetrics": ["#).and_then(|text| text.strip_suffix("]}")).unwrap();
    let many = format!(r#"{{"resourceMetrics": [{}]}}"#, vec![inner; 100].join(","));
    let (_, kept) = translated(&many, &OtlpConfig::default());
    // Of each resource the last sample is there.
    assert_eq!(kept.samples.len(), 100 * (2 + 1) + 10_000);
}

#[test]
fn long_labels_are_not_copied_for_every_bucket() {
    let bounds: Vec<String> = (0..500).map(|bound| bound.to_string()).collect();
    let histogram = |attributes: &str, bounds: &[String]| {
        let counts = vec!["1"; bounds.len() + 1].join(",");
        format!(
            r#"{{"name": "m", "histogram": {{"aggregationTemporality": 2, "dataPoints": [{{"attributes": [{attributes}], "bucketCounts": [{counts}], "explicitBounds": [{}]}}]}}}}"#,
            bounds.join(",")
        )
    };
    let summary = format!(
        r#"{{"name": "m", "summary": {{"dataPoints": [{{"attributes": [{}], "quantileValues": [{{}}, {{}}]}}]}}}}"#,
        text("long", &"x".repeat(2000))
    );
    let long = text("long", &"x".repeat(2000));
    let (name, many) = (text("service.name", &"x".repeat(2000)), vec!["1".to_owned(); 1_000]);
    for (request, reason) in [
        (
            one_metric("", &histogram(&long, &bounds)),
            "points with more bytes of labels than tsdb.max_labels_bytes",
        ),
        (one_metric("", &summary), "points with more bytes of labels than tsdb.max_labels_bytes"),
        (
            one_metric(&name, &histogram("", &bounds)),
            "points with more bytes of labels than tsdb.max_labels_bytes",
        ),
        (one_metric("", &histogram("", &many)), "histograms with too many bounds"),
    ] {
        let (translated, kept) = translated(&request, &OtlpConfig::default());
        assert_eq!((refused(&translated), kept.samples.len()), (vec![(reason, 1)], 0));
    }
    let (_, kept) = translated(&one_metric("", &histogram("", &bounds)), &OtlpConfig::default());
    assert_eq!(kept.samples.len(), 1 + 501);
}

#[test]
fn exemplars_belong_to_the_bucket_of_their_value() {
    let point = |bounds: &str| {
        let exemplars = r#"[{"asDouble": 0.5}, {"asDouble": 1.5}, {"asDouble": 9}]"#;
        let point = format!(
            r#"{{"bucketCounts": [1, 1, 1], "explicitBounds": {bounds}, "count": 3, "exemplars": {exemplars}}}"#
        );
        let metric = format!(
            r#"{{"name": "m", "histogram": {{"aggregationTemporality": 2, "dataPoints": [{point}]}}}}"#
        );
        translated(&one_metric("", &metric), &OtlpConfig::default())
    };
    let (_, kept) = point("[1, 2]");
    let buckets: Vec<_> = kept.exemplars.iter().map(|(series, _)| series.get("le").unwrap()).collect();
    assert_eq!(buckets, ["1", "2", "+Inf"]);
    let (_, kept) = point(r#"[1, "Infinity"]"#);
    let buckets: Vec<_> = kept.exemplars.iter().map(|(series, _)| series.get("le").unwrap()).collect();
    assert_eq!(buckets, ["1", "+Inf", "+Inf"]);
    for bounds in [r#"["-Infinity", 1]"#, r#"["NaN", 1]"#] {
        let (translated, kept) = point(bounds);
        assert_eq!(refused(&translated), [("histograms with a bound that is no number", 1)], "{bounds}");
        assert_eq!((kept.samples.len(), kept.exemplars.len()), (0, 0), "{bounds}");
    }
}
