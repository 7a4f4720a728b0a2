//! Lines of Docker's `json-file` log driver: `{"log":"text\n","stream":"stdout","time":"…"}`.

use std::borrow::Cow;

use serde::Deserialize;

use super::cri::{Piece, Stream, time_ns};

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads a line into `text`, which the piece borrows; `None` when it is not of the format. The engine cuts long lines:
/// a piece without a line end is not the last of its line.
pub(super) fn parse<'t>(line: &[u8], text: &'t mut Vec<u8>) -> Option<Piece<'t>> {
    if line.first() != Some(&b'{') {
        return None;
    }
    let written: Written<'_> = serde_json::from_slice(line).ok()?;
    let stream = match &*written.stream {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return None,
    };
    let time_ns = time_ns(written.time.as_bytes())?;
    text.clear();
    text.extend_from_slice(written.log.as_bytes());
    let full = text.last() == Some(&b'\n');
    if full {
        text.pop();
        if text.last() == Some(&b'\r') {
            text.pop();
        }
    }
    Some(Piece { time_ns, stream, full, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_and_pieces() {
        let mut text = Vec::new();
        let line = br#"{"log":"say \"hi\" \u00e9\n","stream":"stderr","attrs":{"a":"b"},"time":"2025-12-31T23:59:59.000000007Z"}"#;
        let piece = parse(line, &mut text).unwrap();
        assert_eq!(
            (piece.stream, piece.full, piece.time_ns),
            (Stream::Stderr, true, 1_767_225_599_000_000_007)
        );
        assert_eq!(piece.text, "say \"hi\" é".as_bytes());
        let line = br#"{"log":"half","stream":"stdout","time":"2025-12-31T23:59:59Z"}"#;
        assert!(!parse(line, &mut text).unwrap().full);
    }

    #[test]
    fn what_is_not_of_the_format_is_not_guessed() {
        for bad in [
            "",
            "plain",
            "{}",
            r#"{"log":"x","stream":"stdin","time":"2025-12-31T23:59:59Z"}"#,
            r#"{"log":"x","stream":"stdout","time":"yesterday"}"#,
            r#"{"log":"x","stream":"stdout""#,
        ] {
            assert!(parse(bad.as_bytes(), &mut Vec::new()).is_none(), "{bad}");
        }
    }
}
