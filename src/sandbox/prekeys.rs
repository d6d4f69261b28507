//! Keys that devices publish, and that others fetch to write to them.

use std::collections::VecDeque;
use std::sync::Arc;

use whatsapp_rust::Jid;
use whatsapp_rust::wacore::prekeys::compute_key_bundle_digest;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};

use super::account::{PublishedKeys, SignedKey};
use super::iq::IqRequest;
use super::journal::JournalKey;
use super::keys::SIGNED_PREKEY_ID;
use super::network::Network;
use super::number::DeviceAddress;
use super::outbox::Class;
use super::random;
use super::stanza::{bytes, child_array, child_id, id_bytes, jid, server};

/// Below this many one-time prekeys a companion is told to publish more. It is told again each time
/// that half of them are gone, for some clients do nothing before there are very few.
const FEW: usize = 10;

/// Identity, registration id, signed prekey and, while there are any, a one-time prekey.
pub(super) type TakenKeys = ([u8; 32], u32, SignedKey, Option<(u32, [u8; 32])>);

impl Network {
    pub(super) fn answer_encrypt(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        if request.set {
            if let Some(rotate) = request.child("rotate") {
                return self.rotate(request, rotate);
            }
            return self.publish(request);
        }
        if request.child("count").is_some() {
            let count = self
                .with_keys(request.from, |keys| keys.one_time.len())
                .unwrap_or(0);
            return request.answer([NodeBuilder::new("count").attr("value", count).build()]);
        }
        if request.child("digest").is_some() {
            return self.digest(request);
        }
        if let Some(key) = request.child("key") {
            let users = key
                .get_children_by_tag("user")
                .filter_map(|user| jid(user, "jid"));
            let users: Vec<_> = users.map(|jid| self.bundle_node(&jid)).collect();
            return request.answer([NodeBuilder::new("list").children(users).build()]);
        }
        if let Some(identity) = request.child("identity") {
            let users = identity
                .get_children_by_tag("user")
                .filter_map(|user| jid(user, "jid"));
            let users: Vec<_> = users.map(|jid| self.identity_node(&jid)).collect();
            return request.answer([NodeBuilder::new("list").children(users).build()]);
        }
        None
    }

    fn with_keys<T>(
        &self,
        of: DeviceAddress,
        look: impl FnOnce(&mut PublishedKeys) -> T,
    ) -> Option<T> {
        let account = self.directory.known_account(of.number)?;
        let mut state = account.lock();
        state
            .companions
            .get_mut(&of.device)?
            .keys
            .as_mut()
            .map(look)
    }

    fn publish(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        let node = request.node;
        let Some(signed) = node.get_optional_child("skey").and_then(signed_key) else {
            return request.refuse(406, "not-acceptable");
        };
        let Some(registration_id) = child_id(node, "registration") else {
            return request.refuse(406, "not-acceptable");
        };
        let list = node
            .get_optional_child("list")
            .and_then(|list| list.children());
        let fresh: Vec<_> = list
            .unwrap_or_default()
            .iter()
            .filter_map(one_time_key)
            .collect();
        let account = self.directory.account(request.from.number);
        let mut state = account.lock();
        if let Some(companion) = state.companions.get_mut(&request.from.device) {
            if let Some(identity) = child_array(node, "identity") {
                companion.identity = identity;
            }
            companion.told_prekeys = None;
            let known = companion
                .keys
                .take()
                .map(|keys| keys.one_time)
                .unwrap_or_default();
            let mut one_time: VecDeque<_> = known;
            for key in fresh {
                if !one_time.contains(&key) {
                    one_time.push_back(key);
                }
            }
            companion.keys = Some(PublishedKeys {
                registration_id,
                signed,
                one_time,
            });
            self.changes.touch(|| JournalKey::Keys(request.from));
            self.changes.touch(|| JournalKey::Companion(request.from));
        }
        request.done()
    }

    fn rotate(&self, request: &IqRequest<'_, '_>, rotate: &NodeRef<'_>) -> Option<Node> {
        let Some(signed) = rotate.get_optional_child("skey").and_then(signed_key) else {
            return request.refuse(406, "not-acceptable");
        };
        self.with_keys(request.from, |keys| keys.signed = signed);
        self.changes.touch(|| JournalKey::Keys(request.from));
        request.done()
    }

    fn digest(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        let account = self.directory.account(request.from.number);
        let state = account.lock();
        let companion = state.companions.get(&request.from.device)?;
        let Some(keys) = &companion.keys else {
            return request.refuse(404, "item-not-found");
        };
        let one_time: Vec<&[u8]> = keys
            .one_time
            .iter()
            .map(|(_, key)| key.as_slice())
            .collect();
        let hash = compute_key_bundle_digest(
            &companion.identity,
            &keys.signed.key,
            &keys.signed.signature,
            &one_time,
        );
        let ids = keys
            .one_time
            .iter()
            .map(|(id, _)| bytes("id", id_bytes(*id)));
        let digest = NodeBuilder::new("digest").children([
            bytes("registration", keys.registration_id.to_be_bytes()),
            bytes("type", [5]),
            bytes("identity", companion.identity),
            signed_node(&keys.signed),
            NodeBuilder::new("list").children(ids).build(),
            bytes("hash", hash),
        ]);
        request.answer([digest.build()])
    }

