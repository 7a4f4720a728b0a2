//! JSON written straight into chunks of the answer, so that a large result is never built twice.

use binnacle_proto::Labels;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::select::Points;

/// Size at which a chunk is sent, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Points between two looks at the size of the chunk.
const POINTS_PER_LOOK: usize = 512;

/// The client went away; what is left need not be written.
#[derive(Debug)]
pub(super) struct Gone;

/// One message of a [`JsonWriter`].
pub(super) enum Chunk {
    /// The whole answer, which fitted in one chunk.
    Whole(Bytes),
    /// A part; more may follow.
    Part(Bytes),
}

/// Collects JSON text and sends it on in chunks. Lives on the thread that evaluated the query;
/// waits there when the client is slow.
pub(super) struct JsonWriter {
    out: Vec<u8>,
    parts: mpsc::Sender<Chunk>,
    sent: bool,
}

impl JsonWriter {
    /// A writer that sends to `parts`.
    pub(super) fn new(parts: mpsc::Sender<Chunk>) -> Self {
        Self { out: Vec::with_capacity(CHUNK_BYTES / 8), parts, sent: false }
    }

    /// Where text is appended.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Appends text as it is.
    pub(super) fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Sends what there is when it is a chunk's worth.
    pub(super) fn pass_on(&mut self) -> Result<(), Gone> {
        if self.out.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.sent = true;
        let full = std::mem::replace(&mut self.out, Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8));
        self.parts.blocking_send(Chunk::Part(full.into())).map_err(|_| Gone)
    }

    /// Sends the rest.
    pub(super) fn finish(self) -> Result<(), Gone> {
        let rest = Bytes::from(self.out);
        let last = if self.sent { Chunk::Part(rest) } else { Chunk::Whole(rest) };
        self.parts.blocking_send(last).map_err(|_| Gone)
    }

    /// Appends `[[t,"v"],…]`.
    pub(super) fn points(&mut self, points: &Points) -> Result<(), Gone> {
        self.out.push(b'[');
        for (i, (t_ms, value)) in points.timestamps.iter().zip(&points.values).enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            write_point(&mut self.out, *t_ms, *value);
            if i % POINTS_PER_LOOK == 0 {
                self.pass_on()?;
            }
        }
        self.out.push(b']');
        self.pass_on()
    }
}

/// `[t,"v"]`.
pub(super) fn write_point(out: &mut Vec<u8>, t_ms: i64, value: f64) {
    out.push(b'[');
    write_time(out, t_ms);
    out.extend_from_slice(b",\"");
    write_float(out, value);
    out.extend_from_slice(b"\"]");
}

/// Seconds with exactly three decimals when there are milliseconds, without any when there are none.
pub(super) fn write_time(out: &mut Vec<u8>, t_ms: i64) {
    if t_ms < 0 {
        out.push(b'-');
    }
    let ms = t_ms.unsigned_abs();
    write_integer(out, ms / 1000);
    if !ms.is_multiple_of(1000) {
        out.push(b'.');
        // With a digit before them the zeros stay.
        let decimals = out.len();
        write_integer(out, 1000 + ms % 1000);
        out.remove(decimals);
    }
}

fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// As Prometheus' JSON encoder writes floats: the shortest decimal that reads back the same, with an
/// exponent only below 1e-6 and from 1e21.
pub(super) fn write_float(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if value.fract() == 0.0 && magnitude < 1e15 && value.to_bits() != (-0.0f64).to_bits() {
        write_integer(out, value as i64);
    } else if magnitude != 0.0 && (magnitude < 1e-6 || (1e-5..1e15).contains(&magnitude)) {
        // Most numbers by far, nearly in the form that is wanted and several times as fast.
        let mut buffer = zmij::Buffer::new();
        match buffer.format_finite(value).as_bytes() {
            // Go writes at least two digits of an exponent.
            [mantissa @ .., b'e', b'-', digit] => {
                out.extend_from_slice(mantissa);
                out.extend_from_slice(&[b'e', b'-', b'0', *digit]);
            }
            text => out.extend_from_slice(text),
        }
    } else {
        write_unusual(out, value);
    }
}

/// A finite float, whatever its size.
fn write_unusual(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        // Go writes a sign and at least two digits.
        match exponent.strip_prefix('-') {
            Some(exponent) => append(out, format_args!("{mantissa}e-{exponent:0>2}")),
            None => append(out, format_args!("{mantissa}e+{exponent:0>2}")),
        }
    } else {
        append(out, format_args!("{value}"));
    }
}

/// `{"name":"value",…}`.
pub(super) fn write_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(out, name);
        out.push(b':');
        write_string(out, value);
    }
    out.push(b'}');
}

/// A JSON string.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut clean_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[clean_from..at]);
        clean_from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => append(out, format_args!("\\u{other:04x}")),
        }
    }
    out.extend_from_slice(&bytes[clean_from..]);
    out.push(b'"');
}

/// `["a","b"]`.
pub(super) fn write_strings<'a>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a str>) {
    out.push(b'[');
    for (i, text) in texts.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(out, text);
    }
    out.push(b']');
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a `Vec` cannot fail.
    let _ = std::io::Write::write_fmt(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_written_as_go_does() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-12.5, "-12.5"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1e-7, "1e-07"),
            (-2.5e-10, "-2.5e-10"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (9007199254740993.0, "9007199254740992"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn the_fast_way_writes_what_the_other_does(
            bits in proptest::prelude::any::<u64>(),
            mantissa in -1_000_000i64..1_000_000,
            exponent in -12i32..24,
        ) {
            for value in [f64::from_bits(bits), mantissa as f64 * 10f64.powi(exponent), 1.0 / mantissa as f64] {
                if value.is_finite() {
                    let mut want = Vec::new();
                    write_unusual(&mut want, value);
                    let (fast, want) = (float(value), String::from_utf8(want).unwrap());
                    // Of two shortest texts that are equally near, either may be chosen.
                    let is_tie = fast.len() == want.len() && fast.parse() == Ok(value);
                    proptest::prop_assert!(fast == want || is_tie, "{} and {}", fast, want);
                }
            }
        }
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        for (t_ms, text) in [(1_000, "1"), (1_050, "1.050"), (-1_500, "-1.500"), (5, "0.005"), (0, "0")] {
            let mut out = Vec::new();
            write_time(&mut out, t_ms);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn strings_read_back_the_same() {
        for text in ["", "plain", "q\"b\\s\n\r\t\u{1}\u{7f}é漢\u{1F600}"] {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
