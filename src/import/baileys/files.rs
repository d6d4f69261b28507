//! The files of the folder, one after the other.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::NotAnAccount;

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

/// What a file holds, or why it is not read.
pub(super) type Content = Result<Vec<u8>, &'static str>;

/// Lists a folder.
pub(super) fn list(folder: &Path) -> Result<Files, NotAnAccount> {
    let failed =
        |error: std::io::Error| NotAnAccount(format!("The folder cannot be read: {error}."));
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let plain = entry.file_type().map_err(failed)?.is_file();
        names.insert(entry.file_name().to_string_lossy().into_owned(), plain);
        if names.len() > MOST_FILES {
            let why = format!("The folder holds more than {MOST_FILES} files: it is no account.");
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
            return Err(NotAnAccount(format!("There is no {name} in the folder.")));
        };
        self.read(name, plain)?
            .map_err(|why| NotAnAccount(format!("{name} cannot be read: {why}.")))
    }

    /// The next file, and whether it is a plain one.
    pub(super) fn next(&mut self) -> Option<(String, bool)> {
        self.names.pop_first()
    }

    /// Reads a file.
    pub(super) fn read(&mut self, name: &str, plain: bool) -> Result<Content, NotAnAccount> {
        let content = if plain {
            contents(&self.folder.join(name))
        } else {
            Err("it is a folder, a link or a device")
        };
        let length = content.as_ref().map_or(0, Vec::len) as u64;
        self.left = self.left.checked_sub(length).ok_or_else(|| {
            let most = MOST >> 20;
            NotAnAccount(format!(
                "The folder holds more than {most} MiB: it is no account."
            ))
        })?;
        Ok(content)
    }
}

fn contents(path: &Path) -> Content {
    // The file may have become a link or a pipe since it was listed.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|_| "it cannot be opened")?;
    match file.metadata() {
        Ok(about) if about.is_file() && about.len() <= LARGEST => {}
        Ok(about) if about.is_file() => return Err("it is larger than 16 MiB"),
        _ => return Err("it is a folder, a link or a device"),
    }
    read_whole(file).ok_or("it cannot be read")
}

fn read_whole(file: File) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= LARGEST).then_some(bytes)
}
