//! A virtual phone: it decrypts what it gets, remembers it, and answers as its user would have it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock};

use serde::{Deserialize, Serialize};
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::libsignal::protocol::{
    PreKeyBundle, SenderKeyRecord, SessionRecord, SignalProtocolError,
};
use whatsapp_rust::wacore::messages::MessageUtils;
use whatsapp_rust::waproto::whatsapp::Message;

use super::chat::Chat;
use super::content::{Act, act};
use super::inbox::{Entry, Inbox, ReceivedMessage, Says};
use super::keys::{PhoneKeys, Seed};
use super::number::{Address, Form, Number};
use super::signal::{self, Owner, Sealed};
use super::stats::{Counters, add};

/// How many of its own messages a phone keeps in case somebody asks for one again.
const KEPT_SENT: usize = 1000;
/// How many passing events a phone remembers.
const KEPT_NOTICES: usize = 200;
/// How often a phone asks for the same message again.
const MOST_RETRIES: u8 = 5;

/// A phone with its lock.
pub(super) struct Phone {
    pub(super) number: Number,
    keys: OnceLock<Box<PhoneKeys>>,
    state: Mutex<PhoneState>,
}

#[derive(Default)]
struct PhoneState {
    profile: Profile,
    sessions: HashMap<Address, Session>,
    /// The keys with which others write to groups.
    sender_keys: HashMap<(Chat, Address), SenderKeyRecord>,
    /// The keys with which this phone writes to groups, and who has them.
    own_sender_keys: HashMap<Chat, OwnSenderKey>,
    inbox: Inbox,
    sent: VecDeque<Sent>,
    /// How many one-time prekeys the server gave away.
    given_prekeys: u32,
    /// What arrived while the phone was off.
    waiting: Vec<Envelope>,
    notices: VecDeque<Notice>,
}

/// A session, packed while it was used only once: a campaign reaches most phones exactly once.
enum Session {
    Packed(Box<[u8]>),
    Live(Box<SessionRecord>),
}

#[derive(Default)]
struct OwnSenderKey {
    record: Option<SenderKeyRecord>,
    known_to: BTreeSet<Address>,
}

/// A message that this phone sent.
pub(super) struct Sent {
    pub(super) id: Box<str>,
    pub(super) chat: Chat,
    pub(super) body: Box<[u8]>,
    pub(super) delivered: bool,
    pub(super) read: bool,
    pub(super) reactions: Vec<(Number, Box<str>)>,
}

/// How a phone's user behaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Whether the number has WhatsApp.
    pub registered: bool,
    /// The name that others see.
    pub name: Option<String>,
    /// Whether the phone is on; while it is off, messages wait.
    pub online: bool,
    /// Which receipts it sends.
    pub receipts: Receipts,
    /// Whether it sends every text back.
    pub echo: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            registered: true,
            name: None,
            online: true,
            receipts: Receipts::Delivered,
            echo: false,
        }
    }
}

/// Which receipts a phone sends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receipts {
    /// None.
    None,
    /// That the message has arrived.
    #[default]
    Delivered,
    /// That it has arrived, and that it was read.
    Read,
}

/// A message on its way to a phone.
#[derive(Clone)]
pub(super) struct Envelope {
    pub(super) id: Box<str>,
    pub(super) from: Address,
    pub(super) chat: Chat,
    /// By which name the sender called this phone.
    pub(super) form: Form,
    /// In seconds.
    pub(super) timestamp: i64,
    /// How often the phone has asked for it before.
    pub(super) retries: u8,
    /// Kind and bytes of each encrypted part.
    pub(super) parts: Vec<(Box<str>, Box<[u8]>)>,
}

/// What follows from a message that arrived.
pub(super) enum Effect {
    /// The phone tells the sender about it.
    Receipt {
        envelope: Heading,
        kind: Option<&'static str>,
    },
    /// The phone asks for the message again.
    Retry { envelope: Heading, count: u8 },
    /// The phone answers with the same text.
    Echo { chat: Chat, text: String },
    /// A companion wants the keys of the account's settings.
    ShareKeys { with: Address },
}

/// What a receipt says about the message.
#[derive(Clone)]
pub(super) struct Heading {
    pub(super) id: Box<str>,
    pub(super) from: Address,
    pub(super) chat: Chat,
    pub(super) form: Form,
    pub(super) timestamp: i64,
}

