//! A disk in memory that can fail, fill up and lose its power.
//!
//! It outlives the [`Store`](super::Store) on it, so that a whole server can be run on it, cut off,
//! and started again on what was left.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// The unit in which a crash keeps or loses what was written.
const BLOCK: usize = 4096;

/// The disk. Everything goes through shared references, as with a file.
#[derive(Debug, Default)]
pub struct SimulatedDisk {
    state: Mutex<DiskState>,
}

#[derive(Debug, Default)]
struct DiskState {
    /// What readers see.
    image: Vec<u8>,
    /// What the blocks that were written since the last sync held before, and the length then.
    before: BTreeMap<usize, Vec<u8>>,
    synced_len: usize,
    in_use: bool,
    fails_after: Option<u64>,
    failing: bool,
    capacity: Option<usize>,
    syncs: u64,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What another machine finds after the power went: everything that was synced, and nothing of
    /// what was written since. This disk goes on as if nothing had happened.
    pub fn crash(&self) -> Arc<Self> {
        self.crash_keeping(|_| false)
    }

    /// The same, but of the blocks that were written since the last sync those stay for which `keep`
    /// says so: a real disk writes in any order it likes.
    pub fn crash_keeping(&self, mut keep: impl FnMut(usize) -> bool) -> Arc<Self> {
        let state = self.lock();
        let mut image = state.image.clone();
        let grown = image.len() > state.synced_len;
        if grown && !keep(usize::MAX) {
            image.truncate(state.synced_len);
        }
        for (&block, before) in &state.before {
            if keep(block) {
                continue;
            }
            let start = block * BLOCK;
            if image.len() < start + before.len() && start + before.len() <= state.synced_len {
                image.resize(start + before.len(), 0);
            }
            let end = image.len().min(start + BLOCK);
            if start < end {
                image[start..end].fill(0);
                let kept = before.len().min(end - start);
                image[start..start + kept].copy_from_slice(&before[..kept]);
            }
        }
        let synced_len = image.len();
        Arc::new(Self {
            state: Mutex::new(DiskState {
                image,
                synced_len,
                ..DiskState::default()
            }),
        })
    }

    /// Lets so many reads, writes and syncs succeed and then fails them all until [`heal`](Self::heal).
    pub fn fail_after(&self, operations: u64) {
        self.lock().fails_after = Some(operations);
    }

    /// Refuses to grow beyond so many bytes, as a full disk does.
    pub fn fill_up_at(&self, bytes: usize) {
        self.lock().capacity = Some(bytes);
    }

    /// How many bytes it can grow by; `None` when it never fills up.
    pub(super) fn free(&self) -> Option<u64> {
        let state = self.lock();
        let left = state.capacity?.saturating_sub(state.image.len());
        Some(left as u64)
    }

    /// Ends all failures.
    pub fn heal(&self) {
        let mut state = self.lock();
        (state.fails_after, state.failing, state.capacity) = (None, false, None);
    }

    /// Whether an operation has failed since the last [`heal`](Self::heal).
    pub fn is_failing(&self) -> bool {
        self.lock().failing
    }

    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        self.lock().image.len()
    }

    /// How many syncs it has done.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Empties a disk on which the laying out of the database was cut short, which redb would refuse;
    /// for a file, renaming does this.
    pub(super) fn forget_unfinished(&self, magic: &[u8]) {
        let mut state = self.lock();
        if !state.image.starts_with(magic) {
            let len = state.image.len();
            state.remember(0, len);
            state.image.clear();
        }
    }

    pub(super) fn probe(&self) -> io::Result<()> {
        let state = self.lock();
        if state.failing
            || state
                .capacity
                .is_some_and(|c| c < state.image.len() + (1 << 20))
        {
            return Err(failed());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks it for one operation, which may be the one that fails.
    fn operate(&self) -> io::Result<MutexGuard<'_, DiskState>> {
        let mut state = self.lock();
        match state.fails_after {
            Some(0) => {
                state.failing = true;
                Err(failed())
            }
            Some(left) => {
                state.fails_after = Some(left - 1);
                Ok(state)
            }
            None => Ok(state),
        }
    }
}

impl DiskState {
    /// Remembers what a block held at the last sync.
    fn remember(&mut self, offset: usize, len: usize) {
        for block in offset / BLOCK..(offset + len).div_ceil(BLOCK) {
            let start = (block * BLOCK).min(self.image.len());
            let end = (block * BLOCK + BLOCK).min(self.image.len());
            let image = &self.image;
            self.before
                .entry(block)
                .or_insert_with(|| image[start..end].to_vec());
        }
    }
}

/// The disk as redb holds it: one opening of it.
#[derive(Debug)]
pub(super) struct Plug {
    disk: Arc<SimulatedDisk>,
    /// Whether this opening holds the lock; another one may.
    locked: Mutex<bool>,
}

impl Plug {
    pub(super) fn new(disk: Arc<SimulatedDisk>) -> Self {
        Self {
            disk,
            locked: Mutex::new(false),
        }
    }

    fn unlock(&self) {
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *locked) {
            self.disk.lock().in_use = false;
        }
    }
}

impl StorageBackend for Plug {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.operate()?.image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.operate()?;
        let start = usize::try_from(offset).map_err(|_| beyond())?;
        let found = start
            .checked_add(out.len())
            .and_then(|end| state.image.get(start..end));
        out.copy_from_slice(found.ok_or_else(beyond)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let len = usize::try_from(len).map_err(|_| beyond())?;
        if len > state.image.len() && state.capacity.is_some_and(|capacity| len > capacity) {
            state.failing = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if len < state.image.len() {
            let gone = state.image.len() - len;
            state.remember(len, gone);
        }
        state.image.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        state.before.clear();
        state.synced_len = state.image.len();
        state.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let start = usize::try_from(offset).map_err(|_| beyond())?;
        let end = start.checked_add(data.len()).ok_or_else(beyond)?;
        if end > state.image.len() {
            return Err(beyond());
        }
        state.remember(start, data.len());
        state.image[start..end].copy_from_slice(data);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.unlock();
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if !matches!(start, Bound::Unbounded | Bound::Included(0)) || end != Bound::Unbounded {
            return Err(BackendError::Unsupported);
        }
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut self.disk.lock().in_use, true) {
            return Ok(false);
        }
        *locked = true;
        Ok(true)
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        self.unlock();
        Ok(())
    }
}

fn failed() -> io::Error {
    io::Error::other("the simulated disk fails")
}

fn beyond() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "beyond the end of the simulated disk",
    )
}
