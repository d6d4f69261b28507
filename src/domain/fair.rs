//! Places for work that takes long: so many at once, and so many of them for one session, so that no
//! session waits for what another asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::ids::SessionNumber;

/// Places of one kind.
pub struct SessionSlots {
    all: Arc<Semaphore>,
    each: usize,
    sessions: Mutex<HashMap<SessionNumber, Weak<Semaphore>>>,
}

/// A place that is taken, until it is dropped.
pub struct SessionSlot {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl SessionSlots {
    /// `all` at once, `each` of them for one session.
    pub fn new(all: usize, each: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            each,
            sessions: Mutex::default(),
        }
    }

    /// Waits for a place: first among those of the session, which hold up nobody else.
    pub async fn take(&self, session: SessionNumber) -> Result<SessionSlot> {
        let own = self.of(session).acquire_owned();
        let own = own.await.map_err(Error::internal)?;
        let all = self.all.clone().acquire_owned();
        let all = all.await.map_err(Error::internal)?;
        Ok(SessionSlot {
            _all: all,
            _own: own,
        })
    }

    fn of(&self, session: SessionNumber) -> Arc<Semaphore> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = sessions.get(&session).and_then(Weak::upgrade) {
            return own;
        }
        sessions.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.each));
        sessions.insert(session, Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_session_waits_for_itself_and_not_for_others() {
        let places = SessionSlots::new(3, 2);
        let (one, two) = (SessionNumber(1), SessionNumber(2));
        let first = places.take(one).await.expect("a place");
        let _second = places.take(one).await.expect("a place");
        assert!(places.take(one).now_or_never().is_none());
        let _other = places.take(two).now_or_never().expect("at once");
        assert!(places.take(two).now_or_never().is_none(), "all are taken");
        drop(first);
        assert!(places.take(two).now_or_never().is_some());
    }
}
