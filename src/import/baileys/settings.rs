//! `app-state-sync-*.json` and `tctoken-*.json`: the account's settings, and the tokens of others.

use serde::Deserialize;

use super::json::{Bytes, Exact, Members, Whole, base64, read};
use crate::wa::account::{Collection, Fingerprint, SyncKey};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyFile {
    key_data: Bytes,
    fingerprint: Option<FingerprintFile>,
    timestamp: Option<Whole>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FingerprintFile {
    raw_id: Option<u32>,
    current_index: Option<u32>,
    #[serde(default)]
    device_indexes: Vec<u32>,
}

/// Reads the key with this id; says why it cannot be.
pub(super) fn sync_key(id: Vec<u8>, bytes: &[u8]) -> Result<SyncKey, &'static str> {
    let file: KeyFile = read(bytes)?;
    if id.is_empty() || file.key_data.0.is_empty() {
        return Err("it holds no key");
    }
    let fingerprint = file.fingerprint.map(|of| Fingerprint {
        raw_id: of.raw_id,
        current_index: of.current_index,
        device_indexes: of.device_indexes,
    });
    Ok(SyncKey {
        id,
        data: file.key_data.0,
        fingerprint: fingerprint.unwrap_or_default(),
        timestamp: file.timestamp.map_or(0, |at| at.0),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CollectionFile {
    version: u64,
    hash: Exact<128>,
    #[serde(default)]
    index_value_map: Members<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    value_mac: Bytes,
}

/// Reads the state of a collection; says why it cannot be.
pub(super) fn collection(name: String, bytes: &[u8]) -> Result<Collection, &'static str> {
    let file: CollectionFile = read(bytes)?;
    let macs = file.index_value_map.0.into_iter();
    let macs = macs.map(|(index, value)| Some((base64(&index)?, value.value_mac.0)));
    Ok(Collection {
        name,
        version: file.version,
        hash: file.hash.0,
        // With one missing the hash would fit nothing: then the collection is read anew.
        macs: macs
            .collect::<Option<_>>()
            .ok_or("it is of an unknown form")?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenFile {
    token: Bytes,
    timestamp: Option<Whole>,
    sender_timestamp: Option<Whole>,
}

/// Reads a token: its bytes, when it was made, when ours was given.
pub(super) fn token(bytes: &[u8]) -> Result<(Vec<u8>, i64, Option<i64>), &'static str> {
    let file: TokenFile = read(bytes)?;
    let given = file.sender_timestamp.map(|at| at.0);
    // Baileys empties a token that is too old, and keeps when it gave its own.
    let made = file.timestamp.map(|at| at.0).or(given);
    Ok((file.token.0, made.ok_or("it has no time")?, given))
}
