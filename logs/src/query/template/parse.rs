//! Reading templates.

use std::borrow::Cow;

use super::functions::find;
use super::{Expr, Node, Value};

/// How deep blocks and parentheses may nest.
const MAX_DEPTH: usize = 32;

/// Reads a template's text.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut pieces = pieces(text)?;
    pieces.reverse();
    let (nodes, ended) = block(&mut pieces, 0)?;
    match ended {
        None => Ok(nodes),
        Some(action) => Err(format!("template: unexpected {{{{{action}}}}}")),
    }
}

enum Piece<'a> {
    Text(&'a str),
    Action(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let (mut before, found) = match rest.split_once("{{") {
            Some((before, tail)) => (before, Some(tail)),
            None => (rest, None),
        };
        if trim_next {
            before = before.trim_start();
        }
        let Some(tail) = found else {
            out.push(Piece::Text(before));
            return Ok(out);
        };
        let (action, after) = action(tail).ok_or("template: unclosed action")?;
        let mut action = action;
        if let Some(inner) = action.strip_prefix("- ") {
            action = inner;
            before = before.trim_end();
        }
        trim_next = action.ends_with(" -") || action == "-";
        if trim_next {
            action = &action[..action.len() - 1];
        }
        out.push(Piece::Text(before));
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            out.push(Piece::Action(action));
        }
        rest = after;
    }
}

/// Splits after the `}}` that ends an action; quotes hide it.
fn action(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some((&text[..at], &text[at + 2..])),
            (None, b'"' | b'`') => quote = Some(bytes[at]),
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Reads nodes up to an action that ends the block, which is answered.
fn block<'a>(pieces: &mut Vec<Piece<'a>>, depth: usize) -> Result<(Vec<Node>, Option<&'a str>), String> {
    if depth > MAX_DEPTH {
        return Err(format!("template: blocks nest deeper than {MAX_DEPTH}"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.pop() {
        let action = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text.to_owned()));
                }
                continue;
            }
            Piece::Action(action) => action,
        };
        let word = action.split_whitespace().next().unwrap_or_default();
        match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" => nodes.push(conditional(pieces, action[2..].trim(), depth)?),
            "range" | "with" | "define" | "template" | "block" | "break" | "continue" => {
                return Err(format!("template: {word} is not supported"));
            }
            _ => nodes.push(Node::Print(expression(action)?)),
        }
    }
    Ok((nodes, None))
}

fn conditional(pieces: &mut Vec<Piece<'_>>, condition: &str, depth: usize) -> Result<Node, String> {
    let mut branches = Vec::new();
    let mut condition = Some(expression(condition)?);
    loop {
        let last = condition.is_none();
        let (body, ended) = block(pieces, depth + 1)?;
        branches.push((condition, body));
        let ended = ended.ok_or("template: if without end")?;
        let rest = match ended.strip_prefix("else") {
            None => return Ok(Node::If(branches)),
            Some(_) if last => return Err("template: a second else".into()),
            Some(rest) => rest.trim(),
        };
        condition = match rest.strip_prefix("if ") {
            Some(rest) => Some(expression(rest.trim())?),
            None if rest.is_empty() => None,
            None => return Err(format!("template: unexpected {rest:?} after else")),
        };
    }
}

/// Reads a pipe of calls.
fn expression(text: &str) -> Result<Expr, String> {
    let words = words(text)?;
    let mut at = 0;
    let expr = pipe(&words, &mut at, 0)?;
    match words.get(at) {
        None => Ok(expr),
        Some(word) => Err(format!("template: unexpected {word:?} in {text:?}")),
    }
}

