//! Builds the plan from the parser's tree, and finds each node's place in the text on the way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use promql_parser::parser::token::{self, TokenType};
use promql_parser::parser::{
    AggregateExpr, AtModifier, BinModifier, BinaryExpr, Call, Expr, LabelModifier, Offset,
    VectorMatchCardinality, VectorSelector,
};

use super::{
    Aggregate, Aggregator, Binary, Function, Kind, Many, Matching, Node, Operator, Range, RangeOf, Selector,
    When,
};
use crate::Error;
use crate::promql::column::Grid;
use crate::promql::parse::{parse, selector_matchers};
use crate::promql::positions::Cursor;

/// Parses and plans a query for evaluation over `grid`.
pub(in crate::promql) fn plan(query: &str, grid: Grid) -> Result<Node, Error> {
    let expr = parse(query)?;
    let mut builder = Builder { grid, cursor: Cursor::new(query), nodes: 0 };
    builder.node(&expr)
}

struct Builder<'a> {
    /// Bounds of the whole query, for `@ start()` and `@ end()`.
    grid: Grid,
    cursor: Cursor<'a>,
    nodes: usize,
}

impl Builder<'_> {
    fn node(&mut self, expr: &Expr) -> Result<Node, Error> {
        self.cursor.skip_plus();
        if let Expr::Paren(paren) = expr {
            // Parentheses only group: nodes inside stand for themselves, as in Prometheus' positions.
            self.cursor.take("(");
            let node = self.node(&paren.expr)?;
            self.cursor.take(")");
            return Ok(node);
        }
        let id = self.nodes;
        self.nodes += 1;
        let at = self.cursor.offset();
        let kind = self.kind(expr)?;
        let fixed = is_fixed(&kind);
        Ok(Node { kind, at, id, fixed })
    }

    fn kind(&mut self, expr: &Expr) -> Result<Kind, Error> {
        Ok(match expr {
            Expr::NumberLiteral(number) => {
                self.cursor.skip_number();
                Kind::Number(number.val)
            }
            Expr::StringLiteral(text) => {
                let written = self.cursor.text();
                self.cursor.skip();
                // The parser takes byte escapes for characters.
                let escaped = written.starts_with(['"', '\'']) && written.contains('\\');
                Kind::Text(if escaped { unescape(written)? } else { text.val.clone() })
            }
            Expr::VectorSelector(selector) => {
                self.cursor.skip_selector();
                let planned = self.selector(selector)?;
                self.cursor.skip_modifiers();
                Kind::Instant(planned)
            }
            Expr::MatrixSelector(matrix) => {
                self.cursor.skip_selector();
                self.cursor.skip_brackets("[", "]");
                self.cursor.skip_modifiers();
                let of = RangeOf::Selector(self.selector(&matrix.vs)?);
                Kind::Range(Range { of, range_ms: positive_ms(matrix.range, "range")? })
            }
            Expr::Subquery(subquery) => {
                let inner = Box::new(self.node(&subquery.expr)?);
                self.cursor.skip_brackets("[", "]");
                self.cursor.skip_modifiers();
                let step_ms = subquery.step.map(|step| positive_ms(step, "step")).transpose()?;
                let when = self.when(subquery.at.as_ref(), subquery.offset.as_ref())?;
                let range_ms = positive_ms(subquery.range, "range")?;
                Kind::Range(Range { of: RangeOf::Subquery { inner, step_ms, when }, range_ms })
            }
            Expr::Unary(unary) => {
                self.cursor.take("-");
                Kind::Negate(Box::new(self.node(&unary.expr)?))
            }
            Expr::Binary(binary) => self.binary(binary)?,
            Expr::Aggregate(aggregate) => self.aggregate(aggregate)?,
            Expr::Call(call) => self.call(call)?,
            Expr::Paren(_) | Expr::Extension(_) => {
                return Err(Error::Parse("unexpected kind of expression".into()));
            }
        })
    }

    fn selector(&self, selector: &VectorSelector) -> Result<Selector, Error> {
        let bare = VectorSelector { offset: None, at: None, ..selector.clone() };
        Ok(Selector {
            matchers: selector_matchers(selector)?,
            when: self.when(selector.at.as_ref(), selector.offset.as_ref())?,
            text: bare.to_string(),
        })
    }

    fn when(&self, at: Option<&AtModifier>, offset: Option<&Offset>) -> Result<When, Error> {
        let fixed_ms = match at {
            None => None,
            Some(AtModifier::Start) => Some(self.grid.start_ms),
            Some(AtModifier::End) => Some(self.grid.end_ms()),
            Some(AtModifier::At(time)) => Some(time_ms(*time)?),
        };
        let offset_ms = match offset {
            None => 0,
            Some(Offset::Pos(duration)) => duration_ms(*duration)?,
            Some(Offset::Neg(duration)) => -duration_ms(*duration)?,
        };
        Ok(When { fixed_ms, offset_ms })
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Result<Kind, Error> {
        let left = self.node(&binary.lhs)?;
        self.cursor.skip();
        self.cursor.skip_matching();
        let right = self.node(&binary.rhs)?;
        let modifier = binary.modifier.as_ref();
        let operator = operator(binary.op)?;
        let returns_bool = modifier.is_some_and(|modifier| modifier.return_bool);
        let matching = modifier.map(matching).unwrap_or_default();
        if (left.is_scalar() || right.is_scalar())
            && (matching.fill_left.is_some() || matching.fill_right.is_some())
        {
            return Err(Error::Parse("fill modifiers are only allowed between vectors".into()));
        }
        if operator.is_set() && (matching.fill_left.is_some() || matching.fill_right.is_some()) {
            return Err(Error::Parse(format!(
                "fill modifiers are not allowed for set operators, got {}",
                binary.op
            )));
        }
        Ok(Kind::Binary(Box::new(Binary { operator, left, right, matching, returns_bool })))
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) -> Result<Kind, Error> {
        self.cursor.skip();
        self.cursor.skip_grouping();
        self.cursor.take("(");
        let param = match &aggregate.param {
            Some(param) => {
                let written = self.cursor.text();
                let param =
                    self.node(param).map_err(|why| match (&why, written.starts_with(['"', '\''])) {
                        // The only text an aggregation takes is the name of a label.
                        (Error::Execution(_), true) => {
                            Error::Execution(format!("invalid label name {written}"))
                        }
                        _ => why,
                    })?;
                self.cursor.take(",");
                Some(param)
            }
            None => None,
        };
        let inner = self.node(&aggregate.expr)?;
        self.cursor.take(")");
        self.cursor.skip_grouping();
        let aggregator = aggregator(aggregate.op)?;
        match (&param, aggregator) {
            (Some(Node { kind: Kind::Text(_), .. }), Aggregator::CountValues) | (None, _) => {}
            (_, Aggregator::CountValues) => {
                return Err(Error::Parse("expected type string in aggregation parameter".into()));
            }
            (Some(param), _) if !param.is_scalar() => {
                return Err(Error::Parse("expected type scalar in aggregation parameter".into()));
            }
            _ => {}
        }
        let (without, mut labels) = match &aggregate.modifier {
            None => (false, Vec::new()),
            Some(LabelModifier::Include(labels)) => (false, labels.labels.clone()),
            Some(LabelModifier::Exclude(labels)) => (true, labels.labels.clone()),
        };
        labels.sort_unstable();
        labels.dedup();
        Ok(Kind::Aggregate(Box::new(Aggregate { aggregator, inner, param, without, labels })))
    }

    fn call(&mut self, call: &Call) -> Result<Kind, Error> {
        let name = call.func.name;
        let function = Function::named(name)
            .ok_or_else(|| Error::Parse(format!("function '{name}' is not supported by this server")))?;
        self.cursor.skip();
        self.cursor.take("(");
        let mut args = Vec::with_capacity(call.args.len());
        for (i, arg) in call.args.args.iter().enumerate() {
            if i > 0 {
                self.cursor.take(",");
            }
            args.push(self.node(arg)?);
        }
        self.cursor.take(")");
        check_arguments(function, &args)?;
        Ok(Kind::Call(function, args))
    }
}

