//! Remote read and federation.

use super::*;

#[tokio::test]
async fn federation_escapes_names_for_readers_that_need_it() {
    let server = Server::start();
    server.append("disk.used", &[("mount.point", "/a\"b")], &[(NOW_MS - 1000, 1e-7)]).await;
    let federate = async |accept: &str| {
        let request =
            Request::get("/federate?match[]=%7B__name__%3D~%22.%2B%22%7D").header(header::ACCEPT, accept);
        let response = server.send(request.body(Body::empty()).unwrap()).await;
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (kind, String::from_utf8(text.to_vec()).unwrap())
    };
    let (kind, text) = federate("text/plain").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    let at = NOW_MS - 1000;
    assert_eq!(text, format!("# TYPE disk_used untyped\ndisk_used{{mount_point=\"/a\\\"b\"}} 1e-07 {at}\n"));
    let (_, text) = federate("text/plain;version=1.0.0;escaping=allow-utf-8").await;
    assert!(text.contains("{\"disk.used\",\"mount.point\"=\"/a\\\"b\"} 1e-07"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_prometheus_servers_read_samples() {
    let server = Server::start();
    server.append("m", &[("job", "a")], &[(NOW_MS - 1000, 1.5), (NOW_MS, 2.5)]).await;
    let request = |kind: u64| {
        let (mut matcher, mut query, mut request) = (Vec::new(), Vec::new(), Vec::new());
        put::bytes(&mut matcher, 2, b"__name__");
        put::bytes(&mut matcher, 3, b"m");
        put::number(&mut query, 1, (NOW_MS - 60_000) as u64);
        put::number(&mut query, 2, NOW_MS as u64);
        put::bytes(&mut query, 3, &matcher);
        put::bytes(&mut request, 1, &query);
        put::number(&mut request, 2, kind);
        let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        Request::post("/api/v1/read").body(Body::from(body)).unwrap()
    };
    let response = server.send(request(0)).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-protobuf");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let (mut result, mut response) = (Vec::new(), Vec::new());
    let series = v1_series(&[("__name__", "m"), ("job", "a")], &[(NOW_MS - 1000, 1.5), (NOW_MS, 2.5)]);
    put::bytes(&mut result, 1, &series);
    put::bytes(&mut response, 1, &result);
    assert_eq!(body, response);
    let response = server.send(request(1)).await;
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert!(kind.contains("prometheus.ChunkedReadResponse"), "{kind}");
    let frame = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert_eq!(usize::from(frame[0]), frame.len() - 5);
    let federated = server.send(Request::get("/federate?match[]=m").body(Body::empty()).unwrap()).await;
    let text = to_bytes(federated.into_body(), 1 << 20).await.unwrap();
    assert_eq!(text, format!("# TYPE m untyped\nm{{job=\"a\"}} 2.5 {NOW_MS}\n"));
}

#[tokio::test]
async fn federation_quotes_labels_with_colons_and_looks_back_as_queries_do() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(Config { dir: dir.path().to_owned(), ..Config::default() }).unwrap();
    let engine = Engine::new(EngineConfig { lookback_delta_ms: 5_000, ..EngineConfig::default() });
    let api = Api::new(db, engine, ApiConfig::default(), ServerInfo::default(), Arc::new(|| NOW_MS));
    let server = Server { router: router(api.clone()), api, _dir: dir };
    server.append("job:m", &[("a:b", "1")], &[(NOW_MS - 1000, 1.0)]).await;
    server.append("older", &[], &[(NOW_MS - 6000, 1.0)]).await;
    let at = NOW_MS - 1000;
    for (accept, want) in [
        ("text/plain", format!("# TYPE job:m untyped\njob:m{{a_b=\"1\"}} 1 {at}\n")),
        ("text/plain;escaping=allow-utf-8", format!("# TYPE job:m untyped\njob:m{{\"a:b\"=\"1\"}} 1 {at}\n")),
    ] {
        let request =
            Request::get("/federate?match[]=%7B__name__%3D~%22.%2B%22%7D").header(header::ACCEPT, accept);
        let response = server.send(request.body(Body::empty()).unwrap()).await;
        let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&text), want);
    }
}
