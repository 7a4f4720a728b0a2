//! Agents join, renew, are revoked and refused: real processes, certificates that live for seconds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_proto::node::node_client::NodeClient;
use binnacle_proto::node::{Batch, NodeHello, Report, report};
use binnacle_tests::client::Client;
use binnacle_tests::process::{Agent, Server, wait_until};
use binnacle_tests::tls::{Authority, Identity, channel};
use tonic::Code;

const SOON: Duration = Duration::from_secs(60);

/// A server with this configuration.
async fn server(folder: &Path, config: &str) -> Result<Server> {
    let file = folder.join("server.toml");
    fs::write(&file, config)?;
    Server::start(["--config".to_owned(), file.display().to_string()]).await
}

/// An agent whose rounds are 200 ms apart.
fn agent(folder: &Path, server: &Server, node: &str, more: &[(&str, &Path)]) -> Result<Agent> {
    let home = folder.join(node);
    fs::create_dir_all(home.join("logs"))?;
    let mut args: Vec<String> = ["--node", node, "--interval", "200ms"].map(str::to_owned).into();
    args.extend(["--server".into(), server.grpc_url()]);
    args.extend(["--cgroup-parent".into(), format!("binnacle-test-{}", std::process::id())]);
    let (state, logs) = (home.join("state"), home.join("logs"));
    let folders = [("--state-dir", state.as_path()), ("--pod-log-dir", logs.as_path())];
    for (flag, path) in folders.iter().chain(more) {
        args.extend([(*flag).to_owned(), path.display().to_string()]);
    }
    Agent::start(&home, args)
}

fn token_file(folder: &Path, server: &Server, args: &[&str]) -> Result<PathBuf> {
    let text = server.command(["token", "create"].iter().chain(args))?;
    ensure!(text.lines().count() == 1, "{text}");
    let file = folder.join("token");
    fs::write(&file, text)?;
    Ok(file)
}

/// What the server's own page says of a number.
async fn counted(server: &Server, series: &str) -> Result<f64> {
    let http = binnacle_tests::client::http_client(SOON, None)?;
    let text = http.get(format!("{}/metrics", server.http_url())).send().await?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {series}"))?.parse()?)
}

async fn refused(server: &Server, reason: &str) -> Result<f64> {
    counted(server, &format!("binnacle_tls_refused_total{{reason=\"{reason}\"}}")).await
}

async fn arrives(client: &Client, node: &str) -> Result<()> {
    let expr = format!("count(binnacle_agent_batches_total{{node=\"{node}\"}})");
    let there = || async { client.number(&expr, None).await.is_ok_and(|count| count == Some(1.0)) };
    wait_until(&format!("samples of {node}"), SOON, there).await
}

fn joined(folder: &Path, node: &str) -> Result<Identity> {
    let pem = fs::read_to_string(folder.join(node).join("state/tls/identity.pem"))?;
    let at = pem.find("-----BEGIN CERTIFICATE").context("no certificate")?;
    Ok(Identity { key: pem[..at].to_owned(), certificate: pem[at..].to_owned() })
}

