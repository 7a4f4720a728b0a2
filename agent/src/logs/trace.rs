//! Puts the lines of a stack trace together: Java, .NET, JavaScript, Python, Go and Rust.
//!
//! Only a line that looks like the first of a trace is held back; all others pass at once. A trace ends with the first
//! line that is not of it, when it is too long, or when nothing follows for a while; not with its file. What does not
//! follow from the lines alone is written down: see [`Marks`].

use super::join::MAX_LINE;
use super::marks::{End, Marks};
use crate::uplink::Line;

/// How long a trace waits for its next line, in nanoseconds.
const WAIT_NS: i64 = 1_000_000_000;

/// Most lines of one trace.
const MAX_LINES: usize = 1_000;

/// Longest part of a line that is looked at for a name of an exception, in bytes.
const LOOKED_AT: usize = 512;

/// Where in a trace the last line was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Java, .NET, JavaScript: frames and causes follow.
    Frames,
    Python,
    /// The exception itself: a trace of another may follow.
    PythonEnd,
    PythonGap,
    PythonChain,
    Go,
    /// The message of the panic follows.
    RustMessage,
    Rust,
}

/// What has become of a trace so far.
#[derive(Debug)]
struct Held {
    state: State,
    whole: Whole,
    lines: usize,
    /// When the last line came.
    since_ns: i64,
}

impl Held {
    fn is_over(&self, now_ns: i64) -> bool {
        now_ns - self.since_ns >= WAIT_NS || now_ns < self.since_ns
    }

    fn end(&self) -> End {
        (self.whole.file, self.whole.line.end_offset)
    }
}

/// A whole line, or what lines became, and where its beginning was.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) line: Line,
    /// Where it ends.
    pub(super) file: u64,
    /// File and position of its first byte.
    pub(super) begun: (u64, u64),
    /// Files after the first in which parts of it are.
    pub(super) through: Vec<u64>,
    /// Whether it has several parts.
    pub(super) joined: bool,
}

impl Whole {
    /// A line as it is in its file.
    pub(super) fn plain(line: Line, file: u64, start: u64) -> Self {
        Self { line, file, begun: (file, start), through: Vec::new(), joined: false }
    }

    /// From where on `file` has to be read again for it; `None` when it is not in there.
    pub(super) fn begun_in(&self, file: u64) -> Option<u64> {
        begun_in(self.begun, &self.through, file)
    }

    fn append(&mut self, next: Self) {
        self.line.line.push(b'\n');
        self.line.line.extend_from_slice(&next.line.line);
        self.line.end_offset = next.line.end_offset;
        for file in std::iter::once(next.begun.0).chain(next.through).chain([next.file]) {
            go_through(self.begun.0, &mut self.through, file);
        }
        self.file = next.file;
        self.joined = true;
    }
}

/// From where on `file` has to be read again for what begins at `begun` and goes `through` other files.
pub(super) fn begun_in(begun: (u64, u64), through: &[u64], file: u64) -> Option<u64> {
    if begun.0 == file { Some(begun.1) } else { through.contains(&file).then_some(0) }
}

/// Takes note that a part is in `file`.
pub(super) fn go_through(first: u64, through: &mut Vec<u64>, file: u64) {
    if file != first && through.last() != Some(&file) {
        through.push(file);
    }
}

/// Begun traces of a container, by stream.
#[derive(Debug, Default)]
pub(super) struct Traces {
    held: [Option<Held>; 2],
}

impl Traces {
    /// Takes the next line of stream `slot`; what is ready goes to `out`. Returns whether the line joined another.
    pub(super) fn take(
        &mut self,
        slot: usize,
        whole: Whole,
        marks: &mut Marks,
        now_ns: i64,
        out: &mut Vec<Whole>,
    ) -> bool {
        let held = &mut self.held[slot];
        if let Some(trace) = held {
            let len = trace.whole.line.line.len() + whole.line.line.len();
            let fits = trace.lines < MAX_LINES && len < MAX_LINE && !marks.is_cut(trace.end());
            if let Some(state) = goes_on(trace.state, &whole.line.line).filter(|_| fits) {
                trace.state = state;
                if trace.whole.file != whole.file {
                    marks.join(trace.end());
                }
                trace.whole.append(whole);
                trace.lines += 1;
                trace.since_ns = now_ns;
                return true;
            }
            out.extend(held.take().map(|trace| trace.whole));
        }
        match begins(&whole.line.line) {
            Some(state) => *held = Some(Held { state, whole, lines: 1, since_ns: now_ns }),
            None => out.push(whole),
        }
        false
    }

