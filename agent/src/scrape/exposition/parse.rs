//! Walks over an exposition, sample by sample. Label sets are only checked here, not built: of a series
//! that is known already, nothing more is needed.

use super::{Exposed, ExposedExemplar, Format, Kind, Malformed, float};

/// Longest piece of a bad line that an error shows, in characters.
const SHOWN: usize = 40;

/// A walk over one exposition.
pub(in crate::scrape) struct Parser<'a> {
    text: &'a str,
    /// Where the next byte is.
    at: usize,
    format: Format,
    kind: Kind,
    ended: bool,
}

type Result<T> = std::result::Result<T, Malformed>;

impl<'a> Parser<'a> {
    /// A walk over `body`.
    ///
    /// # Errors
    /// When the body is not UTF-8.
    pub(in crate::scrape) fn new(body: &'a [u8], format: Format) -> Result<Self> {
        let text = std::str::from_utf8(body).map_err(|e| {
            let line = 1 + body[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            Malformed { line, problem: "not UTF-8".to_owned() }
        })?;
        Ok(Self { text, at: 0, format, kind: Kind::Other, ended: false })
    }

    /// The next sample; `None` at the end.
    ///
    /// # Errors
    /// What is wrong, and where. There is no going on after an error.
    pub(in crate::scrape) fn next(&mut self) -> Result<Option<Exposed<'a>>> {
        if self.ended {
            return Ok(None);
        }
        loop {
            if self.format == Format::Text {
                self.blanks();
            }
            match self.peek() {
                None if self.format == Format::OpenMetrics => {
                    return Err(self.wrong("the exposition does not end with \"# EOF\""));
                }
                None => return Ok(None),
                Some(b'\n') if self.format == Format::Text => self.at += 1,
                Some(b'#') => {
                    if self.comment()? {
                        self.ended = true;
                        return Ok(None);
                    }
                }
                Some(_) => return self.sample().map(Some),
            }
        }
    }

    /// A line that begins with `#`. True for the end that OpenMetrics writes.
    fn comment(&mut self) -> Result<bool> {
        let begin = self.at;
        self.at += 1;
        let strict = self.format == Format::OpenMetrics;
        let blanks = self.at;
        if strict {
            self.one_blank()
        } else {
            self.blanks()
        };
        let word_at = self.at;
        let word = self.name(false);
        let known = self.at > blanks && word_at > blanks;
        match word {
            "EOF" if strict && known => {
                if self.peek() == Some(b'\n') {
                    self.at += 1;
                }
                if self.at < self.text.len() {
                    return Err(self.wrong("something follows \"# EOF\""));
                }
                return Ok(true);
            }
            "TYPE" | "HELP" | "UNIT" if known && matches!(self.peek(), Some(b' ' | b'\t')) => {
                if word == "UNIT" && !strict {
                    self.skip_line();
                    return Ok(false);
                }
                if strict {
                    self.one_blank()
                } else {
                    self.blanks()
                };
                self.described(word)?;
            }
            _ if strict => {
                self.at = begin;
                return Err(self.wrong("a comment must be HELP, TYPE, UNIT or EOF"));
            }
            _ => self.skip_line(),
        }
        Ok(false)
    }

