//! Against a small server of bytes.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers the first connections with these bytes, one request each; gives the requests.
async fn serve(answers: Vec<Vec<u8>>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            requests.push(String::from_utf8(request).unwrap());
            let _ = stream.write_all(&answer).await;
        }
        requests
    });
    (format!("http://{address}/metrics"), served)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{head}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn question(url: &str) -> Question {
    Question {
        url: url.to_owned(),
        timeout: Duration::from_secs(5),
        compression: true,
        follow_redirects: true,
        authorization: Some("Bearer x".to_owned()),
        tls: Arc::default(),
        max_body: (1000, "body_size_limit"),
        room: Room::new(1 << 20),
        fallback: None,
    }
}

const TEXT: &str = "Content-Type: text/plain; version=0.0.4\r\n";

#[tokio::test]
async fn asks_as_prometheus_asks_and_comes_again_when_the_connection_was_closed() {
    let (url, served) = serve(vec![answer(TEXT, b"a 1\n"), answer(TEXT, b"a 2\n")]).await;
    let mut client = Client::default();
    for expected in [b"a 1\n", b"a 2\n"] {
        let fetched = client.fetch(&question(&url)).await.unwrap();
        assert_eq!((fetched.body.bytes(), fetched.format), (expected.as_slice(), Format::Text));
    }
    let requests = served.await.unwrap();
    for line in [
        "GET /metrics HTTP/1.1",
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6",
        "accept-encoding: gzip",
        "x-prometheus-scrape-timeout-seconds: 5",
        "authorization: Bearer x",
    ] {
        assert!(requests[1].contains(line), "{line}: {}", requests[1]);
    }
}

#[tokio::test]
async fn a_body_may_be_compressed_but_not_a_bomb() {
    let gzip = |plain: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let head = "Content-Type: application/openmetrics-text; version=1.0.0\r\nContent-Encoding: gzip\r\n";
    let bomb = gzip(&vec![b'#'; 100_000]);
    assert!(bomb.len() < 1000);
    let (url, _served) = serve(vec![answer(head, &gzip(b"# EOF\n")), answer(head, &bomb)]).await;
    let mut client = Client::default();
    let fetched = client.fetch(&question(&url)).await.unwrap();
    assert_eq!((fetched.body.bytes(), fetched.format), (b"# EOF\n".as_slice(), Format::OpenMetrics));
    let failure = client.fetch(&question(&url)).await.unwrap_err();
    assert!(failure.name == "body_size" && failure.text.contains("body_size_limit"), "{failure:?}");
}

#[tokio::test]
async fn what_is_not_an_exposition_is_named() {
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec(), "status", "503"),
        (answer("Content-Type: text/html\r\n", b"<html>"), "content_type", "text/html"),
        (answer("", b"a 1\n"), "content_type", ""),
        (answer(TEXT, &[b'#'; 2000]), "body_size", "1000"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: text/plain\r\n\r\na 1".to_vec(),
            "connection",
            "",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "redirect",
            "ftp",
        ),
    ];
    for (bytes, name, part) in cases {
        let (url, _served) = serve(vec![bytes.clone(), bytes]).await;
        let failure = Client::default().fetch(&question(&url)).await.unwrap_err();
        assert!(failure.name == name && failure.text.contains(part), "{name}: {failure:?}");
    }
    let closed = Client::default().fetch(&question("http://127.0.0.1:1/metrics")).await.unwrap_err();
    assert_eq!(closed.name, "connection");
}

#[tokio::test]
async fn credentials_are_for_the_first_origin_only() {
    let moved =
        |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let (other, stranger) = serve(vec![answer(TEXT, b"a 1\n")]).await;
    let (url, served) = serve(vec![moved("/elsewhere"), moved(&other)]).await;
    assert!(Client::default().fetch(&question(&url)).await.is_ok());
    let asked = served.await.unwrap();
    assert!(asked.len() == 2 && asked.iter().all(|request| request.contains("authorization: Bearer x")));
    let told = stranger.await.unwrap().remove(0);
    assert!(told.starts_with("GET /metrics ") && !told.contains("authorization"), "{told}");
}

#[tokio::test]
async fn answers_share_their_memory() {
    let (url, _served) = serve(vec![answer(TEXT, b"a 1\n"), answer(TEXT, b"a 1\n")]).await;
    let mut question = question(&url);
    question.room = Room::new(6);
    let first = Client::default().fetch(&question).await.unwrap();
    let failure = Client::default().fetch(&question).await.unwrap_err();
    assert_eq!(failure.name, "memory", "{failure:?}");
    drop(first);
    assert_eq!(question.room.used(), 0);
}

#[tokio::test]
async fn redirects_are_followed_and_silence_ends() {
    let found = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (url, served) = serve(vec![found, answer(TEXT, b"a 1\n")]).await;
    assert!(Client::default().fetch(&question(&url)).await.is_ok());
    assert!(served.await.unwrap()[1].starts_with("GET /elsewhere "));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = Question {
        timeout: Duration::from_millis(100),
        ..question(&format!("http://{}/", listener.local_addr().unwrap()))
    };
    assert_eq!(Client::default().fetch(&silent).await.unwrap_err().name, "timeout");
}
