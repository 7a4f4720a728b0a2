//! The parser: recursive descent, with the place of what it did not expect in its errors.

mod metric;
mod stage;

use super::ast::{Expr, LogExpr, Stage};
use super::lex::{Token, error_at, lex};
use crate::Error;
use crate::matcher::{MatchOp, Matcher};

/// How deep an expression may nest.
const MAX_DEPTH: usize = 64;
/// Most stages of a pipeline.
const MAX_STAGES: usize = 128;
/// Most regexes of a query: each may take some megabytes when compiled.
const MAX_REGEXES: usize = 64;

/// Parses a LogQL expression.
///
/// # Errors
/// [`Error::Parse`] with line and column.
pub fn parse(text: &str) -> Result<Expr, Error> {
    let mut parser = Parser::new(text)?;
    let expr = parser.expr()?;
    parser.end()?;
    Ok(expr)
}

/// Parses an expression that asks for lines.
pub(crate) fn parse_log(text: &str) -> Result<LogExpr, Error> {
    match parse(text)? {
        Expr::Log(log) => Ok(log),
        Expr::Metric(_) => Err(error_at(text, 0, "a log query is needed here, not a metric query")),
    }
}

/// Parses a selector that may match everything, such as `{}`.
pub(crate) fn parse_matchers(text: &str) -> Result<Vec<Matcher>, Error> {
    let mut parser = Parser::new(text)?;
    let matchers = parser.matchers()?;
    parser.end()?;
    Ok(matchers)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    regexes: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, Error> {
        Ok(Self { text, tokens: lex(text)?, at: 0, depth: 0, regexes: 0 })
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn peek_after(&self, ahead: usize) -> &Token {
        &self.tokens[(self.at + ahead).min(self.tokens.len() - 1)].0
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn place(&self) -> usize {
        self.tokens[self.at].1
    }

    fn is_mark(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(have) if *have == mark)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(have) if have == name)
    }

    fn take_mark(&mut self, mark: &str) -> bool {
        let found = self.is_mark(mark);
        if found {
            self.next();
        }
        found
    }

    fn take_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.next();
        }
        found
    }

    fn expect_mark(&mut self, mark: &'static str) -> Result<(), Error> {
        if self.take_mark(mark) { Ok(()) } else { Err(self.unexpected(mark)) }
    }

    fn expect_name(&mut self) -> Result<String, Error> {
        match self.peek() {
            Token::Name(name) => {
                let name = name.clone();
                self.next();
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn expect_text(&mut self) -> Result<String, Error> {
        match self.peek() {
            Token::Text(text) => {
                let text = text.clone();
                self.next();
                Ok(text)
            }
            _ => Err(self.unexpected("a string")),
        }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        self.fail(&format!("unexpected {}, expecting {wanted}", self.peek()))
    }

    fn fail(&self, message: &str) -> Error {
        error_at(self.text, self.place(), message)
    }

    fn fail_at(&self, at: usize, message: &str) -> Error {
        error_at(self.text, at, message)
    }

    fn end(&self) -> Result<(), Error> {
        if *self.peek() == Token::End { Ok(()) } else { Err(self.unexpected("end of query")) }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fail(&format!("the query nests deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn expr(&mut self) -> Result<Expr, Error> {
        if self.starts_log() {
            let log = self.log(true)?;
            return Ok(Expr::Log(log));
        }
        Ok(Expr::Metric(self.metric()?))
    }

    /// Whether a log expression comes next, maybe in parentheses.
    fn starts_log(&self) -> bool {
        let mut ahead = 0;
        while matches!(self.peek_after(ahead), Token::Mark("(")) {
            ahead += 1;
        }
        matches!(self.peek_after(ahead), Token::Mark("{"))
    }

    /// A log expression; with `parens`, the whole may stand in parentheses.
    fn log(&mut self, parens: bool) -> Result<LogExpr, Error> {
        if parens && self.take_mark("(") {
            let log = self.nested(|parser| parser.log(true))?;
            self.expect_mark(")")?;
            return Ok(log);
        }
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        self.stages(&mut stages)?;
        Ok(LogExpr { matchers, stages })
    }

    /// A selector that does not match everything.
    fn selector(&mut self) -> Result<Vec<Matcher>, Error> {
        let place = self.place();
        let matchers = self.matchers()?;
        if matchers.iter().all(|matcher| matcher.matches_value("")) {
            return Err(self.fail_at(
                place,
                "queries require at least one regexp or equality matcher that does not have an \
                 empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but \
                 app=~\".+\" will",
            ));
        }
        Ok(matchers)
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, Error> {
        self.expect_mark("{")?;
        let mut matchers = Vec::new();
        while !self.take_mark("}") {
            if !matchers.is_empty() {
                self.expect_mark(",")?;
                if self.take_mark("}") {
                    break;
                }
            }
            let name = self.expect_name()?;
            let op = self.match_op()?;
            matchers.push(self.matcher_value(&name, op)?);
        }
        Ok(matchers)
    }

    fn match_op(&mut self) -> Result<MatchOp, Error> {
        let op = match self.peek() {
            Token::Mark("=") => MatchOp::Equal,
            Token::Mark("!=") => MatchOp::NotEqual,
            Token::Mark("=~") => MatchOp::Regex,
            Token::Mark("!~") => MatchOp::NotRegex,
            _ => return Err(self.unexpected("one of = != =~ !~")),
        };
        self.next();
        Ok(op)
    }

    fn matcher_value(&mut self, name: &str, op: MatchOp) -> Result<Matcher, Error> {
        let place = self.place();
        let value = self.expect_text()?;
        self.checked_matcher(name, op, &value, place)
    }

    fn checked_matcher(
        &mut self,
        name: &str,
        op: MatchOp,
        value: &str,
        place: usize,
    ) -> Result<Matcher, Error> {
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.one_regex_more(place)?;
        }
        Matcher::new(name, op, value).map_err(|reason| self.fail_at(place, &reason))
    }

    /// Checks a regex; answers its number of named groups.
    fn checked_regex(&mut self, text: &str, place: usize) -> Result<usize, Error> {
        self.one_regex_more(place)?;
        crate::query::check_regex(text).map_err(|reason| self.fail_at(place, &reason))
    }

    fn one_regex_more(&mut self, place: usize) -> Result<(), Error> {
        self.regexes += 1;
        if self.regexes > MAX_REGEXES {
            return Err(self.fail_at(place, &format!("the query has more than {MAX_REGEXES} regexes")));
        }
        Ok(())
    }

    fn names(&mut self) -> Result<Vec<String>, Error> {
        self.expect_mark("(")?;
        let mut names = Vec::new();
        while !self.take_mark(")") {
            if !names.is_empty() {
                self.expect_mark(",")?;
            }
            names.push(self.expect_name()?);
        }
        Ok(names)
    }

    fn stages(&mut self, stages: &mut Vec<Stage>) -> Result<(), Error> {
        while let Some(stage) = self.stage()? {
            if stages.len() >= MAX_STAGES {
                return Err(self.fail(&format!("a pipeline has more than {MAX_STAGES} stages")));
            }
            stages.push(stage);
        }
        Ok(())
    }
}
