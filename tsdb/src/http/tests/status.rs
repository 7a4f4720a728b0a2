//! What the server says of itself, headers, the admin API.

use super::*;

#[tokio::test]
async fn the_server_passes_for_prometheus() {
    let server = Server::start();
    let (_, answer) = server.get("/api/v1/status/buildinfo").await;
    assert!(answer["data"]["version"].as_str().unwrap().starts_with("3."));
    assert!(answer["data"].get("features").is_none());
    for path in ["runtimeinfo", "config", "flags", "tsdb", "walreplay"] {
        let (status, answer) = server.get(&format!("/api/v1/status/{path}")).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(answer["data"].is_object(), "{path}: {answer}");
    }
    let (_, answer) = server.get("/api/v1/query_exemplars?query=up&start=1&end=2").await;
    assert_eq!(answer, json!({"status": "success", "data": []}));
}

#[tokio::test]
async fn answers_allow_other_origins_and_are_compressed_when_asked() {
    let server = Server::start();
    for i in 0..100 {
        server.append("series", &[("i", &i.to_string())], &[(NOW_MS, 1.0)]).await;
    }
    let request = Request::get("/api/v1/series?match[]=series")
        .header(header::ORIGIN, "http://grafana.example")
        .header(header::ACCEPT_ENCODING, "gzip");
    let response = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body[..]), &mut text).unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["data"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn the_admin_api_is_closed_unless_opened() {
    let closed = Server::start();
    let (status, answer) = closed.post_form("/api/v1/admin/tsdb/delete_series", "match[]=m").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer["error"].as_str().unwrap().contains("http.enable_admin_api"), "{answer}");
    let open = Server::with(ApiConfig { enable_admin_api: true, ..ApiConfig::default() });
    let (status, answer) = open.post_form("/api/v1/admin/tsdb/delete_series", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
}
