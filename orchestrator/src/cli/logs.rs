//! `binnacle logs`: select, filter and follow log lines.

use std::collections::{BTreeMap, HashSet};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::ServerUrl;
use super::client::Client;
use super::time::{format_time, parse_duration};

/// How often new lines are asked for when following.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);
/// How far behind the newest line a followed query looks again: lines arrive late and out of order.
const FOLLOW_OVERLAP_NS: i64 = 5_000_000_000;
/// Most lines that one question asks for.
const PAGE: usize = 5_000;

/// Flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  binnacle logs '{namespace=\"default\"} |= \"error\"' --since 10m
  binnacle logs --pod web --follow")]
pub(super) struct Args {
    /// LogQL: a stream selector, with filters if you like.
    #[arg(value_name = "SELECTOR", required_unless_present_any = ["pod", "namespace", "container"])]
    selector: Option<String>,
    /// Only this pod, or the pods of this Deployment.
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// Only this namespace.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only this container.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// How far to look back.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    since: String,
    /// Show new lines as they come, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Most lines to show, the newest; when following, of those that are there at the start.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    /// How to show lines.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Output::Text)]
    output: Output,
    /// When to colour lines by their level.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    color: Colour,
    #[command(flatten)]
    server: ServerUrl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Time, where from, line.
    Text,
    /// The line alone.
    Raw,
    /// An object a line: time, labels, line.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Entry {
    pub time_ns: i64,
    pub labels: BTreeMap<String, String>,
    pub line: String,
}

pub(super) async fn run(args: Args, now_ms: i64) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let selector = selector(&args)?;
    let since_ms = parse_duration(&args.since).context("--since")?;
    let end_ns = (now_ms + 1_000) * 1_000_000;
    let mut entries = newest(&client, &selector, (now_ms - since_ms) * 1_000_000, end_ns, args.limit).await?;
    let colour = match args.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => std::io::stdout().is_terminal(),
    };
    if !show(&entries, args.output, colour)? || !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    let mut start_ns = entries.last().map_or(now_ms * 1_000_000, |entry| entry.time_ns);
    let mut shown: HashSet<Entry> = entries.drain(..).collect();
    let mut timer = tokio::time::interval(FOLLOW_INTERVAL);
    loop {
        timer.tick().await;
        let from_ns = start_ns - FOLLOW_OVERLAP_NS;
        let until_ns = i64::MAX / 2;
        let mut new = oldest(&client, &selector, from_ns, until_ns, PAGE).await?;
        let full = new.len() >= PAGE;
        let last_ns = new.last().map_or(start_ns, |entry| entry.time_ns);
        new.retain(|entry| !shown.contains(entry));
        if full && new.is_empty() {
            // A page of lines that were shown already: go on behind it.
            start_ns = start_ns.max(last_ns) + FOLLOW_OVERLAP_NS;
            continue;
        }
        if !show(&new, args.output, colour)? {
            return Ok(ExitCode::SUCCESS);
        }
        start_ns = start_ns.max(last_ns);
        shown.extend(new);
        shown.retain(|entry| entry.time_ns >= start_ns - 2 * FOLLOW_OVERLAP_NS);
    }
}

/// The newest lines in a stretch of time, oldest first.
pub(super) async fn newest(
    client: &Client,
    selector: &str,
    start_ns: i64,
    end_ns: i64,
    limit: usize,
) -> anyhow::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut until_ns = end_ns;
    while entries.len() < limit && until_ns > start_ns {
        let ask = PAGE.min(limit - entries.len());
        let page = ask_lines(client, selector, start_ns, until_ns, ask, "backward").await?;
        let full = page.len() >= ask;
        // The end is exclusive: nothing of the page comes again.
        until_ns = page.first().map_or(start_ns, |entry| entry.time_ns);
        entries.splice(0..0, page);
        if !full {
            break;
        }
    }
    Ok(entries)
}

async fn oldest(
    client: &Client,
    selector: &str,
    start_ns: i64,
    end_ns: i64,
    limit: usize,
) -> anyhow::Result<Vec<Entry>> {
    ask_lines(client, selector, start_ns, end_ns, limit, "forward").await
}

async fn ask_lines(
    client: &Client,
    selector: &str,
    start_ns: i64,
    end_ns: i64,
    limit: usize,
    direction: &str,
) -> anyhow::Result<Vec<Entry>> {
    let query = [
        ("query", selector.to_owned()),
        ("start", start_ns.to_string()),
        ("end", end_ns.to_string()),
        ("limit", limit.to_string()),
        ("direction", direction.to_owned()),
    ];
    entries(&client.get("/loki/api/v1/query_range", &query).await?)
}

/// The lines of an answer of the log query API, oldest first.
fn entries(data: &Value) -> anyhow::Result<Vec<Entry>> {
    if data["resultType"] != "streams" {
        bail!("the expression is not a log query: it gives numbers; ask them with an HTTP client or Grafana");
    }
    let mut entries = Vec::new();
    for stream in data["result"].as_array().context("the answer has no result")? {
        let pairs = stream["stream"].as_object().into_iter().flatten();
        let labels: BTreeMap<String, String> = pairs
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        for value in stream["values"].as_array().context("a stream has no values")? {
            let time = value[0].as_str().context("a line has no time")?;
            entries.push(Entry {
                time_ns: time.parse().context("the time of a line")?,
                labels: labels.clone(),
                line: value[1].as_str().unwrap_or_default().to_owned(),
            });
        }
    }
    entries.sort_by_key(|entry| entry.time_ns);
    Ok(entries)
}

