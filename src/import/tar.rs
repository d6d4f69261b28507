//! A folder as a tar archive: how a command hands it to a running gateway, and how somebody without a
//! shell does.
//!
//! Our own, because so little is needed: plain files, and nothing that an archive could trick us with.
//! Links, devices and paths that lead out are refused. What is no data (`node_modules`) is passed over.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

pub use self::parcel::Parcel;
use crate::error::{Code, Error, Result};

mod parcel;

/// The size of a block, in which everything is counted.
const BLOCK: usize = 512;

/// The most files that an archive may hold.
const MAX_FILES: usize = 200_000;

/// The longest path, and the most folders in it.
const MAX_PATH: usize = 1024;
const MAX_DEPTH: usize = 16;

/// How many bytes may be passed over: gzip makes them of very few.
const MAX_PASSED: u64 = 8 << 30;

/// How much is read or written at once.
const AT_ONCE: usize = 64 * 1024;

/// Folders of no interest, wherever they are: programs. No account may have such a name.
const PASSED_OVER: [&str; 2] = ["node_modules", ".git"];

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::new(Code::ImportUnreadable, format!("the archive {why}"))
}

fn cut(error: io::Error) -> Error {
    wrong("ends too early, or is no tar archive (a .tar or a .tar.gz)").because(error)
}

/// What could not be written at this path of the archive.
fn unwritable(error: io::Error, path: &Path) -> Error {
    let path = || crate::names::excerpt(&path.display().to_string(), 80);
    match error.kind() {
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => {
            return wrong(format!("holds a file and a folder of one name: {}", path()));
        }
        io::ErrorKind::InvalidFilename => {
            return wrong(format!("holds a name that is too long: {}", path()));
        }
        _ => {}
    }
    let text = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full",
        _ => "the archive cannot be unpacked in the data folder",
    };
    Error::new(Code::StoreUnavailable, text).because(error)
}

/// Unpacks an archive, also one of gzip, into an empty folder, up to `room` bytes of files; answers how many
/// were passed over. It blocks.
pub fn unpack(archive: &mut dyn io::BufRead, to: &Path, room: u64) -> Result<u64> {
    let zipped = archive.fill_buf().map_err(cut)?.starts_with(&[0x1f, 0x8b]);
    if zipped {
        let mut plain = flate2::bufread::MultiGzDecoder::new(archive);
        return unpack_plain(&mut plain, to, room);
    }
    unpack_plain(archive, to, room)
}

fn unpack_plain(archive: &mut dyn Read, to: &Path, mut room: u64) -> Result<u64> {
    let (mut files, mut long_name, mut passed) = (0, None, 0_u64);
    let mut files_passed = 0;
    let mut head = [0; BLOCK];
    loop {
        archive.read_exact(&mut head).map_err(cut)?;
        // Two empty blocks end an archive; what follows the first is not looked at.
        if head.iter().all(|byte| *byte == 0) {
            return Ok(files_passed);
        }
        let size = judge_head(&head)?;
        let kind = head[156];
        match kind {
            // The name of the next entry, as GNU and as POSIX write it.
            b'L' => {
                let name = text(archive, size)?;
                long_name = Some(name.trim_end_matches('\0').to_owned());
                continue;
            }
            b'x' => {
                let records = text(archive, size)?;
                judge_records(&records)?;
                long_name = path_in(&records).or(long_name);
                continue;
            }
            _ => {}
        }
        let name = match long_name.take() {
            Some(name) => name,
            None => name_in(&head)?,
        };
        let path = (kind != b'g').then(|| safe(&name)).transpose()?.flatten();
        match (kind, path) {
            (0 | b'0' | b'7', Some(path)) => {
                files += 1;
                if files > MAX_FILES {
                    return Err(wrong(format!("holds more than {MAX_FILES} files")));
                }
                room = room
                    .checked_sub(size)
                    .ok_or_else(|| wrong("holds more than there is room for in the data folder"))?;
                write(archive, size, to, &path)?;
            }
            (b'1'..=b'4' | b'6', Some(path)) => {
                let path = path.display();
                return Err(wrong(format!(
                    "holds a link or a device, {path}: pack plain files"
                )));
            }
            (b'S', _) => return Err(sparse()),
            // Folders are made for what is in them.
            (kind, path) => {
                files_passed += u64::from(path.is_none() && !matches!(kind, b'5' | b'g'));
                passed = passed.saturating_add(size);
                if passed > MAX_PASSED {
                    return Err(wrong("holds too much that is no data: pack less"));
                }
                pass_over(archive, size)?;
            }
        }
        pass_over(archive, size.next_multiple_of(BLOCK as u64) - size)?;
    }
}

