//! Files that clients leave at the server: pictures of people, and media, which are encrypted.
//!
//! Where the network's state is kept, media are kept beside it, in a folder. The oldest give way
//! when there is no room; whoever asks for them is told that they are gone.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::journal::{JournalChanges, JournalKey};
use super::network::Network;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// How many bytes of files are kept.
const ROOM: u64 = 512 << 20;
/// How many uploads that broke off are kept.
const PARTS: usize = 8;
/// What is said of a file that is not there any more.
pub(super) const GONE: u16 = 410;
const UNKNOWN: u16 = 404;

/// The store of files.
pub(super) struct MediaStore {
    host: RwLock<Option<String>>,
    shelf: Mutex<Shelf>,
    changes: Arc<JournalChanges>,
}

#[derive(Default)]
struct Shelf {
    /// Where files are kept; without it, in memory.
    folder: Option<PathBuf>,
    files: HashMap<Box<str>, StoredFile>,
    /// The oldest first.
    order: VecDeque<Box<str>>,
    bytes: u64,
    /// What arrived of uploads that broke off, by the file's first path.
    parts: VecDeque<(String, Bytes)>,
}

/// A file, or what is known of one that is gone.
struct StoredFile {
    left: Timestamp,
    size: u64,
    place: FileOwner,
    /// How requests are answered since the file expired.
    expired: Option<u16>,
}

enum FileOwner {
    Memory(Bytes),
    Folder,
    Gone,
}

/// The content of a file, which may be read while the file is dropped.
#[derive(Debug, Clone)]
pub(super) enum FileContent {
    Memory(Bytes),
    /// With its length.
    File(Arc<File>, usize),
}

impl FileContent {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Memory(file) => file.len(),
            Self::File(_, length) => *length,
        }
    }

    /// Reads a part, which must be within the file.
    pub(super) fn part(&self, part: Range<usize>) -> std::io::Result<Bytes> {
        match self {
            Self::Memory(file) => Ok(file.slice(part)),
            Self::File(file, _) => {
                let mut out = vec![0; part.len()];
                file.read_exact_at(&mut out, part.start as u64)?;
                Ok(out.into())
            }
        }
    }

    /// Reads it all.
    pub(super) fn whole(&self) -> Option<Bytes> {
        self.part(0..self.len()).ok()
    }
}

/// What the state file says of a file.
#[derive(Serialize, Deserialize)]
pub(super) struct FileRow {
    left: Timestamp,
    size: u64,
    expired: Option<u16>,
}

/// What a client is told about a file that it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredMedia {
    /// Where the file can be fetched.
    pub url: String,
    /// The same without the host.
    pub direct_path: String,
}

