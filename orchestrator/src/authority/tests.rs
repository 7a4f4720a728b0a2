//! Tests of the authority: who is let in, and who is not.

use std::os::unix::fs::PermissionsExt;

use binnacle_proto::enroll::enrollment_server::Enrollment;
use binnacle_proto::enroll::{JoinRequest, RenewRequest};
use binnacle_proto::identity::{Facts, Token};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Code, Request, Status};

use super::*;
use crate::Clock;

const HOUR_MS: i64 = 3_600_000;
const LIFE_MS: i64 = 24 * HOUR_MS;

/// A server's side, with a clock of its own.
struct Desk {
    folder: tempfile::TempDir,
    authority: Arc<Authority>,
    clock: Clock,
    security: Arc<Security>,
    gate: Gate,
    service: EnrollService,
}

fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_700_000_000_000);
    let authority = Arc::new(Authority::open(folder.path(), clock.now_ms()).unwrap());
    let nodes = watch::Sender::new(authority.list_nodes().unwrap());
    let security: Arc<Security> = Arc::default();
    let gate = Gate::new(Some(nodes.subscribe()), security.clone(), clock.clone());
    let service = EnrollService::new(
        Some(authority.clone()),
        nodes,
        gate.clone(),
        security.clone(),
        clock.clone(),
        LIFE_MS,
    );
    Desk { folder, authority, clock, security, gate, service }
}

fn stranger() -> Peer {
    Peer { address: ([127, 0, 0, 1], 7).into(), encrypted: true, facts: None }
}

fn holder(certificate: &CertificateDer<'_>) -> Peer {
    Peer { facts: Some(Arc::new(Facts::of(certificate).unwrap())), ..stranger() }
}

fn signed(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn from<T>(message: T, peer: Peer) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(peer);
    request
}

impl Desk {
    fn token(&self, node: Option<&str>, uses: u32) -> Token {
        let node = node.map(str::to_owned);
        self.authority.create_token(node, uses, HOUR_MS, self.clock.now_ms()).unwrap()
    }

    fn pass(&self, ms: i64) {
        self.clock.set(self.clock.now_ms() + ms);
    }

    async fn join(
        &self,
        node: &str,
        token: &Token,
        key: &KeyPair,
    ) -> Result<CertificateDer<'static>, Status> {
        let request = JoinRequest { node: node.into(), token: token.credential(), request: signed(key) };
        let answer = self.service.join(from(request, stranger())).await?.into_inner();
        assert_eq!(answer.authority, std::fs::read_to_string(self.authority.certificate_path()).unwrap());
        Ok(CertificateDer::from_pem_slice(answer.certificate.as_bytes()).unwrap())
    }

    async fn joins(&self, node: &str, token: &Token) -> Result<CertificateDer<'static>, Status> {
        self.join(node, token, &KeyPair::generate().unwrap()).await
    }

    async fn renew(&self, with: &CertificateDer<'_>) -> Result<CertificateDer<'static>, Status> {
        let request = RenewRequest { request: signed(&KeyPair::generate().unwrap()) };
        let answer = self.service.renew(from(request, holder(with))).await?.into_inner();
        Ok(CertificateDer::from_pem_slice(answer.certificate.as_bytes()).unwrap())
    }

    #[track_caller]
    fn refused<T>(&self, result: Result<T, Status>, reason: Reason) {
        let Err(status) = result else { panic!("not refused: {reason:?}") };
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().starts_with(reason.text()), "{status}");
        assert!(self.security.refusals(reason) > 0, "{reason:?} is not counted");
    }
}

#[test]
fn what_is_kept_is_private_and_found_again() {
    let desk = desk();
    desk.token(None, 1);
    let again = Authority::open(desk.folder.path(), 0).unwrap();
    assert_eq!(again.fingerprint(), desk.authority.fingerprint());
    let mode = |path: &str| {
        let meta = std::fs::metadata(desk.folder.path().join("tls").join(path)).unwrap();
        meta.permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("tokens"), mode("nodes")), (0o700, 0o700, 0o700));
    assert_eq!((mode("authority.key"), mode("authority.pem")), (0o600, 0o600));
}

