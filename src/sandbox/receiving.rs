//! How a phone takes a message in: decrypt, drop what was here before, remember, answer.

use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::libsignal::protocol::{SenderKeyRecord, SignalProtocolError};
use whatsapp_rust::wacore::messages::MessageUtils;
use whatsapp_rust::waproto::whatsapp::Message;

use super::attachments::pointer;
use super::chat::Chat;
use super::content::{Act, act, describe};
use super::envelope::{Effect, EncryptedPart, Envelope, ReceiptHeading};
use super::inbox::{EntryContent, InboxEntry, OrphanAction, Votes};
use super::journal::JournalKey;
use super::number::{DeviceAddress, Number};
use super::phone::PhoneState;
use super::profile::Receipts;
use super::signal::{self, Owner};
use super::stats::{NetworkCounters, add};

/// How often a phone asks for the same message again.
const MOST_RETRIES: u8 = 5;

impl PhoneState {
    /// Takes a message in; answers what follows from it.
    pub(super) fn receive(
        &mut self,
        owner: &Owner<'_>,
        counters: &NetworkCounters,
        envelope: Envelope,
    ) -> Vec<Effect> {
        let heading = ReceiptHeading {
            id: envelope.id.clone(),
            from: envelope.from,
            chat: envelope.chat.clone(),
            form: envelope.form,
            timestamp: envelope.timestamp,
        };
        let mut effects = Vec::new();
        let mut failed = false;
        let mut opened = false;
        let mut duplicate = false;
        for part in &envelope.parts {
            match self.open(owner, &envelope, part) {
                Ok(message) => {
                    opened = true;
                    duplicate |=
                        !self.apply(owner.number, &heading, &message, counters, &mut effects);
                }
                Err(SignalProtocolError::DuplicatedMessage(..))
                    if self
                        .inbox
                        .has(&heading.chat, heading.from.number, &heading.id) =>
                {
                    opened = true;
                    duplicate = true;
                }
                Err(_) => failed = true,
            }
        }
        if duplicate && heading.from.number != owner.number {
            add(&counters.duplicates);
        }
        if failed {
            add(&counters.undecryptable);
            if envelope.retries < MOST_RETRIES {
                let count = envelope.retries + 1;
                effects.push(Effect::Retry {
                    envelope: heading,
                    count,
                });
            }
        } else if opened && heading.from.number != owner.number {
            match self.profile.receipts {
                Receipts::None => {}
                Receipts::Delivered => {
                    effects.insert(
                        0,
                        Effect::Receipt {
                            envelope: heading,
                            kind: None,
                        },
                    );
                }
                Receipts::Read => {
                    let read = Effect::Receipt {
                        envelope: heading.clone(),
                        kind: Some("read"),
                    };
                    effects.insert(0, read);
                    effects.insert(
                        0,
                        Effect::Receipt {
                            envelope: heading,
                            kind: None,
                        },
                    );
                }
            }
        }
        effects
    }

    fn open(
        &mut self,
        owner: &Owner<'_>,
        envelope: &Envelope,
        part: &EncryptedPart,
    ) -> Result<Message, SignalProtocolError> {
        let padded = if &*part.kind == "skmsg" {
            let key = (envelope.chat.clone(), envelope.from);
            let mut record = self.sender_keys.remove(&key);
            let opened = signal::decrypt_group(&mut record, &part.bytes);
            self.put_sender_key(key, record);
            opened?
        } else {
            let fresh = !self.sessions.contains_key(&envelope.from);
            let mut session = self.take_session(envelope.from);
            let opened = signal::decrypt(owner, &mut session, &part.kind, &part.bytes);
            self.put_session(envelope.from, session, !fresh);
            opened?
        };
        let plain = MessageUtils::unpad_message_ref(&padded, 2)
            .map_err(|_| SignalProtocolError::InvalidProtobufEncoding)?;
        Message::decode_from_slice(plain).map_err(|_| SignalProtocolError::InvalidProtobufEncoding)
    }

    /// Does what a message says; `false` if it was here before.
    fn apply(
        &mut self,
        me: Number,
        heading: &ReceiptHeading,
        message: &Message,
        counters: &NetworkCounters,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let copied = message;
        if let Some(copy) = message.device_sent_message.as_option() {
            let chat = copy.destination_jid.as_deref().and_then(Chat::parse);
            let (Some(chat), Some(message)) = (chat, copy.message.as_option()) else {
                return true;
            };
            let heading = ReceiptHeading {
                chat,
                ..heading.clone()
            };
            self.learn_sender_key(&heading, message);
            // What belongs to the message may stand beside the wrapper.
            let mut message = message.clone();
            if !message.message_context_info.is_set() {
                message.message_context_info = copied.message_context_info.clone();
            }
            return self.note(&heading, &message, true, effects);
        }
        self.learn_sender_key(heading, message);
        let own = heading.from.number == me;
        if self.note(heading, message, own, effects) {
            if !own && !matches!(act(message), Act::Nothing | Act::AskKeys | Act::AskPast(_)) {
                add(&counters.decrypted);
            }
            return true;
        }
        false
    }

