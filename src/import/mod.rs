//! Moving in: what other programs left on the disk, read into our types. Nothing is written here.
//!
//! A folder is a stranger's: only plain files are read, none that is large, and never more than so many.

pub mod baileys;
pub mod running;
pub mod sqlite;
pub mod super_light;
pub mod tar;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use crate::domain::import::{Incoming, IncomingSession, Outcome};
use crate::error::{Code, Error, Result};
use crate::ids::SessionId;

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

/// Reads a folder. It blocks: call it where that is allowed.
///
/// # Errors
/// It is no folder, or nothing in it is known.
pub fn read(folder: &Path, reading: &Reading) -> Result<Incoming> {
    let (root, kind) = find(folder)?;
    let mut incoming = Incoming::default();
    for (place, error) in unreadable_folders(&root, kind) {
        let said = format!("it cannot be read: {error}; run this as its owner");
        let about = format!("folder {place}");
        incoming.report.add(Outcome::Problem, about, said);
    }
    match kind {
        Kind::SuperLight if reading.session.is_some() => {
            return Err(Error::new(
                Code::ImportUnreadable,
                "--session names the account of one folder of Baileys; the sessions of Super-Light keep \
                 their names",
            ));
        }
        Kind::SuperLight => super_light::read(&root, reading, &mut incoming),
        Kind::Account => {
            let named = match &reading.session {
                Some(session) => Some(session.clone()),
                None => name_of(&root).and_then(|name| SessionId::parse(&name).ok()),
            };
            let Some(session) = named else {
                return Err(Error::new(
                    Code::ImportUnreadable,
                    "the folder's name is no name for a session: give one with --session",
                ));
            };
            take_account(&root, session, &mut incoming);
        }
        Kind::Accounts => {
            let accounts = accounts_in(&root);
            if reading.session.is_some() && accounts.len() > 1 {
                return Err(Error::new(
                    Code::ImportUnreadable,
                    "--session names one account, and there are several: import their folders one by one",
                ));
            }
            for (name, path) in accounts {
                match reading
                    .session
                    .clone()
                    .map_or_else(|| SessionId::parse(&name), Ok)
                {
                    Ok(session) => take_account(&path, session, &mut incoming),
                    Err(_) => bad_name(&name, &mut incoming),
                }
            }
        }
    }
    Ok(incoming)
}

/// The folders below that hold what is taken, and cannot be read: they look empty to whoever only lists them.
fn unreadable_folders(root: &Path, kind: Kind) -> Vec<(String, std::io::Error)> {
    let mut places: Vec<String> = match kind {
        Kind::SuperLight => super_light::folders(),
        Kind::Account => Vec::new(),
        Kind::Accounts => entries(root).into_iter().map(|(name, _)| name).collect(),
    };
    if let Kind::SuperLight = kind {
        let accounts = entries(&root.join(super_light::ACCOUNTS)).into_iter();
        places.extend(accounts.map(|(name, _)| format!("{}/{name}", super_light::ACCOUNTS)));
    }
    let failed = |place: String| {
        let listed = std::fs::read_dir(root.join(&place));
        let listed = listed.and_then(|mut inside| inside.try_for_each(|one| one.map(drop)));
        // A folder that may be listed and not entered hides its files too.
        let entered = || std::fs::symlink_metadata(root.join(&place).join(".")).map(drop);
        match listed.and_then(|()| entered()) {
            Err(error)
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Some((crate::names::excerpt(&place, 120), error))
            }
            _ => None,
        }
    };
    places.into_iter().filter_map(failed).collect()
}

