//! Text and actions into tokens.

use super::Fault;

/// A token with the byte at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// A name: keyword, function, `true`, `nil`.
    Word(String),
    /// `.a`, or `.` alone with an empty name. `true`: no space before it, so it belongs to what is before.
    Field(String, bool),
    /// `$a`, without the dollar.
    Variable(String),
    Int(i64),
    Float(f64),
    Str(String),
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Pipe,
    Comma,
    ParenOpen,
    ParenClose,
}

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let (mut at, mut trim_next) = (0, false);
    loop {
        let open = text[at..].find("{{").map(|found| at + found);
        let mut piece = &text[at..open.unwrap_or(text.len())];
        if trim_next {
            piece = piece.trim_start();
        }
        let Some(open) = open else {
            push_text(&mut tokens, at, piece);
            return Ok(tokens);
        };
        let mut inside = open + 2;
        if text[inside..].starts_with('-') && text[inside + 1..].starts_with([' ', '\t', '\n', '\r']) {
            piece = piece.trim_end();
            inside += 1;
        }
        push_text(&mut tokens, at, piece);
        let body = text[inside..].trim_start();
        if body.starts_with("/*") {
            (at, trim_next) = comment(text, open, text.len() - body.len())?;
        } else {
            tokens.push(Token { at: open, kind: Kind::Open });
            let mut lexer = Lexer { text, at: inside, tokens: &mut tokens };
            trim_next = lexer.action(open)?;
            at = lexer.at;
        }
    }
}

fn push_text(tokens: &mut Vec<Token>, at: usize, piece: &str) {
    if !piece.is_empty() {
        tokens.push(Token { at, kind: Kind::Text(piece.to_owned()) });
    }
}

/// The end of a comment, and whether white space after it goes.
fn comment(text: &str, open: usize, start: usize) -> Result<(usize, bool), Fault> {
    let end = text[start..].find("*/").map(|found| start + found + 2);
    let end = end.ok_or_else(|| Fault::new(open, "unclosed comment"))?;
    let rest = text[end..].trim_start();
    if let Some(tail) = rest.strip_prefix("}}") {
        return Ok((text.len() - tail.len(), false));
    }
    match rest.strip_prefix("-}}") {
        Some(tail) if rest.len() < text.len() - end => Ok((text.len() - tail.len(), true)),
        _ => Err(Fault::new(end, "comment ends before closing delimiter")),
    }
}

struct Lexer<'a, 'b> {
    text: &'a str,
    at: usize,
    tokens: &'b mut Vec<Token>,
}

