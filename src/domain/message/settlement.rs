//! What became of a message: said once, for its rows and for its client.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, ErrorKind};
use crate::ids::MessageId;
use crate::jid::Jid;
use crate::time::Timestamp;
use crate::wa::message::MessageState;

/// WhatsApp's code for an account that sends too much.
const TOO_MANY: &str = "429";

/// What became of a message of ours. It is not stored: the rows of the message and of its campaign,
/// the event and the client's [`SendOutcome`] all follow from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::domain) enum Settlement {
    /// WhatsApp's server acknowledged it.
    Acknowledged,
    /// It was not sent: WhatsApp refused it, or it could not be written, or it was too old to be.
    Refused {
        /// Which failure it was.
        code: Code,
        /// A sentence about it.
        why: String,
    },
    /// WhatsApp refused it because the account sends too much: that says nothing about this message.
    RateLimited {
        /// A sentence about it.
        why: String,
    },
    /// Nobody knows whether it arrived: no answer came in time.
    Unacknowledged {
        /// Whether the connection held all that time: WhatsApp took it, and said nothing.
        connection_held: bool,
    },
    /// Nobody knows whether it arrived: the session was logged out before an answer came.
    LoggedOut,
    /// A receipt came for it.
    Received {
        /// How far it has come.
        progress: MessageState,
        /// Who received or read it.
        by: Jid,
        /// When, by WhatsApp's clock.
        at: Timestamp,
    },
}

impl Settlement {
    /// WhatsApp's refusal by its code, in words; users ask about 463 most.
    pub(super) fn of_code(code: &str) -> Self {
        let words = match code {
            "463" => "the account may not write to new contacts for now",
            TOO_MANY => "too many messages; wait before sending more",
            "479" => "the message, or whom it is for, has a form that WhatsApp does not take",
            "401" | "403" => "the account may not send this",
            "404" => "the recipient does not exist",
            _ => "WhatsApp refused the message",
        };
        let why = format!("{words} (code {code})");
        match code {
            TOO_MANY => Self::RateLimited { why },
            _ => Self::Refused {
                code: Code::MessageRefused,
                why,
            },
        }
    }

    /// A message that could not be written.
    pub(super) fn of_error(error: &Error) -> Self {
        Self::Refused {
            code: error.code(),
            why: error.detail().to_owned(),
        }
    }

    /// How far the message has come by it.
    pub(super) fn progress(&self) -> MessageState {
        match self {
            Self::Acknowledged => MessageState::Sent,
            Self::Received { progress, .. } => *progress,
            _ => MessageState::Failed,
        }
    }

    /// Whether nobody knows if it arrived.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self, Self::Unacknowledged { .. } | Self::LoggedOut)
    }

    /// Why the message was not sent; `None` when it was.
    pub(super) fn failure(&self, id: &MessageId) -> Option<(Code, String)> {
        match self {
            Self::Acknowledged | Self::Received { .. } => None,
            Self::Refused { code, why } => Some((*code, why.clone())),
            Self::RateLimited { why } => Some((Code::AccountRateLimited, why.clone())),
            Self::Unacknowledged { .. } => Some((
                Code::MessageUnacknowledged,
                format!("WhatsApp did not acknowledge message {id} in time; it may still arrive"),
            )),
            Self::LoggedOut => Some((
                Code::SessionLoggedOut,
                Code::SessionLoggedOut.text().to_owned(),
            )),
        }
    }
}

/// What a client is told of one message. Stored with its idempotency key for a day: a field that is
/// added must be an `Option` or have a default, or no key that an older version wrote is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendOutcome {
    /// The chat it went to.
    pub to: Jid,
    /// Its id; `None` when it never got one.
    pub id: Option<MessageId>,
    /// Why it was not sent; `None` when WhatsApp acknowledged it.
    pub failure: Option<String>,
    /// What kind of failure that was, when it is known: the code's.
    #[serde(default)]
    pub reason: Option<ErrorKind>,
    /// Which failure that was, when it is known: older versions stored none.
    #[serde(default, deserialize_with = "Code::known")]
    pub code: Option<Code>,
    /// What the client should know although it was sent.
    #[serde(default)]
    pub note: Option<String>,
    /// How long to wait before trying again makes sense. Not stored: what has it is tried again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl SendOutcome {
    /// Of a message that could not even be made.
    pub(super) fn not_composed(to: Jid, error: &Error) -> Self {
        Self {
            to,
            id: None,
            failure: Some(error.detail().to_owned()),
            reason: Some(error.kind()),
            code: Some(error.code()),
            note: None,
            retry_after: error.retry_after(),
        }
    }

    /// Of a message that became this.
    pub(super) fn of(
        settlement: &Settlement,
        to: Jid,
        id: MessageId,
        note: Option<String>,
    ) -> Self {
        let (code, failure) = settlement.failure(&id).unzip();
        Self {
            to,
            id: Some(id),
            failure,
            reason: code.map(Code::kind),
            code,
            note,
            retry_after: None,
        }
    }
}

