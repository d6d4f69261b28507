//! The JSON of Baileys: how it writes bytes and numbers.
//!
//! What serde says of a value that does not fit may quote it, and it may be a key: nothing of that is
//! passed on (see [`read`]).

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Base64 as Node reads it: with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a whole file; says what is wrong in words that quote nothing of it.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, &'static str> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty");
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => "it ends in the middle",
        serde_json::error::Category::Data => "a part of it is missing or of an unknown form",
        _ => "it is not JSON",
    })
}

/// Reads base64.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Bytes: base64, a list of numbers, either as the `data` of `{"type": "Buffer"}`, or, of versions long
/// ago, `{"0": 17, "1": 4, ..}`.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor).map(Self)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        base64(text).ok_or_else(|| E::custom("not base64"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u8>, A::Error> {
        let (mut data, mut numbered) = (None, Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "data" | "value" => data = Some(map.next_value::<Bytes>()?.0),
                "type" | "buffer" => drop(map.next_value::<IgnoredAny>()?),
                place if place.parse() == Ok(numbered.len()) => numbered.push(map.next_value()?),
                _ => return Err(A::Error::custom("not bytes")),
            }
        }
        Ok(data.unwrap_or(numbered))
    }
}

/// Bytes of a fixed length.
pub(super) struct Exact<const N: usize>(pub(super) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Exact<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Bytes(bytes) = Bytes::deserialize(deserializer)?;
        let exact = bytes.try_into().map(Self);
        exact.map_err(|_| D::Error::custom("bytes of another length"))
    }
}

/// A public key, with the byte 5 that says which curve it is of, or without.
#[derive(Clone, Copy)]
pub(super) struct PublicKey(pub(super) [u8; 32]);

impl PublicKey {
    /// Takes the bytes of a key.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let key = match bytes {
            [5, key @ ..] if key.len() == 32 => key,
            key => key,
        };
        key.try_into().ok().map(Self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Bytes(bytes) = Bytes::deserialize(deserializer)?;
        Self::of(&bytes).ok_or_else(|| D::Error::custom("no public key"))
    }
}

/// A key pair.
#[derive(Deserialize)]
pub(super) struct Pair {
    public: PublicKey,
    private: Exact<32>,
}

impl From<Pair> for crate::wa::account::KeyPair {
    fn from(pair: Pair) -> Self {
        Self {
            public: pair.public.0,
            private: pair.private.0,
        }
    }
}

/// A whole number: as one, as text, or as `{"low", "high"}`.
#[derive(Clone, Copy)]
pub(super) struct Whole(pub(super) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i64),
            Text(String),
            Halves { low: i64, high: i64 },
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => text.parse().map(Self).map_err(|_| D::Error::custom("text")),
            // JavaScript writes both halves as signed numbers of 32 bits.
            Form::Halves { low, high } => Ok(Self((high << 32) | (low & 0xFFFF_FFFF))),
        }
    }
}

/// The members of an object in their order, which says here which of them are newer.
pub(super) struct Members<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Each(PhantomData)).map(Self)
    }
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
