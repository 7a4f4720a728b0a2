//! LogQL: text to tree and back. Nothing here evaluates; `query` does.

mod ast;
mod lex;
mod parse;
mod print;
#[cfg(test)]
mod tests;
mod units;

pub use ast::{
    BinaryOp, CmpOp, Convert, Expr, FilterOp, FilterText, FormatValue, Grouping, LabelFilter, LineFilter,
    LogExpr, Matching, Metric, NameFilter, Number, RangeAgg, RangeOp, Side, Stage, Unwrap, VectorOp,
};
pub use parse::parse;
pub(crate) use parse::{parse_log, parse_matchers};
pub(crate) use print::quote;
pub(crate) use units::{parse_bytes, parse_duration_ns};
