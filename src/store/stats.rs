//! What the store did, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::Meter;

/// Counters since the start, and what waits now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Operations that were taken from the queue.
    pub ops: u64,
    /// Batches they were joined into.
    pub batches: u64,
    /// The greatest number of operations in one batch.
    pub largest_batch: u64,
    /// The greatest number of rows that one operation changed.
    pub largest_operation: u64,
    /// Transactions committed, with and without an fsync.
    pub commits: u64,
    /// Transactions committed with an fsync.
    pub durable_commits: u64,
    /// Batches that failed and were refused.
    pub failed_batches: u64,
    /// How often the store was reopened after a failure.
    pub recoveries: u64,
    /// fsyncs of the file.
    pub fsyncs: u64,
    /// Bytes written to the file.
    pub bytes_written: u64,
    /// Bytes read from the file.
    pub bytes_read: u64,
    /// How often the whole file had to be read to be opened, because it was not closed in order.
    pub repairs: u64,
    /// The size of the file.
    pub file_bytes: u64,
    /// How much of it was free when that was measured last.
    pub free_bytes: u64,
    /// Operations that wait now.
    pub queue_depth: usize,
    /// Whether writes fail at present.
    pub degraded: bool,
}

#[derive(Default)]
pub(super) struct StoreCounters {
    ops: AtomicU64,
    batches: AtomicU64,
    largest_batch: AtomicU64,
    largest_operation: AtomicU64,
    commits: AtomicU64,
    durable_commits: AtomicU64,
    failed_batches: AtomicU64,
    recoveries: AtomicU64,
    free_bytes: AtomicU64,
}

impl StoreCounters {
    pub(super) fn batch(&self, ops: usize, committed: bool) {
        if ops > 0 {
            self.ops.fetch_add(ops as u64, Ordering::Relaxed);
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.largest_batch.fetch_max(ops as u64, Ordering::Relaxed);
        }
        if !committed {
            self.failed_batches.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn operation(&self, rows: u64) {
        self.largest_operation.fetch_max(rows, Ordering::Relaxed);
    }

    pub(super) fn commit(&self, durable: bool) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        if durable {
            self.durable_commits.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn measured(&self, free: u64) {
        self.free_bytes.store(free, Ordering::Relaxed);
    }

    pub(super) fn recovered(&self) {
        self.recoveries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, meter: &Meter, queue_depth: usize, degraded: bool) -> StoreStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            ops: of(&self.ops),
            batches: of(&self.batches),
            largest_batch: of(&self.largest_batch),
            largest_operation: of(&self.largest_operation),
            commits: of(&self.commits),
            durable_commits: of(&self.durable_commits),
            failed_batches: of(&self.failed_batches),
            recoveries: of(&self.recoveries),
            fsyncs: of(&meter.syncs),
            bytes_written: of(&meter.bytes_written),
            bytes_read: of(&meter.bytes_read),
            repairs: of(&meter.repairs),
            file_bytes: of(&meter.file_bytes),
            free_bytes: of(&self.free_bytes),
            queue_depth,
            degraded,
        }
    }
}
