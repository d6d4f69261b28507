//! Identifiers: what they may look like, and where new ones come from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Code, Result};

/// The name of a session, chosen by the client: `[A-Za-z0-9_-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Reads a session name; anything outside the alphabet is refused, not repaired.
    pub fn parse(text: &str) -> Result<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if text.is_empty() || text.len() > 128 || !text.bytes().all(legal) {
            return Err(Code::SessionIdInvalid.into());
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number under which a session's rows are kept; never used twice. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionNumber(pub u32);

/// The id of one WhatsApp message, unique within its chat and sender. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(String);

impl MessageId {
    /// Reads an id that a client or WhatsApp named: printable ASCII, 1 to 128 characters.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > 128 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Code::MessageIdInvalid.into());
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a stored file: a UUID and the file's extension, as the original program makes them.
/// Stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaId(String);

impl MediaId {
    /// Reads an id that a client named. It is a key of rows and never a path.
    pub fn parse(text: &str) -> Result<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(legal) {
            return Err(Code::MediaIdInvalid.into());
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a campaign or a recipient list: `campaign_1234567890_abc123`, as seed 001 shows it. Stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowId(String);

impl RowId {
    /// Reads an id that a client named.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let good = !text.is_empty() && text.len() <= 64 && text.bytes().all(legal);
        good.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of a file, which names its bytes; lower-case hex digits as text. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Hash {
    /// Reads 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        let read = hex::decode_to_slice(text, &mut bytes).is_ok();
        (lower && read).then_some(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a SHA-256"))
    }
}

/// Where new identifiers and secrets come from: the system's randomness, or a seed, so that
/// transcripts can be compared to the byte.
#[derive(Debug, Clone, Default)]
pub struct IdSource(Option<Arc<(u64, AtomicU64)>>);

impl IdSource {
    /// Unpredictable identifiers, for every run that is not a test.
    pub fn random() -> Self {
        Self(None)
    }

    /// Reproducible identifiers. Hazard: tokens made from it are guessable.
    #[cfg(feature = "sandbox")]
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new((seed, AtomicU64::new(0)))))
    }

    /// Fresh bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        match &self.0 {
            None => getrandom::fill(&mut out).expect("the system has a random source"),
            Some(seeded) => {
                let count = seeded.1.fetch_add(1, Ordering::SeqCst);
                for (block, chunk) in out.chunks_mut(32).enumerate() {
                    let mut hash = Sha256::new();
                    hash.update(seeded.0.to_be_bytes());
                    hash.update(count.to_be_bytes());
                    hash.update((block as u64).to_be_bytes());
                    chunk.copy_from_slice(&hash.finalize()[..chunk.len()]);
                }
            }
        }
        out
    }

    /// A message id of the shape that WhatsApp's own web client makes: `3EB0` and 18 hex digits.
    pub fn message_id(&self) -> MessageId {
        let digits = hex::encode_upper(self.bytes::<9>());
        MessageId(format!("3EB0{digits}"))
    }

    /// A token of the shape of a version 4 UUID, as the original program hands them out.
    pub fn token(&self) -> String {
        uuid::Builder::from_random_bytes(self.bytes())
            .into_uuid()
            .to_string()
    }

    /// The id of a new campaign or list.
    pub fn row_id(&self, kind: &str, now: crate::time::Timestamp) -> RowId {
        RowId(format!(
            "{kind}_{}_{}",
            now.as_ms(),
            hex::encode(self.bytes::<5>())
        ))
    }

    /// The id of a stored file with this extension.
    pub fn media_id(&self, extension: &str) -> MediaId {
        MediaId(format!("{}.{extension}", self.token()))
    }

    /// A secret of 64 lower-case hex digits.
    pub fn secret(&self) -> String {
        hex::encode(self.bytes::<32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_names_keep_to_their_alphabet() {
        for good in ["a", "my-Session_1", &"x".repeat(128)] {
            assert_eq!(SessionId::parse(good).expect("legal").as_str(), good);
        }
        for bad in ["", "a b", "a/b", "../x", "é", "a\0", &"x".repeat(129)] {
            assert!(SessionId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hash_is_read_as_it_is_written_and_a_media_id_is_no_path() {
        let hash = Hash([0xab; 32]);
        assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
        for bad in [
            "",
            "ab",
            &"AB".repeat(32),
            &"g".repeat(64),
            &"a\u{e9}b".repeat(16),
        ] {
            assert_eq!(Hash::parse(bad), None, "{bad:?}");
        }
        assert!(MediaId::parse("f7e3e7a0-5e7a-4b0f-8b9a-9e7d6e6e2c3d.jpg").is_ok());
        for bad in ["", "../x", "a/b", "a\0", &"x".repeat(65)] {
            assert!(MediaId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn seeded_ids_repeat_and_differ_from_each_other() {
        let (a, b) = (IdSource::seeded(1), IdSource::seeded(1));
        let (first, second) = (a.message_id(), a.message_id());
        assert_eq!(first, b.message_id());
        assert_ne!(first, second);
        assert_eq!(first.as_str().len(), 22);
        assert_eq!(a.token().len(), 36);
    }
}
