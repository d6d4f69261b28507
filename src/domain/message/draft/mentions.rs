//! Who is mentioned in a message.

use crate::error::{Code, Error, Result};
use crate::jid::{Jid, recipient, unreadable};

/// How many people one message may mention.
const MAX_MENTIONS: usize = 1024;

/// Who is mentioned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mentions {
    /// Nobody.
    #[default]
    None,
    /// Everybody in the group.
    All,
    /// These people.
    These(Vec<Jid>),
}

impl Mentions {
    /// Numbers or addresses of people, up to 1,024; `all` stands for everybody in the
    /// group. A number without a country has that of the configuration.
    pub fn of<'n>(
        names: impl ExactSizeIterator<Item = &'n str>,
        country: Option<&str>,
    ) -> Result<Self> {
        if names.len() > MAX_MENTIONS {
            let detail = format!("At most {MAX_MENTIONS} people can be mentioned");
            return Err(Error::new(Code::TooManyMentions, detail));
        }
        let mut people = Vec::new();
        for name in names {
            if name == "all" {
                return Ok(Self::All);
            }
            let person = recipient(name, false, country).filter(Jid::is_person);
            let person = person.ok_or_else(|| unreadable(name, country, Code::MentionsInvalid))?;
            people.push(person);
        }
        Ok(if people.is_empty() {
            Self::None
        } else {
            Self::These(people)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Result<Mentions, Code> {
        Mentions::of(names.iter().copied(), Some("62")).map_err(|e| e.code())
    }

    #[test]
    fn people_are_mentioned_by_number_or_all_at_once() {
        assert_eq!(of(&[]), Ok(Mentions::None));
        let budi = Jid::parse("6281234567890@s.whatsapp.net").expect("a JID");
        assert_eq!(of(&["081234567890"]), Ok(Mentions::These(vec![budi])));
        assert_eq!(of(&["081234567890", "all", "?"]), Ok(Mentions::All));
        for wrong in ["", "?", "123-456@g.us"] {
            assert_eq!(of(&[wrong]), Err(Code::MentionsInvalid), "{wrong}");
        }
        assert!(of(&["6281234567890"; 1024]).is_ok());
        assert_eq!(of(&["all"; 1025]), Err(Code::TooManyMentions));
    }
}
