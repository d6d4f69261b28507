//! Giving space back: a file that was once big is made as small as what is in it.
//!
//! redb uses free pages again and cuts free ones off the end of the file, but moves no page: one row
//! that lies behind what was deleted keeps all of it. Moving them all is redb's `compact`, crash-safe
//! by its own commits; nobody else reads or writes meanwhile, so it is done only when it is worth it
//! and, while the gateway runs, only when little has to be moved.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::failure::closed;
use super::writer::WriterCommand;
use super::{Store, offline};
use crate::error::{Error, Result};

/// How much must be free before the file is made smaller; it must be more than half of it too.
const WORTH_IT: u64 = 64 << 20;

/// How much may have to be moved while the gateway runs: everybody waits for it.
const MOVED_RUNNING: u64 = 24 << 20;

/// How much may have to be moved at a stop: whoever stops it waits for it.
const MOVED_STOPPING: u64 = 64 << 20;

/// How often it is tried while others read.
const TRIES: u32 = 50;

/// How large the file is, and how much of it holds something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// The size of the file.
    pub file: u64,
    /// What its rows take, and the trees that lead to them.
    pub used: u64,
}

impl Space {
    /// What nothing uses.
    pub fn free(self) -> u64 {
        self.file.saturating_sub(self.used)
    }

    fn is_worth_it(self) -> bool {
        self.free() > WORTH_IT && self.free() > self.used
    }
}

impl Store {
    /// Measures how much of the file is used. It reads the whole of it.
    pub async fn space(&self) -> Result<Space> {
        let used = self.read_slow(|read| read.used_bytes()).await?;
        let file = self.shared.meter.file_bytes.load(Ordering::Relaxed);
        let space = Space { file, used };
        let counters = &self.shared.counters;
        counters.measured(space.free());
        Ok(space)
    }

    /// Makes the file smaller when much of it is free: now when that takes a moment, else when the
    /// store is closed. Answers how many bytes were given back now.
    pub async fn give_space_back(&self) -> Result<u64> {
        let space = self.space().await?;
        let at_close = space.is_worth_it() && space.used <= MOVED_STOPPING;
        self.shared
            .compact_at_close
            .store(at_close, Ordering::SeqCst);
        if !space.is_worth_it() || space.used > MOVED_RUNNING {
            return Ok(0);
        }
        for _ in 0..TRIES {
            let given = self.compact().await?;
            if given > 0 {
                self.shared.compact_at_close.store(false, Ordering::SeqCst);
                return Ok(given);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(0)
    }

    /// Makes the file as small as what is in it; answers how many bytes that gave back. Nothing
    /// happens while somebody reads.
    pub async fn compact(&self) -> Result<u64> {
        let (done, given) = oneshot::channel();
        self.inbox
            .send(WriterCommand::Compact(done))
            .map_err(|_| closed())?;
        given.await.map_err(|_| closed())?
    }
}

/// How large the file at `path` is and how much of it is used, while nobody has it open.
pub fn space(path: &std::path::Path) -> Result<Space> {
    let file = std::fs::metadata(path).map_err(Error::internal)?.len();
    let used = offline::used_bytes(path)?;
    Ok(Space { file, used })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_worth_it_when_most_of_a_large_file_is_free() {
        let space = |file: u64, used: u64| Space {
            file: file << 20,
            used: used << 20,
        };
        assert!(space(300, 40).is_worth_it());
        assert!(!space(300, 160).is_worth_it());
        assert!(!space(60, 1).is_worth_it());
        assert_eq!(space(1, 2).free(), 0);
    }
}
