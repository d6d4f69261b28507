//! A poll as a client asks for it.

use std::collections::BTreeSet;

use crate::error::{Code, Result};

/// How many answers a poll may have, as WhatsApp allows.
pub const MAX_OPTIONS: usize = 12;

/// The longest question, in characters.
pub const MAX_QUESTION: usize = 255;

/// The longest answer, in characters.
pub const MAX_OPTION: usize = 100;

/// A question with answers to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    pub(super) question: String,
    pub(super) options: Vec<String>,
    pub(super) selectable: u32,
}

impl Poll {
    /// A poll with 2 to [`MAX_OPTIONS`] different answers, of which so many may be chosen: 0 is any
    /// number, and one where it is not said.
    pub fn new<'o>(
        question: &str,
        options: impl IntoIterator<Item = &'o str>,
        selectable: Option<u64>,
    ) -> Result<Self> {
        let legal = |text: &str, most| !text.trim().is_empty() && text.chars().count() <= most;
        let options: Vec<&str> = options.into_iter().take(MAX_OPTIONS + 1).collect();
        let different: BTreeSet<_> = options.iter().collect();
        let selectable = u32::try_from(selectable.unwrap_or(1)).unwrap_or(u32::MAX);
        let good = legal(question, MAX_QUESTION)
            && (2..=MAX_OPTIONS).contains(&options.len())
            && different.len() == options.len()
            && options.iter().all(|option| legal(option, MAX_OPTION))
            && selectable as usize <= options.len();
        if !good {
            return Err(Code::PollInvalid.into());
        }
        Ok(Self {
            question: question.to_owned(),
            options: options.into_iter().map(str::to_owned).collect(),
            selectable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_poll_has_a_question_and_different_answers() {
        let poll = Poll::new("When?", ["today", "tomorrow"], None).expect("a poll");
        assert_eq!(poll.selectable, 1);
        assert!(Poll::new(&"?".repeat(255), ["a", &"b".repeat(100)], Some(0)).is_ok());
        let long = "x".repeat(256);
        let many: Vec<String> = (0..13).map(|n| n.to_string()).collect();
        let wrong: [(&str, Vec<&str>, Option<u64>); 9] = [
            (" ", vec!["a", "b"], None),
            (&long, vec!["a", "b"], None),
            ("?", vec![], None),
            ("?", vec!["a"], None),
            ("?", vec!["a", "a"], None),
            ("?", vec!["a", " "], None),
            ("?", vec!["a", &long[..101]], None),
            ("?", many.iter().map(String::as_str).collect(), None),
            ("?", vec!["a", "b"], Some(3)),
        ];
        for (question, options, selectable) in wrong {
            let refused = Poll::new(question, options.clone(), selectable);
            let code = refused.map_err(|e| e.code());
            assert_eq!(code, Err(Code::PollInvalid), "{question} {options:?}");
        }
        assert!(Poll::new("?", ["a", "b"], Some(u64::MAX)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_within_bounds_and_unchanged(
            question in "(?s).{0,260}",
            options in prop::collection::vec("(?s).{0,3}", 0..15),
            selectable in prop::option::of(0u64..15),
        ) {
            let given = options.iter().map(String::as_str);
            if let Ok(poll) = Poll::new(&question, given, selectable) {
                prop_assert_eq!(&poll.question, &question);
                prop_assert_eq!(&poll.options, &options);
                prop_assert!((2..=12).contains(&options.len()));
                prop_assert!(poll.selectable as usize <= options.len());
            }
        }
    }
}
