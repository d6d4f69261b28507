//! Linking a companion, the phone's side: scan a QR code (and, in `pair_code`, type a code).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use tokio::sync::oneshot;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::pair::PairUtils;
use whatsapp_rust::wacore_binary::NodeRef;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::waproto::whatsapp::client_payload::DevicePairingRegistrationData;
use whatsapp_rust::waproto::whatsapp::{
    ADVDeviceIdentity, ADVSignedDeviceIdentity, ADVSignedDeviceIdentityHMAC, ClientPairingProps,
    DeviceProps,
};

use super::account::{Companion, PublishedKeys, SignedKey, raw_id};
use super::connection::{Socket, stream_error};
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Form, Number};
use super::outbox::{Class, Outbox};
use super::stanza::{bytes, child_bytes, refusal, result, server, text};
use super::{base64, random};
use crate::error::{Code, Error, Result};

/// How many QR codes a client can show before it has to connect anew.
const REFS: usize = 6;
/// How long a client has to answer that it accepts the link.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a client may finish its own work on the link before it is told to connect anew.
///
/// Hazard: told sooner, `whatsapp-rust` 0.7.0 takes its own late note "I am being disconnected" for
/// news about the new connection, and connects once more.
const BREATH: Duration = Duration::from_millis(50);
/// What the phone's signature over a companion begins with.
const ACCOUNT_PREFIX: [u8; 2] = [6, 0];

/// A client that wants to be linked.
pub(super) struct Candidate {
    pub(super) socket: Arc<Socket>,
    pub(super) noise: [u8; 32],
    pub(super) identity: [u8; 32],
    /// What the client can be written to with before it publishes more.
    keys: Option<PublishedKeys>,
    platform: String,
    /// The name that it would give its account.
    name: Option<String>,
    refs: Vec<String>,
    link: Mutex<Option<PendingLink>>,
}

/// What a client that shows a QR code says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientInfo {
    /// The program, as the phone would list it.
    pub platform: String,
    /// The name that it would give its account.
    pub name: Option<String>,
}

/// A link that waits for the client's consent.
struct PendingLink {
    address: DeviceAddress,
    request: String,
    done: oneshot::Sender<Result<Linked>>,
}

/// A companion that was just linked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Linked {
    /// The number of the phone.
    pub phone: String,
    /// The id of the new device.
    pub device: u16,
}

/// The clients that show a QR code now.
#[derive(Default)]
pub(super) struct Pairings {
    by_ref: Mutex<HashMap<String, Arc<Candidate>>>,
}

impl Pairings {
    fn candidate(&self, reference: &str) -> Option<Arc<Candidate>> {
        let refs = self
            .by_ref
            .lock()
            .expect("Invariant: nothing panics under this lock");
        refs.get(reference).cloned()
    }
}

impl Network {
    /// A client without an account has connected: it gets codes to show.
    pub(super) fn offer_pairing(
        &self,
        socket: &Arc<Socket>,
        noise: &[u8; 32],
        registration: &DevicePairingRegistrationData,
        name: Option<&str>,
    ) -> Option<Arc<Candidate>> {
        let identity = registration.e_ident.as_deref()?.try_into().ok()?;
        let props = registration.device_props.as_deref();
        let platform = props
            .and_then(|props| DeviceProps::decode_from_slice(props).ok())
            .and_then(|props| props.os)
            .unwrap_or_default();
        let refs: Vec<_> = (0..REFS)
            .map(|_| format!("2@{}", hex::encode_upper(random::bytes::<24>())))
            .collect();
        let candidate = Arc::new(Candidate {
            socket: socket.clone(),
            noise: *noise,
            identity,
            keys: first_keys(registration),
            platform,
            name: name.map(str::to_owned),
            refs,
            link: Mutex::new(None),
        });
        let mut known = self
            .pairings
            .by_ref
            .lock()
            .expect("Invariant: nothing panics under this lock");
        for reference in &candidate.refs {
            known.insert(reference.clone(), candidate.clone());
        }
        drop(known);
        let refs = candidate
            .refs
            .iter()
            .map(|reference| bytes("ref", reference.as_bytes()));
        let offer = NodeBuilder::new("iq")
            .attr("from", server())
            .attr("type", "set")
            .attr("xmlns", "md")
            .attr("id", random::message_id())
            .children([NodeBuilder::new("pair-device").children(refs).build()]);
        socket.send(Arc::new(offer.build()));
        Some(candidate)
    }

    /// A client that was not linked has gone, or was linked and comes back as a companion.
    pub(super) fn candidate_left(&self, candidate: &Candidate) {
        let mut known = self
            .pairings
            .by_ref
            .lock()
            .expect("Invariant: nothing panics under this lock");
        for reference in &candidate.refs {
            known.remove(reference);
        }
        drop(known);
        self.codes.forget(candidate);
    }

    /// A phone scans the code that a client shows. Without a number, an unused one is made up.
    pub async fn scan(&self, qr: &str, phone: Option<&str>) -> Result<Linked> {
        let (candidate, secret) = self.shows(qr)?;
        let number = match phone {
            Some(text) => self.number(text)?,
            None => self.unused_number(),
        };
        self.link(&candidate, number, &secret).await
    }

