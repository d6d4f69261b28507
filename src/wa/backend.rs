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
pub use self::signal::has_signal_state;
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

#[async_trait]
impl SignalStore for Backend {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        let row = self.secret_row(self.key(RowKind::Identity).tail(address), &key);
        self.put_all(Durability::Sync, vec![row]).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        let row = |(address, key): &(Arc<str>, [u8; 32])| {
            self.secret_row(self.key(RowKind::Identity).tail(&**address), key)
        };
        self.put_all(Durability::Sync, identities.iter().map(row).collect())
            .await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let found = self
            .get_secret(&self.key(RowKind::Identity).tail(address))
            .await?;
        let key = |bytes: Vec<u8>| {
            let wrong = |_| Error::internal("identity key of another length");
            bytes.try_into().map_err(wrong)
        };
        found.map(key).transpose().map_err(failed)
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.delete(Durability::Sync, self.key(RowKind::Identity).tail(address))
            .await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        let key = self.key(RowKind::Session).tail(address);
        Ok(self.get_secret(&key).await?.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.wait_for_arriving().await;
        let row = self.secret_row(self.key(RowKind::Session).tail(address), session);
        self.put_all(Durability::Sync, vec![row]).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.wait_for_arriving().await;
        let row = |(address, session): &(Arc<str>, Bytes)| {
            self.secret_row(self.key(RowKind::Session).tail(&**address), session)
        };
        self.put_all(Durability::Sync, sessions.iter().map(row).collect())
            .await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.delete(Durability::Sync, self.key(RowKind::Session).tail(address))
            .await
    }

