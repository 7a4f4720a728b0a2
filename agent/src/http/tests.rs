//! The port over TLS, asked byte by byte.

use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use binnacle_proto::STALE_NAN;

use super::*;
use crate::config::Web;
use crate::sample::Series;
use crate::selfmetrics::SelfMetrics;
use crate::test_authority::Authority;

/// Asks as one who trusts `authority`.
async fn ask(
    authority: &Authority,
    address: SocketAddr,
    shown: Option<&(String, String)>,
) -> std::io::Result<String> {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_root_certificates(authority.roots());
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![der(certificate)], key).unwrap()
        }
    };
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await?;
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

struct Port {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), Error>>,
    metrics: SelfMetrics,
}

async fn port(web: &Web) -> Port {
    let (metrics, shutdown) = (SelfMetrics::default(), CancellationToken::new());
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Tls::load(web, &metrics).unwrap();
    let router = Router::new().route("/", get(|| async { "hello" }));
    let serving = tokio::spawn(serve(listener, tls, router, shutdown.clone()));
    Port { address, shutdown, serving, metrics }
}

#[tokio::test]
async fn who_asks_must_show_a_certificate_when_there_is_an_authority_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (ours, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.sign("localhost");
    std::fs::write(path("cert.pem"), certificate).unwrap();
    std::fs::write(path("key.pem"), key).unwrap();
    std::fs::write(path("clients.pem"), &clients.pem).unwrap();
    let open = Web { cert_file: Some(path("cert.pem")), key_file: Some(path("key.pem")), ..Web::default() };
    let port_of_all = port(&open).await;
    assert!(ask(&ours, port_of_all.address, None).await.unwrap().ends_with("hello"));
    assert!(ask(&clients, port_of_all.address, None).await.is_err(), "not the authority of the port");

    let closed = port(&Web { client_ca_file: Some(path("clients.pem")), ..open }).await;
    assert!(ask(&ours, closed.address, None).await.is_err());
    assert!(ask(&ours, closed.address, Some(&ours.sign("localhost"))).await.is_err());
    assert!(ask(&ours, closed.address, Some(&clients.sign("localhost"))).await.unwrap().ends_with("hello"));
    assert!(
        closed.metrics.render().contains("binnacle_agent_http_refused_total 2"),
        "{}",
        closed.metrics.render()
    );
}

#[tokio::test]
async fn a_new_certificate_is_used_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let (first, second) = (Authority::new(), Authority::new());
    let write = |(certificate, private): (String, String)| {
        std::fs::write(&key, private).unwrap();
        std::fs::write(&cert, certificate).unwrap();
    };
    write(first.sign("localhost"));
    let web = Web { cert_file: Some(cert.clone()), key_file: Some(key.clone()), ..Web::default() };
    let port = port(&web).await;
    assert!(ask(&first, port.address, None).await.is_ok());
    let later = async |authority: &Authority| {
        for _ in 0..100 {
            if ask(authority, port.address, None).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    };
    write(second.sign("localhost"));
    assert!(later(&second).await);
    std::fs::write(&cert, "rubbish").unwrap();
    while !port.metrics.render().contains("binnacle_agent_http_certificate_failures_total 1") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(ask(&second, port.address, None).await.is_ok(), "the old one stays in use");
}

#[tokio::test]
async fn neither_silence_nor_an_open_connection_holds_up_others_or_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let ours = Authority::new();
    let (certificate, private) = ours.sign("localhost");
    std::fs::write(&cert, certificate).unwrap();
    std::fs::write(&key, private).unwrap();
    for web in [Web::default(), Web { cert_file: Some(cert), key_file: Some(key), ..Web::default() }] {
        let port = port(&web).await;
        let mut silent = TcpStream::connect(port.address).await.unwrap();
        if web.cert_file.is_some() {
            assert!(ask(&ours, port.address, None).await.is_ok());
        } else {
            // Half a request: it is never answered.
            silent.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        port.shutdown.cancel();
        tokio::time::timeout(2 * GRACE, port.serving).await.unwrap().unwrap().unwrap();
    }
}

#[test]
fn the_last_round_is_shown_without_the_labels_of_a_target() {
    let series = |pairs: &[(&str, &str)]| Series::new(Labels::from_pairs(pairs.iter().copied()).unwrap());
    let last = LastRound::default();
    last.set(&Round::new(
        1,
        vec![
            (series(&[("__name__", "node_b"), ("path", "a\"\\\n"), ("job", "j"), ("z", "1")]), 1.5),
            (series(&[("__name__", "node_a"), ("instance", "i")]), 2.0),
            (series(&[("__name__", "node_gone")]), STALE_NAN),
            (series(&[("__name__", "other")]), 2.0),
        ],
    ));
    let text = last.render(|name| name.starts_with("node_"));
    assert_eq!(text, "node_a 2\nnode_b{path=\"a\\\"\\\\\\n\",z=\"1\"} 1.5\n");
}