    /// What a phone sees of the client that shows a QR code, before it is linked.
    pub fn look(&self, qr: &str) -> Result<ClientInfo> {
        let (candidate, _) = self.shows(qr)?;
        Ok(ClientInfo {
            platform: candidate.platform.clone(),
            name: candidate.name.clone(),
        })
    }

    /// The client that shows a QR code, and the secret in the code.
    fn shows(&self, qr: &str) -> Result<(Arc<Candidate>, Vec<u8>)> {
        let qr = qr.trim();
        let (reference, noise, identity) =
            PairUtils::parse_qr_code(qr).map_err(|_| Error::invalid("not a WhatsApp QR code"))?;
        let secret = qr.split(',').nth(3).and_then(base64::decode);
        let secret = secret.ok_or_else(|| Error::invalid("the QR code holds no secret"))?;
        let gone = || Error::not_found("nobody shows this QR code (any more)");
        let candidate = self.pairings.candidate(&reference).ok_or_else(gone)?;
        if candidate.noise != noise || candidate.identity != identity {
            return Err(gone());
        }
        Ok((candidate, secret))
    }

    /// Links a client to a phone, once both have shown that they know `secret`.
    pub(super) async fn link(
        &self,
        candidate: &Candidate,
        number: Number,
        secret: &[u8],
    ) -> Result<Linked> {
        if !self.directory.is_registered(number) {
            return Err(Error::new(Code::SessionBusy, "this number has no WhatsApp"));
        }
        let address = {
            let account = self.directory.account(number);
            let mut state = account.lock();
            state.next_device += 1;
            DeviceAddress::new(number, state.next_device - 1)
        };
        let request = random::message_id();
        let (done, outcome) = oneshot::channel();
        let link = PendingLink {
            address,
            request: request.clone(),
            done,
        };
        candidate.replace_link(Some(link));
        let success = NodeBuilder::new("pair-success").children([
            bytes(
                "device-identity",
                self.sealed_identity(address, &candidate.identity, secret),
            ),
            NodeBuilder::new("biz").attr("name", "").build(),
            NodeBuilder::new("platform").attr("name", "smba").build(),
            NodeBuilder::new("device")
                .attr("jid", address.pn())
                .attr("lid", address.lid())
                .build(),
            bytes(
                "client-props",
                ClientPairingProps {
                    is_chat_db_lid_migrated: Some(self.form == Form::Lid),
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
        ]);
        let message = NodeBuilder::new("iq")
            .attr("from", server())
            .attr("type", "set")
            .attr("id", request)
            .attr("t", self.now().as_secs())
            .children([success.build()]);
        candidate.socket.send(Arc::new(message.build()));
        match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(Ok(outcome)) => {
                // Whoever is told that he is linked stays so, whatever happens to this process.
                self.save()?;
                outcome
            }
            Ok(Err(_)) => Err(Error::new(
                Code::SessionBusy,
                "the client left while it was linked",
            )),
            Err(_) => Err(Error::new(Code::HostTimeout, "the client did not answer")),
        }
    }

    /// The phone's statement that the companion belongs to it.
    fn sealed_identity(
        &self,
        address: DeviceAddress,
        companion: &[u8; 32],
        secret: &[u8],
    ) -> Vec<u8> {
        let phone = self.directory.phone(address.number);
        let keys = phone.keys(&self.seed);
        let details = ADVDeviceIdentity {
            raw_id: Some(raw_id(address.number)),
            timestamp: u64::try_from(self.now().as_secs()).ok(),
            key_index: Some(u32::from(address.device)),
            ..Default::default()
        }
        .encode_to_vec();
        let signature = keys.sign(&[&ACCOUNT_PREFIX, details.as_slice(), companion].concat());
        let signed = ADVSignedDeviceIdentity {
            details: Some(details),
            account_signature_key: Some(keys.identity_public().to_vec()),
            account_signature: Some(signature.to_vec()),
            device_signature: None,
        }
        .encode_to_vec();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret)
            .expect("Invariant: HMAC takes keys of any length");
        mac.update(&signed);
        ADVSignedDeviceIdentityHMAC {
            details: Some(signed),
            hmac: Some(mac.finalize().into_bytes().to_vec()),
            ..Default::default()
        }
        .encode_to_vec()
    }

