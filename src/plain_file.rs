//! A plain file in a stranger's folder, opened for reading: no link is followed, and nobody waits for what
//! another program might write into a pipe.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Why a file is not read: a part of a sentence when it is shown.
#[derive(Debug)]
pub enum Unread {
    /// There is none.
    Gone,
    /// It is a folder, a link, a pipe or a device.
    NotPlain,
    /// It has more than so many bytes.
    TooLarge(u64),
    /// The system refused.
    Failed(io::Error),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it is not there"),
            Self::NotPlain => f.write_str("it is a folder, a link or a device"),
            Self::TooLarge(most) => write!(f, "it is larger than {} MiB", most >> 20),
            Self::Failed(error) => f.write_str(&refused(error)),
        }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        let found = error.raw_os_error().map(Errno::from_raw_os_error);
        match (error.kind(), found) {
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) => Self::Gone,
            // What a link, and what a socket answers.
            (_, Some(Errno::LOOP | Errno::NXIO | Errno::NODEV)) => Self::NotPlain,
            _ => Self::Failed(error),
        }
    }
}

/// What is said of a file or a folder that the system does not let us read: a part of a sentence.
pub fn refused(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "it cannot be read: permission denied, only the user that it belongs to can import it"
                .into()
        }
        _ => format!("it cannot be read: {error}"),
    }
}

/// Opens a file; answers how many bytes it has. It blocks.
pub fn open(path: &Path) -> Result<(File, u64), Unread> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let there = file.metadata()?;
    if !there.is_file() {
        return Err(Unread::NotPlain);
    }
    Ok((file, there.len()))
}

/// Reads a file of at most `most` bytes whole. It blocks.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    let (file, length) = open(path)?;
    let mut bytes = Vec::new();
    if length <= most {
        // It may grow meanwhile.
        file.take(most + 1).read_to_end(&mut bytes)?;
    }
    if length > most || bytes.len() as u64 > most {
        return Err(Unread::TooLarge(most));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_that_are_not_too_large_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "abc").expect("written");
        std::os::unix::fs::symlink(at("file"), at("link")).expect("a link");
        let made = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        assert!(made.expect("mkfifo runs").success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
        assert_eq!(read(&at("file"), 3).expect("read"), b"abc");
        assert!(matches!(read(&at("file"), 2), Err(Unread::TooLarge(2))));
        for name in ["link", "pipe", "socket", "."] {
            let found = read(&at(name), 3);
            assert!(matches!(found, Err(Unread::NotPlain)), "{name}: {found:?}");
        }
        for name in ["nothing", "file/nothing"] {
            let found = read(&at(name), 3);
            assert!(matches!(found, Err(Unread::Gone)), "{name}: {found:?}");
        }
        // A plain file by its looks, of which nothing can be read.
        let found = read(Path::new("/proc/self/mem"), 3);
        assert!(matches!(found, Err(Unread::Failed(_))), "{found:?}");
    }
}
