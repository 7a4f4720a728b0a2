//! A push as protobuf, by hand: its line need not be text.

use axum::body::Body;
use axum::http::Request;

/// `PushRequest{streams: [{labels, entries: [{timestamp: {seconds}, line}]}]}`, packed by snappy.
pub fn body(labels: &str, seconds: i64, line: &[u8]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let mut time = vec![8];
    prost::encoding::encode_varint(seconds as u64, &mut time);
    let entry = [field(1, &time), field(2, line)].concat();
    let stream = [field(1, labels.as_bytes()), field(2, &entry)].concat();
    snap::raw::Encoder::new().compress_vec(&field(1, &stream)).unwrap()
}

/// Pushes a body that says it is protobuf.
pub fn request(body: Vec<u8>) -> Request<Body> {
    let request = Request::post("/loki/api/v1/push").header("content-type", "application/x-protobuf");
    request.body(Body::from(body)).unwrap()
}
