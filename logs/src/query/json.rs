//! `| json` and `| unpack`: a scanner over the text that builds no tree.

use std::borrow::Cow;

/// How deep objects may nest.
const MAX_DEPTH: usize = 128;

/// A JSON scanner; every method fails with `None` on text that is not JSON.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// A scalar as it becomes a label.
pub(super) enum Scalar<'a> {
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// A number or boolean as written.
    Raw(&'a str),
    /// `null`
    Null,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Whether only blanks are left.
    pub fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Calls `each` with every key of an object, the scanner standing at the value, which `each` must
    /// consume.
    pub fn object(&mut self, mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            return self.take(b'}');
        }
        loop {
            self.peek()?;
            let key = self.string()?;
            self.take(b':')?;
            each(self, key)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn array(&mut self, mut each: impl FnMut(&mut Self, usize) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        if self.peek()? == b']' {
            return self.take(b']');
        }
        let mut index = 0;
        loop {
            each(self, index)?;
            index += 1;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Reads a string, borrowed when it has no escapes.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.take(b'"')?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let end = start + memchr::memchr2(b'"', b'\\', &bytes[start..])?;
        if bytes[end] == b'"' {
            self.at = end + 1;
            return Some(Cow::Borrowed(&self.text[start..end]));
        }
        let mut out = String::from(&self.text[start..end]);
        self.at = end;
        loop {
            let rest = &self.text[self.at..];
            let next = memchr::memchr2(b'"', b'\\', rest.as_bytes())?;
            out.push_str(&rest[..next]);
            self.at += next + 1;
            if rest.as_bytes()[next] == b'"' {
                return Some(Cow::Owned(out));
            }
            let escape = *bytes.get(self.at)?;
            self.at += 1;
            match escape {
                b'"' | b'\\' | b'/' => out.push(escape as char),
                b'n' => out.push('\n'),
                b't' => out.push('\t'),
                b'r' => out.push('\r'),
                b'b' => out.push('\u{8}'),
                b'f' => out.push('\u{c}'),
                b'u' => out.push(self.unicode()?),
                _ => return None,
            }
        }
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let code = u32::from_str_radix(digits, 16).ok()?;
        self.at += 4;
        Some(code)
    }

    fn unicode(&mut self) -> Option<char> {
        let high = self.hex4()?;
        if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with("\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                return char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
            self.at = back;
        }
        Some(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Reads a scalar.
    pub fn scalar(&mut self) -> Option<Scalar<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Scalar::Text),
            b't' => self.word("true").map(Scalar::Raw),
            b'f' => self.word("false").map(Scalar::Raw),
            b'n' => self.word("null").map(|_| Scalar::Null),
            b'-' | b'0'..=b'9' => self.number().map(Scalar::Raw),
            _ => None,
        }
    }

    fn word(&mut self, word: &str) -> Option<&'a str> {
        let found = self.text.get(self.at..self.at + word.len()).filter(|found| *found == word)?;
        self.at += word.len();
        Some(found)
    }

    fn number(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let number = &rest[..end];
        number.parse::<f64>().ok()?;
        self.at += end;
        Some(number)
    }

    /// Reads a scalar, or passes over an object or array and answers nothing.
    pub fn value(&mut self) -> Option<Option<Scalar<'a>>> {
        match self.peek()? {
            b'{' | b'[' => self.skip(0).map(|_| None),
            _ => self.scalar().map(Some),
        }
    }

    /// Passes over a value and answers its text.
    pub fn skip(&mut self, depth: usize) -> Option<&'a str> {
        if depth > MAX_DEPTH {
            return None;
        }
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'{' => self.object(|scanner, _| scanner.skip(depth + 1).map(|_| ()))?,
            b'[' => self.array(|scanner, _| scanner.skip(depth + 1).map(|_| ()))?,
            _ => drop(self.scalar()?),
        }
        Some(&self.text[start..self.at])
    }
}

/// Calls `each` with the flattened name and the value of every scalar of an object; arrays and nulls
/// are left out. `wanted` says whether a name, or any that begins with it and `_`, is of interest.
pub(super) fn flatten<'a>(
    text: &'a str,
    wanted: &dyn Fn(&str, bool) -> bool,
    each: &mut dyn FnMut(Cow<'a, str>, Cow<'a, str>),
) -> Option<()> {
    let mut scanner = Scanner::new(text);
    object(&mut scanner, "", 0, wanted, each)?;
    scanner.at_end().then_some(())
}

fn object<'a>(
    scanner: &mut Scanner<'a>,
    prefix: &str,
    depth: usize,
    wanted: &dyn Fn(&str, bool) -> bool,
    each: &mut dyn FnMut(Cow<'a, str>, Cow<'a, str>),
) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    scanner.object(|scanner, key| {
        let name = join(prefix, key);
        match scanner.peek()? {
            b'{' if wanted(&name, true) => object(scanner, &name, depth + 1, wanted, each),
            b'{' | b'[' => scanner.skip(depth + 1).map(|_| ()),
            _ => {
                let value = match scanner.scalar()? {
                    Scalar::Text(text) => text,
                    Scalar::Raw(text) => Cow::Borrowed(text),
                    Scalar::Null => return Some(()),
                };
                if !name.is_empty() && wanted(&name, false) {
                    each(name, value);
                }
                Some(())
            }
        }
    })
}

