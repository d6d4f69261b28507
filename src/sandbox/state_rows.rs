//! The network's state as rows of the journal, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::BytesMut;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use whatsapp_rust::OwnedNodeRef;
use whatsapp_rust::wacore::libsignal::protocol::{SenderKeyRecord, SessionRecord};
use whatsapp_rust::wacore_binary::marshal_auto;
use whatsapp_rust::wacore_binary::util::unpack_bytes;

use super::account::{Companion, PublishedKeys, SignedKey};
use super::envelope::Envelope;
use super::journal::{Journal, JournalKey, Woken};
use super::network::Network;
use super::number::{DeviceAddress, Number};
use super::outbox::{Class, Outbox};
use super::phone::{OwnSenderKey, PackedSession};
use super::profile::Profile;
use super::reupload::ReuploadRequest;
use super::{base64, stanza};
use crate::error::{Error, Result};

#[derive(Serialize, Deserialize)]
struct AccountRow {
    next_device: u16,
    devices_changed: i64,
    blocked: BTreeSet<Number>,
    privacy: BTreeMap<String, String>,
    about: Option<String>,
    #[serde(default)]
    trusted: Vec<(Number, i64)>,
}

#[derive(Serialize, Deserialize)]
struct CompanionRow {
    #[serde(with = "base64::text")]
    noise: [u8; 32],
    #[serde(with = "base64::text")]
    identity: [u8; 32],
    #[serde(with = "base64::text")]
    device_identity: Vec<u8>,
    platform: String,
    greeted: bool,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct KeysRow {
    registration_id: u32,
    signed_id: u32,
    #[serde(with = "base64::text")]
    signed_key: [u8; 32],
    #[serde(with = "base64::text")]
    signature: [u8; 64],
    /// Each id with its key.
    one_time: Vec<(u32, String)>,
}

#[derive(Serialize, Deserialize)]
struct WaitingRow {
    class: Class,
    #[serde(with = "base64::text")]
    stanza: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct PhoneRow {
    profile: Profile,
    given_prekeys: u32,
    #[serde(default)]
    wanted: Vec<ReuploadRequest>,
    /// Where older state files have what waits for the phone.
    #[serde(default, skip_serializing)]
    waiting: Vec<Envelope>,
}

#[derive(Serialize, Deserialize)]
struct OwnSenderKeyRow {
    #[serde(with = "base64::text")]
    record: Vec<u8>,
    known_to: BTreeSet<DeviceAddress>,
}

/// The open journal, and who writes it.
pub(super) struct Keeper(Mutex<Journal>);

impl Keeper {
    /// Opens the state file; answers what is in it.
    pub(super) fn open(path: &Path) -> Result<(Self, BTreeMap<JournalKey, Value>)> {
        let (journal, rows) = Journal::open(path)?;
        Ok((Self(Mutex::new(journal)), rows))
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under this lock")
    }
}

impl Network {
    /// Writes what has changed to the state file, if there is one, and waits for the disk.
    pub fn save(&self) -> Result<()> {
        self.write_changes()?;
        match &self.keeper {
            Some(keeper) => keeper.lock().sync().map_err(Error::internal),
            None => Ok(()),
        }
    }

    fn write_changes(&self) -> Result<()> {
        let Some(keeper) = &self.keeper else {
            return Ok(());
        };
        // Taken first, so that two writers cannot put an older value after a newer one.
        let mut journal = keeper.lock();
        let (keys, count) = self.changes.take();
        journal
            .append(keys, |key| self.row(key))
            .map_err(Error::internal)?;
        self.changes.note_written(count);
        Ok(())
    }

