//! The media folder: files named by the hash of their content, and files that are still arriving.
//!
//! Invariants:
//! - No text of a client is ever part of a path: names are hashes and random digits.
//! - A file that rows name is whole and fsynced. A crash can leave a file that no row names, never
//!   a row without its file; the next start removes such files.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex, MutexGuard};

use crate::error::{Code, Error, Result};
use crate::ids::{Hash, IdSource};
use crate::seal::Seal;
use crate::seal::file::{is_sealed, sealed_len};
use crate::tasks::blocking;

/// Bytes that are handed to the disk at once.
const WRITE_AT_ONCE: usize = 256 * 1024;

/// The folder `media/` below the data folder.
pub struct BlobFolder {
    path: PathBuf,
    ids: IdSource,
    /// Hazard: a file must not be removed by one while another begins to name it, so whoever
    /// changes which files are named holds this from before the rows change until the files have.
    changing: Mutex<()>,
}

impl BlobFolder {
    /// Opens the folder and empties it of what was arriving when the last run ended.
    pub fn open(data: &Path, ids: IdSource) -> Result<Self> {
        let path = data.join("media");
        let arriving = path.join("arriving");
        let made = (|| {
            if arriving.exists() {
                std::fs::remove_dir_all(&arriving)?;
            }
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&arriving)
        })();
        made.map_err(|e| unusable("the media folder cannot be made", e))?;
        Ok(Self {
            path,
            ids,
            changing: Mutex::new(()),
        })
    }

    /// Holds off everybody else who changes which files are named.
    pub(in crate::domain) async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Where the file with this content is, or would be.
    pub(super) fn path_of(&self, hash: &Hash) -> PathBuf {
        self.path.join(hash.to_string())
    }

    /// Opens the file with this content.
    pub(super) fn open_file(&self, hash: &Hash, size: u64) -> Result<File> {
        let missing = |why: io::Error| {
            Error::new(
                Code::FileDamaged,
                "The file is missing from the media folder",
            )
            .because(why)
        };
        let file = File::open(self.path_of(hash)).map_err(missing)?;
        if file.metadata().map_err(missing)?.len() != size {
            return Err(missing(io::Error::other("it has another size")));
        }
        Ok(file)
    }

    /// What lies under the name of this content, and how large it is.
    ///
    /// Hazard: until [`Gateway::verify_media`](crate::domain::Gateway::verify_media) is through, a file
    /// that an older version stored may be anything, and disks forget: a name proves nothing.
    pub(super) async fn inspect(&self, hash: &Hash) -> Result<(BlobState, u64)> {
        let (path, hash) = (self.path_of(hash), *hash);
        in_background(move || inspect(&path, &hash))
            .await
            .map_err(|e| unusable("the media folder cannot be read", e))
    }

    /// Takes a file away that is not what its name says. The caller holds [`BlobFolder::change`].
    pub(super) async fn put_aside(&self, hash: &Hash) -> Result<()> {
        let (from, folder) = (self.path_of(hash), self.path.join("wrong"));
        let to = folder.join(hash.to_string());
        in_background(move || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)?;
            std::fs::rename(from, to)
        })
        .await
        .map_err(|e| unusable("the media folder cannot be written to", e))
    }

    /// A new file that bytes arrive in; it goes when the value does.
    pub(super) fn scratch(&self) -> Result<Scratch> {
        let name = hex::encode(self.ids.bytes::<16>());
        let path = self.path.join("arriving").join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| unusable("the media folder cannot be written to", e))?;
        Ok(Scratch {
            path: Arc::new(Temporary(path)),
            file,
        })
    }

    /// Takes bytes as they arrive, hashing them on the way.
    pub(super) fn arrival(&self) -> Result<PartialFile> {
        let scratch = self.scratch()?;
        let mut file = tokio::fs::File::from_std(scratch.file);
        file.set_max_buf_size(WRITE_AT_ONCE);
        Ok(PartialFile {
            file,
            path: scratch.path,
            hash: Sha256::new(),
            size: 0,
        })
    }

    /// Gives an arrived file its name, unless the same content was seen `there`. The caller holds
    /// [`BlobFolder::change`].
    pub(super) async fn name(&self, arrived: &CompleteFile, there: BlobState) -> Result<()> {
        self.sync(arrived, there).await?;
        self.name_synced([(arrived, there)]).await
    }

    /// Brings an arrived file to the disk, unless the same content was seen `there`: to name it takes no
    /// time then.
    pub(super) async fn sync(&self, arrived: &CompleteFile, there: BlobState) -> Result<()> {
        let (from, to) = (arrived.path.clone(), self.path_of(&arrived.hash));
        in_background(move || {
            if there == BlobState::Right && to.exists() {
                return Ok(());
            }
            File::open(from.path())?.sync_all()
        })
        .await
        .map_err(|e| unusable("the file cannot be stored", e))
    }

    /// As [`BlobFolder::name`], for files that [`BlobFolder::sync`] saw to. The caller holds
    /// [`BlobFolder::change`].
    pub(super) async fn name_synced(
        &self,
        files: impl IntoIterator<Item = (&CompleteFile, BlobState)>,
    ) -> Result<()> {
        let files = files.into_iter();
        let files: Vec<_> = files
            .map(|(file, there)| (file.path.clone(), self.path_of(&file.hash), there))
            .collect();
        let folder = self.path.clone();
        in_background(move || {
            let mut named = false;
            for (from, to, there) in files {
                if there == BlobState::Right {
                    if to.exists() {
                        continue;
                    }
                    // It was removed since it was seen.
                    File::open(from.path())?.sync_all()?;
                }
                std::fs::rename(from.path(), &to)?;
                named = true;
            }
            match named {
                true => File::open(folder)?.sync_all(),
                false => Ok(()),
            }
        })
        .await
        .map_err(|e| unusable("the file cannot be stored", e))
    }

    /// Removes files that no row names any more. The caller holds [`BlobFolder::change`].
    pub(in crate::domain) async fn remove(&self, hashes: Vec<Hash>) {
        if hashes.is_empty() {
            return;
        }
        let paths: Vec<_> = hashes.iter().map(|hash| self.path_of(hash)).collect();
        let removed = in_background(move || {
            for path in paths {
                match std::fs::remove_file(path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            Ok(())
        });
        if let Err(error) = removed.await {
            // The next start finds them.
            tracing::warn!(%error, "a media file could not be removed");
        }
    }

    /// The contents that are in the folder.
    pub(super) fn contents(&self) -> Result<Vec<Hash>> {
        contents_of(&self.path).map_err(|e| unusable("the media folder cannot be read", e))
    }

    /// Second names for all contents, under which they stay whatever happens to the first. The
    /// caller holds [`BlobFolder::change`].
    pub(super) async fn hold(&self) -> Result<AliasFolder> {
        let name = hex::encode(self.ids.bytes::<16>());
        let held = AliasFolder(self.path.join("arriving").join(name));
        let from = self.path.clone();
        blocking(move || {
            DirBuilder::new().mode(0o700).create(held.path())?;
            copy_contents(&from, held.path(), held.path()).map_err(io::Error::other)?;
            Ok(held)
        })
        .await?
        .map_err(|e| unusable("the media folder cannot be written to", e))
    }
}

/// Seals all kept files of a folder into another, except those that lie sealed in `there`: a file
/// never changes.
pub fn seal_contents(from: &Path, to: &Path, there: &Path, seal: &Seal) -> Result<()> {
    let cannot = |e| unusable("the files cannot be copied", e);
    for hash in contents_of(from).map_err(cannot)? {
        let name = hash.to_string();
        let clear = File::open(from.join(&name)).map_err(cannot)?;
        let length = clear.metadata().map_err(cannot)?.len();
        if !is_whole(&there.join(&name), sealed_len(length)) {
            seal.seal_file(clear, &to.join(&name))?;
        }
    }
    Ok(())
}

/// How many bytes [`seal_contents`] would write.
pub(super) fn bytes_to_seal(from: &Path, there: &Path) -> Result<u64> {
    let cannot = |e| unusable("the files cannot be copied", e);
    let mut bytes: u64 = 0;
    for hash in contents_of(from).map_err(cannot)? {
        let name = hash.to_string();
        let length = std::fs::metadata(from.join(&name)).map_err(cannot)?.len();
        let sealed = sealed_len(length);
        if !is_whole(&there.join(&name), sealed) {
            bytes = bytes.saturating_add(sealed);
        }
    }
    Ok(bytes)
}

/// Whether it is a sealed file of this length, and so nothing that broke off.
fn is_whole(file: &Path, length: u64) -> bool {
    std::fs::metadata(file).is_ok_and(|there| there.len() == length) && is_sealed(file)
}

/// Puts the files of a backup into the media folder of `data`, each under the hash that it has.
/// Answers those that are damaged; all others are there.
pub fn restore_contents(backup: &Path, data: &Path, seal: &Seal) -> Result<Vec<Hash>> {
    let cannot = |e| unusable("the files cannot be restored", e);
    let (from, to) = (media_folder_of(backup), data.join("media"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&to);
    made.map_err(cannot)?;
    let mut damaged = Vec::new();
    for hash in contents_of(&from).map_err(cannot)? {
        let (sealed, clear) = (from.join(hash.to_string()), to.join(hash.to_string()));
        if hash_of(&clear).is_ok_and(|there| there == hash) {
            continue;
        }
        if is_sealed(&sealed) {
            match seal.open_file(&sealed, &clear) {
                Err(error) if error.code() == Code::SecretKeyWrong => {
                    damaged.push(hash);
                    continue;
                }
                opened => opened?,
            }
        } else {
            // Older versions did not seal.
            std::fs::copy(&sealed, &clear).map_err(cannot)?;
        }
        if hash_of(&clear).map_err(cannot)? != hash {
            std::fs::remove_file(&clear).map_err(cannot)?;
            damaged.push(hash);
        }
    }
    Ok(damaged)
}

fn hash_of(path: &Path) -> io::Result<Hash> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut bytes = vec![0; WRITE_AT_ONCE];
    loop {
        let count = io::Read::read(&mut file, &mut bytes)?;
        if count == 0 {
            return Ok(Hash(hasher.finalize().into()));
        }
        hasher.update(&bytes[..count]);
    }
}

/// The files of a folder that are named as contents are; none where there is no folder.
pub(in crate::domain) fn contents_of(folder: &Path) -> io::Result<Vec<Hash>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(entries
            .flatten()
            .filter_map(|entry| Hash::parse(entry.file_name().to_str()?))
            .collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Copies all kept files of a folder into another, except those that lie sealed in `there`. On the same
/// disk it takes no room: a file never changes, so both may be the same.
pub fn copy_contents(from: &Path, to: &Path, there: &Path) -> Result<()> {
    let cannot = |e| unusable("the files cannot be copied", e);
    for hash in contents_of(from).map_err(cannot)? {
        let name = hash.to_string();
        let (file, copy) = (from.join(&name), to.join(&name));
        let length = std::fs::metadata(&file).map_err(cannot)?.len();
        if is_whole(&there.join(&name), length) || std::fs::hard_link(&file, &copy).is_ok() {
            continue;
        }
        std::fs::copy(&file, &copy).map_err(cannot)?;
        let copied = File::open(&copy).and_then(|copy| copy.sync_all());
        copied.map_err(cannot)?;
    }
    Ok(())
}

/// What lies under the name of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlobState {
    /// Nothing.
    Missing,
    /// The content that the name says.
    Right,
    /// Something else.
    Wrong,
}

fn inspect(path: &Path, hash: &Hash) -> io::Result<(BlobState, u64)> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((BlobState::Missing, 0)),
        opened => opened?,
    };
    let (mut computed, mut size) = (Sha256::new(), 0);
    let mut piece = vec![0; WRITE_AT_ONCE];
    loop {
        let many = match file.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
            Ok(0) => break,
            Ok(many) => many,
        };
        computed.update(&piece[..many]);
        size += many as u64;
    }
    let right = computed.finalize()[..] == hash.0;
    Ok((
        if right {
            BlobState::Right
        } else {
            BlobState::Wrong
        },
        size,
    ))
}

