//! Messages that arrive: stored with their events and deliveries before WhatsApp is told.

use std::sync::Arc;

use super::{MESSAGES, Message, ReceivedFile, chat, poll, reference};
use crate::domain::Gateway;
use crate::domain::event::publish;
use crate::domain::event::{self, ContactOptOut, EventData};
use crate::domain::guard;
use crate::domain::media::received;
use crate::domain::optout::OptOut;
use crate::domain::session::{Session, session_exists};
use crate::domain::suppression;
use crate::error::Result;
use crate::store::{Durability, Tx};
use crate::wa::message::{Incoming, IncomingContent};

impl Gateway {
    /// Stores a batch in one transaction, fsynced.
    ///
    /// Invariant: idempotent by chat, sender and id, since WhatsApp delivers at least once.
    pub(in crate::domain) async fn receive(
        self: &Arc<Self>,
        session: &Arc<Session>,
        batch: Vec<Incoming>,
    ) -> Result<()> {
        let (gateway, session) = (self.clone(), session.clone());
        let write = move |tx: &mut Tx| {
            let (mut newest, mut received) = (None, 0);
            if !session_exists(tx, session.id.as_str(), session.number)? {
                return Ok((received, None));
            }
            for incoming in &batch {
                if incoming.what == IncomingContent::Nothing {
                    continue;
                }
                let sender = (!incoming.from_me).then_some(&incoming.sender);
                let (id, chat) = (incoming.id.clone(), incoming.chat.clone());
                let key = (session.number, id, chat, sender.cloned());
                // A damaged one is written anew, and told once more.
                let there = MESSAGES.readable(tx, &key)?;
                if there.is_some_and(|message| !message.unreadable) {
                    continue;
                }
                let row = Message {
                    chat: incoming.chat.clone(),
                    sender: sender.cloned(),
                    at: incoming.at,
                    text: text_of(&incoming.what),
                    sent: None,
                    progress: None,
                    refusal: None,
                    enclosed: received_file(&incoming.what),
                    unreadable: false,
                    campaign: None,
                };
                newest = opt_out(tx, &gateway, &session, incoming)?.or(newest);
                chat::note_timer(tx, session.number, incoming)?;
                if row.enclosed.is_some() && !incoming.from_me && session.settings().auto_download {
                    received::enqueue(tx, &key, gateway.clock.now())?;
                }
                guard::note_arrived(tx, session.number, incoming)?;
                super::put(tx, &key, &row)?;
                received += u64::from(!incoming.from_me);
                if let Some(data) = event_of(tx, &session, incoming)? {
                    let entry = gateway.event(&session, data);
                    newest = publish::append(tx, session.number, &entry)?.or(newest);
                }
            }
            Ok((received, newest))
        };
        let received = self.record(Durability::Sync, write).await?;
        self.metrics.note_received(received);
        Ok(())
    }
}

fn text_of(what: &IncomingContent) -> Option<String> {
    match what {
        IncomingContent::Text(text) => Some(text.clone()),
        IncomingContent::Edit { body, .. } => Some(body.clone()),
        IncomingContent::Special { text, .. } => text.clone(),
        IncomingContent::Other { caption, .. } => caption.clone(),
        IncomingContent::Media(enclosed) => enclosed.caption.clone(),
        IncomingContent::Poll { question, .. } => Some(question.clone()),
        IncomingContent::Reaction { emoji, .. } => Some(emoji.clone()),
        IncomingContent::Location(place) => place.name.clone(),
        IncomingContent::Contacts(_)
        | IncomingContent::Vote(_)
        | IncomingContent::Revoke { .. }
        | IncomingContent::Nothing => None,
    }
}

/// Heeds the words by which people leave campaigns and come back, in chats with one person.
fn opt_out(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    incoming: &Incoming,
) -> Result<Option<u64>> {
    let (IncomingContent::Text(text), Some(number)) = (&incoming.what, &incoming.person.number)
    else {
        return Ok(None);
    };
    if incoming.from_me || !incoming.chat.is_person() {
        return Ok(None);
    }
    let now = gateway.clock.now();
    let Some(asked) = suppression::apply_opt_out(tx, session, number, text, now)? else {
        return Ok(None);
    };
    let data = EventData::ContactOptOut(ContactOptOut {
        number: number.clone(),
        suppressed: asked == OptOut::Stop,
    });
    let entry = gateway.event(session, data);
    publish::append(tx, session.number, &entry)
}

/// The file of a message, for the time when somebody asks for it.
fn received_file(what: &IncomingContent) -> Option<Box<ReceivedFile>> {
    match what {
        IncomingContent::Media(enclosed)
        | IncomingContent::Special {
            file: Some(enclosed),
            ..
        } => Some(Box::new(ReceivedFile {
            enclosed: (**enclosed).clone(),
            kept: None,
        })),
        _ => None,
    }
}

/// What is told of a message that arrived. A vote is opened for it; what speaks of a message that is
/// not its sender's is told nobody.
fn event_of(tx: &mut Tx, session: &Session, incoming: &Incoming) -> Result<Option<EventData>> {
    if let IncomingContent::Vote(vote) = &incoming.what {
        let vote = poll::take_vote(tx, session, incoming, vote)?;
        return Ok(vote.map(EventData::PollVote));
    }
    if !reference::is_allowed(tx, session, incoming)? {
        tracing::info!(session = %session.id, "a message about one that is not its sender's was left out");
        return Ok(None);
    }
    Ok(event::of_incoming(incoming))
}
