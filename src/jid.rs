//! WhatsApp addresses: people (by number or hidden id), groups, newsletters, the status feed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Code, Error, Result};

/// What kind of place an address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JidServer {
    /// A person by phone number: `628..@s.whatsapp.net`.
    User,
    /// A person by hidden id: `1000..@lid`.
    Lid,
    /// A group: `120363..@g.us`, in old groups `628..-1500..@g.us`.
    Group,
    /// A channel: `120363..@newsletter`.
    Newsletter,
    /// The status feed: `status@broadcast`, and broadcast lists.
    Broadcast,
    /// Anything else that WhatsApp may name (bots, calls): kept, never sent to.
    Other,
}

/// An address without its device part. Stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid {
    user: String,
    server: JidServer,
    /// The server's name when it is none of ours.
    other: Option<String>,
}

impl Jid {
    /// A person by number: digits only.
    pub fn user(number: &PhoneNumber) -> Self {
        Self {
            user: number.0.clone(),
            server: JidServer::User,
            other: None,
        }
    }

    /// A person by the digits of a number that WhatsApp told.
    pub fn of_number(digits: &str) -> Option<Self> {
        Self::parse(&format!("{digits}@s.whatsapp.net"))
    }

    /// Reads an address as WhatsApp writes it. A device part (`:3`) is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, server_name) = text.split_once('@')?;
        let user = user.split(':').next().unwrap_or(user);
        let user = user.split('_').next().unwrap_or(user);
        if user.is_empty()
            || user.len() > 64
            || server_name.is_empty()
            || server_name.len() > 64
            || !text.bytes().all(|b| b.is_ascii_graphic())
            || server_name.contains('@')
        {
            return None;
        }
        let server = match server_name {
            "s.whatsapp.net" | "c.us" => JidServer::User,
            "lid" => JidServer::Lid,
            "g.us" => JidServer::Group,
            "newsletter" => JidServer::Newsletter,
            "broadcast" => JidServer::Broadcast,
            _ => JidServer::Other,
        };
        let other = (server == JidServer::Other).then(|| server_name.to_owned());
        Some(Self {
            user: user.to_owned(),
            server,
            other,
        })
    }

    /// What kind of place it is.
    pub fn server(&self) -> JidServer {
        self.server
    }

    /// The part before the `@`.
    pub fn user_part(&self) -> &str {
        &self.user
    }

    /// Whether it is a group.
    pub fn is_group(&self) -> bool {
        self.server == JidServer::Group
    }

    /// Whether it is one person, by number or by hidden id.
    pub fn is_person(&self) -> bool {
        matches!(self.server, JidServer::User | JidServer::Lid)
    }

    /// Whether it is the status feed, where stories are.
    pub fn is_status(&self) -> bool {
        self.server == JidServer::Broadcast && self.user == "status"
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match self.server {
            JidServer::User => "s.whatsapp.net",
            JidServer::Lid => "lid",
            JidServer::Group => "g.us",
            JidServer::Newsletter => "newsletter",
            JidServer::Broadcast => "broadcast",
            JidServer::Other => self.other.as_deref().unwrap_or("unknown"),
        };
        write!(f, "{}@{server}", self.user)
    }
}

impl FromStr for Jid {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text).ok_or_else(|| Error::from(Code::RecipientInvalid))
    }
}

impl Serialize for Jid {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Jid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a JID"))
    }
}

/// A phone number in international form: 8 to 15 digits, no `+`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Reads a number as people write it: `+`, spaces, dashes, dots and brackets are removed; with a
    /// country code, a leading `0` stands for it.
    pub fn parse(text: &str, country_code: Option<&str>) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let mut digits = String::with_capacity(16);
        let mut plus = false;
        for c in text.trim().chars() {
            match c {
                '0'..='9' => digits.push(c),
                '+' if digits.is_empty() && !plus => plus = true,
                ' ' | '-' | '(' | ')' | '.' | '\u{a0}' => {}
                _ => return None,
            }
        }
        if !plus
            && digits.starts_with('0')
            && let Some(code) = country_code
        {
            digits = format!("{code}{}", &digits[1..]);
        }
        ((8..=15).contains(&digits.len()) && !digits.starts_with('0')).then_some(Self(digits))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads whom a client wants to reach: a number in any spelling, or the address of a person, a
