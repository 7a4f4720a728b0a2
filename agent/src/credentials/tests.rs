//! Tests of what is kept, and of when it is renewed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use binnacle_proto::identity::node_uri;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

use super::*;

/// A certificate for `node` with its key, and the authority's.
fn identity(node: &str) -> (KeyPair, String, String) {
    let authority = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = params.self_signed(&authority).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut node_params = CertificateParams::default();
    node_params.subject_alt_names = vec![SanType::URI(node_uri(node).unwrap().try_into().unwrap())];
    let certificate = node_params.signed_by(&key, &Issuer::new(params, authority)).unwrap().pem();
    (key, certificate, authority_pem)
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
    assert!(found.settings(&dir).unwrap().expires_ms > 0);
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
    let found = store::load(folder.path(), "alpha").unwrap().unwrap();
    assert!(found.settings(folder.path()).err().unwrap().to_string().contains("identity.pem"));
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
