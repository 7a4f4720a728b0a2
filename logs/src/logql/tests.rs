//! Tests of the parser and printer: what is printed parses to the same tree; errors name their place.

use proptest::prelude::*;

use super::*;
use crate::matcher::{MatchOp, Matcher};

fn name() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_]{0,6}".prop_filter("keywords", |name| {
        !matches!(
            name.as_str(),
            "or" | "and" | "unless" | "by" | "without" | "ip" | "offset" | "bool" | "on" | "unwrap"
        )
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", "\\PC{0,6}", Just("a\n\t\"\\\u{1}".to_owned())]
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    (name(), op, "[a-z.*+]{0,3}[a-z]")
        .prop_filter_map("regex", |(name, op, value)| Matcher::new(&name, op, &value).ok())
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        (-1e6f64..1e6).prop_map(Number::Plain),
        (1i64..10_000_000_000_000).prop_map(Number::Duration),
        (1u64..1_000_000_000).prop_map(Number::Bytes),
    ]
}

fn label_filter() -> impl Strategy<Value = LabelFilter> {
    let ops = CmpOp::ALL.to_vec();
    let leaf = prop_oneof![
        matcher().prop_map(LabelFilter::Text),
        (name(), prop::sample::select(ops), number()).prop_map(|(name, op, value)| LabelFilter::Number {
            name,
            op,
            value
        }),
        (name(), any::<bool>()).prop_map(|(name, negated)| LabelFilter::Ip {
            name,
            negated,
            text: "10.0.0.0/8".into()
        }),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| LabelFilter::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| LabelFilter::Or(Box::new(a), Box::new(b))),
        ]
    })
}

fn stage() -> impl Strategy<Value = Stage> {
    let contains = prop_oneof![Just(FilterOp::Contains), Just(FilterOp::NotContains)];
    let texts = prop::collection::vec(
        prop_oneof![text().prop_map(FilterText::Text), Just(FilterText::Ip("1.2.3.4".into()))],
        1..3,
    );
    let regexes = prop::collection::vec("[a-z.+]{0,2}[a-z]".prop_map(FilterText::Text), 1..3)
        .prop_filter("regex", |all| {
            all.iter().all(|t| matches!(t, FilterText::Text(t) if regex::Regex::new(t).is_ok()))
        });
    let regex_op = prop_oneof![Just(FilterOp::Regex), Just(FilterOp::NotRegex)];
    let names = || {
        prop::collection::vec(
            prop_oneof![name().prop_map(NameFilter::Name), matcher().prop_map(NameFilter::Match)],
            1..3,
        )
    };
    prop_oneof![
        (contains, texts).prop_map(|(op, texts)| Stage::Line(LineFilter { op, texts })),
        (regex_op, regexes).prop_map(|(op, texts)| Stage::Line(LineFilter { op, texts })),
        Just(Stage::Line(LineFilter {
            op: FilterOp::Pattern,
            texts: vec![FilterText::Text("a<_>b".into())]
        })),
        prop::collection::vec((name(), "[a-z]{1,4}"), 0..3).prop_map(Stage::Json),
        (any::<bool>(), any::<bool>(), prop::collection::vec((name(), text()), 0..3))
            .prop_map(|(strict, keep_empty, fields)| Stage::Logfmt { strict, keep_empty, fields }),
        Just(Stage::Regexp("(?P<x>.*)".into())),
        Just(Stage::Pattern("<a> <_>".into())),
        Just(Stage::Unpack),
        Just(Stage::Decolorize),
        label_filter().prop_map(Stage::Label),
        Just(Stage::LineFormat("{{.a}} `x` \"y\"".into())),
        (name(), name()).prop_map(|(to, from)| Stage::LabelFormat(vec![(to, FormatValue::Rename(from))])),
        names().prop_map(Stage::Drop),
        names().prop_map(Stage::Keep),
    ]
}

/// `| drop a != "x"` is a condition on the label: a line filter cannot be written there.
fn is_ambiguous(stages: &[Stage]) -> bool {
    stages.windows(2).any(|pair| match pair {
        [Stage::Drop(names) | Stage::Keep(names), Stage::Line(filter)] => {
            matches!(names.last(), Some(NameFilter::Name(_)))
                && matches!(filter.op, FilterOp::NotContains | FilterOp::NotRegex)
        }
        _ => false,
    })
}

fn log() -> impl Strategy<Value = LogExpr> {
    (
        prop::collection::vec(matcher(), 0..3),
        prop::collection::vec(stage(), 0..4).prop_filter("ambiguous", |stages| !is_ambiguous(stages)),
    )
        .prop_map(|(mut matchers, stages)| {
            matchers.push(Matcher::new("app", MatchOp::Equal, "x").unwrap());
            LogExpr { matchers, stages }
        })
}

fn grouping() -> impl Strategy<Value = Grouping> {
    (any::<bool>(), prop::collection::vec(name(), 0..3))
        .prop_map(|(without, names)| Grouping { without, names })
}

