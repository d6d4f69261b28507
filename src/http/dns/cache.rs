//! What was found out, while it holds, and what is being found out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::time::Instant;

/// More names than this at a time are not kept.
const MAX_NAMES: usize = 256;

/// The end of a search: addresses, or why there are none.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) addresses: Result<Vec<IpAddr>, &'static str>,
    /// From then on it is asked for again.
    pub(super) until: Instant,
}

/// The place of one search. Whoever looks up the name meanwhile waits for it; when the one that
/// searches gives up, the next goes on.
type Place = Arc<OnceCell<Found>>;

/// The places of names. All fall away when the machine's configuration changes.
#[derive(Default)]
pub(super) struct Cache {
    configuration: String,
    places: HashMap<String, Place>,
}

impl Cache {
    /// The place of a name: with what was found, if that still holds.
    pub(super) fn place(&mut self, configuration: &str, name: &str, now: Instant) -> Place {
        if self.configuration != configuration {
            configuration.clone_into(&mut self.configuration);
            self.places.clear();
        }
        self.places.retain(|_, place| match place.get() {
            Some(found) => now < found.until,
            // Everybody who waited has gone.
            None => Arc::strong_count(place) > 1,
        });
        if let Some(place) = self.places.get(name) {
            return place.clone();
        }
        let place = Place::default();
        if self.places.len() < MAX_NAMES {
            self.places.insert(name.to_owned(), place.clone());
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fill(place: &Place, until: Instant) {
        let found = Found {
            addresses: Ok(Vec::new()),
            until,
        };
        place.set(found).expect("an empty place");
    }

    #[test]
    fn what_was_found_is_kept_while_it_holds() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let until = now + Duration::from_secs(5);
        fill(&cache.place("", "a", now), until);
        let before = until - Duration::from_millis(1);
        assert!(cache.place("", "a", before).initialized());
        assert!(!cache.place("", "b", before).initialized());
        assert!(!cache.place("", "a", until).initialized());
        fill(&cache.place("", "a", now), until);
        assert!(!cache.place("another", "a", now).initialized());
    }

    #[test]
    fn what_is_being_found_out_is_shared_until_nobody_waits() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let first = cache.place("", "a", now);
        assert!(Arc::ptr_eq(&first, &cache.place("", "a", now)));
        drop(first);
        cache.place("", "b", now);
        assert_eq!(cache.places.len(), 1);
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let held: Vec<_> = (0..300)
            .map(|i| cache.place("", &i.to_string(), now))
            .collect();
        assert_eq!((held.len(), cache.places.len()), (300, MAX_NAMES));
        // What does not fit is found out all the same, for whoever asked.
        fill(&held[299], now + Duration::from_secs(5));
        assert!(!cache.place("", "299", now).initialized());
        drop(held);
        cache.place("", "299", now);
        assert_eq!(cache.places.len(), 1);
    }
}
