//! The texts of a message: what it says, the name and the type of its file, an emoji.

use crate::error::{Code, Error, Result};
use crate::names;

/// The longest text, in UTF-16 units, as WhatsApp's own clients allow.
pub const MAX_TEXT: usize = 4096;

/// The longest emoji, in bytes: families and flags are made of many characters.
const MAX_EMOJI: usize = 64;

/// The longest type of a file, in bytes.
const MAX_MIME: usize = 128;

/// The words of a message, or those below its file. They are never changed on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Words of 1 to [`MAX_TEXT`] UTF-16 units.
    pub fn new(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Code::MessageEmpty.into());
        }
        if text.encode_utf16().count() > MAX_TEXT {
            return Err(Code::MessageTooLong.into());
        }
        Ok(Self(text.to_owned()))
    }

    /// What a template made: cut where it is longer than WhatsApp takes, and perhaps empty.
    pub(in crate::domain) fn shortened(text: String) -> Self {
        if text.encode_utf16().count() <= MAX_TEXT {
            return Self(text);
        }
        let mut units = 0;
        let fits = |c: &char| {
            units += c.len_utf16();
            units <= MAX_TEXT
        };
        Self(text.chars().take_while(fits).collect())
    }

    /// Whether there are no words.
    pub(in crate::domain) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

/// The name of a file, without what has no place in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// Takes the name that somebody gave, without folders, control characters and turns of the
    /// writing; refuses one of which nothing is left.
    pub fn new(name: &str) -> Result<Self> {
        let name = names::of_file(name).ok_or(Code::FileNameInvalid)?;
        Ok(Self(name))
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

/// The type of a file as a client says it, such as `application/pdf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MimeType(String);

impl MimeType {
    /// Printable ASCII with a slash; whether such a type exists is not asked.
    pub fn new(mime: &str) -> Result<Self> {
        let legal = |b: u8| b.is_ascii_graphic() || b == b' ';
        let good = mime.len() <= MAX_MIME && mime.contains('/') && mime.bytes().all(legal);
        if !good {
            return Err(Code::MimeTypeInvalid.into());
        }
        Ok(Self(mime.to_owned()))
    }
}

impl From<MimeType> for String {
    fn from(mime: MimeType) -> Self {
        mime.0
    }
}

/// What somebody reacts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emoji(String);

impl Emoji {
    /// An emoji; an empty one takes the reaction back.
    pub fn new(emoji: &str) -> Result<Self> {
        if emoji.len() > MAX_EMOJI || emoji.chars().any(char::is_control) {
            return Err(Code::EmojiInvalid.into());
        }
        Ok(Self(emoji.to_owned()))
    }
}

impl From<Emoji> for String {
    fn from(emoji: Emoji) -> Self {
        emoji.0
    }
}

/// A name or an address on a map: up to 1,000 characters, `None` for an empty one.
pub(super) fn label(text: &str) -> Result<Option<String>> {
    const MOST: usize = 1000;
    if text.chars().count() > MOST {
        let detail = format!("a text of up to {MOST} characters");
        return Err(Error::new(Code::PlaceLabelTooLong, detail));
    }
    Ok(Some(text)
        .filter(|text| !text.is_empty())
        .map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
        result.expect_err("refused").code()
    }

    #[test]
    fn a_text_has_1_to_4096_utf16_units() {
        assert_eq!(code(Text::new("")), Code::MessageEmpty);
        assert!(Text::new(&"x".repeat(4096)).is_ok());
        assert_eq!(code(Text::new(&"x".repeat(4097))), Code::MessageTooLong);
        // Each of these takes two units.
        assert!(Text::new(&"😀".repeat(2048)).is_ok());
        assert_eq!(code(Text::new(&"😀".repeat(2049))), Code::MessageTooLong);
    }

    #[test]
    fn what_a_template_made_is_cut_between_characters() {
        let cut = String::from(Text::shortened(format!("x{}", "😀".repeat(2048))));
        assert_eq!(cut.encode_utf16().count(), 4095);
        assert!(Text::shortened(String::new()).is_empty());
    }

    #[test]
    fn types_and_emoji_are_held_to_their_form() {
        assert!(MimeType::new("application/pdf; charset=utf-8").is_ok());
        for wrong in [
            "pdf",
            "a/\r\nb",
            "a/\u{e9}",
            &format!("a/{}", "b".repeat(127)),
        ] {
            assert_eq!(code(MimeType::new(wrong)), Code::MimeTypeInvalid, "{wrong}");
        }
        assert!(Emoji::new("").is_ok() && Emoji::new("👨‍👩‍👧‍👦").is_ok());
        for wrong in ["\n", &"x".repeat(65)] {
            assert_eq!(code(Emoji::new(wrong)), Code::EmojiInvalid, "{wrong}");
        }
        assert_eq!(code(FileName::new("../..")), Code::FileNameInvalid);
    }

    proptest! {
        #[test]
        fn a_files_name_stays_as_it_is_once_it_is_clean(name in ".{0,300}") {
            if let Ok(name) = FileName::new(&name) {
                let name = String::from(name);
                prop_assert!(!name.contains(['/', '\\', '\n', '\0']));
                prop_assert_eq!(FileName::new(&name).map(String::from).ok(), Some(name));
            }
        }

        #[test]
        fn a_shortened_text_is_the_start_of_what_it_was(text in "(?s).{0,50}", times in 0usize..200) {
            let long = text.repeat(times);
            let cut = String::from(Text::shortened(long.clone()));
            prop_assert!(long.starts_with(&cut));
            prop_assert!(cut.encode_utf16().count() <= MAX_TEXT);
            prop_assert!(cut == long || cut.encode_utf16().count() >= MAX_TEXT - 1);
        }
    }
}
