//! Tests of the authentication.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::routing::get;
use tower::ServiceExt;

use super::*;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

struct Site {
    router: Router,
    authentication: Authentication,
    security: Arc<Security>,
}

fn site(config: &Web) -> Site {
    let security: Arc<Security> = Arc::default();
    let authentication = Authentication::new(config, security.clone()).unwrap();
    let router =
        Router::new().route("/", get(|| async { "in" })).route("/-/ready", get(|| async { "ready" }));
    let router = authentication.clone().around(router);
    Site { router, authentication, security }
}

impl Site {
    async fn status(&self, path: &str, authorization: Option<&str>) -> u16 {
        let mut request = Request::builder().uri(path);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        response.status().as_u16()
    }
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[tokio::test]
async fn without_users_and_tokens_everybody_is_let_in() {
    assert_eq!(site(&Web::default()).status("/", None).await, 200);
}

#[tokio::test]
async fn users_are_known_by_their_passwords() {
    let users = [("admin".to_owned(), bcrypt::hash("right: horse", 4).unwrap())];
    let site = site(&Web { users: users.into(), ..Web::default() });
    for _ in 0..2 {
        assert_eq!(site.status("/", Some(&basic("admin:right: horse"))).await, 200);
    }
    for bad in ["admin:wrong", "admin", "nobody:right: horse", ":", ""] {
        assert_eq!(site.status("/", Some(&basic(bad))).await, 401, "{bad}");
    }
    for bad in ["Basic", "Basic !!", "Digest x", "Bearer x", &format!("Basic {}", "a".repeat(2000))] {
        assert_eq!(site.status("/", Some(bad)).await, 401, "{bad}");
    }
    assert_eq!(site.status("/", None).await, 401);
    assert_eq!(site.status("/-/ready", None).await, 200);
    assert_eq!(site.security.http_refused.get(), 11);
}

#[tokio::test]
async fn bearer_tokens_come_from_a_file_and_are_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    fs::write(&file, "# ours\n0123456789abcdef\n\n").unwrap();
    let site = site(&Web { bearer_token_file: Some(file.clone()), ..Web::default() });
    assert_eq!(site.status("/", Some("Bearer 0123456789abcdef")).await, 200);
    assert_eq!(site.status("/", Some("bearer 0123456789abcdee")).await, 401);
    assert_eq!(site.status("/", Some("Bearer # ours")).await, 401);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(site.authentication.clone().run(shutdown.clone()));
    // Times of files are coarse.
    tokio::time::sleep(Duration::from_millis(50)).await;
    fs::write(&file, "fedcba9876543210\n").unwrap();
    let taken = async || {
        while site.status("/", Some("Bearer fedcba9876543210")).await != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, taken()).await.unwrap();
    assert_eq!(site.status("/", Some("Bearer 0123456789abcdef")).await, 401);
    // What cannot be used changes nothing.
    fs::write(&file, "short\n").unwrap();
    let refused = async || {
        while site.security.reloads_failed.get() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, refused()).await.unwrap();
    assert_eq!(site.status("/", Some("Bearer fedcba9876543210")).await, 200);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    for text in ["", "# only a comment\n", "short\n"] {
        fs::write(&file, text).unwrap();
        assert!(read(&file).unwrap_err().contains("tokens"), "{text:?}");
    }
}