    /// Writes changes in the background for as long as the network lives.
    pub(super) fn keep(self: &Arc<Self>) {
        let (changes, network) = (self.changes.clone(), Arc::downgrade(self));
        let writing = move || {
            let mut pending = false;
            loop {
                let woken = changes.wait(pending);
                let Some(network) = network.upgrade().filter(|_| woken != Woken::Over) else {
                    return;
                };
                pending = woken == Woken::Changed;
                let done = match woken {
                    Woken::Changed => network.write_changes(),
                    _ => network.save(),
                };
                if let Err(error) = done {
                    tracing::error!(?error, "the simulated network's state cannot be written");
                    // Life goes on without a state; nobody shall wait for it.
                    changes.note_written(u64::MAX);
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("sandbox-state".to_owned());
        if thread.spawn(writing).is_err() {
            // Without the thread the state is still written at the end.
            self.changes.note_written(u64::MAX);
        }
    }

    fn row(&self, key: &JournalKey) -> Option<Value> {
        match key {
            JournalKey::Seed => Some(base64::encode(self.seed.bytes()).into()),
            JournalKey::Account(number) => {
                let account = self.directory.known_account(*number)?;
                let state = account.lock();
                value(&AccountRow {
                    next_device: state.next_device,
                    devices_changed: state.devices_changed,
                    blocked: state.blocked.clone(),
                    privacy: state.privacy.clone(),
                    about: state.about.clone(),
                    trusted: state.trusted.iter().map(|(who, at)| (*who, *at)).collect(),
                })
            }
            JournalKey::Companion(_) | JournalKey::Keys(_) | JournalKey::Waiting(..) => {
                self.companion_row(key)
            }
            JournalKey::Settings(number) => value(&self.settings.row(*number)?),
            JournalKey::Group(id) => value(self.groups.lock().get(id)?),
            JournalKey::Picture(whose) => value(&self.pictures.row(whose)?),
            JournalKey::File(path) => value(&self.media.row(path)?),
            JournalKey::Channel(id) => value(self.channels.lock().get(id)?),
            JournalKey::Post(id, number) => value(self.channels.lock().get(id)?.posts.get(number)?),
            _ => self.phone_row(key),
        }
    }

    fn companion_row(&self, key: &JournalKey) -> Option<Value> {
        let (JournalKey::Companion(address)
        | JournalKey::Keys(address)
        | JournalKey::Waiting(address, _)) = key
        else {
            return None;
        };
        let account = self.directory.known_account(address.number)?;
        let state = account.lock();
        let companion = state.companions.get(&address.device)?;
        match key {
            JournalKey::Keys(_) => {
                let keys = companion.keys.as_ref()?;
                value(&KeysRow {
                    registration_id: keys.registration_id,
                    signed_id: keys.signed.id,
                    signed_key: keys.signed.key,
                    signature: keys.signed.signature,
                    one_time: keys
                        .one_time
                        .iter()
                        .map(|(id, key)| (*id, base64::encode(key)))
                        .collect(),
                })
            }
            JournalKey::Waiting(_, place) => {
                let (class, node) = companion.outbox.get(*place)?;
                value(&WaitingRow {
                    class: *class,
                    stanza: marshal_auto(node).ok()?,
                })
            }
            _ => value(&CompanionRow {
                noise: companion.noise,
                identity: companion.identity,
                device_identity: companion.device_identity.clone(),
                platform: companion.platform.clone(),
                greeted: companion.greeted,
                name: companion.name.clone(),
            }),
        }
    }

    fn phone_row(&self, key: &JournalKey) -> Option<Value> {
        let number = match key {
            JournalKey::Phone(number)
            | JournalKey::Held(number, _)
            | JournalKey::Session(number, _)
            | JournalKey::GroupSecret(number, ..)
            | JournalKey::OwnGroupSecret(number, _)
            | JournalKey::Message(number, _)
            | JournalKey::Sent(number, _) => *number,
            _ => return None,
        };
        let phone = self.directory.known_phone(number)?;
        let state = phone.lock();
        match key {
            JournalKey::Phone(_) => value(&PhoneRow {
                profile: state.profile.clone(),
                given_prekeys: state.given_prekeys,
                wanted: state.wanted.clone(),
                waiting: Vec::new(),
            }),
            JournalKey::Held(_, place) => value(state.waiting.get(place)?),
            JournalKey::Session(_, with) => {
                let bytes = match state.sessions.get(with)? {
                    PackedSession::Packed(bytes) => base64::encode(bytes),
                    PackedSession::Live(record) => base64::encode(&record.serialize().ok()?),
                };
                Some(bytes.into())
            }
            JournalKey::GroupSecret(_, group, of) => {
                let record = state.sender_keys.get(&(group.clone(), *of))?;
                Some(base64::encode(&record.serialize().ok()?).into())
            }
            JournalKey::OwnGroupSecret(_, group) => {
                let own = state.own_sender_keys.get(group)?;
                value(&OwnSenderKeyRow {
                    record: own.record.as_ref()?.serialize().ok()?,
                    known_to: own.known_to.clone(),
                })
            }
            JournalKey::Message(_, place) => value(state.inbox.entries().get(*place as usize)?),
            JournalKey::Sent(_, place) => {
                value(state.sent.iter().find(|sent| sent.place == *place)?)
            }
            _ => None,
        }
    }

    /// Puts everything back to where it was.
    ///
    /// Invariant: the rows come in the order of their keys, so that a companion comes before what
    /// belongs to it, and messages come in the order in which they arrived.
    pub(super) fn restore(&self, rows: BTreeMap<JournalKey, Value>) -> Result<()> {
        let mut files = Vec::new();
        for (key, row) in rows {
            match &key {
                JournalKey::Seed => {}
                JournalKey::Account(number) => {
                    let row: AccountRow = read(row)?;
                    let account = self.directory.account(*number);
                    let mut state = account.lock();
                    state.next_device = row.next_device;
                    state.devices_changed = row.devices_changed;
                    state.blocked = row.blocked;
                    state.privacy = row.privacy;
                    state.about = row.about;
                    state.trusted = row.trusted.into_iter().collect();
                }
                JournalKey::Companion(address) => self.restore_companion(*address, read(row)?),
                JournalKey::Keys(_) | JournalKey::Waiting(..) => {
                    self.restore_of_companion(&key, row)?
                }
                JournalKey::Settings(number) => self.settings.restore(*number, read(row)?),
                JournalKey::Group(id) => {
                    self.groups.lock().insert(id.clone(), read(row)?);
                }
                JournalKey::File(path) => files.push((path.clone(), read(row)?)),
                JournalKey::Picture(whose) => self.restore_picture(whose.clone(), read(row)?),
                JournalKey::Channel(id) => {
                    self.channels.lock().insert(id.clone(), read(row)?);
                }
                JournalKey::Post(id, number) => {
                    if let Some(channel) = self.channels.lock().get_mut(id) {
                        channel.posts.insert(*number, read(row)?);
                    }
                }
                _ => self.restore_phone(&key, row)?,
            }
        }
        self.media.restore(files, self.now());
        Ok(())
    }

    fn restore_companion(&self, address: DeviceAddress, row: CompanionRow) {
        let companion = Companion {
            noise: row.noise,
            identity: row.identity,
            device_identity: row.device_identity,
            platform: row.platform,
            keys: None,
            greeted: row.greeted,
            told_prekeys: None,
            name: row.name,
            outbox: Outbox::default(),
            socket: None,
            active: false,
            available: false,
        };
        let account = self.directory.account(address.number);
        account.lock().companions.insert(address.device, companion);
        self.directory.add_login(row.noise, address);
    }

    fn restore_of_companion(&self, key: &JournalKey, row: Value) -> Result<()> {
        let (JournalKey::Keys(address) | JournalKey::Waiting(address, _)) = key else {
            return Ok(());
        };
        let account = self.directory.account(address.number);
        let mut state = account.lock();
        // What belongs to a companion that is gone is of no use.
        let Some(companion) = state.companions.get_mut(&address.device) else {
            return Ok(());
        };
        if let JournalKey::Waiting(_, place) = key {
            let WaitingRow { class, stanza } = read(row)?;
            let bytes = unpack_bytes(BytesMut::from(stanza.as_slice())).map_err(Error::internal)?;
            let node = OwnedNodeRef::new(bytes).map_err(Error::internal)?;
            let id = stanza::text(node.get(), "id")
                .unwrap_or_default()
                .into_owned();
            companion
                .outbox
                .put(*place, class, &id, Arc::new(node.to_owned_node()));
            return Ok(());
        }
        let row: KeysRow = read(row)?;
        let one_time = row
            .one_time
            .into_iter()
            .filter_map(|(id, key)| Some((id, base64::decode(&key)?.try_into().ok()?)));
        companion.keys = Some(PublishedKeys {
            registration_id: row.registration_id,
            signed: SignedKey {
                id: row.signed_id,
                key: row.signed_key,
                signature: row.signature,
            },
            one_time: one_time.collect(),
        });
        Ok(())
    }

    fn restore_phone(&self, key: &JournalKey, row: Value) -> Result<()> {
        let (JournalKey::Phone(number)
        | JournalKey::Held(number, _)
        | JournalKey::Session(number, _)
        | JournalKey::GroupSecret(number, ..)
        | JournalKey::OwnGroupSecret(number, _)
        | JournalKey::Message(number, _)
        | JournalKey::Sent(number, _)) = key
        else {
            return Ok(());
        };
        let phone = self.directory.phone(*number);
        let mut state = phone.lock();
        match key {
            JournalKey::Phone(_) => {
                let row: PhoneRow = read(row)?;
                state.profile = row.profile;
                state.given_prekeys = row.given_prekeys;
                state.wanted = row.wanted;
                state.waiting.extend((0..).zip(row.waiting));
            }
            JournalKey::Held(_, place) => {
                let envelope: Envelope = read(row)?;
                state.waiting.insert(*place, envelope);
            }
            JournalKey::Session(_, with) => {
                let bytes = bytes_of(row)?;
                SessionRecord::deserialize(&bytes).map_err(Error::internal)?;
                state
                    .sessions
                    .insert(*with, PackedSession::Packed(bytes.into()));
            }
            JournalKey::GroupSecret(_, group, of) => {
                let record = SenderKeyRecord::deserialize(&bytes_of(row)?);
                let record = record.map_err(Error::internal)?;
                state.sender_keys.insert((group.clone(), *of), record);
            }
            JournalKey::OwnGroupSecret(_, group) => {
                let row: OwnSenderKeyRow = read(row)?;
                let record = SenderKeyRecord::deserialize(&row.record).map_err(Error::internal)?;
                let own = OwnSenderKey {
                    record: Some(record),
                    known_to: row.known_to,
                };
                state.own_sender_keys.insert(group.clone(), own);
            }
            JournalKey::Message(..) => {
                state.inbox.push(read(row)?);
            }
            JournalKey::Sent(..) => state.sent.push_back(read(row)?),
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.changes.end();
        // Whoever wants to know whether it works calls `save`.
        let _ = self.save();
    }
}

fn value<T: Serialize>(row: &T) -> Option<Value> {
    serde_json::to_value(row).ok()
}

fn read<T: DeserializeOwned>(row: Value) -> Result<T> {
    serde_json::from_value(row).map_err(Error::internal)
}

fn bytes_of(row: Value) -> Result<Vec<u8>> {
    row.as_str()
        .and_then(base64::decode)
        .ok_or_else(|| Error::internal("a row that is not base64"))
}
