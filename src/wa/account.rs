//! A linked device of another program, in numbers and bytes: what it needs to go on here.
//!
//! Whoever reads it (`crate::import`) knows nothing of the library, and `backend/adopt.rs`, which makes
//! the library's rows of it, nothing of files. Public keys are 32 bytes, without a type byte before them.

use std::fmt;

/// A key pair on Curve25519.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// What others know.
    pub public: [u8; 32],
    /// What nobody else knows.
    pub private: [u8; 32],
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair")
    }
}

/// Which addresses a device is found under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressSpace {
    /// Phone numbers: `@s.whatsapp.net`.
    Number,
    /// Hidden ids: `@lid`.
    Lid,
    /// Phone numbers of businesses whose device is hosted: `@hosted`.
    Hosted,
    /// Hidden ids of those: `@hosted.lid`.
    HostedLid,
}

/// One device of one account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceAddress {
    /// The number or LID, digits only.
    pub user: String,
    /// What the digits are.
    pub space: AddressSpace,
    /// The device; 0 is the phone.
    pub device: u16,
}

/// A linked device with all that it shares with other devices. Never stored as such.
#[derive(Clone)]
pub struct Account {
    /// The key of its connection.
    pub noise: KeyPair,
    /// Its identity key.
    pub identity: KeyPair,
    /// The registration id that others see in its messages.
    pub registration_id: u32,
    /// The signed prekey that the server hands out.
    pub signed_prekey: SignedPreKey,
    /// The secret that was in its QR code.
    pub adv_secret: [u8; 32],
    /// The phone's word that this device is its own.
    pub signed_identity: SignedIdentity,
    /// The account's number and this device.
    pub number: DeviceAddress,
    /// The account's LID and this device; accounts of long ago may not know it.
    pub lid: Option<DeviceAddress>,
    /// The name that others see.
    pub name: String,
    /// What the server wants to be shown at the next connection.
    pub routing: Option<Vec<u8>>,
    /// One-time keys that nobody has used, by their ids.
    pub prekeys: Vec<PreKey>,
    /// The id of the next one-time key.
    pub next_prekey: u32,
    /// The first id that the server does not have.
    pub first_unuploaded_prekey: u32,
    /// Identity keys of others.
    pub identities: Vec<(DeviceAddress, [u8; 32])>,
    /// Signal sessions with others; one for each device, under its LID where that is known.
    pub sessions: Vec<SignalSession>,
    /// Sender keys of groups, those of others and our own.
    pub sender_keys: Vec<SenderKey>,
    /// Keys of the account's settings, the oldest first.
    pub sync_keys: Vec<SyncKey>,
    /// What is known of each collection of settings.
    pub collections: Vec<Collection>,
    /// Whose number belongs to which LID: (LID, number); of several for one number the last holds.
    pub lids: Vec<(String, String)>,
    /// Tokens without which WhatsApp may refuse a first message.
    pub privacy_tokens: Vec<PrivacyToken>,
}

impl Account {
    /// About how many bytes of memory it takes.
    pub fn size(&self) -> u64 {
        let chain = |chain: &ReceivingChain| 128 + 40 * chain.skipped.len();
        let state = |state: &SessionState| 512 + state.receiving.iter().map(chain).sum::<usize>();
        let states = |one: &SignalSession| one.current.iter().chain(&one.archived).map(state).sum();
        let sessions: usize = self
            .sessions
            .iter()
            .map(|one| -> usize { states(one) })
            .sum();
        let sender = |state: &SenderKeyState| 256 + 40 * state.skipped.len();
        let senders = self
            .sender_keys
            .iter()
            .flat_map(|key| &key.states)
            .map(sender);
        let macs = self
            .collections
            .iter()
            .map(|one| one.macs.len())
            .sum::<usize>();
        let small = [
            self.prekeys.len(),
            self.identities.len(),
            self.lids.len(),
            self.privacy_tokens.len(),
            macs,
        ];
        (sessions + senders.sum::<usize>() + 128 * small.iter().sum::<usize>()) as u64
    }
}

/// The signed prekey.
#[derive(Clone)]
pub struct SignedPreKey {
    /// Its number.
    pub id: u32,
    /// The keys.
    pub keys: KeyPair,
    /// Of the public key, by the identity key.
    pub signature: [u8; 64],
}

/// What the phone signed when the device was linked.
#[derive(Clone)]
pub struct SignedIdentity {
    /// What it signed, as WhatsApp encodes it.
    pub details: Vec<u8>,
    /// The phone's identity key.
    pub account_key: [u8; 32],
    /// The phone's signature.
    pub account_signature: [u8; 64],
    /// This device's signature.
    pub device_signature: [u8; 64],
}

