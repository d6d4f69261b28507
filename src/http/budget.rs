//! The room for bodies in memory: all requests under way share it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Code, Error, Result};
use crate::memory;

/// What every request may hold without asking.
const FREE: usize = 16 * 1024;

/// One permit of the room, in bytes.
const UNIT: usize = 1024;

/// How long a request waits for room that others hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was held above this leaves memory that is worth giving back.
const LARGE: usize = 1024 * 1024;

/// How many large bodies are read at the same time.
const READ_AT_ONCE: usize = 2;

/// The room that the bodies of all requests under way take together.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    total: usize,
    left: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

impl BodyBudget {
    /// So many bytes.
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        let units = units.clamp(1024, Semaphore::MAX_PERMITS);
        Self {
            total: units * UNIT,
            left: Arc::new(Semaphore::new(units)),
            readers: Arc::new(Semaphore::new(READ_AT_ONCE)),
        }
    }

    /// A share of it, empty as yet.
    pub(super) fn share(&self) -> BudgetShare {
        BudgetShare {
            budget: self.clone(),
            bytes: 0,
            permit: None,
        }
    }
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

/// A request's share of the room; others have it again when it is dropped.
#[derive(Debug)]
pub struct BudgetShare {
    budget: BodyBudget,
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl BudgetShare {
    /// Makes it larger, waiting a moment for others that end.
    pub async fn grow(&mut self, by: usize) -> Result<()> {
        let bytes = self.bytes + by;
        if bytes > self.budget.total {
            let most = self.budget.total;
            let text = format!(
                "The request body is larger than the {most} bytes that this server holds at once (setting body_budget)"
            );
            return Err(Error::new(Code::BodyTooLarge, text));
        }
        let has = self.permit.as_ref().map_or(0, |p| p.num_permits());
        let needs = bytes
            .saturating_sub(FREE)
            .div_ceil(UNIT)
            .saturating_sub(has);
        if needs > 0 {
            let units = u32::try_from(needs).map_err(Error::internal)?;
            let more = self.budget.left.clone().acquire_many_owned(units);
            let busy = "The server is busy with other large requests; try again";
            let more = tokio::time::timeout(PATIENCE, more)
                .await
                .map_err(|_| Error::new(Code::ServerBusy, busy))?
                .map_err(Error::internal)?;
            match &mut self.permit {
                Some(permit) => permit.merge(more),
                none => *none = Some(more),
            }
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Waits for the turn to read a large body: only a few are read at the same time.
    pub(super) async fn turn_to_read(&self) -> Result<OwnedSemaphorePermit> {
        let readers = self.budget.readers.clone();
        readers.acquire_owned().await.map_err(Error::internal)
    }

    /// Makes it smaller: the rest of the body is not held any more.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            return;
        }
        self.left_behind();
        self.bytes = bytes;
        let units = bytes.saturating_sub(FREE).div_ceil(UNIT);
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(units)));
        }
    }

    fn left_behind(&self) {
        if self.bytes > LARGE {
            memory::give_back();
        }
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.left_behind();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn shares_are_given_back_as_they_shrink_and_go() {
        let budget = BodyBudget::new(2 << 20);
        let mut first = budget.share();
        first.grow(1 << 20).await.expect("room");
        first.grow(1 << 20).await.expect("room");
        let left = budget.left.available_permits();
        assert_eq!(left, FREE / UNIT);
        assert_eq!(
            first.grow(1).await.expect_err("too large").kind(),
            ErrorKind::TooLarge
        );
        first.shrink_to(1 << 20);
        assert_eq!(budget.left.available_permits(), 1024 + FREE / UNIT);
        drop(first);
        assert_eq!(budget.left.available_permits(), 2048);
    }

    #[tokio::test]
    async fn a_request_waits_for_room_that_others_hold() {
        let budget = BodyBudget::new(1 << 20);
        let mut first = budget.share();
        first.grow(1 << 20).await.expect("room");
        let mut second = budget.share();
        second.grow(FREE).await.expect("a little is free");
        assert!(second.grow(64 * 1024).now_or_never().is_none());
        drop(first);
        second.grow(64 * 1024).await.expect("room again");
    }
}
