//! What encryption remembers: identities, sessions, prekeys and sender keys.

use std::sync::Arc;

use bytes::Bytes;
use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::store::traits::SignalStore;

use super::rows::RowKind;
use super::{Backend, failed};
use crate::error::{Error, Result as OurResult};
use crate::jid::Jid;
use crate::store::tables::WA;
use crate::store::{Durability, Key, KeyParts, Read};

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

/// Some of the people of whom session number `sid` has Signal state, by number or LID, and where this page
/// ends; `after` is where the one before it ended. `None` is the end.
pub fn people_with_signal_state(
    read: &impl Read,
    sid: u32,
    after: Option<Vec<u8>>,
    most: usize,
) -> OurResult<Option<(Vec<Jid>, Vec<u8>)>> {
    for kind in [RowKind::Identity, RowKind::Session] {
        let prefix = Key::new().u32(sid).u8(kind as u8);
        let after = after.as_deref();
        if after.is_some_and(|after| !after.starts_with(&prefix) && after > &prefix[..]) {
            continue;
        }
        let from = after.filter(|after| after.starts_with(&prefix));
        let rows = read.prefix(WA, &prefix, from, most)?;
        let Some((last, _)) = rows.last() else {
            continue;
        };
        let last = last.clone();
        let people = rows.iter().filter_map(|(key, _)| {
            // A device of Signal comes last: `6281234567890:3@c.us.0`.
            let address = std::str::from_utf8(&key[prefix.len()..]).ok()?;
            let person = Jid::parse(address.rsplit_once('.')?.0)?;
            person.is_person().then_some(person)
        });
        return Ok(Some((people.collect(), last)));
    }
    Ok(None)
}

/// Whether session number `sid` ever encrypted for a device of this user (of a number or a LID), or
/// decrypted what one sent.
fn has_signal_state(read: &impl Read, sid: u32, user: &str) -> OurResult<bool> {
    for kind in [RowKind::Session, RowKind::Identity] {
        // The first device of an account, and its others.
        for separator in ["@", ":"] {
            let prefix = Key::new().u32(sid).u8(kind as u8);
            let prefix = prefix.tail(user).tail(separator);
            if read.first(WA, &prefix)?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
