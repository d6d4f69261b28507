//! Idempotency keys: two requests with the same one are one.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::settlement::Outcome;
use crate::error::{Code, Result};
use crate::ids::{MessageId, SessionNumber};
use crate::store::record::{self, Record};
use crate::store::{Read, Tx, tables};
use crate::time::Timestamp;

/// How long an idempotency key is remembered.
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A client's promise that two requests are one.
pub struct IdempotencyKey {
    hash: [u8; 32],
    request: [u8; 32],
}

impl IdempotencyKey {
    /// `key` as the client sent it, and the bytes of its request.
    pub fn new(key: &str, request: &[u8]) -> Result<Self> {
        if key.is_empty() || key.len() > 255 {
            return Err(Code::IdempotencyKeyInvalid.into());
        }
        Ok(Self {
            hash: Sha256::digest(key).into(),
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
    pub(super) fn row(&self, session: SessionNumber) -> Vec<u8> {
        let mut row = session.0.to_be_bytes().to_vec();
        row.extend_from_slice(&self.hash);
        row
    }

    /// What is remembered of it, which lies in this row.
    pub(super) fn remembered(
        &self,
        read: &impl Read,
        row: &[u8],
        now: Timestamp,
    ) -> Result<Option<Remembered>> {
        let Some(found) = read.get(tables::IDEMPOTENCY, row)? else {
            return Ok(None);
        };
        let found: Remembered = record::decode(&found)?;
        if found.ends <= now {
            return Ok(None);
        }
        if found.request != self.request {
            return Err(Code::IdempotencyKeyReused.into());
        }
        Ok(Some(found))
    }

    /// What is to be remembered of a request whose messages are about to be sent.
    pub(super) fn begun(&self, ids: Vec<Option<MessageId>>, now: Timestamp) -> Remembered {
        Remembered {
            request: self.request,
            ids,
            outcomes: None,
            ends: now.after(KEY_LIFE),
        }
    }
}

/// Idempotency keys whose first request is still being worked on.
#[derive(Default)]
pub struct InFlight(Mutex<HashSet<Vec<u8>>>);

/// A key that is being worked on, until the value is dropped.
pub(super) struct Claimed<'a>(&'a InFlight, Vec<u8>);

impl InFlight {
    pub(super) fn claim(&self, key: &[u8]) -> Result<Claimed<'_>> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.insert(key.to_vec()) {
            return Err(Code::IdempotencyKeyInUse.into());
        }
        Ok(Claimed(self, key.to_vec()))
    }
}

impl Drop for Claimed<'_> {
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
pub(super) struct Remembered {
    request: [u8; 32],
    /// The messages of the request that got an id, in its order.
    pub(super) ids: Vec<Option<MessageId>>,
    /// What became of them, once that is decided.
    pub(super) outcomes: Option<Vec<Outcome>>,
    ends: Timestamp,
}

impl Record for Remembered {
    const VERSION: u8 = 1;
}

impl Remembered {
    /// Writes it down.
    pub(super) fn put(&self, tx: &mut Tx, row: Vec<u8>) -> Result<()> {
        tx.put(tables::IDEMPOTENCY, row, record::encode(self)?);
        Ok(())
    }
}

/// Remembers what became of the messages of a request, or that this is not decided.
pub(super) fn note(tx: &mut Tx, row: Vec<u8>, outcomes: Option<Vec<Outcome>>) -> Result<()> {
    let Some(there) = tx.get(tables::IDEMPOTENCY, &row)? else {
        return Ok(());
    };
    let mut remembered: Remembered = record::decode(&there)?;
    remembered.outcomes = outcomes;
    remembered.put(tx, row)
}
