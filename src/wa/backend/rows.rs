//! What the rows of a session are: their kinds, and the bytes of the values that are not JSON.

use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, DeviceListRecord, LidPnMappingEntry};

use crate::error::{Error, Result};
use crate::store::{Key, KeyParts, Record};

/// The version byte of the values that are not JSON.
pub(super) const VERSION: u8 = 1;
/// The version byte of sealed values.
pub(super) const SEALED: u8 = 2;

/// What a row is; the second part of its key.
///
/// Hazard: the numbers are in the files of users. Never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RowKind {
    /// Nothing -> `Device` as JSON.
    Device = 1,
    /// Address -> 32 bytes.
    Identity = 2,
    /// Address -> record.
    Session = 3,
    /// Id (u32) -> uploaded (0 or 1), record.
    PreKey = 4,
    /// Id (u32) -> record.
    SignedPreKey = 5,
    /// Address (group and sender) -> record.
    SenderKey = 6,
    /// Key id -> `AppStateSyncKey` as JSON.
    SyncKey = 7,
    /// Nothing -> id of the sync key that was stored last.
    LatestSyncKey = 8,
    /// Collection -> `HashState` as JSON.
    AppVersion = 9,
    /// Collection, index MAC -> version (u64), value MAC.
    MutationMac = 10,
    /// Group, device -> whether it has our sender key (0 or 1).
    SenderKeyDevice = 11,
    /// Index: device, group -> nothing.
    SenderKeyGroup = 12,
    /// LID -> `LidPnMappingEntry` as JSON.
    LidMapping = 13,
    /// Index: phone number -> its newest LID.
    PnMapping = 14,
    /// Address, message id -> key.
    BaseKey = 15,
    /// User -> `DeviceListRecord` as JSON.
    DeviceList = 16,
    /// Group -> what the library wants to keep of it.
    GroupMetadata = 17,
    /// Address -> received at (i64), sent at (0 or 1, then i64), token.
    TcToken = 18,
    /// Chat, message id -> stored at (i64), message. Ends when it is old.
    SentMessage = 19,
    /// Chat, sender, message id -> stored at (i64), message. Ends when it is old.
    PendingInbound = 20,
    /// Chat, sender, message id -> end (i64, 0 is never), message's time (i64), secret.
    MsgSecret = 21,
}

impl RowKind {
    const ALL: [Self; 21] = [
        Self::Device,
        Self::Identity,
        Self::Session,
        Self::PreKey,
        Self::SignedPreKey,
        Self::SenderKey,
        Self::SyncKey,
        Self::LatestSyncKey,
        Self::AppVersion,
        Self::MutationMac,
        Self::SenderKeyDevice,
        Self::SenderKeyGroup,
        Self::LidMapping,
        Self::PnMapping,
        Self::BaseKey,
        Self::DeviceList,
        Self::GroupMetadata,
        Self::TcToken,
        Self::SentMessage,
        Self::PendingInbound,
        Self::MsgSecret,
    ];

    /// The kind with this number.
    pub(super) fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl Record for Device {
    const VERSION: u8 = 1;
}
impl Record for AppStateSyncKey {
    const VERSION: u8 = 1;
}
impl Record for HashState {
    const VERSION: u8 = 1;
}
impl Record for LidPnMappingEntry {
    const VERSION: u8 = 1;
}
impl Record for DeviceListRecord {
    const VERSION: u8 = 1;
}

/// The value that is these bytes.
pub(super) fn versioned(bytes: &[u8]) -> Vec<u8> {
    Key::new().u8(VERSION).tail(bytes).into_bytes()
}

/// The parts of a value behind its version byte.
pub(super) fn parts(value: &[u8]) -> Result<KeyParts<'_>> {
    let mut parts = KeyParts::new(value);
    match parts.u8()? {
        VERSION | SEALED => Ok(parts),
        other => Err(Error::internal(format!("value of unknown version {other}"))),
    }
}

/// What [`versioned`] made a value of.
pub(super) fn plain(value: &[u8]) -> Result<Vec<u8>> {
    Ok(parts(value)?.tail().to_vec())
}

/// A part of a key that is text.
pub(super) fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(Error::internal)
}
