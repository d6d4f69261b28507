//! The files of the folder, one after the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{NotAnAccount, shown};
use crate::plain_file::{self, Unread, refused};

/// The largest file that is read. A large account has sessions of some hundred kilobytes.
const LARGEST: u64 = 16 << 20;
/// The most that is read of one folder.
const MOST: u64 = 256 << 20;
/// The most files in one folder.
const MOST_FILES: usize = 200_000;

/// The files that are still to be read.
pub(super) struct Files {
    folder: PathBuf,
    /// By name: whether it is a plain file.
    names: BTreeMap<String, bool>,
    left: u64,
}

/// What a file holds, or why it is none of Baileys.
pub(super) type Content = Result<Vec<u8>, &'static str>;

/// Lists a folder.
pub(super) fn list(folder: &Path) -> Result<Files, NotAnAccount> {
    let failed = |error: std::io::Error| NotAnAccount(refused(&error));
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let plain = entry.file_type().map_err(failed)?.is_file();
        names.insert(entry.file_name().to_string_lossy().into_owned(), plain);
        if names.len() > MOST_FILES {
            let why = format!("it holds more than {MOST_FILES} files: it is no account");
            return Err(NotAnAccount(why));
        }
    }
    Ok(Files {
        folder: folder.to_owned(),
        names,
        left: MOST,
    })
}

impl Files {
    /// Reads the file that all depends on.
    pub(super) fn take(&mut self, name: &str) -> Result<Vec<u8>, NotAnAccount> {
        let Some(plain) = self.names.remove(name) else {
            return Err(NotAnAccount(format!("there is no {name} in it")));
        };
        self.read(name, plain)?
            .map_err(|why| NotAnAccount(format!("{name} cannot be read: {why}")))
    }

    /// The next file, and whether it is a plain one.
    pub(super) fn next(&mut self) -> Option<(String, bool)> {
        self.names.pop_first()
    }

    /// Reads a file. One that is not ours to read would be missed: without it there is no account.
    pub(super) fn read(&mut self, name: &str, plain: bool) -> Result<Content, NotAnAccount> {
        let found = match plain {
            // It may have become something else since it was listed.
            true => plain_file::read(&self.folder.join(name), LARGEST),
            false => Err(Unread::NotPlain),
        };
        let content = match found {
            Ok(bytes) => Ok(bytes),
            Err(Unread::NotPlain) => Err("it is a folder, a link or a device"),
            Err(Unread::TooLarge(_)) => Err("it is larger than 16 MiB"),
            Err(why) => return Err(NotAnAccount(format!("its file {}: {why}", shown(name)))),
        };
        let length = content.as_ref().map_or(0, Vec::len) as u64;
        self.left = self.left.checked_sub(length).ok_or_else(|| {
            let most = MOST >> 20;
            NotAnAccount(format!("it holds more than {most} MiB: it is no account"))
        })?;
        Ok(content)
    }
}