/// A one-time key.
#[derive(Clone)]
pub struct PreKey {
    /// Its number, of 24 bits.
    pub id: u32,
    /// The keys.
    pub keys: KeyPair,
}

/// All that is agreed with one device of somebody: the state in use, and older ones.
#[derive(Clone)]
pub struct SignalSession {
    /// With whom.
    pub address: DeviceAddress,
    /// The state that is used to send, if there is one.
    pub current: Option<SessionState>,
    /// States that are used to read what was sent before, the last used first.
    pub archived: Vec<SessionState>,
    /// Where it was found, for the report.
    pub file: String,
}

/// One double ratchet.
#[derive(Clone)]
pub struct SessionState {
    /// The registration id of the other device.
    pub registration_id: u32,
    /// The identity key of the other device.
    pub remote_identity: [u8; 32],
    /// The base key by which the other side knows this state.
    pub base_key: [u8; 32],
    /// The root key.
    pub root_key: [u8; 32],
    /// How many messages the sending chain before this one had.
    pub previous_counter: u32,
    /// The chain that we send by.
    pub sending: SendingChain,
    /// The chains that the other side sends by, the oldest first.
    pub receiving: Vec<ReceivingChain>,
    /// What our first message repeats until there is an answer.
    pub pending: Option<PendingPreKey>,
}

/// The chain that we send by.
#[derive(Clone)]
pub struct SendingChain {
    /// Our ratchet key.
    pub ratchet: KeyPair,
    /// The number of the next message.
    pub next: u32,
    /// The chain key.
    pub key: [u8; 32],
}

/// A chain that the other side sends by.
#[derive(Clone)]
pub struct ReceivingChain {
    /// Its ratchet key.
    pub ratchet: [u8; 32],
    /// The number of the next message.
    pub next: u32,
    /// The chain key; `None` when the chain has ended and only skipped messages may come.
    pub key: Option<[u8; 32]>,
    /// Keys of messages that have not come: number, seed.
    pub skipped: Vec<(u32, [u8; 32])>,
}

/// Which of the other side's keys a session was begun with.
#[derive(Clone)]
pub struct PendingPreKey {
    /// The one-time key, unless there was none.
    pub prekey: Option<u32>,
    /// The signed prekey.
    pub signed_prekey: u32,
}

/// The sender keys of one device in one group.
#[derive(Clone)]
pub struct SenderKey {
    /// The group's address, or `status@broadcast`.
    pub group: String,
    /// Whose it is.
    pub sender: DeviceAddress,
    /// Its states, the oldest first.
    pub states: Vec<SenderKeyState>,
    /// Where it was found, for the report.
    pub file: String,
}

/// One sender key.
#[derive(Clone)]
pub struct SenderKeyState {
    /// Its id.
    pub id: u32,
    /// The number of the next message.
    pub next: u32,
    /// The chain key.
    pub seed: [u8; 32],
    /// What its messages are signed with.
    pub signing_public: [u8; 32],
    /// The other half, where the key is our own.
    pub signing_private: Option<[u8; 32]>,
    /// Keys of messages that have not come: number, seed.
    pub skipped: Vec<(u32, [u8; 32])>,
}

/// A key of the account's settings.
#[derive(Clone)]
pub struct SyncKey {
    /// Its id.
    pub id: Vec<u8>,
    /// The key.
    pub data: Vec<u8>,
    /// Which devices it was made for.
    pub fingerprint: Fingerprint,
    /// When it was made, in milliseconds since 1970, as the phone says.
    pub timestamp: i64,
}

/// Which devices a key of the settings was made for; other devices compare it.
#[derive(Clone, Default)]
pub struct Fingerprint {
    /// Of the account.
    pub raw_id: Option<u32>,
    /// Of the device that made it.
    pub current_index: Option<u32>,
    /// Of all devices.
    pub device_indexes: Vec<u32>,
}

/// How far a collection of settings was followed.
#[derive(Clone)]
pub struct Collection {
    /// Its name, such as `regular_high`.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The hash over all its values.
    pub hash: [u8; 128],
    /// The MAC of each value by the MAC of its index.
    pub macs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A token of somebody who lets us write to him.
#[derive(Clone)]
pub struct PrivacyToken {
    /// Whose it is, without a device.
    pub address: DeviceAddress,
    /// The token; empty if only ours was given to him.
    pub token: Vec<u8>,
    /// When it was made, in seconds since 1970.
    pub timestamp: i64,
    /// When he was last given ours, in seconds since 1970.
    pub sent_at: Option<i64>,
}

/// What was found and is not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The file, or files (`device-list-*.json`).
    pub file: String,
    /// Why, and what becomes of it, for the report: a sentence without its end. Holds no secret.
    pub why: String,
}

/// Why what was found is no linked device that could go on: a sentence without its end for the report, without
/// secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnAccount(pub String);