    fn learn_sender_key(&mut self, heading: &ReceiptHeading, message: &Message) {
        let Some(distribution) = message.sender_key_distribution_message.as_option() else {
            return;
        };
        let group = distribution.group_id.as_deref().and_then(Chat::parse);
        let key = distribution
            .axolotl_sender_key_distribution_message
            .as_deref();
        if let (Some(group), Some(bytes)) = (group, key) {
            let place = (group, heading.from);
            let mut record = self.sender_keys.remove(&place);
            // A key that cannot be read shows itself when the message cannot be read.
            let _ = signal::learn_sender_key(&mut record, bytes);
            self.put_sender_key(place, record);
        }
    }

    fn put_sender_key(&mut self, place: (Chat, DeviceAddress), record: Option<SenderKeyRecord>) {
        if let Some(record) = record {
            let (group, of) = place.clone();
            self.changes
                .touch(|| JournalKey::GroupSecret(self.number, group, of));
            self.sender_keys.insert(place, record);
        }
    }

    /// Notes that a message that is here has changed.
    pub(super) fn touch_message(&self, chat: &Chat, id: &str) {
        if let Some(place) = self.inbox.place_of(chat, id) {
            self.changes
                .touch(|| JournalKey::Message(self.number, place));
        }
    }

    fn note(
        &mut self,
        heading: &ReceiptHeading,
        message: &Message,
        own: bool,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let what = act(message);
        match what {
            Act::Nothing => return true,
            Act::AskKeys => {
                effects.push(Effect::ShareKeys { with: heading.from });
                return true;
            }
            Act::AskPast(what) => {
                // Nobody else is shown anything.
                if heading.from.number == self.number {
                    effects.push(Effect::Recall {
                        with: heading.from,
                        asked: heading.id.clone(),
                        what: Box::new(what.clone()),
                    });
                }
                return true;
            }
            _ => {}
        }
        if self
            .inbox
            .has(&heading.chat, heading.from.number, &heading.id)
        {
            return false;
        }
        let says = match what {
            Act::Say(said) => {
                if self.profile.echo
                    && !own
                    && heading.from.device != 0
                    && let Some(text) = describe(said).text
                {
                    effects.push(Effect::Echo {
                        chat: heading.chat.clone(),
                        text,
                    });
                }
                EntryContent::Message(message.encode_to_vec().into())
            }
            Act::Edit { id, message } => match self.inbox.find_mut(&heading.chat, id) {
                Some(entry) if entry.from.number == heading.from.number => {
                    entry.says = EntryContent::Message(message.encode_to_vec().into());
                    entry.edited = true;
                    self.touch_message(&heading.chat, id);
                    return true;
                }
                _ => EntryContent::Stray {
                    kind: OrphanAction::Edit,
                    id: id.into(),
                },
            },
            Act::Revoke { id } => match self.inbox.find_mut(&heading.chat, id) {
                Some(entry) => {
                    entry.revoked = true;
                    self.touch_message(&heading.chat, id);
                    return true;
                }
                None => EntryContent::Stray {
                    kind: OrphanAction::Revoke,
                    id: id.into(),
                },
            },
            Act::Vote { id, vote } => {
                self.note_vote(&heading.chat, heading.from.number, id, vote);
                EntryContent::Message(message.encode_to_vec().into())
            }
            Act::React { id, sign } => {
                let who = heading.from.number;
                if let Some(entry) = self.inbox.find_mut(&heading.chat, id) {
                    entry.react(who, sign);
                    self.touch_message(&heading.chat, id);
                } else if let Some(sent) = self.sent.iter_mut().find(|sent| *sent.id == *id) {
                    sent.reactions.retain(|(from, _)| *from != who);
                    if !sign.is_empty() {
                        sent.reactions.push((who, sign.into()));
                    }
                    let place = sent.place;
                    self.changes.touch(|| JournalKey::Sent(self.number, place));
                }
                EntryContent::Reaction {
                    id: id.into(),
                    sign: sign.into(),
                }
            }
            Act::Nothing | Act::AskKeys | Act::AskPast(_) => return true,
        };
        let place = self.inbox.push(InboxEntry {
            id: heading.id.clone(),
            from: heading.from,
            chat: heading.chat.clone(),
            timestamp: heading.timestamp,
            own,
            says,
            edited: false,
            revoked: false,
            reactions: Vec::new(),
            fetched: false,
            votes: Votes::default(),
        });
        if pointer(message).is_some() {
            effects.push(Effect::Fetch {
                chat: heading.chat.clone(),
                id: heading.id.clone(),
            });
        }
        self.changes
            .touch(|| JournalKey::Message(self.number, place));
        true
    }
}
