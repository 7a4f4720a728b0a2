//! The tree that is evaluated: the parser's, checked, with times in milliseconds and positions.

mod build;
mod names;

use crate::select::Matcher;

pub(super) use build::plan;
pub(super) use names::{Function, Windowed};

/// A node and where it stands in the query's text.
#[derive(Debug)]
pub(super) struct Node {
    /// What it is.
    pub(super) kind: Kind,
    /// Byte offset of its first token.
    pub(super) at: usize,
    /// Its number in the plan, from 0, parents first.
    pub(super) id: usize,
    /// Whether its value is the same at every step, so that one step is enough.
    pub(super) fixed: bool,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A number literal.
    Number(f64),
    /// A string literal.
    Text(String),
    /// An instant selector.
    Instant(Selector),
    /// A range: of a selector or of a subquery.
    Range(Range),
    /// Unary minus.
    Negate(Box<Node>),
    /// A binary operation.
    Binary(Box<Binary>),
    /// An aggregation.
    Aggregate(Box<Aggregate>),
    /// A function call.
    Call(Function, Vec<Node>),
}

/// A series selector.
#[derive(Debug)]
pub(super) struct Selector {
    /// Conditions, the name included.
    pub(super) matchers: Vec<Matcher>,
    /// When to look.
    pub(super) when: When,
    /// Its text without modifiers, for plans and to find equal selectors.
    pub(super) text: String,
}

/// `@` and `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct When {
    /// The instant of `@`, when given.
    pub(super) fixed_ms: Option<i64>,
    /// How far back; negative looks ahead.
    pub(super) offset_ms: i64,
}

impl When {
    /// The instant looked at when evaluating at `at_ms`.
    #[inline]
    pub(super) fn reference(&self, at_ms: i64) -> i64 {
        self.fixed_ms.unwrap_or(at_ms).saturating_sub(self.offset_ms)
    }
}

/// Range of samples before each instant.
#[derive(Debug)]
pub(super) struct Range {
    /// Where the samples come from.
    pub(super) of: RangeOf,
    /// Its length; the range is open on the left.
    pub(super) range_ms: i64,
}

/// Where the samples of a range come from.
#[derive(Debug)]
pub(super) enum RangeOf {
    /// Stored samples.
    Selector(Selector),
    /// Evaluations of an expression.
    Subquery {
        /// The expression.
        inner: Box<Node>,
        /// Distance of evaluations; `None` takes the default.
        step_ms: Option<i64>,
        /// `@` and `offset`.
        when: When,
    },
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
}

/// A binary operation.
#[derive(Debug)]
pub(super) struct Binary {
    pub(super) operator: Operator,
    pub(super) left: Node,
    pub(super) right: Node,
    pub(super) matching: Matching,
    /// `bool`: comparisons yield 0 or 1 instead of filtering.
    pub(super) returns_bool: bool,
}

/// How series of both sides find each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Matching {
    /// `on` instead of `ignoring`.
    pub(super) on: bool,
    /// Labels of `on` or `ignoring`, sorted.
    pub(super) labels: Vec<String>,
    /// Which side may have many series a match.
    pub(super) many: Many,
    /// Labels taken over from the one side.
    pub(super) include: Vec<String>,
    /// Value for what the left side lacks.
    pub(super) fill_left: Option<f64>,
    /// Value for what the right side lacks.
    pub(super) fill_right: Option<f64>,
}

/// Which side of a binary operation may have many series a match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Many {
    /// Neither.
    #[default]
    Neither,
    /// `group_left`.
    Left,
    /// `group_right`.
    Right,
}

/// Aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregator {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile,
    Topk,
    Bottomk,
    CountValues,
    Limitk,
    LimitRatio,
}

/// An aggregation.
#[derive(Debug)]
pub(super) struct Aggregate {
    pub(super) aggregator: Aggregator,
    pub(super) inner: Node,
    /// `k`, the quantile, the ratio or the label.
    pub(super) param: Option<Node>,
    /// `without` instead of `by`.
    pub(super) without: bool,
    /// Labels of `by` or `without`, sorted.
    pub(super) labels: Vec<String>,
}

impl Node {
    /// Whether it yields a number for each step rather than a vector.
    pub(super) fn is_scalar(&self) -> bool {
        match &self.kind {
            Kind::Number(_) => true,
            Kind::Negate(inner) => inner.is_scalar(),
            Kind::Binary(binary) => binary.left.is_scalar() && binary.right.is_scalar(),
            Kind::Call(function, _) => function.is_scalar(),
            _ => false,
        }
    }
}

impl Operator {
    /// Whether it compares.
    pub(super) fn compares(self) -> bool {
        use Operator::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        matches!(self, Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual)
    }

    /// Whether it works on sets of series.
    pub(super) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Its value for two numbers; for comparisons whether it holds, see [`Operator::holds`].
    #[inline]
    pub(super) fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Sub => left - right,
            Self::Mul => left * right,
            Self::Div => left / right,
            Self::Mod => left % right,
            Self::Pow => left.powf(right),
            Self::Atan2 => left.atan2(right),
            _ => f64::from(u8::from(self.holds(left, right))),
        }
    }

    /// Whether a comparison holds.
    #[inline]
    pub(super) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::Less => left < right,
            Self::GreaterEqual => left >= right,
            Self::LessEqual => left <= right,
            _ => false,
        }
    }
}
