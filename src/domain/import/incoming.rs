//! What another program left, in our words: read and judged, not stored.

use std::path::PathBuf;

use super::report::Report;
use crate::domain::campaign::imported::IncomingCampaign;
use crate::domain::list::imported::IncomingList;
use crate::ids::{MediaId, SessionId};
use crate::time::Timestamp;
use crate::wa::account::Account;

/// All that a folder holds.
#[derive(Default)]
pub struct Incoming {
    /// The sessions, by name.
    pub sessions: Vec<IncomingSession>,
    /// Recipient lists.
    pub lists: Vec<(Belongs, IncomingList)>,
    /// Campaigns.
    pub campaigns: Vec<(Belongs, IncomingCampaign)>,
    /// Uploaded files.
    pub files: Vec<IncomingFile>,
    /// What was found out while it was read.
    pub report: Report,
}

/// A session of the other program.
pub struct IncomingSession {
    /// Its name, which it keeps.
    pub id: SessionId,
    /// The token that clients show; a new one is made where it is not known.
    pub token: Option<String>,
    /// Whose it was, where the other program has users.
    pub owner: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Where its events went.
    pub webhook: Option<String>,
    /// Its linked device; without one it waits for a phone.
    pub account: Option<Box<Account>>,
}

/// To which session something belongs that is not a session's there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Belongs {
    /// The session that it names.
    pub session: Option<SessionId>,
    /// Who made it.
    pub owner: Option<String>,
}

/// An uploaded file.
pub struct IncomingFile {
    /// Its id, which it keeps.
    pub id: MediaId,
    /// Where it lies.
    pub path: PathBuf,
    /// How many bytes it has.
    pub size: u64,
}
