//! Templates of `line_format` and `label_format`: a subset of Go's text/template.
//!
//! Fields `.name`, `__line__`, `__timestamp__`, pipes, functions, `if`/`else if`/`else`/`end`
//! and trimming `{{-`, `-}}`. What is not there (`range`, `with`, variables, definitions) is refused
//! with a message.

mod functions;
mod parse;

use std::borrow::Cow;

use super::fields::Fields;
use functions::call;

/// Whether a template can be had.
pub(crate) fn check_template(text: &str) -> Result<(), String> {
    Template::new(text).map(|_| ())
}

/// A template ready to run.
#[derive(Debug, Clone)]
pub(super) struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Text(String),
    Print(Expr),
    /// Condition and body of each branch; the last may have no condition.
    If(Vec<(Option<Expr>, Vec<Node>)>),
}

#[derive(Debug, Clone)]
enum Expr {
    Field(String),
    Literal(Value<'static>),
    Call(&'static str, Vec<Expr>),
}

/// A value inside a template.
#[derive(Debug, Clone, PartialEq)]
enum Value<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Nanoseconds since the epoch.
    Time(i64),
}

/// What a template can see.
struct Scope<'a> {
    time_ns: i64,
    line: &'a str,
    fields: &'a Fields<'a>,
}

impl Template {
    /// Reads a template.
    pub fn new(text: &str) -> Result<Self, String> {
        Ok(Self { nodes: parse::parse(text)? })
    }

    /// Fills the template in.
    pub fn render(&self, time_ns: i64, line: &str, fields: &Fields<'_>) -> Result<String, String> {
        let scope = Scope { time_ns, line, fields };
        let mut out = String::new();
        render(&self.nodes, &scope, &mut out)?;
        Ok(out)
    }

    /// Calls `each` with every label that the template reads.
    pub fn names(&self, each: &mut dyn FnMut(&str)) {
        of_nodes(&self.nodes, each);
    }
}

fn of_nodes(nodes: &[Node], each: &mut dyn FnMut(&str)) {
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Print(expr) => of_expr(expr, each),
            Node::If(branches) => {
                for (condition, body) in branches {
                    condition.iter().for_each(|expr| of_expr(expr, each));
                    of_nodes(body, each);
                }
            }
        }
    }
}

fn of_expr(expr: &Expr, each: &mut dyn FnMut(&str)) {
    match expr {
        Expr::Field(name) => each(name),
        Expr::Literal(_) => {}
        Expr::Call(_, args) => args.iter().for_each(|arg| of_expr(arg, each)),
    }
}

/// Most bytes that a template may make of one line.
const MAX_OUTPUT: usize = 1 << 20;

fn render(nodes: &[Node], scope: &Scope<'_>, out: &mut String) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(expr) => out.push_str(&eval(expr, scope)?.text()),
            Node::If(branches) => {
                for (condition, body) in branches {
                    let taken = match condition {
                        Some(condition) => eval(condition, scope)?.is_true(),
                        None => true,
                    };
                    if taken {
                        render(body, scope, out)?;
                        break;
                    }
                }
            }
        }
        if out.len() > MAX_OUTPUT {
            return Err(format!("the template makes more than {MAX_OUTPUT} bytes"));
        }
    }
    Ok(())
}

fn eval<'a>(expr: &'a Expr, scope: &Scope<'a>) -> Result<Value<'a>, String> {
    match expr {
        Expr::Field(name) => Ok(Value::Text(Cow::Borrowed(scope.fields.get(name)))),
        Expr::Literal(value) => Ok(value.clone()),
        Expr::Call(name, args) => {
            // `and` and `or` answer the deciding argument.
            if matches!(*name, "and" | "or") {
                let mut last = Value::Bool(*name == "and");
                for arg in args {
                    last = eval(arg, scope)?;
                    if last.is_true() == (*name == "or") {
                        break;
                    }
                }
                return Ok(last);
            }
            let args = args.iter().map(|arg| eval(arg, scope)).collect::<Result<Vec<_>, _>>()?;
            call(name, args, scope).map_err(|reason| format!("{name}: {reason}"))
        }
    }
}

impl<'a> Value<'a> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Int(value) => Cow::Owned(value.to_string()),
            Self::Float(value) => Cow::Owned(crate::query::format_float(*value)),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Time(ns) => Cow::Owned(functions::format_time(*ns, functions::TIME_LAYOUT)),
        }
    }

    fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Bool(value) => *value,
            Self::Time(_) => true,
        }
    }

    fn float(&self) -> f64 {
        match self {
            Self::Text(text) => text.trim().parse().unwrap_or_default(),
            Self::Int(value) => *value as f64,
            Self::Float(value) => *value,
            Self::Bool(value) => f64::from(u8::from(*value)),
            Self::Time(ns) => *ns as f64,
        }
    }

    fn int(&self) -> i64 {
        match self {
            Self::Text(text) => text.trim().parse().unwrap_or_else(|_| self.float() as i64),
            Self::Int(value) | Self::Time(value) => *value,
            Self::Float(value) => *value as i64,
            Self::Bool(value) => i64::from(*value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use binnacle_proto::Labels;

    fn fill(template: &str) -> String {
        let labels = Labels::from_pairs([("app", "Web"), ("status", "200"), ("path", "/a/b")]).unwrap();
        let mut fields = Fields::default();
        fields.reset(&labels, None);
        Template::new(template).unwrap().render(1_700_000_000_000_000_000, "the line", &fields).unwrap()
    }

    #[test]
    fn fields_pipes_and_functions() {
        for (template, want) in [
            ("{{.app}}: {{.missing}}|", "Web: |"),
            ("{{ .app | ToUpper | printf \"%s-%s\" .status }}", "200-WEB"),
            ("{{ __line__ | len }}", "8"),
            ("{{ Replace .path \"/\" \"_\" 1 }}", "_a/b"),
            ("{{ .path | replace \"/\" \"_\" }}", "_a_b"),
            ("{{ if eq .status \"200\" }}ok{{ else if eq .status \"404\" }}no{{else}}bad{{ end }}", "ok"),
            ("{{ if and (ne .app \"x\") (hasPrefix \"/a\" .path) -}}  yes {{- end }}", "yes"),
            (
                "{{ add 1 2 | mul 3 }} {{ div 7 2 }} {{ mulf 1.5 2 }} {{ .status | int | sub 300 }}",
                "9 3 3 100",
            ),
            ("{{ default \"none\" .missing }} {{ .app | trunc 2 }} {{ substr 1 3 .path }}", "none We a/"),
            ("{{ regexReplaceAll \"[0-9]\" .status \"x\" }} {{ title \"ab cd\" }}", "xxx Ab Cd"),
            ("{{ __timestamp__ | date \"2006-01-02 15:04:05\" }}", "2023-11-14 22:13:20"),
            ("{{ alignRight 5 .app }}|{{ alignLeft 2 .app }}", "  Web|We"),
        ] {
            assert_eq!(fill(template), want, "{template}");
        }
    }

    #[test]
    fn bad_templates_are_refused() {
        for bad in
            ["{{ .a", "{{ nothing 1 }}", "{{ if .a }}", "{{ end }}", "{{ range .a }}{{ end }}", "{{ ) }}"]
        {
            assert!(Template::new(bad).is_err(), "{bad}");
        }
    }
}
