//! Counted places: so many in all, and so many for each holder.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bounds what is under way at a time, so that no single holder takes what the others need.
pub struct ConcurrencyLimit<K: Eq + Hash> {
    most: usize,
    each: usize,
    taken: Mutex<(usize, HashMap<K, usize>)>,
}

impl<K: Eq + Hash + Clone> ConcurrencyLimit<K> {
    /// So many places in all, and so many for each holder.
    pub fn new(most: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            each,
            taken: Mutex::default(),
        })
    }

    /// Takes a place until it is dropped; `None` when there is none for this holder.
    pub fn take(self: &Arc<Self>, holder: K) -> Option<Permit<K>> {
        let mut taken = self.taken();
        let own = taken.1.get(&holder).copied().unwrap_or(0);
        if taken.0 >= self.most || own >= self.each {
            return None;
        }
        taken.0 += 1;
        taken.1.insert(holder.clone(), own + 1);
        drop(taken);
        Some(Permit {
            of: self.clone(),
            holder,
        })
    }

    fn taken(&self) -> MutexGuard<'_, (usize, HashMap<K, usize>)> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken for as long as this lives.
pub struct Permit<K: Eq + Hash + Clone> {
    of: Arc<ConcurrencyLimit<K>>,
    holder: K,
}

impl<K: Eq + Hash + Clone> fmt::Debug for Permit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl<K: Eq + Hash + Clone> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        taken.0 -= 1;
        if let Some(own) = taken.1.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                taken.1.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_leaves_room_for_the_others() {
        let places = ConcurrencyLimit::new(3, 2);
        let first = places.take("a").expect("a place");
        let _second = places.take("a").expect("a place");
        assert!(places.take("a").is_none());
        let _third = places.take("b").expect("a place");
        assert!(places.take("c").is_none(), "all are taken");
        drop(first);
        let _fourth = places.take("c").expect("a place");
        assert_eq!(places.taken().1.len(), 3, "nobody is remembered in vain");
    }
}
