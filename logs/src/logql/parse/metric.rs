//! Metric expressions.

use super::Parser;
use super::stage::cmp_op;
use crate::Error;
use crate::logql::ast::{
    BinaryOp, CmpOp, Grouping, LogExpr, Matching, Metric, RangeAgg, RangeOp, Side, VectorOp,
};
use crate::logql::lex::Token;

impl Parser<'_> {
    pub(super) fn metric(&mut self) -> Result<Metric, Error> {
        self.nested(|parser| parser.binary(0))
    }

    /// Precedence climbing; `least` is the lowest precedence taken.
    fn binary(&mut self, least: u8) -> Result<Metric, Error> {
        let mut left = self.operand()?;
        loop {
            let Some((op, precedence)) = self.binary_op() else { return Ok(left) };
            if precedence < least {
                return Ok(left);
            }
            let at = self.place();
            self.next();
            let returns_bool = self.take_name("bool");
            if returns_bool && !matches!(op, BinaryOp::Cmp(_)) {
                return Err(self.fail_at(at, "bool goes with comparisons only"));
            }
            let matching = self.matching()?;
            // `^` binds to the right.
            let right_least = if op == BinaryOp::Pow { precedence } else { precedence + 1 };
            let right = self.nested(|parser| parser.binary(right_least))?;
            let is_set = matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless);
            if is_set && (matches!(left, Metric::Literal(_)) || matches!(right, Metric::Literal(_))) {
                return Err(self.fail_at(at, "and, or and unless need vectors on both sides"));
            }
            left =
                Metric::Binary { op, returns_bool, matching, left: Box::new(left), right: Box::new(right) };
        }
    }

    fn binary_op(&self) -> Option<(BinaryOp, u8)> {
        Some(match self.peek() {
            Token::Name(name) => match name.as_str() {
                "or" => (BinaryOp::Or, 1),
                "and" => (BinaryOp::And, 2),
                "unless" => (BinaryOp::Unless, 2),
                _ => return None,
            },
            Token::Mark("+") => (BinaryOp::Add, 4),
            Token::Mark("-") => (BinaryOp::Sub, 4),
            Token::Mark("*") => (BinaryOp::Mul, 5),
            Token::Mark("/") => (BinaryOp::Div, 5),
            Token::Mark("%") => (BinaryOp::Mod, 5),
            Token::Mark("^") => (BinaryOp::Pow, 6),
            Token::Mark("=") => return None,
            Token::Mark(mark) => (BinaryOp::Cmp(cmp_op(mark)?), 3),
            _ => return None,
        })
    }

    fn matching(&mut self) -> Result<Option<Matching>, Error> {
        let on = self.is_name("on");
        if !on && !self.is_name("ignoring") {
            return Ok(None);
        }
        self.next();
        let names = self.names()?;
        let side = if self.take_name("group_left") {
            Some(Side::Left)
        } else if self.take_name("group_right") {
            Some(Side::Right)
        } else {
            None
        };
        let group = match side {
            Some(side) => Some((side, if self.is_mark("(") { self.names()? } else { Vec::new() })),
            None => None,
        };
        Ok(Some(Matching { on, names, group }))
    }

    fn operand(&mut self) -> Result<Metric, Error> {
        match self.peek().clone() {
            Token::Mark("(") => {
                self.next();
                let inner = self.metric()?;
                self.expect_mark(")")?;
                Ok(inner)
            }
            Token::Number(_) | Token::Mark("-" | "+") => Ok(Metric::Literal(self.signed_number()?)),
            Token::Name(name) => self.call(&name),
            _ => Err(self.unexpected("a selector, a function or a number")),
        }
    }

    fn signed_number(&mut self) -> Result<f64, Error> {
        let negative = if self.take_mark("-") {
            true
        } else {
            self.take_mark("+");
            false
        };
        let Token::Number(value) = *self.peek() else { return Err(self.unexpected("a number")) };
        self.next();
        Ok(if negative { -value } else { value })
    }

    fn call(&mut self, name: &str) -> Result<Metric, Error> {
        if let Some(op) = range_op(name) {
            self.next();
            return self.range_agg(op);
        }
        if let Some(op) = vector_op(name) {
            self.next();
            return self.vector_agg(op);
        }
        match name {
            "vector" => {
                self.next();
                self.expect_mark("(")?;
                let value = self.signed_number()?;
                self.expect_mark(")")?;
                Ok(Metric::Vector(value))
            }
            "label_replace" => {
                self.next();
                self.label_replace()
            }
            _ => Err(self.fail(&format!("unknown function {name}"))),
        }
    }

    fn label_replace(&mut self) -> Result<Metric, Error> {
        self.expect_mark("(")?;
        let inner = Box::new(self.metric()?);
        let mut texts = Vec::new();
        let mut regex_at = 0;
        for _ in 0..4 {
            self.expect_mark(",")?;
            regex_at = self.place();
            texts.push(self.expect_text()?);
        }
        self.expect_mark(")")?;
        let [dst, replacement, src, regex] = texts.try_into().unwrap_or_default();
        self.checked_regex(&regex, regex_at)?;
        Ok(Metric::LabelReplace { inner, dst, replacement, src, regex })
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, Error> {
        let without = self.is_name("without");
        if !without && !self.is_name("by") {
            return Ok(None);
        }
        self.next();
        Ok(Some(Grouping { without, names: self.names()? }))
    }

    fn vector_agg(&mut self, op: VectorOp) -> Result<Metric, Error> {
        let place = self.place();
        let mut grouping = self.grouping()?;
        self.expect_mark("(")?;
        let takes_k = matches!(op, VectorOp::TopK | VectorOp::BottomK);
        let param = if takes_k {
            let at = self.place();
            let k = self.signed_number()?;
            if k < 1.0 || k.fract() != 0.0 || k > 1e6 {
                return Err(self.fail_at(at, "k must be a whole number of at least 1"));
            }
            self.expect_mark(",")?;
            Some(k)
        } else {
            None
        };
        let inner = Box::new(self.metric()?);
        self.expect_mark(")")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        if grouping.is_some() && matches!(op, VectorOp::Sort | VectorOp::SortDesc) {
            return Err(self.fail_at(place, "sort and sort_desc take no grouping"));
        }
        Ok(Metric::Aggregate { op, param, grouping, inner })
    }

    fn range_agg(&mut self, op: RangeOp) -> Result<Metric, Error> {
        let place = self.place();
        self.expect_mark("(")?;
        let param = if op == RangeOp::QuantileOverTime {
            let quantile = self.signed_number()?;
            self.expect_mark(",")?;
            Some(quantile)
        } else {
            None
        };
        let mut range = Range::default();
        let log = self.range_body(&mut range)?;
        self.expect_mark(")")?;
        let range_ns =
            range.length_ns.ok_or_else(|| self.fail_at(place, "a range such as [5m] is missing"))?;
        let grouping = self.grouping()?;
        let agg =
            RangeAgg { op, param, log, unwrap: range.unwrap, range_ns, offset_ns: range.offset_ns, grouping };
        check(&agg).map_err(|reason| self.fail_at(place, &reason))?;
        Ok(Metric::Range(agg))
    }

    /// Selector, stages, unwrap, `[range]` and `offset`, the range before or after the stages.
    fn range_body(&mut self, range: &mut Range) -> Result<LogExpr, Error> {
        let log = if self.take_mark("(") {
            let log = self.nested(|parser| parser.range_body(range))?;
            self.expect_mark(")")?;
            log
        } else {
            let matchers = self.selector()?;
            let mut stages = Vec::new();
            self.range_length(range)?;
            self.stages(&mut stages)?;
            range.unwrap = self.unwrap_stage()?;
            LogExpr { matchers, stages }
        };
        self.range_length(range)?;
        Ok(log)
    }

    fn range_length(&mut self, range: &mut Range) -> Result<(), Error> {
        if range.length_ns.is_none() && self.take_mark("[") {
            let Token::Duration(ns) = *self.peek() else { return Err(self.unexpected("a duration")) };
            if ns <= 0 {
                return Err(self.fail("a range must be longer than nothing"));
            }
            self.next();
            self.expect_mark("]")?;
            range.length_ns = Some(ns);
        }
        if range.length_ns.is_some() && self.take_name("offset") {
            let negative = self.take_mark("-");
            let Token::Duration(ns) = *self.peek() else { return Err(self.unexpected("a duration")) };
            self.next();
            range.offset_ns = if negative { -ns } else { ns };
        }
        Ok(())
    }
}