/// A message to a group: the message, the writer's key, and the members who do not have it yet.
pub(super) type SealedForGroup = (Vec<u8>, Vec<u8>, Vec<Address>);

/// The keys by which a stranger can write to a phone.
pub(super) struct PhoneBundle {
    pub(super) registration_id: u32,
    pub(super) identity: Vec<u8>,
    pub(super) signed: Vec<u8>,
    pub(super) signature: [u8; 64],
    pub(super) one_time: (u32, Vec<u8>),
}

impl Phone {
    pub(super) fn new(number: Number) -> Self {
        Self {
            number,
            keys: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, PhoneState> {
        self.state
            .lock()
            .expect("Invariant: nothing panics under a phone's lock")
    }

    pub(super) fn profile(&self) -> Profile {
        self.lock().profile.clone()
    }

    /// Changes the profile; answers what waited for the phone to be switched on.
    pub(super) fn set_profile(&self, profile: Profile) -> Vec<Envelope> {
        let mut state = self.lock();
        let on = profile.online;
        state.profile = profile;
        if on {
            std::mem::take(&mut state.waiting)
        } else {
            Vec::new()
        }
    }

    pub(super) fn keys(&self, seed: &Seed) -> &PhoneKeys {
        self.keys
            .get_or_init(|| Box::new(PhoneKeys::new(seed, self.number)))
    }

    /// The phone's public keys, with a one-time prekey that nobody else gets.
    pub(super) fn bundle(&self, seed: &Seed) -> PhoneBundle {
        let id = {
            let mut state = self.lock();
            state.given_prekeys = state.given_prekeys % 0x00ff_fffe + 1;
            state.given_prekeys
        };
        let keys = self.keys(seed);
        let one_time = seed.one_time_prekey(self.number, id);
        PhoneBundle {
            registration_id: keys.registration_id,
            identity: keys.identity_public().to_vec(),
            signed: keys.signed_prekey.public_key.public_key_bytes().to_vec(),
            signature: keys.sign(&keys.signed_prekey.public_key.serialize()),
            one_time: (id, one_time.public_key.public_key_bytes().to_vec()),
        }
    }

    pub(super) fn has_session(&self, with: Address) -> bool {
        self.lock().sessions.contains_key(&with)
    }

    /// Encrypts for a device, after starting a session from `bundle` if there is none.
    pub(super) fn seal(
        &self,
        seed: &Seed,
        to: Address,
        plaintext: &[u8],
        bundle: Option<PreKeyBundle>,
    ) -> Result<Sealed, SignalProtocolError> {
        let owner = Owner {
            seed,
            number: self.number,
            keys: self.keys(seed),
        };
        let mut state = self.lock();
        let mut session = state.take_session(to);
        let mut result = Ok(());
        if session.is_none() {
            let bundle = bundle.ok_or(SignalProtocolError::InvalidPreKeyId);
            result = bundle.and_then(|bundle| signal::start(&owner, &mut session, &bundle));
        }
        let sealed = result.and_then(|()| signal::encrypt(&owner, &mut session, plaintext));
        state.put_session(to, session, true);
        sealed
    }

    /// Forgets the session with a device, so that the next message starts a new one.
    pub(super) fn forget_session(&self, with: Address) {
        self.lock().sessions.remove(&with);
    }

    /// Encrypts for a group.
    pub(super) fn seal_for_group(
        &self,
        group: &Chat,
        members: &[Address],
        plaintext: &[u8],
    ) -> Result<SealedForGroup, SignalProtocolError> {
        let mut state = self.lock();
        let own = state.own_sender_keys.entry(group.clone()).or_default();
        if own.known_to.iter().any(|known| !members.contains(known)) {
            // Somebody left, who must not read on.
            *own = OwnSenderKey::default();
        }
        let key = signal::distribution(&mut own.record)?;
        let sealed = signal::encrypt_group(&mut own.record, plaintext)?;
        let news: Vec<_> = members
            .iter()
            .copied()
            .filter(|member| own.known_to.insert(*member))
            .collect();
        Ok((sealed, key, news))
    }

    /// The key with which this phone writes to a group, for a device that lost it.
    pub(super) fn group_key(&self, group: &Chat) -> Option<Vec<u8>> {
        let mut state = self.lock();
        signal::distribution(&mut state.own_sender_keys.get_mut(group)?.record).ok()
    }

    /// Takes a message in.
    pub(super) fn receive(
        &self,
        seed: &Seed,
        counters: &Counters,
        envelope: Envelope,
    ) -> Vec<Effect> {
        let owner = Owner {
            seed,
            number: self.number,
            keys: self.keys(seed),
        };
        let mut state = self.lock();
        if !state.profile.online {
            state.waiting.push(envelope);
            return Vec::new();
        }
        state.receive(&owner, counters, envelope)
    }

    /// What the phone received from others, in order of arrival.
    pub(super) fn received(&self) -> Vec<ReceivedMessage> {
        let state = self.lock();
        state
            .inbox
            .entries()
            .iter()
            .filter(|entry| !entry.own)
            .map(Entry::view)
            .collect()
    }

    /// What other devices of the same account sent.
    pub(super) fn copies(&self) -> Vec<ReceivedMessage> {
        let state = self.lock();
        state
            .inbox
            .entries()
            .iter()
            .filter(|entry| entry.own)
            .map(Entry::view)
            .collect()
    }

    /// Where a received message came from: who wrote it and in which chat.
    pub(super) fn origin(&self, id: &str) -> Option<(Address, Chat)> {
        let state = self.lock();
        state
            .inbox
            .find_anywhere(id)
            .map(|entry| (entry.from, entry.chat.clone()))
    }

    /// Keeps a message in case a receiver asks for it once more.
    pub(super) fn remember_sent(&self, id: &str, chat: &Chat, message: &Message) {
        let mut state = self.lock();
        if state.sent.len() == KEPT_SENT {
            state.sent.pop_front();
        }
        state.sent.push_back(Sent {
            id: id.into(),
            chat: chat.clone(),
            body: message.encode_to_vec().into(),
            delivered: false,
            read: false,
            reactions: Vec::new(),
        });
    }

    /// The author and body of a message in a chat, for an answer that quotes it.
    pub(super) fn quotable(&self, chat: &Chat, id: &str) -> Option<(Number, Box<[u8]>)> {
        let state = self.lock();
        if let Some(entry) = state.inbox.find(chat, id)
            && let Says::Message(body) = &entry.says
        {
            return Some((entry.from.number, body.clone()));
        }
        let sent = state.sent.iter().rev().find(|sent| *sent.id == *id)?;
        Some((self.number, sent.body.clone()))
    }

    pub(super) fn note_typing(&self, from: Number, state: &str) {
        self.notice(from, "typing", state.to_owned(), None);
    }

    pub(super) fn note_call(&self, from: Number, call: &str, what: &str) {
        self.notice(from, "call", what.to_owned(), Some(call.to_owned()));
    }

    fn notice(&self, from: Number, kind: &'static str, what: String, id: Option<String>) {
        let mut state = self.lock();
        if state.notices.len() == KEPT_NOTICES {
            state.notices.pop_front();
        }
        state.notices.push_back(Notice {
            kind,
            from: from.to_string(),
            what,
            id,
        });
    }

    /// What passed by lately: who typed, who called or hung up.
    pub(super) fn notices(&self) -> Vec<Notice> {
        self.lock().notices.iter().cloned().collect()
    }

    /// Looks at one of the phone's own messages.
    pub(super) fn with_sent<T>(&self, id: &str, look: impl FnOnce(&mut Sent) -> T) -> Option<T> {
        self.lock()
            .sent
            .iter_mut()
            .rev()
            .find(|sent| *sent.id == *id)
            .map(look)
    }

    /// The phone's own messages, oldest first.
    pub(super) fn sent(&self) -> Vec<SentMessage> {
        let state = self.lock();
        state
            .sent
            .iter()
            .map(|sent| SentMessage {
                id: sent.id.to_string(),
                chat: sent.chat.to_string(),
                delivered: sent.delivered,
                read: sent.read,
                reactions: sent
                    .reactions
                    .iter()
                    .map(|(from, sign)| super::inbox::Reaction {
                        from: from.to_string(),
                        text: sign.to_string(),
                    })
                    .collect(),
            })
            .collect()
    }
}

/// Something that passes by and is not a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// `typing` or `call`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Who it was.
    pub from: String,
    /// `composing`, `recording`, `paused`; `offer`, `accept`, `reject`, `terminate`, ...
    pub what: String,
    /// The id of the call.
    pub id: Option<String>,
}

/// One of a phone's own messages, as the control API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct SentMessage {
    /// Its id.
    pub id: String,
    /// Where it was sent.
    pub chat: String,
    /// Whether a receiver has it.
    pub delivered: bool,
    /// Whether a receiver has read it.
    pub read: bool,
    /// The signs that people put on it.
    pub reactions: Vec<super::inbox::Reaction>,
}

