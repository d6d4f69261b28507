//! What the library remembers between messages: who has which sender key, LIDs and numbers, device
//! lists, tokens, messages that were sent and messages that are not handed over yet.

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore,
    TcTokenEntry,
};

use super::ending::{put_stored, stored, take_stored};
use super::lids::LidKeys;
use super::rows::{RowKind, plain, versioned};
use super::sender_key_devices::DeviceKeys;
use super::{Backend, failed, tc_tokens};
use crate::error::Result as OurResult;
use crate::store::tables::WA;
use crate::store::{Durability, Key, Tx, encode};

#[async_trait]
impl ProtocolStore for Backend {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        let (keys, group) = (DeviceKeys::new(self.sid), group_jid.to_owned());
        self.scan(move |r| keys.of_group(r, &group)).await
    }

    /// A lost `true` costs one needless distribution; a lost `false` leaves a device without the key.
    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        let forgets = entries.iter().any(|(_, has_key)| !has_key);
        let durability = if forgets {
            Durability::Sync
        } else {
            Durability::Lazy
        };
        let (keys, group) = (DeviceKeys::new(self.sid), group_jid.to_owned());
        let device = |(device, has_key): &(&str, bool)| ((*device).to_owned(), *has_key);
        let devices: Vec<_> = entries.iter().map(device).collect();
        self.write(durability, move |tx| keys.put(tx, &group, &devices))
            .await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        let (keys, group) = (DeviceKeys::new(self.sid), group_jid.to_owned());
        self.write(Durability::Sync, move |tx| keys.delete_group(tx, &group))
            .await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        let keys = DeviceKeys::new(self.sid);
        let devices: Vec<_> = device_jids
            .iter()
            .map(|device| (*device).to_owned())
            .collect();
        self.write(Durability::Sync, move |tx| {
            devices
                .iter()
                .try_for_each(|device| keys.delete_device(tx, device))
        })
        .await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        let keys = DeviceKeys::new(self.sid);
        self.write(Durability::Sync, move |tx| keys.delete_all(tx))
            .await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        let keys = LidKeys::new(self.sid);
        self.read(|r| keys.of_lid(r, lid)).await
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let keys = LidKeys::new(self.sid);
        self.read(|r| keys.of_phone(r, phone)).await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        let (keys, entries) = (LidKeys::new(self.sid), entries.to_vec());
        self.write(Durability::Lazy, move |tx| {
            entries.iter().try_for_each(|entry| keys.put(tx, entry))
        })
        .await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        let keys = LidKeys::new(self.sid);
        self.scan(move |r| keys.all(r)).await
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        let key = self.key_in(RowKind::BaseKey, address, message_id);
        let row = self.secret_row(key, base_key);
        self.put_all(Durability::Lazy, vec![row]).await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> Result<bool> {
        let key = self.key_in(RowKind::BaseKey, address, message_id);
        let known = self.get_secret(&key).await?;
        Ok(known.is_some_and(|known| known == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        let key = self.key_in(RowKind::BaseKey, address, message_id);
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
            let mut entry = tc_tokens::decode(value)?;
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
        let value = tc_tokens::encode(&entry);
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
        self.scan(move |r| tc_tokens::jids(r, &prefix)).await
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        if self.clock.believed().is_none() {
            return Ok(0);
        }
        let prefix = self.key(RowKind::TcToken);
        self.write(Durability::Lazy, move |tx| {
            tc_tokens::delete_expired(tx, &prefix, token_cutoff, sender_cutoff)
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
            tc_tokens::note_sent(tx, key, sender_timestamp)
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
            tc_tokens::receive(tx, key, token, token_timestamp)
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
        let key = self.key_in(RowKind::SentMessage, chat_jid, message_id);
        let (now, sealed) = (self.now(), self.seal(&key, payload));
        self.store
            .write_later(move |tx| put_stored(tx, key, now, &sealed))
            .await
            .map_err(failed)
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        let key = self.key_in(RowKind::SentMessage, chat_jid, message_id);
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

    /// The key of what belongs to one message of a chat or an address.
    fn key_in(&self, kind: RowKind, of: &str, id: &str) -> Key {
        self.key(kind).escaped(of.as_bytes()).tail(id)
    }
}
