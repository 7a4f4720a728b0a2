//! Alerts reach a webhook over https whose certificate an authority of our own has signed, with a token
//! from a file; where the authority is not known they are given up, and counted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use binnacle_tests::metrics_server::{MetricsServer, until};
use binnacle_tests::tls::Authority;
use binnacle_tsdb::rules::{
    Authorization, HttpConfig, NotifierConfig, RulesConfig, TlsConfig, WebhookConfig, WebhookFormat,
};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the webhook was sent, head and body as they came.
type Seen = Arc<Mutex<Vec<String>>>;

/// A webhook over TLS; the first request is answered 503, to see that it is repeated.
async fn webhook(authority: &Authority) -> Result<(String, Seen)> {
    let identity = authority.server(3600)?;
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("https://localhost:{}/hook/secret-path", listener.local_addr()?.port());
    let seen = Seen::default();
    let heard = seen.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, heard) = (acceptor.clone(), heard.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                let mut bytes = vec![0; 64 << 10];
                let mut text = String::new();
                while let Ok(count) = stream.read(&mut bytes).await {
                    if count == 0 {
                        return;
                    }
                    text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| {
                        let (name, value) = line.split_once(':')?;
                        name.eq_ignore_ascii_case("content-length")
                            .then(|| value.trim().parse::<usize>().ok())?
                    });
                    if body.len() < length.unwrap_or(0) {
                        continue;
                    }
                    let is_first = {
                        let mut heard = heard.lock();
                        heard.push(std::mem::take(&mut text));
                        heard.len() == 1
                    };
                    let status = if is_first { "503 Busy" } else { "200 OK" };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    Ok((url, seen))
}

fn webhook_of(
    url: &str,
    ca_file: Option<std::path::PathBuf>,
    token: Option<std::path::PathBuf>,
) -> WebhookConfig {
    let authorization = token.map(|file| Authorization { kind: "Bearer".to_owned(), credentials_file: file });
    let tls_config = TlsConfig { ca_file, ..TlsConfig::default() };
    WebhookConfig {
        url: url.to_owned(),
        format: WebhookFormat::Slack,
        http: HttpConfig { tls_config, authorization, ..HttpConfig::default() },
        repeat_seconds: 3600,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_reach_a_webhook_over_https() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let (url, seen) = webhook(&authority).await?;
    let server = MetricsServer::start().await?;
    let file = |name: &str, text: &str| {
        let path = server.folder().join(name);
        std::fs::write(&path, text).map(|()| path)
    };
    let token = file("token", "t0ken-of-the-test\n")?;
    let known = file("ca.pem", &authority.pem)?;
    let unknown = file("stranger.pem", &stranger.pem)?;
    let rules =
        file("rules.yml", "groups: [{name: g, interval: 1s, rules: [{alert: Leak, expr: vector(1)}]}]")?;
    let notify = NotifierConfig {
        webhooks: vec![webhook_of(&url, Some(known), Some(token)), webhook_of(&url, Some(unknown), None)],
        tries: 2,
        ..NotifierConfig::default()
    };
    let files = vec![rules.display().to_string()];
    let _rules = server.run_rules(RulesConfig { files, notify, ..RulesConfig::default() })?;
    until("the alert", Duration::from_secs(20), || async { (seen.lock().len() >= 2).then_some(()) }).await?;
    for request in seen.lock().iter() {
        let head = request.to_ascii_lowercase();
        assert!(head.starts_with("post /hook/secret-path http/1.1"), "{request}");
        assert!(head.contains("authorization: bearer t0ken-of-the-test\r\n"), "{request}");
        assert!(request.contains("[FIRING] Leak"), "{request}");
    }
    let counted = |name: &str, receiver| server.notifications(name, receiver);
    until("the count of what was given up", Duration::from_secs(20), || async {
        (counted("dead_letters", 1) == Some(1) && counted("sent", 0) == Some(1)).then_some(())
    })
    .await?;
    assert_eq!(
        (counted("retries", 0), counted("dead_letters", 0), counted("sent", 1)),
        (Some(1), Some(0), Some(0))
    );
    let metrics = server.api.metrics_text();
    assert!(!metrics.contains("secret-path") && !metrics.contains("t0ken"), "secrets are shown on /metrics");
    assert_eq!(seen.lock().len(), 2, "who does not know the authority sends nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_said_at_the_start() -> Result<()> {
    let server = MetricsServer::start().await?;
    let missing = server.folder().join("missing.pem");
    let notify = NotifierConfig {
        webhooks: vec![webhook_of("https://localhost:1/secret", Some(missing), None)],
        ..NotifierConfig::default()
    };
    let refused = server.run_rules(RulesConfig { notify, ..RulesConfig::default() });
    let reason = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(reason.contains("missing.pem") && !reason.contains("/secret"), "{reason}");
    Ok(())
}