fn join<'a>(prefix: &str, key: Cow<'a, str>) -> Cow<'a, str> {
    if prefix.is_empty() {
        return sanitize(key);
    }
    let mut name = String::with_capacity(prefix.len() + 1 + key.len());
    name.push_str(prefix);
    name.push('_');
    name.extend(key.chars().map(label_char));
    Cow::Owned(name)
}

fn label_char(c: char) -> char {
    if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }
}

/// A label name made of a key: what is not allowed becomes `_`.
pub(super) fn sanitize(key: Cow<'_, str>) -> Cow<'_, str> {
    let key = match key {
        Cow::Borrowed(key) => Cow::Borrowed(key.trim()),
        Cow::Owned(key) => Cow::Owned(key.trim().to_owned()),
    };
    let leading_digit = key.starts_with(|c: char| c.is_ascii_digit());
    if !leading_digit && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return key;
    }
    let mut name = String::with_capacity(key.len() + 1);
    if leading_digit {
        name.push('_');
    }
    name.extend(key.chars().map(label_char));
    Cow::Owned(name)
}

/// One step of a path such as `a.b[0]["c d"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A key of an object.
    Key(String),
    /// An element of an array.
    Index(usize),
}

/// Reads a path.
pub(super) fn parse_path(text: &str) -> Result<Vec<Step>, String> {
    let bad = || format!("bad JSON path {text:?}");
    let mut steps = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix("[\"") {
            let (key, tail) = inner.split_once("\"]").ok_or_else(bad)?;
            steps.push(Step::Key(key.to_owned()));
            rest = tail;
        } else if let Some(inner) = rest.strip_prefix('[') {
            let (index, tail) = inner.split_once(']').ok_or_else(bad)?;
            steps.push(Step::Index(index.trim().parse().map_err(|_| bad())?));
            rest = tail;
        } else {
            if !steps.is_empty() {
                rest = rest.strip_prefix('.').ok_or_else(bad)?;
            }
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                return Err(bad());
            }
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    if steps.is_empty() { Err(bad()) } else { Ok(steps) }
}

/// What stands at a path: scalars as labels have them, objects and arrays as their text. The outer
/// `None` means that the text is not JSON, the inner that there is no such thing.
pub(super) fn lookup<'a>(text: &'a str, path: &[Step]) -> Option<Option<Cow<'a, str>>> {
    let mut scanner = Scanner::new(text);
    if !matches!(scanner.peek()?, b'{' | b'[') {
        return None;
    }
    let mut found = None;
    descend(&mut scanner, path, 0, &mut found)?;
    scanner.at_end().then_some(found)
}

fn descend<'a>(
    scanner: &mut Scanner<'a>,
    path: &[Step],
    depth: usize,
    found: &mut Option<Cow<'a, str>>,
) -> Option<()> {
    let Some((step, rest)) = path.split_first() else {
        *found = match scanner.peek()? {
            b'{' | b'[' => scanner.skip(depth).map(Cow::Borrowed),
            _ => match scanner.scalar()? {
                Scalar::Text(text) => Some(text),
                Scalar::Raw(text) => Some(Cow::Borrowed(text)),
                Scalar::Null => None,
            },
        };
        return Some(());
    };
    match (scanner.peek()?, step) {
        (b'{', Step::Key(wanted)) => scanner.object(|scanner, key| {
            if key == wanted.as_str() {
                descend(scanner, rest, depth + 1, found)
            } else {
                scanner.skip(depth + 1).map(|_| ())
            }
        }),
        (b'[', Step::Index(wanted)) => scanner.array(|scanner, index| {
            if index == *wanted {
                descend(scanner, rest, depth + 1, found)
            } else {
                scanner.skip(depth + 1).map(|_| ())
            }
        }),
        _ => scanner.skip(depth).map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str) -> Option<Vec<(String, String)>> {
        let mut out = Vec::new();
        flatten(text, &|_, _| true, &mut |name, value| out.push((name.into_owned(), value.into_owned())))?;
        Some(out)
    }

    #[test]
    fn objects_become_flat_labels() {
        let got = flat(
            r#"{"a":1,"b":{"c":"x\ny","d e":true},"l":[1,{"z":2}],"n":null,"1x":-2.5e3,"u":"\u00e9\ud83d\ude00"}"#,
        );
        let want = [("a", "1"), ("b_c", "x\ny"), ("b_d_e", "true"), ("_1x", "-2.5e3"), ("u", "é😀")];
        assert_eq!(got.unwrap(), want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in
            ["", "x", "[1]", "{", r#"{"a"}"#, r#"{"a":1"#, r#"{"a":1}x"#, r#"{"a":tru}"#, r#"{"a":"\q"}"#]
        {
            assert_eq!(flat(text), None, "{text}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(1000), "}".repeat(1000));
        assert_eq!(flat(&deep), None);
    }

    #[test]
    fn paths_reach_into_objects_and_arrays() {
        let text = r#"{"a":{"b":[10,{"c d":"x"}]},"e":null}"#;
        let at = |path: &str| lookup(text, &parse_path(path).unwrap()).unwrap().map(Cow::into_owned);
        assert_eq!(at("a.b[0]").as_deref(), Some("10"));
        assert_eq!(at(r#"a.b[1]["c d"]"#).as_deref(), Some("x"));
        assert_eq!(at("a.b").as_deref(), Some(r#"[10,{"c d":"x"}]"#));
        assert_eq!(at("a.x"), None);
        assert_eq!(at("e"), None);
        assert!(parse_path("a..b").is_err() && parse_path("a[x]").is_err() && parse_path("").is_err());
    }
}