impl<'a> Lexer<'a, '_> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, len: usize, kind: Kind) -> Result<(), Fault> {
        self.tokens.push(Token { at: self.at, kind });
        self.at += len;
        Ok(())
    }

    /// Up to and with `}}`; whether white space after it goes.
    fn action(&mut self, open: usize) -> Result<bool, Fault> {
        loop {
            let before = self.at;
            let trimmed = self.rest().trim_start();
            self.at = self.text.len() - trimmed.len();
            let spaced = self.at > before;
            if trimmed.starts_with("}}") {
                self.push(2, Kind::Close)?;
                return Ok(false);
            }
            if spaced && trimmed.starts_with("-}}") {
                self.push(3, Kind::Close)?;
                return Ok(true);
            }
            let Some(first) = trimmed.chars().next() else {
                return Err(Fault::new(open, "unclosed action"));
            };
            self.token(first, spaced)?;
        }
    }

    fn token(&mut self, first: char, spaced: bool) -> Result<(), Fault> {
        let rest = self.rest();
        match first {
            '"' => self.quoted(),
            '`' => match rest[1..].find('`') {
                Some(end) => {
                    let raw = rest[1..=end].to_owned();
                    self.push(end + 2, Kind::Str(raw))
                }
                None => Err(Fault::new(self.at, "unterminated raw quoted string")),
            },
            '\'' => self.character(),
            '|' => self.push(1, Kind::Pipe),
            ',' => self.push(1, Kind::Comma),
            '(' => self.push(1, Kind::ParenOpen),
            ')' => self.push(1, Kind::ParenClose),
            ':' if rest.starts_with(":=") => self.push(2, Kind::Declare),
            '=' => self.push(1, Kind::Assign),
            '$' => {
                let len = word_len(&rest[1..]);
                let name = rest[1..=len].to_owned();
                self.push(len + 1, Kind::Variable(name))
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let len = word_len(&rest[1..]);
                let name = rest[1..=len].to_owned();
                let chained = !spaced
                    && matches!(
                        self.tokens.last().map(|token| &token.kind),
                        Some(Kind::Field(..) | Kind::Variable(_) | Kind::ParenClose)
                    );
                self.push(len + 1, Kind::Field(name, chained))
            }
            '+' | '-' | '.' | '0'..='9' => self.number(),
            _ if first.is_alphabetic() || first == '_' => {
                let len = word_len(rest);
                let word = rest[..len].to_owned();
                self.push(len, Kind::Word(word))
            }
            other => Err(Fault::new(self.at, format!("unexpected {other:?} in action"))),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let mut len = 0;
        for (at, c) in rest.char_indices() {
            let after_exponent =
                at > 0 && matches!(rest.as_bytes()[at - 1], b'e' | b'E') && !rest.contains('x');
            if !(c.is_ascii_alphanumeric()
                || c == '.'
                || c == '_'
                || (matches!(c, '+' | '-') && (at == 0 || after_exponent)))
            {
                break;
            }
            len = at + c.len_utf8();
        }
        let text = rest[..len].replace('_', "");
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(&text)),
        };
        let radix = [("0x", 16), ("0X", 16), ("0b", 2), ("0o", 8)]
            .into_iter()
            .find_map(|(prefix, radix)| digits.strip_prefix(prefix).map(|digits| (digits, radix)));
        let (digits, radix) = radix.unwrap_or((digits, 10));
        let kind = match i64::from_str_radix(digits, radix) {
            Ok(number) => Some(Kind::Int(if negative { -number } else { number })),
            Err(_) if radix == 10 && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                text.parse().ok().map(Kind::Float)
            }
            Err(_) => None,
        };
        let kind = kind.ok_or_else(|| Fault::new(self.at, format!("bad number syntax: {text:?}")))?;
        self.push(len, kind)
    }

    fn quoted(&mut self) -> Result<(), Fault> {
        let mut text = String::new();
        let mut at = self.at + 1;
        loop {
            match self.text[at..].chars().next() {
                None | Some('\n') => return Err(Fault::new(self.at, "unterminated quoted string")),
                Some('"') => break,
                Some('\\') => {
                    let (character, len) = escape(&self.text[at..])
                        .ok_or_else(|| Fault::new(at, "unknown escape in a string"))?;
                    text.push(character);
                    at += len;
                }
                Some(other) => {
                    text.push(other);
                    at += other.len_utf8();
                }
            }
        }
        let len = at + 1 - self.at;
        self.push(len, Kind::Str(text))
    }

    fn character(&mut self) -> Result<(), Fault> {
        let rest = &self.rest()[1..];
        let read = if rest.starts_with('\\') {
            escape(rest)
        } else {
            rest.chars().next().map(|c| (c, c.len_utf8()))
        };
        match read {
            Some((character, len)) if rest[len..].starts_with('\'') => {
                self.push(len + 2, Kind::Int(i64::from(u32::from(character))))
            }
            _ => Err(Fault::new(self.at, "malformed character constant")),
        }
    }
}

fn word_len(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// One escape of a Go string: the character and the bytes it takes.
fn escape(text: &str) -> Option<(char, usize)> {
    let hex = |digits: usize| {
        let code = u32::from_str_radix(text.get(2..2 + digits)?, 16).ok()?;
        Some((char::from_u32(code)?, 2 + digits))
    };
    Some(match text.chars().nth(1)? {
        'n' => ('\n', 2),
        't' => ('\t', 2),
        'r' => ('\r', 2),
        'a' => ('\u{7}', 2),
        'b' => ('\u{8}', 2),
        'f' => ('\u{c}', 2),
        'v' => ('\u{b}', 2),
        same @ ('\\' | '"' | '\'') => (same, 2),
        'x' => return hex(2),
        'u' => return hex(4),
        'U' => return hex(8),
        _ => return None,
    })
}