/// group or a newsletter. A bare id is a group's when `group` says so or it can be nothing else
/// (more than 15 digits, or `digits-digits`).
pub fn recipient(text: &str, group: bool, country_code: Option<&str>) -> Option<Jid> {
    let text = text.trim();
    if text.contains('@') {
        let jid = Jid::parse(text)?;
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        return match jid.server() {
            JidServer::User => PhoneNumber::parse(&jid.user, None).map(|n| Jid::user(&n)),
            JidServer::Lid | JidServer::Newsletter => {
                (digits(&jid.user) && jid.user.len() <= 20).then_some(jid)
            }
            JidServer::Group => is_group_id(&jid.user).then_some(jid),
            JidServer::Broadcast | JidServer::Other => None,
        };
    }
    let long = text.len() > 15 && text.bytes().all(|b| b.is_ascii_digit());
    let old_style = text
        .split_once('-')
        .is_some_and(|(creator, time)| creator.len() >= 8 && time.len() >= 9 && is_group_id(text));
    if (group && is_group_id(text)) || long || old_style {
        return Jid::parse(&format!("{text}@g.us")).filter(|jid| is_group_id(jid.user_part()));
    }
    PhoneNumber::parse(text, country_code).map(|n| Jid::user(&n))
}

/// The refusal of a number or a recipient that cannot be read: `code`, unless it begins with 0 and
/// lacks the one setting that would make it understood.
pub fn unreadable(text: &str, country_code: Option<&str>, code: Code) -> Error {
    let number = text.trim().trim_start_matches('(');
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let national = number.starts_with('0') && digits >= 8 && country_code.is_none();
    Error::from(if national {
        Code::CountryCodeMissing
    } else {
        code
    })
}

/// A group's id: up to 20 digits, or in old groups `creator-time`.
fn is_group_id(id: &str) -> bool {
    let digits = |s: &str| (8..=20).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    match id.split_once('-') {
        Some((creator, time)) => digits(creator) && digits(time),
        None => digits(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to(text: &str) -> Option<String> {
        recipient(text, false, Some("62")).map(|jid| jid.to_string())
    }

    #[test]
    fn numbers_in_any_spelling_name_one_person() {
        for text in [
            "6281234567890",
            "+62 812-3456-7890",
            "0812 3456 7890",
            "(+62) 81234567890",
        ] {
            assert_eq!(
                to(text).as_deref(),
                Some("6281234567890@s.whatsapp.net"),
                "{text}"
            );
        }
        assert_eq!(
            to("6281234567890@c.us").as_deref(),
            Some("6281234567890@s.whatsapp.net")
        );
        assert_eq!(
            to("6281234567890:7@s.whatsapp.net").as_deref(),
            Some("6281234567890@s.whatsapp.net")
        );
    }

    #[test]
    fn a_national_number_is_refused_by_what_would_make_it_understood() {
        let code = |text, country| unreadable(text, country, Code::NumberInvalid).code();
        for text in ["081234567890", " 0812-3456-7890", "(0812) 34567890"] {
            assert_eq!(recipient(text, false, None), None, "{text}");
            assert_eq!(code(text, None), Code::CountryCodeMissing, "{text}");
        }
        for text in ["12", "x", "0", "0812", "812345x", ""] {
            assert_eq!(code(text, None), Code::NumberInvalid, "{text}");
        }
        assert_eq!(code("0812345678901234567", Some("62")), Code::NumberInvalid);
    }

    #[test]
    fn groups_old_and_new_lids_and_newsletters_are_taken() {
        for text in [
            "120363021033254949@g.us",
            "6281234567890-1500000000@g.us",
            "100000012345678@lid",
            "120363021033254949@newsletter",
        ] {
            assert_eq!(to(text).as_deref(), Some(text));
        }
        assert_eq!(
            to("120363021033254949").as_deref(),
            Some("120363021033254949@g.us")
        );
        assert_eq!(
            to("6281234567890-1500000000").as_deref(),
            Some("6281234567890-1500000000@g.us")
        );
        assert_eq!(
            recipient("12036302103325", true, None)
                .map(|j| j.to_string())
                .as_deref(),
            Some("12036302103325@g.us")
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "abc",
            "1234567",
            "1234567890123456x",
            "++6281234567890",
            "62812x34567",
            "a@g.us",
            "@lid",
            "x@y@z",
            "status@broadcast",
            "12345@s.whatsapp.net",
            "628123\n4567890",
            "0@lid\u{0}",
        ] {
            assert_eq!(to(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_normalising_twice_changes_nothing(text in "\\PC{0,40}") {
            if let Some(jid) = recipient(&text, false, Some("62")) {
                prop_assert_eq!(recipient(&jid.to_string(), false, Some("62")), Some(jid.clone()));
                prop_assert_eq!(Jid::parse(&jid.to_string()), Some(jid));
            }
        }

        #[test]
        fn numbers_round_trip(digits in "[1-9][0-9]{7,14}") {
            prop_assert_eq!(to(&digits), Some(format!("{digits}@s.whatsapp.net")));
        }
    }
}