#[test]
fn the_secret_of_a_token_is_not_kept() {
    let desk = desk();
    let token = desk.token(None, 1);
    let secret = token.credential().split_once('.').unwrap().1.to_owned();
    let path = desk.folder.path().join(format!("tls/tokens/{}.json", token.id()));
    assert!(!std::fs::read_to_string(path).unwrap().contains(&secret));
}

#[tokio::test]
async fn a_token_lets_one_node_in_and_it_speaks_for_its_own_name_only() {
    let desk = desk();
    let certificate = desk.joins("alpha", &desk.token(None, 1)).await.unwrap();
    let facts = Facts::of(&certificate).unwrap();
    assert_eq!((facts.nodes.as_slice(), facts.is_server), (&["alpha".to_owned()][..], false));
    assert_eq!(facts.not_after_ms, desk.clock.now_ms() + LIFE_MS);
    assert!(desk.gate.admit(&holder(&certificate), "alpha").is_ok());
    desk.refused(desk.gate.admit(&holder(&certificate), "beta"), Reason::OtherNode);
    desk.refused(desk.gate.admit(&stranger(), "alpha"), Reason::NoCertificate);
    assert_eq!(desk.security.joins.get(), 1);
}

#[tokio::test]
async fn tokens_that_are_used_expired_revoked_or_made_up_let_nobody_in() {
    let desk = desk();
    let used = desk.token(None, 1);
    desk.joins("alpha", &used).await.unwrap();
    desk.refused(desk.joins("beta", &used).await, Reason::TokenUsed);

    let revoked = desk.token(None, 1);
    desk.authority.revoke_token(&revoked.id()).unwrap();
    desk.refused(desk.joins("beta", &revoked).await, Reason::TokenUnknown);
    assert!(desk.authority.revoke_token("../nodes/alpha").is_err());

    let other = super::tests::desk();
    desk.refused(desk.joins("beta", &other.token(None, 1)).await, Reason::TokenUnknown);

    let named = desk.token(Some("gamma"), 1);
    desk.refused(desk.joins("beta", &named).await, Reason::TokenNode);
    desk.joins("gamma", &named).await.unwrap();

    let late = desk.token(None, 1);
    desk.pass(HOUR_MS);
    desk.refused(desk.joins("beta", &late).await, Reason::TokenExpired);
    assert!(desk.authority.list_tokens(desk.clock.now_ms()).unwrap().is_empty(), "expired tokens go");
}

#[tokio::test]
async fn a_token_for_many_lets_in_as_many_and_no_name_twice() {
    let desk = desk();
    let token = desk.token(None, 2);
    desk.joins("alpha", &token).await.unwrap();
    desk.refused(desk.joins("alpha", &token).await, Reason::NameTaken);
    desk.joins("beta", &token).await.unwrap();
    desk.refused(desk.joins("gamma", &token).await, Reason::TokenUsed);
    let listed = &desk.authority.list_tokens(desk.clock.now_ms()).unwrap()[0];
    assert_eq!((listed.uses, listed.used.as_slice()), (2, &["alpha".to_owned(), "beta".to_owned()][..]));
    // Whoever may make tokens may give the name away.
    desk.joins("alpha", &desk.token(Some("alpha"), 1)).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let desk = desk();
    let (token, key) = (desk.token(None, 1), KeyPair::generate().unwrap());
    desk.join("alpha", &token, &key).await.unwrap();
    desk.join("alpha", &token, &key).await.unwrap();
    desk.refused(desk.joins("alpha", &token).await, Reason::TokenUsed);
}

#[tokio::test]
async fn a_certificate_is_renewed_until_it_has_expired_or_is_revoked() {
    let desk = desk();
    let first = desk.joins("alpha", &desk.token(None, 1)).await.unwrap();
    desk.pass(LIFE_MS - 1_000);
    let second = desk.renew(&first).await.unwrap();
    desk.pass(2_000);
    // A stream that began with the first goes on: the node has renewed in time.
    assert!(desk.gate.admit(&holder(&first), "alpha").is_ok());
    desk.pass(LIFE_MS);
    desk.refused(desk.gate.admit(&holder(&second), "alpha"), Reason::Expired);
    desk.refused(desk.renew(&second).await, Reason::Expired);
    assert_eq!(desk.security.renewals.get(), 1);
}

