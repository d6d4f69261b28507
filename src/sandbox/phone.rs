//! A virtual phone: it decrypts what it gets, remembers it, and answers as its user would have it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use serde::{Deserialize, Serialize};
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::libsignal::protocol::{
    PreKeyBundle, SenderKeyRecord, SessionRecord, SignalProtocolError,
};
use whatsapp_rust::waproto::whatsapp::Message;

use super::chat::Chat;
use super::content::{Act, act, unwrapped};
use super::envelope::{Effect, Envelope};
use super::history::HistoryMessage;
use super::inbox::{EntryContent, PhoneInbox, Reaction, ReceivedMessage, Votes};
use super::journal::{JournalChanges, JournalKey};
use super::keys::{PhoneKeys, Seed};
use super::message_details::{PollView, poll_view};
use super::number::{DeviceAddress, Number};
use super::profile::Profile;
use super::reupload::ReuploadRequest;
use super::signal::{self, Owner, Sealed};
use super::stats::NetworkCounters;

/// How many of its own messages a phone keeps in case somebody asks for one again.
const KEPT_SENT: usize = 1000;
/// How many passing events a phone remembers.
const KEPT_NOTICES: usize = 200;

/// A phone with its lock.
pub(super) struct Phone {
    pub(super) number: Number,
    keys: OnceLock<Box<PhoneKeys>>,
    state: Mutex<PhoneState>,
}

/// What a phone's lock protects.
pub(super) struct PhoneState {
    pub(super) number: Number,
    pub(super) changes: Arc<JournalChanges>,
    pub(super) profile: Profile,
    pub(super) sessions: HashMap<DeviceAddress, PackedSession>,
    /// The keys with which others write to groups.
    pub(super) sender_keys: HashMap<(Chat, DeviceAddress), SenderKeyRecord>,
    /// The keys with which this phone writes to groups, and who has them.
    pub(super) own_sender_keys: HashMap<Chat, OwnSenderKey>,
    pub(super) inbox: PhoneInbox,
    pub(super) sent: VecDeque<SentRecord>,
    /// How many one-time prekeys the server gave away.
    pub(super) given_prekeys: u32,
    /// What arrived while the phone was off, by its place.
    pub(super) waiting: BTreeMap<u64, Envelope>,
    /// Questions for files that came while the phone was off.
    pub(super) wanted: Vec<ReuploadRequest>,
    notices: VecDeque<Notice>,
}

/// A session, packed while it was used only once: a campaign reaches most phones exactly once.
pub(super) enum PackedSession {
    Packed(Box<[u8]>),
    Live(Box<SessionRecord>),
}

#[derive(Default)]
pub(super) struct OwnSenderKey {
    pub(super) record: Option<SenderKeyRecord>,
    pub(super) known_to: BTreeSet<DeviceAddress>,
}

/// A message that this phone sent.
#[derive(Serialize, Deserialize)]
pub(super) struct SentRecord {
    /// Counts the phone's messages.
    pub(super) place: u64,
    pub(super) id: Box<str>,
    pub(super) chat: Chat,
    /// In seconds.
    #[serde(default)]
    pub(super) at: i64,
    #[serde(with = "super::base64::text")]
    pub(super) body: Box<[u8]>,
    pub(super) delivered: bool,
    pub(super) read: bool,
    pub(super) reactions: Vec<(Number, Box<str>)>,
    /// Who wants what, if this is a poll.
    #[serde(default)]
    pub(super) votes: Votes,
}

/// A message to a group: the message, the writer's key, and the members who do not have it yet.
pub(super) type SealedForGroup = (Vec<u8>, Vec<u8>, Vec<DeviceAddress>);

/// The keys by which a stranger can write to a phone.
pub(super) struct PhoneBundle {
    pub(super) registration_id: u32,
    pub(super) identity: Vec<u8>,
    pub(super) signed: Vec<u8>,
    pub(super) signature: [u8; 64],
    pub(super) one_time: (u32, Vec<u8>),
}

