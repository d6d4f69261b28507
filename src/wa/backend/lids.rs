//! Which phone number is behind which LID, found from either side.

use std::ops::ControlFlow;

use whatsapp_rust::wacore::store::traits::LidPnMappingEntry;

use super::rows::{RowKind, plain, versioned};
use crate::error::Result;
use crate::store::tables::WA;
use crate::store::{Key, Read, Tx, decode, encode};

/// The keys below which a session's mappings lie.
pub(super) struct LidKeys {
    by_lid: Key,
    by_phone: Key,
}

impl LidKeys {
    /// Those of session number `sid`.
    pub(super) fn new(sid: u32) -> Self {
        let below = |kind: RowKind| Key::new().u32(sid).u8(kind as u8);
        Self {
            by_lid: below(RowKind::LidMapping),
            by_phone: below(RowKind::PnMapping),
        }
    }

    /// The mapping of a LID.
    pub(super) fn of_lid(&self, read: &impl Read, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        read.view(WA, &self.by_lid.clone().tail(lid), decode)?
            .transpose()
    }

    /// All mappings.
    pub(super) fn all(&self, read: &impl Read) -> Result<Vec<LidPnMappingEntry>> {
        let mut entries = Vec::new();
        read.for_each_prefix(WA, &self.by_lid, |_, value| {
            entries.push(decode(value)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(entries)
    }

    /// The newest mapping of a phone number.
    pub(super) fn of_phone(
        &self,
        read: &impl Read,
        phone: &str,
    ) -> Result<Option<LidPnMappingEntry>> {
        let by_phone = self.by_phone.clone().tail(phone);
        let Some(lid) = read.view(WA, &by_phone, plain)?.transpose()? else {
            return Ok(None);
        };
        read.view(WA, &self.by_lid.clone().tail(lid), decode)?
            .transpose()
    }

    /// Writes a mapping, from both sides.
    pub(super) fn put(&self, tx: &mut Tx, entry: &LidPnMappingEntry) -> Result<()> {
        let key = self.by_lid.clone().tail(&entry.lid);
        let old: Option<LidPnMappingEntry> = tx.view(WA, &key, decode)?.transpose()?;
        if let Some(old) = old.filter(|old| old.phone_number != entry.phone_number) {
            let stale = self.by_phone.clone().tail(&old.phone_number);
            let lid = tx.view(WA, &stale, plain)?.transpose()?;
            // The number may have got another LID meanwhile; that one stays.
            if lid.as_deref() == Some(entry.lid.as_bytes()) {
                tx.delete(WA, &stale);
            }
        }
        let phone = self.by_phone.clone().tail(&entry.phone_number);
        tx.put(WA, phone, versioned(entry.lid.as_bytes()));
        tx.put(WA, key, encode(entry)?);
        Ok(())
    }
}

/// The phone number behind a LID, as far as session number `sid` knows it.
pub fn number_of(read: &impl Read, sid: u32, lid: &str) -> Result<Option<String>> {
    let mapping = LidKeys::new(sid).of_lid(read, lid)?;
    Ok(mapping.map(|mapping| mapping.phone_number))
}

/// The LID of a phone number, as far as session number `sid` knows it.
pub fn lid_of(read: &impl Read, sid: u32, number: &str) -> Result<Option<String>> {
    let mapping = LidKeys::new(sid).of_phone(read, number)?;
    Ok(mapping.map(|mapping| mapping.lid))
}