fn range() -> impl Strategy<Value = Metric> {
    let offset = prop_oneof![Just(0i64), (1i64..1_000_000).prop_map(|ms| ms * 1_000_000)];
    let plain = (log(), 1i64..10_000_000, offset.clone()).prop_map(|(log, us, offset_ns)| RangeAgg {
        op: RangeOp::CountOverTime,
        param: None,
        log,
        unwrap: None,
        range_ns: us * 1000,
        offset_ns,
        grouping: None,
    });
    let convert = prop_oneof![
        Just(Convert::Plain),
        Just(Convert::Bytes),
        Just(Convert::Duration),
        Just(Convert::DurationSeconds)
    ];
    let unwrap = (name(), convert, prop::collection::vec(label_filter(), 0..2))
        .prop_map(|(label, convert, filters)| Unwrap { label, convert, filters });
    let unwrapped = (log(), unwrap, prop::option::of(grouping()), 0.0f64..1.0, offset).prop_map(
        |(log, unwrap, grouping, q, offset_ns)| RangeAgg {
            op: RangeOp::QuantileOverTime,
            param: Some(q),
            log,
            unwrap: Some(unwrap),
            range_ns: 300_000_000_000,
            offset_ns,
            grouping,
        },
    );
    prop_oneof![plain, unwrapped].prop_map(Metric::Range)
}

fn metric() -> impl Strategy<Value = Metric> {
    let leaf = prop_oneof![
        4 => range(),
        1 => (-1e3f64..1e3).prop_map(Metric::Literal),
        1 => (-1e3f64..1e3).prop_map(Metric::Vector),
    ];
    leaf.prop_recursive(3, 6, 2, |inner| {
        let op = prop::sample::select(vec![
            BinaryOp::Add,
            BinaryOp::Sub,
            BinaryOp::Mul,
            BinaryOp::Div,
            BinaryOp::Mod,
            BinaryOp::Pow,
            BinaryOp::Cmp(CmpOp::Less),
            BinaryOp::Cmp(CmpOp::Equal),
        ]);
        let matching = (any::<bool>(), prop::collection::vec(name(), 0..2), prop::option::of(any::<bool>()))
            .prop_map(|(on, names, left)| Matching {
                on,
                names,
                group: left.map(|left| (if left { Side::Left } else { Side::Right }, vec!["x".to_owned()])),
            });
        prop_oneof![
            (inner.clone(), prop::option::of(grouping())).prop_map(|(inner, grouping)| Metric::Aggregate {
                op: VectorOp::Sum,
                param: None,
                grouping,
                inner: Box::new(inner)
            }),
            (inner.clone(), 1u8..9).prop_map(|(inner, k)| Metric::Aggregate {
                op: VectorOp::TopK,
                param: Some(f64::from(k)),
                grouping: None,
                inner: Box::new(inner),
            }),
            (op, any::<bool>(), prop::option::of(matching), inner.clone(), inner.clone()).prop_map(
                |(op, bool, matching, left, right)| Metric::Binary {
                    returns_bool: bool && op.comparison().is_some(),
                    op,
                    matching,
                    left: Box::new(left),
                    right: Box::new(right),
                }
            ),
            inner.prop_map(|inner| Metric::LabelReplace {
                inner: Box::new(inner),
                dst: "d".into(),
                replacement: "$1".into(),
                src: "s".into(),
                regex: "(.*)".into(),
            }),
        ]
    })
}

proptest! {
    #[test]
    fn printed_log_queries_parse_to_the_same_tree(log in log()) {
        let text = log.to_string();
        let parsed = parse(&text);
        prop_assert!(matches!(&parsed, Ok(Expr::Log(again)) if *again == log), "{text}\n{log:?}\n{parsed:?}");
    }

    #[test]
    fn printed_metric_queries_parse_to_the_same_tree(metric in metric()) {
        let text = metric.to_string();
        let parsed = parse(&text);
        prop_assert!(matches!(&parsed, Ok(Expr::Metric(again)) if *again == metric), "{text}\n{metric:?}\n{parsed:?}");
    }

    #[test]
    fn any_text_is_parsed_or_refused_without_a_panic(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn words_of_the_language_in_any_order_do_not_panic(words in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "app", "=", "\"x\"", "|=", "|~", "|", "json", "unwrap", "rate", "(", ")", "[5m]", "sum", "by", "1",
        "+", "and", "or", "5KB", "ip", "line_format", "label_format", "offset", "-", "`a`", ",", "topk", "!=", ">",
    ]), 0..20)) {
        let _ = parse(&words.join(" "));
    }
}

#[test]
fn errors_name_line_and_column() {
    for (text, line, column, part) in [
        ("", 1, 1, "unexpected end of query"),
        ("{app=\"x\"", 1, 9, "expecting ,"),
        ("{app=\"x\"} |= ", 1, 14, "expecting a string"),
        ("{app=\"x\"} |~ \"(\"", 1, 14, "bad regex"),
        ("{app=\"x\"}\n| nope", 2, 3, "unknown stage"),
        ("rate({app=\"x\"})", 1, 5, "a range such as [5m] is missing"),
        ("sum_over_time({app=\"x\"}[5m])", 1, 14, "without unwrap"),
        ("sum(1) by", 1, 10, "expecting ("),
        ("{}", 1, 1, "empty-compatible"),
        ("{app=\"x\"} | regexp \"(a)\"", 1, 20, "named capture"),
        ("{app=\"x\"} | line_format \"{{ .a\"", 1, 25, "unclosed action"),
        ("topk(0, rate({a=\"b\"}[1m]))", 1, 6, "whole number"),
        ("{a=\"b\"} ~", 1, 9, "unexpected character"),
        ("\"abc", 1, 1, "does not end"),
    ] {
        let Err(crate::Error::Parse { line: l, column: c, message }) = parse(text) else {
            panic!("{text} parses")
        };
        assert!((l, c) == (line, column) && message.contains(part), "{text:?}: {l}:{c} {message}");
    }
    let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
    assert!(parse(&deep).unwrap_err().to_string().contains("nests deeper"));
}
