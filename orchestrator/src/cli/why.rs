//! `binnacle why`: the decisions about an object, from the journal in the log store.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;

use super::ServerUrl;
use super::client::Client;
use super::logs::{self, Entry, quote};
use super::time::{format_time, parse_duration};

/// Flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  binnacle why hpa web
  binnacle why pod web-7c9d
  binnacle why oom leaky --since 1d")]
pub(super) struct Args {
    /// Kind of decision: scaling, placement, or protection from running out of memory.
    #[arg(value_enum)]
    kind: Kind,
    /// Name, or the beginning of the name, of the HPA, pod, container or node.
    name: String,
    /// Only this namespace.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// How far to look back.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    since: String,
    /// Most decisions to show, the newest.
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Also show decisions that changed nothing.
    #[arg(long)]
    all: bool,
    /// Print the records as they are, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerUrl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Hpa,
    Pod,
    Oom,
}

/// Most records of the journal that are looked at.
const MAX_RECORDS: usize = 50_000;
/// Fields in which the name may stand.
const NAME_FIELDS: [&str; 8] = ["name", "object", "hpa", "pod", "container", "deployment", "target", "node"];
/// Actions that change nothing.
const NO_ACTION: [&str; 4] = ["none", "keep", "hold", ""];
/// Fields that have their own place in the text.
const SHOWN: [&str; 7] = ["time", "action", "reason", "namespace", "query", "values", "message"];

pub(super) async fn run(args: Args, now_ms: i64) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let since_ms = parse_duration(&args.since).context("--since")?;
    let selector = selector(args.kind, args.namespace.as_deref(), &args.name);
    let (start_ns, end_ns) = ((now_ms - since_ms) * 1_000_000, (now_ms + 1_000) * 1_000_000);
    let entries = logs::newest(&client, &selector, start_ns, end_ns, MAX_RECORDS).await?;
    let about: Vec<(&Entry, Value)> = entries
        .iter()
        .filter_map(|entry| Some((entry, serde_json::from_str::<Value>(&entry.line).ok()?)))
        .filter(|(_, record)| is_about(record, &args.name))
        .collect();
    let chosen: Vec<_> = about.iter().filter(|(_, record)| args.all || acts(record)).collect();
    for (entry, record) in chosen.iter().skip(chosen.len().saturating_sub(args.limit)) {
        if args.json {
            println!("{record}");
        } else {
            print!("{}", render(entry.time_ns, record));
        }
    }
    if chosen.is_empty() {
        let kind = args.kind.to_possible_value().map(|kind| kind.get_name().to_owned()).unwrap_or_default();
        let others = match about.len() {
            0 => String::new(),
            kept => format!(" that changed something; {kept} changed nothing (--all shows them)"),
        };
        eprintln!("no {kind} decision about {:?} within {}{others}", args.name, args.since);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn selector(kind: Kind, namespace: Option<&str>, name: &str) -> String {
    let decision = match kind {
        Kind::Hpa => "hpa",
        Kind::Pod => "schedule|oom",
        Kind::Oom => "oom",
    };
    let mut selector = format!(r#"{{job="binnacle", source="journal", decision=~"{decision}""#);
    if let Some(namespace) = namespace {
        let _ = write!(selector, ", namespace={}", quote(namespace));
    }
    let _ = write!(selector, "}} |= {}", quote(name));
    selector
}

/// Whether a record speaks of an object of this name, or of one whose name begins with it.
fn is_about(record: &Value, name: &str) -> bool {
    let matches = |value: &Value| {
        let Some(have) = value.as_str() else { return false };
        let last = have.rsplit('/').next().unwrap_or(have);
        [have, last]
            .iter()
            .any(|have| have.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
    };
    NAME_FIELDS.iter().any(|field| matches(&record[*field]))
}

fn acts(record: &Value) -> bool {
    let action = record["action"].as_str().unwrap_or("event");
    !NO_ACTION.contains(&action)
}

/// A decision as text: what, why, then everything else that the record holds.
fn render(time_ns: i64, record: &Value) -> String {
    let mut out = String::new();
    let names: Vec<String> = NAME_FIELDS
        .iter()
        .filter_map(|field| {
            Some(format!("{field} {}", record[*field].as_str().filter(|name| !name.is_empty())?))
        })
        .collect();
    let action = record["action"].as_str().or(record["event"].as_str()).unwrap_or("event");
    let time = format_time(time_ns.div_euclid(1_000_000));
    let _ = writeln!(out, "{time}  {action}  ({})", names.join(", "));
    for field in ["reason", "message"] {
        if let Some(text) = record[field].as_str().filter(|text| !text.is_empty()) {
            let _ = writeln!(out, "    {field:<9} {text}");
        }
    }
    for field in ["query", "values"] {
        lines(&mut out, field, &record[field]);
    }
    let own: BTreeSet<&str> = SHOWN.iter().chain(&NAME_FIELDS).copied().collect();
    for (field, value) in record.as_object().into_iter().flatten() {
        if !own.contains(field.as_str()) {
            lines(&mut out, field, value);
        }
    }
    out.push('\n');
    out
}

/// One field: scalars on its line, the elements of lists and objects on lines of their own.
fn lines(out: &mut String, field: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => {
            let _ = writeln!(out, "    {field:<9} {text}");
        }
        Value::Array(elements) if !elements.is_empty() => {
            for (i, element) in elements.iter().enumerate() {
                let name = if i == 0 { field } else { "" };
                let _ = writeln!(out, "    {name:<9} {}", inline(element));
            }
        }
        Value::Array(_) => {}
        Value::Object(fields) => {
            for (i, (key, element)) in fields.iter().enumerate() {
                let name = if i == 0 { field } else { "" };
                let _ = writeln!(out, "    {name:<9} {key} = {}", inline(element));
            }
        }
        other => {
            let _ = writeln!(out, "    {field:<9} {other}");
        }
    }
}

/// A value on one line: objects as `a=1 b=2`.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| format!("{key}={}", inline(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selector_names_the_journal_and_the_object() {
        let expected = r#"{job="binnacle", source="journal", decision=~"hpa", namespace="a"} |= "web""#;
        assert_eq!(selector(Kind::Hpa, Some("a"), "web"), expected);
    }

    #[test]
    fn names_match_whole_or_up_to_a_dash() {
        assert!(is_about(&json!({"pod": "web-7c9-x"}), "web"));
        assert!(is_about(&json!({"hpa": "default/web"}), "web"));
        assert!(!is_about(&json!({"pod": "webshop-1"}), "web"));
        assert!(!is_about(&json!({"message": "web"}), "web"));
    }

    #[test]
    fn record_is_told_with_all_its_fields() {
        let record = json!({
            "hpa": "web", "action": "scale", "reason": "cpu above target", "query": "sum(rate(x[1m]))",
            "values": [{"pod": "web-1", "value": 0.9, "age_ms": 1200}], "limits": {"max": 5}, "from": 1, "to": 3,
        });
        let text = render(1_000_000_000, &record);
        for expected in [
            "scale  (hpa web)",
            "reason    cpu above target",
            "query     sum(rate(x[1m]))",
            "values    age_ms=1200 pod=web-1 value=0.9",
            "limits    max = 5",
            "from      1",
            "to        3",
        ] {
            assert!(text.contains(expected), "{expected:?} not in\n{text}");
        }
    }

    #[test]
    fn decisions_that_change_nothing_are_left_out() {
        assert!(!acts(&json!({"action": "none"})));
        assert!(acts(&json!({"action": "scale"})));
        assert!(acts(&json!({"event": "OOMKilled"})));
    }
}