    /// Ends the traces for which nothing came for long, by stream, and marks where.
    pub(super) fn end_expired(&mut self, now_ns: i64, marks: &mut Marks) -> [Option<Whole>; 2] {
        self.held.each_mut().map(|held| {
            let ended = held.take_if(|held| held.is_over(now_ns) && !marks.is_joined(held.end()))?;
            marks.cut(ended.end());
            Some(ended.whole)
        })
    }

    /// From where on `file` has to be read again for what is held.
    pub(super) fn begun_in(&self, file: u64) -> Option<u64> {
        self.held.iter().flatten().filter_map(|held| held.whole.begun_in(file)).min()
    }

    /// Whether a trace waits for more.
    pub(super) fn is_waiting(&self) -> bool {
        self.held.iter().any(Option::is_some)
    }
}

/// What kind of trace begins with this line.
fn begins(line: &[u8]) -> Option<State> {
    let text = line.trim_ascii_start();
    let has = |prefix: &str| text.starts_with(prefix.as_bytes());
    match text.first()? {
        b'T' if has("Traceback (most recent call last):") => return Some(State::Python),
        b'p' if has("panic: ") => return Some(State::Go),
        b'f' if has("fatal error: ") => return Some(State::Go),
        b'g' if has("goroutine ") && text.ends_with(b"]:") => return Some(State::Go),
        b't' if has("thread '") && memchr::memmem::find(text, b" panicked at ").is_some() => {
            return Some(if text.ends_with(b":") { State::RustMessage } else { State::Rust });
        }
        b'E' if has("Exception in thread \"") => return Some(State::Frames),
        b'U' if has("Unhandled exception. ") || has("Uncaught ") => return Some(State::Frames),
        _ => {}
    }
    let looked_at = &text[..text.len().min(LOOKED_AT)];
    is_exception(looked_at).then_some(State::Frames)
}

/// Whether a line begins with the name of an exception, `java.lang.IllegalStateException: …`, or has such a name with
/// its package somewhere.
fn is_exception(text: &[u8]) -> bool {
    let named = |name: &[u8]| {
        ["Exception", "Error", "Throwable"].iter().any(|end| name.ends_with(end.as_bytes()))
            && name.first().is_some_and(u8::is_ascii_alphabetic)
    };
    let first = text.split(|byte| !is_name(*byte)).next().unwrap_or_default();
    if named(first) && (first.contains(&b'.') || first[0].is_ascii_uppercase()) && first.len() > 5 {
        return true;
    }
    let Some(at) = memchr::memmem::find(text, b"Exception") else { return false };
    let from = text[..at].iter().rposition(|byte| !is_name(*byte)).map_or(0, |at| at + 1);
    text[from..at].contains(&b'.')
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$')
}

