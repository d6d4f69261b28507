//! What a message says about an earlier one: whether it is its sender's to say.
//!
//! Whoever writes to us names the message that he edits, takes back or reacts to, and may name any. What
//! is known of that message decides: a reaction is to a message of the same chat, an edit is of its own
//! author, a revoke too, or in a group of whom it names as the author: groups let their admins do that,
//! and WhatsApp's server, not we, knows who is one. Of a message that we do not know (it came before
//! the session was paired, or is not here yet) nothing can be compared, and nothing of ours is at stake.

use super::MESSAGES;
use crate::domain::session::Session;
use crate::error::Result;
use crate::ids::MessageId;
use crate::jid::{Jid, JidServer};
use crate::store::{Read, unless_damaged};
use crate::wa::backend;
use crate::wa::message::{Incoming, IncomingContent};

/// Who may say this of a message.
enum AllowedSender<'a> {
    Anybodys,
    Its,
    /// An admin's who names the author.
    Admins(&'a Jid),
}

/// Whether what the message says of an earlier one, if it says anything, is to be believed.
pub(super) fn is_allowed(read: &impl Read, session: &Session, incoming: &Incoming) -> Result<bool> {
    let (target, whose) = match &incoming.what {
        IncomingContent::Reaction { target, .. } => (target, AllowedSender::Anybodys),
        IncomingContent::Edit { target, .. } => (target, AllowedSender::Its),
        IncomingContent::Revoke {
            target,
            author: None,
        } => (target, AllowedSender::Its),
        IncomingContent::Revoke {
            target,
            author: Some(author),
        } => (target, AllowedSender::Admins(author)),
        _ => return Ok(true),
    };
    if matches!(whose, AllowedSender::Admins(_)) && !incoming.chat.is_group() {
        return Ok(false);
    }
    let known = named(read, session, target)?;
    for (chat, author) in &known {
        let heeded = is_chat_of(chat, incoming)
            && match (&whose, author) {
                (AllowedSender::Anybodys, _) => true,
                (AllowedSender::Its, Some(author)) => is_sender_of(author, incoming),
                (AllowedSender::Its, None) => incoming.from_me,
                (AllowedSender::Admins(named), Some(author)) => {
                    is_same(read, session, author, named)?
                }
                (AllowedSender::Admins(named), None) => is_own(named, session),
            };
        if heeded {
            return Ok(true);
        }
    }
    Ok(known.is_empty())
}

/// Chat and author of every message of the session with this id.
fn named(read: &impl Read, session: &Session, id: &MessageId) -> Result<Vec<(Jid, Option<Jid>)>> {
    // Their keys say it: what is damaged in a message does not matter here.
    MESSAGES.rows((session.number, id)).keys(read, usize::MAX)
}

/// Whether two names are one person's: groups name their members by LID, we by number where it is known.
fn is_same(read: &impl Read, session: &Session, one: &Jid, other: &Jid) -> Result<bool> {
    let (one, other) = (
        known_as(read, session, one)?,
        known_as(read, session, other)?,
    );
    Ok(one == other)
}

/// The person by number, where that is known.
fn known_as(read: &impl Read, session: &Session, person: &Jid) -> Result<Jid> {
    if person.server() != JidServer::Lid {
        return Ok(person.clone());
    }
    let number = backend::number_of(read, session.number.0, person.user_part());
    let number = unless_damaged(number)?.flatten();
    let number = number.as_deref().and_then(Jid::of_number);
    Ok(number.unwrap_or_else(|| person.clone()))
}

/// Whether this is the chat that the message came in; a person's chat has two names.
fn is_chat_of(chat: &Jid, incoming: &Incoming) -> bool {
    *chat == incoming.chat || !incoming.chat.is_group() && is_sender_of(chat, incoming)
}

fn is_sender_of(person: &Jid, incoming: &Incoming) -> bool {
    let number = incoming.person.number.as_deref().and_then(Jid::of_number);
    *person == incoming.sender
        || number.as_ref() == Some(person)
        || incoming.person.lid.as_ref() == Some(person)
}

/// Whether the person is the account itself.
pub(super) fn is_own(person: &Jid, session: &Session) -> bool {
    let status = session.status();
    let number = status.number.as_deref().and_then(Jid::of_number);
    number.as_ref() == Some(person) || status.lid.as_ref() == Some(person)
}
