//! Which rows are secrets, and how they are sealed.
//!
//! A sealed value is the version byte 2, what the gateway itself must see of the row in clear (times,
//! whether a key was uploaded), and the rest sealed for this table and key, so that it opens in no
//! other row. It is sealed before the store's writer gets it and opened after: all sessions wait for
//! that thread.

use whatsapp_rust::store::error::Result as StoreResult;

use super::Backend;
use super::rows::{RowKind, SEALED, VERSION};
use crate::error::{Error, Result};
use crate::seal::Seal;
use crate::store::tables::WA;
use crate::store::{Durability, Key, Read as _, Record, Store, decode, encode};

/// How many rows of an older store are sealed at once.
const PAGE: usize = 500;

impl RowKind {
    /// How many bytes of a secret row are in clear behind the version byte; `None` is no secret.
    pub(super) fn clear(self) -> Option<usize> {
        match self {
            Self::Device
            | Self::Identity
            | Self::Session
            | Self::SignedPreKey
            | Self::SenderKey
            | Self::SyncKey
            | Self::BaseKey => Some(0),
            Self::PreKey => Some(1),
            Self::SentMessage | Self::PendingInbound => Some(8),
            Self::MsgSecret => Some(16),
            Self::TcToken => Some(17),
            Self::LatestSyncKey
            | Self::AppVersion
            | Self::MutationMac
            | Self::SenderKeyDevice
            | Self::SenderKeyGroup
            | Self::LidMapping
            | Self::PnMapping
            | Self::DeviceList
            | Self::GroupMetadata => None,
        }
    }

    /// Whether the secret is a [`Record`], which is sealed with its own version byte.
    fn is_record(self) -> bool {
        matches!(self, Self::Device | Self::SyncKey)
    }
}

impl Backend {
    /// Seals what a row holds behind its clear bytes. Nothing stays nothing: that a token is missing
    /// is no secret, and the store's own closures make such rows.
    pub(super) fn seal(&self, key: &Key, secret: &[u8]) -> Vec<u8> {
        if secret.is_empty() {
            return Vec::new();
        }
        self.seal.seal(&place(key), secret)
    }

    /// Opens what [`Backend::seal`] made.
    pub(super) fn open(&self, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        // No fault of the store's, for which it would be read again.
        self.seal.open(&place(key), sealed).map_err(Error::internal)
    }

    /// A row whose value is all secret.
    pub(super) fn secret_row(&self, key: Key, secret: &[u8]) -> (Key, Vec<u8>) {
        self.secret_row_with(key, &[], secret)
    }

    /// A row with clear bytes before its secret.
    pub(super) fn secret_row_with(&self, key: Key, clear: &[u8], secret: &[u8]) -> (Key, Vec<u8>) {
        let value = [&[SEALED], clear, &self.seal(&key, secret)].concat();
        (key, value)
    }

    /// A row whose value is a sealed record.
    pub(super) fn secret_record<T: Record>(&self, key: Key, record: &T) -> Result<(Key, Vec<u8>)> {
        Ok(self.secret_row(key, &encode(record)?))
    }

    /// The secret of a whole value, as it lies in the store.
    pub(super) fn secret_of(&self, key: &[u8], clear: usize, value: &[u8]) -> Result<Vec<u8>> {
        match value.split_first() {
            Some((&SEALED, rest)) => self.open(key, rest.get(clear..).unwrap_or_default()),
            _ => Err(Error::internal("a secret that is not sealed")),
        }
    }

    /// The secret of a row that is all secret.
    pub(super) async fn get_secret(&self, key: &Key) -> StoreResult<Option<Vec<u8>>> {
        self.get(key, |value| self.secret_of(key, 0, value)).await
    }

    /// The record that a row holds sealed.
    pub(super) async fn get_secret_record<T: Record>(&self, key: &Key) -> StoreResult<Option<T>> {
        let read = |value: &[u8]| decode(&self.secret_of(key, 0, value)?);
        self.get(key, read).await
    }
}

/// What a row is sealed for.
fn place(key: &[u8]) -> Vec<u8> {
    [WA.name().as_bytes(), key].concat()
}

/// Seals every secret row that an older version left in clear; says how many there were.
///
/// Hazard: no session may run meanwhile. It can be broken off anywhere and called again.
pub async fn seal_rows(store: &Store, seal: &Seal) -> Result<u64> {
    let (mut total, mut after) = (0, None::<Vec<u8>>);
    loop {
        let page = store.read(|r| r.prefix(WA, b"", after.as_deref(), PAGE))?;
        let Some((last, _)) = page.last() else {
            return Ok(total);
        };
        after = Some(last.clone());
        let clear = page
            .iter()
            .filter_map(|(key, value)| Some((key, sealed(seal, key, value)?)));
        let rows: Vec<_> = clear
            .map(|(key, value)| (Key::new().tail(key), value))
            .collect();
        total += rows.len() as u64;
        let put = move |tx: &mut crate::store::Tx| {
            for (key, value) in rows {
                tx.put(WA, key, value);
            }
            Ok(())
        };
        store.write(Durability::Sync, put).await?;
    }
}

/// The sealed form of a row in clear; `None` when it is sealed or no secret.
fn sealed(seal: &Seal, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let kind = RowKind::of(*key.get(4)?)?;
    let (&version, rest) = value.split_first()?;
    let (clear, secret) = rest.split_at_checked(kind.clear()?)?;
    if version != VERSION {
        return None;
    }
    let secret = if kind.is_record() { value } else { secret };
    let sealed = if secret.is_empty() {
        Vec::new()
    } else {
        seal.seal(&place(key), secret)
    };
    Some([&[SEALED], clear, &sealed].concat())
}
