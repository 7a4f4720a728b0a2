//! Functions by name.

/// A function from number to number.
pub(in crate::promql) type Elementwise = fn(f64) -> f64;

/// A function over the samples of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql) enum Windowed {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Deriv,
    PredictLinear,
    DoubleExponentialSmoothing,
    Changes,
    Resets,
    Sum,
    Avg,
    Min,
    Max,
    Count,
    First,
    Last,
    Stddev,
    Stdvar,
    Quantile,
    Mad,
    Present,
    Absent,
    TsOfFirst,
    TsOfLast,
    TsOfMin,
    TsOfMax,
}

/// A function.
#[derive(Debug, Clone, Copy)]
pub(in crate::promql) enum Function {
    Windowed(&'static str, Windowed),
    Elementwise(&'static str, Elementwise),
    /// Year, month… of a time in seconds.
    Date(&'static str, Elementwise),
    Absent,
    Clamp,
    ClampMin,
    ClampMax,
    Round,
    Scalar,
    Vector,
    Time,
    Pi,
    /// Bounds and step of the query, in seconds.
    Start,
    End,
    Step,
    QueryRange,
    MinOf,
    MaxOf,
    Timestamp,
    Sort,
    SortDesc,
    SortByLabel,
    SortByLabelDesc,
    LabelReplace,
    LabelJoin,
    HistogramQuantile,
    HistogramQuantiles,
    HistogramFraction,
    /// `histogram_sum` and others, which look at native histograms only.
    NativeOnly(&'static str),
    Info,
}

impl Function {
    /// Whether it yields a number for each step.
    pub(in crate::promql) fn is_scalar(self) -> bool {
        use Function::{End, MaxOf, MinOf, Pi, QueryRange, Scalar, Start, Step, Time};
        matches!(self, Scalar | Time | Pi | Start | End | Step | QueryRange | MinOf | MaxOf)
    }

    /// Whether its value depends on the evaluation time even when its arguments do not.
    pub(in crate::promql) fn depends_on_time(self) -> bool {
        matches!(
            self,
            Self::Time | Self::Timestamp | Self::Date(..) | Self::Windowed(_, Windowed::PredictLinear)
        )
    }

    /// Its name in queries.
    pub(in crate::promql) fn name(self) -> &'static str {
        match self {
            Self::Windowed(name, _)
            | Self::Elementwise(name, _)
            | Self::Date(name, _)
            | Self::NativeOnly(name) => name,
            Self::Absent => "absent",
            Self::Clamp => "clamp",
            Self::ClampMin => "clamp_min",
            Self::ClampMax => "clamp_max",
            Self::Round => "round",
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Time => "time",
            Self::Pi => "pi",
            Self::Start => "start",
            Self::End => "end",
            Self::Step => "step",
            Self::QueryRange => "range",
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
            Self::Timestamp => "timestamp",
            Self::Sort => "sort",
            Self::SortDesc => "sort_desc",
            Self::SortByLabel => "sort_by_label",
            Self::SortByLabelDesc => "sort_by_label_desc",
            Self::LabelReplace => "label_replace",
            Self::LabelJoin => "label_join",
            Self::HistogramQuantile => "histogram_quantile",
            Self::HistogramQuantiles => "histogram_quantiles",
            Self::HistogramFraction => "histogram_fraction",
            Self::Info => "info",
        }
    }

    /// The function of a name; `None` when this evaluator does not have it.
    pub(in crate::promql) fn named(name: &str) -> Option<Self> {
        use crate::promql::eval::dates;
        let elementwise = |name, function| Some(Self::Elementwise(name, function));
        let date = |name, function| Some(Self::Date(name, function));
        let windowed = |name, function| Some(Self::Windowed(name, function));
        match name {
            "abs" => elementwise("abs", f64::abs),
            "acos" => elementwise("acos", f64::acos),
            "acosh" => elementwise("acosh", f64::acosh),
            "asin" => elementwise("asin", f64::asin),
            "asinh" => elementwise("asinh", f64::asinh),
            "atan" => elementwise("atan", f64::atan),
            "atanh" => elementwise("atanh", f64::atanh),
            "ceil" => elementwise("ceil", f64::ceil),
            "cos" => elementwise("cos", f64::cos),
            "cosh" => elementwise("cosh", f64::cosh),
            "deg" => elementwise("deg", |v| v * 180.0 / std::f64::consts::PI),
            "exp" => elementwise("exp", f64::exp),
            "floor" => elementwise("floor", f64::floor),
            "ln" => elementwise("ln", f64::ln),
            "log10" => elementwise("log10", f64::log10),
            "log2" => elementwise("log2", f64::log2),
            "rad" => elementwise("rad", |v| v * std::f64::consts::PI / 180.0),
            "sgn" => elementwise("sgn", |v| {
                if v < 0.0 {
                    -1.0
                } else if v > 0.0 {
                    1.0
                } else {
                    v
                }
            }),
            "sin" => elementwise("sin", f64::sin),
            "sinh" => elementwise("sinh", f64::sinh),
            "sqrt" => elementwise("sqrt", f64::sqrt),
            "tan" => elementwise("tan", f64::tan),
            "tanh" => elementwise("tanh", f64::tanh),
            "day_of_month" => date("day_of_month", dates::day_of_month),
            "day_of_week" => date("day_of_week", dates::day_of_week),
            "day_of_year" => date("day_of_year", dates::day_of_year),
            "days_in_month" => date("days_in_month", dates::days_in_month),
            "hour" => date("hour", dates::hour),
            "minute" => date("minute", dates::minute),
            "month" => date("month", dates::month),
            "year" => date("year", dates::year),
            "absent_over_time" => windowed("absent_over_time", Windowed::Absent),
            "avg_over_time" => windowed("avg_over_time", Windowed::Avg),
            "changes" => windowed("changes", Windowed::Changes),
            "count_over_time" => windowed("count_over_time", Windowed::Count),
            "delta" => windowed("delta", Windowed::Delta),
            "deriv" => windowed("deriv", Windowed::Deriv),
            "double_exponential_smoothing" => {
                windowed("double_exponential_smoothing", Windowed::DoubleExponentialSmoothing)
            }
            "first_over_time" => windowed("first_over_time", Windowed::First),
            "idelta" => windowed("idelta", Windowed::Idelta),
            "increase" => windowed("increase", Windowed::Increase),
            "irate" => windowed("irate", Windowed::Irate),
            "last_over_time" => windowed("last_over_time", Windowed::Last),
            "mad_over_time" => windowed("mad_over_time", Windowed::Mad),
            "max_over_time" => windowed("max_over_time", Windowed::Max),
            "min_over_time" => windowed("min_over_time", Windowed::Min),
            "predict_linear" => windowed("predict_linear", Windowed::PredictLinear),
            "present_over_time" => windowed("present_over_time", Windowed::Present),
            "quantile_over_time" => windowed("quantile_over_time", Windowed::Quantile),
            "rate" => windowed("rate", Windowed::Rate),
            "resets" => windowed("resets", Windowed::Resets),
            "stddev_over_time" => windowed("stddev_over_time", Windowed::Stddev),
            "stdvar_over_time" => windowed("stdvar_over_time", Windowed::Stdvar),
            "sum_over_time" => windowed("sum_over_time", Windowed::Sum),
            "ts_of_first_over_time" => windowed("ts_of_first_over_time", Windowed::TsOfFirst),
            "ts_of_last_over_time" => windowed("ts_of_last_over_time", Windowed::TsOfLast),
            "ts_of_max_over_time" => windowed("ts_of_max_over_time", Windowed::TsOfMax),
            "ts_of_min_over_time" => windowed("ts_of_min_over_time", Windowed::TsOfMin),
            "absent" => Some(Self::Absent),
            "clamp" => Some(Self::Clamp),
            "clamp_min" => Some(Self::ClampMin),
            "clamp_max" => Some(Self::ClampMax),
            "round" => Some(Self::Round),
            "scalar" => Some(Self::Scalar),
            "vector" => Some(Self::Vector),
            "time" => Some(Self::Time),
            "pi" => Some(Self::Pi),
            "start" => Some(Self::Start),
            "end" => Some(Self::End),
            "step" => Some(Self::Step),
            "range" => Some(Self::QueryRange),
            "min_of" => Some(Self::MinOf),
            "max_of" => Some(Self::MaxOf),
            "timestamp" => Some(Self::Timestamp),
            "sort" => Some(Self::Sort),
            "sort_desc" => Some(Self::SortDesc),
            "sort_by_label" => Some(Self::SortByLabel),
            "sort_by_label_desc" => Some(Self::SortByLabelDesc),
            "label_replace" => Some(Self::LabelReplace),
            "label_join" => Some(Self::LabelJoin),
            "histogram_quantile" => Some(Self::HistogramQuantile),
            "histogram_quantiles" => Some(Self::HistogramQuantiles),
            "histogram_fraction" => Some(Self::HistogramFraction),
            "histogram_avg" => Some(Self::NativeOnly("histogram_avg")),
            "histogram_count" => Some(Self::NativeOnly("histogram_count")),
            "histogram_stddev" => Some(Self::NativeOnly("histogram_stddev")),
            "histogram_stdvar" => Some(Self::NativeOnly("histogram_stdvar")),
            "histogram_sum" => Some(Self::NativeOnly("histogram_sum")),
            "info" => Some(Self::Info),
            _ => None,
        }
    }
}
