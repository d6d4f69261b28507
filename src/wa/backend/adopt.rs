//! The rows of a linked device that comes from another program.
//!
//! What the library would ask for again by itself (devices of people, who has our sender keys, metadata
//! of groups) has no rows here.

mod records;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::libsignal::store::record_helpers::encode_pre_key_record_to;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, LidPnMappingEntry, TcTokenEntry};
use whatsapp_rust::wacore::types::jid::JidExt as _;
use whatsapp_rust::wacore_binary::{Jid, Server};
use whatsapp_rust::waproto::{codec, whatsapp as wa};

use self::records::{key_pair, sender_key_record, session_record};
use super::rows::{RowKind, VERSION, versioned};
use super::{Backend, tc_tokens};
use crate::error::Result as OurResult;
use crate::store::tables::{WA, WA_EXPIRY};
use crate::store::{Key, Tx, encode};
use crate::wa::account::{
    Account, AddressSpace, DeviceAddress, KeyPair, LeftOut, NotAnAccount, PreKey, SenderKey,
    SenderKeyState,
};

/// The device state of one session, sealed and ready to be written.
pub struct DeviceRows {
    sid: u32,
    rows: Vec<(Key, Vec<u8>)>,
    /// The index of those that end.
    expiries: Vec<(Key, Vec<u8>)>,
}

impl DeviceRows {
    /// Those of session number `sid`.
    pub(super) fn of(sid: u32, rows: Vec<(Key, Vec<u8>)>, expiries: Vec<(Key, Vec<u8>)>) -> Self {
        Self {
            sid,
            rows,
            expiries,
        }
    }

    /// Writes them, in place of whatever device state the session has.
    ///
    /// Hazard: no client of that session may run, or it writes its own over them.
    pub fn put(self, tx: &mut Tx) -> OurResult<()> {
        for table in [WA, WA_EXPIRY] {
            tx.delete_prefix(table, &Key::new().u32(self.sid))?;
        }
        for (table, rows) in [(WA, self.rows), (WA_EXPIRY, self.expiries)] {
            for (key, value) in rows {
                tx.put(table, key, value);
            }
        }
        Ok(())
    }
}

/// Judges whether a linked device can go on here: what [`Backend::adopt`] would refuse.
///
/// # Errors
/// The device's own keys do not belong together, so that WhatsApp would refuse it.
pub fn judge(account: &Account) -> Result<(), NotAnAccount> {
    device(account).map(drop)
}

impl Backend {
    /// Turns a linked device into the rows of this session; also says what of it could not be.
    ///
    /// It computes for a while with a large account: call it where that is allowed.
    ///
    /// # Errors
    /// The device's own keys do not belong together, so that WhatsApp would refuse it.
    pub fn adopt(&self, account: &Account) -> Result<(DeviceRows, Vec<LeftOut>), NotAnAccount> {
        let device = device(account)?;
        let (mut left_out, mut rows) = (Vec::new(), Vec::new());
        rows.push(self.encoded(|| self.secret_record(self.key(RowKind::Device), &device))?);
        for prekey in &account.prekeys {
            match self.prekey_row(account, prekey) {
                Some(row) => rows.push(row),
                None => left_out.push(unfit(&format!("one-time key {}", prekey.id))),
            }
        }
        for (address, key) in &account.identities {
            let key_of_row = self.key(RowKind::Identity).tail(signal_address(address));
            rows.push(self.secret_row(key_of_row, key));
        }
        for session in &account.sessions {
            match session_record(account, session) {
                Some(record) => {
                    let key = self.key(RowKind::Session);
                    let key = key.tail(signal_address(&session.address));
                    rows.push(self.secret_row(key, &record));
                }
                None => left_out.push(unfit(&session.file)),
            }
        }
        for (name, states) in sender_keys(account) {
            match sender_key_record(states.iter().map(|(_, state)| *state)) {
                Some(record) => {
                    let key = self.key(RowKind::SenderKey).tail(name);
                    rows.push(self.secret_row(key, &record));
                }
                None => left_out.extend(states.first().map(|(key, _)| unfit(&key.file))),
            }
        }
        self.settings_rows(account, &mut rows)?;
        self.people_rows(account, &mut rows)?;
        Ok((DeviceRows::of(self.sid, rows, Vec::new()), left_out))
    }

