//! The tree of a LogQL expression.

use crate::matcher::Matcher;

/// A LogQL expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// Asks for lines.
    Log(LogExpr),
    /// Asks for numbers.
    Metric(Metric),
}

/// Selects lines and passes them through stages.
#[derive(Debug, Clone, PartialEq)]
pub struct LogExpr {
    /// Which streams; all must hold.
    pub matchers: Vec<Matcher>,
    /// What is done with each line, in order.
    pub stages: Vec<Stage>,
}

/// One stage of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// `|= "x"` and its kin.
    Line(LineFilter),
    /// `| json` with labels and paths; all fields when empty.
    Json(Vec<(String, String)>),
    /// `| logfmt`
    Logfmt {
        /// `--strict`: a malformed line is an error.
        strict: bool,
        /// `--keep-empty`: a key without a value becomes a label with an empty value.
        keep_empty: bool,
        /// Labels and keys; all fields when empty.
        fields: Vec<(String, String)>,
    },
    /// `| regexp "…"` with named groups.
    Regexp(String),
    /// `| pattern "<a> <_>"`
    Pattern(String),
    /// `| unpack`
    Unpack,
    /// `| decolorize`
    Decolorize,
    /// A condition on labels.
    Label(LabelFilter),
    /// `| line_format "…"`
    LineFormat(String),
    /// `| label_format a=b, c="…"`
    LabelFormat(Vec<(String, FormatValue)>),
    /// `| drop a, b="c"`
    Drop(Vec<NameFilter>),
    /// `| keep a, b="c"`
    Keep(Vec<NameFilter>),
}

/// A condition on the line: one of the texts must be found (or none, for the negated operators).
#[derive(Debug, Clone, PartialEq)]
pub struct LineFilter {
    /// How.
    pub op: FilterOp,
    /// At least one; more by `or`.
    pub texts: Vec<FilterText>,
}

/// Operators of line filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

/// What a line filter looks for.
#[derive(Debug, Clone, PartialEq)]
pub enum FilterText {
    /// Text, a regex or a pattern.
    Text(String),
    /// `ip("…")`: an address, a range or a network.
    Ip(String),
}

/// The right side of a `label_format` assignment.
#[derive(Debug, Clone, PartialEq)]
pub enum FormatValue {
    /// Renames a label.
    Rename(String),
    /// A template.
    Template(String),
}

/// A name in `drop` and `keep`, alone or with a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum NameFilter {
    /// The name alone.
    Name(String),
    /// Only when the condition holds.
    Match(Matcher),
}

/// A condition on labels.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelFilter {
    /// Both hold.
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// One holds.
    Or(Box<LabelFilter>, Box<LabelFilter>),
    /// Compares as text.
    Text(Matcher),
    /// Compares as a number, a duration or a size.
    Number {
        /// Label.
        name: String,
        /// How.
        op: CmpOp,
        /// With what.
        value: Number,
    },
    /// `name = ip("…")` or `name != ip("…")`
    Ip {
        /// Label.
        name: String,
        /// Whether it must not match.
        negated: bool,
        /// An address, a range or a network.
        text: String,
    },
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CmpOp {
    /// `==` (or `=`)
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

/// A number as a label filter writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A plain number.
    Plain(f64),
    /// A duration in nanoseconds.
    Duration(i64),
    /// A size in bytes.
    Bytes(u64),
}

/// `| unwrap …`
#[derive(Debug, Clone, PartialEq)]
pub struct Unwrap {
    /// The label whose value becomes the sample.
    pub label: String,
    /// How it is read.
    pub convert: Convert,
    /// Conditions after it.
    pub filters: Vec<LabelFilter>,
}

/// How an unwrapped label is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convert {
    /// As a number.
    Plain,
    /// `bytes(x)`
    Bytes,
    /// `duration(x)`: seconds.
    Duration,
    /// `duration_seconds(x)`: seconds.
    DurationSeconds,
}

/// An expression whose value is a number or a vector.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// A number.
    Literal(f64),
    /// `vector(1)`
    Vector(f64),
    /// An aggregation over the lines of a range.
    Range(RangeAgg),
    /// An aggregation over the series of a vector.
    Aggregate {
        /// Which.
        op: VectorOp,
        /// The `k` of `topk` and `bottomk`.
        param: Option<f64>,
        /// By or without which labels.
        grouping: Option<Grouping>,
        /// What is aggregated.
        inner: Box<Metric>,
    },
    /// Two operands.
    Binary {
        /// Which.
        op: BinaryOp,
        /// `bool`: comparisons answer 0 or 1.
        returns_bool: bool,
        /// Which labels must agree.
        matching: Option<Matching>,
        /// Left.
        left: Box<Metric>,
        /// Right.
        right: Box<Metric>,
    },
    /// `label_replace(v, "dst", "replacement", "src", "regex")`
    LabelReplace {
        /// The vector.
        inner: Box<Metric>,
        /// Label that is set.
        dst: String,
        /// To what; `$1` names a group.
        replacement: String,
        /// Label that is looked at.
        src: String,
        /// What it must match, anchored.
        regex: String,
    },
}

/// An aggregation over the lines of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeAgg {
    /// Which.
    pub op: RangeOp,
    /// The quantile.
    pub param: Option<f64>,
    /// The lines.
    pub log: LogExpr,
    /// What makes samples of them; each line counts without it.
    pub unwrap: Option<Unwrap>,
    /// Length of the range in nanoseconds.
    pub range_ns: i64,
    /// How much earlier to look, in nanoseconds.
    pub offset_ns: i64,
    /// By or without which labels.
    pub grouping: Option<Grouping>,
}

/// Aggregations over a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeOp {
    /// Lines (or unwrapped values) a second.
    Rate,
    /// Increase of an unwrapped counter a second.
    RateCounter,
    /// Lines.
    CountOverTime,
    /// Bytes a second.
    BytesRate,
    /// Bytes.
    BytesOverTime,
    /// Mean.
    AvgOverTime,
    /// Sum.
    SumOverTime,
    /// Least.
    MinOverTime,
    /// Greatest.
    MaxOverTime,
    /// Population variance.
    StdvarOverTime,
    /// Population standard deviation.
    StddevOverTime,
    /// Quantile.
    QuantileOverTime,
    /// First by time.
    FirstOverTime,
    /// Last by time.
    LastOverTime,
    /// 1 when there is nothing.
    AbsentOverTime,
}

/// Aggregations over a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are LogQL's")]
pub enum VectorOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    Sort,
    SortDesc,
}

/// `by (…)` or `without (…)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// Whether the names are left out instead of kept.
    pub without: bool,
    /// Label names.
    pub names: Vec<String>,
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are LogQL's")]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Cmp(CmpOp),
}

/// How the series of two operands find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching {
    /// `on` instead of `ignoring`.
    pub on: bool,
    /// Label names.
    pub names: Vec<String>,
    /// `group_left` or `group_right`: the side that may have many, and labels taken from the other.
    pub group: Option<(Side, Vec<String>)>,
}

/// One side of a binary expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are what they say")]
pub enum Side {
    Left,
    Right,
}
