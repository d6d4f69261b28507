//! One lock for each of many things, as long as somebody works on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Locks by key: whoever wants to do what another is doing waits for that one.
#[derive(Default)]
pub(super) struct KeyedLocks(Mutex<HashMap<Vec<u8>, Weak<tokio::sync::Mutex<()>>>>);

impl KeyedLocks {
    /// The lock of this key.
    pub(super) fn of(&self, key: &[u8]) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(key.to_vec(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_lock_while_it_is_held_and_takes_no_place_afterwards() {
        let locks = KeyedLocks::default();
        let (first, other) = (locks.of(b"a"), locks.of(b"b"));
        assert!(Arc::ptr_eq(&first, &locks.of(b"a")));
        assert!(!Arc::ptr_eq(&first, &other));
        drop((first, other));
        let _third = locks.of(b"c");
        assert_eq!(locks.0.lock().expect("no panic").len(), 1);
    }
}
