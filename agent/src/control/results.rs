//! Results of commands that were carried out, for those that are sent again.

use std::collections::{HashMap, VecDeque};

use binnacle_proto::node::CommandResult;

/// How many results are remembered; the oldest go first.
const MAX_RESULTS: usize = 1024;

/// Results by the command's id.
#[derive(Default)]
pub(super) struct Results {
    by_id: HashMap<String, CommandResult>,
    order: VecDeque<String>,
}

impl Results {
    /// The first result of the command with this id. A command without an id was never here.
    pub(super) fn get(&self, id: &str) -> Option<CommandResult> {
        self.by_id.get(id).cloned()
    }

    /// Remembers a result.
    pub(super) fn put(&mut self, result: CommandResult) {
        if result.id.is_empty() || self.by_id.contains_key(&result.id) {
            return;
        }
        if self.order.len() >= MAX_RESULTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.order.push_back(result.id.clone());
        self.by_id.insert(result.id.clone(), result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str, observed: &str) -> CommandResult {
        CommandResult { id: id.to_owned(), observed: observed.to_owned(), ..Default::default() }
    }

    #[test]
    fn the_first_result_stays_and_the_oldest_goes() {
        let mut results = Results::default();
        results.put(result("a", "1"));
        results.put(result("a", "2"));
        assert_eq!(results.get("a").unwrap().observed, "1");
        for n in 0..MAX_RESULTS {
            results.put(result(&n.to_string(), ""));
        }
        assert!(results.get("a").is_none());
        assert!(results.get("0").is_some());
        results.put(result("", "x"));
        assert!(results.get("").is_none());
    }
}
