//! Test files: YAML into series, moments and expectations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use binnacle_proto::Labels;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::promql::{RowPoint, parse_points, parse_series};
use crate::rules::bounded::read_text_bounded;
use crate::rules::file::{Finding, MAX_FILE_BYTES};

/// The interval when a file names none, in milliseconds.
const DEFAULT_INTERVAL_MS: i64 = 60_000;

/// A test file.
pub(super) struct TestFile {
    pub(super) rule_files: Vec<String>,
    pub(super) evaluation_interval_ms: i64,
    pub(super) group_order: Vec<String>,
    pub(super) fuzzy: bool,
    pub(super) tests: Vec<Test>,
}

/// Samples and what must come of them.
pub(super) struct Test {
    pub(super) name: String,
    pub(super) interval_ms: i64,
    /// Samples in milliseconds since the start of the test.
    pub(super) series: Vec<(Labels, Vec<(i64, f64)>)>,
    pub(super) alerts: Vec<AlertCase>,
    pub(super) queries: Vec<QueryCase>,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) external_url: String,
}

/// Alerts that must fire at a moment.
pub(super) struct AlertCase {
    pub(super) line: u64,
    pub(super) at_ms: i64,
    pub(super) alert: String,
    pub(super) expected: Vec<Fired>,
}

/// Labels and annotations of an alert that fires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fired {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Samples that an expression must give at a moment.
pub(super) struct QueryCase {
    pub(super) line: u64,
    pub(super) at_ms: i64,
    pub(super) expr: String,
    pub(super) expected: Vec<(Labels, f64)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    rule_files: Option<Vec<String>>,
    evaluation_interval: Option<Spanned<String>>,
    group_eval_order: Option<Vec<Spanned<String>>>,
    tests: Option<Vec<RawTest>>,
    #[serde(default)]
    fuzzy_compare: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTest {
    interval: Option<Spanned<String>>,
    input_series: Option<Vec<RawSeries>>,
    alert_rule_test: Option<Vec<RawAlertCase>>,
    promql_expr_test: Option<Vec<RawQueryCase>>,
    external_labels: Option<BTreeMap<String, String>>,
    external_url: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeries {
    series: Spanned<String>,
    values: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAlertCase {
    eval_time: Option<Spanned<String>>,
    alertname: Option<Spanned<String>>,
    exp_alerts: Option<Vec<RawFired>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFired {
    exp_labels: Option<BTreeMap<String, String>>,
    exp_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQueryCase {
    expr: Spanned<String>,
    eval_time: Option<Spanned<String>>,
    exp_samples: Option<Vec<RawSample>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSample {
    labels: Option<Spanned<String>>,
    #[serde(default)]
    value: f64,
    histogram: Option<Spanned<String>>,
}

/// Reads a test file.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn read(path: &Path) -> Result<TestFile, Vec<Finding>> {
    let finding = |line: u64, message: String| Finding { file: path.to_owned(), line, message };
    let text = read_text_bounded(path, MAX_FILE_BYTES)
        .map_err(|error| vec![finding(0, format!("cannot be read: {error}"))])?;
    let raw: RawFile = serde_saphyr::from_str(&text).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        vec![finding(line, error.without_snippet().to_string())]
    })?;
    let mut reader = Reader { findings: Vec::new() };
    let file = reader.file(raw);
    if reader.findings.is_empty() {
        return Ok(file);
    }
    Err(reader.findings.into_iter().map(|(line, message)| finding(line, message)).collect())
}

struct Reader {
    findings: Vec<(u64, String)>,
}

impl Reader {
    fn find(&mut self, line: u64, message: impl Into<String>) {
        self.findings.push((line, message.into()));
    }

    fn duration_ms(&mut self, field: &str, text: Option<&Spanned<String>>) -> i64 {
        let Some(text) = text else { return 0 };
        match crate::promql::parse_duration(&text.value) {
            Ok(duration) => duration.as_millis() as i64,
            Err(error) => {
                self.find(text.referenced.line(), format!("{field}: {error}"));
                0
            }
        }
    }

    fn file(&mut self, raw: RawFile) -> TestFile {
        let interval = match self.duration_ms("evaluation_interval", raw.evaluation_interval.as_ref()) {
            0 => DEFAULT_INTERVAL_MS,
            given => given,
        };
        let mut seen = BTreeSet::new();
        let mut group_order = Vec::new();
        for name in raw.group_eval_order.unwrap_or_default() {
            if !seen.insert(name.value.clone()) {
                self.find(
                    name.referenced.line(),
                    format!("group_eval_order: {:?} is named twice", name.value),
                );
            }
            group_order.push(name.value);
        }
        let tests = raw.tests.unwrap_or_default().into_iter().map(|test| self.test(test, interval)).collect();
        TestFile {
            rule_files: raw.rule_files.unwrap_or_default(),
            evaluation_interval_ms: interval,
            group_order,
            fuzzy: raw.fuzzy_compare,
            tests,
        }
    }

    fn test(&mut self, raw: RawTest, evaluation_interval_ms: i64) -> Test {
        let interval_ms = match self.duration_ms("interval", raw.interval.as_ref()) {
            0 => evaluation_interval_ms,
            given => given,
        };
        let mut series: Vec<(Labels, Vec<(i64, f64)>)> = Vec::new();
        for row in raw.input_series.unwrap_or_default() {
            if let Some((labels, samples)) = self.series(&row, interval_ms) {
                // Of a series that is given twice the last one stands.
                series.retain(|(have, _)| *have != labels);
                series.push((labels, samples));
            }
        }
        let alerts = raw.alert_rule_test.unwrap_or_default();
        let queries = raw.promql_expr_test.unwrap_or_default();
        Test {
            name: raw.name.unwrap_or_default(),
            interval_ms,
            series,
            alerts: alerts.into_iter().filter_map(|case| self.alert(case)).collect(),
            queries: queries.into_iter().map(|case| self.query(case)).collect(),
            external_labels: raw.external_labels.unwrap_or_default(),
            external_url: raw.external_url.unwrap_or_default(),
        }
    }

    fn series(&mut self, raw: &RawSeries, interval_ms: i64) -> Option<(Labels, Vec<(i64, f64)>)> {
        let line = raw.values.referenced.line();
        let labels = match parse_series(&raw.series.value) {
            Ok(labels) => labels,
            Err(reason) => {
                self.find(raw.series.referenced.line(), format!("input_series: {reason}"));
                return None;
            }
        };
        let points = match parse_points(&raw.values.value) {
            Ok(points) => points,
            Err(reason) => {
                self.find(line, format!("input_series: {reason}"));
                return None;
            }
        };
        if raw.values.value.contains('\n') {
            self.find(line, "input_series: values: must be one line");
            return None;
        }
        let mut samples = Vec::with_capacity(points.len());
        for (step, point) in points.iter().enumerate() {
            match point {
                RowPoint::None => {}
                RowPoint::Float(value) => samples.push((step as i64 * interval_ms, *value)),
                RowPoint::Histogram => {
                    self.find(line, "input_series: values: native histograms are not supported yet");
                    return None;
                }
            }
        }
        Some((labels, samples))
    }

    fn alert(&mut self, raw: RawAlertCase) -> Option<AlertCase> {
        let at_ms = self.duration_ms("alert_rule_test.eval_time", raw.eval_time.as_ref());
        let time = raw.eval_time.as_ref();
        let Some(alert) = raw.alertname.filter(|name| !name.value.is_empty()) else {
            self.find(time.map_or(0, |time| time.referenced.line()), "alert_rule_test: alertname is missing");
            return None;
        };
        let expected = raw.exp_alerts.unwrap_or_default().into_iter().map(|fired| {
            let mut labels = fired.exp_labels.unwrap_or_default();
            labels.insert("alertname".to_owned(), alert.value.clone());
            Fired { labels, annotations: fired.exp_annotations.unwrap_or_default() }
        });
        let expected = expected.collect();
        Some(AlertCase { line: alert.referenced.line(), at_ms, alert: alert.value, expected })
    }

    fn query(&mut self, raw: RawQueryCase) -> QueryCase {
        let at_ms = self.duration_ms("promql_expr_test.eval_time", raw.eval_time.as_ref());
        let mut expected = Vec::new();
        for sample in raw.exp_samples.unwrap_or_default() {
            if let Some(histogram) = &sample.histogram {
                self.find(
                    histogram.referenced.line(),
                    "exp_samples: native histograms are not supported yet",
                );
            }
            let line =
                sample.labels.as_ref().map_or(raw.expr.referenced.line(), |text| text.referenced.line());
            match parse_series(sample.labels.as_ref().map_or("", |text| text.value.trim())) {
                Ok(labels) => expected.push((labels, sample.value)),
                Err(reason) => self.find(line, format!("exp_samples.labels: {reason}")),
            }
        }
        QueryCase { line: raw.expr.referenced.line(), at_ms, expr: raw.expr.value, expected }
    }
}
