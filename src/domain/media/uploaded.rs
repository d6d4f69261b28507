//! Files at WhatsApp's servers: what is stored of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::{Hash, SessionNumber};
use crate::store::record::Record;
use crate::store::{Read, Typed, tables};
use crate::time::Timestamp;
use crate::wa::message::{Attachment, MediaKind};

/// How long an uploaded file is used again. WhatsApp keeps files for about 30 days; a receiver who
/// opens the message late needs the rest of that time.
pub(in crate::domain) const LIFE: Duration = Duration::from_secs(14 * 24 * 3600);

/// A file at WhatsApp's servers that messages may name. Stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::domain) struct WaUpload {
    /// How it is to be shown.
    pub(in crate::domain) kind: MediaKind,
    /// What the client should know about it.
    pub(in crate::domain) note: Option<String>,
    /// Where it lies, how it looks.
    pub(in crate::domain) file: Attachment,
    /// When it is not used any more.
    pub(super) ends: Timestamp,
}

impl Record for WaUpload {
    const VERSION: u8 = 1;
}

/// The key of an uploaded file: session, content, and how it is shown.
type RowKey = (SessionNumber, Hash, String);

pub(super) const UPLOADS: Typed<RowKey, WaUpload> = Typed::new(tables::UPLOADS);

/// The keys of what was uploaded of this file, in any session.
pub(super) fn uploads_of(read: &impl Read, sha256: &Hash) -> Result<Vec<RowKey>> {
    let mut keys = Vec::new();
    UPLOADS.rows(()).each(read, |row| {
        let key = row.key()?;
        if key.1 == *sha256 {
            keys.push(key);
        }
        Ok(())
    })?;
    Ok(keys)
}
