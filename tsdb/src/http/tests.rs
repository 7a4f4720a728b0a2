//! The API as a client sees it.

mod exemplars;
mod otlp;
mod query;
mod read;
mod status;
mod write;

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use binnacle_proto::{Labels, STALE_NAN};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::remote::wire::put;
use crate::{Config, EngineConfig, Sample};

const NOW_MS: i64 = 1_700_000_000_000;

struct Server {
    router: Router,
    api: Api,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::with(ApiConfig::default())
    }

    fn with(config: ApiConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(Config { dir: dir.path().to_owned(), ..Config::default() }).unwrap();
        let engine = Engine::new(EngineConfig::default());
        let api = Api::new(db, engine, config, ServerInfo::default(), Arc::new(|| NOW_MS));
        Self { router: router(api.clone()), api, _dir: dir }
    }

    async fn append(&self, name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) {
        let pairs = labels.iter().copied().chain([("__name__", name)]);
        let series = self.api.0.db.resolve(&Labels::from_pairs(pairs).unwrap()).unwrap();
        let samples = samples.iter().map(|(t_ms, value)| Sample { series, t_ms: *t_ms, value: *value });
        self.api.0.db.append(samples.collect(), NOW_MS).await.unwrap();
    }

    async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        (response.status(), body_json(response).await)
    }

    async fn post_form(&self, path: &str, form: &'static str) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let response = self.send(request).await;
        (response.status(), body_json(response).await)
    }

    async fn write(&self, headers: &[(&str, &str)], body: Vec<u8>) -> (StatusCode, String, Response) {
        let mut request = Request::post("/api/v1/write");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Body::from(body)).unwrap()).await;
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
        (parts.status, text, Response::from_parts(parts, Body::empty()))
    }
}

async fn body_json(response: Response) -> Value {
    let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
    serde_json::from_slice(&body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))
}

fn v1_series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Vec<u8> {
    let mut series = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        put::bytes(&mut label, 1, name.as_bytes());
        put::bytes(&mut label, 2, value.as_bytes());
        put::bytes(&mut series, 1, &label);
    }
    for (t_ms, value) in samples {
        put::bytes(&mut series, 2, &sample(*t_ms, *value));
    }
    series
}

fn v1_request(series: &[Vec<u8>]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        put::bytes(&mut request, 1, one);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

/// A request of 2.0 with its headers.
const V2: [(&str, &str); 2] = [
    ("content-encoding", "snappy"),
    ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
];

fn v2_request(symbols: &[&str], series: &[Vec<u8>]) -> Vec<u8> {
    let mut request = Vec::new();
    for symbol in symbols {
        put::bytes(&mut request, 4, symbol.as_bytes());
    }
    for one in series {
        put::bytes(&mut request, 5, one);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

/// Value and time, in either version.
fn sample(t_ms: i64, value: f64) -> Vec<u8> {
    let mut sample = Vec::new();
    put::double(&mut sample, 1, value);
    put::number(&mut sample, 2, t_ms as u64);
    sample
}
