//! Room for what is arriving: a session's quota counts the bytes of uploads that are not whole yet, or
//! a hundred unfinished ones would fill the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::files;
use crate::error::Result;
use crate::ids::SessionNumber;
use crate::store::Store;

/// How many bytes are arriving, by session.
#[derive(Default)]
pub struct ArrivingBytes(Mutex<HashMap<SessionNumber, u64>>);

impl ArrivingBytes {
    /// Adds bytes; answers how many are arriving now.
    fn add(&self, session: SessionNumber, bytes: u64) -> u64 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = all.entry(session).or_default();
        *of += bytes;
        *of
    }

    fn give_back(&self, session: SessionNumber, bytes: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = all.get_mut(&session) {
            *of = of.saturating_sub(bytes);
            if *of == 0 {
                all.remove(&session);
            }
        }
    }
}

/// The room of one upload; given back when the value goes.
pub(super) struct ReservedSpace {
    arriving: Arc<ArrivingBytes>,
    store: Store,
    session: SessionNumber,
    /// How many bytes the session's files may take.
    quota: u64,
    bytes: u64,
    /// How much may arrive in all, as it was found when the quota was first short.
    most: u64,
}

impl ReservedSpace {
    pub(super) fn new(
        arriving: Arc<ArrivingBytes>,
        store: Store,
        session: SessionNumber,
        quota: u64,
    ) -> Self {
        Self {
            arriving,
            store,
            session,
            quota,
            bytes: 0,
            most: 0,
        }
    }

    /// Takes room for more bytes; they must not be written when there is none.
    pub(super) async fn take(&mut self, bytes: u64) -> Result<()> {
        let (number, quota) = (self.session, self.quota);
        let arriving = self.arriving.add(number, bytes);
        self.bytes += bytes;
        if arriving <= self.most {
            return Ok(());
        }
        let used = self.store.read(|read| files::usage(read, number))?.bytes;
        if used + arriving <= quota {
            return Ok(());
        }
        // What was received gives way when the upload is whole.
        let stay = self
            .store
            .read_slow(move |read| files::lasting(read, number));
        self.most = quota.saturating_sub(stay.await?);
        if arriving <= self.most {
            return Ok(());
        }
        Err(files::full(quota))
    }
}

impl Drop for ReservedSpace {
    fn drop(&mut self) {
        self.arriving.give_back(self.session, self.bytes);
    }
}
