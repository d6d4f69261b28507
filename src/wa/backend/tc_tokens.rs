//! Tokens of trusted contacts: how they lie in the store, and which one wins.

use std::ops::ControlFlow;

use whatsapp_rust::wacore::store::traits::TcTokenEntry;

use super::rows::{SEALED, parts, text};
use crate::error::Result;
use crate::store::tables::WA;
use crate::store::{Key, Read, Tx};

/// An entry whose token is sealed, or nothing.
pub(super) fn decode(value: &[u8]) -> Result<TcTokenEntry> {
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

/// The value of an entry whose token is sealed.
pub(super) fn encode(entry: &TcTokenEntry) -> Vec<u8> {
    Key::new()
        .u8(SEALED)
        .u64(entry.token_timestamp as u64)
        .u8(entry.sender_timestamp.is_some().into())
        .u64(entry.sender_timestamp.unwrap_or(0) as u64)
        .tail(&entry.token)
        .into_bytes()
}

/// Whom entries below the prefix are of.
pub(super) fn jids(read: &impl Read, prefix: &Key) -> Result<Vec<String>> {
    let mut jids = Vec::new();
    read.for_each_prefix(WA, prefix, |key, _| {
        jids.push(text(&key[prefix.len()..])?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(jids)
}

/// Notes that the account sent its own token then; the latest counts.
pub(super) fn note_sent(tx: &mut Tx, key: Key, sender_timestamp: i64) -> Result<()> {
    let old = tx.view(WA, &key, decode)?.transpose()?;
    let mut entry = old.unwrap_or(TcTokenEntry {
        token: Vec::new(),
        token_timestamp: sender_timestamp,
        sender_timestamp: None,
    });
    let latest = entry
        .sender_timestamp
        .map_or(sender_timestamp, |at| at.max(sender_timestamp));
    entry.sender_timestamp = Some(latest);
    tx.put(WA, key, encode(&entry));
    Ok(())
}

/// Keeps a sealed token that came, unless there is a newer one.
pub(super) fn receive(tx: &mut Tx, key: Key, token: Vec<u8>, token_timestamp: i64) -> Result<()> {
    let old = tx.view(WA, &key, decode)?.transpose()?;
    let stale = |old: &TcTokenEntry| !old.token.is_empty() && token_timestamp < old.token_timestamp;
    if !old.as_ref().is_some_and(stale) {
        let sender_timestamp = old.and_then(|old| old.sender_timestamp);
        let entry = TcTokenEntry {
            token,
            token_timestamp,
            sender_timestamp,
        };
        tx.put(WA, key, encode(&entry));
    }
    Ok(())
}

/// Deletes the entries of which neither side is as new as its cutoff; says how many.
pub(super) fn delete_expired(
    tx: &mut Tx,
    prefix: &Key,
    token_cutoff: i64,
    sender_cutoff: i64,
) -> Result<u32> {
    let mut expired = Vec::new();
    tx.for_each_prefix(WA, prefix, |key, value| {
        let entry = decode(value)?;
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
}
