//! Files that clients leave at the server: pictures of people, and media, which are encrypted.

use std::collections::HashMap;
use std::sync::RwLock;

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::network::Network;
use super::{base64, random};
use crate::error::{Error, ErrorKind, Result};

/// The store of files, in memory.
#[derive(Default)]
pub(super) struct Media {
    host: RwLock<Option<String>>,
    files: RwLock<HashMap<String, Bytes>>,
}

/// What a client is told about a file that it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Where the file can be fetched.
    pub url: String,
    /// The same without the host.
    pub direct_path: String,
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

    /// Keeps a file that was posted to `/mms/<kind>/<token>`; the token is its SHA-256 in base64.
    pub fn upload(&self, kind: &str, token: &str, file: Bytes) -> Result<Stored> {
        if self.faults.media_is_cut() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the media host is cut off",
            ));
        }
        let sum = base64::decode(token).filter(|sum| Sha256::digest(&file)[..] == **sum);
        let sum = sum.ok_or_else(|| Error::invalid("the file is not what its token says"))?;
        Ok(self.keep_file(&path_of(kind, &sum), file))
    }

    /// A file that was left before, so that it need not be left again.
    pub fn uploaded(&self, kind: &str, token: &str) -> Option<Stored> {
        let path = path_of(kind, &base64::decode(token)?);
        self.file(&path).map(|_| self.stored(&path))
    }

    fn stored(&self, path: &str) -> Stored {
        let direct_path = format!("{path}?ccb=11-4");
        Stored {
            url: format!("https://{}{direct_path}", self.media_host()),
            direct_path,
        }
    }

    /// Keeps a file under this path; whoever fetches it may add a query.
    pub(super) fn keep_file(&self, path: &str, file: Bytes) -> Stored {
        let mut files = self
            .media
            .files
            .write()
            .expect("Invariant: nothing panics under this lock");
        files.insert(path.to_owned(), file);
        drop(files);
        self.stored(path)
    }

    /// A file, by its path with or without a query.
    pub fn file(&self, path: &str) -> Option<Bytes> {
        if self.faults.media_is_cut() {
            return None;
        }
        let path = path.split('?').next().unwrap_or_default();
        let files = self
            .media
            .files
            .read()
            .expect("Invariant: nothing panics under this lock");
        files.get(path).cloned()
    }
}

fn path_of(kind: &str, sum: &[u8]) -> String {
    format!("/v/{kind}/{}.enc", random::hex(sum))
}
