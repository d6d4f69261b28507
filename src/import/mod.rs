//! Moving in: what other programs left on the disk, read into our types. Nothing is written here.
//!
//! A folder is a stranger's: only plain files are read, none that is large, and never more than so many.

pub mod baileys;
pub mod running;
pub mod sqlite;
pub mod super_light;
pub mod tar;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::domain::import::{Incoming, IncomingSession, Outcome, account_of};
use crate::error::{Code, Error, Result};
use crate::ids::SessionId;
use crate::plain_file::{self, refused};

/// How many entries of one folder are looked at.
const MAX_ENTRIES: usize = 200_000;

/// The largest `creds.json` that is looked at, in bytes.
const MAX_CREDS: u64 = 4 << 20;

/// The file that makes a folder one of Baileys.
const CREDS: &str = "creds.json";

/// How many folders around the one that is meant an archive may have.
const MAX_WRAPPED: usize = 3;

/// How a folder is read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The country whose national numbers are understood.
    pub country: Option<String>,
    /// The name that the one account of a folder of Baileys gets.
    pub session: Option<SessionId>,
    /// Whether the folder's own name means anything: that of an unpacked archive does not.
    pub is_named: bool,
}

impl Reading {
    /// The name of the account whose folder this is.
    fn name_of(&self, folder: &Path) -> Result<SessionId> {
        let named = || {
            let whole = std::path::absolute(folder).ok()?;
            SessionId::parse(whole.file_name()?.to_str()?).ok()
        };
        let folders = || named().filter(|_| self.is_named);
        self.session.clone().or_else(folders).ok_or_else(|| {
            unknown("the account needs the name of a session: give it one (--session NAME, session=NAME)")
        })
    }
}

/// What a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One of the original.
    SuperLight,
    /// One account of Baileys.
    Account,
    /// Folders of accounts.
    Accounts,
}

fn unknown(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::ImportUnreadable, why)
}

/// Reads a folder. It blocks: call it where that is allowed.
///
/// # Errors
/// It is no folder, nothing in it is known, or the name for its account is missing or one too many.
pub fn read(folder: &Path, reading: &Reading) -> Result<Incoming> {
    let (root, kind) = find(folder)?;
    let mut incoming = Incoming::default();
    match kind {
        Kind::SuperLight if reading.session.is_some() => {
            return Err(unknown(
                "the sessions of Super-Light keep their names: a name (--session, session=) is for one \
                 account of Baileys",
            ));
        }
        Kind::SuperLight => super_light::read(&root, reading, &mut incoming),
        Kind::Account => take_account(&root, reading.name_of(&root)?, &mut incoming),
        Kind::Accounts => {
            let accounts = accounts_in(&root).map_err(unknown)?;
            if reading.session.is_some() && accounts.len() > 1 {
                return Err(unknown(
                    "there are several accounts and one name for them (--session, session=): import their \
                     folders one by one",
                ));
            }
            for (name, path) in accounts {
                let named = reading.session.clone().map(Ok);
                match named.unwrap_or_else(|| SessionId::parse(&name)) {
                    Ok(session) => take_account(&path, session, &mut incoming),
                    Err(_) => bad_name(&name, &mut incoming),
                }
            }
        }
    }
    Ok(incoming)
}

/// The folder that is meant, and what it is: the one named, or the one that an archive wrapped.
fn find(folder: &Path) -> Result<(PathBuf, Kind)> {
    let mut root = folder.to_owned();
    if !root.is_dir() {
        return Err(unknown("it is no folder"));
    }
    for _ in 0..=MAX_WRAPPED {
        let inside = entries(&root).map_err(unknown)?;
        if super_light::is_root(&root) {
            return Ok((root, Kind::SuperLight));
        }
        if has_creds(&root).map_err(|error| unknown(refused(&error)))? {
            return Ok((root, Kind::Account));
        }
        let mut accounts = inside.iter().map(|(_, path)| has_creds(path));
        if accounts.any(|found| matches!(found, Ok(true))) {
            return Ok((root, Kind::Accounts));
        }
        match &inside[..] {
            [(_, only)] if only.is_dir() => root = only.clone(),
            _ => break,
        }
    }
    Err(unknown(
        "it holds nothing that is known here: name the folder of Super-Light, one of Baileys (with \
         creds.json), or one that holds such folders",
    ))
}

