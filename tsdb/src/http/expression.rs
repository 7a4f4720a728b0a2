//! `format_query` and `parse_query`: expressions as text and as a tree.

use promql_parser::label::MatchOp;
use promql_parser::parser::{
    AtModifier, BinModifier, Expr, LabelModifier, Offset, VectorMatchCardinality, VectorSelector,
};
use serde_json::{Value, json};

use super::answer::{ApiError, Outcome, success};
use super::params::Params;

/// `GET|POST /api/v1/format_query`: `query`, laid out over lines where it is long.
pub(super) async fn format(params: Params) -> Outcome {
    let query = params.one("query").unwrap_or_default();
    success(&crate::promql::format_query(query).map_err(|error| ApiError::parameter("query", error))?)
}

/// `GET|POST /api/v1/parse_query`: `query` as a tree with Prometheus' field names.
pub(super) async fn parse(params: Params) -> Outcome {
    success(&tree(&parsed(&params)?))
}

fn parsed(params: &Params) -> Result<Expr, ApiError> {
    let query = params.one("query").unwrap_or_default();
    // Refuses what is too long or too deep before the tree is built.
    crate::promql::format_query(query).map_err(|error| ApiError::parameter("query", error))?;
    promql_parser::parser::parse(query).map_err(ApiError::internal)
}

fn tree(expr: &Expr) -> Value {
    match expr {
        Expr::Aggregate(node) => {
            let grouping = match &node.modifier {
                Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) => {
                    labels.labels.clone()
                }
                None => Vec::new(),
            };
            json!({
                "type": "aggregation",
                "op": node.op.to_string(),
                "expr": tree(&node.expr),
                "param": node.param.as_deref().map(tree),
                "grouping": grouping,
                "without": matches!(node.modifier, Some(LabelModifier::Exclude(_))),
            })
        }
        Expr::Unary(node) => json!({ "type": "unaryExpr", "op": "-", "expr": tree(&node.expr) }),
        Expr::Binary(node) => json!({
            "type": "binaryExpr",
            "op": node.op.to_string(),
            "lhs": tree(&node.lhs),
            "rhs": tree(&node.rhs),
            "matching": matching(node.modifier.as_ref(), expr),
            "bool": node.modifier.as_ref().is_some_and(|modifier| modifier.return_bool),
        }),
        Expr::Paren(node) => json!({ "type": "parenExpr", "expr": tree(&node.expr) }),
        Expr::Subquery(node) => {
            let (timestamp, bound) = at(node.at.as_ref());
            json!({
                "type": "subquery",
                "expr": tree(&node.expr),
                "range": node.range.as_millis() as u64,
                "step": node.step.map_or(0, |step| step.as_millis() as u64),
                "offset": offset_ms(node.offset.as_ref()),
                "timestamp": timestamp,
                "startOrEnd": bound,
            })
        }
        Expr::NumberLiteral(node) => {
            json!({ "type": "numberLiteral", "val": crate::promql::format_value(node.val) })
        }
        Expr::StringLiteral(node) => json!({ "type": "stringLiteral", "val": node.val }),
        Expr::VectorSelector(node) => selector("vectorSelector", node, None),
        Expr::MatrixSelector(node) => {
            selector("matrixSelector", &node.vs, Some(node.range.as_millis() as u64))
        }
        Expr::Call(node) => json!({
            "type": "call",
            "func": {
                "name": node.func.name,
                "argTypes": node.func.arg_types.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "variadic": node.func.variadic,
                "returnType": node.func.return_type.to_string(),
            },
            "args": node.args.args.iter().map(|arg| tree(arg)).collect::<Vec<_>>(),
        }),
        Expr::Extension(_) => json!({ "type": "placeholderExpr" }),
    }
}

fn matching(modifier: Option<&BinModifier>, expr: &Expr) -> Option<Value> {
    let is_vectors = matches!(expr, Expr::Binary(node)
        if node.lhs.value_type() == promql_parser::parser::value::ValueType::Vector
        && node.rhs.value_type() == promql_parser::parser::value::ValueType::Vector);
    if !is_vectors {
        return None;
    }
    let Some(modifier) = modifier else {
        return Some(json!({ "card": "one-to-one", "labels": [], "on": false, "include": [] }));
    };
    let (card, include) = match &modifier.card {
        VectorMatchCardinality::OneToOne => ("one-to-one", None),
        VectorMatchCardinality::ManyToOne(labels) => ("many-to-one", Some(labels)),
        VectorMatchCardinality::OneToMany(labels) => ("one-to-many", Some(labels)),
        VectorMatchCardinality::ManyToMany => ("many-to-many", None),
    };
    let (on, labels) = match &modifier.matching {
        Some(LabelModifier::Include(labels)) => (true, labels.labels.clone()),
        Some(LabelModifier::Exclude(labels)) => (false, labels.labels.clone()),
        None => (false, Vec::new()),
    };
    let include = include.map(|labels| labels.labels.clone()).unwrap_or_default();
    Some(json!({ "card": card, "labels": labels, "on": on, "include": include }))
}

fn selector(kind: &str, node: &VectorSelector, range: Option<u64>) -> Value {
    let mut matchers: Vec<Value> = node
        .matchers
        .matchers
        .iter()
        .map(|matcher| {
            let op = match &matcher.op {
                MatchOp::Equal => "=",
                MatchOp::NotEqual => "!=",
                MatchOp::Re(_) => "=~",
                MatchOp::NotRe(_) => "!~",
            };
            json!({ "name": matcher.name, "value": matcher.value, "type": op })
        })
        .collect();
    if let Some(name) = &node.name {
        matchers.push(json!({ "name": "__name__", "value": name, "type": "=" }));
    }
    let (timestamp, bound) = at(node.at.as_ref());
    let mut tree = json!({
        "type": kind,
        "name": node.name.clone().unwrap_or_default(),
        "matchers": matchers,
        "offset": offset_ms(node.offset.as_ref()),
        "timestamp": timestamp,
        "startOrEnd": bound,
    });
    if let (Some(range), Some(fields)) = (range, tree.as_object_mut()) {
        fields.insert("range".into(), range.into());
    }
    tree
}

fn offset_ms(offset: Option<&Offset>) -> i64 {
    match offset {
        Some(Offset::Pos(by)) => by.as_millis() as i64,
        Some(Offset::Neg(by)) => -(by.as_millis() as i64),
        None => 0,
    }
}

fn at(at: Option<&AtModifier>) -> (Option<i64>, Option<&'static str>) {
    match at {
        Some(AtModifier::Start) => (None, Some("start")),
        Some(AtModifier::End) => (None, Some("end")),
        Some(AtModifier::At(time)) => {
            let after = time.duration_since(std::time::UNIX_EPOCH).map(|after| after.as_millis() as i64);
            (Some(after.unwrap_or_else(|before| -(before.duration().as_millis() as i64))), None)
        }
        None => (None, None),
    }
}
