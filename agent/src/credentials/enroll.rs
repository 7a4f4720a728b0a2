//! Joins with a token, and renews the certificate in time.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::enroll::enrollment_client::EnrollmentClient;
use binnacle_proto::enroll::{Certificate, JoinRequest, RenewRequest};
use binnacle_proto::identity::{Facts, Fingerprint, Token};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tonic::Status;

use super::{Credentials, connect, store, verify};
use crate::clock;
use crate::uplink::{Backoff, Complaint};

/// Pauses between attempts to join or to renew.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often the token file is looked at: a new token there is a way back for a node that was thrown out.
const LOOK: Duration = Duration::from_secs(2);

/// Largest token file, in bytes.
const MAX_TOKEN_FILE: u64 = 4096;

/// The name of the status with which the server refuses a certificate.
const REFUSED: &str = "PermissionDenied";

/// Keeps the certificate of a node that joined, or is to join.
pub(super) struct Enroller<'a> {
    credentials: &'a Credentials,
    dir: &'a Path,
    token_file: Option<&'a Path>,
    seed: u64,
}

impl<'a> Enroller<'a> {
    pub(super) fn new(
        credentials: &'a Credentials,
        dir: &'a Path,
        token_file: Option<&'a Path>,
        seed: u64,
    ) -> Self {
        Self { credentials, dir, token_file, seed }
    }

    /// Runs for ever.
    pub(super) async fn run(self) {
        let inner = &self.credentials.0;
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX, self.seed);
        let mut complaint = Complaint::default();
        let mut clock_is_wrong = false;
        loop {
            let facts = self.facts();
            let now_ms = clock::now_ms();
            let done = match &facts {
                Some(facts) if now_ms < facts.not_after_ms => {
                    // In short steps: the clock may be set, and a machine may sleep.
                    let news = self.news();
                    if news.is_none() && now_ms < self.due_ms(facts) {
                        tokio::time::sleep(self.until_due(facts, now_ms).min(LOOK)).await;
                        continue;
                    }
                    self.renew_or_join(news).await
                }
                _ => self.join().await,
            };
            match done {
                Ok(()) => {
                    complaint.connected(&inner.server);
                    match self.rest(self.facts().as_ref(), clock::now_ms(), &mut backoff) {
                        None => clock_is_wrong = false,
                        Some(pause) => {
                            if !std::mem::replace(&mut clock_is_wrong, true) {
                                tracing::error!(
                                    "a new certificate is due already: the clock of this node or the server's is wrong"
                                );
                            }
                            tokio::time::sleep(pause).await;
                        }
                    }
                }
                Err(reason) => {
                    inner.numbers.failures.add(1);
                    inner.problem.lock().clone_from(&reason);
                    complaint.failed(&inner.server, &reason, clock::instant());
                    let pause = backoff.pause();
                    // Near its end there is no time for long pauses.
                    let left_ms = facts.map_or(i64::MAX, |facts| facts.not_after_ms - clock::now_ms());
                    let share = Duration::from_millis(left_ms.max(0) as u64 / 8);
                    tokio::time::sleep(pause.min(share.max(PAUSE_MIN))).await;
                }
            }
        }
    }

    /// What the certificate says that is in use; nothing of one that cannot be used.
    fn facts(&self) -> Option<Facts> {
        let identity = store::load(self.dir, &self.credentials.0.node);
        Some(identity.inspect_err(|error| tracing::debug!(%error, "no certificate")).ok()??.facts)
    }

    /// How long to wait after a success: a certificate that is due as soon as it is new would be renewed again and
    /// again.
    fn rest(&self, facts: Option<&Facts>, now_ms: i64, backoff: &mut Backoff) -> Option<Duration> {
        if facts.is_some_and(|facts| now_ms < self.due_ms(facts)) {
            backoff.reset();
            return None;
        }
        Some(backoff.pause())
    }

    fn until_due(&self, facts: &Facts, now_ms: i64) -> Duration {
        Duration::from_millis((self.due_ms(facts) - now_ms).max(0) as u64)
    }

    /// The id of the token in the file, when that is another than the last one dealt with.
    fn news(&self) -> Option<String> {
        let id = read_token(self.token_file?).ok()?.id();
        (store::last_token(self.dir).as_deref() != Some(&id)).then_some(id)
    }

    /// Renews. When the server will not have it, and there is a new token, joins with that.
    async fn renew_or_join(&self, news: Option<String>) -> Result<(), String> {
        let renewed = match (self.renew().await, &news) {
            (Err(reason), Some(_)) if reason.contains(REFUSED) => return self.join().await,
            (renewed, _) => renewed,
        };
        if let (Ok(()), Some(id)) = (&renewed, news) {
            // The certificate is as good as new: the token was meant for others.
            store::set_last_token(self.dir, &id).map_err(|e| self.unwritable(&e))?;
        }
        renewed
    }

    /// Somewhere between 70 and 90% of its life: a thousand agents do not come at once.
    fn due_ms(&self, facts: &Facts) -> i64 {
        let life_ms = facts.not_after_ms - facts.not_before_ms;
        let chance = (self.seed >> 40) as f64 / f64::from(1u32 << 24);
        facts.not_before_ms + (life_ms as f64 * (0.7 + 0.2 * chance)) as i64
    }

    async fn join(&self) -> Result<(), String> {
        let file = self.token_file.ok_or(
            "this node has no certificate: make a token with `binnacle token create` on the server, put it in \
             a file, and name that with --join-token-file",
        )?;
        let token = read_token(file)?;
        let key = store::joining_key(self.dir).map_err(|e| self.unwritable(&e))?;
        let settings = Arc::new(verify::pinned(token.authority).map_err(|e| e.to_string())?);
        let endpoint = connect::endpoint(&self.credentials.0.server).map_err(|e| e.to_string())?;
        let channel = connect::channel_with(endpoint, move || Ok(settings.clone()));
        let request = JoinRequest {
            node: self.credentials.0.node.clone(),
            token: token.credential(),
            request: signed_request(&key)?,
        };
        let answer =
            call(EnrollmentClient::new(channel).join(request)).await.map_err(|e| format!("join: {e}"))?;
        if Fingerprint::of(&der(&answer.authority)?) != token.authority {
            return Err("join: the answer is of another authority than the token".into());
        }
        self.take(&key, &answer)?;
        store::set_last_token(self.dir, &token.id()).map_err(|e| self.unwritable(&e))?;
        self.credentials.0.numbers.joins.add(1);
        tracing::info!(node = self.credentials.0.node, "joined the server");
        Ok(())
    }

    async fn renew(&self) -> Result<(), String> {
        let key = KeyPair::generate().map_err(|e| e.to_string())?;
        // A connection of its own, which shows the certificate of now; the streams stay as they are.
        let channel = self.credentials.channel().map_err(|e| e.to_string())?;
        let request = RenewRequest { request: signed_request(&key)? };
        let answer = call(EnrollmentClient::new(channel).renew(request)).await;
        let answer = answer.map_err(|e| format!("renewal of the certificate: {e}"))?;
        self.take(&key, &answer)?;
        self.credentials.0.numbers.renewals.add(1);
        tracing::info!(node = self.credentials.0.node, "the certificate is renewed");
        Ok(())
    }

    /// Keeps and uses what the server has answered, when it is for us.
    fn take(&self, key: &KeyPair, answer: &Certificate) -> Result<(), String> {
        let facts = Facts::of(&der(&answer.certificate)?).map_err(|e| e.to_string())?;
        let node = &self.credentials.0.node;
        if facts.nodes.first() != Some(node) {
            return Err(format!("the server's certificate is for {:?}, not for {node:?}", facts.nodes));
        }
        store::save(self.dir, key, &answer.certificate, &answer.authority)
            .map_err(|e| self.unwritable(&e))?;
        let identity = store::load(self.dir, node).map_err(|e| e.to_string())?;
        let identity = identity.ok_or("the certificate has vanished")?;
        self.credentials.adopt(identity.usable);
        Ok(())
    }

    fn unwritable(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.dir.display())
    }
}

