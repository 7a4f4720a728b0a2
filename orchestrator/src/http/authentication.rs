//! Who may use the HTTP port: users with passwords, holders of bearer tokens. Off unless configured.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::authority::Security;
use crate::config::Web;

/// Passwords checked at one time: each costs about a tenth of a second of a core.
const MAX_CHECKS: usize = 2;
/// Good passwords that are remembered.
const MAX_REMEMBERED: usize = 1_000;
/// Longest credential that is looked at, in bytes.
const MAX_CREDENTIAL: usize = 1_024;
/// Most tokens in the file, and its largest size in bytes.
const MAX_TOKENS: usize = 1_000;
const MAX_FILE: u64 = 1 << 20;
/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is always answered: it says only that the server runs.
const OPEN_PATHS: [&str; 2] = ["/-/healthy", "/-/ready"];

/// SHA-256: what is compared in place of secrets.
type Hash = [u8; 32];

/// Decides who may use the port; clones share it.
#[derive(Clone)]
pub(crate) struct Authentication(Arc<Inner>);

struct Inner {
    is_on: bool,
    users: BTreeMap<String, String>,
    file: Option<PathBuf>,
    /// When the file was written that is in use.
    seen: Mutex<Option<SystemTime>>,
    tokens: ArcSwap<HashSet<Hash>>,
    /// Names with passwords that were found good: bcrypt is slow on purpose.
    remembered: Mutex<HashSet<Hash>>,
    checks: Arc<Semaphore>,
    security: Arc<Security>,
}

impl Authentication {
    /// # Errors
    /// When the file of tokens cannot be used.
    pub(crate) fn new(config: &Web, security: Arc<Security>) -> Result<Self, String> {
        let file = config.bearer_token_file.clone();
        // Before it is read: a change while that goes on is seen as one.
        let seen = file.as_deref().and_then(written);
        let tokens = file.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self(Arc::new(Inner {
            is_on: config.authenticates(),
            users: config.users.clone(),
            file,
            seen: Mutex::new(seen),
            tokens: ArcSwap::from_pointee(tokens),
            remembered: Mutex::default(),
            checks: Arc::new(Semaphore::new(MAX_CHECKS)),
            security,
        })))
    }

    /// Reads the file of tokens anew when it changes, until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), String> {
        let Some(file) = &self.0.file else {
            shutdown.cancelled().await;
            return Ok(());
        };
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let now = written(file);
            if now == std::mem::replace(&mut *self.0.seen.lock(), now) {
                continue;
            }
            match read(file) {
                Ok(tokens) => {
                    tracing::info!(file = %file.display(), tokens = tokens.len(), "new bearer tokens are in use");
                    self.0.tokens.store(Arc::new(tokens));
                }
                Err(error) => {
                    self.0.security.reloads_failed.add(1);
                    tracing::error!(error, "the old bearer tokens stay in use");
                }
            }
        }
    }

    /// Guards everything that `router` answers.
    pub(crate) fn around(self, router: Router) -> Router {
        router.layer(middleware::from_fn(move |request, next| {
            let authentication = self.clone();
            async move { authentication.pass(request, next).await }
        }))
    }

    /// Lets a request through, or answers 401.
    async fn pass(&self, request: Request, next: Next) -> Response {
        let open = !self.0.is_on || OPEN_PATHS.contains(&request.uri().path());
        if open || self.knows(request.headers()).await {
            return next.run(request).await;
        }
        self.0.security.http_refused.add(1);
        let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"binnacle\", charset=\"UTF-8\"")];
        (StatusCode::UNAUTHORIZED, ask, "a password or a bearer token is needed (section [web])\n")
            .into_response()
    }

    async fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        if value.len() > MAX_CREDENTIAL {
            return false;
        }
        match value.split_once(' ') {
            Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => {
                self.0.tokens.load().contains(&hash(token.trim()))
            }
            Some((kind, encoded)) if kind.eq_ignore_ascii_case("basic") => {
                let decoded =
                    STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                match decoded {
                    Some(pair) => self.knows_user(pair).await,
                    None => false,
                }
            }
            _ => false,
        }
    }

    async fn knows_user(&self, pair: String) -> bool {
        let key = hash(&pair);
        if self.0.remembered.lock().contains(&key) {
            return true;
        }
        let Ok(turn) = self.0.checks.clone().acquire_owned().await else { return false };
        let inner = self.0.clone();
        let checked = tokio::task::spawn_blocking(move || {
            // A check goes on when the client that asked for it has gone.
            let _turn = turn;
            let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
            let known = inner.users.get(user);
            // An unknown user takes as long as a known one.
            let Some(any) = inner.users.values().next() else { return false };
            let good = bcrypt::verify(password, known.unwrap_or(any)).unwrap_or(false);
            good && known.is_some()
        });
        let good = checked.await.unwrap_or(false);
        if good {
            let mut remembered = self.0.remembered.lock();
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(key);
        }
        good
    }
}

fn hash(text: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

fn written(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|meta| meta.modified()).ok()
}

fn read(file: &Path) -> Result<HashSet<Hash>, String> {
    let wrong = |problem: &dyn std::fmt::Display| format!("bearer_token_file {}: {problem}", file.display());
    if fs::metadata(file).map_err(|error| wrong(&error))?.len() > MAX_FILE {
        return Err(wrong(&format!("larger than {MAX_FILE} bytes")));
    }
    let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let tokens: Vec<&str> = lines.collect();
    match tokens.len() {
        0 => return Err(wrong(&"there is no token in it")),
        1..=MAX_TOKENS => {}
        _ => return Err(wrong(&format!("more than {MAX_TOKENS} tokens"))),
    }
    // A guess must take longer than anybody has.
    if tokens.iter().any(|token| token.len() < 16) {
        return Err(wrong(&"a token has at least 16 characters"));
    }
    Ok(tokens.into_iter().map(hash).collect())
}

#[cfg(test)]
mod tests;
