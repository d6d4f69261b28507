//! Stanzas that wait until a companion confirms them, in the order in which they were sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore_binary::Node;

/// What kind of stanza is confirmed; each kind is confirmed in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Appends a stanza; answers its place.
    pub(super) fn push(&mut self, class: Class, id: &str, node: Arc<Node>) -> u64 {
        let place = self.next;
        self.put(place, class, id, node);
        place
    }

    /// Puts a stanza in the place that it had.
    pub(super) fn put(&mut self, place: u64, class: Class, id: &str, node: Arc<Node>) {
        self.waiting.insert(place, (class, node));
        self.by_id
            .entry((class, id.into()))
            .or_default()
            .push(place);
        self.next = self.next.max(place + 1);
    }

    pub(super) fn get(&self, place: u64) -> Option<&(Class, Arc<Node>)> {
        self.waiting.get(&place)
    }

    /// The places that are taken.
    pub(super) fn places(&self) -> impl Iterator<Item = u64> {
        self.waiting.keys().copied()
    }

    /// Forgets the oldest stanza of that class and id; answers its place.
    pub(super) fn confirm(&mut self, class: Class, id: &str) -> Option<u64> {
        let key = (class, Box::from(id));
        let places = self.by_id.get_mut(&key)?;
        let place = places.remove(0);
        if places.is_empty() {
            self.by_id.remove(&key);
        }
        self.waiting.remove(&place).map(|_| place)
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
        assert_eq!(outbox.confirm(Class::Message, "a"), Some(0));
        assert_eq!(outbox.confirm(Class::Receipt, "b"), None);
        let left: Vec<_> = outbox
            .iter()
            .map(|(_, node)| node.attrs.get("id").expect("id").to_string())
            .collect();
        assert_eq!(left, ["b", "a"]);
        assert_eq!(outbox.confirm(Class::Message, "a"), Some(2));
        assert_eq!(outbox.confirm(Class::Message, "b"), Some(1));
        assert!(outbox.len() == 0 && outbox.confirm(Class::Message, "b").is_none());
    }
}
