//! Where nodes stand in the text: the parser's tree has no positions, so the tokens are walked beside it.
//!
//! The tree says what must come next; the cursor only follows. Should the two ever disagree, positions
//! of later nodes are off and nothing else.

use super::tokens::{Kind, Token, tokens};

/// A walk over a query's tokens.
pub(super) struct Cursor<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    /// Before the first token of `query`.
    pub(super) fn new(query: &'a str) -> Self {
        Self { tokens: tokens(query), next: 0, end: query.len() }
    }

    /// Byte offset of the next token.
    pub(super) fn offset(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |token| token.start)
    }

    /// The next token.
    pub(super) fn text(&self) -> &'a str {
        self.peek(0)
    }

    fn peek(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.next + ahead).map_or("", |token| token.text)
    }

    fn is_word(&self, words: &[&str]) -> bool {
        self.tokens.get(self.next).is_some_and(|token| {
            token.kind == Kind::Word && words.iter().any(|word| word.eq_ignore_ascii_case(token.text))
        })
    }

    /// Passes one token.
    pub(super) fn skip(&mut self) {
        self.next += 1;
    }

    /// Passes the next token when it is `text`.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.peek(0) == text;
        if found {
            self.next += 1;
        }
        found
    }

    /// Passes unary plus signs, of which the tree knows nothing.
    pub(super) fn skip_plus(&mut self) {
        while self.take("+") {}
    }

    /// Passes a number with its signs, which the tree has folded into it.
    pub(super) fn skip_number(&mut self) {
        while self.take("+") || self.take("-") {}
        self.skip();
    }

    /// Passes from `open` to the `close` that belongs to it, when `open` comes next.
    pub(super) fn skip_brackets(&mut self, open: &str, close: &str) {
        if self.peek(0) != open {
            return;
        }
        let mut depth = 0usize;
        while let Some(token) = self.tokens.get(self.next) {
            self.next += 1;
            if token.kind == Kind::Mark && token.text == open {
                depth += 1;
            } else if token.kind == Kind::Mark && token.text == close {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
        }
    }

    /// Passes a selector's name and braces.
    pub(super) fn skip_selector(&mut self) {
        if self.peek(0) != "{" {
            self.skip();
        }
        self.skip_brackets("{", "}");
    }

    /// Passes `offset` and `@`.
    pub(super) fn skip_modifiers(&mut self) {
        loop {
            if self.is_word(&["offset"]) {
                self.skip();
                self.skip_number();
            } else if self.take("@") {
                if self.is_word(&["start", "end"]) {
                    self.skip();
                    self.skip_brackets("(", ")");
                } else {
                    self.skip_number();
                }
            } else {
                return;
            }
        }
    }

    /// Passes `by (…)` or `without (…)`.
    pub(super) fn skip_grouping(&mut self) {
        if self.is_word(&["by", "without"]) && self.peek(1) == "(" {
            self.skip();
            self.skip_brackets("(", ")");
        }
    }

    /// Passes what may stand between a binary operator and its right side.
    pub(super) fn skip_matching(&mut self) {
        const LISTS: [&str; 7] =
            ["on", "ignoring", "group_left", "group_right", "fill", "fill_left", "fill_right"];
        loop {
            if self.is_word(&["bool"])
                || (self.is_word(&["group_left", "group_right"]) && self.peek(1) != "(")
            {
                self.skip();
            } else if self.is_word(&LISTS) && self.peek(1) == "(" {
                self.skip();
                self.skip_brackets("(", ")");
            } else {
                return;
            }
        }
    }
}

/// `line:column` of a byte offset, both from 1; columns count bytes.
pub(super) fn line_column(query: &str, offset: usize) -> String {
    let before = &query.as_bytes()[..offset.min(query.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.len() - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) + 1;
    format!("{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::column::Grid;
    use crate::promql::plan::{Kind, Node, plan};

    fn children(node: &Node) -> Vec<&Node> {
        match &node.kind {
            Kind::Binary(binary) => vec![&binary.left, &binary.right],
            Kind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.inner]).collect(),
            Kind::Call(_, args) => args.iter().collect(),
            Kind::Negate(inner) => vec![inner],
            _ => vec![],
        }
    }

    fn walk<'a>(node: &'a Node, out: &mut Vec<&'a Node>) {
        out.push(node);
        children(node).into_iter().for_each(|child| walk(child, out));
    }

    #[test]
    fn each_node_knows_where_it_stands() {
        let query = "histogram_quantile( +0.5, sum by (le) (rate(a{b=\"[(\"}[5m] offset -1m @ end())))\n  \
                     / on (x) group_left fill_right(-1) (topk(3, b) without (c))[1h:]";
        let query = query.replace("[1h:]", "");
        let root = plan(&query, Grid { start_ms: 0, step_ms: 1, steps: 1 }).unwrap();
        let mut nodes = Vec::new();
        walk(&root, &mut nodes);
        let starts: Vec<&str> = nodes.iter().map(|node| &query[node.at..]).collect();
        for (node, want) in
            starts.iter().zip(["histogram_q", "histogram_q", "0.5", "sum", "rate", "a{", "topk", "3", "b)"])
        {
            assert!(node.starts_with(want), "{node:.20} should be {want}");
        }
        assert_eq!(line_column(&query, nodes[6].at), "2:39");
    }
}
