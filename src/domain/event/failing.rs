//! Which webhooks fail now, so that the operator is told once when one begins to, and when it works again.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The webhooks whose last delivery failed, by their lanes, so that this is told once. Kept in memory.
#[derive(Default)]
pub struct Failing(Mutex<HashSet<Vec<u8>>>);

impl Failing {
    /// Notes how a webhook does; whether that is new.
    pub(super) fn note(&self, lane: &[u8], fails: bool) -> bool {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match fails {
            true => failing.insert(lane.to_vec()),
            false => failing.remove(lane),
        }
    }

    /// Forgets a webhook that is removed: what comes in its place has failed never.
    pub(super) fn forget(&self, lane: &[u8]) {
        self.note(lane, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_webhook_fails_is_new_once_and_that_it_works_too() {
        let failing = Failing::default();
        assert!(!failing.note(b"shop", false), "it never failed");
        assert!(failing.note(b"shop", true));
        assert!(!failing.note(b"shop", true));
        assert!(failing.note(b"other", true), "each by itself");
        assert!(failing.note(b"shop", false));
        assert!(!failing.note(b"shop", false));
        assert!(failing.note(b"shop", true));
        failing.forget(b"shop");
        assert!(failing.note(b"shop", true), "another in its place");
    }
}
