//! What the HTTP port answers while the stores are still replaying what they owe: health, progress; all
//! else waits, a remote write with its samples too, and is answered when the server is ready.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use binnacle_tsdb::ReplayProgress;
use serde_json::json;
use tokio::sync::watch;
use tower::ServiceExt as _;

/// How long a request waits for the server to be ready, before it is asked to come again.
const WAIT: Duration = Duration::from_secs(20);
/// When it is asked to come again, in seconds.
const RETRY_AFTER: &str = "5";
/// Requests that may wait; further ones are asked to come again at once.
const MAX_WAITING: usize = 512;

/// Stands before the routes until they are there.
#[derive(Clone)]
pub(crate) struct Gate {
    routes: Arc<watch::Sender<Option<Router>>>,
    waiting: Arc<tokio::sync::Semaphore>,
    progress: Arc<ReplayProgress>,
    wait: Duration,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            routes: Arc::new(watch::Sender::new(None)),
            waiting: Arc::new(tokio::sync::Semaphore::new(MAX_WAITING)),
            progress: Arc::default(),
            wait: WAIT,
        }
    }
}

impl Gate {
    /// What the port answers, now and after the gate has opened.
    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(pass).with_state(self.clone())
    }

    /// Where the replay writes how far it is.
    pub(crate) fn progress(&self) -> Arc<ReplayProgress> {
        self.progress.clone()
    }

    /// Lets everybody through to `routes`.
    pub(crate) fn open(&self, routes: Router) {
        self.routes.send_replace(Some(routes));
    }

    async fn wait(&self) -> Option<Router> {
        let _place = self.waiting.try_acquire().ok()?;
        let mut routes = self.routes.subscribe();
        let ready = tokio::time::timeout(self.wait, routes.wait_for(Option::is_some)).await;
        ready.ok()?.ok()?.clone()
    }

    fn not_ready(&self) -> Response {
        let (current, last) = (self.progress.current(), self.progress.last());
        let state = self.progress.state_name();
        let error = format!(
            "the server is not ready: the replay of the write-ahead log is {state}, at record {current} of {last}"
        );
        let body = json!({"status": "error", "errorType": "unavailable", "error": error});
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER)], Json(body)).into_response()
    }
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    let open = gate.routes.borrow().clone();
    let routes = match open {
        Some(routes) => Some(routes),
        None => match request.uri().path() {
            "/-/healthy" => return super::control::healthy().await.into_response(),
            "/-/ready" => return gate.not_ready(),
            "/api/v1/status/walreplay" => {
                let data = binnacle_tsdb::http::replay_status(&gate.progress);
                return Json(json!({"status": "success", "data": data})).into_response();
            }
            _ => gate.wait().await,
        },
    };
    match routes {
        Some(routes) => routes.oneshot(request).await.into_response(),
        None => gate.not_ready(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::routing::get;

    async fn ask(routes: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, String::from_utf8(to_bytes(response.into_body(), 4096).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn who_comes_during_the_replay_waits_and_is_answered_when_it_is_over() {
        let gate = Gate::default();
        let routes = gate.router();
        assert_eq!(ask(&routes, "/-/healthy").await.0, StatusCode::OK);
        let (status, body) = ask(&routes, "/-/ready").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("is waiting, at record 0 of 0"), "{body}");
        let (_, body) = ask(&routes, "/api/v1/status/walreplay").await;
        assert_eq!(body, r#"{"data":{"current":0,"max":0,"min":0,"state":"waiting"},"status":"success"}"#);
        let waiting = tokio::spawn({
            let routes = routes.clone();
            async move { ask(&routes, "/x").await }
        });
        tokio::task::yield_now().await;
        gate.open(Router::new().route("/x", get(|| async { "through" })));
        assert_eq!(waiting.await.unwrap(), (StatusCode::OK, "through".to_owned()));
        assert_eq!(ask(&routes, "/x").await.1, "through");
    }

    #[tokio::test]
    async fn who_has_waited_long_enough_is_asked_to_come_again() {
        let gate = Gate { wait: Duration::from_millis(1), ..Gate::default() };
        let (status, body) = ask(&gate.router(), "/x").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("\"errorType\":\"unavailable\""), "{body}");
    }
}