async fn call(
    calling: impl Future<Output = Result<tonic::Response<Certificate>, Status>>,
) -> Result<Certificate, String> {
    match tokio::time::timeout(TIMEOUT, calling).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(connect::reason(&status)),
        Err(_) => Err("no answer in time".into()),
    }
}

fn der(pem: &str) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| format!("the server's answer: {e}"))
}

fn signed_request(key: &KeyPair) -> Result<Vec<u8>, String> {
    let request = CertificateParams::default().serialize_request(key).map_err(|e| e.to_string())?;
    Ok(request.der().to_vec())
}

fn read_token(file: &Path) -> Result<Token, String> {
    let wrong = |problem: &dyn std::fmt::Display| format!("join token file {}: {problem}", file.display());
    if std::fs::metadata(file).map_err(|e| wrong(&e))?.len() > MAX_TOKEN_FILE {
        return Err(wrong(&"too large"));
    }
    std::fs::read_to_string(file).map_err(|e| wrong(&e))?.parse().map_err(|e| wrong(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::selfmetrics::SelfMetrics;

    #[test]
    fn a_certificate_that_is_due_when_it_comes_is_not_renewed_in_a_tight_loop() {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { server: "https://far:1".into(), state_dir: dir.path().into(), ..Config::default() };
        let credentials = Credentials::load(&config, &SelfMetrics::default()).unwrap();
        let enroller = Enroller::new(&credentials, dir.path(), None, 7);
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX, 7);
        let facts = Facts { not_before_ms: 0, not_after_ms: 1_000_000, ..Facts::default() };
        assert_eq!(enroller.rest(Some(&facts), 1_000, &mut backoff), None);
        let mut last = Duration::ZERO;
        for _ in 0..6 {
            last = enroller.rest(Some(&facts), 2_000_000, &mut backoff).unwrap();
            assert!(last >= PAUSE_MIN / 2);
        }
        assert!(last > PAUSE_MIN, "pauses grow");
        assert!(enroller.rest(None, 0, &mut backoff).is_some());
    }
}
