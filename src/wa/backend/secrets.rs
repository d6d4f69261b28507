//! The secrets of messages, which their poll votes and edits are decrypted with.

use std::sync::Arc;

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::store::traits::{
    MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};

use super::Backend;
use super::ending::put_ending;
use super::rows::{RowKind, SEALED, parts};
use crate::error::Result as OurResult;
use crate::store::tables::WA;
use crate::store::{Durability, Key, Read as _, Tx};

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
