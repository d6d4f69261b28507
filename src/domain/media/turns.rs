//! Whose image is worked on next: one at a time for each session, the sessions in turn.
//!
//! Invariant: whoever has a turn has its session first and a place after, and waits for a place
//! behind at most one image of each other session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Queue, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::decode::MAX_MEMORY;
use crate::error::{Error, Result};
use crate::ids::SessionNumber;

/// Places at the work on images.
pub struct ImageTurns {
    sessions: Mutex<HashMap<SessionNumber, Weak<Queue<()>>>>,
    places: Arc<Semaphore>,
    /// All images together take no more memory than the largest may: in mebibytes.
    memory: Arc<Semaphore>,
}

/// An image may be worked on while this is held. The order of the fields is that in which they are
/// given back: the next image of the session queues behind those of the others.
pub struct ImageTurn {
    _memory: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
    _session: OwnedMutexGuard<()>,
}

/// It is this image's turn in its session; a place among all comes after.
pub struct SessionTurn(OwnedMutexGuard<()>);

impl ImageTurns {
    /// So many images at once, at least one.
    pub fn new(places: usize) -> Self {
        Self {
            sessions: Mutex::default(),
            places: Arc::new(Semaphore::new(places.max(1))),
            memory: Arc::new(Semaphore::new(mebibytes(MAX_MEMORY) as usize)),
        }
    }

    /// As many as this machine has processors, but for one, which serves.
    pub fn of_machine() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(processors.saturating_sub(1))
    }

    /// Waits until no other image of the session is worked on.
    pub async fn of(&self, session: SessionNumber) -> SessionTurn {
        let queue = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.retain(|_, queue| queue.strong_count() > 0);
            let known = sessions.get(&session).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let queue = Arc::default();
                sessions.insert(session, Arc::downgrade(&queue));
                queue
            })
        };
        SessionTurn(queue.lock_owned().await)
    }

    /// Waits for a place, and for so many bytes of memory.
    pub async fn acquire(&self, called: SessionTurn, bytes: u64) -> Result<ImageTurn> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(Error::internal)?;
        let share = mebibytes(bytes.clamp(1, MAX_MEMORY));
        let memory = self.memory.clone().acquire_many_owned(share).await;
        Ok(ImageTurn {
            _memory: memory.map_err(Error::internal)?,
            _place: place,
            _session: called.0,
        })
    }
}

fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use futures_util::FutureExt as _;

    use super::*;

    /// Waits for a whole turn.
    fn turn(
        turns: &Arc<ImageTurns>,
        session: u32,
        bytes: u64,
    ) -> impl Future<Output = ImageTurn> + use<> {
        let turns = turns.clone();
        async move {
            let called = turns.of(SessionNumber(session)).await;
            turns.acquire(called, bytes).await.expect("a turn")
        }
    }

    #[test]
    fn a_stranger_waits_for_one_picture_and_not_for_a_hundred() {
        let turns = Arc::new(ImageTurns::new(1));
        let first = turn(&turns, 1, 1).now_or_never().expect("it is free");
        let mut greedy: Vec<_> = (0..100).map(|_| Box::pin(turn(&turns, 1, 1))).collect();
        for waiting in &mut greedy {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        let mut other = Box::pin(turn(&turns, 2, 1));
        assert!(other.as_mut().now_or_never().is_none());
        drop(first);
        assert!(greedy[0].as_mut().now_or_never().is_none(), "not yet again");
        let other = other.now_or_never().expect("the other session's turn");
        drop(other);
        assert!(greedy[0].as_mut().now_or_never().is_some());
    }

    #[test]
    fn a_session_has_one_place_of_several_and_all_have_one_memory() {
        let turns = Arc::new(ImageTurns::new(3));
        let small = turn(&turns, 1, 1).now_or_never().expect("it is free");
        assert!(turn(&turns, 1, 1).now_or_never().is_none(), "one at a time");
        let mut large = Box::pin(turn(&turns, 2, u64::MAX));
        assert!(large.as_mut().now_or_never().is_none(), "no memory is left");
        drop(small);
        let large = large.now_or_never().expect("all of the memory");
        assert!(turn(&turns, 1, 1).now_or_never().is_none());
        drop(large);
        assert!(turn(&turns, 1, 1).now_or_never().is_some());
        assert_eq!(turns.places.available_permits(), 3);
    }
}