    /// What can only fail by a fault of ours.
    fn encoded<T>(&self, encode: impl FnOnce() -> OurResult<T>) -> Result<T, NotAnAccount> {
        encode().map_err(|error| NotAnAccount(format!("it cannot be stored: {error}")))
    }

    fn prekey_row(&self, account: &Account, prekey: &PreKey) -> Option<(Key, Vec<u8>)> {
        let keys = key_pair(&prekey.keys).ok()?;
        let mut record = Vec::new();
        encode_pre_key_record_to(prekey.id, &keys, &mut record);
        let uploaded = prekey.id < account.first_unuploaded_prekey;
        let key = self.key(RowKind::PreKey).u32(prekey.id);
        Some(self.secret_row_with(key, &[uploaded.into()], &record))
    }

    fn settings_rows(
        &self,
        account: &Account,
        rows: &mut Vec<(Key, Vec<u8>)>,
    ) -> Result<(), NotAnAccount> {
        for key in &account.sync_keys {
            let fingerprint = wa::message::AppStateSyncKeyFingerprint {
                raw_id: key.fingerprint.raw_id,
                current_index: key.fingerprint.current_index,
                device_indexes: key.fingerprint.device_indexes.clone(),
            };
            let stored = AppStateSyncKey {
                key_data: key.data.clone(),
                fingerprint: codec::app_state_sync_key_fingerprint_to_vec(&fingerprint),
                timestamp: key.timestamp,
            };
            let row = self.key(RowKind::SyncKey).tail(&key.id);
            rows.push(self.encoded(|| self.secret_record(row, &stored))?);
        }
        if let Some(latest) = account.sync_keys.last() {
            rows.push((self.key(RowKind::LatestSyncKey), versioned(&latest.id)));
        }
        for collection in &account.collections {
            let state = HashState {
                version: collection.version,
                hash: collection.hash,
                ..HashState::default()
            };
            let key = self.key(RowKind::AppVersion).tail(&collection.name);
            rows.push((key, self.encoded(|| encode(&state))?));
            let below = self.key(RowKind::MutationMac);
            let below = below.escaped(collection.name.as_bytes());
            for (index, value) in &collection.macs {
                let mac = Key::new().u8(VERSION).u64(collection.version).tail(value);
                rows.push((below.clone().tail(index), mac.into_bytes()));
            }
        }
        Ok(())
    }

    fn people_rows(
        &self,
        account: &Account,
        rows: &mut Vec<(Key, Vec<u8>)>,
    ) -> Result<(), NotAnAccount> {
        let now = self.now();
        for (lid, number) in &account.lids {
            let entry = LidPnMappingEntry {
                lid: lid.clone(),
                phone_number: number.clone(),
                created_at: now,
                updated_at: now,
                // How it was learned is not known, and decides only what may overrule it.
                learning_source: "other".to_owned(),
            };
            let key = self.key(RowKind::LidMapping).tail(lid);
            rows.push((key, self.encoded(|| encode(&entry))?));
            let key = self.key(RowKind::PnMapping).tail(number);
            rows.push((key, versioned(lid.as_bytes())));
        }
        let lids = lids(account);
        for token in &account.privacy_tokens {
            let user = token.address.user.as_str();
            // The library looks for the LID where it knows one.
            let user = match token.address.space {
                AddressSpace::Number => lids.get(user).copied().unwrap_or(user),
                _ => user,
            };
            let key = self.key(RowKind::TcToken).tail(user);
            let entry = TcTokenEntry {
                token: self.seal(&key, &token.token),
                token_timestamp: token.timestamp,
                sender_timestamp: token.sent_at,
            };
            rows.push((key, tc_tokens::encode(&entry)));
        }
        Ok(())
    }
}