/// What the parser lets through and the evaluator relies on.
fn check_arguments(function: Function, args: &[Node]) -> Result<(), Error> {
    if let Function::Info = function {
        return match args.get(1) {
            None | Some(Node { kind: Kind::Instant(_), .. }) => Ok(()),
            Some(_) => Err(Error::Parse(
                "expected label selectors as the second argument to \"info\" function".into(),
            )),
        };
    }
    let texts = matches!(
        function,
        Function::LabelReplace | Function::LabelJoin | Function::SortByLabel | Function::SortByLabelDesc
    );
    let text_missing = texts && args[1..].iter().any(|arg| !matches!(arg.kind, Kind::Text(_)));
    let range_missing = matches!(function, Function::Windowed(..))
        && args.iter().filter(|arg| matches!(arg.kind, Kind::Range(_))).count() != 1;
    // The parser accepts a number where `ln` and others want a vector, for some values.
    let vector_missing = matches!(function, Function::Elementwise(..)) && args.iter().any(Node::is_scalar);
    if text_missing || range_missing || vector_missing {
        let wanted = if text_missing {
            "string"
        } else if range_missing {
            "range vector"
        } else {
            "instant vector"
        };
        return Err(Error::Parse(format!(
            "expected type {wanted} in call to function '{}'",
            function.name()
        )));
    }
    Ok(())
}

/// The text of a quoted literal: `\xff` and `\377` are bytes, which together must be UTF-8.
fn unescape(literal: &str) -> Result<String, Error> {
    let invalid = || Error::Execution(format!("invalid string {literal}: it is not valid UTF-8"));
    let mut bytes = Vec::with_capacity(literal.len());
    let mut rest = &literal[1..literal.len().saturating_sub(1).max(1)];
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let kind = escape.chars().next().ok_or_else(invalid)?;
        let (digits, radix, skip) = match kind {
            'x' => (2, 16, 1),
            'u' => (4, 16, 1),
            'U' => (8, 16, 1),
            '0'..='7' => (3, 8, 0),
            _ => (0, 0, kind.len_utf8()),
        };
        if digits == 0 {
            bytes.push(match kind {
                'a' => 7,
                'b' => 8,
                'f' => 12,
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                'v' => 11,
                '\\' | '\'' | '"' => kind as u8,
                _ => return Err(invalid()),
            });
        } else {
            let code = escape.get(skip..skip + digits).and_then(|code| u32::from_str_radix(code, radix).ok());
            let code = code.ok_or_else(invalid)?;
            if matches!(kind, 'u' | 'U') {
                let found = char::from_u32(code).ok_or_else(invalid)?;
                bytes.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                bytes.push(u8::try_from(code).map_err(|_| invalid())?);
            }
        }
        rest = &escape[skip + digits * usize::from(digits > 0)..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| invalid())
}

