//! `session-*.json`: Signal sessions as libsignal-node keeps them, version `v1`.
//!
//! A file is all that was agreed with one device: states by their base key, at most one of them open.
//! There a chain's counter is the number of the last message, so it begins at -1; here it is that of the
//! next one.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::json::{Exact, Members, PublicKey, read};
use crate::wa::account::{
    DeviceAddress, KeyPair, PendingPreKey, ReceivingChain, SendingChain, SessionState,
    SignalSession,
};

/// The most skipped messages of one chain that anybody keeps.
const MOST_SKIPPED: usize = 2000;

const STRANGE: &str = "it is of an unknown form";

#[derive(Deserialize)]
struct File {
    #[serde(rename = "_sessions", default)]
    sessions: Members<State>,
    version: Option<String>,
    #[serde(rename = "registrationId")]
    registration_id: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    registration_id: Option<u32>,
    current_ratchet: Ratchet,
    index_info: IndexInfo,
    #[serde(rename = "_chains")]
    chains: Members<Chain>,
    pending_pre_key: Option<Pending>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ratchet {
    ephemeral_key_pair: RatchetPair,
    last_remote_ephemeral_key: PublicKey,
    previous_counter: i64,
    root_key: Exact<32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RatchetPair {
    pub_key: PublicKey,
    priv_key: Exact<32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexInfo {
    base_key: PublicKey,
    closed: i64,
    #[serde(default)]
    used: i64,
    remote_identity_key: PublicKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chain {
    chain_key: ChainKey,
    chain_type: u8,
    #[serde(default)]
    message_keys: Members<Exact<32>>,
}

#[derive(Deserialize)]
struct ChainKey {
    counter: i64,
    key: Option<Exact<32>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pending {
    signed_key_id: u32,
    pre_key_id: Option<u32>,
}

/// The value of a chain's `chainType` when it is ours.
const SENDING: u8 = 1;
/// The value when it is theirs.
const RECEIVING: u8 = 2;

/// A state, and how it stands to the others of its device.
pub(super) struct Aged {
    state: SessionState,
    open: bool,
    used: i64,
}

/// All states with a device, and the file that they were in.
pub(super) struct States {
    pub(super) states: Vec<Aged>,
    pub(super) file: String,
}

impl States {
    /// Reads a file; says why it cannot be.
    pub(super) fn read(bytes: &[u8], file: &str) -> Result<Self, &'static str> {
        let record: File = read(bytes)?;
        if record.version.is_some_and(|version| version != "v1") {
            return Err(STRANGE);
        }
        let states = record.sessions.0.into_iter();
        let states = states.map(|(_, state)| aged(state, record.registration_id));
        Ok(Self {
            states: states.collect::<Option<_>>().ok_or(STRANGE)?,
            file: file.to_owned(),
        })
    }

    /// The identity key of the device, by the state that was used last.
    pub(super) fn identity(&self) -> Option<[u8; 32]> {
        let last = self.states.iter().max_by_key(|aged| (aged.open, aged.used));
        last.map(|aged| aged.state.remote_identity)
    }

    /// Adds the states that were kept under another address of the same device.
    pub(super) fn join(&mut self, other: Self) {
        self.states.extend(other.states);
    }

    /// One session of them: the open state that was used last, and the others to read by.
    pub(super) fn into_session(self, address: DeviceAddress) -> SignalSession {
        // A state that was copied from one address to another went on at one of them.
        let mut by_key = BTreeMap::new();
        for aged in self.states {
            let known = by_key.entry(aged.state.base_key);
            let newer = match &known {
                std::collections::btree_map::Entry::Occupied(old) => old.get() < &aged,
                std::collections::btree_map::Entry::Vacant(_) => true,
            };
            if newer {
                known.insert_entry(aged);
            }
        }
        let mut states: Vec<Aged> = by_key.into_values().collect();
        states.sort_unstable_by(|a, b| b.cmp(a));
        let mut states = states.into_iter().peekable();
        let current = states.next_if(|aged| aged.open).map(|aged| aged.state);
        let mut archived: Vec<Aged> = states.collect();
        archived.sort_by_key(|aged| std::cmp::Reverse(aged.used));
        SignalSession {
            address,
            current,
            archived: archived.into_iter().map(|aged| aged.state).collect(),
            file: self.file,
        }
    }
}

/// Open before closed, then by the last use.
impl Ord for Aged {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.open, self.used).cmp(&(other.open, other.used))
    }
}

impl PartialOrd for Aged {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Aged {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Aged {}

fn aged(state: State, registration_id: Option<u32>) -> Option<Aged> {
    let ratchet = state.current_ratchet;
    let ours = ratchet.ephemeral_key_pair;
    let last_remote = ratchet.last_remote_ephemeral_key.0;
    let (mut sending, mut receiving, mut newest) = (None, Vec::new(), None);
    for (name, chain) in state.chains.0 {
        let PublicKey(key) = PublicKey::of(&super::json::base64(&name)?)?;
        let next = next(chain.chain_key.counter)?;
        let seed = chain.chain_key.key.map(|key| key.0);
        match chain.chain_type {
            SENDING if key == ours.pub_key.0 && sending.is_none() => {
                sending = Some((next, seed?));
            }
            RECEIVING => {
                let chain = ReceivingChain {
                    ratchet: key,
                    next,
                    key: seed,
                    skipped: skipped(chain.message_keys, next)?,
                };
                if key == last_remote {
                    newest = Some(chain);
                } else {
                    receiving.push(chain);
                }
            }
            _ => return None,
        }
    }
    // Whoever has written at all has written by the chain that our next answer belongs to.
    if newest.is_none() && !receiving.is_empty() {
        return None;
    }
    receiving.extend(newest);
    let (next, key) = sending?;
    Some(Aged {
        open: state.index_info.closed == -1,
        used: state.index_info.used,
        state: SessionState {
            registration_id: state.registration_id.or(registration_id)?,
            remote_identity: state.index_info.remote_identity_key.0,
            base_key: state.index_info.base_key.0,
            root_key: ratchet.root_key.0,
            // The number of the last message, too: -1 if there was none.
            previous_counter: u32::try_from(ratchet.previous_counter.max(0)).ok()?,
            sending: SendingChain {
                ratchet: KeyPair {
                    public: ours.pub_key.0,
                    private: ours.priv_key.0,
                },
                next,
                key,
            },
            receiving,
            pending: state.pending_pre_key.map(|pending| PendingPreKey {
                prekey: pending.pre_key_id,
                signed_prekey: pending.signed_key_id,
            }),
        },
    })
}

/// The number of the next message after the last one.
fn next(counter: i64) -> Option<u32> {
    u32::try_from(counter.checked_add(1)?).ok()
}

fn skipped(keys: Members<Exact<32>>, next: u32) -> Option<Vec<(u32, [u8; 32])>> {
    let keys = keys.0.into_iter().map(|(number, Exact(seed))| {
        let number = number.parse().ok().filter(|number| *number < next)?;
        Some((number, seed))
    });
    let mut keys: Vec<_> = keys.collect::<Option<_>>()?;
    keys.sort_unstable_by_key(|(number, _)| *number);
    keys.dedup_by_key(|(number, _)| *number);
    // The oldest are the least likely to come.
    let too_many = keys.len().saturating_sub(MOST_SKIPPED);
    keys.drain(..too_many);
    Some(keys)
}
