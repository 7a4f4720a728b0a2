//! `binnacle query`: PromQL, as a table, as JSON, or as a plot.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::Value;

use super::ServerUrl;
use super::client::Client;
use super::plot::{self, Line};
use super::table::Table;
use super::time::{format_time, parse_duration, parse_time};

/// Flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  binnacle query 'sum by (node) (rate(container_cpu_usage_seconds_total{id=\"/\"}[1m]))'
  binnacle query 'node_load1' --range 1h --step 15s -o plot")]
pub(super) struct Args {
    /// PromQL expression.
    #[arg(value_name = "EXPR")]
    expr: String,
    /// Evaluate over this long up to --time instead of at one instant, e.g. 1h.
    #[arg(long, value_name = "DURATION")]
    range: Option<String>,
    /// Distance of the steps of a range; without it the range has 120 steps.
    #[arg(long, value_name = "DURATION", requires = "range")]
    step: Option<String>,
    /// Instant (RFC 3339 or Unix seconds); without it now.
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// How to show the answer; a range is plotted when nothing else is said.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
    #[command(flatten)]
    server: ServerUrl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
    Plot,
}

pub(super) async fn run(args: Args, now_ms: i64) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let end_ms = match &args.time {
        Some(time) => parse_time(time).context("--time")?,
        None => now_ms,
    };
    let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000));
    let data = match &args.range {
        None => {
            let query = [("query", args.expr), ("time", seconds(end_ms))];
            client.get("/api/v1/query", &query).await?
        }
        Some(range) => {
            let range_ms = parse_duration(range).context("--range")?;
            let step_ms = match &args.step {
                Some(step) => parse_duration(step).context("--step")?,
                None => (range_ms / 120).max(1_000),
            };
            let query = [
                ("query", args.expr),
                ("start", seconds(end_ms - range_ms)),
                ("end", seconds(end_ms)),
                ("step", seconds(step_ms)),
            ];
            client.get("/api/v1/query_range", &query).await?
        }
    };
    let chosen = args.output.unwrap_or(if args.range.is_some() { Output::Plot } else { Output::Table });
    match chosen {
        Output::Json => println!("{}", serde_json::to_string_pretty(&data)?),
        Output::Table => print!("{}", table(&data)?),
        Output::Plot => {
            if args.range.is_none() {
                bail!("-o plot needs --range, e.g. --range 1h");
            }
            print!("{}", plot::render(&lines(&data)?, plot::Size::of_terminal()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Any answer as a table.
fn table(data: &Value) -> anyhow::Result<String> {
    let result = &data["result"];
    match data["resultType"].as_str() {
        Some("scalar" | "string") => Ok(format!("{}\n", text(&result[1]))),
        Some("vector") => {
            let elements = result.as_array().context("the answer has no result")?;
            if elements.is_empty() {
                return Ok("no series\n".into());
            }
            let names = label_names(elements);
            let mut table = Table::new(names.iter().map(String::as_str).chain(["value"]));
            table.align_right(names.len());
            for element in elements {
                let labels = names.iter().map(|name| text(&element["metric"][name]));
                table.row(labels.chain([text(&element["value"][1])]));
            }
            Ok(table.to_string())
        }
        Some("matrix") => {
            let mut table = Table::new(["series", "time", "value"]);
            table.align_right(2);
            for line in lines(data)? {
                for (t_ms, value) in line.points {
                    table.row([line.name.clone(), format_time(t_ms), value.to_string()]);
                }
            }
            Ok(table.to_string())
        }
        other => bail!("the answer is of an unknown type {other:?}"),
    }
}

/// The series of a matrix.
fn lines(data: &Value) -> anyhow::Result<Vec<Line>> {
    let series = data["result"].as_array().context("the answer has no result")?;
    let mut lines = Vec::with_capacity(series.len());
    for one in series {
        let values = one["values"].as_array().context("a series has no values")?;
        let points = values.iter().filter_map(|point| {
            let t_ms = (point[0].as_f64()? * 1000.0).round() as i64;
            Some((t_ms, point[1].as_str()?.parse().ok()?))
        });
        lines.push(Line { name: series_name(&one["metric"]), points: points.collect() });
    }
    Ok(lines)
}

/// `name{a="b"}`.
pub(super) fn series_name(metric: &Value) -> String {
    let pairs = metric.as_object().into_iter().flatten().map(|(name, value)| (name, text(value)));
    binnacle_proto::Labels::from_pairs(pairs).unwrap_or_default().to_string()
}

/// Labels that occur, the metric's name first.
fn label_names(elements: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = elements
        .iter()
        .flat_map(|element| element["metric"].as_object().into_iter().flatten().map(|(name, _)| name.clone()))
        .collect();
    names.sort_by_key(|name| (name != "__name__", name.clone()));
    names.dedup();
    names
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vector_has_a_column_a_label() {
        let data = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "value": [1.5, "1"]},
            {"metric": {"__name__": "up", "node": "beta"}, "value": [1.5, "10.25"]},
        ]});
        let expected = "__name__  job  node  value\nup        a              1\nup             beta  10.25\n";
        assert_eq!(table(&data).unwrap(), expected);
    }

    #[test]
    fn scalar_is_its_value() {
        assert_eq!(table(&json!({"resultType": "scalar", "result": [1, "2"]})).unwrap(), "2\n");
    }

    #[test]
    fn matrix_keeps_values_that_are_not_finite() {
        let data = json!({"resultType": "matrix", "result": [
            {"metric": {"a": "b"}, "values": [[1, "NaN"], [2.5, "+Inf"]]},
        ]});
        let lines = lines(&data).unwrap();
        assert_eq!(lines[0].name, r#"{a="b"}"#);
        assert!(lines[0].points[0].1.is_nan());
        assert_eq!(lines[0].points[1], (2_500, f64::INFINITY));
    }
}
