//! A question as it is sent and an answer as it is read (RFC 1035, section 4): bytes only.
//!
//! Invariant: whatever the bytes are, reading them neither fails hard nor takes long: every length
//! is checked, a pointer leads only backwards, and the records that are read are counted.

use std::net::IpAddr;

/// The longest name as it is sent (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// A name has fewer labels, and no need for as many pointers.
const MAX_STEPS: usize = 256;
/// More records than this are not read.
const MAX_RECORDS: usize = 64;
/// More aliases than this, one after the other, are taken for a circle.
const MAX_ALIASES: usize = 16;

const CLASS_IN: u16 = 1;
const CNAME: u16 = 5;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;

/// Which addresses are asked for; the number is the record's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Records of type A (RFC 1035).
    V4 = 1,
    /// Records of type AAAA (RFC 3596).
    V6 = 28,
}

/// What a server says about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The addresses of the family that was asked for, perhaps none, and how many seconds they hold.
    Addresses(Vec<IpAddr>, u32),
    /// There is no such name, in either family (RFC 8020).
    Unknown,
    /// The server cannot or does not want to tell.
    Failed,
    /// There is more than arrived, or what arrived cannot be read.
    Cut,
    /// The question came back in other letters: the server does not keep them, or a forger had to
    /// guess them.
    OtherLetters,
}

/// One question to one server.
#[derive(Debug)]
pub struct Question {
    id: u16,
    name: Vec<u8>,
    /// The name as it is sent, if its letters are to come back as they are.
    letters: Option<Vec<u8>>,
    family: Family,
}

impl Question {
    /// Asks for a full name; `None` is no name that could be asked for.
    pub fn new(id: u16, name: &str, family: Family) -> Option<Self> {
        let mut wire = Vec::with_capacity(name.len() + 2);
        for label in name.split('.') {
            if label.is_empty() || label.len() > MAX_LABEL {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend(label.bytes());
        }
        wire.push(0);
        wire.make_ascii_lowercase();
        (wire.len() <= MAX_NAME).then_some(Self {
            id,
            name: wire,
            letters: None,
            family,
        })
    }

    /// The question with capitals among its letters, as the bits say: servers answer all the same
    /// and repeat it as it was, but who forges an answer has to guess them.
    #[must_use]
    pub fn with_capitals(mut self, bits: [u8; 32]) -> Self {
        let mut letters = self.name.clone();
        for (at, byte) in letters.iter_mut().enumerate() {
            if bits[at / 8 % 32] >> (at % 8) & 1 == 1 {
                byte.make_ascii_uppercase();
            }
        }
        self.letters = Some(letters);
        self
    }

    /// The question for a server that does not repeat letters as they were.
    pub fn without_capitals(&self) -> Self {
        Self {
            id: self.id,
            name: self.name.clone(),
            letters: None,
            family: self.family,
        }
    }

    /// The question as it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.name.len() + 16);
        for word in [self.id, RECURSION_DESIRED, 1, 0, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(self.letters.as_ref().unwrap_or(&self.name));
        for word in [self.family as u16, CLASS_IN] {
            bytes.extend(word.to_be_bytes());
        }
        bytes
    }

    /// Reads what arrived; `None` does not answer this question.
    pub fn read(&self, bytes: &[u8]) -> Option<Answer> {
        let mut reader = Reader { bytes, at: 0 };
        let (id, flags) = (reader.word()?, reader.word()?);
        let (questions, records) = (reader.word()?, reader.word()?);
        reader.take(4)?;
        if id != self.id || flags & (RESPONSE | OPCODE) != RESPONSE || questions != 1 {
            return None;
        }
        let start = reader.at;
        let (name, kind, class) = (reader.name()?, reader.word()?, reader.word()?);
        if name != self.name || kind != self.family as u16 || class != CLASS_IN {
            return None;
        }
        if let Some(letters) = &self.letters
            && !bytes[start..].starts_with(letters)
        {
            return Some(Answer::OtherLetters);
        }
        if flags & TRUNCATED != 0 {
            return Some(Answer::Cut);
        }
        Some(match flags & 0xf {
            0 => self.addresses(reader, records).unwrap_or(Answer::Cut),
            3 => Answer::Unknown,
            _ => Answer::Failed,
        })
    }

    /// The addresses of the name, or of the last name that it is an alias of, and of no other.
    fn addresses(&self, mut reader: Reader<'_>, records: u16) -> Option<Answer> {
        let (mut aliases, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..usize::from(records).min(MAX_RECORDS) {
            let (owner, kind, class) = (reader.name()?, reader.word()?, reader.word()?);
            let ttl = reader.ttl()?;
            let length = usize::from(reader.word()?);
            let start = reader.at;
            let content = reader.take(length)?;
            if class != CLASS_IN {
                continue;
            }
            if kind == CNAME {
                // The name may point anywhere before it.
                let (bytes, at) = (reader.bytes.get(..reader.at)?, start);
                aliases.push((owner, Reader { bytes, at }.name()?, ttl));
            } else if kind == self.family as u16
                && let Some(ip) = self.address(content)
            {
                addresses.push((owner, ip, ttl));
            }
        }
        let (mut name, mut least) = (&self.name, u32::MAX);
        let mut steps = 0;
        while let Some((_, of, ttl)) = aliases.iter().find(|(owner, ..)| owner == name) {
            (name, least, steps) = (of, least.min(*ttl), steps + 1);
            if steps > MAX_ALIASES {
                return Some(Answer::Failed);
            }
        }
        addresses.retain(|(owner, ..)| owner == name);
        let least = addresses
            .iter()
            .fold(least, |least, (.., ttl)| least.min(*ttl));
        let ips = addresses.into_iter().map(|(_, ip, _)| ip).collect();
        Some(Answer::Addresses(ips, least))
    }

    fn address(&self, content: &[u8]) -> Option<IpAddr> {
        Some(match self.family {
            Family::V4 => <[u8; 4]>::try_from(content).ok()?.into(),
            Family::V6 => <[u8; 16]>::try_from(content).ok()?.into(),
        })
    }
}

/// A place in a message.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn word(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Seconds; with the highest bit set they mean none (RFC 2181, section 8).
    fn ttl(&mut self) -> Option<u32> {
        let seconds = self.array().map(u32::from_be_bytes)?;
        Some(if seconds >> 31 == 0 { seconds } else { 0 })
    }

    /// A name in lower case, its pointers followed (RFC 1035, section 4.1.4).
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let (mut at, mut before, mut end) = (self.at, self.at, None);
        for _ in 0..MAX_STEPS {
            let length = usize::from(*self.bytes.get(at)?);
            match length >> 6 {
                0 => {
                    name.extend(self.bytes.get(at..=at + length)?);
                    at += 1 + length;
                    if name.len() > MAX_NAME {
                        return None;
                    }
                    if length == 0 {
                        self.at = end.unwrap_or(at);
                        name.make_ascii_lowercase();
                        return Some(name);
                    }
                }
                3 => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    end.get_or_insert(at + 2);
                    at = (length & 0x3f) << 8 | low;
                    // Each pointer leads further back than the one before: there is no circle.
                    if at >= before {
                        return None;
                    }
                    before = at;
                }
                _ => return None,
            }
        }
        None
    }
}
