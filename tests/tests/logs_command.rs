//! `binnacle logs` against a running server: selecting, filtering, following, its formats.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_tests::client::http_client;
use binnacle_tests::process::{Server, binary};
use serde_json::{Value, json};

#[expect(clippy::disallowed_methods, reason = "the server goes by the machine's clock")]
fn now_ns() -> i128 {
    jiff::Timestamp::now().as_nanosecond()
}

async fn push(server: &Server, pod: &str, lines: &[(i128, &str)]) -> Result<()> {
    let now = now_ns();
    let values: Vec<Value> =
        lines.iter().map(|(ago, line)| json!([(now - ago * 1_000_000_000).to_string(), line])).collect();
    let stream = json!({"namespace": "shop", "pod": pod, "container": "main"});
    let body = json!({"streams": [{"stream": stream, "values": values}]});
    let http = http_client(Duration::from_secs(10), None)?;
    let pushed = http.post(format!("{}/loki/api/v1/push", server.http_url())).json(&body).send().await?;
    ensure!(pushed.status() == 204, "{}", pushed.text().await?);
    Ok(())
}

fn logs(server: &Server, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary("binnacle")?);
    command.arg("logs").args(arguments).args(["--server", &server.http_url()]).env("TZ", "UTC");
    Ok(command)
}

/// What it prints; an error has what it complains about.
async fn printed(server: &Server, arguments: &[&str]) -> Result<String> {
    let mut command = logs(server, arguments)?;
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

async fn filled() -> Result<Server> {
    let no_args: [&str; 0] = [];
    let server = Server::start(no_args).await?;
    let cart = [
        (7000, "level=info old"),
        (90, "level=error broken"),
        (60, "level=info fine"),
        (30, "level=warn slow"),
    ];
    push(&server, "cart-5d9c-x1", &cart).await?;
    push(&server, "till-0", &[(45, "plain text")]).await?;
    Ok(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_selected_filtered_and_shown_in_order() -> Result<()> {
    let server = filled().await?;
    let raw = printed(&server, &[r#"{namespace="shop"}"#, "-o", "raw"]).await?;
    ensure!(raw == "level=error broken\nlevel=info fine\nplain text\nlevel=warn slow\n", "{raw}");
    let raw = printed(&server, &[r#"{namespace="shop"} |= "level" != "error""#, "-o", "raw"]).await?;
    ensure!(raw == "level=info fine\nlevel=warn slow\n", "{raw}");
    // A Deployment's name stands for its pods; flags and selector go together.
    let raw = printed(&server, &["--pod", "cart", "-o", "raw", "--limit", "2"]).await?;
    ensure!(raw == "level=info fine\nlevel=warn slow\n", "the newest: {raw}");
    let raw =
        printed(&server, &[r#"{container="main"} | logfmt | level="error""#, "--pod", "cart", "-o", "raw"])
            .await?;
    ensure!(raw == "level=error broken\n", "{raw}");
    ensure!(printed(&server, &["--pod", "car", "-o", "raw"]).await?.is_empty());
    // How far back.
    let raw = printed(&server, &["-n", "shop", "--since", "3h", "-o", "raw"]).await?;
    ensure!(raw.starts_with("level=info old\n") && raw.lines().count() == 5, "{raw}");
    let raw = printed(&server, &["-n", "shop", "-c", "main", "--since", "40s", "-o", "raw"]).await?;
    ensure!(raw == "level=warn slow\n", "{raw}");
    let text = printed(&server, &["--pod", "till-0"]).await?;
    ensure!(text.ends_with(" till-0/main plain text\n") && !text.contains('\x1b'), "{text:?}");
    let wrong = printed(&server, &[r#"{namespace="shop"} |= "#]).await;
    ensure!(wrong.is_err_and(|why| why.to_string().contains("parse error at line 1, col ")));
    let numbers = printed(&server, &[r#"sum(count_over_time({namespace="shop"}[1h]))"#]).await;
    ensure!(numbers.is_err_and(|why| why.to_string().contains("not a log query")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_colours() -> Result<()> {
    let server = filled().await?;
    let text = printed(&server, &["-n", "shop", "-o", "json"]).await?;
    let objects: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(objects.len() == 4, "{text}");
    ensure!(
        objects[0]["line"] == "level=error broken" && objects[0]["labels"]["pod"] == "cart-5d9c-x1",
        "{text}"
    );
    ensure!(objects[0]["timeNs"].as_str().is_some_and(|time| time.len() == 19), "{text}");
    let text = printed(&server, &["-n", "shop", "--color", "always"]).await?;
    for (line, colour) in [("broken", 31), ("slow", 33), ("fine", 0)] {
        let shown = text.lines().find(|shown| shown.contains(line)).context("a line is missing")?;
        ensure!(shown.contains(&format!("\x1b[{colour}mlevel=")), "{shown:?}");
    }
    let plain = text.lines().find(|shown| shown.contains("plain text")).context("a line is missing")?;
    ensure!(plain.ends_with(" plain text"), "no level, no colour: {plain:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_lines_are_followed_once_each() -> Result<()> {
    let server = filled().await?;
    let mut command = logs(&server, &["--pod", "cart", "--follow", "-o", "raw"])?;
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("no output")?;
    let (found, mut seen) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if found.send(line).is_err() {
                return;
            }
        }
    });
    let mut next = async || -> Result<String> {
        let line = tokio::time::timeout(Duration::from_secs(20), seen.recv()).await;
        line.context("no line came")?.context("it ended")
    };
    for want in ["level=error broken", "level=info fine", "level=warn slow"] {
        ensure!(next().await? == want);
    }
    for number in 0..5 {
        push(&server, "till-0", &[(0, "of another pod")]).await?;
        push(&server, "cart-5d9c-x1", &[(0, &format!("new {number}"))]).await?;
        let line = next().await?;
        ensure!(line == format!("new {number}"), "{line}");
    }
    // A line that comes late and out of order is shown, too.
    push(&server, "cart-5d9c-x1", &[(2, "late")]).await?;
    ensure!(next().await? == "late");
    child.kill()?;
    child.wait()?;
    ensure!(seen.try_recv().is_err(), "nothing is shown twice");
    Ok(())
}