impl Phone {
    pub(super) fn new(number: Number, changes: Arc<JournalChanges>) -> Self {
        let state = PhoneState {
            number,
            changes,
            profile: Profile::default(),
            sessions: HashMap::new(),
            sender_keys: HashMap::new(),
            own_sender_keys: HashMap::new(),
            inbox: PhoneInbox::default(),
            sent: VecDeque::new(),
            given_prekeys: 0,
            waiting: BTreeMap::new(),
            wanted: Vec::new(),
            notices: VecDeque::new(),
        };
        Self {
            number,
            keys: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, PhoneState> {
        self.state
            .lock()
            .expect("Invariant: nothing panics under a phone's lock")
    }

    pub(super) fn profile(&self) -> Profile {
        self.lock().profile.clone()
    }

    /// Changes the profile; answers what waited for the phone to be switched on.
    pub(super) fn set_profile(&self, profile: Profile) -> (Vec<Envelope>, Vec<ReuploadRequest>) {
        let mut state = self.lock();
        let on = profile.online;
        state.profile = profile;
        state.changes.touch(|| JournalKey::Phone(self.number));
        if on {
            let waiting = std::mem::take(&mut state.waiting);
            for place in waiting.keys() {
                state
                    .changes
                    .touch(|| JournalKey::Held(self.number, *place));
            }
            let wanted = std::mem::take(&mut state.wanted);
            (waiting.into_values().collect(), wanted)
        } else {
            (Vec::new(), Vec::new())
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
            state.changes.touch(|| JournalKey::Phone(self.number));
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

    pub(super) fn has_session(&self, with: DeviceAddress) -> bool {
        self.lock().sessions.contains_key(&with)
    }

    /// Encrypts for a device, after starting a session from `bundle` if there is none.
    pub(super) fn seal(
        &self,
        seed: &Seed,
        to: DeviceAddress,
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
        let often = session.is_some();
        if session.is_none() {
            let bundle = bundle.ok_or(SignalProtocolError::InvalidPreKeyId);
            result = bundle.and_then(|bundle| signal::start(&owner, &mut session, &bundle));
        }
        let sealed = result.and_then(|()| signal::encrypt(&owner, &mut session, plaintext));
        state.put_session(to, session, often);
        sealed
    }

    /// Forgets the session with a device, so that the next message starts a new one.
    pub(super) fn forget_session(&self, with: DeviceAddress) {
        let mut state = self.lock();
        state.sessions.remove(&with);
        state
            .changes
            .touch(|| JournalKey::Session(self.number, with));
    }

    /// Forgets every session and key of others, as after a new installation from a backup.
    pub(super) fn forget_everybody(&self) {
        let mut state = self.lock();
        for with in std::mem::take(&mut state.sessions).into_keys() {
            state
                .changes
                .touch(|| JournalKey::Session(self.number, with));
        }
        for (group, of) in std::mem::take(&mut state.sender_keys).into_keys() {
            state
                .changes
                .touch(|| JournalKey::GroupSecret(self.number, group, of));
        }
        for group in std::mem::take(&mut state.own_sender_keys).into_keys() {
            state
                .changes
                .touch(|| JournalKey::OwnGroupSecret(self.number, group));
        }
    }

    /// Encrypts for a group.
    pub(super) fn seal_for_group(
        &self,
        group: &Chat,
        members: &[DeviceAddress],
        plaintext: &[u8],
    ) -> Result<SealedForGroup, SignalProtocolError> {
        let mut state = self.lock();
        state
            .changes
            .touch(|| JournalKey::OwnGroupSecret(self.number, group.clone()));
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
        counters: &NetworkCounters,
        envelope: Envelope,
    ) -> Vec<Effect> {
        let owner = Owner {
            seed,
            number: self.number,
            keys: self.keys(seed),
        };
        let mut state = self.lock();
        if !state.profile.online {
            let place = state
                .waiting
                .last_key_value()
                .map_or(0, |(last, _)| last + 1);
            state.waiting.insert(place, envelope);
            state.changes.touch(|| JournalKey::Held(self.number, place));
            return Vec::new();
        }
        state.receive(&owner, counters, envelope)
    }

    /// What the phone received from others, or what other devices of the same account sent, in
    /// order of arrival; `look` may add what is to be seen in the body of a message, and in its file,
    /// which the phone has fetched or not.
    pub(super) fn messages(
        &self,
        own: bool,
        look: impl Fn(&mut ReceivedMessage, &[u8], bool),
    ) -> Vec<ReceivedMessage> {
        let state = self.lock();
        let entries = state
            .inbox
            .entries()
            .iter()
            .filter(|entry| entry.own == own);
        let views = entries.map(|entry| {
            let mut view = entry.view();
            if let EntryContent::Message(body) = &entry.says
                && !entry.revoked
            {
                look(&mut view, body, entry.fetched && state.profile.keeps_media);
                show_votes(&mut view.poll, &entry.votes);
            }
            view
        });
        views.collect()
    }

    /// The newest message with this id, as it came.
    pub(super) fn body(&self, id: &str) -> Option<Box<[u8]>> {
        let state = self.lock();
        match &state.inbox.find_anywhere(id)?.says {
            EntryContent::Message(body) => Some(body.clone()),
            _ => None,
        }
    }

    /// The same, and whether the phone fetched its file when it came, and kept it.
    pub(super) fn body_with_file(&self, id: &str) -> Option<(Box<[u8]>, bool)> {
        let state = self.lock();
        let entry = state.inbox.find_anywhere(id)?;
        match &entry.says {
            EntryContent::Message(body) => {
                let kept = entry.fetched && state.profile.keeps_media;
                Some((body.clone(), kept))
            }
            _ => None,
        }
    }

    /// The phone has fetched the file of a message.
    pub(super) fn note_fetched(&self, chat: &Chat, id: &str) {
        let mut state = self.lock();
        if let Some(entry) = state.inbox.find_mut(chat, id) {
            entry.fetched = true;
            state.touch_message(chat, id);
        }
    }

    /// The newest message with this id, received or sent.
    pub(super) fn any_body(&self, id: &str) -> Option<Box<[u8]>> {
        self.body(id).or_else(|| {
            let state = self.lock();
            let sent = state.sent.iter().rev().find(|sent| *sent.id == *id)?;
            Some(sent.body.clone())
        })
    }

    /// Where a received message came from: who wrote it and in which chat.
    pub(super) fn origin(&self, id: &str) -> Option<(DeviceAddress, Chat)> {
        let state = self.lock();
        state
            .inbox
            .find_anywhere(id)
            .map(|entry| (entry.from, entry.chat.clone()))
    }

    /// Keeps a message in case a receiver asks for it once more.
    pub(super) fn remember_sent(&self, id: &str, chat: &Chat, body: &[u8], at: i64) {
        let mut state = self.lock();
        if state.sent.len() == KEPT_SENT
            && let Some(oldest) = state.sent.pop_front()
        {
            state
                .changes
                .touch(|| JournalKey::Sent(self.number, oldest.place));
        }
        let place = state.sent.back().map_or(0, |newest| newest.place + 1);
        state.changes.touch(|| JournalKey::Sent(self.number, place));
        state.sent.push_back(SentRecord {
            place,
            id: id.into(),
            chat: chat.clone(),
            body: body.into(),
            at,
            delivered: false,
            read: false,
            reactions: Vec::new(),
            votes: Votes::default(),
        });
    }

    /// The author and body of a message in a chat, for an answer that quotes it.
    pub(super) fn quotable(&self, chat: &Chat, id: &str) -> Option<(Number, Box<[u8]>)> {
        let state = self.lock();
        if let Some(entry) = state.inbox.find(chat, id)
            && let EntryContent::Message(body) = &entry.says
        {
            return Some((entry.from.number, body.clone()));
        }
        let sent = state.sent.iter().rev().find(|sent| *sent.id == *id)?;
        Some((self.number, sent.body.clone()))
    }

    /// What people wrote to this phone and what its account wrote to them, oldest first.
    pub(super) fn remembered(&self) -> Vec<HistoryMessage> {
        let state = self.lock();
        let got = state.inbox.entries().iter().filter_map(|entry| {
            let EntryContent::Message(body) = &entry.says else {
                return None;
            };
            (!entry.revoked).then(|| HistoryMessage {
                id: entry.id.clone(),
                chat: entry.chat.clone(),
                from: entry.from.number,
                at: entry.timestamp,
                body: body.clone(),
            })
        });
        let sent = state.sent.iter().filter_map(|sent| {
            let message = Message::decode_from_slice(&sent.body).ok()?;
            // What phones tell their companions is for nobody to read.
            matches!(act(&message), Act::Say(_)).then(|| HistoryMessage {
                id: sent.id.clone(),
                chat: sent.chat.clone(),
                from: self.number,
                at: sent.at,
                body: sent.body.clone(),
            })
        });
        let mut all: Vec<_> = got.chain(sent).collect();
        all.retain(|message| message.chat != Chat::Status);
        all.sort_by_key(|message| message.at);
        all
    }

    /// Whoever this phone has written to, or got something from, in person.
    pub(super) fn partners(&self) -> BTreeSet<Number> {
        let state = self.lock();
        let got = state.inbox.entries().iter().map(|entry| &entry.chat);
        let chats = got.chain(state.sent.iter().map(|sent| &sent.chat));
        let people = chats.filter_map(|chat| match chat {
            Chat::Person(number) => Some(*number),
            _ => None,
        });
        people.collect()
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

    /// Looks at one of the phone's own messages, and may change it.
    pub(super) fn with_sent<T>(
        &self,
        id: &str,
        look: impl FnOnce(&mut SentRecord) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        let sent = state.sent.iter_mut().rev().find(|sent| *sent.id == *id)?;
        let (place, result) = (sent.place, look(sent));
        state.changes.touch(|| JournalKey::Sent(self.number, place));
        Some(result)
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
                    .map(|(from, sign)| Reaction {
                        from: from.to_string(),
                        text: sign.to_string(),
                    })
                    .collect(),
                poll: {
                    let message = Message::decode_from_slice(&sent.body).unwrap_or_default();
                    let mut poll = poll_view(unwrapped(&message));
                    show_votes(&mut poll, &sent.votes);
                    poll
                },
            })
            .collect()
    }
}

fn show_votes(poll: &mut Option<PollView>, votes: &Votes) {
    if let Some(poll) = poll {
        let votes = votes.iter();
        poll.votes = votes
            .map(|(who, what)| (who.to_string(), what.clone()))
            .collect();
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
    pub reactions: Vec<Reaction>,
    /// A poll, and what people chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollView>,
}

impl PhoneState {
    pub(super) fn take_session(&mut self, with: DeviceAddress) -> Option<SessionRecord> {
        match self.sessions.remove(&with)? {
            PackedSession::Live(record) => Some(*record),
            // Invariant: what was packed can be unpacked.
            PackedSession::Packed(bytes) => SessionRecord::deserialize(&bytes).ok(),
        }
    }

    pub(super) fn put_session(
        &mut self,
        with: DeviceAddress,
        session: Option<SessionRecord>,
        often: bool,
    ) {
        let Some(record) = session else { return };
        let session = match record.serialize() {
            Ok(bytes) if !often => PackedSession::Packed(bytes.into()),
            _ => PackedSession::Live(Box::new(record)),
        };
        self.sessions.insert(with, session);
        self.changes
            .touch(|| JournalKey::Session(self.number, with));
    }
}
