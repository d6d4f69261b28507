//! Stanzas that wait until a companion confirms them, in the order in which they were sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use whatsapp_rust::wacore_binary::Node;

/// What kind of stanza is confirmed; each kind is confirmed in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Message,
    Receipt,
    Notification,
    Call,
}

impl Class {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "message" => Self::Message,
            "receipt" => Self::Receipt,
            "notification" => Self::Notification,
            "call" => Self::Call,
            _ => return None,
        })
    }
}

/// The queue of one companion.
///
/// Invariant: a stanza stays here until it is confirmed, so that a client that was killed gets it
/// again at its next login.
#[derive(Default)]
pub(super) struct Outbox {
    next: u64,
    waiting: BTreeMap<u64, (Class, Arc<Node>)>,
    by_id: HashMap<(Class, Box<str>), Vec<u64>>,
}

impl Outbox {
    pub(super) fn push(&mut self, class: Class, id: &str, node: Arc<Node>) {
        self.waiting.insert(self.next, (class, node));
        self.by_id
            .entry((class, id.into()))
            .or_default()
            .push(self.next);
        self.next += 1;
    }

    /// Forgets the oldest stanza of that class and id.
    pub(super) fn confirm(&mut self, class: Class, id: &str) -> bool {
        let key = (class, Box::from(id));
        let Some(places) = self.by_id.get_mut(&key) else {
            return false;
        };
        let place = places.remove(0);
        if places.is_empty() {
            self.by_id.remove(&key);
        }
        self.waiting.remove(&place).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Class, Arc<Node>)> {
        self.waiting.values()
    }
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::wacore_binary::builder::NodeBuilder;

    use super::*;

    #[test]
    fn keeps_the_order_and_forgets_what_is_confirmed() {
        let mut outbox = Outbox::default();
        for id in ["a", "b", "a"] {
            let node = NodeBuilder::new("message").attr("id", id).build();
            outbox.push(Class::Message, id, Arc::new(node));
        }
        assert!(outbox.confirm(Class::Message, "a"));
        assert!(!outbox.confirm(Class::Receipt, "b"));
        let left: Vec<_> = outbox
            .iter()
            .map(|(_, node)| node.attrs.get("id").expect("id").to_string())
            .collect();
        assert_eq!(left, ["b", "a"]);
        assert!(outbox.confirm(Class::Message, "a") && outbox.confirm(Class::Message, "b"));
        assert!(outbox.len() == 0 && !outbox.confirm(Class::Message, "b"));
    }
}
