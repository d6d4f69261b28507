//! Sealing: what the gateway keeps and nobody may read without the file `secret.key`.
//!
//! Invariant: a nonce is 24 random bytes, so no two things are sealed under the same one.

pub mod file;

use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::IdSource;

/// Length of the nonce that stands before each sealed value.
const NONCE: usize = 24;
/// By how much a sealed value is longer: the nonce and the tag.
pub const OVERHEAD: usize = NONCE + 16;

/// Seals and opens bytes under one key; clones use the same one.
#[derive(Clone)]
pub struct Seal {
    cipher: Arc<XChaCha20Poly1305>,
    ids: IdSource,
}

impl Seal {
    /// Uses this key.
    pub fn new(key: &[u8; 32], ids: IdSource) -> Self {
        Self {
            cipher: Arc::new(XChaCha20Poly1305::new(key.into())),
            ids,
        }
    }

    /// Encrypts `secret`; `place` must be named again to open it, so that a sealed value cannot be
    /// moved to another place.
    pub fn seal(&self, place: &[u8], secret: &[u8]) -> Vec<u8> {
        let nonce = self.ids.bytes::<NONCE>();
        let sealed = self.encrypt(nonce, place, secret);
        [nonce.as_slice(), &sealed].concat()
    }

    /// Decrypts what [`Seal::seal`] made for the same place.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE>()
            .ok_or_else(|| unreadable("a stored secret"))?;
        self.decrypt(*nonce, place, sealed)
            .ok_or_else(|| unreadable("a stored secret"))
    }

    fn encrypt(&self, nonce: [u8; NONCE], aad: &[u8], msg: &[u8]) -> Vec<u8> {
        self.cipher
            .encrypt(&XNonce::from(nonce), Payload { msg, aad })
            .expect("it is far below the cipher's limit")
    }

    fn decrypt(&self, nonce: [u8; NONCE], aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg, aad };
        self.cipher.decrypt(&XNonce::from(nonce), payload).ok()
    }
}

fn unreadable(what: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "{what} cannot be read: the file secret.key does not belong to it, or it is damaged"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_with_its_key_and_place() {
        let seal = Seal::new(&[1; 32], IdSource::random());
        let sealed = seal.seal(b"here", b"hello");
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert!(!sealed.windows(5).any(|w| w == b"hello"));
        assert_eq!(seal.open(b"here", &sealed).expect("opens"), b"hello");
        assert!(seal.open(b"there", &sealed).is_err());
        let other = Seal::new(&[2; 32], IdSource::random());
        assert!(other.open(b"here", &sealed).is_err());
        assert!(seal.open(b"here", &sealed[..10]).is_err());
        assert_ne!(sealed, seal.seal(b"here", b"hello"));
    }
}