    /// The rest of a `TYPE`, `HELP` or `UNIT` line.
    fn described(&mut self, word: &str) -> Result<()> {
        let begin = self.at;
        if self.peek() == Some(b'"') {
            self.quoted()?;
        } else {
            self.name(true);
        }
        if self.at == begin {
            return Err(self.wrong(&format!("a metric's name must follow {word}")));
        }
        let name = self.text[begin..self.at].trim_matches('"');
        let rest_at = self.at;
        self.skip_line();
        let rest = self.text[rest_at..self.at].trim_end_matches('\n');
        if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
            self.at = rest_at;
            return Err(self.wrong("a blank must follow the metric's name"));
        }
        if word == "UNIT" {
            let unit = rest.get(1..).unwrap_or_default();
            if !unit.is_empty() && !name.strip_suffix(unit).is_some_and(|name| name.ends_with('_')) {
                self.at = rest_at;
                return Err(self.wrong(&format!("the metric's name does not end with its unit {unit:?}")));
            }
        }
        if word != "TYPE" {
            return Ok(());
        }
        let kind = rest.get(1..).unwrap_or_default();
        let kind = if self.format == Format::Text { kind.trim_start() } else { kind };
        self.kind = match (kind, self.format) {
            ("histogram", _) => Kind::Histogram,
            ("summary", _) => Kind::Summary,
            ("counter" | "gauge", _) | ("untyped", Format::Text) => Kind::Other,
            ("gaugehistogram" | "info" | "stateset" | "unknown", Format::OpenMetrics) => Kind::Other,
            _ => {
                self.at = rest_at;
                return Err(self.wrong(&format!("{kind:?} is not a type")));
            }
        };
        Ok(())
    }

    /// A line with a sample.
    fn sample(&mut self) -> Result<Exposed<'a>> {
        let begin = self.at;
        let mut named = !self.name(true).is_empty();
        let bare_end = self.at;
        if self.format == Format::Text {
            self.blanks();
        }
        if self.peek() == Some(b'{') {
            self.labels(&mut named)?;
        } else {
            self.at = bare_end;
        }
        if !named {
            return Err(self.wrong("a metric's name is expected"));
        }
        let key = &self.text[begin..self.at];
        self.gap("a value")?;
        let value = self.number("the value")?;
        let mut exposed = Exposed { key, kind: self.kind, value, t_ms: None, exemplar: None };
        match self.format {
            Format::Text => {
                self.blanks();
                if !matches!(self.peek(), None | Some(b'\n')) {
                    exposed.t_ms = Some(self.milliseconds()?);
                    self.blanks();
                }
            }
            Format::OpenMetrics => {
                if self.peek() == Some(b' ') && self.text.as_bytes().get(self.at + 1) != Some(&b'#') {
                    self.at += 1;
                    exposed.t_ms = Some(self.seconds()?);
                }
                if self.text[self.at..].starts_with(" # ") {
                    self.at += 3;
                    exposed.exemplar = Some(self.exemplar()?);
                }
            }
        }
        match self.peek() {
            Some(b'\n') => self.at += 1,
            None if self.format == Format::Text => {}
            _ => return Err(self.wrong("the line should end")),
        }
        Ok(exposed)
    }

    /// `{label="value",…}`. A quoted name without a value is the metric's.
    fn labels(&mut self, named: &mut bool) -> Result<()> {
        self.at += 1;
        loop {
            self.label_blanks();
            let quoted = self.peek() == Some(b'"');
            let begin = self.at;
            match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'"') => self.quoted()?,
                _ if self.name(false).is_empty() => return Err(self.wrong("a label's name is expected")),
                _ => {}
            }
            self.label_blanks();
            if quoted && matches!(self.peek(), Some(b',' | b'}')) {
                if self.at - begin <= 2 {
                    return Err(self.wrong("the metric's name is empty"));
                }
                if std::mem::replace(named, true) {
                    return Err(self.wrong("the metric's name is given twice"));
                }
            } else {
                if self.peek() != Some(b'=') {
                    return Err(self.wrong("\"=\" is expected after a label's name"));
                }
                self.at += 1;
                self.label_blanks();
                if self.peek() != Some(b'"') {
                    return Err(self.wrong("a label's value in quotes is expected"));
                }
                self.quoted()?;
                self.label_blanks();
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {}
                // Text has always been read so: a comma between labels may be missing.
                Some(_) if self.format == Format::Text => {}
                _ => return Err(self.wrong("\",\" or \"}\" is expected after a label")),
            }
        }
    }

    /// `{label="value"} value [timestamp]` behind a sample.
    fn exemplar(&mut self) -> Result<ExposedExemplar<'a>> {
        if self.peek() != Some(b'{') {
            return Err(self.wrong("an exemplar's labels are expected"));
        }
        let (begin, mut named) = (self.at, true);
        self.labels(&mut named)?;
        let labels = &self.text[begin..self.at];
        self.gap("the exemplar's value")?;
        let value = self.number("the exemplar's value")?;
        let mut t_ms = None;
        if self.peek() == Some(b' ') {
            self.at += 1;
            t_ms = Some(self.seconds()?);
        }
        Ok(ExposedExemplar { labels, value, t_ms })
    }

    /// The blanks before a value: any number in text, one in OpenMetrics.
    fn gap(&mut self, before: &str) -> Result<()> {
        let begin = self.at;
        if self.format == Format::OpenMetrics {
            self.one_blank()
        } else {
            self.blanks()
        };
        let is_closed = self.text.as_bytes().get(begin.wrapping_sub(1)) == Some(&b'}');
        // In text a value may follow the brace at once.
        if self.at == begin && !(is_closed && self.format == Format::Text) {
            return Err(self.wrong(&format!("a blank and {before} are expected")));
        }
        Ok(())
    }

    fn number(&mut self, what: &str) -> Result<f64> {
        let word = self.word();
        float::parse(word).ok_or_else(|| {
            self.at -= word.len();
            self.wrong(&format!("{what} is not a number"))
        })
    }

    fn milliseconds(&mut self) -> Result<i64> {
        let word = self.word();
        word.parse().map_err(|_| {
            self.at -= word.len();
            self.wrong("the timestamp is not a whole number of milliseconds")
        })
    }

    fn seconds(&mut self) -> Result<i64> {
        let word = self.word();
        match float::parse(word).map(|seconds| seconds * 1000.0) {
            Some(ms) if ms.is_finite() && ms.abs() < 9e18 => Ok(ms as i64),
            _ => {
                self.at -= word.len();
                Err(self.wrong("the timestamp is not a number of seconds"))
            }
        }
    }

    /// Up to the next blank or line end.
    fn word(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find([' ', '\t', '\n']).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// A name of letters, digits and `_`, with `:` where it is a metric's; empty when there is none.
    fn name(&mut self, colon: bool) -> &'a str {
        let rest = &self.text[self.at..];
        let is_in = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || (colon && *b == b':');
        let len = match rest.as_bytes().first() {
            Some(first) if first.is_ascii_digit() => 0,
            _ => rest.bytes().position(|b| !is_in(&b)).unwrap_or(rest.len()),
        };
        self.at += len;
        &rest[..len]
    }

    /// Over a text in quotes, with its escapes.
    fn quoted(&mut self) -> Result<()> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
            at += found;
            if bytes[at] == b'"' {
                self.at = at + 1;
                return Ok(());
            }
            at += 2;
        }
        Err(self.wrong("a quote is not closed"))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn one_blank(&mut self) {
        if self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// Text allows blanks between the parts of a label set, OpenMetrics does not.
    fn label_blanks(&mut self) {
        if self.format == Format::Text {
            self.blanks();
        }
    }

    fn skip_line(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
    }

    /// An error where the walk stands.
    fn wrong(&self, problem: &str) -> Malformed {
        let at = self.at.min(self.text.len());
        let line = 1 + memchr::memchr_iter(b'\n', &self.text.as_bytes()[..at]).count();
        let rest: String = self.text[at..].lines().next().unwrap_or_default().chars().take(SHOWN).collect();
        let found = if rest.is_empty() { "the end of the line".to_owned() } else { format!("{rest:?}") };
        Malformed { line, problem: format!("{problem}, found {found}") }
    }
}
