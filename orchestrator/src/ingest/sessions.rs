//! Which batches of which agent are durable already: repeats are dropped by (node, session,
//! sequence).
//!
//! Only in memory: after a restart of the server a repeat reaches the stores, which take each sample
//! and each positioned log line once.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The last session of each node.
pub(super) struct Sessions {
    max_nodes: usize,
    table: Mutex<HashMap<String, Session>>,
}

#[derive(Clone, Copy)]
struct Session {
    id: u64,
    durable: u64,
    touched_ms: i64,
}

impl Sessions {
    pub(super) fn new(max_nodes: usize) -> Self {
        Self { max_nodes, table: Mutex::default() }
    }

    /// The last batch of a session that is known to be durable; 0 when none is.
    pub(super) fn durable(&self, node: &str, session: u64) -> u64 {
        self.table.lock().get(node).filter(|have| have.id == session).map_or(0, |have| have.durable)
    }

    /// Notes that a batch, and all of its session before it, are durable. The table is bounded: the
    /// node that was silent for longest is forgotten.
    pub(super) fn advance(&self, node: &str, session: u64, durable: u64, now_ms: i64) {
        let mut table = self.table.lock();
        if let Some(have) = table.get_mut(node) {
            let known = if have.id == session { have.durable } else { 0 };
            *have = Session { id: session, durable: durable.max(known), touched_ms: now_ms };
            return;
        }
        if table.len() >= self.max_nodes {
            let oldest = table.iter().min_by_key(|(_, have)| have.touched_ms).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                table.remove(&oldest);
            }
        }
        table.insert(node.to_owned(), Session { id: session, durable, touched_ms: now_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_session_starts_at_nothing() {
        let sessions = Sessions::new(10);
        sessions.advance("a", 1, 5, 0);
        sessions.advance("a", 1, 3, 0);
        assert_eq!(sessions.durable("a", 1), 5);
        assert_eq!(sessions.durable("a", 2), 0);
        sessions.advance("a", 2, 1, 0);
        assert_eq!(sessions.durable("a", 2), 1);
        assert_eq!(sessions.durable("a", 1), 0);
    }

    #[test]
    fn longest_silent_node_is_forgotten_when_there_are_too_many() {
        let sessions = Sessions::new(2);
        sessions.advance("a", 1, 5, 10);
        sessions.advance("b", 1, 5, 20);
        sessions.advance("a", 1, 6, 30);
        sessions.advance("c", 1, 5, 40);
        assert_eq!(sessions.durable("b", 1), 0);
        assert_eq!(sessions.durable("a", 1), 6);
    }
}
