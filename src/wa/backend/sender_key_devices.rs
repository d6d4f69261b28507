//! Which device has our sender key of which group, found from either side.

use std::ops::ControlFlow;

use super::rows::{RowKind, VERSION, parts, text};
use crate::error::Result;
use crate::store::tables::WA;
use crate::store::{Key, Read, Tx};

/// The keys below which a session's rows of devices and groups lie.
pub(super) struct DeviceKeys {
    by_group: Key,
    by_device: Key,
}

impl DeviceKeys {
    /// Those of session number `sid`.
    pub(super) fn new(sid: u32) -> Self {
        let below = |kind: RowKind| Key::new().u32(sid).u8(kind as u8);
        Self {
            by_group: below(RowKind::SenderKeyDevice),
            by_device: below(RowKind::SenderKeyGroup),
        }
    }

    /// The devices of a group of which it is known, and whether they have its key.
    pub(super) fn of_group(&self, read: &impl Read, group: &str) -> Result<Vec<(String, bool)>> {
        let prefix = self.by_group.clone().escaped(group.as_bytes());
        let mut devices = Vec::new();
        read.for_each_prefix(WA, &prefix, |key, value| {
            devices.push((text(&key[prefix.len()..])?, parts(value)?.u8()? == 1));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(devices)
    }

    /// Notes which devices have the key of the group.
    pub(super) fn put(&self, tx: &mut Tx, group: &str, devices: &[(String, bool)]) -> Result<()> {
        let rows = self.by_group.clone().escaped(group.as_bytes());
        for (device, has_key) in devices {
            let key = rows.clone().tail(device);
            if !tx.exists(WA, &key)? {
                let by_device = self.by_device.clone().escaped(device.as_bytes());
                tx.put(WA, by_device.tail(group), [VERSION]);
            }
            tx.put(WA, key, [VERSION, u8::from(*has_key)]);
        }
        Ok(())
    }

    /// Forgets all devices of a group.
    pub(super) fn delete_group(&self, tx: &mut Tx, group: &str) -> Result<()> {
        let prefix = self.by_group.clone().escaped(group.as_bytes());
        for (key, _) in tx.prefix(WA, &prefix, None, usize::MAX)? {
            let device = &key[prefix.len()..];
            tx.delete(WA, &self.by_device.clone().escaped(device).tail(group));
            tx.delete(WA, &key);
        }
        Ok(())
    }

    /// Forgets a device in all groups.
    pub(super) fn delete_device(&self, tx: &mut Tx, device: &str) -> Result<()> {
        let prefix = self.by_device.clone().escaped(device.as_bytes());
        for (key, _) in tx.prefix(WA, &prefix, None, usize::MAX)? {
            let group = &key[prefix.len()..];
            tx.delete(WA, &self.by_group.clone().escaped(group).tail(device));
            tx.delete(WA, &key);
        }
        Ok(())
    }

    /// Forgets all.
    pub(super) fn delete_all(&self, tx: &mut Tx) -> Result<()> {
        tx.delete_prefix(WA, &self.by_group)?;
        tx.delete_prefix(WA, &self.by_device)?;
        Ok(())
    }
}
