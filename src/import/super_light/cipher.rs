//! How the original keeps its files: AES-256 under `TOKEN_ENCRYPTION_KEY`, in two forms.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// What goes before a text of the newer form.
const NEWER: &str = "v2:";

/// The key in `.env`: its first 64 characters are hex digits; what follows does not count.
#[derive(Clone)]
pub(super) struct FileKey([u8; 32]);

impl FileKey {
    /// The key of these words, if they are one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut key = [0; 32];
        hex::decode_to_slice(text.get(..64)?, &mut key).ok()?;
        Some(Self(key))
    }

    /// The words that were kept; `None` if they were damaged or kept under another key.
    pub(super) fn open(&self, kept: &str) -> Option<Vec<u8>> {
        match kept.trim().strip_prefix(NEWER) {
            Some(kept) => self.open_newer(kept),
            None => self.open_older(kept.trim()),
        }
    }

    /// AES-GCM: nonce, tag and ciphertext in hex.
    fn open_newer(&self, kept: &str) -> Option<Vec<u8>> {
        let mut parts = kept.split(':').map(hex::decode);
        let (nonce, tag) = (parts.next()?.ok()?, parts.next()?.ok()?);
        let mut sealed = parts.next()?.ok()?;
        if parts.next().is_some() || tag.len() != AES_256_GCM.tag_len() {
            return None;
        }
        sealed.extend_from_slice(&tag);
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0).ok()?);
        let length = key
            .open_in_place(nonce, Aad::empty(), &mut sealed)
            .ok()?
            .len();
        sealed.truncate(length);
        Some(sealed)
    }

    /// AES-CBC: initial block and ciphertext in hex. Nothing proves that it is whole.
    fn open_older(&self, kept: &str) -> Option<Vec<u8>> {
        let (first, sealed) = kept.split_once(':')?;
        let (first, mut sealed) = (hex::decode(first).ok()?, hex::decode(sealed).ok()?);
        let cipher = cbc::Decryptor::<aes::Aes256>::new_from_slices(&self.0, &first).ok()?;
        let length = cipher.decrypt_padded::<Pkcs7>(&mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with Node's `crypto`, as the original calls it.
    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn both_forms_are_read_and_another_key_reads_neither() {
        let newer =
            "v2:070707070707070707070707:0f0d588c70325f7e7bb5aca7d16ea2a2:7448c77e552dbf95aaf231fd";
        let older = "09090909090909090909090909090909:0116fb73402a95f3b852d7bc621059e7";
        let key = FileKey::parse(KEY).expect("a key");
        let other = FileKey::parse(&KEY.replace("1f", "2f")).expect("a key");
        for kept in [newer, older] {
            assert_eq!(key.open(kept).as_deref(), Some(&b"{\"a\":\"halo\"}"[..]));
            assert_ne!(other.open(kept).as_deref(), Some(&b"{\"a\":\"halo\"}"[..]));
        }
        assert!(FileKey::parse(&format!("{KEY}rest")).is_some());
    }

    #[test]
    fn what_is_neither_is_refused() {
        let key = FileKey::parse(KEY).expect("a key");
        for wrong in [
            "",
            ":",
            "v2:",
            "v2:::",
            "00:00",
            "zz:zz",
            "v2:00:00:00",
            "{\"a\":1}",
        ] {
            assert_eq!(key.open(wrong), None, "{wrong:?}");
        }
        for wrong in ["", "00", &"é".repeat(64), &"g".repeat(64)] {
            assert!(FileKey::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
