//! Whom one row of a list or a campaign stands for: a person by phone number, or a group.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::jid::{Jid, PhoneNumber, recipient};

/// A person by phone number, or a group by its JID. Stored, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addressee(Kind);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Person(PhoneNumber),
    /// The JID as text.
    Group(Box<str>),
}

impl Addressee {
    /// The group that a text names: only a whole JID does, because a bare id may be a mistyped number.
    pub fn group(text: &str) -> Option<Self> {
        let jid = recipient(text, true, None).filter(|jid| text.contains('@') && jid.is_group())?;
        Some(Self(Kind::Group(jid.to_string().into())))
    }

    /// The digits of the number, or the JID of the group.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Person(number) => number.as_str(),
            Kind::Group(jid) => jid,
        }
    }

    /// The number of a person.
    pub fn phone(&self) -> Option<&PhoneNumber> {
        match &self.0 {
            Kind::Person(number) => Some(number),
            Kind::Group(_) => None,
        }
    }

    /// Where messages go.
    pub fn jid(&self) -> Jid {
        match &self.0 {
            Kind::Person(number) => Jid::user(number),
            Kind::Group(jid) => Jid::parse(jid).expect("only the text of a JID is kept"),
        }
    }

    /// What tells it from others, in little room.
    pub(in crate::domain) fn key(&self) -> AddresseeKey {
        match &self.0 {
            Kind::Person(number) => {
                AddresseeKey::Number(number.as_str().parse().expect("15 digits fit in 64 bits"))
            }
            Kind::Group(jid) => AddresseeKey::Group(jid.clone()),
        }
    }
}

impl From<PhoneNumber> for Addressee {
    fn from(number: PhoneNumber) -> Self {
        Self(Kind::Person(number))
    }
}

impl fmt::Display for Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Addressee {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Addressee {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        let person = PhoneNumber::parse(&text, None).map(Self::from);
        let read = person.or_else(|| Self::group(&text));
        read.ok_or_else(|| serde::de::Error::custom("neither a number nor a group"))
    }
}

/// An addressee as a key: a number has at most 15 digits and no leading 0, so it is its own key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AddresseeKey {
    /// The digits of a person's number.
    Number(u64),
    /// The JID of a group.
    Group(Box<str>),
}

impl Serialize for AddresseeKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => to.collect_str(number),
            Self::Group(jid) => to.serialize_str(jid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_by_their_whole_jid_and_stored_as_it() {
        for text in ["120363021033254949@g.us", "6281234567890-1500000000@g.us"] {
            let group = Addressee::group(text).expect("a group");
            assert_eq!((group.as_str(), group.phone()), (text, None));
            assert!(group.jid().is_group());
            let stored = serde_json::to_string(&group).expect("JSON");
            assert_eq!(stored, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Addressee>(&stored).ok(), Some(group));
        }
        for none in [
            "120363021033254949",
            "6281234567890-1500000000",
            "x@g.us",
            "6281234567890@s.whatsapp.net",
            "",
        ] {
            assert_eq!(Addressee::group(none), None, "{none}");
        }
        let stored = serde_json::from_str::<Addressee>("\"6281234567890\"").expect("a person");
        assert_eq!(stored.jid().to_string(), "6281234567890@s.whatsapp.net");
        assert!(serde_json::from_str::<Addressee>("\"1@lid\"").is_err());
    }
}
