//! Idempotency keys: two requests with the same one are one.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::settlement::SendOutcome;
use crate::error::{Code, Result};
use crate::ids::{Hash, MessageId, SessionNumber};
use crate::store::record::Record;
use crate::store::{Read, Tx, Typed, tables};
use crate::time::Timestamp;

/// How long an idempotency key is remembered.
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A client's promise that two requests are one.
pub struct IdempotencyKey {
    hash: Hash,
    request: [u8; 32],
}

impl IdempotencyKey {
    /// `key` as the client sent it, and the bytes of its request.
    pub fn new(key: &str, request: &[u8]) -> Result<Self> {
        if key.is_empty() || key.len() > 255 {
            return Err(Code::IdempotencyKeyInvalid.into());
        }
        Ok(Self {
            hash: Hash(Sha256::digest(key).into()),
            request: Sha256::digest(request).into(),
        })
    }

    /// The same of a request that lies in pieces.
    pub fn of_pieces<'a>(key: &str, request: impl Iterator<Item = &'a [u8]>) -> Result<Self> {
        let mut whole = Self::new(key, b"")?;
        let mut hash = Sha256::new();
        request.for_each(|piece| hash.update(piece));
        whole.request = hash.finalize().into();
        Ok(whole)
    }

    /// The key of its row.
    pub(super) fn row(&self, session: SessionNumber) -> Row {
        (session, self.hash)
    }

    /// What is remembered of it, which lies in this row.
    pub(super) fn remembered(
        &self,
        read: &impl Read,
        row: Row,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>> {
        let found = IDEMPOTENCY.get(read, row)?;
        let Some(found) = found.filter(|found| found.ends > now) else {
            return Ok(None);
        };
        if found.request != self.request {
            return Err(Code::IdempotencyKeyReused.into());
        }
        Ok(Some(found))
    }

    /// What is to be remembered of a request whose messages are about to be sent.
    pub(super) fn begun(&self, ids: Vec<Option<MessageId>>, now: Timestamp) -> IdempotencyRecord {
        IdempotencyRecord {
            request: self.request,
            ids,
            outcomes: None,
            ends: now.after(KEY_LIFE),
        }
    }
}

/// Idempotency keys whose first request is still being worked on.
#[derive(Default)]
pub struct InFlight(Mutex<HashSet<Row>>);

/// A key that is being worked on, until the value is dropped.
pub(super) struct KeyInUse<'a>(&'a InFlight, Row);

impl InFlight {
    pub(super) fn claim(&self, key: Row) -> Result<KeyInUse<'_>> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.insert(key) {
            return Err(Code::IdempotencyKeyInUse.into());
        }
        Ok(KeyInUse(self, key))
    }
}

impl Drop for KeyInUse<'_> {
    fn drop(&mut self) {
        self.0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.1);
    }
}

/// What is remembered of an idempotency key. Stored.
#[derive(Serialize, Deserialize)]
pub(super) struct IdempotencyRecord {
    request: [u8; 32],
    /// The messages of the request that got an id, in its order.
    pub(super) ids: Vec<Option<MessageId>>,
    /// What became of them, once that is decided.
    pub(super) outcomes: Option<Vec<SendOutcome>>,
    ends: Timestamp,
}

impl Record for IdempotencyRecord {
    const VERSION: u8 = 1;
}

/// The key of its row: session, hash of the idempotency key.
pub(super) type Row = (SessionNumber, Hash);

const IDEMPOTENCY: Typed<Row, IdempotencyRecord> = Typed::new(tables::IDEMPOTENCY);

impl IdempotencyRecord {
    /// Writes it down.
    pub(super) fn put(&self, tx: &mut Tx, row: Row) -> Result<()> {
        IDEMPOTENCY.put(tx, row, self)
    }
}

/// Remembers what became of the messages of a request, or that this is not decided.
pub(super) fn note(tx: &mut Tx, row: Row, outcomes: Option<Vec<SendOutcome>>) -> Result<()> {
    let Some(mut remembered) = IDEMPOTENCY.get(tx, row)? else {
        return Ok(());
    };
    remembered.outcomes = outcomes;
    remembered.put(tx, row)
}