/// Where in the trace the line is, if it is still of it.
fn goes_on(state: State, line: &[u8]) -> Option<State> {
    let is_indented = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let text = line.trim_ascii();
    let has = |prefix: &str| text.starts_with(prefix.as_bytes());
    let goes_on = match state {
        State::Frames => {
            let is_frame = is_indented && (has("at ") || has("... ") || has("Suppressed: "));
            is_frame || has("Caused by: ") || has("---> ") || has("--- End of ")
        }
        State::Python if is_indented => true,
        State::Python => {
            let name = text.split(|byte| !is_name(*byte)).next().unwrap_or_default();
            let rest = &text[name.len()..];
            let is_end = !name.is_empty() && (rest.is_empty() || rest.starts_with(b":"));
            return is_end.then_some(State::PythonEnd);
        }
        State::PythonEnd => return text.is_empty().then_some(State::PythonGap),
        State::PythonGap => {
            let is_next =
                has("During handling of the above exception") || has("The above exception was the direct");
            return is_next.then_some(State::PythonChain);
        }
        State::PythonChain => {
            if has("Traceback (most recent call last):") {
                return Some(State::Python);
            }
            text.is_empty()
        }
        State::Go => {
            let is_tab = line.first() == Some(&b'\t');
            let starts = ["goroutine ", "created by ", "[signal ", "panic: ", "exit status ", "runtime."];
            text.is_empty() || is_tab || starts.iter().any(|start| has(start)) || is_call(text)
        }
        State::RustMessage => return Some(State::Rust),
        State::Rust => {
            let is_number =
                text.first().is_some_and(u8::is_ascii_digit) && memchr::memmem::find(text, b": ").is_some();
            has("note: ") || has("stack backtrace:") || (is_indented && (is_number || has("at ")))
        }
    };
    goes_on.then_some(state)
}