impl MediaStore {
    pub(super) fn new(folder: Option<PathBuf>, changes: Arc<JournalChanges>) -> Self {
        let shelf = Shelf {
            folder,
            ..Shelf::default()
        };
        Self {
            host: RwLock::default(),
            shelf: Mutex::new(shelf),
            changes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf
            .lock()
            .expect("Invariant: nothing panics under this lock")
    }

    fn touch(&self, path: &str) {
        if kept_beside_state(path) {
            self.changes.touch(|| JournalKey::File(path.into()));
        }
    }

    /// What arrived of a file before its upload broke off.
    pub(super) fn part(&self, kind: &str, sum: &[u8]) -> Option<Bytes> {
        let path = path_of(kind, sum, 1);
        let shelf = self.lock();
        let part = shelf.parts.iter().find(|(of, _)| *of == path)?;
        Some(part.1.clone())
    }

    /// Keeps what arrived of a file whose upload broke off.
    pub(super) fn keep_part(&self, kind: &str, sum: &[u8], part: Bytes) {
        let path = path_of(kind, sum, 1);
        let mut shelf = self.lock();
        shelf.parts.retain(|(of, _)| *of != path);
        if shelf.parts.len() == PARTS {
            shelf.parts.pop_front();
        }
        shelf.parts.push_back((path, part));
    }

    /// A file as clients get it, or the status with which they do not.
    pub(super) fn fetch(
        &self,
        path: &str,
        life: Option<u64>,
        now: Timestamp,
    ) -> std::result::Result<FileContent, u16> {
        let shelf = self.lock();
        shelf.is_there(bare(path), life, now)?;
        shelf.open(bare(path)).ok_or(GONE)
    }

    /// Whether clients can fetch a file.
    pub(super) fn is_there(&self, path: &str, life: Option<u64>, now: Timestamp) -> bool {
        self.lock().is_there(bare(path), life, now).is_ok()
    }

    /// A file as somebody has it who fetched it in time: it does not expire for him.
    pub(super) fn copy(&self, path: &str) -> Option<FileContent> {
        self.lock().open(bare(path))
    }

    /// Where a file is that clients can fetch now.
    pub(super) fn find(
        &self,
        kind: &str,
        sum: &[u8],
        life: Option<u64>,
        now: Timestamp,
    ) -> Option<String> {
        let shelf = self.lock();
        let paths = (1..).map(|copy| path_of(kind, sum, copy));
        let known = paths.take_while(|path| shelf.files.contains_key(path.as_str()));
        let paths: Vec<_> = known.collect();
        drop(shelf);
        let last = paths.last()?;
        self.is_there(last, life, now).then(|| last.clone())
    }

    /// Keeps a file under a path that no other file ever had; answers the path.
    pub(super) fn put_sealed(
        &self,
        kind: &str,
        sum: &[u8],
        file: Bytes,
        now: Timestamp,
    ) -> Result<String> {
        let mut shelf = self.lock();
        let mut paths = (1..).map(|copy| path_of(kind, sum, copy));
        let path = paths
            .find(|path| !shelf.files.contains_key(path.as_str()))
            .expect("Invariant: there is always another path");
        let first = path_of(kind, sum, 1);
        shelf.parts.retain(|(of, _)| *of != first);
        self.put(&mut shelf, &path, file, now)?;
        Ok(path)
    }

    fn put(&self, shelf: &mut Shelf, path: &str, file: Bytes, now: Timestamp) -> Result<()> {
        let size = file.len() as u64;
        let place = match &shelf.folder {
            Some(folder) if kept_beside_state(path) => {
                write(folder, path, &file).map_err(Error::internal)?;
                FileOwner::Folder
            }
            _ => FileOwner::Memory(file),
        };
        let kept = StoredFile {
            left: now,
            size,
            place,
            expired: None,
        };
        shelf.insert(path, kept);
        for gone in shelf.make_room() {
            self.touch(&gone);
        }
        self.touch(path);
        Ok(())
    }

    /// Lets a file expire, or all media; answers how many did.
    pub(super) fn expire(&self, only: Option<&str>, status: u16) -> usize {
        let only = only.map(bare);
        let mut count = 0;
        for (path, kept) in &mut self.lock().files {
            let meant = only.map_or(kept_beside_state(path), |only| only == &**path);
            if meant && kept.expired.is_none() {
                kept.expired = Some(status);
                count += 1;
                self.touch(path);
            }
        }
        count
    }

    pub(super) fn row(&self, path: &str) -> Option<FileRow> {
        let shelf = self.lock();
        let kept = shelf.files.get(path)?;
        Some(FileRow {
            left: kept.left,
            size: kept.size,
            expired: kept.expired,
        })
    }

    /// Puts files back; one whose content is not in the folder is gone, and one of which the state
    /// says nothing was left just before a kill.
    pub(super) fn restore(&self, mut rows: Vec<(Box<str>, FileRow)>, now: Timestamp) {
        rows.sort_by_key(|(_, row)| row.left);
        let mut shelf = self.lock();
        for (path, size) in shelf.folder.as_deref().map(in_folder).unwrap_or_default() {
            if rows.iter().all(|(known, _)| *known != path) {
                self.touch(&path);
                let row = FileRow {
                    left: now,
                    size,
                    expired: None,
                };
                rows.push((path, row));
            }
        }
        for (path, row) in rows {
            let file = shelf.folder.as_ref().map(|folder| name(folder, &path));
            let there = file
                .and_then(|file| std::fs::metadata(file).ok())
                .is_some_and(|found| found.len() == row.size);
            let kept = StoredFile {
                left: row.left,
                size: row.size,
                place: if there {
                    FileOwner::Folder
                } else {
                    FileOwner::Gone
                },
                expired: row.expired,
            };
            shelf.insert(&path, kept);
        }
    }
}

impl Shelf {
    fn is_there(
        &self,
        path: &str,
        life: Option<u64>,
        now: Timestamp,
    ) -> std::result::Result<(), u16> {
        let kept = self.files.get(path).ok_or(UNKNOWN)?;
        if let Some(status) = kept.expired {
            return Err(status);
        }
        let old = |life| now.since(kept.left).as_secs() >= life;
        let old = kept_beside_state(path) && life.is_some_and(old);
        if old || matches!(kept.place, FileOwner::Gone) {
            return Err(GONE);
        }
        Ok(())
    }