/// Compares every file of a media folder that nobody uses with its name, and the folder with the
/// contents that rows name.
pub fn check(folder: &Path, named: &[Hash]) -> Result<CheckedFiles> {
    let cannot = |e| unusable("the media folder cannot be read", e);
    let (mut problems, mut unnamed) = (Vec::new(), 0);
    let known: HashSet<_> = named.iter().collect();
    let mut seen = HashSet::new();
    for hash in contents_of(folder).map_err(cannot)? {
        let (content, _) = inspect(&folder.join(hash.to_string()), &hash).map_err(cannot)?;
        if content == BlobState::Wrong {
            problems.push(format!("media/{hash}: the file is not what its name says"));
        }
        unnamed += usize::from(!known.contains(&hash));
        seen.insert(hash);
    }
    for hash in named.iter().filter(|hash| !seen.contains(hash)) {
        problems.push(format!("media/{hash}: the file is missing"));
    }
    Ok(CheckedFiles { problems, unnamed })
}

/// What came of looking at a media folder.
#[derive(Debug)]
pub struct CheckedFiles {
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
    /// How many files no row names: a crash left them.
    pub unnamed: usize,
}

/// Where the files of a backup go: `copy.redb.media` beside `copy.redb`.
pub fn media_folder_of(backup: &Path) -> PathBuf {
    let mut name = backup.as_os_str().to_owned();
    name.push(".media");
    name.into()
}

