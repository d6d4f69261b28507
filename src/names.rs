//! Names that strangers give, to files and to themselves, without what has no place in a name:
//! characters that control a terminal or a header, and those that turn the direction of writing, by
//! which `x<U+202E>gpj.exe` looks like an image.

use crate::error::{Error, Result};

/// The most characters of a file's name.
const FILE: usize = 200;

/// The most characters of a person's name; WhatsApp's own limit is 25.
const PERSON: usize = 100;

/// A file's name without what has no place in one; `None` when nothing is left.
pub fn of_file(name: &str) -> Option<String> {
    // Some browsers send the whole path.
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = cleaned(name, FILE);
    (!name.is_empty() && name != "." && name != "..").then_some(name)
}

/// What people call themselves, or others on a card.
pub fn of_person(name: &str) -> String {
    cleaned(name, PERSON)
}

/// What somebody writes, without the spaces around it; more than `most` characters are refused.
pub fn limited(text: &str, most: usize) -> Result<String> {
    let text = text.trim();
    if text.chars().count() > most {
        return Err(Error::invalid(format!("at most {most} characters")));
    }
    Ok(text.to_owned())
}

/// What a copy of something is called: no longer than `most` characters either, whatever the original
/// is called.
pub fn of_copy(original: &str, most: usize) -> String {
    const MARK: &str = " (Copy)";
    let kept: String = original.chars().take(most - MARK.len()).collect();
    format!("{}{MARK}", kept.trim_end())
}

/// A stranger's word, short enough and harmless in a sentence about it.
pub fn excerpt(word: &str, most: usize) -> String {
    word.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

fn cleaned(name: &str, most: usize) -> String {
    let name: String = name.chars().filter(|c| is_shown(*c)).take(most).collect();
    name.trim().to_owned()
}

/// Whether a character is there to be seen. Joiners stay: scripts and emoji need them.
fn is_shown(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    !c.is_control() && !turns && !breaks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_told_without_control_characters_and_not_at_length() {
        assert_eq!(excerpt("a\r\n\u{1b}bcd", 3), "abc");
    }

    #[test]
    fn the_name_of_a_copy_is_as_short_as_any() {
        assert_eq!(of_copy("Promo", 200), "Promo (Copy)");
        let long = of_copy(&"\u{e9}".repeat(200), 200);
        assert_eq!(long.chars().count(), 200);
        assert!(long.ends_with("\u{e9} (Copy)"));
        assert!(limited(&of_copy(&long, 200), 200).is_ok());
    }

    #[test]
    fn names_lose_paths_control_characters_and_turns() {
        assert_eq!(of_file("C:\\x\\a\u{0}b.pdf").as_deref(), Some("ab.pdf"));
        assert_eq!(of_file("a/.."), None);
        assert_eq!(of_file(" \n"), None);
        assert_eq!(of_file(&"x".repeat(500)).map(|n| n.len()), Some(200));
        let hostile = "../../../etc/cron.d/x\u{202e}gpj.exe\r\nX: 1";
        assert_eq!(of_file(hostile).as_deref(), Some("xgpj.exeX: 1"));
        assert_eq!(of_file("\u{2066}\u{2069}\u{200e}\u{200f}"), None);
        assert_eq!(of_person("Ibu / Bapak\u{202e}\r\n"), "Ibu / Bapak");
    }
}