/// `net/http.(*conn).serve(0xc000, {0x1, 0x2})`.
fn is_call(text: &[u8]) -> bool {
    let Some(open) = text.iter().position(|byte| *byte == b'(') else { return false };
    let is_path =
        |byte: &u8| is_name(*byte) || matches!(byte, b'/' | b'*' | b'-' | b'[' | b']' | b'~' | b'%');
    open > 0 && text.ends_with(b")") && text[..open].iter().all(is_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str, at: u64) -> Whole {
        let line = Line {
            time_ns: at as i64,
            line: text.as_bytes().to_vec(),
            end_offset: at + 1,
            metadata: Vec::new(),
        };
        Whole::plain(line, 1, at)
    }

    /// What lines become, one a second of a tenth.
    fn joined(lines: &[&str]) -> Vec<String> {
        let (mut traces, mut out) = (Traces::default(), Vec::new());
        for (at, line) in lines.iter().enumerate() {
            traces.take(0, whole(line, at as u64), &mut Marks::default(), at as i64, &mut out);
        }
        out.extend(traces.end_expired(i64::MAX, &mut Marks::default()).into_iter().flatten());
        out.into_iter().map(|whole| String::from_utf8(whole.line.line).unwrap()).collect()
    }

    #[test]
    fn traces_of_every_language_become_one_record_each() {
        let traces = [
            "Exception in thread \"main\" java.lang.IllegalStateException: broken\n\tat com.example.App.run(App.java:12)\n\
             \tat com.example.App.main(App.java:5)\nCaused by: java.io.IOException: disk\n\tat com.example.Disk.read(Disk.java:9)\n\
             \t... 2 more\n\tSuppressed: java.lang.Exception: x",
            "2026-01-01 ERROR c.e.App - failed: java.lang.NullPointerException: null\n\tat c.e.App.main(App.java:1)",
            "Unhandled exception. System.InvalidOperationException: broken\n ---> System.IO.IOException: disk\n\
             \x20  at Disk.Read() in /src/Disk.cs:line 3\n   --- End of inner exception stack trace ---\n   at App.Main() in /src/App.cs:line 9",
            "TypeError: x is not a function\n    at run (/app/index.js:3:5)\n    at node:internal/main:1:2",
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\nValueError: broken\n\n\
             During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n\
             \x20 File \"a.py\", line 3, in <module>\nKeyError",
            "panic: runtime error: index out of range [3] with length 3\n\ngoroutine 1 [running]:\nmain.run(0xc000, {0x1, 0x2})\n\
             \t/src/main.go:9 +0x1d\nnet/http.(*conn).serve(0xc000)\n\t/go/server.go:1 +0x2\ncreated by main.main in goroutine 7\n\
             \t/src/main.go:5 +0x2\nexit status 2",
            "thread 'main' panicked at src/main.rs:2:5:\nindex out of bounds: the len is 3\nstack backtrace:\n   0: rust_begin_unwind\n\
             \x20            at /rustc/x/panicking.rs:1:5\n   1: app::main\nnote: Some details are omitted",
        ];
        for trace in traces {
            let lines: Vec<&str> = ["before"]
                .into_iter()
                .chain(trace.split('\n'))
                .chain(["an ordinary line (with brackets)"])
                .collect();
            assert_eq!(joined(&lines), ["before", trace, "an ordinary line (with brackets)"]);
        }
    }

    #[test]
    fn ordinary_lines_pass_at_once() {
        for line in [
            "hello",
            "",
            "  indented",
            "no Error here",
            "an Exception was avoided",
            "Traceback",
            "panic: ".trim(),
        ] {
            let (mut traces, mut out) = (Traces::default(), Vec::new());
            traces.take(1, whole(line, 0), &mut Marks::default(), 0, &mut out);
            assert!(out.len() == 1 && !traces.is_waiting(), "{line}");
        }
    }

    #[test]
    fn a_trace_ends_by_time_and_says_where_it_begins() {
        let (mut traces, mut out, mut marks) = (Traces::default(), Vec::new(), Marks::default());
        traces.take(0, whole("java.lang.Exception: x", 10), &mut marks, 100, &mut out);
        assert!(traces.take(0, whole("\tat a.b(C.java:1)", 40), &mut marks, 200, &mut out));
        assert_eq!((traces.begun_in(1), traces.begun_in(2)), (Some(10), None));
        assert!(traces.end_expired(200 + WAIT_NS - 1, &mut marks).iter().all(Option::is_none));
        assert!(!marks.is_unsaved());
        let [stdout, stderr] = traces.end_expired(200 + WAIT_NS, &mut marks);
        assert_eq!((stdout.unwrap().line.end_offset, stderr.is_none()), (41, true));
        assert!(out.is_empty() && !traces.is_waiting() && traces.begun_in(1).is_none());
        assert!(marks.is_unsaved() && marks.is_cut((1, 41)));
    }

    #[test]
    fn a_trace_goes_on_in_the_next_file_and_ends_where_it_was_cut_before() {
        let (mut traces, mut out, mut marks) = (Traces::default(), Vec::new(), Marks::default());
        let in_file = |file, text: &str, at| Whole { file, begun: (file, at), ..whole(text, at) };
        marks.restore(2, &[21], &[]);
        let lines = [
            in_file(1, "java.lang.Exception: x", 90),
            in_file(2, "\tat a.b(C.java:1)", 0),
            in_file(2, "\tat a.b(C.java:2)", 20),
            in_file(2, "\tat a.b(C.java:3)", 40),
        ];
        for line in lines {
            traces.take(0, line, &mut marks, 0, &mut out);
            if out.is_empty() {
                assert_eq!(traces.begun_in(1), Some(90));
            }
        }
        assert_eq!(out.len(), 2, "after the cut nothing joins");
        assert_eq!((out[0].file, out[0].line.end_offset, out[0].begun), (2, 21, (1, 90)));
        assert_eq!((out[0].begun_in(2), out[0].joined, out[1].joined), (Some(0), true, false));
        assert_eq!((marks.of_file(1), marks.of_file(2)), ((vec![], vec![91]), (vec![21], vec![])));
        // Read again, time does not end it before the next file is there.
        traces.take(0, in_file(1, "java.lang.Exception: x", 90), &mut marks, 0, &mut out);
        assert!(traces.end_expired(2 * WAIT_NS, &mut marks).iter().all(Option::is_none));
    }

    #[test]
    fn a_trace_without_end_is_cut() {
        let frame = "\tat a.b(C.java:1)";
        let lines: Vec<&str> =
            ["java.lang.Exception: x"].into_iter().chain((0..MAX_LINES + 5).map(|_| frame)).collect();
        let records = joined(&lines);
        assert_eq!(records[0].lines().count(), MAX_LINES);
        assert_eq!(
            records.iter().map(|record| record.lines().count()).sum::<usize>(),
            lines.len(),
            "none is lost"
        );
    }
}