/// Runs file work where it may wait for the disk.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    blocking(work)
        .await
        .unwrap_or_else(|e| Err(io::Error::other(e)))
}

pub(super) fn unusable(what: &'static str, error: io::Error) -> Error {
    let what = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full",
        _ => what,
    };
    Error::new(Code::StoreUnavailable, what).because(error)
}

/// A folder of second names; it goes when the value does.
pub(super) struct AliasFolder(PathBuf);

impl AliasFolder {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for AliasFolder {
    fn drop(&mut self) {
        // What stays is removed by the next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A path that is removed when nobody holds it any more.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may have been given its lasting name.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An open temporary file.
pub(super) struct Scratch {
    path: Arc<Temporary>,
    /// The file, for reading and writing.
    pub(super) file: File,
}

impl Scratch {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.path.path()
    }

    /// What was written to it, by its hash and size.
    pub(super) fn arrived(self, hash: Hash, size: u64) -> CompleteFile {
        CompleteFile {
            path: self.path,
            hash,
            size,
        }
    }
}

/// A file whose bytes are arriving.
pub(super) struct PartialFile {
    file: tokio::fs::File,
    path: Arc<Temporary>,
    hash: Sha256,
    size: u64,
}

impl PartialFile {
    /// Adds bytes.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        let written = self.file.write_all(bytes).await;
        written.map_err(|e| unusable("the media folder cannot be written to", e))
    }

