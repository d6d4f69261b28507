//! The rows of a session's files: which it has, how much they take, and which content nobody names any
//! more.

use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::domain::campaign::rows::files_in_use;
use crate::error::{Code, Error, Result};
use crate::ids::{Hash, MediaId, SessionNumber};
use crate::store::record::Record;
use crate::store::{Read, Tx, Typed, tables, unless_damaged};
use crate::time::Timestamp;

/// One file of a session. Stored.
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

/// A file in the media folder. Stored.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Blob {
    size: u64,
    /// How many rows of `media_files` name it.
    named: u64,
}

impl Record for Blob {
    const VERSION: u8 = 1;
}

/// How much the files of a session take. Stored.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaUsage {
    /// How many files there are.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Record for MediaUsage {
    const VERSION: u8 = 1;
}

pub(super) const MEDIA: Typed<(SessionNumber, MediaId), MediaFile> = Typed::new(tables::MEDIA);

const MEDIA_USAGE: Typed<SessionNumber, MediaUsage> = Typed::new(tables::MEDIA_USAGE);

pub(super) const BLOBS: Typed<Hash, Blob> = Typed::new(tables::BLOBS);

/// How much the session's files take; counted anew where that is damaged.
pub(super) fn usage(read: &impl Read, session: SessionNumber) -> Result<MediaUsage> {
    if let Some(known) = unless_damaged(MEDIA_USAGE.get(read, session))? {
        return Ok(known.unwrap_or_default());
    }
    let mut used = MediaUsage::default();
    MEDIA.rows(session).each_readable(read, |_, file| {
        used.files += 1;
        used.bytes += file.size;
        Ok(())
    })?;
    Ok(used)
}

/// Whether the session has this file.
pub(in crate::domain) fn exists(
    read: &impl Read,
    session: SessionNumber,
    id: &MediaId,
) -> Result<bool> {
    MEDIA.exists(read, (session, id))
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
    let mut blob = BLOBS.get(tx, file.sha256)?.unwrap_or_default();
    blob.size = file.size;
    blob.named += 1;
    BLOBS.put(tx, file.sha256, &blob)?;
    MEDIA.put(tx, (session, id), file)?;
    MEDIA_USAGE.put(tx, session, &used)
}

/// Removes a row. Answers the content that nobody names any more.
pub(super) fn take(tx: &mut Tx, session: SessionNumber, id: &MediaId) -> Result<Option<Hash>> {
    let Some(file) = MEDIA.get(tx, (session, id))? else {
        return Ok(None);
    };
    let mut used = usage(tx, session)?;
    used.files = used.files.saturating_sub(1);
    used.bytes = used.bytes.saturating_sub(file.size);
    MEDIA_USAGE.put(tx, session, &used)?;
    MEDIA.delete(tx, (session, id));
    // Of a content whose row is damaged nobody knows who else names it: it stays.
    let Some(mut blob) = BLOBS.readable(tx, file.sha256)? else {
        return Ok(None);
    };
    blob.named = blob.named.saturating_sub(1);
    if blob.named > 0 {
        BLOBS.put(tx, file.sha256, &blob)?;
        return Ok(None);
    }
    BLOBS.delete(tx, file.sha256);
    Ok(Some(file.sha256))
}

/// Dates a file that came while nobody had set the clock; whether it is one.
pub(super) fn redate(
    tx: &mut Tx,
    session: SessionNumber,
    id: &MediaId,
    now: Timestamp,
) -> Result<bool> {
    let Some(mut file) = MEDIA.get(tx, (session, id))? else {
        return Ok(false);
    };
    if file.at.is_plausible() {
        return Ok(false);
    }
    file.at = now;
    MEDIA.put(tx, (session, id), &file)?;
    Ok(true)
}

/// What a session is told whose quota is used up.
pub(super) fn full(quota: u64) -> Error {
    let mib = quota >> 20;
    Error::new(
        Code::MediaQuotaReached,
        format!(
            "The media quota of this session ({mib} MiB) is used up; delete files, or raise media_quota"
        ),
    )
}

/// The files that were uploaded to a session; those that came in messages are not among them.
pub(in crate::domain) fn uploaded(
    read: &impl Read,
    session: SessionNumber,
) -> Result<Vec<MediaId>> {
    let mut ids = Vec::new();
    MEDIA.rows(session).each_readable(read, |id, file| {
        ids.extend((!file.received).then_some(id));
        Ok(())
    })?;
    Ok(ids)
}

/// How many bytes of the session's files make room for nothing.
pub(super) fn lasting(read: &impl Read, session: SessionNumber) -> Result<u64> {
    let in_use = files_in_use(read, session)?;
    let mut bytes = 0;
    MEDIA.rows(session).each_readable(read, |id, file| {
        if !file.received || in_use.contains(&id) {
            bytes += file.size;
        }
        Ok(())
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
    let in_use = files_in_use(tx, session)?;
    let mut received = Vec::new();
    MEDIA.rows(session).each_readable(tx, |id, file| {
        if file.received && !in_use.contains(&id) {
            received.push((file.at, id, file.size));
        }
        Ok(())
    })?;
    received.sort_unstable();
    let mut gone = Vec::new();
    for (_, id, size) in received {
        gone.extend(take(tx, session, &id)?);
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
    let mut gone = Vec::new();
    let ids = MEDIA.rows(session).keys(tx, limit)?;
    for id in &ids {
        match take(tx, session, id) {
            Ok(unnamed) => gone.extend(unnamed),
            // A damaged row must not keep the others.
            Err(_) => MEDIA.delete(tx, (session, id)),
        }
    }
    let over = ids.len() < limit;
    if over {
        MEDIA_USAGE.delete(tx, session);
    }
    Ok((gone, over))
}
