//! Goes through the tree and writes the text.

use std::rc::Rc;

use super::functions;
use super::parse::{Base, Command, Node, Operand, Pipe};
use super::value::Value;
use super::{Data, Fault, MAX_OUTPUT_BYTES, MAX_STEPS};

/// Templates that call templates, at most.
const MAX_CALLS: usize = 50;

pub(super) fn run(nodes: &[Node], defines: &[(String, Vec<Node>)], data: &Data<'_>) -> Result<String, Fault> {
    let external = data.external_labels.iter().cloned().collect();
    let variables = vec![
        (String::new(), Value::Root),
        ("labels".to_owned(), functions::labels_of(data)),
        ("externalLabels".to_owned(), Value::Map(Rc::new(external))),
        ("externalURL".to_owned(), Value::text(data.external_url)),
        ("value".to_owned(), Value::Float(data.value)),
    ];
    let mut run = Run { defines, data, variables, out: String::new(), steps: 0, calls: 0 };
    run.nodes(nodes, &Value::Root)?;
    Ok(run.out)
}

struct Run<'a> {
    defines: &'a [(String, Vec<Node>)],
    data: &'a Data<'a>,
    variables: Vec<(String, Value)>,
    out: String,
    steps: usize,
    calls: usize,
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl Run<'_> {
    fn step(&mut self, at: usize) -> Result<(), Fault> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Fault::new(at, format!("the template takes more than {MAX_STEPS} steps")));
        }
        if self.out.len() > MAX_OUTPUT_BYTES {
            return Err(Fault::new(at, format!("the template gives more than {MAX_OUTPUT_BYTES} bytes")));
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Fault> {
        for node in nodes {
            self.step(0)?;
            let scope = self.variables.len();
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.out.push_str(&value.print(true));
                    }
                    // What an action declares is seen until the end of its block.
                    continue;
                }
                Node::If { arms, otherwise } | Node::With { arms, otherwise } => {
                    let is_with = matches!(node, Node::With { .. });
                    let mut taken = None;
                    for (pipe, body) in arms {
                        let value = self.pipe(pipe, dot)?;
                        if value.is_true() {
                            taken = Some((value, body));
                            break;
                        }
                    }
                    let flow = match taken {
                        Some((value, body)) => self.block(body, if is_with { &value } else { dot })?,
                        None => self.block(otherwise, dot)?,
                    };
                    self.variables.truncate(scope);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Range { pipe, body, otherwise } => {
                    let flow = self.range(pipe, body, otherwise, dot)?;
                    self.variables.truncate(scope);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Template { at, name, pipe } => self.template(*at, name, pipe.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    /// Nodes with a scope of their own.
    fn block(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        let flow = self.nodes(nodes, dot);
        self.variables.truncate(scope);
        flow
    }

    fn template(&mut self, at: usize, name: &str, pipe: Option<&Pipe>, dot: &Value) -> Result<(), Fault> {
        let value = pipe.map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
        let found = self.defines.iter().rev().find(|(have, _)| have == name);
        let Some((_, nodes)) = found else {
            return Err(Fault::new(at, format!("template {name:?} not defined")));
        };
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(Fault::new(at, format!("more than {MAX_CALLS} templates within one another")));
        }
        let outer = std::mem::replace(&mut self.variables, vec![(String::new(), value.clone())]);
        self.nodes(nodes, &value)?;
        self.variables = outer;
        self.calls -= 1;
        Ok(())
    }

    fn range(&mut self, pipe: &Pipe, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, Fault> {
        let at = pipe.commands[0].at;
        let over = self.value(pipe, dot)?;
        let items: Vec<(Value, Value)> = match &over {
            Value::List(values) => {
                values.iter().enumerate().map(|(i, value)| (Value::Int(i as i64), value.clone())).collect()
            }
            Value::Map(map) => map
                .iter()
                .map(|(name, value)| (Value::text(name.as_str()), Value::text(value.as_str())))
                .collect(),
            Value::Args(values) => values
                .iter()
                .enumerate()
                .map(|(i, value)| (Value::text(format!("arg{i}")), value.clone()))
                .collect(),
            Value::Int(count) if *count <= MAX_STEPS as i64 => {
                (0..*count).map(|i| (Value::Int(i), Value::Int(i))).collect()
            }
            Value::Nil => Vec::new(),
            other => return Err(Fault::new(at, format!("range can't iterate over {}", other.print(false)))),
        };
        if items.is_empty() {
            return self.block(otherwise, dot);
        }
        for (key, value) in items {
            self.step(at)?;
            let scope = self.variables.len();
            let named = match pipe.variables.as_slice() {
                [] => Vec::new(),
                [one] => vec![(one, value.clone())],
                [first, second, ..] => vec![(first, key), (second, value.clone())],
            };
            for (name, value) in named {
                if pipe.assigns {
                    self.assign(name, value)
                } else {
                    self.variables.push((name.clone(), value))
                }
            }
            let flow = self.nodes(body, &value)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn assign(&mut self, name: &str, value: Value) {
        if let Some((_, have)) = self.variables.iter_mut().rev().find(|(have, _)| have == name) {
            *have = value;
        }
    }

    /// The value of a pipeline, with the effect of its declaration.
    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Fault> {
        let value = self.value(pipe, dot)?;
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(name, value.clone());
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn value(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Fault> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, value, dot)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &Command, last: Option<Value>, dot: &Value) -> Result<Value, Fault> {
        self.step(command.at)?;
        let [first, rest @ ..] = command.operands.as_slice() else { return Ok(Value::Nil) };
        match &first.base {
            Base::Function(name) => self.call(name, first, rest, last, dot),
            _ => self.operand(first, dot),
        }
    }

    fn call(
        &mut self,
        name: &str,
        place: &Operand,
        operands: &[Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Fault> {
        if name == "and" || name == "or" {
            let mut value = None;
            for operand in operands {
                let next = self.operand(operand, dot)?;
                let decided = next.is_true() == (name == "or");
                value = Some(next);
                if decided {
                    return Ok(value.unwrap_or(Value::Nil));
                }
            }
            let missing =
                || Fault::new(place.at, format!("wrong number of args for {name}: want at least 1 got 0"));
            return last.or(value).ok_or_else(missing);
        }
        let mut args = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            args.push(self.operand(operand, dot)?);
        }
        args.extend(last);
        functions::call(name, &args, self.data)
            .map_err(|reason| Fault::new(place.at, format!("error calling {name}: {reason}")))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Fault> {
        let mut value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Nil => Value::Nil,
            Base::Bool(value) => Value::Bool(*value),
            Base::Int(number) => Value::Int(*number),
            Base::Float(number) => Value::Float(*number),
            Base::Str(text) => Value::text(text.as_str()),
            Base::Variable(name) => self.variable(name),
            Base::Function(name) => self.call(name, operand, &[], None, dot)?,
            Base::Pipe(pipe) => self.value(pipe, dot)?,
        };
        for name in &operand.fields {
            value = match (&value, name.as_str()) {
                (Value::Root, "Labels") => self.variable("labels"),
                (Value::Root, "ExternalLabels") => self.variable("externalLabels"),
                (Value::Root, "ExternalURL") => self.variable("externalURL"),
                (Value::Root, "Value") => Value::Float(self.data.value),
                (other, name) => other.field(name).map_err(|reason| Fault::new(operand.at, reason))?,
            };
        }
        Ok(value)
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.variables.iter().rev().find(|(have, _)| have == name);
        found.map_or(Value::Nil, |(_, value)| value.clone())
    }
}
