//! The words by which people leave a list, and come back.

use crate::error::{Code, Result};

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptOut {
    /// No more campaigns.
    Stop,
    /// Campaigns again.
    Start,
}

/// How many words of its own a session may have on one list.
pub const MAX_WORDS: usize = 20;

/// The longest of them, in characters.
pub const MAX_WORD: usize = 50;

/// Words of a session's own, for one list: up to [`MAX_WORDS`], each with a letter or a digit.
pub fn own_words<'w>(words: impl ExactSizeIterator<Item = &'w str>) -> Result<Vec<String>> {
    if words.len() > MAX_WORDS {
        return Err(Code::OptOutWordsInvalid.into());
    }
    words
        .map(|word| {
            let legal = word.chars().count() <= MAX_WORD && word.chars().any(char::is_alphanumeric);
            let word = legal.then(|| word.to_owned());
            Ok(word.ok_or(Code::OptOutWordsInvalid)?)
        })
        .collect()
}

/// The words that a session listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOutKeywords {
    stop: Vec<String>,
    start: Vec<String>,
}

impl Default for OptOutKeywords {
    fn default() -> Self {
        Self::new(
            ["STOP", "BERHENTI", "UNSUBSCRIBE", "KELUAR"],
            ["START", "MULAI", "LANJUT"],
        )
    }
}

impl OptOutKeywords {
    /// Takes words of one's own; those without a letter or digit do not count.
    pub fn new<'w>(
        stop: impl IntoIterator<Item = &'w str>,
        start: impl IntoIterator<Item = &'w str>,
    ) -> Self {
        let all = |words: &mut dyn Iterator<Item = &'w str>| {
            let words = words.map(bare);
            words.filter(|word| !word.is_empty()).collect()
        };
        Self {
            stop: all(&mut stop.into_iter()),
            start: all(&mut start.into_iter()),
        }
    }

    /// These words, where others are given those.
    #[must_use]
    pub fn replaced(self, stop: Option<&[String]>, start: Option<&[String]>) -> Self {
        let bare = |words: &[String]| {
            let words = words.iter().map(|word| bare(word));
            words.filter(|word| !word.is_empty()).collect()
        };
        Self {
            stop: stop.map_or(self.stop, bare),
            start: start.map_or(self.start, bare),
        }
    }

    /// What a message asks for: it has to be one of the words and nothing else. Case, spaces,
    /// punctuation and emoji around it do not count. A word on both lists stops.
    pub fn verdict(&self, text: &str) -> Option<OptOut> {
        let longest = self.stop.iter().chain(&self.start).map(String::len).max()?;
        let core = core(text);
        // A long text is none of the words; lower case is a third as long at the least.
        if core.len() > 3 * longest {
            return None;
        }
        let said = bare(core);
        if self.stop.contains(&said) {
            Some(OptOut::Stop)
        } else if self.start.contains(&said) {
            Some(OptOut::Start)
        } else {
            None
        }
    }
}

fn core(text: &str) -> &str {
    text.trim_matches(|c: char| !c.is_alphanumeric())
}

/// A word or phrase without what does not count.
fn bare(text: &str) -> String {
    let words: Vec<String> = core(text)
        .split_whitespace()
        .map(str::to_lowercase)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_20_words_of_its_own_that_can_be_told_from_nothing() {
        let own = |words: &[&str]| own_words(words.iter().copied()).map_err(|e| e.code());
        assert_eq!(own(&["Cukup!"]), Ok(vec!["Cukup!".to_owned()]));
        assert!(own(&[]).is_ok() && own(&["x"; 20]).is_ok());
        let long = "x".repeat(51);
        for wrong in [&["x"; 21][..], &["!?"], &[""], &[long.as_str()]] {
            assert_eq!(own(wrong), Err(Code::OptOutWordsInvalid), "{wrong:?}");
        }
    }
    use proptest::prelude::*;

    #[test]
    fn a_word_alone_is_heard_in_any_dress() {
        let words = OptOutKeywords::default();
        for text in [
            "STOP",
            "stop",
            " Stop. ",
            "*STOP*",
            "\"berhenti\"!!",
            "unsubscribe\n",
            "\u{1f64f} keluar \u{1f64f}",
        ] {
            assert_eq!(words.verdict(text), Some(OptOut::Stop), "{text}");
        }
        for text in ["START", "mulai", "Lanjut!"] {
            assert_eq!(words.verdict(text), Some(OptOut::Start), "{text}");
        }
    }

    #[test]
    fn a_word_in_a_sentence_is_not_heard() {
        let words = OptOutKeywords::default();
        for text in [
            "",
            "...",
            "please stop",
            "STOP it",
            "stopp",
            "non-stop",
            "stop, start",
            "s t o p",
            "stop 1",
        ] {
            assert_eq!(words.verdict(text), None, "{text}");
        }
    }

    #[test]
    fn own_words_and_phrases_replace_the_usual_ones() {
        let words = OptOutKeywords::new(["Stop  Promo", "\u{c7}IK", "-"], ["stop promo", "ya"]);
        assert_eq!(words.verdict("STOP\tpromo!"), Some(OptOut::Stop));
        assert_eq!(words.verdict("\u{e7}ik"), Some(OptOut::Stop));
        assert_eq!(words.verdict("YA"), Some(OptOut::Start));
        assert_eq!(words.verdict("STOP"), None);
        assert_eq!(words.verdict("-"), None);
        assert_eq!(OptOutKeywords::new([], []).verdict("stop"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,60}") {
            let _ = OptOutKeywords::default().verdict(&text);
        }

        #[test]
        fn letters_around_a_word_make_it_another(before in "[a-z]{1,3}", after in "[a-z0-9]{0,3}") {
            let text = format!("{before} stop {after}");
            prop_assert_eq!(OptOutKeywords::default().verdict(&text), None);
        }
    }
}
