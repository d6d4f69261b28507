//! Secrets at rest: values that must be shown or used again are encrypted under a key that lies
//! beside the store, so that a stolen store does not give them away.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{Code, Error, Result};
use crate::ids::IdSource;
use crate::seal::Seal;

/// Length of the nonce that stands before each sealed value.
const NONCE: usize = 24;

/// Seals and opens secrets.
pub struct Vault {
    cipher: XChaCha20Poly1305,
    ids: IdSource,
}

impl Vault {
    /// Uses this key.
    pub fn new(key: &[u8; 32], ids: IdSource) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(key.into()),
            ids,
        }
    }

    /// Encrypts `secret`; `purpose` must be named again to open it, so that a sealed value cannot
    /// be moved to another row.
    pub fn seal(&self, purpose: &str, secret: &str) -> Vec<u8> {
        let nonce = self.ids.bytes::<NONCE>();
        let payload = Payload {
            msg: secret.as_bytes(),
            aad: purpose.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a secret is far below the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Decrypts what [`Vault::seal`] made for the same purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<String> {
        let wrong = || {
            Error::new(
                Code::SecretKeyWrong,
                "a stored secret cannot be read: the file secret.key does not belong to this store",
            )
        };
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or_else(wrong)?;
        let payload = Payload {
            msg: sealed,
            aad: purpose.as_bytes(),
        };
        let opened = self
            .cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| wrong())?;
        String::from_utf8(opened).map_err(|_| wrong())
    }
}

/// The hash under which a token is looked up. Tokens are random, so a fast hash is enough.
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Compares two secrets without telling by its time how much of them is equal.
pub fn same_secret(a: &str, b: &str) -> bool {
    token_hash(a).ct_eq(&token_hash(b)).into()
}

/// Makes a folder that only its owner may enter, and those above it.
pub fn private_folder(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| {
            Error::new(
                Code::PathUnusable,
                format!("the folder {} cannot be made: {e}", path.display()),
            )
        })
}

/// Refuses when the key in the data folder is not the one that is in use: after the next start neither the
/// store nor a backup of it could be opened.
pub fn check_key(data: &Path, in_use: &Seal) -> Result<()> {
    const PROOF: &[u8] = b"proof";
    let path = data.join("secret.key");
    let kept = std::fs::read_to_string(&path).ok();
    let kept = kept.and_then(|text| key_bytes(text.trim()).ok());
    let sealed = in_use.seal(PROOF, PROOF);
    if kept.is_some_and(|kept| Seal::new(&kept).open(PROOF, &sealed).is_ok()) {
        return Ok(());
    }
    let text = format!(
        "{} is not the key of this store any more; put it back: without it neither the store nor a backup can be opened",
        path.display()
    );
    Err(Error::new(Code::SecretKeyWrong, text))
}

/// Reads a secret from a file that only its owner may read, or makes the file with a fresh one.
/// Answers whether it was made.
pub fn secret_file(path: &Path, ids: &IdSource) -> Result<(String, bool)> {
    let failed = |e: std::io::Error| {
        Error::new(
            Code::PathUnusable,
            format!("cannot use {}: {e}", path.display()),
        )
    };
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok((text.trim().to_owned(), false)),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    let secret = ids.secret();
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(secret.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)?;
    // The name too must survive a power cut.
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
    }
    Ok((secret, true))
}

/// Reads the 32 bytes that [`secret_file`] keeps as 64 hex digits.
pub fn key_bytes(secret: &str) -> Result<[u8; 32]> {
    let mut key = [0; 32];
    // The error of the library tells a digit of the secret.
    hex::decode_to_slice(secret, &mut key).map_err(|_| {
        Error::new(
            Code::SecretKeyWrong,
            "the file secret.key is damaged: it must hold 64 hex digits",
        )
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_with_its_key_and_purpose() {
        let vault = Vault::new(&[1; 32], IdSource::random());
        let sealed = vault.seal("token a", "hello");
        assert!(!sealed.windows(5).any(|w| w == b"hello"));
        assert_eq!(vault.open("token a", &sealed).expect("opens"), "hello");
        assert!(vault.open("token b", &sealed).is_err());
        assert!(
            Vault::new(&[2; 32], IdSource::random())
                .open("token a", &sealed)
                .is_err()
        );
        assert!(vault.open("token a", &sealed[..10]).is_err());
    }

    #[test]
    fn a_secret_file_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret.key");
        let (first, made) = secret_file(&path, &IdSource::random()).expect("made");
        assert!(made);
        assert_eq!(
            secret_file(&path, &IdSource::random()).expect("read"),
            (first.clone(), false)
        );
        assert_eq!(
            std::fs::metadata(&path)
                .expect("exists")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        assert!(key_bytes(&first).is_ok());
        assert!(key_bytes("nonsense").is_err());
    }
}