/// The library's device; its own keys are checked, because with wrong ones WhatsApp refuses it and
/// nobody could say why.
fn device(account: &Account) -> Result<Device, NotAnAccount> {
    let own = |keys: &KeyPair, what: &str| {
        key_pair(keys).map_err(|()| {
            NotAnAccount(format!(
                "the two halves of its {what} do not belong together"
            ))
        })
    };
    let noise_key = own(&account.noise, "connection key")?;
    let identity_key = own(&account.identity, "identity key")?;
    let signed_pre_key = own(&account.signed_prekey.keys, "signed prekey")?;
    let signature = &account.signed_prekey.signature;
    let signed = signed_pre_key.public_key.serialize();
    if !identity_key.public_key.verify_signature(&signed, signature) {
        let why = "its signed prekey is not signed by its identity key";
        return Err(NotAnAccount(why.to_owned()));
    }
    let signed_identity = &account.signed_identity;
    let adv = wa::ADVSignedDeviceIdentity {
        details: Some(signed_identity.details.clone()),
        account_signature_key: Some(signed_identity.account_key.to_vec()),
        account_signature: Some(signed_identity.account_signature.to_vec()),
        device_signature: Some(signed_identity.device_signature.to_vec()),
    };
    let highest = account.prekeys.iter().map(|prekey| prekey.id).max();
    let next_pre_key_id = account.next_prekey.max(highest.map_or(1, |id| id + 1));
    // Keys that were made and never uploaded are offered with the next ones: so all of them must be there.
    let left = account.first_unuploaded_prekey..next_pre_key_id;
    let kept = account.prekeys.iter().filter(|key| left.contains(&key.id));
    let first_unupload_pre_key_id = if kept.count() == left.len() {
        left.start
    } else {
        next_pre_key_id
    };
    Ok(Device {
        pn: Some(jid(&account.number)),
        lid: account.lid.as_ref().map(jid),
        registration_id: account.registration_id,
        noise_key,
        identity_key,
        signed_pre_key,
        signed_pre_key_id: account.signed_prekey.id,
        signed_pre_key_signature: *signature,
        adv_secret_key: account.adv_secret,
        account: Some(Arc::new(adv)),
        push_name: account.name.clone(),
        edge_routing_info: account.routing.clone(),
        next_pre_key_id,
        first_unupload_pre_key_id,
        // How many the server still has is not known: some are uploaded with the first login.
        server_has_prekeys: false,
        ..Device::new()
    })
}

fn jid(address: &DeviceAddress) -> Jid {
    let server = match address.space {
        AddressSpace::Number => Server::Pn,
        AddressSpace::Lid => Server::Lid,
        AddressSpace::Hosted => Server::Hosted,
        AddressSpace::HostedLid => Server::HostedLid,
    };
    Jid::new(address.user.as_str(), server).with_device(address.device)
}

/// The name of a device in the library's rows.
fn signal_address(address: &DeviceAddress) -> String {
    jid(address).to_protocol_address_string()
}

/// The LIDs by their numbers.
fn lids(account: &Account) -> HashMap<&str, &str> {
    let pairs = account.lids.iter();
    pairs
        .map(|(lid, number)| (number.as_str(), lid.as_str()))
        .collect()
}

fn unfit(file: &str) -> LeftOut {
    LeftOut {
        file: file.to_owned(),
        why: "its keys do not fit together: where that is noticed, new ones are agreed on"
            .to_owned(),
    }
}

type States<'a> = Vec<(&'a SenderKey, &'a SenderKeyState)>;

/// The states of all sender keys by the names that the library looks for.
///
/// It looks for ours under this device, and for those of others under the person that the message names,
/// who may be named by number or by LID, without the device.
///
/// Hazard: ours must not be found under two names. A chain that went on from both would use keys twice.
fn sender_keys(account: &Account) -> BTreeMap<String, States<'_>> {
    let by_number = lids(account);
    let by_lid: HashMap<_, _> = by_number
        .iter()
        .map(|(number, lid)| (*lid, *number))
        .collect();
    let mut named: BTreeMap<String, States<'_>> = BTreeMap::new();
    for key in &account.sender_keys {
        let sender = &key.sender;
        let own = [Some(&account.number), account.lid.as_ref()].contains(&Some(sender));
        let mut names = vec![sender.clone()];
        if !own {
            let bare = DeviceAddress {
                device: 0,
                ..sender.clone()
            };
            let other = match sender.space {
                AddressSpace::Number => (by_number.get(sender.user.as_str()), AddressSpace::Lid),
                AddressSpace::Lid => (by_lid.get(sender.user.as_str()), AddressSpace::Number),
                _ => (None, sender.space),
            };
            let other = other.0.map(|user| DeviceAddress {
                user: (*user).to_owned(),
                space: other.1,
                device: 0,
            });
            names = [Some(bare), other].into_iter().flatten().collect();
        }
        for name in names {
            let name = format!("{}:{}", key.group, signal_address(&name));
            let states = named.entry(name).or_default();
            states.extend(key.states.iter().map(|state| (key, state)));
        }
    }
    named
}
