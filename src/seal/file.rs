//! Sealed files: backups, of which nothing can be read without `secret.key`.
//!
//! A line that says what it is, 24 random bytes, then pieces of 64 KiB, each sealed under the key of
//! those bytes with its number and whether it is the last: pieces can be neither moved nor left out
//! (the construction STREAM). Only the last one is shorter than the others.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{SALT, Seal, TAG, salt, unreadable};
use crate::error::{Code, Error, Result};

/// How a sealed file begins.
const MAGIC: &[u8; 16] = b"warung sealed 1\n";
const PIECE: usize = 64 * 1024;

/// Whether the file is a sealed one.
pub fn is_sealed(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok() && start == *MAGIC)
}

/// How long the sealed file is of which so many bytes were sealed.
pub fn sealed_len(clear: u64) -> u64 {
    let pieces = clear / PIECE as u64 + 1;
    (MAGIC.len() + SALT) as u64 + clear + pieces * TAG as u64
}

impl Seal {
    /// Writes what `from` holds to a sealed file at `to`, which is whole or not there.
    pub fn seal_file(&self, from: impl Read, to: &Path) -> Result<()> {
        written(to, |file| self.seal_all(from, file))
    }

    /// Writes what the sealed file `from` holds to `to`, which is whole or not there.
    pub fn open_file(&self, from: &Path, to: &Path) -> Result<()> {
        let source = File::open(from).map_err(|e| cannot("read", from, e))?;
        written(to, |file| self.open_all(source, file)).map_err(|error| {
            if error.code() == Code::SecretKeyWrong {
                unreadable(&from.display().to_string())
            } else {
                error
            }
        })
    }

    fn seal_all(&self, mut from: impl Read, to: &mut impl Write) -> io::Result<()> {
        let salt = salt();
        let key = self.key(&salt);
        to.write_all(MAGIC)?;
        to.write_all(&salt)?;
        for number in 0..u32::MAX {
            let mut piece = read_piece(&mut from, PIECE)?;
            let last = piece.len() < PIECE;
            key.encrypt(nonce(number, last), MAGIC, &mut piece, 0);
            to.write_all(&piece)?;
            if last {
                return Ok(());
            }
        }
        Err(io::ErrorKind::FileTooLarge.into())
    }

    fn open_all(&self, mut from: impl Read, to: &mut impl Write) -> io::Result<()> {
        let wrong = || io::Error::from(io::ErrorKind::InvalidData);
        let (mut magic, mut salt) = ([0; MAGIC.len()], [0; SALT]);
        from.read_exact(&mut magic)?;
        from.read_exact(&mut salt)?;
        if magic != *MAGIC {
            return Err(wrong());
        }
        let key = self.key(&salt);
        for number in 0..u32::MAX {
            let piece = read_piece(&mut from, PIECE + TAG)?;
            let last = piece.len() < PIECE + TAG;
            let opened = key.decrypt(nonce(number, last), MAGIC, piece);
            to.write_all(&opened.ok_or_else(wrong)?)?;
            if last {
                return Ok(());
            }
        }
        Err(wrong())
    }
}

fn nonce(number: u32, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = last.into();
    nonce
}

/// Reads so many bytes, or all that are left.
fn read_piece(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(length + TAG);
    from.take(length as u64).read_to_end(&mut piece)?;
    Ok(piece)
}

/// Writes a file under another name, and gives it its own when it is on the disk.
fn written(to: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".part");
    let unfinished = Path::new(&unfinished);
    let result = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = BufWriter::new(options.open(unfinished)?);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        std::fs::rename(unfinished, to)?;
        let folder = to.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(unfinished);
    }
    result.map_err(|e: io::Error| cannot("written", to, e))
}

fn cannot(verb: &str, path: &Path, error: io::Error) -> Error {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    let code = match error.kind() {
        // What was read is not what was sealed; the caller knows the name of that file.
        InvalidData | UnexpectedEof => Code::SecretKeyWrong,
        _ => Code::PathUnusable,
    };
    Error::new(
        code,
        format!("{} cannot be {verb}: {error}", path.display()),
    )
    .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let (sealed, opened) = (folder.path().join("sealed"), folder.path().join("opened"));
        let seal = Seal::new(&[7; 32]);
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 9] {
            let clear: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            seal.seal_file(clear.as_slice(), &sealed).expect("sealed");
            assert!(is_sealed(&sealed));
            let size = std::fs::metadata(&sealed).expect("a file").len();
            assert_eq!(size, sealed_len(length as u64), "{length}");
            seal.open_file(&sealed, &opened).expect("opened");
            assert_eq!(std::fs::read(&opened).expect("read"), clear, "{length}");
            let bytes = std::fs::read(&sealed).expect("read");
            std::fs::remove_file(&opened).expect("removed");
            let mut swapped = bytes.clone();
            let start = MAGIC.len() + SALT;
            if length >= 2 * PIECE {
                let (first, second) = swapped[start..].split_at_mut(PIECE + TAG);
                first.swap_with_slice(&mut second[..PIECE + TAG]);
            }
            let mut damaged = bytes.clone();
            *damaged.last_mut().expect("bytes") ^= 1;
            let whole_pieces = start + length / PIECE * (PIECE + TAG);
            for broken in [
                &bytes[..bytes.len() - 1],
                &bytes[..whole_pieces],
                &bytes[..start + 3],
                &bytes[..9],
                &[bytes.as_slice(), b"x"].concat(),
                &damaged,
                &swapped,
            ] {
                if broken == bytes {
                    continue;
                }
                std::fs::write(&sealed, broken).expect("written");
                let error = seal.open_file(&sealed, &opened).expect_err("broken");
                assert!(error.detail().contains("secret.key"), "{error:?}");
                assert!(!opened.exists());
            }
        }
        seal.seal_file(&b"words"[..], &sealed).expect("sealed");
        let other = Seal::new(&[8; 32]);
        assert!(other.open_file(&sealed, &opened).is_err() && !opened.exists());
    }
}
