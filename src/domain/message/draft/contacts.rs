//! Contact cards as a client asks for them.

use crate::error::{Code, Result};
use crate::jid::PhoneNumber;
use crate::wa::message::ContactCard;

/// How many cards one message may hold.
pub const MAX_CARDS: usize = 50;

/// How many numbers one card may have.
const MAX_NUMBERS: usize = 10;

/// The longest name on a card, in characters.
const MAX_NAME: usize = 200;

/// The longest card that a client writes itself, in bytes.
const MAX_VCARD: usize = 8192;

/// The cards of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contacts(Vec<ContactCard>);

impl Contacts {
    /// One card to [`MAX_CARDS`].
    pub fn new(cards: Vec<ContactCard>) -> Result<Self> {
        if !(1..=MAX_CARDS).contains(&cards.len()) {
            return Err(Code::ContactsInvalid.into());
        }
        Ok(Self(cards))
    }
}

impl From<Contacts> for Vec<ContactCard> {
    fn from(contacts: Contacts) -> Self {
        contacts.0
    }
}

impl ContactCard {
    /// The card of a person with a name and one to ten numbers.
    pub fn of(name: &str, numbers: &[PhoneNumber]) -> Result<Self> {
        let named = !name.trim().is_empty() && name.chars().count() <= MAX_NAME;
        if !named || !(1..=MAX_NUMBERS).contains(&numbers.len()) {
            return Err(Code::ContactsInvalid.into());
        }
        let escaped = escaped(name);
        let mut vcard = format!("BEGIN:VCARD\nVERSION:3.0\nN:;{escaped};;;\nFN:{escaped}\n");
        for number in numbers {
            // `waid` makes the number a button that opens the chat.
            vcard.push_str(&format!(
                "TEL;type=CELL;type=VOICE;waid={number}:+{number}\n"
            ));
        }
        vcard.push_str("END:VCARD");
        Ok(Self {
            name: name.to_owned(),
            vcard,
        })
    }

    /// A card that the client wrote itself, with the name that is shown, which may be empty.
    pub fn written(name: &str, vcard: &str) -> Result<Self> {
        let good = name.chars().count() <= MAX_NAME
            && vcard.len() <= MAX_VCARD
            && vcard.trim_start().starts_with("BEGIN:VCARD")
            && vcard.trim_end().ends_with("END:VCARD");
        if !good {
            return Err(Code::ContactsInvalid.into());
        }
        Ok(Self {
            name: name.to_owned(),
            vcard: vcard.to_owned(),
        })
    }
}

/// A name as a vCard writes it (RFC 2426): it cannot begin a line of its own.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            ',' | ';' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> PhoneNumber {
        PhoneNumber::parse("6281234567890", None).expect("a number")
    }

    #[test]
    fn a_card_has_a_name_and_one_to_ten_numbers() {
        let card = ContactCard::of("Budi; Toko", &[number()]).expect("a card");
        assert_eq!(
            card.vcard,
            "BEGIN:VCARD\nVERSION:3.0\nN:;Budi\\; Toko;;;\nFN:Budi\\; Toko\n\
             TEL;type=CELL;type=VOICE;waid=6281234567890:+6281234567890\nEND:VCARD"
        );
        assert!(ContactCard::of(&"x".repeat(200), &vec![number(); 10]).is_ok());
        for (name, count) in [(" ", 1), ("Budi", 0), ("Budi", 11), (&"x".repeat(201), 1)] {
            let refused = ContactCard::of(name, &vec![number(); count]).map_err(|e| e.code());
            assert_eq!(refused, Err(Code::ContactsInvalid), "{name} {count}");
        }
    }

    #[test]
    fn a_card_of_ones_own_is_a_vcard_of_bounded_size() {
        let vcard = "\nBEGIN:VCARD\nFN:B\nEND:VCARD\n";
        assert_eq!(
            ContactCard::written("", vcard).expect("a card").vcard,
            vcard
        );
        let long = format!("BEGIN:VCARD{}END:VCARD", "x".repeat(8192));
        for wrong in ["", "FN:B", "BEGIN:VCARD", long.as_str()] {
            assert!(ContactCard::written("B", wrong).is_err(), "{wrong}");
        }
        assert!(ContactCard::written(&"x".repeat(201), vcard).is_err());
    }

    #[test]
    fn a_message_holds_1_to_50_cards() {
        let card = ContactCard::of("Budi", &[number()]).expect("a card");
        for (count, good) in [(0, false), (1, true), (50, true), (51, false)] {
            assert_eq!(
                Contacts::new(vec![card.clone(); count]).is_ok(),
                good,
                "{count}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_name_writes_a_line_of_its_own(name in "(?s).{1,60}") {
            if let Ok(card) = ContactCard::of(&name, &[number()]) {
                prop_assert_eq!(card.vcard.lines().count(), 6);
                prop_assert!(!card.vcard.contains('\r'));
            }
        }
    }
}
