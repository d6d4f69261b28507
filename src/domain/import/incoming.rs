//! What another program left, in our words: read and judged, not stored.

use std::path::PathBuf;

use super::report::Report;
use crate::domain::campaign::imported::IncomingCampaign;
use crate::domain::list::imported::IncomingList;
use crate::error::{Code, Error, Result};
use crate::ids::{MediaId, SessionId};
use crate::time::Timestamp;
use crate::wa::account::Account;

/// The most bytes of files that an import may hold: all that it brings is in memory until it is written.
const MOST_BYTES: u64 = 256 << 20;

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
    /// How many bytes of files were read into it.
    bytes: u64,
}

impl Incoming {
    /// Counts a file that is to be held.
    ///
    /// # Errors
    /// `import_unreadable`: there are too many of them for one import.
    pub fn count(&mut self, bytes: u64) -> Result<()> {
        let all = self.bytes.saturating_add(bytes);
        if all > MOST_BYTES {
            let most = MOST_BYTES >> 20;
            let said =
                format!("an import may hold {most} MiB: take some of it away and import it later");
            return Err(Error::new(Code::ImportUnreadable, said));
        }
        self.bytes = all;
        Ok(())
    }
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
    /// Its linked device, or why that cannot be taken; without one it waits for a phone.
    pub account: std::result::Result<Option<Box<Account>>, String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_an_import_may() {
        let mut incoming = Incoming::default();
        incoming.count(MOST_BYTES - 1).expect("room");
        let error = incoming.count(2).expect_err("no room");
        assert!(error.detail().contains("256 MiB"), "{}", error.detail());
        // What did not come takes no room.
        incoming.count(1).expect("room");
        incoming.count(u64::MAX).expect_err("no room");
    }
}
