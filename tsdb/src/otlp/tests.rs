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

fn shown(translated: &Translated) -> Vec<String> {
    let show = |(labels, t_ms, value): &(binnacle_proto::Labels, i64, f64)| {
        let labels = labels.filtered(|name| name != "job" && name != "instance");
        format!("{labels} {value} @{}", t_ms - 1_700_000_000_000)
    };
    translated.samples.iter().map(show).collect()
}

#[test]
fn points_become_samples_and_what_cannot_is_counted() {
    let request = decode_json(REQUEST.as_bytes()).unwrap();
    let translated = translate(&request, &OtlpConfig::default());
    assert_eq!(
        shown(&translated),
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
    assert!(binnacle_proto::is_stale(translated.samples[1].2));
    for (labels, _, _) in &translated.samples {
        assert_eq!((labels.get("job"), labels.get("instance")), (Some("eu/shop"), Some("i1")), "{labels}");
    }
    let refused: Vec<(&str, u64)> =
        translated.refused.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(
        refused,
        [
            ("exponential histograms, which are not stored yet", 3),
            ("sums whose temporality is not cumulative", 2)
        ]
    );
    assert_eq!(translated.points, 5);
    let (series, exemplar) = &translated.exemplars[0];
    assert_eq!(series.metric_name(), Some("sent_bytes_total"));
    assert_eq!(exemplar.labels.get("trace_id"), Some("0af7651916cd43dd8448eb211c80319c"));
    let sent = translated.metadata.iter().find(|note| note.name == "sent_bytes_total").unwrap();
    assert_eq!((sent.kind.as_str(), sent.help.as_str()), ("counter", "Bytes sent."));
}

#[test]
fn resource_attributes_can_be_promoted() {
    let request = decode_json(REQUEST.as_bytes()).unwrap();
    let config = OtlpConfig { promote_resource_attributes: vec!["host.name".to_owned()] };
    let translated = translate(&request, &config);
    assert!(translated.samples.iter().all(|(labels, _, _)| labels.get("host_name") == Some("h")));
}

#[test]
fn bodies_that_are_no_requests_are_refused_with_the_place() {
    assert!(decode_json(br#"{"resourceMetrics": 5}"#).unwrap_err().contains("line 1"));
    assert!(decode_json(br#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [{"timeUnixNano": "soon"}]}}]}]}]}"#).is_err());
    assert!(decode_protobuf(&[0x0a, 0x05, 1]).is_err());
}
