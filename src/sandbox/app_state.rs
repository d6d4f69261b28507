//! Settings that the devices of an account share (the library calls them app state): the server
//! keeps encrypted patches in order, and the phone makes some of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::appstate::hash::{HashState, generate_patch_mac};
use whatsapp_rust::wacore::appstate::{encode_record, expand_app_state_keys};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};
use whatsapp_rust::waproto::whatsapp::sync_action_value::{
    ContactAction, NctSaltSyncAction, PushNameSetting,
};
use whatsapp_rust::waproto::whatsapp::syncd_mutation::SyncdOperation;
use whatsapp_rust::waproto::whatsapp::{KeyId, SyncActionValue, SyncdPatch, SyncdVersion};

use super::iq::IqRequest;
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Number};
use super::outbox::Class;
use super::profile::SaltBy;
use super::stanza::{child_bytes, text};
use super::{base64, random};
use crate::error::{Error, Result};

/// The settings of all accounts.
#[derive(Default)]
pub(super) struct AppState(Mutex<HashMap<Number, BTreeMap<String, Collection>>>);

/// One group of settings.
#[derive(Default)]
struct Collection {
    /// Each patch as it was sent, with its version; the first has version 1.
    patches: Vec<Vec<u8>>,
    /// The sum over all values, by which devices notice that one is missing.
    sum: HashState,
    /// The proof of each value that is in force, by the proof of its name.
    proofs: HashMap<Vec<u8>, Vec<u8>>,
}

impl Collection {
    fn version(&self) -> u64 {
        self.patches.len() as u64
    }

    fn push(&mut self, mut patch: SyncdPatch) {
        self.sum = self.sum_with(&patch);
        for mutation in &patch.mutations {
            let index = mutation.record.index.blob.clone().unwrap_or_default();
            let value = mutation.record.value.blob.as_deref().unwrap_or_default();
            let removed = mutation
                .operation
                .is_some_and(|op| op == SyncdOperation::REMOVE);
            if removed || value.len() < 32 {
                self.proofs.remove(&index);
            } else {
                self.proofs
                    .insert(index, value[value.len() - 32..].to_vec());
            }
        }
        let version = self.version() + 1;
        patch.version = MessageField::some(SyncdVersion {
            version: Some(version),
        });
        self.patches.push(patch.encode_to_vec());
    }

    fn sum_with(&self, patch: &SyncdPatch) -> HashState {
        let mut sum = self.sum.clone();
        // A patch that cannot be added up is the business of those who read it.
        let _ = sum.update_hash(&patch.mutations, |index, _| {
            Ok(self.proofs.get(index).cloned())
        });
        sum.version = self.version() + 1;
        sum
    }

    fn answer(&self, name: &str, since: u64) -> NodeBuilder {
        let since = usize::try_from(since).unwrap_or(usize::MAX);
        let patches = self.patches.iter().skip(since);
        let patches = patches.map(|patch| NodeBuilder::new("patch").bytes(patch.clone()).build());
        NodeBuilder::new("collection")
            .attr("name", name)
            .attr("version", self.version())
            .children([NodeBuilder::new("patches").children(patches).build()])
    }
}

impl AppState {
    fn lock(&self) -> MutexGuard<'_, HashMap<Number, BTreeMap<String, Collection>>> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under this lock")
    }

    /// The patches of an account for the state file.
    pub(super) fn row(&self, number: Number) -> Option<BTreeMap<String, Vec<String>>> {
        let all = self.lock();
        let rows = all.get(&number)?.iter().map(|(name, collection)| {
            (
                name.clone(),
                collection
                    .patches
                    .iter()
                    .map(|p| base64::encode(p))
                    .collect(),
            )
        });
        Some(rows.collect())
    }

    pub(super) fn restore(&self, number: Number, rows: BTreeMap<String, Vec<String>>) {
        let mut all = self.lock();
        let mine = all.entry(number).or_default();
        for (name, patches) in rows {
            let collection = mine.entry(name).or_default();
            for patch in patches.iter().filter_map(|patch| base64::decode(patch)) {
                collection.push(SyncdPatch::decode_from_slice(&patch).unwrap_or_default());
            }
        }
    }
}

impl Network {
    pub(super) fn answer_settings(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        let sync = request.child("sync")?;
        let mut changed = Vec::new();
        let collections: Vec<_> = sync
            .get_children_by_tag("collection")
            .map(|asked| self.answer_collection(request.from.number, asked, &mut changed))
            .collect();
        for (name, version) in changed {
            self.announce_settings(
                request.from.number,
                Some(request.from.device),
                &name,
                version,
            );
        }
        request.answer([NodeBuilder::new("sync").children(collections).build()])
    }