    async fn has_session(&self, address: &str) -> Result<bool> {
        let key = self.key(RowKind::Session).tail(address);
        self.read(|r| r.exists(WA, &key)).await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        self.read(|r| has_signal_state(r, self.sid, user)).await
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        let key = self.key(RowKind::PreKey).u32(id);
        let row = self.secret_row_with(key, &[uploaded.into()], record);
        self.put_all(Durability::Sync, vec![row]).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        let row = |(id, record): &(u32, Bytes)| {
            let key = self.key(RowKind::PreKey).u32(*id);
            self.secret_row_with(key, &[uploaded.into()], record)
        };
        self.put_all(Durability::Sync, keys.iter().map(row).collect())
            .await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        let key = self.key(RowKind::PreKey).u32(id);
        self.get(&key, |value| self.prekey_record(&key, value))
            .await
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let keys: Vec<_> = ids
            .iter()
            .map(|id| (*id, self.key(RowKind::PreKey).u32(*id)))
            .collect();
        let this = self.clone();
        self.scan(move |r| {
            let mut found = Vec::with_capacity(keys.len());
            for (id, key) in &keys {
                let read = |value: &[u8]| this.prekey_record(key, value);
                if let Some(record) = r.view(WA, key, read)?.transpose()? {
                    found.push((*id, record));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> Result<()> {
        let keys: Vec<_> = ids
            .iter()
            .map(|id| self.key(RowKind::PreKey).u32(*id))
            .collect();
        self.write(Durability::Sync, move |tx| {
            for key in keys {
                // Only what is there: a key that was used up meanwhile must stay deleted.
                if let Some(mut value) = tx.get(WA, &key)?
                    && let Some(uploaded) = value.get_mut(1)
                {
                    *uploaded = 1;
                    tx.put(WA, key, value);
                }
            }
            Ok(())
        })
        .await
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.delete(Durability::Sync, self.key(RowKind::PreKey).u32(id))
            .await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let prefix = self.key(RowKind::PreKey);
        self.read(|r| match r.last(WA, &prefix)? {
            Some((key, _)) => KeyParts::new(&key[prefix.len()..]).u32(),
            None => Ok(0),
        })
        .await
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        let row = self.secret_row(self.key(RowKind::SignedPreKey).u32(id), record);
        self.put_all(Durability::Sync, vec![row]).await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        self.get_secret(&self.key(RowKind::SignedPreKey).u32(id))
            .await
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let (this, prefix) = (self.clone(), self.key(RowKind::SignedPreKey));
        self.scan(move |r| {
            let rows = r.prefix(WA, &prefix, None, usize::MAX)?;
            let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
                let id = KeyParts::new(&key[prefix.len()..]).u32()?;
                Ok((id, this.secret_of(key, 0, value)?))
            };
            rows.iter().map(read).collect()
        })
        .await
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.delete(Durability::Sync, self.key(RowKind::SignedPreKey).u32(id))
            .await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.wait_for_arriving().await;
        let row = self.secret_row(self.key(RowKind::SenderKey).tail(address), record);
        self.put_all(Durability::Sync, vec![row]).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.wait_for_arriving().await;
        let row = |(address, record): &(Arc<str>, Bytes)| {
            self.secret_row(self.key(RowKind::SenderKey).tail(&**address), record)
        };
        self.put_all(Durability::Sync, sender_keys.iter().map(row).collect())
            .await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        self.get_secret(&self.key(RowKind::SenderKey).tail(address))
            .await
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.delete(Durability::Sync, self.key(RowKind::SenderKey).tail(address))
            .await
    }
}

impl Backend {
    /// What follows whether the key was uploaded.
    fn prekey_record(&self, key: &Key, value: &[u8]) -> OurResult<Bytes> {
        Ok(self.secret_of(key, 1, value)?.into())
    }
}

// The MACs are fsynced as the versions are: a version that is on the disk without its MACs makes
// every later patch of the collection fail. Patches are rare.
#[async_trait]
impl AppSyncStore for Backend {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        self.get_secret_record(&self.key(RowKind::SyncKey).tail(key_id))
            .await
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        let rows = vec![
            self.secret_record(self.key(RowKind::SyncKey).tail(key_id), &key)
                .map_err(failed)?,
            (self.key(RowKind::LatestSyncKey), versioned(key_id)),
        ];
        // The phone shares it once, and without it a new session waits for minutes.
        self.write_with_retry(Durability::Sync, move |tx| {
            for (key, value) in &rows {
                tx.put(WA, key.clone(), value.clone());
            }
            Ok(())
        })
        .await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        Ok(self
            .get_record(&self.key(RowKind::AppVersion).tail(name))
            .await?
            .unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.put_record(
            Durability::Sync,
            self.key(RowKind::AppVersion).tail(name),
            &state,
        )
        .await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<()> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        let row = |mac: &AppStateMutationMAC| {
            let value = Key::new().u8(VERSION).u64(version).tail(&mac.value_mac);
            (collection.clone().tail(&mac.index_mac), value.into())
        };
        self.put_all(Durability::Sync, mutations.iter().map(row).collect())
            .await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        self.get(&collection.tail(index_mac), value_mac).await
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        let index_macs = index_macs.to_vec();
        self.scan(move |r| {
            let mut found = HashMap::with_capacity(index_macs.len());
            for index_mac in &index_macs {
                let key = collection.clone().tail(index_mac);
                if let Some(mac) = r.view(WA, &key, value_mac)?.transpose()? {
                    found.insert(*index_mac, mac);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        let keys = index_macs
            .iter()
            .map(|mac| collection.clone().tail(mac))
            .collect();
        self.delete_all_of(Durability::Sync, keys).await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        self.delete_below(Durability::Sync, collection).await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        self.get(&self.key(RowKind::LatestSyncKey), plain).await
    }
}

fn value_mac(value: &[u8]) -> OurResult<Vec<u8>> {
    let mut parts = parts(value)?;
    parts.u64()?;
    Ok(parts.tail().to_vec())
}

#[async_trait]
impl ProtocolStore for Backend {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        let prefix = self
            .key(RowKind::SenderKeyDevice)
            .escaped(group_jid.as_bytes());
        self.scan(move |r| {
            let mut devices = Vec::new();
            r.for_each_prefix(WA, &prefix, |key, value| {
                devices.push((text(&key[prefix.len()..])?, parts(value)?.u8()? == 1));
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(devices)
        })
        .await
    }

    /// A lost `true` costs one needless distribution; a lost `false` leaves a device without the key.
    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        let forgets = entries.iter().any(|(_, has_key)| !has_key);
        let durability = if forgets {
            Durability::Sync
        } else {
            Durability::Lazy
        };
        let group = self
            .key(RowKind::SenderKeyDevice)
            .escaped(group_jid.as_bytes());
        let row = |(device, has_key): &(&str, bool)| {
            let by_device = self.key(RowKind::SenderKeyGroup).escaped(device.as_bytes());
            (
                group.clone().tail(device),
                by_device.tail(group_jid),
                u8::from(*has_key),
            )
        };
        let rows: Vec<_> = entries.iter().map(row).collect();
        self.write(durability, move |tx| {
            for (key, by_device, has_key) in rows {
                if !tx.exists(WA, &key)? {
                    tx.put(WA, by_device, [VERSION]);
                }
                tx.put(WA, key, [VERSION, has_key]);
            }
            Ok(())
        })
        .await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        let group = group_jid.to_owned();
        let prefix = self.key(RowKind::SenderKeyDevice).escaped(group.as_bytes());
        let by_device = self.key(RowKind::SenderKeyGroup);
        self.write(Durability::Sync, move |tx| {
            for (key, _) in tx.prefix(WA, &prefix, None, usize::MAX)? {
                let device = &key[prefix.len()..];
                tx.delete(WA, &by_device.clone().escaped(device).tail(&group));
                tx.delete(WA, &key);
            }
            Ok(())
        })
        .await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        let group_rows = self.key(RowKind::SenderKeyDevice);
        let by_device = self.key(RowKind::SenderKeyGroup);
        let devices: Vec<_> = device_jids
            .iter()
            .map(|device| (*device).to_owned())
            .collect();
        self.write(Durability::Sync, move |tx| {
            for device in devices {
                let prefix = by_device.clone().escaped(device.as_bytes());
                for (key, _) in tx.prefix(WA, &prefix, None, usize::MAX)? {
                    let group = &key[prefix.len()..];
                    tx.delete(WA, &group_rows.clone().escaped(group).tail(&device));
                    tx.delete(WA, &key);
                }
            }
            Ok(())
        })
        .await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        let prefixes = [
            self.key(RowKind::SenderKeyDevice),
            self.key(RowKind::SenderKeyGroup),
        ];
        self.write(Durability::Sync, move |tx| {
            for prefix in &prefixes {
                tx.delete_prefix(WA, prefix)?;
            }
            Ok(())
        })
        .await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        self.get_record(&self.key(RowKind::LidMapping).tail(lid))
            .await
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let (by_phone, by_lid) = (
            self.key(RowKind::PnMapping).tail(phone),
            self.key(RowKind::LidMapping),
        );
        self.read(|r| {
            let Some(lid) = r.view(WA, &by_phone, plain)?.transpose()? else {
                return Ok(None);
            };
            r.view(WA, &by_lid.clone().tail(lid), decode)?.transpose()
        })
        .await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        let (by_lid, by_phone) = (self.key(RowKind::LidMapping), self.key(RowKind::PnMapping));
        let entries = entries.to_vec();
        self.write(Durability::Lazy, move |tx| {
            for entry in &entries {
                let key = by_lid.clone().tail(&entry.lid);
                let old: Option<LidPnMappingEntry> = tx.view(WA, &key, decode)?.transpose()?;
                if let Some(old) = old.filter(|old| old.phone_number != entry.phone_number) {
                    let stale = by_phone.clone().tail(&old.phone_number);
                    let lid = tx.view(WA, &stale, plain)?.transpose()?;
                    // The number may have got another LID meanwhile; that one stays.
                    if lid.as_deref() == Some(entry.lid.as_bytes()) {
                        tx.delete(WA, &stale);
                    }
                }
                let phone = by_phone.clone().tail(&entry.phone_number);
                tx.put(WA, phone, versioned(entry.lid.as_bytes()));
                tx.put(WA, key, encode(entry)?);
            }
            Ok(())
        })
        .await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        let prefix = self.key(RowKind::LidMapping);
        self.scan(move |r| {
            let mut entries = Vec::new();
            r.for_each_prefix(WA, &prefix, |_, value| {
                entries.push(decode(value)?);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(entries)
        })
        .await
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        let key = self
            .key(RowKind::BaseKey)
            .escaped(address.as_bytes())
            .tail(message_id);
        let row = self.secret_row(key, base_key);
        self.put_all(Durability::Lazy, vec![row]).await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> Result<bool> {
        let key = self
            .key(RowKind::BaseKey)
            .escaped(address.as_bytes())
            .tail(message_id);
        let known = self.get_secret(&key).await?;
        Ok(known.is_some_and(|known| known == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        let key = self
            .key(RowKind::BaseKey)
            .escaped(address.as_bytes())
            .tail(message_id);
        self.delete(Durability::Lazy, key).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        let row = |record: &DeviceListRecord| {
            Ok((
                self.key(RowKind::DeviceList).tail(&record.user),
                encode(record)?,
            ))
        };
        let rows = records
            .iter()
            .map(row)
            .collect::<OurResult<_>>()
            .map_err(failed)?;
        self.put_all(Durability::Lazy, rows).await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        self.get_record(&self.key(RowKind::DeviceList).tail(user))
            .await
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.delete(Durability::Lazy, self.key(RowKind::DeviceList).tail(user))
            .await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        self.get(&self.key(RowKind::GroupMetadata).tail(group_jid), plain)
            .await
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        let key = self.key(RowKind::GroupMetadata).tail(group_jid);
        self.put(Durability::Lazy, key, versioned(blob)).await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.delete(
            Durability::Lazy,
            self.key(RowKind::GroupMetadata).tail(group_jid),
        )
        .await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        let key = self.key(RowKind::TcToken).tail(jid);
        self.get(&key, |value| {
            let mut entry = tc_token(value)?;
            entry.token = self.open(&key, &entry.token)?;
            Ok(entry)
        })
        .await
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        let key = self.key(RowKind::TcToken).tail(jid);
        let entry = TcTokenEntry {
            token: self.seal(&key, &entry.token),
            ..entry.clone()
        };
        let value = tc_token_value(&entry);
        self.write_with_retry(Durability::Lazy, move |tx| {
            tx.put(WA, key.clone(), value.clone());
            Ok(())
        })
        .await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.delete(Durability::Lazy, self.key(RowKind::TcToken).tail(jid))
            .await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        let prefix = self.key(RowKind::TcToken);
        self.scan(move |r| {
            let mut jids = Vec::new();
            r.for_each_prefix(WA, &prefix, |key, _| {
                jids.push(text(&key[prefix.len()..])?);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(jids)
        })
        .await
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        if self.clock.believed().is_none() {
            return Ok(0);
        }
        let prefix = self.key(RowKind::TcToken);
        self.write(Durability::Lazy, move |tx| {
            let mut expired = Vec::new();
            tx.for_each_prefix(WA, &prefix, |key, value| {
                let entry = tc_token(value)?;
                let token_live = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
                let sender_live = entry.sender_timestamp.is_some_and(|at| at >= sender_cutoff);
                if !token_live && !sender_live {
                    expired.push(key.to_vec());
                }
                Ok(ControlFlow::Continue(()))
            })?;
            for key in &expired {
                tx.delete(WA, key);
            }
            Ok(u32::try_from(expired.len()).unwrap_or(u32::MAX))
        })
        .await
    }

    async fn touch_tc_token_sender_timestamp(
        &self,
        jid: &str,
        sender_timestamp: i64,
    ) -> Result<()> {
        let key = self.key(RowKind::TcToken).tail(jid);
        self.write(Durability::Lazy, move |tx| {
            let old = tx.view(WA, &key, tc_token)?.transpose()?;
            let mut entry = old.unwrap_or(TcTokenEntry {
                token: Vec::new(),
                token_timestamp: sender_timestamp,
                sender_timestamp: None,
            });
            let latest = entry
                .sender_timestamp
                .map_or(sender_timestamp, |at| at.max(sender_timestamp));
            entry.sender_timestamp = Some(latest);
            tx.put(WA, key, tc_token_value(&entry));
            Ok(())
        })
        .await
    }

    async fn store_received_tc_token(
        &self,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
    ) -> Result<()> {
        let key = self.key(RowKind::TcToken).tail(jid);
        let token = self.seal(&key, token);
        self.write(Durability::Lazy, move |tx| {
            let old = tx.view(WA, &key, tc_token)?.transpose()?;
            let stale =
                |old: &TcTokenEntry| !old.token.is_empty() && token_timestamp < old.token_timestamp;
            if !old.as_ref().is_some_and(stale) {
                let sender_timestamp = old.and_then(|old| old.sender_timestamp);
                let entry = TcTokenEntry {
                    token,
                    token_timestamp,
                    sender_timestamp,
                };
                tx.put(WA, key, tc_token_value(&entry));
            }
            Ok(())
        })
        .await
    }

    /// Comes with every message that is sent, so nobody waits for it: [`take_sent_message`] goes
    /// through the same queue and finds it.
    ///
    /// [`take_sent_message`]: ProtocolStore::take_sent_message
    async fn store_sent_message(
        &self,
        chat_jid: &str,
        message_id: &str,
        payload: &[u8],
    ) -> Result<()> {
        let key = self
            .key(RowKind::SentMessage)
            .escaped(chat_jid.as_bytes())
            .tail(message_id);
        let (now, sealed) = (self.now(), self.seal(&key, payload));
        self.store
            .write_later(move |tx| put_stored(tx, key, now, &sealed))
            .await
            .map_err(failed)
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        let key = self
            .key(RowKind::SentMessage)
            .escaped(chat_jid.as_bytes())
            .tail(message_id);
        let row = key.clone();
        let taken = self.write(Durability::Lazy, move |tx| take_stored(tx, &row));
        let opened = taken.await?.map(|sealed| self.open(&key, &sealed));
        opened.transpose().map_err(failed)
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.delete_ended(RowKind::SentMessage, cutoff_timestamp)
            .await
    }

    async fn store_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
        message: &[u8],
    ) -> Result<()> {
        self.store_pending_inbound_batch(&[PendingInboundRow {
            chat,
            sender,
            id,
            message,
        }])
        .await
    }

    async fn get_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> Result<Option<Vec<u8>>> {
        let key = self.message_key(RowKind::PendingInbound, chat, sender, id);
        let pending = self
            .get(&key, |value| self.open(&key, &stored(value)?.1))
            .await?;
        // The library asks about duplicates only, and acknowledges one that is not pending.
        if let (None, Some(arriving)) = (&pending, &self.arriving) {
            arriving.settle(id);
            arriving
                .ask_unless_stored(chat, sender, id)
                .map_err(failed)?;
        }
        Ok(pending)
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.delete_pending_inbound_batch(&[PendingInboundKey { chat, sender, id }])
            .await
    }

    /// Such a message is nowhere else: it goes when it was handed over, and never for its age.
    async fn delete_expired_pending_inbound(&self, _cutoff_timestamp: i64) -> Result<u32> {
        Ok(0)
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        let Some(arriving) = &self.arriving else {
            return self.put_pending(rows).await.map_err(failed);
        };
        let _settled = arriving.storing(rows.iter().map(|row| row.id.to_owned()).collect());
        let mut persistence = arriving.persist();
        let mut stored = Ok(());
        while let Err(error) = self.put_pending(rows).await {
            stored = persistence.wait(error).await;
            if stored.is_err() {
                break;
            }
        }
        stored.map_err(failed)
    }

    /// A message that comes back after a crash is recognised by the hook.
    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        let key = |key: &PendingInboundKey<'_>| {
            self.message_key(RowKind::PendingInbound, key.chat, key.sender, key.id)
        };
        let keys: Vec<_> = keys.iter().map(key).collect();
        self.write(Durability::Lazy, move |tx| {
            for key in &keys {
                take_stored(tx, key)?;
            }
            Ok(())
        })
        .await
    }
}

impl Backend {
    async fn put_pending(&self, rows: &[PendingInboundRow<'_>]) -> OurResult<()> {
        let now = self.now();
        let row = |row: &PendingInboundRow<'_>| {
            let key = self.message_key(RowKind::PendingInbound, row.chat, row.sender, row.id);
            let sealed = self.seal(&key, row.message);
            (key, sealed)
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        let put = move |tx: &mut Tx| {
            for (key, sealed) in rows {
                put_stored(tx, key, now, &sealed)?;
            }
            Ok(())
        };
        self.store.write(Durability::Sync, put).await
    }

    fn message_key(&self, kind: RowKind, chat: &str, sender: &str, id: &str) -> Key {
        self.key(kind)
            .escaped(chat.as_bytes())
            .escaped(sender.as_bytes())
            .tail(id)
    }
}

/// An entry whose token is sealed, or nothing.
fn tc_token(value: &[u8]) -> OurResult<TcTokenEntry> {
    let mut parts = parts(value)?;
    let token_timestamp = parts.u64()? as i64;
    let has_sender = parts.u8()? == 1;
    let sender = parts.u64()? as i64;
    Ok(TcTokenEntry {
        token: parts.tail().to_vec(),
        token_timestamp,
        sender_timestamp: has_sender.then_some(sender),
    })
}

fn tc_token_value(entry: &TcTokenEntry) -> Vec<u8> {
    Key::new()
        .u8(SEALED)
        .u64(entry.token_timestamp as u64)
        .u8(entry.sender_timestamp.is_some().into())
        .u64(entry.sender_timestamp.unwrap_or(0) as u64)
        .tail(&entry.token)
        .into_bytes()
}

/// What is kept with a message's secret.
#[derive(Clone)]
struct MessageSecret {
    expires_at: i64,
    message_ts: i64,
    sealed: Vec<u8>,
}

impl MessageSecret {
    fn decode(value: &[u8]) -> OurResult<Self> {
        let mut parts = parts(value)?;
        let (expires_at, message_ts) = (parts.u64()? as i64, parts.u64()? as i64);
        Ok(Self {
            expires_at,
            message_ts,
            sealed: parts.tail().to_vec(),
        })
    }

    fn encode(&self) -> Vec<u8> {
        Key::new()
            .u8(SEALED)
            .u64(self.expires_at as u64)
            .u64(self.message_ts as u64)
            .tail(&self.sealed)
            .into_bytes()
    }

    /// When it ends; `None` is never.
    fn end(&self) -> Option<i64> {
        (self.expires_at != 0).then_some(self.expires_at)
    }
}

/// Writes secrets, each for as long as the old or the new one asks for.
fn put_secrets(tx: &mut Tx, rows: &[(Key, MessageSecret)]) -> OurResult<()> {
    for (key, new) in rows {
        let mut new = new.clone();
        let old = tx.view(WA, key, MessageSecret::decode)?.transpose()?;
        if let Some(old) = &old {
            new.expires_at = merge_msg_secret_expiry(old.expires_at, new.expires_at);
            new.message_ts = merge_msg_secret_message_ts(old.message_ts, new.message_ts);
        }
        let old_end = old.and_then(|old| old.end());
        put_ending(tx, key.clone(), old_end, new.end(), new.encode());
    }
    Ok(())
}

#[async_trait]
impl MsgSecretStore for Backend {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let row = |entry: &MsgSecretEntry| {
            let key = self.message_key(
                RowKind::MsgSecret,
                &entry.chat,
                &entry.sender,
                &entry.msg_id,
            );
            let secret = MessageSecret {
                expires_at: entry.expires_at,
                message_ts: entry.message_ts,
                sealed: self.seal(&key, &entry.secret),
            };
            (key, secret)
        };
        let rows: Arc<[_]> = entries.iter().map(row).collect();
        self.write_with_retry(Durability::Lazy, move |tx| {
            put_secrets(tx, &rows).map(|()| rows.len())
        })
        .await
    }

    async fn get_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<Vec<u8>>> {
        let key = self.message_key(RowKind::MsgSecret, chat, sender, msg_id);
        self.get(&key, |value| {
            self.open(&key, &MessageSecret::decode(value)?.sealed)
        })
        .await
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<(Vec<u8>, i64)>> {
        let key = self.message_key(RowKind::MsgSecret, chat, sender, msg_id);
        self.get(&key, |value| {
            let found = MessageSecret::decode(value)?;
            Ok((self.open(&key, &found.sealed)?, found.message_ts))
        })
        .await
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.delete_ended(RowKind::MsgSecret, cutoff_timestamp.saturating_add(1))
            .await
    }
}

#[async_trait]
impl DeviceStore for Backend {
    async fn save(&self, device: &Device) -> Result<()> {
        let row = self.secret_record(self.key(RowKind::Device), device);
        self.put_all(Durability::Sync, vec![row.map_err(failed)?])
            .await
    }

    async fn load(&self) -> Result<Option<Device>> {
        self.get_secret_record(&self.key(RowKind::Device)).await
    }

    async fn exists(&self) -> Result<bool> {
        let key = self.key(RowKind::Device);
        self.read(|r| r.exists(WA, &key)).await
    }

    async fn create(&self) -> Result<i32> {
        let row = self.secret_record(self.key(RowKind::Device), &Device::new());
        let (key, value) = row.map_err(failed)?;
        self.write(Durability::Sync, move |tx| {
            if !tx.exists(WA, &key)? {
                tx.put(WA, key, value);
            }
            Ok(())
        })
        .await?;
        i32::try_from(self.sid)
            .map_err(|_| StoreError::Validation("the session number is too large".into()))
    }

    /// The store and its cache are shared by all sessions, so none of it is this session's.
    async fn resource_report(&self) -> StorageResourceReport {
        StorageResourceReport {
            memory_bytes: Some(0),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests;
