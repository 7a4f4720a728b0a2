//! Against a small server with certificates of the test's own making.

use std::time::Duration;

use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::client::{Client, Failure, Question};
use super::super::room::Room;
use super::*;
use crate::test_authority::Authority;

/// A target with this certificate; clients must show one of `clients`, if given. Answers every request on as
/// many connections as come.
async fn serve(
    (certificate, key): (String, String),
    clients: Option<&Authority>,
    answer: &'static str,
) -> String {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = Vec::new();
                let mut byte = [0];
                while stream.read(&mut byte).await.is_ok_and(|count| count > 0) {
                    request.push(byte[0]);
                    if request.ends_with(b"\r\n\r\n") {
                        request.clear();
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                }
            });
        }
    });
    format!("https://localhost:{}/metrics", address.port())
}

const GOOD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: 4\r\n\r\na 1\n";

fn question(url: &str, config: TlsConfig) -> Question {
    Question {
        url: url.to_owned(),
        timeout: Duration::from_secs(5),
        compression: true,
        follow_redirects: true,
        authorization: None,
        tls: Arc::new(Tls::new(config)),
        max_body: (1000, "body_size_limit"),
        room: Room::new(1 << 20),
        fallback: None,
    }
}

async fn ask(question: &Question) -> Result<Vec<u8>, Failure> {
    Client::default().fetch(question).await.map(|fetched| fetched.body.bytes().to_vec())
}

fn trusting(file: &Path) -> TlsConfig {
    TlsConfig { ca_file: Some(file.to_owned()), ..TlsConfig::default() }
}

#[tokio::test]
async fn a_target_must_have_a_certificate_for_its_name_of_an_authority_that_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (our_file, their_file) = (dir.path().join("ours.pem"), dir.path().join("theirs.pem"));
    fs::write(&our_file, &ours.pem).unwrap();
    fs::write(&their_file, &theirs.pem).unwrap();
    let url = serve(ours.sign("localhost"), None, GOOD).await;
    assert_eq!(ask(&question(&url, trusting(&our_file))).await.unwrap(), b"a 1\n");
    let only_13 = TlsConfig { only_13: true, ..trusting(&our_file) };
    assert!(ask(&question(&url, only_13)).await.is_ok());

    for (config, part) in [
        (trusting(&their_file), "invalid peer certificate"),
        (trusting(&dir.path().join("absent.pem")), "absent.pem"),
        (TlsConfig { server_name: Some("other".to_owned()), ..trusting(&our_file) }, "other"),
    ] {
        let failure = ask(&question(&url, config)).await.unwrap_err();
        assert!(failure.name == "tls" && failure.text.contains(part), "{part}: {failure:?}");
    }
    // The machine's own authorities have not signed it.
    let failure = ask(&question(&url, TlsConfig::default())).await.unwrap_err();
    assert_eq!(failure.name, "tls", "{failure:?}");
    let careless = TlsConfig { skip_verify: true, ..TlsConfig::default() };
    assert!(ask(&question(&url, careless)).await.is_ok());

    let other = serve(ours.sign("other"), None, GOOD).await;
    let named = TlsConfig { server_name: Some("other".to_owned()), ..trusting(&our_file) };
    assert!(ask(&question(&other, named)).await.is_ok());
    assert_eq!(ask(&question(&other, trusting(&our_file))).await.unwrap_err().name, "tls");
}

#[tokio::test]
async fn a_changed_authority_counts_from_the_next_scrape_on() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let file = dir.path().join("ca.pem");
    fs::write(&file, &theirs.pem).unwrap();
    let question = question(&serve(ours.sign("localhost"), None, GOOD).await, trusting(&file));
    let mut client = Client::default();
    assert_eq!(client.fetch(&question).await.unwrap_err().name, "tls");
    fs::write(&file, format!("{}{}", theirs.pem, ours.pem)).unwrap();
    assert!(client.fetch(&question).await.is_ok());
    // The connection that is open was made with what is not trusted any more.
    fs::write(&file, &theirs.pem).unwrap();
    assert_eq!(client.fetch(&question).await.unwrap_err().name, "tls");
}

#[tokio::test]
async fn a_target_may_ask_for_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (ours, clients) = (Authority::new(), Authority::new());
    fs::write(path("ca.pem"), &ours.pem).unwrap();
    let (certificate, key) = clients.sign("agent");
    fs::write(path("cert.pem"), &certificate).unwrap();
    fs::write(path("key.pem"), &key).unwrap();
    let url = serve(ours.sign("localhost"), Some(&clients), GOOD).await;
    let shown = TlsConfig {
        cert_file: Some(path("cert.pem")),
        key_file: Some(path("key.pem")),
        ..trusting(&path("ca.pem"))
    };
    assert!(ask(&question(&url, shown.clone())).await.is_ok());
    let failure = ask(&question(&url, trusting(&path("ca.pem")))).await.unwrap_err();
    assert!(failure.name == "tls" && failure.text.contains("CertificateRequired"), "{failure:?}");
    fs::write(path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let failure = ask(&question(&url, shown)).await.unwrap_err();
    assert!(failure.name == "tls" && failure.text.contains("cert.pem"), "{failure:?}");
}

#[tokio::test]
async fn no_redirect_leads_out_of_tls() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new();
    let file = dir.path().join("ca.pem");
    fs::write(&file, &ours.pem).unwrap();
    let away = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let url = serve(ours.sign("localhost"), None, away).await;
    let failure = ask(&question(&url, trusting(&file))).await.unwrap_err();
    assert!(failure.name == "redirect" && failure.text.contains("127.0.0.1:1"), "{failure:?}");
}
