//! The one thread that writes: it joins what waits into one transaction and one fsync.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::CompactionError;
use tokio::sync::oneshot;

use super::disk::Disk;
use super::failure::{Failure, unavailable};
use super::options::{Durability, StoreOptions};
use super::shared::Shared;
use super::tx::{Aftermath, Change, Changes, Tables, Tx};
use crate::error::{Error, Result};

/// How many operations one transaction joins at most.
const BATCH: usize = 512;
/// How many bytes may wait for the disk; it also keeps redb's write buffer small.
const UNFLUSHED_BYTES: usize = 2 << 20;
/// The longest wait between two attempts to reopen a failed store.
const RETRY: Duration = Duration::from_secs(2);

/// What the writer is told.
pub(super) enum WriterCommand {
    Write(Durability, WriteJob),
    /// A reader met a failing disk; how often the database had been opened anew by then.
    Suspect(u64),
    /// The file is to be made smaller.
    Compact(oneshot::Sender<Result<u64>>),
    Close(oneshot::Sender<()>),
}

/// What an operation answers, whatever its type is.
pub(super) type Answer = Box<dyn Any + Send>;

/// An operation that waits, and the caller who waits for it.
///
/// What the operation does and answers is boxed: a type for each would make the program larger by
/// hundreds of kilobytes.
pub(super) struct WriteJob {
    closure: Option<WriteClosure>,
    result: Option<Result<Answer>>,
    caller: Option<oneshot::Sender<Result<Answer>>>,
}

/// What an operation does.
type WriteClosure = Box<dyn FnOnce(&mut Tx) -> Result<Answer> + Send>;

impl WriteJob {
    pub(super) fn new<T: Send + 'static>(
        f: impl FnOnce(&mut Tx) -> Result<T> + Send + 'static,
    ) -> Self {
        let boxed = |tx: &mut Tx| f(tx).map(|answer| Box::new(answer) as Answer);
        Self {
            closure: Some(Box::new(boxed)),
            result: None,
            caller: None,
        }
    }

    /// The answer of this job; its result alone when the batch is committed.
    pub(super) fn listen(&mut self) -> oneshot::Receiver<Result<Answer>> {
        let (caller, answer) = oneshot::channel();
        self.caller = Some(caller);
        answer
    }

    /// Runs the closure; whether its changes are to be applied.
    fn run(&mut self, tx: &mut Tx) -> bool {
        let closure = self.closure.take().expect("a job runs once");
        let result = catch_unwind(AssertUnwindSafe(|| closure(tx)))
            .unwrap_or_else(|panic| Err(panicked(panic)));
        let apply = result.is_ok();
        self.result = Some(result);
        apply
    }

    /// Tells the caller: its own result when the batch was committed, else that it was not.
    fn answer(self, committed: bool) {
        let result = match self.result {
            Some(Ok(value)) if committed => Ok(value),
            Some(Err(error)) => Err(error),
            _ => Err(unavailable()),
        };
        match self.caller {
            // A caller who went away has decided not to be told.
            Some(caller) => drop(caller.send(result)),
            None => {
                if let Err(error) = result {
                    tracing::warn!(?error, "a write that nobody waited for failed");
                }
            }
        }
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no text");
    Error::internal(format!("a write operation panicked: {text}"))
}

