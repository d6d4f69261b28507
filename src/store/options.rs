//! How the store is used: when a write is acknowledged, and what of the machine it takes.

use std::time::Duration;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the fsync.
    Sync,
    /// As soon as everybody can see it; it is on the disk with the next `Sync` write, or after
    /// [`StoreOptions::flush_interval`].
    Lazy,
}

/// How the store uses the machine.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// redb's cache.
    pub cache_bytes: usize,
    /// How many writes may wait before [`Store::write`](super::Store::write) itself waits.
    pub queue: usize,
    /// How long a lazy write may stay off the disk.
    pub flush_interval: Duration,
    /// From which size of the file on each fsynced commit also writes down which pages are free, so
    /// that an open after a crash need not read the whole file to find out. It costs a second fsync
    /// per commit and about 0.01 % of the file; a smaller file is read in a moment.
    pub quick_repair_from: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            queue: 1024,
            flush_interval: Duration::from_millis(250),
            quick_repair_from: 32 << 20,
        }
    }
}