    fn answer_collection(
        &self,
        number: Number,
        asked: &NodeRef<'_>,
        changed: &mut Vec<(String, u64)>,
    ) -> Node {
        let name = text(asked, "name").unwrap_or_default().into_owned();
        let since = text(asked, "version")
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        let mut all = self.settings.lock();
        let collection = all
            .entry(number)
            .or_default()
            .entry(name.clone())
            .or_default();
        let Some(patch) = child_bytes(asked, "patch") else {
            return collection.answer(&name, since).build();
        };
        let conflict = since != collection.version();
        let code = match SyncdPatch::decode_from_slice(patch) {
            Ok(_) if conflict => 409,
            Ok(patch) => {
                collection.push(patch);
                self.changes.touch(|| JournalKey::Settings(number));
                changed.push((name.clone(), collection.version()));
                let done = NodeBuilder::new("collection")
                    .attr("name", name)
                    .attr("type", "result")
                    .attr("version", collection.version());
                return done.build();
            }
            Err(_) => 400,
        };
        let mut answer = collection
            .answer(&name, since)
            .attr("type", "error")
            .build();
        let error = NodeBuilder::new("error")
            .attr("code", code)
            .attr("text", "conflict")
            .build();
        if let Some(whatsapp_rust::wacore_binary::NodeContent::Nodes(children)) =
            &mut answer.content
        {
            children.push(error);
        }
        answer
    }

    /// Tells companions that settings have changed.
    fn announce_settings(&self, number: Number, except: Option<u16>, name: &str, version: u64) {
        let id = random::message_id();
        let notification = NodeBuilder::new("notification")
            .attr("from", DeviceAddress::phone(number).pn())
            .attr("type", "server_sync")
            .attr("id", id.as_str())
            .attr("t", self.now().as_secs())
            .children([NodeBuilder::new("collection")
                .attr("name", name)
                .attr("version", version)
                .build()]);
        let account = self.directory.account(number);
        account.deliver_to_all(
            except,
            Class::Notification,
            &id,
            &Arc::new(notification.build()),
        );
    }

    /// The phone changes a setting of the account.
    fn set(
        &self,
        number: Number,
        name: &str,
        index: &[&str],
        version: i32,
        value: SyncActionValue,
    ) {
        let (key_id, key) = self.settings_secret(number);
        let keys = expand_app_state_keys(&key);
        let index = serde_json::to_vec(index).expect("Invariant: strings are JSON");
        let (mutation, _) = encode_record(
            SyncdOperation::SET,
            &index,
            &value,
            &keys,
            &key_id,
            &random::bytes(),
            version,
        );
        let mut all = self.settings.lock();
        let collection = all
            .entry(number)
            .or_default()
            .entry(name.to_owned())
            .or_default();
        let mut patch = SyncdPatch {
            key_id: MessageField::some(KeyId { id: Some(key_id) }),
            mutations: vec![mutation],
            ..Default::default()
        };
        let sum = collection.sum_with(&patch);
        patch.snapshot_mac = Some(sum.generate_snapshot_mac(name, &keys.snapshot_mac));
        patch.patch_mac = Some(generate_patch_mac(
            &patch,
            name,
            &keys.patch_mac,
            sum.version,
        ));
        collection.push(patch);
        let version = collection.version();
        drop(all);
        self.changes.touch(|| JournalKey::Settings(number));
        self.announce_settings(number, None, name, version);
    }

    /// The phone tells its companions by which name others see it.
    pub(super) fn share_name(&self, number: Number) {
        let name = PushNameSetting {
            name: Some(self.name_of(number)),
        };
        let value = SyncActionValue {
            timestamp: Some(self.now().as_ms()),
            push_name_setting: MessageField::some(name),
            ..Default::default()
        };
        self.set(number, "critical_block", &["setting_pushName"], 1, value);
    }

    /// The phone tells its companions from what they compute tokens for strangers.
    pub(super) fn share_token_salt(&self, number: Number) {
        if !self.shares_salt(number, SaltBy::Settings) {
            return;
        }
        let salt = NctSaltSyncAction {
            salt: Some(self.token_salt(number).to_vec()),
        };
        let value = SyncActionValue {
            timestamp: Some(self.now().as_ms()),
            nct_salt_sync_action: MessageField::some(salt),
            ..Default::default()
        };
        self.set(number, "regular_high", &["nct_salt_sync"], 1, value);
    }

    /// Whether the account has any settings, as one with a companion may have.
    pub(super) fn has_settings(&self, number: Number) -> bool {
        self.settings
            .lock()
            .get(&number)
            .is_some_and(|mine| mine.values().any(|collection| collection.version() > 0))
    }

    /// The user of a phone saves somebody in his address book.
    pub fn save_contact(&self, phone: &str, contact: &str, name: &str) -> Result<()> {
        let number = self.number(phone)?;
        let contact = DeviceAddress::phone(self.number(contact)?);
        let first = name.split_whitespace().next();
        let first = first.ok_or_else(|| Error::invalid("a contact has a name"))?;
        let action = ContactAction {
            full_name: Some(name.to_owned()),
            first_name: Some(first.to_owned()),
            lid_jid: Some(contact.lid().to_string()),
            save_on_primary_addressbook: Some(true),
            ..Default::default()
        };
        let value = SyncActionValue {
            timestamp: Some(self.now().as_ms()),
            contact_action: MessageField::some(action),
            ..Default::default()
        };
        let id = contact.pn().to_string();
        self.set(number, "critical_unblock_low", &["contact", &id], 2, value);
        Ok(())
    }
}
