//! The rows of a session's files: which it has, how much they take, and which content nobody names any
//! more.

use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::domain::campaign::rows::files_in_use;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Hash, MediaId, SessionNumber};
use crate::store::record::{self, Record};
use crate::store::{Read, Tx, tables};
use crate::time::Timestamp;

/// One file of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaFile {
    /// SHA-256 of its bytes.
    pub sha256: Hash,
    /// How many bytes it has.
    pub size: u64,
    /// Its type, by its content.
    pub mime: String,
    /// The name it came with.
    pub name: Option<String>,
    /// When it was stored.
    pub at: Timestamp,
    /// Whether it came in a message; such files make room for others.
    pub received: bool,
}

impl Record for MediaFile {
    const VERSION: u8 = 1;
}

/// A file, open.
pub struct OpenFile {
    /// The bytes.
    pub file: File,
    /// How many there are.
    pub size: u64,
    /// Its type.
    pub mime: String,
    /// The name it came with.
    pub name: Option<String>,
    /// SHA-256 of its bytes.
    pub sha256: Hash,
    /// Its id among the session's files; `None` when there was no room to keep it.
    pub kept: Option<MediaId>,
}

/// A file in the media folder.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Blob {
    size: u64,
    /// How many rows of `media_files` name it.
    named: u64,
}

impl Record for Blob {
    const VERSION: u8 = 1;
}

/// How much the files of a session take.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// How many files there are.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Record for Usage {
    const VERSION: u8 = 1;
}

/// The key of a file: session and id.
pub(super) fn key(session: SessionNumber, id: &MediaId) -> Vec<u8> {
    [&session.0.to_be_bytes()[..], id.as_str().as_bytes()].concat()
}

/// How much the session's files take.
pub(super) fn usage(read: &impl Read, session: SessionNumber) -> Result<Usage> {
    let row = read.get(tables::MEDIA_USAGE, &session.0.to_be_bytes())?;
    row.map_or(Ok(Usage::default()), |row| record::decode(&row))
}

/// Whether the session has this file.
pub(in crate::domain) fn exists(
    read: &impl Read,
    session: SessionNumber,
    id: &MediaId,
) -> Result<bool> {
    read.exists(tables::MEDIA, &key(session, id))
}

/// Adds a row and counts it.
pub(super) fn add(
    tx: &mut Tx,
    session: SessionNumber,
    id: &MediaId,
    file: &MediaFile,
) -> Result<()> {
    let mut used = usage(tx, session)?;
    used.files += 1;
    used.bytes += file.size;
    let blob_key = file.sha256.0;
    let blob = tx.get(tables::BLOBS, &blob_key)?;
    let mut blob: Blob = blob.map_or(Ok(Blob::default()), |row| record::decode(&row))?;
    blob.size = file.size;
    blob.named += 1;
    tx.put(tables::BLOBS, blob_key, record::encode(&blob)?);
    tx.put(tables::MEDIA, key(session, id), record::encode(file)?);
    tx.put(
        tables::MEDIA_USAGE,
        session.0.to_be_bytes(),
        record::encode(&used)?,
    );
    Ok(())
}

/// Removes a row. Answers the content that nobody names any more.
pub(super) fn take(tx: &mut Tx, row: &[u8]) -> Result<Option<Hash>> {
    let Some(value) = tx.get(tables::MEDIA, row)? else {
        return Ok(None);
    };
    let file: MediaFile = record::decode(&value)?;
    let session: [u8; 4] = row[..4].try_into().map_err(Error::internal)?;
    let mut used = usage(tx, SessionNumber(u32::from_be_bytes(session)))?;
    used.files = used.files.saturating_sub(1);
    used.bytes = used.bytes.saturating_sub(file.size);
    tx.put(tables::MEDIA_USAGE, session, record::encode(&used)?);
    tx.delete(tables::MEDIA, row);
    let blob_key = file.sha256.0;
    let Some(blob) = tx.get(tables::BLOBS, &blob_key)? else {
        return Ok(None);
    };
    let mut blob: Blob = record::decode(&blob)?;
    blob.named = blob.named.saturating_sub(1);
    if blob.named > 0 {
        tx.put(tables::BLOBS, blob_key, record::encode(&blob)?);
        return Ok(None);
    }
    tx.delete(tables::BLOBS, &blob_key);
    Ok(Some(file.sha256))
}