fn is_fixed(kind: &Kind) -> bool {
    match kind {
        Kind::Number(_) | Kind::Text(_) => true,
        Kind::Instant(selector) => selector.when.fixed_ms.is_some(),
        Kind::Range(Range { of: RangeOf::Selector(selector), .. }) => selector.when.fixed_ms.is_some(),
        Kind::Range(Range { of: RangeOf::Subquery { when, .. }, .. }) => when.fixed_ms.is_some(),
        Kind::Negate(inner) => inner.fixed,
        Kind::Binary(binary) => binary.left.fixed && binary.right.fixed,
        Kind::Aggregate(aggregate) => {
            aggregate.inner.fixed && aggregate.param.as_ref().is_none_or(|param| param.fixed)
        }
        Kind::Call(function, args) => {
            // The second argument of `info` has no time of its own.
            let args = if matches!(function, Function::Info) { &args[..1] } else { args };
            !function.depends_on_time() && args.iter().all(|arg| arg.fixed)
        }
    }
}

fn time_ms(time: SystemTime) -> Result<i64, Error> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => duration_ms(after),
        Err(before) => Ok(-duration_ms(before.duration())?),
    }
}

fn duration_ms(duration: Duration) -> Result<i64, Error> {
    i64::try_from(duration.as_millis())
        .ok()
        .filter(|ms| *ms < i64::MAX / 4)
        .ok_or_else(|| Error::Parse("duration out of range".into()))
}

fn positive_ms(duration: Duration, what: &str) -> Result<i64, Error> {
    match duration_ms(duration)? {
        0 => Err(Error::Parse(format!("duration must be greater than 0 ({what})"))),
        ms => Ok(ms),
    }
}

fn matching(modifier: &BinModifier) -> Matching {
    let (on, mut labels) = match &modifier.matching {
        None => (false, Vec::new()),
        Some(LabelModifier::Include(labels)) => (true, labels.labels.clone()),
        Some(LabelModifier::Exclude(labels)) => (false, labels.labels.clone()),
    };
    labels.sort_unstable();
    labels.dedup();
    let (many, include) = match &modifier.card {
        VectorMatchCardinality::ManyToOne(include) => (Many::Left, include.labels.clone()),
        VectorMatchCardinality::OneToMany(include) => (Many::Right, include.labels.clone()),
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => (Many::Neither, Vec::new()),
    };
    let fill = &modifier.fill_values;
    Matching { on, labels, many, include, fill_left: fill.lhs, fill_right: fill.rhs }
}

fn operator(op: TokenType) -> Result<Operator, Error> {
    Ok(match op.id() {
        token::T_ADD => Operator::Add,
        token::T_SUB => Operator::Sub,
        token::T_MUL => Operator::Mul,
        token::T_DIV => Operator::Div,
        token::T_MOD => Operator::Mod,
        token::T_POW => Operator::Pow,
        token::T_ATAN2 => Operator::Atan2,
        token::T_EQLC => Operator::Equal,
        token::T_NEQ => Operator::NotEqual,
        token::T_GTR => Operator::Greater,
        token::T_LSS => Operator::Less,
        token::T_GTE => Operator::GreaterEqual,
        token::T_LTE => Operator::LessEqual,
        token::T_LAND => Operator::And,
        token::T_LOR => Operator::Or,
        token::T_LUNLESS => Operator::Unless,
        _ => return Err(Error::Parse(format!("operator {op} is not supported by this server"))),
    })
}

fn aggregator(op: TokenType) -> Result<Aggregator, Error> {
    Ok(match op.id() {
        token::T_SUM => Aggregator::Sum,
        token::T_AVG => Aggregator::Avg,
        token::T_MIN => Aggregator::Min,
        token::T_MAX => Aggregator::Max,
        token::T_COUNT => Aggregator::Count,
        token::T_GROUP => Aggregator::Group,
        token::T_STDDEV => Aggregator::Stddev,
        token::T_STDVAR => Aggregator::Stdvar,
        token::T_QUANTILE => Aggregator::Quantile,
        token::T_TOPK => Aggregator::Topk,
        token::T_BOTTOMK => Aggregator::Bottomk,
        token::T_COUNT_VALUES => Aggregator::CountValues,
        token::T_LIMITK => Aggregator::Limitk,
        token::T_LIMIT_RATIO => Aggregator::LimitRatio,
        _ => return Err(Error::Parse(format!("aggregation {op} is not supported by this server"))),
    })
}
