//! Trees as text that parses to the same tree.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{
    BinaryOp, CmpOp, Convert, Expr, FilterOp, FilterText, FormatValue, Grouping, LabelFilter, LineFilter,
    LogExpr, Metric, NameFilter, Number, RangeAgg, RangeOp, Side, Stage, VectorOp,
};

/// A string literal with `text` as its value.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

macro_rules! names {
    ($type:ident: $($variant:ident = $name:literal),* $(,)?) => {
        impl $type {
            /// All of them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Its name in LogQL.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        impl Display for $type {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

names!(RangeOp: Rate = "rate", RateCounter = "rate_counter", CountOverTime = "count_over_time",
    BytesRate = "bytes_rate", BytesOverTime = "bytes_over_time", AvgOverTime = "avg_over_time",
    SumOverTime = "sum_over_time", MinOverTime = "min_over_time", MaxOverTime = "max_over_time",
    StdvarOverTime = "stdvar_over_time", StddevOverTime = "stddev_over_time",
    QuantileOverTime = "quantile_over_time", FirstOverTime = "first_over_time",
    LastOverTime = "last_over_time", AbsentOverTime = "absent_over_time");
names!(VectorOp: Sum = "sum", Avg = "avg", Min = "min", Max = "max", Count = "count", Stddev = "stddev",
    Stdvar = "stdvar", TopK = "topk", BottomK = "bottomk", Sort = "sort", SortDesc = "sort_desc");
names!(FilterOp: Contains = "|=", NotContains = "!=", Regex = "|~", NotRegex = "!~", Pattern = "|>",
    NotPattern = "!>");
names!(CmpOp: Equal = "==", NotEqual = "!=", Less = "<", LessEqual = "<=", Greater = ">", GreaterEqual = ">=");

/// Writes items with a separator.
fn join<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    separator: &str,
    mut each: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        each(f, item)?;
    }
    Ok(())
}

/// A duration that reads back exactly.
struct Duration(i64);

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let units = [
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1000, "us"),
        ];
        let sign = if self.0 < 0 { "-" } else { "" };
        let ns = self.0.unsigned_abs();
        match units.iter().find(|(unit, _)| ns > 0 && ns.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{sign}{}{name}", ns / unit),
            None => write!(f, "{sign}{ns}ns"),
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(f),
            Self::Metric(metric) => metric.fmt(f),
        }
    }
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        join(f, &self.matchers, ", ", |f, matcher| matcher.fmt(f))?;
        f.write_str("}")?;
        for stage in &self.stages {
            write!(f, " {stage}")?;
        }
        Ok(())
    }
}

impl Display for LineFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.op)?;
        join(f, &self.texts, " or ", |f, text| match text {
            FilterText::Text(text) => f.write_str(&quote(text)),
            FilterText::Ip(text) => write!(f, "ip({})", quote(text)),
        })
    }
}

fn fields(f: &mut Formatter<'_>, fields: &[(String, String)]) -> fmt::Result {
    if !fields.is_empty() {
        f.write_str(" ")?;
    }
    join(f, fields, ", ", |f, (name, path)| write!(f, "{name}={}", quote(path)))
}

