//! Tokens into a tree.

use super::Fault;
use super::functions;
use super::lex::{Kind, Token};

/// Blocks within blocks, and parentheses within parentheses, at most.
const MAX_DEPTH: usize = 50;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If { arms: Arms, otherwise: Vec<Node> },
    With { arms: Arms, otherwise: Vec<Node> },
    Range { pipe: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
    Template { at: usize, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub(super) variables: Vec<String>,
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Base {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Variable(String),
    Function(String),
    Pipe(Box<Pipe>),
}

/// Conditions with what they guard.
pub(super) type Arms = Vec<(Pipe, Vec<Node>)>;

pub(super) type Parsed = (Vec<Node>, Vec<(String, Vec<Node>)>);

pub(super) fn parse(tokens: Vec<Token>) -> Result<Parsed, Fault> {
    let variables = ["", "labels", "externalLabels", "externalURL", "value"].map(str::to_owned).to_vec();
    let mut parser = Parser { tokens, next: 0, variables, defines: Vec::new(), depth: 0, loops: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        None => Ok((nodes, parser.defines)),
        Some((at, word)) => Err(Fault::new(at, format!("unexpected {{{{{word}}}}}"))),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// Names in scope.
    variables: Vec<String>,
    defines: Vec<(String, Vec<Node>)>,
    depth: usize,
    loops: usize,
}

/// `else` or `end`, and where it stands. After `else` the parser stands behind the word.
type End = Option<(usize, String)>;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn at(&self) -> usize {
        self.peek().or(self.tokens.last()).map_or(0, |token| token.at)
    }

    fn close(&mut self, what: &str) -> Result<(), Fault> {
        match self.take() {
            Some(Token { kind: Kind::Close, .. }) => Ok(()),
            Some(token) => Err(Fault::new(token.at, format!("unexpected {} in {what}", shown(&token.kind)))),
            None => Err(Fault::new(self.at(), format!("unexpected end of the template in {what}"))),
        }
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, End), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(self.at(), format!("more than {MAX_DEPTH} blocks within one another")));
        }
        let mut nodes = Vec::new();
        let end = loop {
            match self.take() {
                None => break None,
                Some(Token { kind: Kind::Text(text), .. }) => nodes.push(Node::Text(text)),
                Some(_) => {
                    let word = match self.peek() {
                        Some(Token { at, kind: Kind::Word(word) }) => Some((*at, word.clone())),
                        _ => None,
                    };
                    if let Some((at, word)) = word {
                        if word == "end" || word == "else" {
                            self.next += 1;
                            break Some((at, word));
                        }
                        if let Some(node) = self.keyword(at, &word)? {
                            nodes.extend(node);
                            continue;
                        }
                    }
                    nodes.push(Node::Action(self.pipe("command")?));
                    self.close("command")?;
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    /// A node that begins with a keyword, `Some(None)` when it leaves no node, `None` when the word is
    /// not a keyword.
    fn keyword(&mut self, at: usize, word: &str) -> Result<Option<Option<Node>>, Fault> {
        if !matches!(word, "if" | "with" | "range" | "define" | "template" | "block" | "break" | "continue") {
            return Ok(None);
        }
        self.next += 1;
        let scope = self.variables.len();
        let node = match word {
            "if" | "with" => {
                let (arms, otherwise) = self.arms(at, word)?;
                Some(if word == "if" { Node::If { arms, otherwise } } else { Node::With { arms, otherwise } })
            }
            "range" => Some(self.range(at)?),
            "define" | "block" => {
                let name = self.name(word)?;
                let pipe = if word == "block" { Some(self.pipe("block clause")?) } else { None };
                self.close("define clause")?;
                let outer = std::mem::replace(&mut self.variables, vec![String::new()]);
                let body = self.body(at, word)?;
                self.variables = outer;
                self.defines.push((name.clone(), body));
                pipe.map(|pipe| Node::Template { at, name, pipe: Some(pipe) })
            }
            "template" => {
                let name = self.name(word)?;
                let bare = matches!(self.peek(), Some(Token { kind: Kind::Close, .. }));
                let pipe = if bare { None } else { Some(self.pipe("template clause")?) };
                self.close("template clause")?;
                Some(Node::Template { at, name, pipe })
            }
            _ => {
                if self.loops == 0 {
                    return Err(Fault::new(at, format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                self.close(word)?;
                Some(if word == "break" { Node::Break } else { Node::Continue })
            }
        };
        self.variables.truncate(scope);
        Ok(Some(node))
    }

    fn name(&mut self, word: &str) -> Result<String, Fault> {
        let at = self.at();
        match self.take() {
            Some(Token { kind: Kind::Str(name), .. }) => Ok(name),
            _ => Err(Fault::new(at, format!("{word} needs a quoted name"))),
        }
    }

    fn body(&mut self, at: usize, word: &str) -> Result<Vec<Node>, Fault> {
        match self.nodes()? {
            (nodes, Some((_, end))) if end == "end" => {
                self.close("end")?;
                Ok(nodes)
            }
            (_, Some((at, end))) => Err(Fault::new(at, format!("unexpected {{{{{end}}}}}"))),
            (_, None) => Err(Fault::new(at, format!("{{{{{word}}}}} without {{{{end}}}}"))),
        }
    }

    fn arms(&mut self, at: usize, word: &str) -> Result<(Arms, Vec<Node>), Fault> {
        let mut arms = Vec::new();
        loop {
            let pipe = self.pipe(word)?;
            self.close(word)?;
            let (nodes, end) = self.nodes()?;
            arms.push((pipe, nodes));
            match end {
                None => return Err(Fault::new(at, format!("{{{{{word}}}}} without {{{{end}}}}"))),
                Some((_, end)) if end == "end" => {
                    self.close("end")?;
                    return Ok((arms, Vec::new()));
                }
                Some(_) => {}
            }
            let again = matches!(self.peek(), Some(Token { kind: Kind::Word(next), .. }) if next == word);
            if again {
                self.next += 1;
                continue;
            }
            self.close("else")?;
            return Ok((arms, self.body(at, word)?));
        }
    }

    fn range(&mut self, at: usize) -> Result<Node, Fault> {
        let pipe = self.pipe("range")?;
        self.close("range")?;
        self.loops += 1;
        let (body, end) = self.nodes()?;
        self.loops -= 1;
        let otherwise = match end {
            None => return Err(Fault::new(at, "{{range}} without {{end}}")),
            Some((_, end)) if end == "end" => {
                self.close("end")?;
                Vec::new()
            }
            Some(_) => {
                self.close("else")?;
                self.body(at, "range")?
            }
        };
        Ok(Node::Range { pipe, body, otherwise })
    }

    fn pipe(&mut self, what: &str) -> Result<Pipe, Fault> {
        let (variables, assigns) = self.declaration(what)?;
        let mut commands = vec![self.command(what)?];
        while matches!(self.peek(), Some(Token { kind: Kind::Pipe, .. })) {
            self.next += 1;
            commands.push(self.command(what)?);
        }
        for command in &commands[1..] {
            if !matches!(command.operands[0].base, Base::Function(_)) {
                return Err(Fault::new(command.at, "what comes after | must be a function"));
            }
        }
        // Declared names are seen from here on, not within their own pipeline.
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { variables, assigns, commands })
    }

    /// `$a :=`, `$a =`, and in a range `$i, $a :=`.
    fn declaration(&mut self, what: &str) -> Result<(Vec<String>, bool), Fault> {
        let kind = |at: usize| self.tokens.get(self.next + at).map(|token| &token.kind);
        let (names, sign) = match (kind(0), kind(1), kind(2), kind(3)) {
            (Some(Kind::Variable(a)), Some(sign @ (Kind::Declare | Kind::Assign)), ..) => {
                (vec![a.clone()], sign)
            }
            (
                Some(Kind::Variable(a)),
                Some(Kind::Comma),
                Some(Kind::Variable(b)),
                Some(sign @ (Kind::Declare | Kind::Assign)),
            ) => (vec![a.clone(), b.clone()], sign),
            _ => return Ok((Vec::new(), false)),
        };
        if names.len() > 1 && what != "range" {
            return Err(Fault::new(self.at(), format!("too many declarations in {what}")));
        }
        let assigns = *sign == Kind::Assign;
        if assigns {
            for name in &names {
                self.must_exist(name, self.at())?;
            }
        }
        self.next += names.len() * 2;
        Ok((names, assigns))
    }

    fn must_exist(&self, name: &str, at: usize) -> Result<(), Fault> {
        if self.variables.iter().any(|have| have == name) {
            return Ok(());
        }
        Err(Fault::new(at, format!("undefined variable \"${name}\"")))
    }

    fn command(&mut self, what: &str) -> Result<Command, Fault> {
        let at = self.at();
        let mut operands: Vec<Operand> = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
        }
        if operands.is_empty() {
            return Err(Fault::new(at, format!("missing value for {what}")));
        }
        if operands.len() > 1 && !matches!(operands[0].base, Base::Function(_)) {
            return Err(Fault::new(at, "can't give argument to non-function"));
        }
        Ok(Command { at, operands })
    }

    fn operand(&mut self) -> Result<Option<Operand>, Fault> {
        let Some(token) = self.peek().cloned() else { return Ok(None) };
        let mut fields = Vec::new();
        let base = match token.kind {
            Kind::Word(word) => match word.as_str() {
                "true" => Base::Bool(true),
                "false" => Base::Bool(false),
                "nil" => Base::Nil,
                _ if functions::exists(&word) => Base::Function(word),
                _ => return Err(Fault::new(token.at, format!("function {word:?} not defined"))),
            },
            Kind::Field(name, _) => {
                if !name.is_empty() {
                    fields.push(name);
                }
                Base::Dot
            }
            Kind::Variable(name) => {
                self.must_exist(&name, token.at)?;
                Base::Variable(name)
            }
            Kind::Int(number) => Base::Int(number),
            Kind::Float(number) => Base::Float(number),
            Kind::Str(text) => Base::Str(text),
            Kind::ParenOpen => {
                self.next += 1;
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(Fault::new(token.at, format!("more than {MAX_DEPTH} levels of parentheses")));
                }
                let pipe = self.pipe("parenthesized pipeline")?;
                self.depth -= 1;
                if !matches!(self.peek(), Some(Token { kind: Kind::ParenClose, .. })) {
                    return Err(Fault::new(token.at, "unclosed left paren"));
                }
                Base::Pipe(Box::new(pipe))
            }
            _ => return Ok(None),
        };
        self.next += 1;
        while let Some(Token { kind: Kind::Field(name, true), .. }) = self.peek() {
            fields.push(name.clone());
            self.next += 1;
        }
        Ok(Some(Operand { at: token.at, base, fields }))
    }
}

fn shown(kind: &Kind) -> String {
    match kind {
        Kind::Text(_) => "text".into(),
        Kind::Open => "{{".into(),
        Kind::Close => "}}".into(),
        Kind::Word(word) => format!("{word:?}"),
        Kind::Field(name, _) => format!("\".{name}\""),
        Kind::Variable(name) => format!("\"${name}\""),
        Kind::Int(number) => format!("\"{number}\""),
        Kind::Float(number) => format!("\"{number}\""),
        Kind::Str(text) => format!("{text:?}"),
        Kind::Declare => "\":=\"".into(),
        Kind::Assign => "\"=\"".into(),
        Kind::Pipe => "\"|\"".into(),
        Kind::Comma => "\",\"".into(),
        Kind::ParenOpen => "\"(\"".into(),
        Kind::ParenClose => "\")\"".into(),
    }
}