/// The selector with what the flags add.
fn selector(args: &Args) -> anyhow::Result<String> {
    let mut matchers = Vec::new();
    if let Some(pod) = &args.pod {
        let name = escape_regex(pod);
        matchers.push(format!("pod=~{}", quote(&format!("{name}|{name}-.+"))));
    }
    if let Some(namespace) = &args.namespace {
        matchers.push(format!("namespace={}", quote(namespace)));
    }
    if let Some(container) = &args.container {
        matchers.push(format!("container={}", quote(container)));
    }
    let matchers = matchers.join(", ");
    let Some(selector) = &args.selector else { return Ok(format!("{{{matchers}}}")) };
    if matchers.is_empty() {
        return Ok(selector.clone());
    }
    let Some((before, after)) = selector.split_once('{') else {
        bail!("{selector:?} is not a log selector: it begins with {{, e.g. {{namespace=\"default\"}}");
    };
    let comma = if after.trim_start().starts_with('}') { "" } else { ", " };
    Ok(format!("{before}{{{matchers}{comma}{after}"))
}

/// A string literal of LogQL and PromQL.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn escape_regex(text: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Prints lines; `false` when nobody reads them any more.
fn show(entries: &[Entry], output: Output, colour: bool) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    for entry in entries {
        let written = match output {
            Output::Json => {
                let object =
                    json!({"timeNs": entry.time_ns.to_string(), "labels": entry.labels, "line": entry.line});
                writeln!(out, "{object}")
            }
            Output::Raw => writeln!(out, "{}", entry.line),
            Output::Text => {
                let time = format_time(entry.time_ns.div_euclid(1_000_000));
                let (on, off) = match level(&entry.line).filter(|_| colour) {
                    Some(level) => (format!("\x1b[{}m", level.ansi()), "\x1b[0m"),
                    None => (String::new(), ""),
                };
                let (dim, undim) = if colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
                writeln!(out, "{dim}{time} {}{undim} {on}{}{off}", from(&entry.labels), entry.line)
            }
        };
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            other => other.context("standard output")?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).context("standard output"),
    }
}

/// Where a line is from, in short.
fn from(labels: &BTreeMap<String, String>) -> String {
    let label = |name: &str| labels.get(name).map(String::as_str);
    match (label("pod"), label("container")) {
        (Some(pod), Some(container)) => format!("{pod}/{container}"),
        (Some(pod), None) => pod.to_owned(),
        _ => match (label("job"), label("decision")) {
            (Some(job), Some(decision)) => format!("{job}/{decision}"),
            (Some(job), None) => job.to_owned(),
            _ => labels.values().next().cloned().unwrap_or_default(),
        },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    fn ansi(self) -> u8 {
        match self {
            Self::Error => 31,
            Self::Warn => 33,
            Self::Info => 0,
            Self::Debug => 90,
        }
    }
}

/// The level that a line names: in a field `level`, or as the first such word.
fn level(line: &str) -> Option<Level> {
    let head: String = line.chars().take(400).collect::<String>().to_ascii_lowercase();
    let of = |word: &str| match word {
        "error" | "err" | "fatal" | "critical" | "crit" | "panic" => Some(Level::Error),
        "warn" | "warning" => Some(Level::Warn),
        "info" | "notice" => Some(Level::Info),
        "debug" | "trace" => Some(Level::Debug),
        _ => None,
    };
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_ascii_alphabetic())
            .filter(|word| !word.is_empty())
            .map(Into::into)
            .collect()
    };
    for field in ["level", "lvl", "severity"] {
        let after = head.find(field).map(|at| words(&head[at + field.len()..]));
        if let Some(level) = after.and_then(|words| of(words.first()?)) {
            return Some(level);
        }
    }
    words(&head).iter().take(12).find_map(|word| of(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(selector: Option<&str>, pod: Option<&str>) -> Args {
        Args {
            selector: selector.map(Into::into),
            pod: pod.map(Into::into),
            namespace: None,
            container: None,
            since: "1h".into(),
            follow: false,
            limit: 1,
            output: Output::Text,
            color: Colour::Never,
            server: ServerUrl { server: String::new(), ca_file: None, bearer_token_file: None },
        }
    }

    #[test]
    fn flags_become_matchers() {
        assert_eq!(selector(&args(None, Some("we.b"))).unwrap(), r#"{pod=~"we\\.b|we\\.b-.+"}"#);
        let both = selector(&args(Some(r#"{a="b"} |= "x""#), Some("p"))).unwrap();
        assert_eq!(both, r#"{pod=~"p|p-.+", a="b"} |= "x""#);
        assert_eq!(selector(&args(Some("{}"), Some("p"))).unwrap(), r#"{pod=~"p|p-.+"}"#);
        assert!(selector(&args(Some("error"), Some("p"))).is_err());
    }

    #[test]
    fn level_is_found_in_fields_and_words() {
        assert_eq!(level(r#"{"level":"warn","msg":"error budget"}"#), Some(Level::Warn));
        assert_eq!(level("t=1 lvl=error x"), Some(Level::Error));
        assert_eq!(level("2026-01-01 [INFO] started"), Some(Level::Info));
        assert_eq!(level("all is well"), None);
        assert_eq!(level("a terrible informer"), None);
    }

    #[test]
    fn lines_of_several_streams_come_in_order() {
        let data = json!({"resultType": "streams", "result": [
            {"stream": {"pod": "a"}, "values": [["30", "c"], ["10", "a"]]},
            {"stream": {"pod": "b"}, "values": [["20", "b"]]},
        ]});
        let lines: Vec<String> = entries(&data).unwrap().into_iter().map(|entry| entry.line).collect();
        assert_eq!(lines, ["a", "b", "c"]);
        assert!(entries(&json!({"resultType": "matrix", "result": []})).is_err());
    }
}