/// Dates a file that came while nobody had set the clock; whether it is one.
pub(super) fn redate(tx: &mut Tx, row: &[u8], now: Timestamp) -> Result<bool> {
    let Some(value) = tx.get(tables::MEDIA, row)? else {
        return Ok(false);
    };
    let mut file: MediaFile = record::decode(&value)?;
    if file.at.is_plausible() {
        return Ok(false);
    }
    file.at = now;
    tx.put(tables::MEDIA, row, record::encode(&file)?);
    Ok(true)
}

/// What a session is told whose quota is used up.
pub(super) fn full(quota: u64) -> Error {
    let mib = quota >> 20;
    Error::new(
        ErrorKind::TooLarge,
        format!(
            "The media quota of this session ({mib} MiB) is used up; delete files, or raise media_quota"
        ),
    )
}

/// How many bytes of the session's files make room for nothing.
pub(super) fn lasting(read: &impl Read, session: SessionNumber) -> Result<u64> {
    let prefix = session.0.to_be_bytes();
    let in_use = files_in_use(read, &prefix)?;
    let mut bytes = 0;
    read.for_each_prefix(tables::MEDIA, &prefix, |row, value| {
        let file: MediaFile = record::decode(value)?;
        if !file.received || in_use.contains(row) {
            bytes += file.size;
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(bytes)
}

/// Removes received files of the session, oldest first, until `bytes` more fit into the quota.
pub(super) fn make_room(
    tx: &mut Tx,
    session: SessionNumber,
    bytes: u64,
    quota: u64,
) -> Result<Vec<Hash>> {
    let used = usage(tx, session)?.bytes;
    let Some(mut over) = (used + bytes).checked_sub(quota).filter(|over| *over > 0) else {
        return Ok(Vec::new());
    };
    if bytes > quota {
        return Err(full(quota));
    }
    let rows = tx.prefix(tables::MEDIA, &session.0.to_be_bytes(), None, usize::MAX)?;
    let in_use = files_in_use(tx, &session.0.to_be_bytes())?;
    let mut received = Vec::new();
    for (row, value) in rows {
        let file: MediaFile = record::decode(&value)?;
        if file.received && !in_use.contains(&row) {
            received.push((file.at, row, file.size));
        }
    }
    received.sort();
    let mut gone = Vec::new();
    for (_, row, size) in received {
        gone.extend(take(tx, &row)?);
        over = over.saturating_sub(size);
        if over == 0 {
            return Ok(gone);
        }
    }
    Err(full(quota))
}

/// Removes up to `limit` files of a session. Answers the contents that nobody names any more, which
/// the caller removes from the folder after the commit, and whether that was all.
pub(in crate::domain) fn delete_some(
    tx: &mut Tx,
    session: SessionNumber,
    limit: usize,
) -> Result<(Vec<Hash>, bool)> {
    let prefix = session.0.to_be_bytes();
    let mut gone = Vec::new();
    let rows = tx.prefix(tables::MEDIA, &prefix, None, limit)?;
    for (row, _) in &rows {
        match take(tx, row) {
            Ok(unnamed) => gone.extend(unnamed),
            // A damaged row must not keep the others.
            Err(_) => tx.delete(tables::MEDIA, row),
        }
    }
    let over = rows.len() < limit;
    if over {
        tx.delete(tables::MEDIA_USAGE, &prefix);
    }
    Ok((gone, over))
}
