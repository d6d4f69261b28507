//! What keys are for: dialects and scopes.

use serde::{Deserialize, Serialize};

/// A dialect that has keys. Hazard: the names are in the files of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// The v1 API, and its legacy sends.
    V1,
    /// OpenWA.
    OpenWa,
    /// Kirana.
    Kirana,
    /// ServerWA.
    ServerWa,
    /// Wafa.
    Wafa,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 5] = [
        Self::V1,
        Self::OpenWa,
        Self::Kirana,
        Self::ServerWa,
        Self::Wafa,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::OpenWa => "openwa",
            Self::Kirana => "kirana",
            Self::ServerWa => "serverwa",
            Self::Wafa => "wafa",
        }
    }

    /// Reads its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }

    /// What its keys begin with. Those of ServerWA are 64 hex digits and nothing else.
    pub(super) fn key_prefix(self) -> &'static str {
        match self {
            Self::V1 => "v1_",
            Self::OpenWa => "owa_",
            Self::Kirana => "kirana_",
            Self::ServerWa => "",
            Self::Wafa => "wafa_",
        }
    }
}

/// Something that a key may be for. Hazard: the names are in the files of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Make, pair, log out and delete sessions; in dialects that have it, make and revoke keys.
    Admin,
    /// Send and revoke messages.
    Send,
    /// Campaigns, lists of recipients, suppressed numbers.
    Broadcast,
    /// A session's settings.
    Config,
    /// Ask the model that answers.
    Ai,
    /// Files of a session.
    Media,
    /// Webhooks and their deliveries.
    Webhook,
    /// See sessions, messages and events.
    Read,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 8] = [
        Self::Admin,
        Self::Send,
        Self::Broadcast,
        Self::Config,
        Self::Ai,
        Self::Media,
        Self::Webhook,
        Self::Read,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Send => "send",
            Self::Broadcast => "broadcast",
            Self::Config => "config",
            Self::Ai => "ai",
            Self::Media => "media",
            Self::Webhook => "webhook",
            Self::Read => "read",
        }
    }

    /// Reads its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::parse(dialect.as_str()), Some(dialect));
        }
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Dialect::parse("V1"), None);
        assert_eq!(Scope::parse(""), None);
    }
}
