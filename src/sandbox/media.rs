//! Files that clients leave at the server: pictures of people, and media, which are encrypted.

use std::collections::HashMap;
use std::sync::RwLock;

use bytes::Bytes;
use serde::Serialize;

use super::network::Network;
use super::random;
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
    /// Tells the network under which host and port its files can be fetched.
    pub fn set_media_host(&self, host: &str) {
        *self
            .media
            .host
            .write()
            .expect("Invariant: nothing panics under this lock") = Some(host.to_owned());
    }

    pub(super) fn media_host(&self) -> String {
        let host = self
            .media
            .host
            .read()
            .expect("Invariant: nothing panics under this lock");
        host.clone().unwrap_or_else(|| "127.0.0.1:1".to_owned())
    }

    /// Keeps a file that was posted to `/mms/<kind>/<token>`.
    pub fn upload(&self, kind: &str, file: Bytes) -> Result<Stored> {
        if self.faults.media_is_cut() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the media host is cut off",
            ));
        }
        let name = random::hex(&random::bytes::<16>());
        Ok(self.keep_file(&format!("/v/{kind}/{name}.enc"), file))
    }

    /// Keeps a file under this path; whoever fetches it may add a query.
    pub(super) fn keep_file(&self, path: &str, file: Bytes) -> Stored {
        let mut files = self
            .media
            .files
            .write()
            .expect("Invariant: nothing panics under this lock");
        files.insert(path.to_owned(), file);
        let direct_path = format!("{path}?ccb=11-4");
        Stored {
            url: format!("https://{}{direct_path}", self.media_host()),
            direct_path,
        }
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
