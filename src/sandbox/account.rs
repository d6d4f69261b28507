//! One account: the companions linked to its phone, and what the server keeps for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::waproto::whatsapp::{ADVKeyIndexList, ADVSignedKeyIndexList};

use super::connection::Socket;
use super::journal::{JournalChanges, JournalKey};
use super::keys::PhoneKeys;
use super::number::{DeviceAddress, Number};
use super::outbox::{Class, Outbox};

/// What the signature over a list of key indexes begins with.
const KEY_INDEX_PREFIX: [u8; 2] = [6, 2];

/// An account with its lock.
///
/// Invariant: whoever holds a phone's lock may take an account's, never the other way round.
pub(super) struct Account {
    pub(super) number: Number,
    changes: Arc<JournalChanges>,
    state: Mutex<AccountState>,
}

/// What an account's lock protects.
pub(super) struct AccountState {
    pub(super) companions: BTreeMap<u16, Companion>,
    /// The id that the next companion gets; ids are never used twice.
    pub(super) next_device: u16,
    /// When the list of companions last changed, in seconds.
    pub(super) devices_changed: i64,
    pub(super) blocked: BTreeSet<Number>,
    pub(super) privacy: BTreeMap<String, String>,
    pub(super) about: Option<String>,
    /// To whom this account gave a privacy token, and when, in seconds.
    pub(super) trusted: BTreeMap<Number, i64>,
}

/// A linked device.
pub(super) struct Companion {
    pub(super) noise: [u8; 32],
    pub(super) identity: [u8; 32],
    /// The proof that phone and companion belong together, signed by both.
    pub(super) device_identity: Vec<u8>,
    pub(super) platform: String,
    pub(super) keys: Option<PublishedKeys>,
    /// Whether the phone has sent its first messages to this companion.
    pub(super) greeted: bool,
    /// How many prekeys the companion has left by what it was told last, since it published any.
    pub(super) told_prekeys: Option<usize>,
    /// The name that it goes by, once it has given one.
    pub(super) name: Option<String>,
    pub(super) outbox: Outbox,
    pub(super) socket: Option<Arc<Socket>>,
    /// Whether the companion has asked for its messages on this connection.
    pub(super) active: bool,
    pub(super) available: bool,
}

/// The public keys that a companion left at the server.
#[derive(Clone)]
pub(super) struct PublishedKeys {
    pub(super) registration_id: u32,
    pub(super) signed: SignedKey,
    pub(super) one_time: VecDeque<(u32, [u8; 32])>,
}

/// A signed prekey.
#[derive(Clone)]
pub(super) struct SignedKey {
    pub(super) id: u32,
    pub(super) key: [u8; 32],
    pub(super) signature: [u8; 64],
}

impl Account {
    pub(super) fn new(number: Number, changes: Arc<JournalChanges>) -> Self {
        let state = AccountState {
            companions: BTreeMap::new(),
            next_device: 1,
            devices_changed: 0,
            blocked: BTreeSet::new(),
            privacy: BTreeMap::new(),
            about: None,
            trusted: BTreeMap::new(),
        };
        Self {
            number,
            changes,
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, AccountState> {
        self.state
            .lock()
            .expect("Invariant: nothing panics under an account's lock")
    }

    /// A companion has what was sent to it.
    pub(super) fn confirm(&self, device: u16, class: Class, id: &str) {
        if let Some(companion) = self.lock().companions.get_mut(&device)
            && let Some(place) = companion.outbox.confirm(class, id)
        {
            self.changes
                .touch(|| JournalKey::Waiting(DeviceAddress::new(self.number, device), place));
        }
    }

    /// The ids of the linked devices, without the phone.
    pub(super) fn devices(&self) -> Vec<u16> {
        self.lock().companions.keys().copied().collect()
    }

    /// Sends a stanza that is kept until the companion confirms it.
    pub(super) fn deliver(&self, device: u16, class: Class, id: &str, node: Arc<Node>) {
        if let Some(companion) = self.lock().companions.get_mut(&device) {
            let place = companion.outbox.push(class, id, node.clone());
            self.changes
                .touch(|| JournalKey::Waiting(DeviceAddress::new(self.number, device), place));
            if companion.active
                && let Some(socket) = &companion.socket
            {
                socket.send(node);
            }
        }
    }

    /// The same for every companion, except one.
    pub(super) fn deliver_to_all(
        &self,
        except: Option<u16>,
        class: Class,
        id: &str,
        node: &Arc<Node>,
    ) {
        for device in self.devices() {
            if Some(device) != except {
                self.deliver(device, class, id, node.clone());
            }
        }
    }

    /// Sends a stanza to those who are connected; nobody else will ever see it.
    pub(super) fn mention(&self, node: &Arc<Node>) {
        for companion in self.lock().companions.values() {
            companion.mention(node);
        }
    }

    /// The same for one companion.
    pub(super) fn mention_to(&self, device: u16, node: &Arc<Node>) {
        if let Some(companion) = self.lock().companions.get(&device) {
            companion.mention(node);
        }
    }

    /// The signed list of the companions that are valid.
    pub(super) fn key_index_list(&self, keys: &PhoneKeys) -> (i64, Vec<u8>) {
        let state = self.lock();
        let indexes: Vec<u32> = state
            .companions
            .keys()
            .map(|device| u32::from(*device))
            .collect();
        let changed = state.devices_changed;
        let current = u32::from(state.next_device) - 1;
        drop(state);
        let details = ADVKeyIndexList {
            raw_id: Some(raw_id(self.number)),
            timestamp: u64::try_from(changed).ok(),
            current_index: Some(current),
            valid_indexes: indexes,
            ..Default::default()
        }
        .encode_to_vec();
        let signature = keys.sign(&[&KEY_INDEX_PREFIX, details.as_slice()].concat());
        let list = ADVSignedKeyIndexList {
            details: Some(details),
            account_signature: Some(signature.to_vec()),
            account_signature_key: Some(keys.identity_public().to_vec()),
        };
        (changed, list.encode_to_vec())
    }
}

impl Companion {
    fn mention(&self, node: &Arc<Node>) {
        if self.active
            && let Some(socket) = &self.socket
        {
            socket.send(node.clone());
        }
    }
}

/// The number by which an account's chain of trust is told from another's.
pub(super) fn raw_id(number: Number) -> u32 {
    (number.value() % 2_000_000_011) as u32
}
