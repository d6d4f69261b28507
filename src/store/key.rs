//! Builds and reads keys whose bytes sort as their parts do.

use std::ops::Deref;

use super::layout::LayoutPart;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// A key under construction, and the finished key: it derefs to its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// An empty key.
    pub fn new() -> Self {
        Self(Vec::with_capacity(48))
    }

    /// Adds one byte.
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// Adds four bytes, big-endian.
    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Adds eight bytes, big-endian.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Adds a point in time as eight bytes that sort also before 1970.
    #[must_use]
    pub fn time(self, value: Timestamp) -> Self {
        self.u64(time_bits(value))
    }

    /// Adds bytes of a length that the layout fixes.
    #[must_use]
    pub fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds text and its terminator; text that contains a NUL is refused.
    pub fn text(mut self, text: &str) -> Result<Self> {
        if text.as_bytes().contains(&0) {
            return Err(Error::invalid("A NUL character is not allowed here"));
        }
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        Ok(self)
    }

    /// Adds any bytes so that they cannot run into the next part: NUL becomes `00 FF`, the end is `00 01`.
    #[must_use]
    pub fn escaped(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xFF);
            }
        }
        self.0.extend_from_slice(&[0, 1]);
        self
    }

    /// Adds the last part, as it is.
    #[must_use]
    pub fn tail(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// The finished bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.0
    }
}

/// Takes a key apart again, part by part.
///
/// A key of another shape than the layout says is damage, hence an internal error.
#[derive(Debug, Clone)]
pub struct KeyParts<'a>(&'a [u8]);

impl<'a> KeyParts<'a> {
    /// Starts at the first part.
    pub fn new(key: &'a [u8]) -> Self {
        Self(key)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.fixed(1)?[0])
    }

    /// Reads four bytes.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Reads eight bytes.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Reads a point in time.
    pub fn time(&mut self) -> Result<Timestamp> {
        Ok(time_of(self.u64()?))
    }

    /// Reads so many bytes.
    pub fn fixed(&mut self, len: usize) -> Result<&'a [u8]> {
        let (part, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| damaged("too short"))?;
        self.0 = rest;
        Ok(part)
    }

    /// Reads text up to its terminator.
    pub fn text(&mut self) -> Result<&'a str> {
        let end = self
            .0
            .iter()
            .position(|b| *b == 0)
            .ok_or_else(|| damaged("no terminator"))?;
        let text = std::str::from_utf8(&self.0[..end]).map_err(|_| damaged("not UTF-8"))?;
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    /// Reads an escaped part.
    pub fn escaped(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.0.len());
        loop {
            match self.0 {
                [0, 0xFF, rest @ ..] => {
                    bytes.push(0);
                    self.0 = rest;
                }
                [0, 1, rest @ ..] => {
                    self.0 = rest;
                    return Ok(bytes);
                }
                [0, ..] | [] => return Err(damaged("bad escape")),
                [byte, rest @ ..] => {
                    bytes.push(*byte);
                    self.0 = rest;
                }
            }
        }
    }

    /// Reads everything that is left.
    pub fn tail(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads as many bytes as fit.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self
            .fixed(N)?
            .try_into()
            .expect("fixed returns the length it was asked for"))
    }
}

/// Whether `key` has exactly these parts.
pub(super) fn fits(layout: &[LayoutPart], key: &[u8]) -> bool {
    let mut parts = KeyParts::new(key);
    let read = layout.iter().all(|part| match part {
        LayoutPart::U8 => parts.u8().is_ok(),
        LayoutPart::Session | LayoutPart::Roster | LayoutPart::U32 => parts.u32().is_ok(),
        LayoutPart::U64 => parts.u64().is_ok(),
        LayoutPart::Fixed(len) => parts.fixed(*len).is_ok(),
        LayoutPart::Text => parts.text().is_ok(),
        LayoutPart::Escaped => parts.escaped().is_ok(),
        LayoutPart::Tail => {
            parts.tail();
            true
        }
    });
    read && parts.is_done()
}

fn damaged(what: &'static str) -> Error {
    Error::internal(format!("damaged key: {what}"))
}

fn time_bits(value: Timestamp) -> u64 {
    (value.as_ms() as u64) ^ (1 << 63)
}

fn time_of(bits: u64) -> Timestamp {
    Timestamp::from_ms((bits ^ (1 << 63)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(parts: &(u8, u32, u64, i64, String, Vec<u8>, Vec<u8>)) -> Key {
        let (a, b, c, d, e, f, g) = parts;
        Key::new()
            .u8(*a)
            .u32(*b)
            .u64(*c)
            .time(Timestamp::from_ms(*d))
            .text(e)
            .expect("the strategy makes no NUL")
            .escaped(f)
            .tail(g)
    }

    // Few distinct values, so that equal prefixes are common and order is decided late.
    fn parts() -> impl Strategy<Value = (u8, u32, u64, i64, String, Vec<u8>, Vec<u8>)> {
        (
            prop_oneof![Just(0u8), Just(255)],
            prop_oneof![Just(0u32), Just(255), any::<u32>()],
            prop_oneof![Just(0u64), any::<u64>()],
            prop_oneof![Just(0i64), Just(-1), any::<i64>()],
            "[a-b\u{1}\u{ff}]{0,3}",
            proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), Just(7)], 0..4),
            proptest::collection::vec(any::<u8>(), 0..3),
        )
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_values_do(a in parts(), b in parts()) {
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }

        #[test]
        fn keys_read_back(a in parts()) {
            let bytes = key(&a).into_bytes();
            let mut r = KeyParts::new(&bytes);
            let back = (
                r.u8().unwrap(), r.u32().unwrap(), r.u64().unwrap(), r.time().unwrap().as_ms(),
                r.text().unwrap().to_owned(), r.escaped().unwrap(), r.tail().to_vec(),
            );
            prop_assert_eq!(back, a);
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            for table in super::super::tables::Table::all() {
                fits(table.key(), &bytes);
            }
        }
    }

    #[test]
    fn text_with_a_nul_is_refused() {
        assert!(Key::new().text("a\0b").is_err());
    }
}