fn address(server: &Server) -> Result<std::net::SocketAddr> {
    Ok(server.grpc_url().trim_start_matches("https://").parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_joins_once_speaks_for_itself_and_can_be_thrown_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = server(folder.path(), "[tls]\non_loopback = true\n").await?;
    let client = server.client()?;
    let token = token_file(folder.path(), &server, &[])?;
    let alpha = agent(folder.path(), &server, "alpha", &[("--join-token-file", &token)])?;
    arrives(&client, "alpha").await.with_context(|| alpha.log())?;
    let file = folder.path().join("alpha/state/tls/identity.pem");
    ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600, "the key can be read by others");
    ensure!(counted(&server, "binnacle_node_joins_total").await? == 1.0);
    let expiry = counted(&server, "binnacle_tls_certificate_expiry_timestamp_seconds{certificate=\"grpc\"}");
    ensure!(expiry.await? > 1e9);

    // The token has been used.
    let beta = agent(folder.path(), &server, "beta", &[("--join-token-file", &token)])?;
    let said = || async { beta.log().contains("the join token is used up") };
    wait_until("beta is told", SOON, said).await.with_context(|| beta.log())?;
    ensure!(refused(&server, "token_used").await? >= 1.0 && server.log().contains("token_used"));

    // The certificate of alpha is good for alpha alone, on both streams.
    let authority = fs::read_to_string(server.authority())?;
    let identity = joined(folder.path(), "alpha")?;
    let connection = channel(address(&server)?, &authority, Some(&identity)).await?;
    let batch = Batch { node: "gamma".into(), session: 1, sequence: 1, ..Batch::default() };
    let mut acks = NodeClient::new(connection.clone()).push(tokio_stream::once(batch)).await?.into_inner();
    let status = acks.message().await.err().context("a batch of another node is taken")?;
    ensure!(status.code() == Code::PermissionDenied && status.message().contains("another node"), "{status}");
    let hello = Report { node: "gamma".into(), what: Some(report::What::Hello(NodeHello::default())) };
    let reports = tokio_stream::StreamExt::chain(tokio_stream::once(hello), tokio_stream::pending());
    let mut commands = NodeClient::new(connection).control(reports).await?.into_inner();
    let status = commands.message().await.err().context("a report of another node is taken")?;
    ensure!(status.code() == Code::PermissionDenied, "{status}");
    ensure!(refused(&server, "other_node").await? == 2.0);
    ensure!(server.log().contains("an agent is refused") && server.log().contains("gamma"));

    // Without a certificate there is nothing but joining.
    let stranger = channel(address(&server)?, &authority, None).await?;
    let status =
        NodeClient::new(stranger).push(tokio_stream::empty()).await.err().context("a stranger is let in")?;
    ensure!(status.code() == Code::PermissionDenied, "{status}");

    // Thrown out: the streams end by themselves.
    server.command(["node", "revoke", "alpha"])?;
    let said = || async { alpha.log().contains("certificates were revoked") };
    wait_until("alpha is thrown out", SOON, said).await.with_context(|| alpha.log())?;
    let gone =
        || async { counted(&server, "binnacle_nodes_connected").await.is_ok_and(|nodes| nodes == 0.0) };
    wait_until("alpha is gone", SOON, gone).await?;
    ensure!(server.command(["node", "list"])?.contains("alpha"));
    // And back, by itself, when there is a token for its name in the file.
    token_file(folder.path(), &server, &["--node", "alpha"])?;
    let back =
        || async { counted(&server, "binnacle_nodes_connected").await.is_ok_and(|nodes| nodes == 1.0) };
    wait_until("alpha is back", SOON, back).await.with_context(|| alpha.log())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_without_a_batch_lost_or_twice() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = "[tls]\non_loopback = true\nnode_lifetime_ms = 4000\nserver_lifetime_ms = 5000\n";
    let server = server(folder.path(), config).await?;
    let client = server.client()?;
    let token = token_file(folder.path(), &server, &["--node", "alpha"])?;
    let alpha = agent(folder.path(), &server, "alpha", &[("--join-token-file", &token)])?;
    arrives(&client, "alpha").await.with_context(|| alpha.log())?;
    let first = joined(folder.path(), "alpha")?;
    // The attempts before the join have been counted by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let failures = "sum(binnacle_agent_connection_failures_total{node=\"alpha\"})";
    let before = client.number(failures, None).await?.unwrap_or(0.0);
    let renewed = || async { counted(&server, "binnacle_node_renewals_total").await.is_ok_and(|n| n >= 4.0) };
    wait_until("four renewals", SOON, renewed).await.with_context(|| alpha.log())?;
    ensure!(joined(folder.path(), "alpha")?.certificate != first.certificate);
    let renewed = || async { server.log().matches("a new certificate is in use").count() >= 2 };
    wait_until("the server's own is renewed, too", SOON, renewed).await.with_context(|| server.log())?;

    // The streams are those of the beginning, though the certificate they began with has ended.
    let connected = server.log().matches("control stream open").count();
    ensure!(connected == 1, "{connected} control streams\n{}", alpha.log());
    let after = client.number(failures, None).await?.unwrap_or(0.0);
    ensure!(before == after, "{} connections were lost\n{}", after - before, alpha.log());
    for repeated in ["binnacle_ingest_batches_repeated_total", "binnacle_ingest_samples_repeated_total"] {
        ensure!(counted(&server, repeated).await? == 0.0, "{repeated}");
    }
    // Each round is there: the agent numbers them.
    let range = "binnacle_agent_rounds_total{node=\"alpha\"}[1h]";
    let missing = format!("max_over_time({range}) - min_over_time({range}) + 1 - count_over_time({range})");
    ensure!(client.number(&missing, None).await? == Some(0.0), "rounds are missing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_certificates_are_checked_and_read_anew() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, identity: &Identity| -> Result<()> {
        fs::write(path(&format!("{name}.key")), &identity.key)?;
        Ok(fs::write(path(&format!("{name}.pem")), &identity.certificate)?)
    };
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    fs::write(path("ca.pem"), &ours.pem)?;
    write("server", &ours.server(3600)?)?;
    let at = folder.path().display();
    let config = format!(
        "[tls]\nca_file = \"{at}/ca.pem\"\ncert_file = \"{at}/server.pem\"\nkey_file = \"{at}/server.key\"\n"
    );
    let server = server(folder.path(), &config).await?;
    let address = address(&server)?;

    // Expired, and signed by somebody else: the handshake says so to both.
    for (identity, reason) in
        [(ours.node("alpha", -60)?, "certificate_expired"), (theirs.node("alpha", 3600)?, "wrong_authority")]
    {
        let push = async {
            let connection = channel(address, &ours.pem, Some(&identity)).await?;
            NodeClient::new(connection).push(tokio_stream::empty()).await?;
            Ok::<_, anyhow::Error>(())
        };
        ensure!(push.await.is_err(), "{reason}: let in");
        let there = || async { refused(&server, reason).await.is_ok_and(|count| count >= 1.0) };
        wait_until(reason, SOON, there).await.with_context(|| server.log())?;
    }
    ensure!(server.log().contains("certificate_expired"), "refusals are logged");
    // A server of another authority is not spoken to.
    let wrong = channel(address, &theirs.pem, None).await.map(|_| ());
    ensure!(wrong.is_err(), "a server of another authority is trusted");

    // An agent with a certificate that ends soon: its file is replaced in time.
    let ended = tokio::time::Instant::now() + Duration::from_secs(31);
    write("node", &ours.node("alpha", 30)?)?;
    let file = path("agent.toml");
    let tls = format!(
        "[tls]\nca_file = \"{at}/ca.pem\"\ncert_file = \"{at}/node.pem\"\nkey_file = \"{at}/node.key\"\n"
    );
    fs::write(&file, tls)?;
    let alpha = agent(folder.path(), &server, "alpha", &[("--config", &file)])?;
    arrives(&server.client()?, "alpha").await.with_context(|| alpha.log())?;
    write("node", &ours.node("alpha", 3600)?)?;
    let said = || async { alpha.log().contains("a new certificate is in use") };
    wait_until("the agent reads its new certificate", SOON, said).await.with_context(|| alpha.log())?;
    // The server's, too; what cannot be used changes nothing.
    let shown = "binnacle_tls_certificate_expiry_timestamp_seconds{certificate=\"grpc\"}";
    let before = counted(&server, shown).await?;
    write("server", &ours.server(7200)?)?;
    let there = || async { counted(&server, shown).await.is_ok_and(|expiry| expiry > before + 3000.0) };
    wait_until("the server reads its new certificate", SOON, there).await.with_context(|| server.log())?;
    fs::write(path("server.pem"), "rubbish")?;
    let said =
        || async { counted(&server, "binnacle_tls_reloads_failed_total").await.is_ok_and(|n| n >= 1.0) };
    wait_until("a bad file is counted", SOON, said).await?;
    channel(address, &ours.pem, None).await.context("the old certificate stays in use")?;
    // When the first certificate has ended the agent has come back with the second.
    tokio::time::sleep_until(ended).await;
    let fresh = "time() - max(timestamp(binnacle_agent_batches_total{node=\"alpha\"})) < 3";
    let client = server.client()?;
    let there = || async { client.number(fresh, None).await.is_ok_and(|age| age.is_some()) };
    wait_until("the agent goes on", SOON, there).await.with_context(|| alpha.log())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_port_is_closed_to_other_machines_unless_they_say_who_they_are() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let open = Server::start(["--http", "0.0.0.0:0"]).await.err().context("an open port")?.to_string();
    ensure!(open.contains("web.bearer_token_file") && open.contains("--insecure"), "{open}");

    let secret = "a-token-of-some-length";
    let file = folder.path().join("bearer");
    fs::write(&file, format!("{secret}\n"))?;
    let config = folder.path().join("server.toml");
    fs::write(&config, format!("[web]\nbearer_token_file = \"{}\"\n", file.display()))?;
    let args = ["--http", "0.0.0.0:0", "--config"].map(str::to_owned);
    let server = Server::start(args.into_iter().chain([config.display().to_string()])).await?;
    let url = server.http_url();
    ensure!(url.starts_with("https://"), "{url}");
    let authority = fs::read_to_string(server.authority())?;
    let http = binnacle_tests::client::http_client(SOON, Some(&authority))?;
    let query = format!("{url}/api/v1/query?query=1");
    ensure!(http.get(&query).send().await?.status() == 401);
    ensure!(http.get(&query).bearer_auth(secret).send().await?.status() == 200);
    let stranger = binnacle_tests::client::http_client(SOON, None)?;
    ensure!(stranger.get(&query).send().await.is_err(), "a client that does not know the authority");

    // The command line: with both files it works, without it says what to do.
    let binary = binnacle_tests::process::binary("binnacle")?;
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        command.args(["query", "1", "--server", &url]).args(more).env_remove("BINNACLE_CA_FILE");
        command.output()
    };
    let (ca, token) = (server.authority().display().to_string(), file.display().to_string());
    let answer = run(&["--ca-file", &ca, "--bearer-token-file", &token])?;
    ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let answer = String::from_utf8(run(&["--bearer-token-file", &token])?.stderr)?;
    ensure!(answer.contains("--ca-file"), "{answer}");
    let answer = String::from_utf8(run(&["--ca-file", &ca])?.stderr)?;
    ensure!(answer.contains("bearer token"), "{answer}");
    Ok(())
}