    /// How many bytes there are so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// All bytes are here.
    pub(super) async fn finish(mut self) -> Result<CompleteFile> {
        let flushed = self.file.flush().await;
        flushed.map_err(|e| unusable("the media folder cannot be written to", e))?;
        Ok(CompleteFile {
            path: self.path,
            hash: Hash(self.hash.finalize().into()),
            size: self.size,
        })
    }
}

/// A file that arrived whole and has no lasting name yet.
#[derive(Debug, Clone)]
pub struct CompleteFile {
    path: Arc<Temporary>,
    /// SHA-256 of its bytes.
    pub hash: Hash,
    /// How many bytes it has.
    pub size: u64,
}

impl CompleteFile {
    /// Where it is for now.
    pub(super) fn path(&self) -> &Path {
        self.path.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, BlobFolder) {
        let data = tempfile::tempdir().expect("a folder");
        let folder = BlobFolder::open(data.path(), IdSource::seeded(1)).expect("a media folder");
        (data, folder)
    }

    async fn arrived(folder: &BlobFolder, bytes: &[u8]) -> CompleteFile {
        let mut arrival = folder.arrival().expect("an arrival");
        for chunk in bytes.chunks(3) {
            arrival.write(chunk).await.expect("written");
        }
        arrival.finish().await.expect("whole")
    }

    fn arriving(folder: &BlobFolder) -> usize {
        std::fs::read_dir(folder.path.join("arriving"))
            .expect("a folder")
            .count()
    }

    #[tokio::test]
    async fn a_file_is_named_by_its_content_and_its_traces_go() {
        let (_data, folder) = folder();
        let file = arrived(&folder, b"hello world").await;
        assert_eq!(file.hash, Hash(Sha256::digest(b"hello world").into()));
        assert_eq!(file.size, 11);
        folder.name(&file, BlobState::Missing).await.expect("named");
        let again = arrived(&folder, b"hello world").await;
        let (there, size) = folder.inspect(&again.hash).await.expect("readable");
        assert_eq!((there, size), (BlobState::Right, 11));
        folder.name(&again, there).await.expect("named already");
        assert_eq!(arriving(&folder), 1, "the second copy still waits");
        drop((file, again));
        assert_eq!(arriving(&folder), 0);
        let path = folder.path_of(&Hash(Sha256::digest(b"hello world").into()));
        assert_eq!(std::fs::read(path).expect("the file"), b"hello world");
        assert_eq!(folder.contents().expect("listed").len(), 1);
    }

    #[tokio::test]
    async fn what_lies_under_a_name_is_not_trusted() {
        let (_data, folder) = folder();
        let file = arrived(&folder, b"hello world").await;
        std::fs::write(folder.path_of(&file.hash), b"jello world").expect("written");
        let (there, _) = folder.inspect(&file.hash).await.expect("readable");
        assert_eq!(there, BlobState::Wrong);
        let checked = check(&folder.path, &[Hash([1; 32])]).expect("readable");
        assert_eq!(checked.problems.len(), 2, "{checked:?}");
        assert_eq!(checked.unnamed, 1);
        folder.name(&file, there).await.expect("named");
        let stored = std::fs::read(folder.path_of(&file.hash)).expect("the file");
        assert_eq!(stored, b"hello world");
        let checked = check(&folder.path, &[file.hash]).expect("readable");
        assert_eq!((checked.problems.len(), checked.unnamed), (0, 0));
        assert!(folder.open_file(&file.hash, 12).is_err());
    }

    #[tokio::test]
    async fn what_did_not_arrive_is_gone_with_its_value_or_with_the_next_start() {
        let (data, folder) = folder();
        let mut arrival = folder.arrival().expect("an arrival");
        arrival.write(b"half").await.expect("written");
        drop(arrival);
        assert_eq!(arriving(&folder), 0);
        std::fs::write(folder.path.join("arriving/left"), b"by a crash").expect("written");
        let folder = BlobFolder::open(data.path(), IdSource::seeded(1)).expect("a media folder");
        assert_eq!(arriving(&folder), 0);
    }
}
