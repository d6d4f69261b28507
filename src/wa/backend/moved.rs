//! The device state of a session under the number of another: the same linked device goes on there.

use std::ops::ControlFlow;

use super::Backend;
use super::adopt::DeviceRows;
use super::rows::{RowKind, SEALED};
use crate::error::Result;
use crate::store::tables::{WA, WA_EXPIRY};
use crate::store::{Key, Read as _, unless_damaged};

impl Backend {
    /// All of it, sealed for session number `to`. A row that is damaged stays behind.
    ///
    /// Hazard: no client of this session may run any more, or it uses keys that the other uses too. It
    /// computes for a while: call it where that is allowed.
    pub fn moved_to(&self, to: u32) -> Result<DeviceRows> {
        let from = Key::new().u32(self.sid);
        let moved = |key: &[u8]| Key::new().u32(to).tail(&key[from.len()..]);
        let (mut rows, mut expiries) = (Vec::new(), Vec::new());
        self.store.read(|read| {
            read.for_each_prefix(WA, &from, |key, value| {
                let place = moved(key);
                let value = unless_damaged(self.sealed_for(&place, key, value))?;
                rows.extend(value.map(|value| (place, value)));
                Ok(ControlFlow::Continue(()))
            })?;
            read.for_each_prefix(WA_EXPIRY, &from, |key, value| {
                expiries.push((moved(key), value.to_vec()));
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(DeviceRows::of(to, rows, expiries))
    }

    /// A value as it lies under another key.
    fn sealed_for(&self, place: &Key, key: &[u8], value: &[u8]) -> Result<Vec<u8>> {
        let kind = key.get(4).and_then(|kind| RowKind::of(*kind));
        let parts = match (kind.and_then(RowKind::clear), value.split_first()) {
            (Some(clear), Some((&SEALED, rest))) => rest.split_at_checked(clear),
            _ => None,
        };
        let Some((clear, sealed)) = parts else {
            return Ok(value.to_vec());
        };
        let secret = self.open(key, sealed)?;
        Ok([&[SEALED], clear, &self.seal(place, &secret)].concat())
    }
}