impl SendOutcome {
    /// Whether the guard held it back, so that it may go when it is asked for again.
    pub(super) fn is_held_back(&self) -> bool {
        self.code == Some(Code::GuardReached)
    }

    /// Why the guard held it back, for a request that asked for nothing else.
    pub fn held_back(&self) -> Option<Error> {
        let why = self.failure.clone().filter(|_| self.is_held_back())?;
        let error = Error::new(Code::GuardReached, why);
        Some(match self.retry_after {
            Some(wait) => error.again_after(wait),
            None => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_tells_the_client_and_the_rows_the_same() {
        let id = MessageId::parse("3EB0AA").expect("an id");
        let to = Jid::parse("6281234567890@s.whatsapp.net").expect("a JID");
        let refused = |code, why: &str| Settlement::Refused {
            code,
            why: why.to_owned(),
        };
        let connection_held = Settlement::Unacknowledged {
            connection_held: true,
        };
        let (failed, too_old) = (MessageState::Failed, "interrupted by a restart");
        for (settlement, progress, told) in [
            (Settlement::Acknowledged, MessageState::Sent, None),
            (
                refused(Code::MessageTooOld, too_old),
                failed,
                Some((Code::MessageTooOld, ErrorKind::Conflict, too_old)),
            ),
            (
                Settlement::of_code("429"),
                failed,
                Some((
                    Code::AccountRateLimited,
                    ErrorKind::Upstream,
                    "too many messages; wait before sending more (code 429)",
                )),
            ),
            (
                connection_held,
                failed,
                Some((
                    Code::MessageUnacknowledged,
                    ErrorKind::UpstreamTimeout,
                    "WhatsApp did not acknowledge message 3EB0AA in time; it may still arrive",
                )),
            ),
            (
                Settlement::LoggedOut,
                failed,
                Some((
                    Code::SessionLoggedOut,
                    ErrorKind::Conflict,
                    "the session was logged out before WhatsApp confirmed the message; it may still arrive",
                )),
            ),
        ] {
            let outcome = SendOutcome::of(&settlement, to.clone(), id.clone(), None);
            assert_eq!(settlement.progress(), progress);
            let outcome_told = outcome.code.zip(outcome.reason);
            assert_eq!(outcome_told, told.map(|(code, kind, _)| (code, kind)));
            assert_eq!(outcome.failure.as_deref(), told.map(|(.., why)| why));
        }
    }

    #[test]
    fn only_one_code_is_about_the_account_and_not_about_the_message() {
        let limited = Settlement::of_code("429");
        assert!(matches!(limited, Settlement::RateLimited { .. }));
        for code in ["463", "479", "401", "403", "404", "500", ""] {
            let refused = Settlement::of_code(code);
            assert!(
                matches!(&refused, Settlement::Refused { code: Code::MessageRefused, why }
                    if why.ends_with(&format!("(code {code})"))),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn an_outcome_of_an_older_version_is_read() {
        let stored = r#"{"to":"6281234567890@s.whatsapp.net","id":"3EB0AA","failure":null}"#;
        let outcome: SendOutcome = serde_json::from_str(stored).expect("an outcome");
        assert_eq!((outcome.reason, outcome.note), (None, None));
        let stored = r#"{"to":"6281234567890@s.whatsapp.net","id":null,"failure":"no","reason":"NotConnected"}"#;
        let outcome: SendOutcome = serde_json::from_str(stored).expect("an outcome");
        assert_eq!(outcome.reason, Some(ErrorKind::NotConnected));
        assert_eq!(outcome.code, None);
    }

    #[test]
    fn an_outcome_comes_back_and_a_code_of_a_newer_version_is_passed_over() {
        let to = Jid::parse("6281234567890@s.whatsapp.net").expect("a JID");
        let outcome = SendOutcome::not_composed(to, &Code::SessionNotConnected.into());
        let stored = serde_json::to_string(&outcome).expect("JSON");
        assert_eq!(
            serde_json::from_str::<SendOutcome>(&stored).expect("an outcome"),
            outcome
        );
        let newer = stored.replace("session_not_connected", "of_tomorrow");
        let read: SendOutcome = serde_json::from_str(&newer).expect("an outcome");
        assert_eq!((read.code, read.reason), (None, outcome.reason));
    }
}