impl PhoneState {
    fn take_session(&mut self, with: Address) -> Option<SessionRecord> {
        match self.sessions.remove(&with)? {
            Session::Live(record) => Some(*record),
            // Invariant: what was packed can be unpacked.
            Session::Packed(bytes) => SessionRecord::deserialize(&bytes).ok(),
        }
    }

    fn put_session(&mut self, with: Address, session: Option<SessionRecord>, often: bool) {
        let Some(record) = session else { return };
        let session = match record.serialize() {
            Ok(bytes) if !often => Session::Packed(bytes.into()),
            _ => Session::Live(Box::new(record)),
        };
        self.sessions.insert(with, session);
    }

    fn receive(
        &mut self,
        owner: &Owner<'_>,
        counters: &Counters,
        envelope: Envelope,
    ) -> Vec<Effect> {
        let heading = Heading {
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
        for (kind, bytes) in &envelope.parts {
            match self.open(owner, &envelope, kind, bytes) {
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
        kind: &str,
        bytes: &[u8],
    ) -> Result<Message, SignalProtocolError> {
        let padded = if kind == "skmsg" {
            let key = (envelope.chat.clone(), envelope.from);
            let mut record = self.sender_keys.remove(&key);
            let opened = signal::decrypt_group(&mut record, bytes);
            if let Some(record) = record {
                self.sender_keys.insert(key, record);
            }
            opened?
        } else {
            let fresh = !self.sessions.contains_key(&envelope.from);
            let mut session = self.take_session(envelope.from);
            let opened = signal::decrypt(owner, &mut session, kind, bytes);
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
        heading: &Heading,
        message: &Message,
        counters: &Counters,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if let Some(copy) = message.device_sent_message.as_option() {
            let chat = copy.destination_jid.as_deref().and_then(Chat::parse);
            let (Some(chat), Some(message)) = (chat, copy.message.as_option()) else {
                return true;
            };
            let heading = Heading {
                chat,
                ..heading.clone()
            };
            self.learn_sender_key(&heading, message);
            return self.note(&heading, message, true, effects);
        }
        self.learn_sender_key(heading, message);
        let own = heading.from.number == me;
        if self.note(heading, message, own, effects) {
            if !own && !matches!(act(message), Act::Nothing | Act::AskKeys) {
                add(&counters.decrypted);
            }
            return true;
        }
        false
    }

    fn learn_sender_key(&mut self, heading: &Heading, message: &Message) {
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
            if let Some(record) = record {
                self.sender_keys.insert(place, record);
            }
        }
    }

    fn note(
        &mut self,
        heading: &Heading,
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
                    && let Some(text) = super::content::describe(said).text
                {
                    effects.push(Effect::Echo {
                        chat: heading.chat.clone(),
                        text,
                    });
                }
                Says::Message(message.encode_to_vec().into())
            }
            Act::Edit { id, message } => match self.inbox.find_mut(&heading.chat, id) {
                Some(entry) if entry.from.number == heading.from.number => {
                    entry.says = Says::Message(message.encode_to_vec().into());
                    entry.edited = true;
                    return true;
                }
                _ => Says::Stray {
                    kind: "edit",
                    id: id.into(),
                },
            },
            Act::Revoke { id } => match self.inbox.find_mut(&heading.chat, id) {
                Some(entry) => {
                    entry.revoked = true;
                    return true;
                }
                None => Says::Stray {
                    kind: "revoke",
                    id: id.into(),
                },
            },
            Act::React { id, sign } => {
                let who = heading.from.number;
                if let Some(entry) = self.inbox.find_mut(&heading.chat, id) {
                    entry.react(who, sign);
                } else if let Some(sent) = self.sent.iter_mut().find(|sent| *sent.id == *id) {
                    sent.reactions.retain(|(from, _)| *from != who);
                    if !sign.is_empty() {
                        sent.reactions.push((who, sign.into()));
                    }
                }
                Says::Reaction {
                    id: id.into(),
                    sign: sign.into(),
                }
            }
            Act::Nothing | Act::AskKeys => return true,
        };
        self.inbox.push(Entry {
            id: heading.id.clone(),
            from: heading.from,
            chat: heading.chat.clone(),
            timestamp: heading.timestamp,
            own,
            says,
            edited: false,
            revoked: false,
            reactions: Vec::new(),
        });
        true
    }
}