/// Whether a folder is an account of Baileys.
fn has_creds(folder: &Path) -> io::Result<bool> {
    match std::fs::metadata(folder.join(CREDS)) {
        Ok(there) => Ok(there.is_file()),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether there is nothing of the name.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether a folder is, or may be, an account: one that this user cannot look into is no empty one.
fn is_account(folder: &Path) -> bool {
    !matches!(has_creds(folder), Ok(false))
}

/// The accounts in a folder, by name.
fn accounts_in(folder: &Path) -> std::result::Result<Vec<(String, PathBuf)>, String> {
    let inside = entries(folder)?.into_iter();
    Ok(inside.filter(|(_, path)| is_account(path)).collect())
}

/// What a folder holds, by name; nothing where there is none. All of it, or why not: what is missing would
/// look as if it had never been.
fn entries(folder: &Path) -> std::result::Result<Vec<(String, PathBuf)>, String> {
    entries_that(folder, MAX_ENTRIES, &mut |_| true)
}

/// Those of the names that are wanted; at most so many.
fn entries_that(
    folder: &Path,
    most: usize,
    is_wanted: &mut dyn FnMut(&str) -> bool,
) -> std::result::Result<Vec<(String, PathBuf)>, String> {
    let inside = match std::fs::read_dir(folder) {
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        inside => inside.map_err(|error| refused(&error))?,
    };
    let mut found = Vec::new();
    for entry in inside {
        let entry = entry.map_err(|error| refused(&error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_wanted(&name) {
            continue;
        }
        if found.len() == most {
            return Err(format!(
                "it holds more than {most} files: take away what is not needed"
            ));
        }
        found.push((name, entry.path()));
    }
    found.sort_unstable();
    Ok(found)
}

fn bad_name(name: &str, incoming: &mut Incoming) {
    let name = crate::names::excerpt(name, 80);
    let said = "its name is no name for a session (letters, digits, - and _): import it alone, under \
                another (--session NAME, session=NAME)";
    incoming
        .report
        .add(Outcome::LeftOut, format!("folder {name}"), said);
}

/// Adds the account of a folder of Baileys as a session of its own.
fn take_account(folder: &Path, session: SessionId, incoming: &mut Incoming) {
    match account(folder, &session, incoming) {
        Ok(Some(account)) => incoming.sessions.push(IncomingSession {
            id: session,
            token: None,
            owner: None,
            created_at: None,
            webhook: None,
            account: Ok(Some(account)),
        }),
        Ok(None) => {
            let said = "no phone was ever linked to it";
            let about = format!("session {session}");
            incoming.report.add(Outcome::LeftOut, about, said);
        }
        Err(why) => incoming
            .report
            .add(Outcome::Problem, account_of(&session), why),
    }
}

/// Reads an account; `None` when no phone was linked yet. What of it is left out is said.
fn account(
    folder: &Path,
    session: &SessionId,
    incoming: &mut Incoming,
) -> std::result::Result<Option<Box<crate::wa::account::Account>>, String> {
    if is_unpaired(folder) {
        return Ok(None);
    }
    let found = baileys::read(folder).map_err(|baileys::NotAnAccount(why)| why)?;
    let counted = incoming.count(found.account.size());
    counted.map_err(|error| error.detail().to_owned())?;
    incoming.report.add_left_out(session, found.left_out);
    Ok(Some(Box::new(found.account)))
}

/// Whether its `creds.json` is in order and says that no phone was linked: a QR code was shown, and nobody
/// scanned it.
fn is_unpaired(folder: &Path) -> bool {
    let creds = plain_file::read(&folder.join(CREDS), MAX_CREDS).ok();
    let creds = creds.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    creds.is_some_and(|creds| creds["noiseKey"].is_object() && creds["me"].is_null())
}

#[cfg(test)]
mod tests;
