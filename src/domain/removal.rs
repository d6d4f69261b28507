//! Removing what was deleted, however much it is: it is marked in the transaction that deletes it, and
//! its rows go in the background, a page at a time, with everybody else's writes in between. A mark
//! that a crash leaves is taken up by the next start.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::media::files;
use super::pending_removal::{PendingRemoval, REMOVALS, RemovalBudget, SIGNAL};
use super::roster::Roster;
use super::{Gateway, campaign, event, list, message, queues};
use crate::error::{Error, Result};
use crate::ids::SessionNumber;
use crate::store::{Durability, Store, Table, Tx, bytes_of, tables};
use crate::wa::backend;

/// How many rows one transaction removes.
const PAGE: usize = 500;

/// How many marks are read at a time.
const MARKS: usize = 100;

/// The store's signal that all rows of something are gone.
const GONE: u8 = 33;

/// Removes a page of a session's rows; its keys and its files went before. Index rows go before what
/// they name.
fn session_page(tx: &mut Tx, session: SessionNumber) -> Result<RemovalBudget> {
    let prefix = bytes_of(session);
    let mut budget = RemovalBudget::of(PAGE);
    budget.delete_lane(tx, queues::DOWNLOADS, &prefix)?;
    budget.delete_lane(tx, queues::UNREADABLE, &prefix)?;
    for lane in event::webhook::lanes(tx, session)? {
        budget.delete_lane(tx, queues::DELIVERIES, &lane)?;
    }
    if budget.is_spent() {
        return Ok(budget);
    }
    campaign::rows::delete_some(tx, session, &mut budget)?;
    list::delete_some(tx, session, &mut budget)?;
    message::uncount(tx, session);
    for table in Table::all().filter(|table| table.is_of_session()) {
        match table {
            tables::EVENTS => {
                let events = event::log::delete_some(tx, session, budget.left())?;
                budget.spend(events);
            }
            _ => budget.delete(tx, table, &prefix)?,
        }
    }
    Ok(budget)
}

/// Removes a page of a roster's rows.
fn roster_page(tx: &mut Tx, roster: Roster) -> Result<RemovalBudget> {
    let prefix = bytes_of(roster);
    let mut budget = RemovalBudget::of(PAGE);
    budget.delete_lane(tx, queues::RETRIES, &prefix)?;
    for table in Table::all().filter(|table| table.is_of_roster()) {
        budget.delete(tx, table, &prefix)?;
    }
    Ok(budget)
}

/// Told of new marks.
pub fn signal(store: &Store) -> Arc<Notify> {
    store.signal(SIGNAL)
}

impl Gateway {
    /// Removes what is marked, until nothing is or `stop`.
    pub async fn remove_marked(&self, stop: &CancellationToken) -> Result<()> {
        loop {
            let marks = self
                .store
                .read(|read| REMOVALS.rows(()).keys(read, MARKS))?;
            if marks.is_empty() {
                return Ok(());
            }
            let mut first_error = Ok(());
            for mark in marks {
                let removed = match PendingRemoval::of(mark) {
                    Some(removal) => self.run_removals(removal, stop).await,
                    None => Err(Error::internal("a removal of an unknown kind")),
                };
                // What cannot be removed must not keep the rest.
                first_error = first_error.and(removed);
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
            first_error?;
        }
    }

    /// Waits until all rows of a deleted session are gone, or `patience` ends.
    pub(super) async fn session_removed(&self, session: SessionNumber, patience: Duration) {
        let (signal, key) = (
            self.store.signal(GONE),
            PendingRemoval::Session(session).key(),
        );
        let gone = async {
            loop {
                let mut woken = pin!(signal.notified());
                woken.as_mut().enable();
                let left = self.store.read(|read| REMOVALS.exists(read, key));
                if !left.unwrap_or(false) {
                    return;
                }
                woken.await;
            }
        };
        let _ = tokio::time::timeout(patience, gone).await;
    }

    async fn run_removals(&self, removal: PendingRemoval, stop: &CancellationToken) -> Result<()> {
        if let PendingRemoval::Session(session) = removal {
            // Whoever deletes it may still be unlinking it, and its connection writes rows until then.
            drop(self.closing_sessions.write().await);
            // Its keys first: they are worth most to a thief.
            backend::delete_all(&self.store, session.0).await?;
            while !stop.is_cancelled() && !self.remove_files_page(session).await? {}
        }
        while !stop.is_cancelled() && !self.remove_page(removal).await? {}
        Ok(())
    }

    /// Removes a page; whether that was the last, and the mark with it.
    async fn remove_page(&self, removal: PendingRemoval) -> Result<bool> {
        self.store
            .write(Durability::Lazy, move |tx| {
                let budget = match removal {
                    PendingRemoval::Session(session) => session_page(tx, session)?,
                    PendingRemoval::Roster(roster) => roster_page(tx, roster)?,
                };
                if budget.is_spent() {
                    return Ok(false);
                }
                REMOVALS.delete(tx, removal.key());
                tx.signal(GONE);
                Ok(true)
            })
            .await
    }

    /// Removes some files of a session with their rows; whether those were the last.
    async fn remove_files_page(&self, session: SessionNumber) -> Result<bool> {
        let alone = self.media.change().await;
        let found = Arc::new(OnceLock::new());
        let noted = found.clone();
        let delete = move |tx: &mut Tx| {
            let (unnamed, over) = files::delete_some(tx, session, PAGE / 5)?;
            let _ = noted.set(unnamed);
            Ok(over)
        };
        let deleted = self.store.write(Durability::Sync, delete).await;
        let unnamed = found.get().cloned().unwrap_or_default();
        if deleted.is_ok() {
            self.media.remove(unnamed).await;
            return deleted;
        }
        drop(alone);
        // It may have landed all the same: then nobody names them, nor looks for them again.
        let works = || self.store.write(Durability::Lazy, |_| Ok(()));
        if self.while_store_fails(works).await.is_ok() {
            let _alone = self.media.change().await;
            for hash in unnamed {
                self.remove_unnamed(hash).await;
            }
        }
        deleted
    }
}
