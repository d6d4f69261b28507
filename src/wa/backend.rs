//! The WhatsApp library's storage on our store: the device and Signal state of one session.
//!
//! All of it is in the table `wa_rows` under `sid, kind`; rows that end are indexed in `wa_expiries`.
//!
//! Invariants:
//! - Every method of the library is one operation of the store, so a batch is stored whole or not.
//! - Ok means on the disk for whatever a ratchet, a key or an undelivered message depends on. A message
//!   key must never reach the wire twice, and a lost session is lost for good. What the library can
//!   ask for again, or can miss once, rides with the next fsync.
//! - Addresses and ids come from strangers: parts of keys are escaped, so that no choice of them makes
//!   two rows one.
//! - Keys, tokens and texts lie sealed in the store; `sealed.rs` says which rows those are.

pub mod adopt;
mod app_state;
mod device;
mod ending;
mod lids;
mod moved;
mod protocol;
mod rows;
mod sealed;
mod secrets;
mod sender_key_devices;
mod signal;
mod tc_tokens;

use std::sync::Arc;

use whatsapp_rust::wacore::store::error::{Result, StoreError};

pub use self::lids::{lid_of, number_of};
use self::rows::RowKind;
pub use self::sealed::seal_rows;
pub use self::signal::people_with_signal_state;
use super::arriving::{ArrivingMessages, Persistence};

use crate::error::{Error, ErrorKind, Result as OurResult};
use crate::seal::Seal;
use crate::store::tables::{WA, WA_EXPIRY};
use crate::store::{Durability, Key, Read as _, Reader, Record, Store, Tx, decode, encode};
use crate::time::Clock;

/// How often a read looks again, where there is no connection, whether the store works.
const TRIES: u32 = 150;
/// How long it waits in between.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(200);
/// How many rows one operation deletes, so that a sweep does not hold up the other sessions.
const SWEEP: usize = 2000;

/// How long a read is tried again while the store fails.
///
/// Hazard: the library refuses a message for good whose keys it cannot read at this moment, and WhatsApp
/// forgets what is refused. One write that a full disk fails closes the store until there is room. So
/// while there is a connection no read gives up, and one that ends because the session is being closed
/// finds that nothing can be refused any more ([`super::transport`]).
struct ReadRetry<'a> {
    arriving: Option<Persistence<'a>>,
    tries: u32,
}

impl ReadRetry<'_> {
    /// Waits a moment; gives the error back when it is of no use to try again.
    async fn wait(&mut self, error: Error) -> OurResult<()> {
        if let Some(arriving) = &mut self.arriving {
            return arriving.wait(error).await;
        }
        self.tries += 1;
        if error.kind() != ErrorKind::Unavailable || self.tries > TRIES {
            return Err(error);
        }
        tokio::time::sleep(AGAIN).await;
        Ok(())
    }
}

/// The storage of one session.
#[derive(Clone)]
pub struct Backend {
    store: Store,
    sid: u32,
    clock: Clock,
    seal: Seal,
    /// What is on its way to the disk; nothing where no connection is made.
    arriving: Option<Arc<ArrivingMessages>>,
}

impl Backend {
    /// The storage of session number `sid`, whose secrets are sealed.
    pub fn new(store: Store, sid: u32, clock: Clock, seal: Seal) -> Self {
        Self {
            store,
            sid,
            clock,
            seal,
            arriving: None,
        }
    }

    /// The same storage, whose ratchets wait for the rows of the messages that moved them.
    pub(super) fn behind(self, arriving: Arc<ArrivingMessages>) -> Self {
        Self {
            arriving: Some(arriving),
            ..self
        }
    }

    /// Whether the store takes no writes now.
    pub(super) fn fails(&self) -> bool {
        self.store.is_degraded()
    }

    /// Waits until the rows of the messages that may have moved a ratchet are on the disk.
    async fn wait_for_arriving(&self) {
        if let Some(arriving) = &self.arriving {
            arriving.until_stored().await;
        }
    }

    /// The key of a row; its last part is to be added.
    fn key(&self, kind: RowKind) -> Key {
        Key::new().u32(self.sid).u8(kind as u8)
    }

    /// The key of what belongs to a message that somebody sent to a chat.
    fn message_key(&self, kind: RowKind, chat: &str, sender: &str, id: &str) -> Key {
        self.key(kind)
            .escaped(chat.as_bytes())
            .escaped(sender.as_bytes())
            .tail(id)
    }

