//! Log clients of others, from the Python package index and npm, speak to the real server.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_tests::client::LogLine;
use binnacle_tests::process::{Server, wait_until};

/// The folder that `tests/clients.sh` has filled.
fn folder() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    std::env::var_os("BINNACLE_CLIENTS").map_or(home.join(".cache/binnacle-clients"), PathBuf::from)
}

/// Says visibly what is skipped.
fn skip(what: &str) {
    let notice = format!("skipped: needs {what} that tests/clients.sh installs\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), notice.as_bytes());
}

/// The interpreter with the Python clients, or `None`.
fn python_or_skip() -> Option<Command> {
    let python = folder().join("bin/python");
    let installed = std::fs::read_to_string(folder().join("installed")).unwrap_or_default();
    if installed.contains("python-logging-loki") && installed.contains("websockets") && python.exists() {
        return Some(Command::new(python));
    }
    skip("the Python clients");
    None
}

/// Node.js with the clients of npm, or `None`.
fn node_or_skip() -> Option<Command> {
    let packages = folder().join("node/node_modules");
    if folder().join("node/installed").is_file() && Command::new("node").arg("--version").output().is_ok() {
        let mut node = Command::new("node");
        node.env("NODE_PATH", packages);
        return Some(node);
    }
    skip("the Node.js clients");
    None
}

async fn run(mut command: Command, script: &str, server: &Server) -> Result<()> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    command.arg(script).arg(server.http_url());
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("it starts")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && text.trim().ends_with("ok"), "{text}\n{errors}");
    Ok(())
}

/// The lines of the last hour.
async fn lines(server: &Server, query: &str) -> Result<Vec<LogLine>> {
    #[expect(clippy::disallowed_methods, reason = "clients of others go by the machine's clock")]
    let now_ns = jiff::Timestamp::now().as_nanosecond() as i64;
    server.client()?.logs(query, now_ns - 3_600_000_000_000, now_ns + 1_000_000_000).await
}

async fn started() -> Result<Server> {
    let no_args: [&str; 0] = [];
    Server::start(no_args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn opentelemetrys_exporter_sends_its_logs() -> Result<()> {
    let Some(python) = python_or_skip() else { return Ok(()) };
    let server = started().await?;
    run(python, "send_logs.py", &server).await?;
    let all = lines(&server, r#"{service_name="shop", k8s_namespace_name="eu"}"#).await?;
    ensure!(all.len() == 3, "{all:?}");
    ensure!(all.iter().all(|line| line.labels["host_name"] == "h-1"), "{all:?}");
    let paid =
        lines(&server, r#"{service_name="shop"} | cart="17" | express="true" | scope_name="checkout""#)
            .await?;
    ensure!(paid.len() == 1 && paid[0].line == "a cart was paid", "{paid:?}");
    let stuck =
        lines(&server, r#"{service_name="shop"} | severity_text="ERROR" | detected_level="error""#).await?;
    ensure!(stuck.len() == 1 && stuck[0].line == "the till is stuck", "{stuck:?}");
    let trace = r#"{service_name="shop"} | trace_id="0123456789abcdef0123456789abcdef" | json | amount > 12"#;
    let refund = lines(&server, trace).await?;
    ensure!(refund.len() == 1, "{refund:?}");
    let labels = &refund[0].labels;
    // A whole number that no float holds is whole.
    ensure!(labels["big"] == "9007199254740993" && labels["nested_key"] == "v", "{labels:?}");
    ensure!(labels["kind"] == "refund" && labels["severity_number"] == "13", "{labels:?}");
    ensure!(labels["span_id"] == "0123456789abcdef" && labels["scope_version"] == "1.2", "{labels:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn python_logging_loki_ships_json() -> Result<()> {
    let Some(python) = python_or_skip() else { return Ok(()) };
    let server = started().await?;
    run(python, "push_logs.py", &server).await?;
    let all = lines(&server, r#"{application="till", logger="payments"}"#).await?;
    ensure!(all.len() == 52, "{} lines", all.len());
    let tagged = lines(&server, r#"{application="till", region="eu", severity="info"}"#).await?;
    ensure!(tagged.len() == 1 && tagged[0].line == "one payment", "{tagged:?}");
    let quoted = lines(&server, r#"{severity="warning"} |= "ünïcödé""#).await?;
    ensure!(
        quoted.len() == 1 && quoted[0].line == "a line with \"quotes\", a\ttab and ünïcödé",
        "{quoted:?}"
    );
    let numbers = lines(&server, r#"{severity="error"} |~ "^number \\d+$""#).await?;
    ensure!(numbers.len() == 50 && numbers[0].labels["service_name"] == "till", "{numbers:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn winston_loki_ships_protobuf() -> Result<()> {
    let Some(node) = node_or_skip() else { return Ok(()) };
    let server = started().await?;
    run(node, "ship_logs.mjs", &server).await?;
    let client = &server;
    let arrived = || async { lines(client, r#"{app="node-shop"}"#).await.is_ok_and(|all| all.len() == 51) };
    wait_until("all lines of winston-loki", Duration::from_secs(20), arrived).await?;
    let seventh = lines(&server, r#"{app="node-shop", level="info"} | json | cart="7""#).await?;
    ensure!(seventh.len() == 1 && seventh[0].line.contains("number 7"), "{seventh:?}");
    let stuck =
        lines(&server, r#"{app="node-shop", level="error"} |= "the till is stuck – ünïcödé""#).await?;
    ensure!(stuck.len() == 1, "{stuck:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_client_follows_a_query() -> Result<()> {
    let Some(python) = python_or_skip() else { return Ok(()) };
    let server = started().await?;
    run(python, "tail_logs.py", &server).await
}