/// The folder that is meant, and what it is: the one named, or the one that an archive wrapped.
fn find(folder: &Path) -> Result<(PathBuf, Kind)> {
    let mut root = folder.to_owned();
    if !root.is_dir() {
        return Err(Error::new(Code::ImportUnreadable, "it is no folder"));
    }
    if let Err(error) = std::fs::read_dir(&root) {
        let text = format!("it cannot be read: {error}; run this as the folder's owner");
        return Err(Error::new(Code::ImportUnreadable, text));
    }
    for _ in 0..=MAX_WRAPPED {
        if super_light::is_root(&root) {
            return Ok((root, Kind::SuperLight));
        }
        if is_account(&root) {
            return Ok((root, Kind::Account));
        }
        if !accounts_in(&root).is_empty() {
            return Ok((root, Kind::Accounts));
        }
        let mut inside = entries(&root).into_iter();
        match (inside.next(), inside.next()) {
            (Some((_, only)), None) if only.is_dir() => root = only,
            _ => break,
        }
    }
    Err(Error::new(
        Code::ImportUnreadable,
        "it holds nothing that is known here: name the folder of Super-Light, one of Baileys (with \
         creds.json), or one that holds such folders",
    ))
}

fn is_account(folder: &Path) -> bool {
    folder.join(CREDS).is_file()
}

/// The folders of Baileys in a folder, by name.
fn accounts_in(folder: &Path) -> Vec<(String, PathBuf)> {
    let inside = entries(folder).into_iter();
    inside.filter(|(_, path)| is_account(path)).collect()
}

/// What a folder holds, by name; nothing if it cannot be read. Names that are no text are passed over.
fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(inside) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<_> = inside
        .flatten()
        .take(MAX_ENTRIES)
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    found.sort_unstable();
    found
}

fn name_of(folder: &Path) -> Option<String> {
    let whole = std::path::absolute(folder).ok()?;
    Some(whole.file_name()?.to_str()?.to_owned())
}

fn bad_name(name: &str, incoming: &mut Incoming) {
    let name = crate::names::excerpt(name, 80);
    let said = "its name is no name for a session (letters, digits, - and _): import it alone, with --session";
    incoming
        .report
        .add(Outcome::LeftOut, format!("folder {name}"), said);
}

/// Adds the account of a folder of Baileys as a session of its own.
fn take_account(folder: &Path, session: SessionId, incoming: &mut Incoming) {
    let about = format!("session {session}");
    match account_of(folder, &about, incoming) {
        Ok(Some(account)) => incoming.sessions.push(IncomingSession {
            id: session,
            token: None,
            owner: None,
            created_at: None,
            webhook: None,
            account: Some(account),
        }),
        Ok(None) => {
            let said = "no phone was ever linked to it";
            incoming.report.add(Outcome::LeftOut, about, said);
        }
        Err(why) => incoming.report.add(Outcome::Problem, about, why),
    }
}

/// Reads an account; `None` when no phone was linked yet. What of it is left out is said.
fn account_of(
    folder: &Path,
    about: &str,
    incoming: &mut Incoming,
) -> std::result::Result<Option<Box<crate::wa::account::Account>>, String> {
    if is_unpaired(folder) {
        return Ok(None);
    }
    let found = baileys::read(folder).map_err(|baileys::NotAnAccount(why)| why)?;
    for left in found.left_out {
        let about = format!("{about}, {}", left.file);
        incoming.report.add(Outcome::LeftOut, about, left.why);
    }
    Ok(Some(Box::new(found.account)))
}

/// Whether its `creds.json` is in order and says that no phone was linked: a QR code was shown, and nobody
/// scanned it.
fn is_unpaired(folder: &Path) -> bool {
    let creds = small_file(&folder.join(CREDS), MAX_CREDS);
    let creds = creds.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    creds.is_some_and(|creds| creds["noiseKey"].is_object() && creds["me"].is_null())
}

/// Reads a file whole; `None` if there is none, it is no plain file, or it is larger than `most` bytes.
fn small_file(path: &Path, most: u64) -> Option<Vec<u8>> {
    let there = std::fs::symlink_metadata(path).ok()?;
    if !there.is_file() || there.len() > most {
        return None;
    }
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    let many = file.take(most + 1).read_to_end(&mut bytes).ok()?;
    (many as u64 <= most).then_some(bytes)
}