/// The writer's own state. Everything that other threads see is in [`Shared`].
pub(super) struct Writer {
    shared: Arc<Shared>,
    inbox: Receiver<WriterCommand>,
    disk: Disk,
    options: StoreOptions,
    changes: Changes,
    /// What was committed and acknowledged since the last fsync, in order.
    ///
    /// Invariant: it is empty when and only when the file holds everything that readers see.
    unflushed: Vec<Change>,
    unflushed_bytes: usize,
    /// When the last of that must be on the disk.
    flush_at: Option<Instant>,
    /// When the database was opened anew.
    opened_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        inbox: Receiver<WriterCommand>,
        disk: Disk,
        options: StoreOptions,
    ) -> Self {
        Self {
            shared,
            inbox,
            disk,
            options,
            changes: Changes::new(),
            unflushed: Vec::new(),
            unflushed_bytes: 0,
            flush_at: None,
            opened_at: None,
        }
    }

    /// Works until the store is closed or nobody can reach it any more.
    pub(super) fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let closer = loop {
            let first = match self.flush_at {
                Some(at) => self
                    .inbox
                    .recv_timeout(at.saturating_duration_since(Instant::now())),
                None => self
                    .inbox
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut after = None;
            match first {
                Ok(WriterCommand::Write(durability, job)) => {
                    batch.push((durability, job));
                    after = self.fill(&mut batch);
                    self.settle(&mut batch);
                }
                Ok(other) => after = Some(other),
                Err(RecvTimeoutError::Timeout) => self.settle(&mut batch),
                Err(RecvTimeoutError::Disconnected) => break None,
            }
            match after {
                Some(WriterCommand::Close(done)) => break Some(done),
                Some(WriterCommand::Suspect(reopened)) => self.doubt(reopened),
                Some(WriterCommand::Compact(done)) => {
                    let given = self.compact(&mut batch);
                    let failed = given.is_err();
                    // Who does not wait for it any more is not told.
                    let _ = done.send(given);
                    if failed && !self.shared.degraded.swap(true, Ordering::SeqCst) {
                        self.recover_after(&[]);
                    }
                }
                Some(WriterCommand::Write(..)) | None => {}
            }
            if self.shared.is_closing() && self.shared.degraded.load(Ordering::SeqCst) {
                break None;
            }
        };
        if self.flush_at.is_some() && !self.shared.degraded.load(Ordering::SeqCst) {
            self.settle(&mut batch);
        }
        if closer.is_some() && self.shared.compact_at_close.load(Ordering::SeqCst) {
            // What is not given back now is tried again by the next run.
            let _ = self.compact(&mut batch);
        }
        drop(self.shared.take_database());
        if let Some(done) = closer {
            let _ = done.send(());
        }
    }

    /// A reader met a failing disk, when the database had been opened anew so often.
    ///
    /// A read failure latches the database as a write failure does, for all that lies not in memory; to
    /// begin a write would still succeed. A medium that never gives one page back must not have it
    /// opened anew all the time.
    fn doubt(&mut self, reopened: u64) {
        let lately = self.opened_at.is_some_and(|at| at.elapsed() < RETRY);
        let known = reopened != self.shared.reopened.load(Ordering::SeqCst);
        if !lately && !known {
            tracing::error!(store = self.disk.name(), "the store cannot be read");
            self.shared.degraded.store(true, Ordering::SeqCst);
            self.recover_after(&[]);
        }
    }

    /// Moves all pages to the beginning of the file and cuts the rest off. Answers how many bytes that
    /// gave back: none while somebody reads, whose pages must stay where they are.
    fn compact(&mut self, batch: &mut Vec<(Durability, WriteJob)>) -> Result<u64> {
        if self.flush_at.is_some() {
            self.settle(batch);
        }
        if self.shared.degraded.load(Ordering::SeqCst) {
            return Err(unavailable());
        }
        let size = || self.shared.meter.file_bytes.load(Ordering::Relaxed);
        let (before, began) = (size(), Instant::now());
        let outcome = self.shared.with_database_alone(|database| {
            match catch_unwind(AssertUnwindSafe(|| database.compact())) {
                Ok(Ok(_)) => Ok(true),
                Ok(Err(CompactionError::Storage(error))) => Err(error.into()),
                Ok(Err(_)) => Ok(false),
                Err(_) => Err(redb::StorageError::PreviousIo.into()),
            }
        });
        match outcome {
            Ok(true) => {
                let given = before.saturating_sub(size());
                tracing::info!(
                    store = self.disk.name(),
                    from = before,
                    to = size(),
                    ms = began.elapsed().as_millis() as u64,
                    "the file is smaller now"
                );
                Ok(given)
            }
            Ok(false) => Ok(0),
            Err(failure) => {
                tracing::error!(error = %failure, store = self.disk.name(),
                    "the file could not be made smaller");
                Err(failure.into())
            }
        }
    }

    /// Takes all that waits; returns the first message that is no write.
    fn fill(&mut self, batch: &mut Vec<(Durability, WriteJob)>) -> Option<WriterCommand> {
        let mut other = None;
        while batch.len() < BATCH {
            match self.inbox.try_recv() {
                Ok(WriterCommand::Write(durability, job)) => batch.push((durability, job)),
                Ok(message) => {
                    other = Some(message);
                    break;
                }
                Err(_) => break,
            }
        }
        self.shared.slots.add_permits(batch.len());
        other
    }

    /// Commits a batch (an empty one is a flush) and answers everybody in it.
    fn settle(&mut self, batch: &mut Vec<(Durability, WriteJob)>) {
        let mut aftermath = Aftermath::default();
        let mark = self.unflushed.len();
        // A defect in redb must not end the only thread that writes.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.commit(batch, &mut aftermath)))
            .unwrap_or_else(|_| Err(redb::StorageError::PreviousIo.into()));
        let committed = outcome.is_ok();
        let counters = &self.shared.counters;
        counters.batch(batch.len(), committed);
        if let Err(failure) = &outcome {
            tracing::error!(error = %failure, store = self.disk.name(), "the store cannot write");
            self.shared.degraded.store(true, Ordering::SeqCst);
        }
        // Before the answers: who is told that a claim is settled finds it released.
        drop(aftermath.held);
        if committed {
            self.shared.give_signals(aftermath.signals);
        }
        for (_, job) in batch.drain(..) {
            job.answer(committed);
        }
        if !committed {
            // The failure may have left changes of the operation that was being applied.
            self.changes = Changes::new();
            let refused = self.unflushed.split_off(mark);
            self.recover_after(&refused);
        }
    }

    /// One transaction for the whole batch.
    fn commit(
        &mut self,
        batch: &mut [(Durability, WriteJob)],
        aftermath: &mut Aftermath,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        let sync = batch
            .iter()
            .any(|(durability, _)| *durability == Durability::Sync)
            || self.flush_at.is_some_and(|at| at <= now)
            || self.unflushed_bytes >= UNFLUSHED_BYTES
            || (batch.is_empty() && self.flush_at.is_some());
        // An fsync makes the log needless, unless it fails while earlier changes depend on it.
        let log = !sync || !self.unflushed.is_empty();
        let before = (self.unflushed.len(), self.unflushed_bytes);
        let mut transaction = self.begin()?;
        transaction.set_durability(if sync {
            redb::Durability::Immediate
        } else {
            redb::Durability::None
        })?;
        transaction.set_quick_repair(sync && self.is_large());
        let mut changed = false;
        {
            let mut tables = Tables::new(&transaction);
            for (_, job) in batch {
                let mut tx = Tx {
                    tables: &tables,
                    changes: &mut self.changes,
                    aftermath: &mut *aftermath,
                };
                if !job.run(&mut tx) {
                    self.changes.clear();
                    continue;
                }
                let mut rows = 0;
                for (table, key, value) in self.changes.drain() {
                    rows += 1;
                    changed |= tables.apply(table, &key, value.as_deref())?;
                    if log {
                        self.unflushed_bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                        self.unflushed.push((table, key, value));
                    }
                }
                self.shared.counters.operation(rows);
            }
        }
        if !changed && (!sync || self.flush_at.is_none()) {
            self.unflushed.truncate(before.0);
            self.unflushed_bytes = before.1;
            return Ok(transaction.abort()?);
        }
        transaction.commit()?;
        self.shared.counters.commit(sync);
        if sync {
            self.unflushed.clear();
            self.unflushed_bytes = 0;
            self.flush_at = None;
        } else {
            self.flush_at
                .get_or_insert(now + self.options.flush_interval);
        }
        Ok(())
    }

    /// Whether an open after a crash would take long if it had to read the whole file.
    fn is_large(&self) -> bool {
        self.shared.meter.file_bytes.load(Ordering::Relaxed) >= self.options.quick_repair_from
    }

    fn begin(&self) -> Result<redb::WriteTransaction, Failure> {
        self.shared
            .with_database(|database| Ok(database.begin_write()?))
    }

    /// Refuses all writes until the disk works again and the database is reopened.
    ///
    /// redb latches after a failure: reads go on, writes do not, until the file is opened anew. A
    /// store that is being closed tries once and gives up.
    fn recover_after(&mut self, refused: &[Change]) {
        let mut wait = Duration::from_millis(5);
        loop {
            match self
                .disk
                .probe()
                .map_err(Error::internal)
                .and_then(|()| self.reopen(refused))
            {
                Ok(()) => break,
                Err(error) => tracing::debug!(?error, "the store is still not usable"),
            }
            if self.shared.is_closing() {
                return;
            }
            let retry_at = Instant::now() + wait;
            wait = (wait * 2).min(RETRY);
            loop {
                let left = retry_at.saturating_duration_since(Instant::now());
                match self.inbox.recv_timeout(left) {
                    Ok(WriterCommand::Write(_, job)) => {
                        self.shared.slots.add_permits(1);
                        job.answer(false);
                    }
                    // Dropping `done` tells who asked.
                    Ok(WriterCommand::Suspect(_) | WriterCommand::Compact(_)) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    // `run` ends on either; dropping `done` tells the caller.
                    Ok(WriterCommand::Close(_)) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
        self.shared.degraded.store(false, Ordering::SeqCst);
        self.shared.counters.recovered();
        tracing::info!(store = self.disk.name(), "the store works again");
    }

    /// Opens the database anew and writes again what was acknowledged without an fsync.
    ///
    /// Hazard: a commit that failed may have reached the disk all the same. If the file shows every
    /// change up to and including the refused ones, it did, and nothing may be written over it;
    /// otherwise the file is as of the last fsync, because a commit is there as a whole or not.
    fn reopen(&mut self, refused: &[Change]) -> Result<()> {
        drop(self.shared.take_database());
        let database = self
            .disk
            .open(self.options.cache_bytes, &self.shared.meter)?;
        if !self.unflushed.is_empty() {
            let mut transaction = database.begin_write().map_err(Failure::from)?;
            transaction.set_quick_repair(self.is_large());
            {
                let mut tables = Tables::new(&transaction);
                let mut last: BTreeMap<_, Option<&[u8]>> = BTreeMap::new();
                for (table, key, value) in self.unflushed.iter().chain(refused) {
                    last.insert((table.number(), key.as_slice()), value.as_deref());
                }
                let mut landed = true;
                for (table, key, _) in self.unflushed.iter().chain(refused) {
                    let wanted = last[&(table.number(), key.as_slice())];
                    landed = landed && tables.get(*table, key)?.as_deref() == wanted;
                }
                if !landed {
                    for (table, key, value) in &self.unflushed {
                        tables.apply(*table, key, value.as_deref())?;
                    }
                }
            }
            transaction.commit().map_err(Failure::from)?;
            self.unflushed.clear();
        }
        self.unflushed_bytes = 0;
        self.flush_at = None;
        self.shared.put_database(database);
        self.opened_at = Some(Instant::now());
        Ok(())
    }
}
