//! How many files are fetched and uploaded at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::error::{Error, Result};

/// How many files of all sessions are fetched at once, and how many are left. The library keeps a
/// thread for blocking work busy for the whole way of a file, slow as the line may be; `main.rs` has
/// more of them, because reads of the store, uploads over HTTP and images need some too.
static FETCHING: Semaphore = Semaphore::const_new(6);
static LEAVING: Semaphore = Semaphore::const_new(4);

/// What one connection may have of these: strangers choose how many files it has to fetch, and must
/// not be able to hold up other sessions, nor what this one sends.
pub(super) struct DownloadSlots {
    fetching: Arc<Semaphore>,
    leaving: Arc<Semaphore>,
}

impl Default for DownloadSlots {
    fn default() -> Self {
        Self {
            fetching: Arc::new(Semaphore::new(2)),
            leaving: Arc::new(Semaphore::new(2)),
        }
    }
}

impl DownloadSlots {
    /// Waits for a place to fetch a file.
    pub(super) async fn to_fetch(&self) -> Result<DownloadSlot> {
        DownloadSlot::of(&self.fetching, &FETCHING).await
    }

    /// Waits for a place to upload a file.
    pub(super) async fn to_leave(&self) -> Result<DownloadSlot> {
        DownloadSlot::of(&self.leaving, &LEAVING).await
    }
}

/// A place for one file, given back when the value goes.
pub(super) struct DownloadSlot {
    _own: OwnedSemaphorePermit,
    _shared: SemaphorePermit<'static>,
}

impl DownloadSlot {
    /// Waits for one of the connection's own first, so that nobody waits with one of all in hand.
    async fn of(own: &Arc<Semaphore>, shared: &'static Semaphore) -> Result<Self> {
        let own = own.clone().acquire_owned().await.map_err(Error::internal)?;
        Ok(Self {
            _own: own,
            _shared: shared.acquire().await.map_err(Error::internal)?,
        })
    }
}
