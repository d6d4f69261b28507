//! Sealing: what the gateway keeps and nobody may read without the file `secret.key`.
//!
//! Everything is sealed under a key of its own, made of that file's and of 24 random bytes that lie
//! beside it: those never come twice, and the cipher's own nonce need not be random then.

pub mod file;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use crate::error::{Code, Error, Result};
use crate::ids::IdSource;

/// How many random bytes stand before what is sealed.
const SALT: usize = 24;
/// What the cipher adds.
const TAG: usize = 16;
/// By how much a sealed value is longer.
pub const OVERHEAD: usize = SALT + TAG;

/// Seals and opens bytes under one key; clones use the same one.
#[derive(Clone)]
pub struct Seal(hmac::Key);

impl Seal {
    /// Uses this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Encrypts `secret`; `place` must be named again to open it, so that a sealed value cannot be
    /// moved to another place.
    pub fn seal(&self, place: &[u8], secret: &[u8]) -> Vec<u8> {
        let salt = salt();
        let mut sealed = Vec::with_capacity(secret.len() + OVERHEAD);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(secret);
        self.key(&salt).encrypt([0; 12], place, &mut sealed, SALT);
        sealed
    }

    /// Decrypts what [`Seal::seal`] made for the same place.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        let wrong = || unreadable("a stored secret");
        let (salt, sealed) = sealed.split_first_chunk::<SALT>().ok_or_else(wrong)?;
        let opened = self.key(salt).decrypt([0; 12], place, sealed.to_vec());
        opened.ok_or_else(wrong)
    }

    /// The key that belongs to a salt.
    fn key(&self, salt: &[u8; SALT]) -> OneKey {
        let made = hmac::sign(&self.0, salt);
        let key = UnboundKey::new(&CHACHA20_POLY1305, made.as_ref());
        OneKey(LessSafeKey::new(key.expect("both are 32 bytes")))
    }
}

fn salt() -> [u8; SALT] {
    // Not the ids of a test, which come again.
    IdSource::random().bytes()
}

/// The key of one value or one file. Hazard: a nonce must not be used twice with it.
struct OneKey(LessSafeKey);

impl OneKey {
    /// Encrypts `bytes` from `start` on, and adds the tag.
    fn encrypt(&self, nonce: [u8; 12], aad: &[u8], bytes: &mut Vec<u8>, start: usize) {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut bytes[start..]);
        let tag = sealed.expect("it is far below the cipher's limit");
        bytes.extend_from_slice(tag.as_ref());
    }

    fn decrypt(&self, nonce: [u8; 12], aad: &[u8], mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(aad), &mut bytes);
        let length = opened.ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

fn unreadable(what: &str) -> Error {
    Error::new(
        Code::SecretKeyWrong,
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
        let seal = Seal::new(&[1; 32]);
        let sealed = seal.seal(b"here", b"hello");
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert!(!sealed.windows(5).any(|w| w == b"hello"));
        assert_eq!(seal.open(b"here", &sealed).expect("opens"), b"hello");
        assert!(seal.open(b"there", &sealed).is_err());
        assert!(Seal::new(&[2; 32]).open(b"here", &sealed).is_err());
        for length in 0..sealed.len() {
            assert!(seal.open(b"here", &sealed[..length]).is_err());
        }
        assert_ne!(sealed, seal.seal(b"here", b"hello"));
    }
}
