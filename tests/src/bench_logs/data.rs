//! Lines as services write them, the same in every run.

use binnacle_tests::random::Random;

/// The text that is in one line of all.
pub const NEEDLE: &str = "needle-in-the-haystack";
/// A word that is in none.
pub const NOWHERE: &str = "xylophone";
/// Lines of a stream in one request.
const BATCH_LINES: usize = 200;
/// Distance of lines over all streams, in nanoseconds.
const LINE_NS: i64 = 50_000;

/// The size of a run.
pub struct Shape {
    pub bytes: usize,
    pub streams: usize,
    pub start_ns: i64,
}

/// A batch of lines of one stream.
pub struct Batch {
    pub stream: usize,
    pub lines: Vec<(i64, String)>,
}

/// Makes batches until there are enough bytes.
pub struct Lines {
    random: Random,
    time_ns: i64,
    bytes: usize,
    wanted: usize,
    streams: usize,
    needle_at: usize,
    hidden: bool,
}

impl Shape {
    /// The last line is about a minute before `now_ns`, however many there are.
    pub fn new(megabytes: usize, streams: usize, now_ns: i64) -> Self {
        let bytes = megabytes * 1_000_000;
        // No line is shorter than 64 bytes.
        let span_ns = (bytes / 64) as i64 * LINE_NS;
        Self { bytes, streams, start_ns: now_ns - 60_000_000_000 - span_ns }
    }

    pub fn lines(&self) -> Lines {
        Lines {
            random: Random::new(42),
            time_ns: self.start_ns,
            bytes: 0,
            wanted: self.bytes,
            streams: self.streams,
            needle_at: self.bytes / 3,
            hidden: false,
        }
    }
}

/// Labels of a stream.
pub fn labels(stream: usize) -> [(&'static str, String); 3] {
    [
        ("namespace", format!("team-{}", stream % 20)),
        ("app", format!("app-{}", stream % 50)),
        ("pod", format!("app-{}-{stream:05x}", stream % 50)),
    ]
}

impl Iterator for Lines {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.bytes >= self.wanted {
            return None;
        }
        let stream = self.random.below(self.streams);
        let mut lines = Vec::with_capacity(BATCH_LINES);
        for _ in 0..BATCH_LINES {
            self.time_ns += LINE_NS;
            let mut line = line(&mut self.random, stream % 3);
            if !self.hidden && self.bytes >= self.needle_at {
                self.hidden = true;
                // Inside the line, so that JSON stays JSON.
                let at = line.find("id").unwrap_or(0);
                line.insert_str(at, &format!("{NEEDLE} "));
            }
            self.bytes += line.len() + 1;
            lines.push((self.time_ns, line));
        }
        Some(Batch { stream, lines })
    }
}

/// A line of a service: JSON, logfmt or an access log.
pub fn line(random: &mut Random, kind: usize) -> String {
    let level = random.pick(&["info", "info", "info", "info", "warn", "error", "debug"]);
    let path = random.pick(&["/api/users", "/api/orders", "/healthz", "/static/app.js", "/api/cart"]);
    let status = [200, 200, 200, 200, 204, 404, 500][random.below(7)];
    let (id, number) = (random.bits(), random.below(100_000));
    match kind {
        0 => format!(
            r#"{{"level":"{level}","method":"GET","path":"{path}/{}","status":{status},"duration_ms":{},"trace_id":"{id:016x}{:016x}","msg":"request served"}}"#,
            number % 10_000,
            number % 900,
            id.rotate_left(29),
        ),
        1 => format!(
            "level={level} component=scheduler msg=\"pod assigned to node\" pod=web-{:x} node=node-{} took={}ms attempt_id={id:x}",
            number % 65_536,
            number % 50,
            number % 300,
        ),
        _ => format!(
            "10.{}.{}.{} - - \"GET {path}?id={number} HTTP/1.1\" {status} {} \"Mozilla/5.0 (X11; Linux x86_64)\"",
            id % 256,
            id / 256 % 256,
            id / 65_536 % 256,
            number % 50_000,
        ),
    }
}