#[derive(Default)]
struct Range {
    length_ns: Option<i64>,
    offset_ns: i64,
    unwrap: Option<crate::logql::Unwrap>,
}

/// Which aggregations want an unwrap and which take a grouping.
fn check(agg: &RangeAgg) -> Result<(), String> {
    use RangeOp as Op;
    let name = agg.op;
    let plain = matches!(agg.op, Op::CountOverTime | Op::BytesRate | Op::BytesOverTime);
    if plain && agg.unwrap.is_some() {
        return Err(format!("invalid aggregation {name} with unwrap"));
    }
    let either = matches!(agg.op, Op::Rate | Op::AbsentOverTime);
    if !plain && !either && agg.unwrap.is_none() {
        return Err(format!("invalid aggregation {name} without unwrap"));
    }
    let groups = matches!(
        agg.op,
        Op::AvgOverTime
            | Op::StddevOverTime
            | Op::StdvarOverTime
            | Op::QuantileOverTime
            | Op::MaxOverTime
            | Op::MinOverTime
            | Op::FirstOverTime
            | Op::LastOverTime
    );
    if agg.grouping.is_some() && !groups {
        return Err(format!("grouping not allowed for {name} aggregation"));
    }
    Ok(())
}

fn range_op(name: &str) -> Option<RangeOp> {
    RangeOp::ALL.into_iter().find(|op| op.name() == name)
}

fn vector_op(name: &str) -> Option<VectorOp> {
    VectorOp::ALL.into_iter().find(|op| op.name() == name)
}

impl BinaryOp {
    /// The comparison, when it is one.
    pub fn comparison(self) -> Option<CmpOp> {
        match self {
            Self::Cmp(op) => Some(op),
            _ => None,
        }
    }
}
