//! Tests of what is kept, and of when it is renewed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use binnacle_proto::identity::node_uri;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::test_authority::Authority;

/// A certificate for `node` with its key, and the authority's.
fn identity(node: &str) -> (KeyPair, String, String) {
    let authority = Authority::new();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(node_uri(node).unwrap().try_into().unwrap())];
    let (certificate, key) = authority.issue(params);
    (key, certificate, authority.pem)
}

#[test]
fn what_a_join_left_is_private_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("tls");
    assert!(store::load(&dir, "alpha").unwrap().is_none());
    let (key, certificate, authority) = identity("alpha");
    store::save(&dir, &key, &certificate, &authority).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("identity.pem"))), (0o700, 0o600));
    let found = store::load(&dir, "alpha").unwrap().unwrap();
    assert_eq!(found.facts.nodes, ["alpha"]);
    assert!(found.usable.expires_ms > 0);
}

#[test]
fn the_certificate_of_another_node_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate, authority) = identity("alpha");
    store::save(folder.path(), &key, &certificate, &authority).unwrap();
    assert!(store::load(folder.path(), "beta").unwrap().is_none());
}

#[test]
fn a_key_that_does_not_belong_to_the_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, certificate, authority) = identity("alpha");
    store::save(folder.path(), &KeyPair::generate().unwrap(), &certificate, &authority).unwrap();
    let error = store::load(folder.path(), "alpha").err().unwrap().to_string();
    assert!(error.contains("identity.pem"), "{error}");
}

#[test]
fn an_agent_whose_certificate_is_damaged_starts_and_joins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("tls");
    let config = Config {
        server: "https://127.0.0.1:1".into(),
        node: "alpha".into(),
        state_dir: folder.path().into(),
        ..Config::default()
    };
    let (key, certificate, authority) = identity("alpha");
    store::save(&dir, &key, &certificate, &authority).unwrap();
    let load = || Credentials::load(&config, &SelfMetrics::default()).unwrap();
    assert!(load().0.settings.load().is_some());
    let damages = [
        ("identity.pem", certificate[..certificate.len() / 2].to_owned()),
        ("identity.pem", format!("{}{certificate}", KeyPair::generate().unwrap().serialize_pem())),
        ("authority.pem", "rubbish".to_owned()),
    ];
    for (file, content) in damages {
        store::save(&dir, &key, &certificate, &authority).unwrap();
        fs::write(dir.join(file), content).unwrap();
        assert!(load().0.settings.load().is_none(), "{file}");
    }
}

#[test]
fn an_attempt_to_join_keeps_its_key_until_it_has_succeeded() {
    let folder = tempfile::tempdir().unwrap();
    let first = store::joining_key(folder.path()).unwrap().serialize_pem();
    assert_eq!(store::joining_key(folder.path()).unwrap().serialize_pem(), first);
    let (key, certificate, authority) = identity("alpha");
    store::save(folder.path(), &key, &certificate, &authority).unwrap();
    assert_ne!(store::joining_key(folder.path()).unwrap().serialize_pem(), first);
}

#[tokio::test]
async fn without_a_certificate_connections_say_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        server: "https://127.0.0.1:1".into(),
        node: "alpha".into(),
        state_dir: folder.path().into(),
        ..Config::default()
    };
    let credentials = Credentials::load(&config, &SelfMetrics::default()).unwrap();
    let channel = credentials.channel().unwrap();
    let mut client = binnacle_proto::node::node_client::NodeClient::new(channel);
    let status = client.push(tokio_stream::empty()).await.err().unwrap();
    assert!(reason(&status).contains("has not joined yet"), "{}", reason(&status));
}

#[tokio::test]
async fn nothing_below_tls_1_3_is_spoken() {
    let (key, certificate, authority) = identity("alpha");
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    for (version, part) in
        [(&rustls::version::TLS12, "version"), (&rustls::version::TLS13, "NotValidForName")]
    {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let server =
            server.unwrap().with_no_client_auth().with_single_cert(vec![der(&certificate)], key).unwrap();
        let client = verify::trusting(&[der(&authority)]).unwrap().with_no_client_auth();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let accepting = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let accepting = tokio::spawn(async move { accepting.accept(theirs).await.err() });
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let connecting = tokio_rustls::TlsConnector::from(Arc::new(client));
        let error = format!("{:?}", connecting.connect(name, ours).await.err().unwrap());
        accepting.await.unwrap();
        // A node's certificate is no server's: with 1.3 it comes to be looked at.
        assert!(error.to_lowercase().contains(&part.to_lowercase()), "{error}");
    }
}
