//! Votes: encrypted under a secret that the poll itself carries.

use std::sync::Arc;

use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::poll::{
    PollVoteCiphertext, compute_option_hash, decrypt_poll_vote_with_secret,
    encrypt_poll_vote_with_secret,
};
use whatsapp_rust::waproto::whatsapp::Message;
use whatsapp_rust::waproto::whatsapp::message::{PollEncValue, PollUpdateMessage};

use super::chat::Chat;
use super::content::{poll_of, unwrapped};
use super::inbox::{EntryContent, Votes};
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Form, Number};
use super::phone::PhoneState;
use crate::error::{Error, Result};

/// A poll as a voter knows it.
struct Poll {
    id: Box<str>,
    creator: Number,
    secret: Vec<u8>,
    options: Vec<String>,
    selectable: u32,
}

impl Poll {
    fn read(id: &str, creator: Number, body: &[u8]) -> Option<Self> {
        let message = Message::decode_from_slice(body).ok()?;
        let inner = unwrapped(&message);
        let poll = poll_of(inner)?;
        let secret = [&message, inner].into_iter().find_map(|message| {
            let context = message.message_context_info.as_option()?;
            context.message_secret.clone()
        })?;
        let options = poll.options.iter();
        Some(Self {
            id: id.into(),
            creator,
            secret,
            options: options.filter_map(|o| o.option_name.clone()).collect(),
            selectable: poll.selectable_options_count.unwrap_or(0),
        })
    }

    /// What somebody chose; creator and voter are called by the same kind of name.
    fn open(&self, voter: Number, vote: &PollUpdateMessage) -> Option<Vec<String>> {
        let sealed = vote.vote.as_option()?;
        let (enc_payload, enc_iv) = (sealed.enc_payload.as_deref()?, sealed.enc_iv.as_deref()?);
        let sealed = PollVoteCiphertext {
            enc_payload,
            enc_iv,
        };
        let name = |number, form| DeviceAddress::phone(number).jid(form).to_string();
        let chosen = [Form::Pn, Form::Lid].into_iter().find_map(|form| {
            let (creator, voter) = (name(self.creator, form), name(voter, form));
            decrypt_poll_vote_with_secret(sealed, &self.secret, &self.id, &creator, &voter).ok()
        })?;
        let options = self.options.iter();
        let chosen = options.filter(|option| {
            let hash = compute_option_hash(option);
            chosen.iter().any(|one| one[..] == hash)
        });
        Some(chosen.cloned().collect())
    }

    fn seal(&self, voter: Number, chosen: &[String], form: Form) -> Result<PollEncValue> {
        let hashes: Vec<_> = chosen
            .iter()
            .map(|option| compute_option_hash(option).to_vec())
            .collect();
        let name = |number| DeviceAddress::phone(number).jid(form).to_string();
        let (creator, voter) = (name(self.creator), name(voter));
        let sealed =
            encrypt_poll_vote_with_secret(&hashes, &self.secret, &self.id, &creator, &voter);
        let (payload, iv) = sealed.map_err(|error| Error::internal(error.to_string()))?;
        Ok(PollEncValue {
            enc_payload: Some(payload),
            enc_iv: Some(iv.to_vec()),
        })
    }
}

impl PhoneState {
    /// The poll with this id, and where its votes are kept.
    fn poll(&mut self, chat: &Chat, id: &str) -> Option<(Poll, &mut Votes, JournalKey)> {
        let me = self.number;
        if let Some(place) = self.inbox.place_of(chat, id) {
            let entry = self.inbox.find_mut(chat, id)?;
            let EntryContent::Message(body) = &entry.says else {
                return None;
            };
            let poll = Poll::read(id, entry.from.number, body)?;
            return Some((poll, &mut entry.votes, JournalKey::Message(me, place)));
        }
        let mut sent = self.sent.iter_mut().rev();
        let sent = sent.find(|sent| *sent.id == *id && sent.chat == *chat)?;
        let poll = Poll::read(id, me, &sent.body)?;
        Some((poll, &mut sent.votes, JournalKey::Sent(me, sent.place)))
    }

    /// Notes what somebody chose, in place of what he chose before.
    pub(super) fn note_vote(
        &mut self,
        chat: &Chat,
        voter: Number,
        id: &str,
        vote: &PollUpdateMessage,
    ) {
        let Some((poll, votes, key)) = self.poll(chat, id) else {
            return;
        };
        // A vote that cannot be opened counts for nothing, as on a real phone.
        let Some(chosen) = poll.open(voter, vote) else {
            return;
        };
        votes.insert(voter, chosen);
        self.changes.touch(|| key);
    }
}

impl Network {
    /// The user of a phone votes in a poll that the phone received or sent; a later vote replaces
    /// an earlier one, and one without options takes it back. Answers the vote's id.
    pub fn vote(self: &Arc<Self>, phone: &str, id: &str, chosen: &[String]) -> Result<String> {
        let number = self.number(phone)?;
        let (key, chat) = self.key_of(number, id)?;
        let missing = || Error::not_found("the phone has no such poll");
        let phone = self.directory.known_phone(number).ok_or_else(missing)?;
        let poll = phone.lock().poll(&chat, id).ok_or_else(missing)?.0;
        if let Some(strange) = chosen.iter().find(|one| !poll.options.contains(one)) {
            return Err(Error::invalid(format!(
                "the poll has no option {strange:?}"
            )));
        }
        if poll.selectable > 0 && chosen.len() > poll.selectable as usize {
            return Err(Error::invalid("the poll allows fewer options at once"));
        }
        let update = PollUpdateMessage {
            poll_creation_message_key: MessageField::some(key),
            vote: MessageField::some(poll.seal(number, chosen, self.form)?),
            sender_timestamp_ms: Some(self.now().as_ms()),
            ..Default::default()
        };
        phone.lock().note_vote(&chat, number, id, &update);
        let message = Message {
            poll_update_message: MessageField::some(update),
            ..Default::default()
        };
        self.send_from_phone(number, &chat, message, None)
    }
}