    fn now(&self) -> i64 {
        self.clock.now().as_secs()
    }

    fn patience(&self) -> ReadRetry<'_> {
        ReadRetry {
            arriving: self.arriving.as_deref().map(ArrivingMessages::persist),
            tries: 0,
        }
    }

    /// Reads in one transaction, again while the store fails.
    async fn read<T>(&self, f: impl Fn(&Reader) -> OurResult<T>) -> Result<T> {
        let mut patience = self.patience();
        loop {
            match self.store.read(&f) {
                Ok(found) => return Ok(found),
                Err(error) => patience.wait(error).await.map_err(failed)?,
            }
        }
    }

    async fn get<T>(&self, key: &Key, read: impl Fn(&[u8]) -> OurResult<T>) -> Result<Option<T>> {
        self.read(|r| r.view(WA, key, &read)?.transpose()).await
    }

    async fn get_record<T: Record>(&self, key: &Key) -> Result<Option<T>> {
        self.get(key, decode).await
    }

    /// Reads much, on a thread where it may take long; again while the store fails.
    async fn scan<T: Send + 'static>(
        &self,
        f: impl Fn(&Reader) -> OurResult<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let f = Arc::new(f);
        let mut patience = self.patience();
        loop {
            let f = Arc::clone(&f);
            match self.store.read_slow(move |r| f(r)).await {
                Ok(found) => return Ok(found),
                Err(error) => patience.wait(error).await.map_err(failed)?,
            }
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        f: impl FnOnce(&mut Tx) -> OurResult<T> + Send + 'static,
    ) -> Result<T> {
        self.store.write(durability, f).await.map_err(failed)
    }

    /// Writes what WhatsApp told once and the library offers once, again while the store fails.
    async fn write_with_retry<T: Send + 'static>(
        &self,
        durability: Durability,
        f: impl Fn(&mut Tx) -> OurResult<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let mut persistence = self.arriving.as_deref().map(ArrivingMessages::persist);
        loop {
            let written = self.store.write(durability, f.clone()).await;
            match (written, &mut persistence) {
                (Err(error), Some(persistence)) => persistence.wait(error).await.map_err(failed)?,
                (written, _) => return written.map_err(failed),
            }
        }
    }

    async fn put(&self, durability: Durability, key: Key, value: Vec<u8>) -> Result<()> {
        self.put_all(durability, vec![(key, value)]).await
    }

    async fn put_all(&self, durability: Durability, rows: Vec<(Key, Vec<u8>)>) -> Result<()> {
        let put = |tx: &mut Tx| {
            for (key, value) in rows {
                tx.put(WA, key, value);
            }
            Ok(())
        };
        self.write(durability, put).await
    }

    async fn put_record<T: Record>(
        &self,
        durability: Durability,
        key: Key,
        record: &T,
    ) -> Result<()> {
        self.put(durability, key, encode(record).map_err(failed)?)
            .await
    }

    async fn delete(&self, durability: Durability, key: Key) -> Result<()> {
        self.delete_all_of(durability, vec![key]).await
    }

    async fn delete_all_of(&self, durability: Durability, keys: Vec<Key>) -> Result<()> {
        let delete = move |tx: &mut Tx| {
            for key in &keys {
                tx.delete(WA, key);
            }
            Ok(())
        };
        self.write(durability, delete).await
    }

    async fn delete_below(&self, durability: Durability, prefix: Key) -> Result<()> {
        let delete = move |tx: &mut Tx| tx.delete_prefix(WA, &prefix);
        self.write(durability, delete).await.map(drop)
    }
}

/// Deletes every row of session number `sid`.
///
/// Hazard: stop the session's client first, or it writes new ones. The work is done in steps; after a
/// crash in between call it again.
pub async fn delete_all(store: &Store, sid: u32) -> OurResult<()> {
    let prefix = Key::new().u32(sid);
    for table in [WA, WA_EXPIRY] {
        loop {
            let prefix = prefix.clone();
            let step = move |tx: &mut Tx| tx.delete_some(table, &prefix, SWEEP);
            if store.write(Durability::Sync, step).await? < SWEEP {
                break;
            }
        }
    }
    Ok(())
}

fn failed(error: Error) -> StoreError {
    StoreError::Database(Box::new(error))
}

#[cfg(test)]
mod tests;
