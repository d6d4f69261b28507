//! What a list is called and what is said of it.

use crate::error::Result;
use crate::names;

/// The most characters of a name.
const MAX_NAME: usize = 200;

/// What a list is called: up to 200 characters, perhaps none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListName(String);

impl ListName {
    /// The name that somebody gives, without the spaces around it; a longer one is refused.
    pub fn new(name: &str) -> Result<Self> {
        names::limited(name, MAX_NAME).map(Self)
    }

    /// What a copy of a list is called that nobody named.
    pub(super) fn of_copy(original: &str) -> Self {
        Self(names::of_copy(original, MAX_NAME))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<ListName> for String {
    fn from(name: ListName) -> Self {
        name.0
    }
}

/// What a list is for: up to 2,000 characters, perhaps none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListDescription(String);

impl ListDescription {
    /// What somebody says of it, without the spaces around it; a longer text is refused.
    pub fn new(text: &str) -> Result<Self> {
        names::limited(text, 2000).map(Self)
    }
}

impl From<ListDescription> for String {
    fn from(text: ListDescription) -> Self {
        text.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_description_have_an_end() {
        assert_eq!(
            ListName::new(" Langganan ").map(String::from).ok(),
            Some("Langganan".to_owned())
        );
        assert!(ListName::new("").is_ok_and(|name| name.is_empty()));
        assert!(ListName::new(&"x".repeat(200)).is_ok());
        assert!(ListName::new(&"x".repeat(201)).is_err());
        assert!(ListDescription::new(&"x".repeat(2000)).is_ok());
        assert!(ListDescription::new(&"x".repeat(2001)).is_err());
    }
}