fn name_filters(f: &mut Formatter<'_>, names: &[NameFilter]) -> fmt::Result {
    join(f, names, ", ", |f, name| match name {
        NameFilter::Name(name) => f.write_str(name),
        NameFilter::Match(matcher) => matcher.fmt(f),
    })
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(filter) => filter.fmt(f),
            Self::Json(paths) => {
                f.write_str("| json")?;
                fields(f, paths)
            }
            Self::Logfmt { strict, keep_empty, fields: keys } => {
                f.write_str("| logfmt")?;
                f.write_str(if *strict { " --strict" } else { "" })?;
                f.write_str(if *keep_empty { " --keep-empty" } else { "" })?;
                fields(f, keys)
            }
            Self::Regexp(text) => write!(f, "| regexp {}", quote(text)),
            Self::Pattern(text) => write!(f, "| pattern {}", quote(text)),
            Self::Unpack => f.write_str("| unpack"),
            Self::Decolorize => f.write_str("| decolorize"),
            Self::Label(filter) => write!(f, "| {filter}"),
            Self::LineFormat(text) => write!(f, "| line_format {}", quote(text)),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                join(f, formats, ", ", |f, (name, value)| match value {
                    FormatValue::Rename(from) => write!(f, "{name}={from}"),
                    FormatValue::Template(text) => write!(f, "{name}={}", quote(text)),
                })
            }
            Self::Drop(names) => {
                f.write_str("| drop ")?;
                name_filters(f, names)
            }
            Self::Keep(names) => {
                f.write_str("| keep ")?;
                name_filters(f, names)
            }
        }
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(left, right) => write!(f, "({left} and {right})"),
            Self::Or(left, right) => write!(f, "({left} or {right})"),
            Self::Text(matcher) => matcher.fmt(f),
            Self::Number { name, op, value } => match value {
                Number::Plain(value) => write!(f, "{name} {op} {value}"),
                Number::Duration(ns) => write!(f, "{name} {op} {}", Duration(*ns)),
                Number::Bytes(bytes) => write!(f, "{name} {op} {bytes}B"),
            },
            Self::Ip { name, negated, text } => {
                write!(f, "{name}{}ip({})", if *negated { "!=" } else { "=" }, quote(text))
            }
        }
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.without { "without (" } else { "by (" })?;
        join(f, &self.names, ", ", |f, name| f.write_str(name))?;
        f.write_str(")")
    }
}

impl Display for RangeAgg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.op)?;
        if let Some(param) = self.param {
            write!(f, "{param}, ")?;
        }
        self.log.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            let label = &unwrap.label;
            match unwrap.convert {
                Convert::Plain => write!(f, " | unwrap {label}")?,
                Convert::Bytes => write!(f, " | unwrap bytes({label})")?,
                Convert::Duration => write!(f, " | unwrap duration({label})")?,
                Convert::DurationSeconds => write!(f, " | unwrap duration_seconds({label})")?,
            }
            for filter in &unwrap.filters {
                write!(f, " | {filter}")?;
            }
        }
        write!(f, " [{}]", Duration(self.range_ns))?;
        if self.offset_ns != 0 {
            write!(f, " offset {}", Duration(self.offset_ns))?;
        }
        f.write_str(")")?;
        match &self.grouping {
            Some(grouping) => write!(f, " {grouping}"),
            None => Ok(()),
        }
    }
}

impl Display for BinaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Cmp(op) => op.name(),
        })
    }
}

impl Display for Metric {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => write!(f, "{value}"),
            Self::Vector(value) => write!(f, "vector({value})"),
            Self::Range(range) => range.fmt(f),
            Self::Aggregate { op, param, grouping, inner } => {
                write!(f, "{op}")?;
                if let Some(grouping) = grouping {
                    write!(f, " {grouping} ")?;
                }
                match param {
                    Some(param) => write!(f, "({param}, {inner})"),
                    None => write!(f, "({inner})"),
                }
            }
            Self::Binary { op, returns_bool, matching, left, right } => {
                write!(f, "({left} {op} ")?;
                if *returns_bool {
                    f.write_str("bool ")?;
                }
                if let Some(matching) = matching {
                    f.write_str(if matching.on { "on (" } else { "ignoring (" })?;
                    join(f, &matching.names, ", ", |f, name| f.write_str(name))?;
                    f.write_str(") ")?;
                    if let Some((side, names)) = &matching.group {
                        f.write_str(if *side == Side::Left { "group_left (" } else { "group_right (" })?;
                        join(f, names, ", ", |f, name| f.write_str(name))?;
                        f.write_str(") ")?;
                    }
                }
                write!(f, "{right})")
            }
            Self::LabelReplace { inner, dst, replacement, src, regex } => {
                write!(
                    f,
                    "label_replace({inner}, {}, {}, {}, {})",
                    quote(dst),
                    quote(replacement),
                    quote(src),
                    quote(regex)
                )
            }
        }
    }
}