#[tokio::test]
async fn a_revoked_node_is_out_until_it_has_a_token_for_its_name() {
    let desk = desk();
    let (token, key) = (desk.token(None, 2), KeyPair::generate().unwrap());
    let first = desk.join("alpha", &token, &key).await.unwrap();
    desk.pass(5);
    desk.authority.revoke_node("alpha", desk.clock.now_ms()).unwrap();
    assert!(
        desk.authority.revoke_node("nobody", 0).is_err() && desk.authority.revoke_node("../x", 0).is_err()
    );
    // The gate has not read the files yet; renewal looks there.
    desk.refused(desk.renew(&first).await, Reason::Revoked);
    desk.pass(5);
    desk.refused(desk.join("alpha", &token, &key).await, Reason::NameTaken);
    let second = desk.joins("alpha", &desk.token(Some("alpha"), 1)).await.unwrap();
    assert!(desk.gate.admit(&holder(&second), "alpha").is_ok());
    desk.refused(desk.gate.admit(&holder(&first), "alpha"), Reason::Revoked);
}

#[tokio::test]
async fn a_stream_ends_when_its_right_does() {
    let desk = desk();
    let certificate = desk.joins("alpha", &desk.token(None, 1)).await.unwrap();
    let peer = holder(&certificate);
    let waiting = desk.gate.ended(&peer, Some("alpha"));
    let still = tokio::time::timeout(std::time::Duration::from_millis(100), waiting).await;
    assert!(still.is_err(), "it has every right");
    desk.pass(LIFE_MS);
    let status = desk.gate.ended(&peer, Some("alpha")).await;
    assert!(status.message().contains(Reason::Expired.text()), "{status}");
}

#[tokio::test]
async fn requests_and_names_that_are_not_are_refused() {
    let desk = desk();
    let token = desk.token(None, 1);
    for node in ["", "..", "a/b", "a b"] {
        desk.refused(desk.joins(node, &token).await, Reason::Request);
    }
    let request = JoinRequest { node: "alpha".into(), token: token.credential(), request: b"no".to_vec() };
    let answer = desk.service.join(from(request, stranger())).await.map(|_| ());
    desk.refused(answer, Reason::Request);
    desk.joins("alpha", &token).await.unwrap();
}

#[test]
fn limits_of_tokens_are_named() {
    let desk = desk();
    let refused = |node: Option<&str>, uses, ttl_ms| {
        let made = desk.authority.create_token(node.map(str::to_owned), uses, ttl_ms, 0);
        made.err().unwrap().to_string()
    };
    assert!(refused(None, 0, HOUR_MS).contains("10000"));
    assert!(refused(Some("a"), 2, HOUR_MS).contains("one when it names"));
    assert!(refused(None, 1, 400 * LIFE_MS).contains("365d"));
    assert!(refused(Some("a b"), 1, HOUR_MS).contains("cannot be a node's name"));
}

#[test]
fn given_certificates_may_name_the_node_as_host() {
    let security: Arc<Security> = Arc::default();
    let gate = Gate::new(None, security.clone(), Clock::manual(1_000));
    let facts = Facts { dns: vec!["alpha".into()], not_after_ms: 2_000, ..Facts::default() };
    let peer = Peer { facts: Some(Arc::new(facts.clone())), ..stranger() };
    assert!(gate.admit(&peer, "alpha").is_ok());
    assert!(gate.admit(&peer, "beta").is_err());
    let late = Peer { facts: Some(Arc::new(Facts { not_after_ms: 1_000, ..facts })), ..stranger() };
    assert!(gate.admit(&late, "alpha").is_err());
    assert_eq!((security.refusals(Reason::OtherNode), security.refusals(Reason::Expired)), (1, 1));
}