    fn open(&self, path: &str) -> Option<FileContent> {
        let kept = self.files.get(path)?;
        match &kept.place {
            FileOwner::Memory(file) => Some(FileContent::Memory(file.clone())),
            FileOwner::Folder => {
                let file = File::open(name(self.folder.as_ref()?, path)).ok()?;
                let length = usize::try_from(kept.size).ok()?;
                Some(FileContent::File(Arc::new(file), length))
            }
            FileOwner::Gone => None,
        }
    }

    fn insert(&mut self, path: &str, kept: StoredFile) {
        if !matches!(kept.place, FileOwner::Gone) {
            self.bytes += kept.size;
            self.order.push_back(path.into());
        }
        self.files.insert(path.into(), kept);
    }

    /// Drops the oldest until the rest fits; answers which.
    fn make_room(&mut self) -> Vec<Box<str>> {
        let mut gone = Vec::new();
        while self.bytes > ROOM && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(kept) = self.files.get_mut(&oldest) {
                self.bytes -= kept.size;
                if let (FileOwner::Folder, Some(folder)) = (&kept.place, &self.folder) {
                    // A file that cannot be removed is in nobody's way.
                    let _ = std::fs::remove_file(name(folder, &oldest));
                }
                kept.place = FileOwner::Gone;
            }
            gone.push(oldest);
        }
        gone
    }
}

impl Network {
    /// Tells the network under which host and port it is reached, also for files.
    pub fn set_media_host(&self, host: &str) {
        *self
            .media
            .host
            .write()
            .expect("Invariant: nothing panics under this lock") = Some(host.to_owned());
    }

    pub(super) fn listens(&self) -> bool {
        self.media
            .host
            .read()
            .expect("Invariant: nothing panics under this lock")
            .is_some()
    }

    pub(super) fn media_host(&self) -> String {
        let host = self
            .media
            .host
            .read()
            .expect("Invariant: nothing panics under this lock");
        host.clone().unwrap_or_else(|| "127.0.0.1:1".to_owned())
    }

    pub(super) fn stored(&self, path: &str) -> StoredMedia {
        let direct_path = format!("{path}?ccb=11-4");
        StoredMedia {
            url: format!("https://{}{direct_path}", self.media_host()),
            direct_path,
        }
    }

    /// Keeps a picture under this path; whoever fetches it may add a query.
    pub(super) fn keep_picture(&self, path: &str, file: Bytes) {
        let mut shelf = self.media.lock();
        // Invariant: pictures are kept in memory, which does not fail.
        let _ = self.media.put(&mut shelf, path, file, self.now());
    }
}

