//! Lines of the CRI log format: `time stream P|F text`.

use binnacle_proto::days_since_epoch;
use jiff::Timestamp;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout = 0,
    Stderr = 1,
}

impl Stream {
    /// Value of the label `stream`.
    pub(super) const NAMES: [&'static str; 2] = ["stdout", "stderr"];
}

/// One line, or a piece of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) time_ns: i64,
    pub(super) stream: Stream,
    /// Whether the line ends with this piece (tag `F`).
    pub(super) full: bool,
    pub(super) text: &'a [u8],
}

/// Reads a line without its end; `None` when it is not of the format.
pub(super) fn parse(line: &[u8]) -> Option<Piece<'_>> {
    let mut parts = line.splitn(4, |&byte| byte == b' ');
    let time_ns = time_ns(parts.next()?)?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // More tags may follow the first, after a colon.
    let full = match parts.next()? {
        tag if tag == b"F" || tag.starts_with(b"F:") => true,
        tag if tag == b"P" || tag.starts_with(b"P:") => false,
        _ => return None,
    };
    Some(Piece { time_ns, stream, full, text: parts.next().unwrap_or_default() })
}

/// RFC 3339 with up to nine decimals. The common case, UTC, is read by hand.
pub(super) fn time_ns(text: &[u8]) -> Option<i64> {
    if text.last() == Some(&b'Z') && text.get(19) == Some(&b'.') && text.len() <= 30 {
        let number = |from: usize, to: usize| -> Option<i64> {
            text[from..to]
                .iter()
                .try_fold(0i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
        };
        let punctuated = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if punctuated.iter().all(|&(at, byte)| text[at] == byte) {
            let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
            let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
            let decimals = text.len() - 21;
            let fraction = number(20, text.len() - 1)? * 10i64.pow(9 - decimals as u32);
            let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
            if in_range && second < 61 {
                let seconds =
                    days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
                return seconds.checked_mul(1_000_000_000)?.checked_add(fraction);
            }
            return None;
        }
    }
    let time: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_and_whole_lines() {
        let piece = parse(b"2025-12-31T23:59:59.000000007Z stdout F hello world ").unwrap();
        assert_eq!(
            (piece.time_ns, piece.stream, piece.full),
            (1_767_225_599_000_000_007, Stream::Stdout, true)
        );
        assert_eq!(piece.text, b"hello world ");
        assert!(!parse(b"2025-12-31T23:59:59.5Z stderr P half").unwrap().full);
        assert_eq!(parse(b"2025-12-31T23:59:59Z stdout F ").unwrap().text, b"");
        let with_zone = parse(b"2026-01-01T01:59:59.5+02:00 stdout F x").unwrap();
        assert_eq!(with_zone.time_ns, 1_767_225_599_500_000_000);
    }

    #[test]
    fn what_is_not_of_the_format_is_not_guessed() {
        for bad in [
            "",
            "hello",
            "2025-12-31T23:59:59Z stdin F x",
            "2025-12-31T23:59:59Z stdout X x",
            "yesterday stdout F x",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!((time_ns(b""), time_ns(b"Z")), (None, None));
    }

    proptest! {
        #[test]
        fn any_time_and_text_come_back(ns in 0i64..4_000_000_000_000_000_000, text in "[^\n]{0,40}") {
            let time = Timestamp::from_nanosecond(i128::from(ns)).unwrap();
            for format in ["%Y-%m-%dT%H:%M:%S.%9fZ", "%Y-%m-%dT%H:%M:%S.%9f+00:00"] {
                let line = format!("{} stderr F {text}", time.strftime(format));
                let piece = parse(line.as_bytes()).unwrap();
                prop_assert_eq!(piece.time_ns, ns);
                prop_assert_eq!(piece.text, text.as_bytes());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes);
        }
    }
}
