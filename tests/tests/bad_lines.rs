//! Bad log input through the real agent and the real server: a line of 10 MB, bytes that are no text, a flood from one
//! container.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_tests::client::Client;
use binnacle_tests::process::{Agent, Server, wait_until};

const NO_ARGS: [&str; 0] = [];
const SOON: Duration = Duration::from_secs(60);
/// The longest line that an agent passes on, in bytes.
const MAX_LINE: usize = 1 << 20;
/// The longest that the server stores, in bytes.
const MAX_STORED: usize = 256 << 10;

#[expect(clippy::disallowed_methods, reason = "lines of today")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn cri(tag: &str, text: &[u8]) -> Vec<u8> {
    let mut line = format!("{} stdout {tag} ", now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ")).into_bytes();
    line.extend_from_slice(text);
    line.push(b'\n');
    line
}

fn write(home: &Path, pod: &str, text: &[u8]) -> Result<()> {
    let dir = home.join(format!("logs/shop_{pod}_u1/main"));
    fs::create_dir_all(&dir)?;
    let mut file = fs::File::options().create(true).append(true).open(dir.join("0.log"))?;
    Ok(file.write_all(text)?)
}

async fn lines(client: &Client, pod: &str) -> Vec<String> {
    let lines = client.logs(&format!("{{pod=\"{pod}\"}}"), 0, i64::MAX / 2).await.unwrap_or_default();
    lines.into_iter().map(|line| line.line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_strange_bytes_and_floods_have_an_outcome_and_hurt_nobody_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let home = folder.path();
    fs::create_dir(home.join("logs"))?;
    let server = Server::start(NO_ARGS).await?;
    let client = server.client()?;
    let text = format!(
        "node = \"alpha\"\nserver = \"{}\"\ninterval = \"500ms\"\nstate_dir = \"{home}/state\"\n\
         pod_log_dir = \"{home}/logs\"\ncgroup_parent = \"binnacle-test-{}\"\n[logs]\nmax_bytes_per_second = 500000\n",
        server.grpc_url(),
        std::process::id(),
        home = home.display(),
    );
    fs::write(home.join("agent.toml"), text)?;
    let agent = Agent::start(home, ["--config", &home.join("agent.toml").display().to_string()])?;

    // 6 MB at 0.5 MB/s, after a burst of two seconds.
    let flood = [b"flood ".as_slice(), &[b'x'; 194]].concat();
    let flood: Vec<u8> = (0..25_000).flat_map(|_| cri("F", &flood)).collect();
    write(home, "flood", &flood)?;
    for number in 0..5 {
        write(home, "calm", &cri("F", format!("calm {number}").as_bytes()))?;
        let there = || async { lines(&client, "calm").await.len() == number + 1 };
        wait_until("a calm line", Duration::from_secs(5), there).await.with_context(|| agent.log())?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let number =
        |expr: &'static str| async { client.number(expr, None).await.ok().flatten().unwrap_or_default() };
    let read = number("sum(binnacle_agent_log_lines_read_total{pod=\"flood\"})").await;
    ensure!(read < 20_000.0, "{read} lines of the flood were read at once");

    // A line of 10 MB in pieces of 16 KiB, as engines write it.
    let piece = cri("P", &[b'y'; 16 << 10]);
    write(home, "long", &[piece.repeat(640), cri("F", b""), cri("F", b"next")].concat())?;
    write(home, "bytes", &cri("F", b"caf\xe9 \xff end"))?;
    let both =
        || async { lines(&client, "long").await.len() == 2 && lines(&client, "bytes").await.len() == 1 };
    wait_until("the long line and the strange one", SOON, both).await.with_context(|| agent.log())?;
    let long = lines(&client, "long").await;
    ensure!(
        long[0].len() == MAX_STORED && long[0].starts_with("yyy") && long[1] == "next",
        "{}",
        long[0].len()
    );
    ensure!(lines(&client, "bytes").await == ["caf\u{fffd} \u{fffd} end"]);
    let cut = "sum(binnacle_agent_log_bytes_cut_total{pod=\"long\"})";
    let counted = || async { number(cut).await == (640 * (16 << 10) - MAX_LINE) as f64 };
    wait_until("what was cut", SOON, counted).await?;
    let limited = "sum(binnacle_agent_log_turns_limited_total{pod=\"flood\"})";
    let counted = || async { number(limited).await > 0.0 };
    wait_until("turns that were left out", SOON, counted).await?;

    let count = || async {
        let count = "sum(count_over_time({pod=\"flood\"}[1h]))";
        let answer =
            client.get("/loki/api/v1/query", &[("query", count.to_owned())]).await.unwrap_or_default();
        answer["result"][0]["value"][1] == "25000"
    };
    wait_until("the whole flood", SOON, count).await.with_context(|| agent.log())?;
    Ok(())
}