fn bare(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

/// Pictures are kept in the state itself, by whom they belong to.
fn kept_beside_state(path: &str) -> bool {
    path.starts_with("/v/")
}

/// Each time that a file is left after it expired, it gets another path.
fn path_of(kind: &str, sum: &[u8], copy: u32) -> String {
    let sum = hex::encode_upper(sum);
    if copy == 1 {
        format!("/v/{kind}/{sum}.enc")
    } else {
        format!("/v/{kind}/{sum}-{copy}.enc")
    }
}

/// The file's name in the folder.
///
/// Invariant: a path has only what `path_of` puts there, and a kind has no slash, so that no name
/// leads out of the folder.
fn name(folder: &Path, path: &str) -> PathBuf {
    folder.join(path.trim_start_matches('/').replace('/', "-"))
}

/// The paths and sizes of the files in the folder.
fn in_folder(folder: &Path) -> Vec<(Box<str>, u64)> {
    // No folder: no files yet.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let path = path_of_name(entry.file_name().to_str()?)?;
        Some((path.into(), entry.metadata().ok()?.len()))
    });
    files.collect()
}

/// The path of a file by its name in the folder: the kind may have dashes, too.
fn path_of_name(name: &str) -> Option<String> {
    let rest = name.strip_prefix("v-")?.strip_suffix(".enc")?;
    let mut parts = rest.split('-');
    let sum = parts.find(|part| part.len() == 64)?;
    let (kind, file) = rest.split_at(rest.find(sum)?);
    Some(format!("/v/{}/{file}.enc", kind.strip_suffix('-')?))
}

/// Writes a file so that it is there as a whole or not at all.
fn write(folder: &Path, path: &str, file: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let name = name(folder, path);
    let fresh = name.with_extension("new");
    std::fs::write(&fresh, file)?;
    std::fs::rename(&fresh, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn a_file_that_expired_gets_another_path() {
        let media = MediaStore::new(None, Arc::new(JournalChanges::new(false)));
        let put = || media.put_sealed("image", &[1; 32], Bytes::from("a"), at(0));
        let first = put().expect("kept");
        assert_eq!(
            media.find("image", &[1; 32], None, at(9)),
            Some(first.clone())
        );
        assert_eq!(media.find("image", &[1; 32], Some(9), at(9)), None);
        assert_eq!(media.expire(Some(&first), 404), 1);
        assert_eq!(media.fetch(&first, None, at(0)).err(), Some(404));
        let copy = media.copy(&first).and_then(|file| file.whole());
        assert_eq!(copy, Some(Bytes::from("a")));
        let second = put().expect("kept");
        assert_ne!(first, second);
        assert_eq!(media.find("image", &[1; 32], None, at(9)), Some(second));
    }

    #[test]
    fn a_name_in_the_folder_tells_the_path() {
        for (kind, copy) in [("image", 1), ("md-msg-hist", 1), ("image", 2)] {
            let path = path_of(kind, &[0xab; 32], copy);
            let name = name(Path::new("x"), &path);
            let name = name.file_name().and_then(|name| name.to_str());
            assert_eq!(path_of_name(name.expect("a name")), Some(path));
        }
        assert_eq!(path_of_name("v-image-00.enc"), None);
    }

    #[test]
    fn the_oldest_give_way() {
        let media = MediaStore::new(None, Arc::new(JournalChanges::new(false)));
        let file = Bytes::from(vec![0; (ROOM / 4) as usize]);
        let put = |n| media.put_sealed("video", &[n; 32], file.clone(), at(0));
        let paths: Vec<_> = (0..5).map(|n| put(n).expect("kept")).collect();
        assert_eq!(media.fetch(&paths[0], None, at(0)).err(), Some(GONE));
        assert!(media.fetch(&paths[1], None, at(0)).is_ok());
        assert!(media.fetch(&paths[4], None, at(0)).is_ok());
    }
}
