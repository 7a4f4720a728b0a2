//! Queries: operators × functions × modifiers. What Prometheus has changed since 3.5 is left out:
//! `first_over_time`, `mad_over_time` of NaN, `histogram_fraction` of classic histograms, the order of checks in some errors.

use super::samples::{END_MS, START_MS};
use crate::random::Random;

/// A query and when to run it.
#[derive(Debug, Clone)]
pub struct Query {
    /// The expression.
    pub expr: String,
    /// Milliseconds since the epoch.
    pub start_ms: i64,
    /// End and step of a range query; `None` for an instant one.
    pub range: Option<(i64, i64)>,
}

/// Makes queries.
pub struct Generator(pub Random);

const ELEMENTWISE: [&str; 17] = [
    "abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "round", "atan", "sinh", "tanh",
    "asinh", "deg", "rad", "-",
];
const OVER_TIME: [&str; 23] = [
    "rate",
    "increase",
    "irate",
    "delta",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "present_over_time",
    "last_over_time",
    "absent_over_time",
    "rate",
    "ts_of_min_over_time",
    "ts_of_max_over_time",
    "ts_of_last_over_time",
    "rate",
];
const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISON: [&str; 6] = ["==", "!=", ">", "<", ">=", "<="];
const DATES: [&str; 8] =
    ["year", "month", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute"];

impl Generator {
    /// The next query.
    pub fn query(&mut self) -> Query {
        let random = &mut self.0;
        let start_ms = random.between(START_MS - 600_000, END_MS + 300_000);
        let range = random.chance(50).then(|| {
            let step_ms = [1_000, 7_000, 15_000, 60_000, 61_300, 300_000][random.below(6)];
            (start_ms + step_ms * random.between(0, 40), step_ms)
        });
        let depth = random.below(3) + 1;
        let expr = if random.chance(5) { self.scalar(depth) } else { self.vector(depth) };
        Query { expr, start_ms, range }
    }

    fn selector(&mut self) -> String {
        let random = &mut self.0;
        let name = random.pick(&[
            "req_total",
            "req_total",
            "temp",
            "load",
            "lat_bucket",
            "odd",
            "alone",
            "meta_info",
        ]);
        let mut matchers: Vec<String> = Vec::new();
        for (label, values) in
            [("job", ["api", "web", "db"]), ("instance", ["a", "b", "c"]), ("code", ["200", "404", "500"])]
        {
            if random.chance(25) {
                let value = random.pick(&values);
                matchers.push(match random.below(4) {
                    0 => format!("{label}=\"{value}\""),
                    1 => format!("{label}!=\"{value}\""),
                    2 => format!("{label}=~\"{value}|x.*\""),
                    _ => format!("{label}!~\"[{value}].*\""),
                });
            }
        }
        if random.chance(4) {
            return format!("{{__name__=~\"temp|load\",{}}}", matchers.join(","));
        }
        format!("{name}{{{}}}", matchers.join(","))
    }

    fn modifiers(&mut self) -> String {
        let random = &mut self.0;
        let mut text = String::new();
        if random.chance(12) {
            let sign = if random.chance(30) { "-" } else { "" };
            text.push_str(&format!(" offset {sign}{}s", random.between(1, 900)));
        }
        if random.chance(10) {
            match random.below(3) {
                0 => text.push_str(" @ start()"),
                1 => text.push_str(" @ end()"),
                _ => {
                    let at_ms = random.between(START_MS, END_MS);
                    text.push_str(&format!(" @ {}.{:03}", at_ms / 1000, at_ms % 1000));
                }
            }
        }
        text
    }

    fn range(&mut self, depth: usize) -> String {
        let length = self.0.between(5, 1_200);
        if depth > 0 && self.0.chance(20) {
            let inner = self.vector(depth - 1);
            let step = if self.0.chance(30) { String::new() } else { format!("{}s", self.0.between(7, 120)) };
            return format!("({inner})[{length}s:{step}]{}", self.modifiers());
        }
        format!("{}[{length}s]{}", self.selector(), self.modifiers())
    }

    fn scalar(&mut self, depth: usize) -> String {
        match self.0.below(if depth == 0 { 4 } else { 7 }) {
            0 => format!("{}", self.0.between(-20, 20)),
            1 => format!("{:.3}", self.0.unit() * 10.0 - 5.0),
            2 => "time()".to_owned(),
            3 => self.0.pick(&["Inf", "NaN", "pi()", "0", "1e3", "0x1f"]).to_owned(),
            4 => format!("scalar({})", self.vector(depth - 1)),
            5 => {
                let (left, op, right) =
                    (self.scalar(depth - 1), self.0.pick(&ARITHMETIC), self.scalar(depth - 1));
                format!("({left} {op} {right})")
            }
            _ => {
                let (left, op, right) =
                    (self.scalar(depth - 1), self.0.pick(&COMPARISON), self.scalar(depth - 1));
                format!("({left} {op} bool {right})")
            }
        }
    }

    fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            return format!("{}{}", self.selector(), self.modifiers());
        }
        match self.0.below(16) {
            0..=4 => self.over_time(depth),
            5..=7 => self.aggregation(depth),
            8..=10 => self.binary(depth),
            11 | 12 => self.call(depth),
            13 => self.histogram(depth),
            14 => self.labels(depth),
            _ => format!("{}{}", self.selector(), self.modifiers()),
        }
    }

    fn over_time(&mut self, depth: usize) -> String {
        let range = self.range(depth - 1);
        match self.0.below(12) {
            0 => format!("quantile_over_time({:.2}, {range})", self.0.unit() * 1.2 - 0.1),
            1 => format!("predict_linear({range}, {})", self.0.between(-600, 3_600)),
            2 => format!("double_exponential_smoothing({range}, {:.2}, 0.3)", self.0.unit() * 0.98 + 0.01),
            _ => format!("{}({range})", self.0.pick(&OVER_TIME)),
        }
    }

    fn grouping(&mut self) -> String {
        let labels =
            self.0.pick(&["job", "job, instance", "instance", "code", "le", "", "missing", "job, le"]);
        match self.0.below(4) {
            0 => String::new(),
            1 => format!(" without ({labels})"),
            _ => format!(" by ({labels})"),
        }
    }

    fn aggregation(&mut self, depth: usize) -> String {
        let (grouping, inner) = (self.grouping(), self.vector(depth - 1));
        match self.0.below(14) {
            ranked @ (0 | 1) => {
                // Values without ties: which of equal ones is kept depends on the order of the series.
                let values =
                    self.0.pick(&["temp", "load", "avg_over_time(load[5m])", "deriv(temp[10m]) * 3"]);
                let name = if ranked == 0 { "topk" } else { "bottomk" };
                format!("{name}{grouping} ({}, {values})", self.0.between(0, 5))
            }
            2 => format!("quantile{grouping} ({:.2}, {inner})", self.0.unit() * 1.2 - 0.1),
            3 => format!(
                "count_values{grouping} (\"value\", round({} / 7))",
                self.0.pick(&["temp", "load", "alone"])
            ),
            4 => format!("count{grouping} (limitk{grouping} (2, {inner}))"),
            _ => {
                // The spread of large numbers that lie close together depends on the order of the series.
                let large = inner.contains("time") || inner.contains("ts_of");
                let all = ["sum", "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];
                let name = self.0.pick(&all[..if large { 7 } else { 9 }]);
                format!("{name}{grouping} ({inner})")
            }
        }
    }

    fn binary(&mut self, depth: usize) -> String {
        let left = self.vector(depth - 1);
        let comparison = self.0.chance(30);
        let op = self.0.pick(if comparison { &COMPARISON[..] } else { &ARITHMETIC[..] });
        // The remainder of a large number keeps little of its precision.
        let large = left.contains("time") || left.contains("ts_of");
        let op = if op == "%" && large { "+" } else { op };
        let bool_modifier = if comparison && self.0.chance(40) { " bool" } else { "" };
        match self.0.below(8) {
            0 | 1 => format!("({left}) {op}{bool_modifier} {}", self.scalar(depth - 1)),
            2 => format!("{} {op}{bool_modifier} ({left})", self.scalar(depth - 1)),
            3 => {
                let set = self.0.pick(&["and", "or", "unless"]);
                let matching = self.0.pick(&["", " on (job)", " on (job, instance)", " ignoring (code, le)"]);
                format!("({left}) {set}{matching} ({})", self.vector(depth - 1))
            }
            4 => format!("({left}) {op}{bool_modifier} ({left})"),
            5 => {
                let one = format!("sum by (job) ({})", self.vector(depth - 1));
                format!("({left}) {op}{bool_modifier} on (job) group_left () ({one})")
            }
            6 => format!("meta_info {op}{bool_modifier} on (job) group_right (version) ({left})"),
            _ => {
                // Filters have become stricter about ambiguous matches since.
                let bool_modifier = if comparison { " bool" } else { "" };
                let matching =
                    self.0.pick(&["", " on (job, instance)", " ignoring (code)", " ignoring (zone)"]);
                format!("({left}) {op}{bool_modifier}{matching} ({})", self.vector(depth - 1))
            }
        }
    }

    fn call(&mut self, depth: usize) -> String {
        let inner = self.vector(depth - 1);
        match self.0.below(14) {
            0 => format!("clamp({inner}, {}, {})", self.scalar(0), self.scalar(0)),
            1 => format!("clamp_min({inner}, {})", self.scalar(0)),
            2 => format!("clamp_max({inner}, {})", self.scalar(0)),
            3 => format!("round({inner}, {:.2})", self.0.unit() * 5.0 + 0.01),
            4 => format!("absent({inner})"),
            // Prometheus forgets the one of them when both are there.
            5 if inner.contains('@') && inner.contains("offset") => format!("abs({inner})"),
            5 => format!("timestamp({inner})"),
            6 => format!("{}({inner})", self.0.pick(&["sort", "sort_desc"])),
            7 => format!("vector({})", self.scalar(depth - 1)),
            8 => format!("{}(timestamp(({inner}) * 1) * {})", self.0.pick(&DATES), self.0.between(-3, 3)),
            9 => format!("{}()", self.0.pick(&DATES)),
            10 => {
                // Of large numbers nothing is left but the rounding of whatever made them.
                let name = self.0.pick(&["sin", "cos", "tan"]);
                format!("{name}(clamp({inner}, -100, 100))")
            }
            _ => format!("{}({inner})", self.0.pick(&ELEMENTWISE)),
        }
    }

    fn histogram(&mut self, depth: usize) -> String {
        let buckets = match self.0.below(4) {
            0 => "lat_bucket".to_owned(),
            1 => format!("rate(lat_bucket[{}s])", self.0.between(60, 900)),
            2 => format!("sum by (le, job) (rate(lat_bucket[{}s]))", self.0.between(60, 900)),
            _ => self.vector(depth - 1),
        };
        format!("histogram_quantile({:.2}, {buckets})", self.0.unit() * 1.1)
    }

    fn labels(&mut self, depth: usize) -> String {
        let inner = self.vector(depth - 1);
        match self.0.below(2) {
            0 => format!("label_replace({inner}, \"new\", \"$1-x\", \"job\", \"(.).*\")"),
            _ => format!("label_join({inner}, \"all\", \"/\", \"job\", \"instance\", \"missing\")"),
        }
    }
}