    /// Takes the keys of a companion; the one-time prekey is gone afterwards.
    pub(super) fn take_companion_keys(&self, of: DeviceAddress) -> Option<TakenKeys> {
        let account = self.directory.known_account(of.number)?;
        let mut state = account.lock();
        let companion = state.companions.get_mut(&of.device)?;
        let identity = companion.identity;
        let keys = companion.keys.as_mut()?;
        let one_time = keys.one_time.pop_front();
        let left = keys.one_time.len();
        let taken = (
            identity,
            keys.registration_id,
            keys.signed.clone(),
            one_time,
        );
        let few = companion
            .told_prekeys
            .map_or(left < FEW, |told| 2 * left <= told);
        let warn = few && companion.told_prekeys != Some(0);
        if warn {
            companion.told_prekeys = Some(left);
        }
        drop(state);
        self.changes.touch(|| JournalKey::Keys(of));
        if warn {
            let id = random::message_id();
            let notification = NodeBuilder::new("notification")
                .attr("from", server())
                .attr("type", "encrypt")
                .attr("id", id.as_str())
                .attr("t", self.now().as_secs())
                .children([NodeBuilder::new("count").attr("value", left).build()])
                .build();
            account.deliver(of.device, Class::Notification, &id, Arc::new(notification));
        }
        Some(taken)
    }

    fn bundle_node(&self, jid: &Jid) -> Node {
        let user = NodeBuilder::new("user").attr("jid", jid);
        let known = DeviceAddress::from_jid(jid)
            .filter(|address| self.directory.is_registered(address.number));
        let Some(address) = known else {
            return not_found(user);
        };
        let user = user.attr("t", self.now().as_secs());
        if address.device == 0 {
            let bundle = self.directory.phone(address.number).bundle(&self.seed);
            let signed = NodeBuilder::new("skey").children([
                bytes("id", id_bytes(SIGNED_PREKEY_ID)),
                bytes("value", bundle.signed),
                bytes("signature", bundle.signature),
            ]);
            return user
                .children([
                    bytes("registration", bundle.registration_id.to_be_bytes()),
                    bytes("type", [5]),
                    bytes("identity", bundle.identity),
                    signed.build(),
                    key_node(bundle.one_time.0, bundle.one_time.1),
                ])
                .build();
        }
        let Some((identity, registration_id, signed, one_time)) = self.take_companion_keys(address)
        else {
            return not_found(user);
        };
        let mut children = vec![
            bytes("registration", registration_id.to_be_bytes()),
            bytes("type", [5]),
            bytes("identity", identity),
            signed_node(&signed),
        ];
        if let Some((id, key)) = one_time {
            children.push(key_node(id, key));
        }
        if let Some(proof) = self.device_identity(address) {
            children.push(bytes("device-identity", proof));
        }
        user.children(children).build()
    }

    fn identity_node(&self, jid: &Jid) -> Node {
        let user = NodeBuilder::new("user").attr("jid", jid);
        let Some(address) = DeviceAddress::from_jid(jid) else {
            return not_found(user);
        };
        let identity = if address.device == 0 {
            Some(
                self.directory
                    .phone(address.number)
                    .keys(&self.seed)
                    .identity_public()
                    .to_vec(),
            )
        } else {
            self.directory
                .known_account(address.number)
                .and_then(|account| {
                    account
                        .lock()
                        .companions
                        .get(&address.device)
                        .map(|c| c.identity.to_vec())
                })
        };
        match identity {
            Some(identity) => user
                .children([bytes("type", [5]), bytes("identity", identity)])
                .build(),
            None => not_found(user),
        }
    }

    fn device_identity(&self, of: DeviceAddress) -> Option<Vec<u8>> {
        let account = self.directory.known_account(of.number)?;
        let state = account.lock();
        state
            .companions
            .get(&of.device)
            .map(|companion| companion.device_identity.clone())
    }

    /// The phone's first words to a companion that has just published its keys.
    pub(super) fn greet_companion(self: &Arc<Self>, address: DeviceAddress) {
        let account = self.directory.account(address.number);
        let first = match account.lock().companions.get_mut(&address.device) {
            Some(companion) => {
                let first = !companion.greeted && companion.keys.is_some();
                companion.greeted |= first;
                first
            }
            None => false,
        };
        if first {
            self.changes.touch(|| JournalKey::Companion(address));
            // The keys come before anything that is sealed with them.
            self.share_keys(address);
            if !self.has_settings(address.number) {
                self.share_name(address.number);
                self.share_token_salt(address.number);
            }
            self.share_history(address);
        }
    }
}

fn not_found(user: NodeBuilder) -> Node {
    let error = NodeBuilder::new("error")
        .attr("code", 404)
        .attr("text", "item-not-found");
    user.children([error.build()]).build()
}

fn key_node(id: u32, key: impl Into<Vec<u8>>) -> Node {
    NodeBuilder::new("key")
        .children([bytes("id", id_bytes(id)), bytes("value", key)])
        .build()
}

fn signed_node(signed: &SignedKey) -> Node {
    NodeBuilder::new("skey")
        .children([
            bytes("id", id_bytes(signed.id)),
            bytes("value", signed.key),
            bytes("signature", signed.signature),
        ])
        .build()
}

fn signed_key(node: &NodeRef<'_>) -> Option<SignedKey> {
    Some(SignedKey {
        id: child_id(node, "id")?,
        key: child_array(node, "value")?,
        signature: child_array(node, "signature")?,
    })
}

fn one_time_key(node: &NodeRef<'_>) -> Option<(u32, [u8; 32])> {
    Some((child_id(node, "id")?, child_array(node, "value")?))
}
