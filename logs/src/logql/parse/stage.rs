//! Pipeline stages.

use super::Parser;
use crate::Error;
use crate::logql::ast::{
    CmpOp, Convert, FilterOp, FilterText, FormatValue, LabelFilter, LineFilter, NameFilter, Number, Stage,
    Unwrap,
};
use crate::logql::lex::Token;
use crate::matcher::MatchOp;

impl Parser<'_> {
    /// The next stage; `None` when none comes, or when it is `| unwrap`.
    pub(super) fn stage(&mut self) -> Result<Option<Stage>, Error> {
        if let Some(op) = self.filter_op() {
            self.next();
            return self.line_filter(op).map(Some);
        }
        if !self.is_mark("|") || matches!(self.peek_after(1), Token::Name(name) if name == "unwrap") {
            return Ok(None);
        }
        self.next();
        let Token::Name(word) = self.peek().clone() else {
            if self.is_mark("(") {
                return Ok(Some(Stage::Label(self.label_filter()?)));
            }
            return Err(self.unexpected("a stage"));
        };
        // A label may have the name of a stage: then an operator follows. After a stage that needs no
        // argument `!=` and `!~` begin a line filter.
        let compares = match self.peek_after(1) {
            Token::Mark("!=" | "!~") => !matches!(word.as_str(), "json" | "logfmt" | "unpack" | "decolorize"),
            Token::Mark("=" | "=~" | "==" | "<" | "<=" | ">" | ">=") => true,
            _ => false,
        };
        let is_label = compares && !matches!(word.as_str(), "drop" | "keep" | "label_format");
        if is_label {
            return Ok(Some(Stage::Label(self.label_filter()?)));
        }
        let place = self.place();
        self.next();
        Ok(Some(match word.as_str() {
            "json" => Stage::Json(self.fields()?),
            "logfmt" => self.logfmt()?,
            "regexp" => {
                let at = self.place();
                let text = self.expect_text()?;
                self.check_regexp(&text, at)?;
                Stage::Regexp(text)
            }
            "pattern" => {
                let at = self.place();
                let text = self.expect_text()?;
                crate::query::check_pattern(&text, true).map_err(|reason| self.fail_at(at, &reason))?;
                Stage::Pattern(text)
            }
            "unpack" => Stage::Unpack,
            "decolorize" => Stage::Decolorize,
            "line_format" => Stage::LineFormat(self.template()?),
            "label_format" => self.label_format()?,
            "drop" => Stage::Drop(self.name_filters()?),
            "keep" => Stage::Keep(self.name_filters()?),
            other => {
                return Err(
                    self.fail_at(place, &format!("unknown stage or label without a comparison: {other}"))
                );
            }
        }))
    }

    fn filter_op(&self) -> Option<FilterOp> {
        Some(match self.peek() {
            Token::Mark("|=") => FilterOp::Contains,
            Token::Mark("!=") => FilterOp::NotContains,
            Token::Mark("|~") => FilterOp::Regex,
            Token::Mark("!~") => FilterOp::NotRegex,
            Token::Mark("|>") => FilterOp::Pattern,
            Token::Mark("!>") => FilterOp::NotPattern,
            _ => return None,
        })
    }

    fn line_filter(&mut self, op: FilterOp) -> Result<Stage, Error> {
        let mut texts = vec![self.filter_text(op)?];
        while self.take_name("or") {
            texts.push(self.filter_text(op)?);
        }
        Ok(Stage::Line(LineFilter { op, texts }))
    }

    fn filter_text(&mut self, op: FilterOp) -> Result<FilterText, Error> {
        let at = self.place();
        if self.is_name("ip") && matches!(self.peek_after(1), Token::Mark("(")) {
            if !matches!(op, FilterOp::Contains | FilterOp::NotContains) {
                return Err(self.fail("ip() goes with |= and != only"));
            }
            return self.ip().map(FilterText::Ip);
        }
        let text = self.expect_text()?;
        match op {
            FilterOp::Regex | FilterOp::NotRegex => {
                self.checked_regex(&text, at)?;
            }
            FilterOp::Pattern | FilterOp::NotPattern => {
                crate::query::check_pattern(&text, false).map_err(|reason| self.fail_at(at, &reason))?;
            }
            FilterOp::Contains | FilterOp::NotContains => {}
        }
        Ok(FilterText::Text(text))
    }

    /// `ip("…")`
    fn ip(&mut self) -> Result<String, Error> {
        self.next();
        self.expect_mark("(")?;
        let at = self.place();
        let text = self.expect_text()?;
        crate::query::check_ip(&text).map_err(|reason| self.fail_at(at, &reason))?;
        self.expect_mark(")")?;
        Ok(text)
    }

    fn check_regexp(&mut self, text: &str, at: usize) -> Result<(), Error> {
        if self.checked_regex(text, at)? == 0 {
            return Err(self.fail_at(at, "at least one named capture must be supplied"));
        }
        Ok(())
    }

    fn template(&mut self) -> Result<String, Error> {
        let at = self.place();
        let text = self.expect_text()?;
        crate::query::check_template(&text).map_err(|reason| self.fail_at(at, &reason))?;
        Ok(text)
    }

    /// `a="b.c", d` after `json` and `logfmt`.
    fn fields(&mut self) -> Result<Vec<(String, String)>, Error> {
        let mut fields = Vec::new();
        while matches!(self.peek(), Token::Name(_)) && !self.is_name("by") && !self.is_name("without") {
            let name = self.expect_name()?;
            let path = if self.take_mark("=") { self.expect_text()? } else { name.clone() };
            fields.push((name, path));
            if !self.take_mark(",") {
                break;
            }
        }
        Ok(fields)
    }

    fn logfmt(&mut self) -> Result<Stage, Error> {
        let (mut strict, mut keep_empty) = (false, false);
        while let Token::Flag(flag) = self.peek() {
            match flag.as_str() {
                "--strict" => strict = true,
                "--keep-empty" => keep_empty = true,
                _ => return Err(self.unexpected("--strict or --keep-empty")),
            }
            self.next();
        }
        Ok(Stage::Logfmt { strict, keep_empty, fields: self.fields()? })
    }

    fn label_format(&mut self) -> Result<Stage, Error> {
        let mut formats: Vec<(String, FormatValue)> = Vec::new();
        loop {
            let at = self.place();
            let name = self.expect_name()?;
            self.expect_mark("=")?;
            let value = match self.peek() {
                Token::Name(_) => FormatValue::Rename(self.expect_name()?),
                _ => FormatValue::Template(self.template()?),
            };
            if formats.iter().any(|(have, _)| *have == name) {
                return Err(self.fail_at(at, &format!("label {name} is formatted twice in one stage")));
            }
            formats.push((name, value));
            if !self.take_mark(",") {
                return Ok(Stage::LabelFormat(formats));
            }
        }
    }

    fn name_filters(&mut self) -> Result<Vec<NameFilter>, Error> {
        let mut names = Vec::new();
        loop {
            let name = self.expect_name()?;
            let with_value = matches!(self.peek(), Token::Mark("=" | "!=" | "=~" | "!~"))
                && matches!(self.peek_after(1), Token::Text(_));
            names.push(if with_value {
                let op = self.match_op()?;
                NameFilter::Match(self.matcher_value(&name, op)?)
            } else {
                NameFilter::Name(name)
            });
            if !self.take_mark(",") {
                return Ok(names);
            }
        }
    }

    /// Conditions joined by `or`, then `and` (or a comma), then parentheses.
    pub(super) fn label_filter(&mut self) -> Result<LabelFilter, Error> {
        let mut left = self.label_and()?;
        while self.take_name("or") {
            let right = self.label_and()?;
            left = LabelFilter::Or(Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn label_and(&mut self) -> Result<LabelFilter, Error> {
        let mut left = self.label_unit()?;
        loop {
            // Two conditions side by side mean both, as a comma does.
            let joined = self.take_name("and") || self.take_mark(",") || self.condition_follows();
            if !joined {
                return Ok(left);
            }
            let right = self.label_unit()?;
            left = LabelFilter::And(Box::new(left), Box::new(right));
        }
    }

    fn condition_follows(&self) -> bool {
        matches!(self.peek(), Token::Name(name) if name != "or" && name != "by" && name != "without" && name != "offset")
            && matches!(
                self.peek_after(1),
                Token::Mark("=" | "!=" | "=~" | "!~" | "==" | "<" | "<=" | ">" | ">=")
            )
    }

    fn label_unit(&mut self) -> Result<LabelFilter, Error> {
        if self.take_mark("(") {
            let inner = self.nested(Self::label_filter)?;
            self.expect_mark(")")?;
            return Ok(inner);
        }
        let name = self.expect_name()?;
        let Token::Mark(mark) = *self.peek() else { return Err(self.unexpected("a comparison")) };
        let at = self.place();
        self.next();
        if let Token::Text(text) = self.peek().clone() {
            let op = match mark {
                "=" | "==" => MatchOp::Equal,
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                _ => return Err(self.fail_at(at, &format!("{mark} does not compare with a string"))),
            };
            let place = self.place();
            self.next();
            return Ok(LabelFilter::Text(self.checked_matcher(&name, op, &text, place)?));
        }
        if self.is_name("ip") && matches!(mark, "=" | "!=") {
            return Ok(LabelFilter::Ip { name, negated: mark == "!=", text: self.ip()? });
        }
        let op =
            cmp_op(mark).ok_or_else(|| self.fail_at(at, &format!("{mark} needs a string on its right")))?;
        let negative = self.take_mark("-");
        let value = match self.peek() {
            Token::Number(value) => Number::Plain(if negative { -value } else { *value }),
            Token::Duration(ns) => Number::Duration(if negative { -ns } else { *ns }),
            Token::Bytes(bytes) if !negative => Number::Bytes(*bytes),
            _ => return Err(self.unexpected("a string, number, duration or size")),
        };
        self.next();
        Ok(LabelFilter::Number { name, op, value })
    }

    /// `| unwrap x` with conditions after it, when it comes next.
    pub(super) fn unwrap_stage(&mut self) -> Result<Option<Unwrap>, Error> {
        if !self.is_mark("|") || !matches!(self.peek_after(1), Token::Name(name) if name == "unwrap") {
            return Ok(None);
        }
        self.next();
        self.next();
        let word = self.expect_name()?;
        let (label, convert) = if self.take_mark("(") {
            let convert = match word.as_str() {
                "bytes" => Convert::Bytes,
                "duration" => Convert::Duration,
                "duration_seconds" => Convert::DurationSeconds,
                other => return Err(self.fail(&format!("unknown conversion {other}"))),
            };
            let label = self.expect_name()?;
            self.expect_mark(")")?;
            (label, convert)
        } else {
            (word, Convert::Plain)
        };
        let mut filters = Vec::new();
        while self.take_mark("|") {
            filters.push(self.label_filter()?);
        }
        Ok(Some(Unwrap { label, convert, filters }))
    }
}

pub(super) fn cmp_op(mark: &str) -> Option<CmpOp> {
    Some(match mark {
        "=" | "==" => CmpOp::Equal,
        "!=" => CmpOp::NotEqual,
        "<" => CmpOp::Less,
        "<=" => CmpOp::LessEqual,
        ">" => CmpOp::Greater,
        ">=" => CmpOp::GreaterEqual,
        _ => return None,
    })
}