fn pipe(words: &[Word<'_>], at: &mut usize, depth: usize) -> Result<Expr, String> {
    let mut expr = command(words, at, depth)?;
    while matches!(words.get(*at), Some(Word::Mark('|'))) {
        *at += 1;
        let next = command(words, at, depth)?;
        let Expr::Call(name, mut args) = next else {
            return Err("template: only a function can follow |".into());
        };
        args.push(expr);
        expr = Expr::Call(name, args);
    }
    Ok(expr)
}

fn command(words: &[Word<'_>], at: &mut usize, depth: usize) -> Result<Expr, String> {
    let Some(Word::Name(name)) = words.get(*at) else {
        return operand(words, at, depth);
    };
    if matches!(*name, "true" | "false") {
        return operand(words, at, depth);
    }
    let name = find(name).ok_or_else(|| format!("template: function {name:?} not defined"))?;
    *at += 1;
    let mut args = Vec::new();
    while !matches!(words.get(*at), None | Some(Word::Mark('|' | ')'))) {
        args.push(operand(words, at, depth)?);
    }
    Ok(Expr::Call(name, args))
}

fn operand(words: &[Word<'_>], at: &mut usize, depth: usize) -> Result<Expr, String> {
    if depth > MAX_DEPTH {
        return Err(format!("template: parentheses nest deeper than {MAX_DEPTH}"));
    }
    let word = words.get(*at).ok_or("template: missing value for command")?;
    *at += 1;
    Ok(match word {
        Word::Field(name) => Expr::Field((*name).to_owned()),
        Word::Text(text) => Expr::Literal(Value::Text(Cow::Owned(text.clone()))),
        Word::Int(value) => Expr::Literal(Value::Int(*value)),
        Word::Float(value) => Expr::Literal(Value::Float(*value)),
        Word::Name("true") => Expr::Literal(Value::Bool(true)),
        Word::Name("false") => Expr::Literal(Value::Bool(false)),
        Word::Name(name) => {
            let name = find(name).ok_or_else(|| format!("template: function {name:?} not defined"))?;
            Expr::Call(name, Vec::new())
        }
        Word::Mark('(') => {
            let inner = pipe(words, at, depth + 1)?;
            if !matches!(words.get(*at), Some(Word::Mark(')'))) {
                return Err("template: unclosed parenthesis".into());
            }
            *at += 1;
            inner
        }
        Word::Mark(mark) => return Err(format!("template: unexpected {mark:?}")),
    })
}

#[derive(Debug)]
enum Word<'a> {
    Field(&'a str),
    Name(&'a str),
    Text(String),
    Int(i64),
    Float(f64),
    Mark(char),
}

fn words(text: &str) -> Result<Vec<Word<'_>>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let len = match c {
            '|' | '(' | ')' => {
                out.push(Word::Mark(c));
                1
            }
            '`' => {
                let end = rest[1..].find('`').ok_or("template: unterminated string")?;
                out.push(Word::Text(rest[1..=end].to_owned()));
                end + 2
            }
            '"' => {
                let (value, len) = string(rest).ok_or("template: bad string")?;
                out.push(Word::Text(value));
                len
            }
            _ => {
                let end =
                    rest.find(|c: char| c.is_whitespace() || "|()\"`".contains(c)).unwrap_or(rest.len());
                out.push(word(&rest[..end])?);
                end
            }
        };
        rest = rest[len..].trim_start();
    }
    Ok(out)
}

fn word(word: &str) -> Result<Word<'_>, String> {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if let Some(name) = word.strip_prefix('.') {
        return if is_name(name) {
            Ok(Word::Field(name))
        } else {
            Err(format!("template: bad field {word:?}"))
        };
    }
    if let Ok(value) = word.parse() {
        return Ok(Word::Int(value));
    }
    if let Ok(value) = word.parse() {
        return Ok(Word::Float(value));
    }
    if is_name(word) { Ok(Word::Name(word)) } else { Err(format!("template: unexpected {word:?}")) }
}

fn string(rest: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, at + 1)),
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c @ ('\\' | '"' | '\'') => c,
                _ => return None,
            }),
            c => out.push(c),
        }
    }
    None
}
