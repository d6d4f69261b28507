//! A folder of Baileys (`useMultiFileAuthState`, versions 6 and 7), read into an [`Account`].
//!
//! The folder is a stranger's: files are read only if they are plain, small and not too many, and what
//! is not understood is left out and said.

use std::path::Path;

use crate::wa::account::Account;
pub use crate::wa::account::{LeftOut, NotAnAccount};

/// An account, and what of its folder is not taken over.
pub struct Found {
    /// The linked device.
    pub account: Account,
    /// For the report, in the order of the files' names.
    pub left_out: Vec<LeftOut>,
}

/// Reads a folder. It blocks: call it where that is allowed. Nothing is written.
///
/// # Errors
/// There is no `creds.json` with all that a linked device needs.
pub fn read(folder: &Path) -> Result<Found, NotAnAccount> {
    let _ = folder;
    Err(NotAnAccount("Not yet.".to_owned()))
}