/// The size of an entry, if its head is one.
fn judge_head(head: &[u8; BLOCK]) -> Result<u64> {
    let not_tar = || wrong("is no tar archive (a .tar or a .tar.gz)");
    let sum = octal(&head[148..156]).ok_or_else(not_tar)?;
    let blank = head[..148].iter().chain(&[b' '; 8]).chain(&head[156..]);
    if blank.map(|byte| u64::from(*byte)).sum::<u64>() != sum {
        return Err(not_tar());
    }
    octal(&head[124..136]).ok_or_else(|| wrong("holds a file that is too large"))
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

/// A name that is longer than its field, with what fills the last block.
fn text(archive: &mut dyn Read, size: u64) -> Result<String> {
    if size > 64 * 1024 {
        return Err(wrong("holds a name that is too long"));
    }
    let mut bytes = vec![0; size.next_multiple_of(BLOCK as u64) as usize];
    archive.read_exact(&mut bytes).map_err(cut)?;
    bytes.truncate(size as usize);
    String::from_utf8(bytes).map_err(|_| wrong("holds a name that is not UTF-8"))
}

/// What the records of POSIX set: `LENGTH NAME=VALUE\n`.
fn records(text: &str) -> impl DoubleEndedIterator<Item = (&str, &str)> {
    let values = text.lines().filter_map(|record| record.split_once(' '));
    values.filter_map(|(_, set)| set.split_once('='))
}

fn path_in(text: &str) -> Option<String> {
    let path = records(text).rfind(|(name, _)| *name == "path");
    path.map(|(_, path)| path.to_owned())
}

/// Refuses what would be read as another file than it is: one in pieces, and one whose size is not in its head.
fn judge_records(text: &str) -> Result<()> {
    for (name, _) in records(text) {
        if name.starts_with("GNU.sparse.") {
            return Err(sparse());
        }
        if name == "size" {
            return Err(wrong("holds a file that is too large"));
        }
    }
    Ok(())
}

fn sparse() -> Error {
    wrong("holds a sparse file: pack without --sparse (-S)")
}

fn name_in(head: &[u8; BLOCK]) -> Result<String> {
    let field = |bytes: &[u8]| {
        let end = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        let text = String::from_utf8(bytes[..end].to_vec());
        text.map_err(|_| wrong("holds a name that is not UTF-8"))
    };
    let name = field(&head[..100])?;
    let prefix = match head[257..263] == *b"ustar\0" {
        true => field(&head[345..500])?,
        false => String::new(),
    };
    Ok(if prefix.is_empty() {
        name
    } else {
        format!("{prefix}/{name}")
    })
}

/// A path that stays inside; `None` if it is of no interest.
fn safe(name: &str) -> Result<Option<PathBuf>> {
    let leads_out = || {
        let name = crate::names::excerpt(name, 80);
        wrong(format!("holds a path that leads out of it: {name}"))
    };
    if name.len() > MAX_PATH || name.contains('\0') {
        return Err(leads_out());
    }
    let mut path = PathBuf::new();
    for part in Path::new(name).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) if PASSED_OVER.iter().any(|name| part == *name) => {
                return Ok(None);
            }
            Component::Normal(part) => path.push(part),
            _ => return Err(leads_out()),
        }
    }
    if path.components().count() > MAX_DEPTH {
        return Err(leads_out());
    }
    Ok(Some(path).filter(|path| *path != Path::new("")))
}

fn write(archive: &mut dyn Read, size: u64, folder: &Path, path: &Path) -> Result<()> {
    let unwritable = |error| unwritable(error, path);
    let to = folder.join(path);
    if let Some(folder) = to.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(unwritable)?;
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(to).map_err(unwritable)?;
    let mut left = size;
    let mut piece = vec![0; AT_ONCE];
    while left > 0 {
        let take = left.min(AT_ONCE as u64) as usize;
        archive.read_exact(&mut piece[..take]).map_err(cut)?;
        file.write_all(&piece[..take]).map_err(unwritable)?;
        left -= take as u64;
    }
    Ok(())
}

fn pass_over(archive: &mut dyn Read, size: u64) -> Result<()> {
    let passed = io::copy(&mut archive.take(size), &mut io::sink()).map_err(cut)?;
    if passed < size {
        return Err(cut(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
