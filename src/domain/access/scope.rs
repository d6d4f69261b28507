//! What keys are for.

use crate::words::stored_words;

stored_words! {
    /// Something that a key may be for. Stored by its word.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Scope {
        /// Make, pair, log out and delete sessions; in dialects that have it, make and revoke keys.
        Admin = "admin",
        /// Send and revoke messages, also with a file of the session by its id: whoever may send may
        /// send whatever the session has, to themselves too.
        Send = "send",
        /// Campaigns, lists of recipients, suppressed numbers.
        Broadcast = "broadcast",
        /// A session's settings.
        Config = "config",
        /// Ask the model that answers.
        Ai = "ai",
        /// Files of a session.
        Media = "media",
        /// Webhooks and their deliveries. To set one and to replay a delivery is to read what is
        /// delivered, and needs `read` too.
        Webhook = "webhook",
        /// See sessions, messages with the files that came or went with them, and events.
        Read = "read",
    }
}