    /// Takes a stanza from a client that is not linked yet.
    pub(super) fn take_from_candidate(
        self: &Arc<Self>,
        socket: &Arc<Socket>,
        candidate: &Arc<Candidate>,
        node: &NodeRef<'_>,
    ) {
        if node.tag != "iq" {
            // Baileys says that it is available before it has an account; nobody can see it yet.
            if !matches!(&*node.tag, "ib" | "ack" | "presence") {
                self.counters
                    .unknown(format!("{} before pairing", node.tag));
            }
            return;
        }
        let Some(id) = text(node, "id") else { return };
        match text(node, "type").as_deref() {
            Some("result") => {
                let signed = node
                    .get_optional_child_by_tag(&["pair-device-sign"])
                    .and_then(|sign| child_bytes(sign, "device-identity"));
                if let Some(identity) = signed {
                    self.linked(candidate, &id, identity);
                }
            }
            Some("error") => {
                if let Some(link) = candidate.replace_link(None) {
                    let refused = Error::new(Code::HostUnreachable, "the client refused the link");
                    let _ = link.done.send(Err(refused));
                }
            }
            _ if node.get_optional_child("link_code_companion_reg").is_some() => {
                self.take_code_stage(socket, candidate, &id, node);
            }
            _ if text(node, "xmlns").as_deref() == Some("w:p") => {
                socket.send(Arc::new(result(&id).build()));
            }
            _ => {
                let xmlns = text(node, "xmlns").unwrap_or_default();
                self.counters.unknown(format!("iq {xmlns} before pairing"));
                socket.send(Arc::new(refusal(&id, 400, "bad-request")));
            }
        }
    }

    /// The client has signed: it is a companion now.
    fn linked(&self, candidate: &Candidate, request: &str, device_identity: &[u8]) {
        let Some(link) = candidate.replace_link(None) else {
            return;
        };
        if link.request != request {
            candidate.replace_link(Some(link));
            return;
        }
        let address = link.address;
        let account = self.directory.account(address.number);
        let mut state = account.lock();
        state.devices_changed = self.now().as_secs();
        state.companions.insert(
            address.device,
            Companion {
                noise: candidate.noise,
                identity: candidate.identity,
                device_identity: device_identity.to_vec(),
                platform: candidate.platform.clone(),
                keys: candidate.keys.clone(),
                greeted: false,
                told_prekeys: None,
                name: None,
                outbox: Outbox::default(),
                socket: None,
                active: false,
                available: false,
            },
        );
        drop(state);
        self.changes.touch(|| JournalKey::Account(address.number));
        self.changes.touch(|| JournalKey::Companion(address));
        self.changes.touch(|| JournalKey::Keys(address));
        self.directory.add_login(candidate.noise, address);
        self.announce_devices(address, true);
        let socket = candidate.socket.clone();
        tokio::spawn(async move {
            tokio::time::sleep(BREATH).await;
            stream_error(&socket, 515, None);
        });
        let linked = Linked {
            phone: address.number.to_string(),
            device: address.device,
        };
        let _ = link.done.send(Ok(linked));
    }

    /// Tells the other companions that one was linked or unlinked.
    pub(super) fn announce_devices(&self, about: DeviceAddress, added: bool) {
        let account = self.directory.account(about.number);
        let phone = self.directory.phone(about.number);
        let (changed, list) = account.key_index_list(phone.keys(&self.seed));
        let device = NodeBuilder::new("device")
            .attr("jid", about.pn())
            .attr("lid", about.lid())
            .attr("key-index", u32::from(about.device))
            .build();
        let list = NodeBuilder::new("key-index-list")
            .attr("ts", changed)
            .bytes(list)
            .build();
        let id = random::message_id();
        let notification = NodeBuilder::new("notification")
            .attr("from", DeviceAddress::phone(about.number).pn())
            .attr("lid", DeviceAddress::phone(about.number).lid())
            .attr("type", "devices")
            .attr("id", id.as_str())
            .attr("t", self.now().as_secs())
            .children([NodeBuilder::new(if added { "add" } else { "remove" })
                .attr("device_hash", self.device_hash(about.number))
                .children([device, list])
                .build()]);
        let notification = Arc::new(notification.build());
        account.deliver_to_all(Some(about.device), Class::Notification, &id, &notification);
        for friend in self.directory.acquaintances(about.number) {
            if let Some(account) = self.directory.known_account(friend) {
                account.deliver_to_all(None, Class::Notification, &id, &notification);
            }
        }
    }

    /// A number that nobody has used on this network.
    fn unused_number(&self) -> Number {
        loop {
            let random = u64::from_be_bytes(random::bytes()) % 100_000_000;
            let number = Number::from_value(6_289_900_000_000 + random);
            if self.directory.known_phone(number).is_none() {
                return number;
            }
        }
    }
}

/// The keys that come with the request to be linked; there is no one-time prekey among them.
fn first_keys(registration: &DevicePairingRegistrationData) -> Option<PublishedKeys> {
    let number = |bytes: &Option<Vec<u8>>| {
        let bytes = bytes.as_deref()?;
        (bytes.len() <= 4).then(|| bytes.iter().fold(0, |id, byte| id << 8 | u32::from(*byte)))
    };
    Some(PublishedKeys {
        registration_id: number(&registration.e_regid)?,
        signed: SignedKey {
            id: number(&registration.e_skey_id)?,
            key: registration.e_skey_val.as_deref()?.try_into().ok()?,
            signature: registration.e_skey_sig.as_deref()?.try_into().ok()?,
        },
        one_time: VecDeque::new(),
    })
}

impl Candidate {
    fn replace_link(&self, link: Option<PendingLink>) -> Option<PendingLink> {
        let mut current = self
            .link
            .lock()
            .expect("Invariant: nothing panics under this lock");
        std::mem::replace(&mut *current, link)
    }
}
