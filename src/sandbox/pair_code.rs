//! Linking a companion by an eight-character code that the phone's user types.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use whatsapp_rust::wacore::crypto::hkdf_sha256_into;
use whatsapp_rust::wacore::libsignal::crypto::aes_256_gcm_decrypt;
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PublicKey};
use whatsapp_rust::wacore::pair_code::PairCodeUtils;
use whatsapp_rust::wacore_binary::NodeRef;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::connection::Socket;
use super::network::Network;
use super::number::Number;
use super::pairing::{Candidate, Linked};
use super::stanza::{bytes, child_bytes, refusal, result, server};
use super::usync::{person, word};
use super::{keys::PhoneKeys, random};
use crate::error::{Code, Error, Result};

/// How long a client has for its part of the exchange, which costs it some work.
const PATIENCE: Duration = Duration::from_secs(30);
/// The length of a sealed key bundle: salt, nonce, three keys, tag.
const SEALED: usize = 32 + 12 + 96 + 16;

/// The clients that show a code now, by the number they show it for.
#[derive(Default)]
pub(super) struct Codes(Mutex<HashMap<Number, Arc<Showing>>>);

/// A client that shows a code.
struct Showing {
    candidate: Arc<Candidate>,
    reference: Vec<u8>,
    /// The client's key, sealed with the code.
    sealed_key: Vec<u8>,
    finish: Mutex<Option<oneshot::Sender<Vec<u8>>>>,
}

impl Codes {
    fn find(&self, number: Number) -> Option<Arc<Showing>> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under this lock")
            .get(&number)
            .cloned()
    }

    pub(super) fn forget(&self, candidate: &Candidate) {
        let mut codes = self
            .0
            .lock()
            .expect("Invariant: nothing panics under this lock");
        codes.retain(|_, showing| showing.candidate.noise != candidate.noise);
    }
}

impl Network {
    /// Takes the client's part of the exchange.
    pub(super) fn take_code_stage(
        &self,
        socket: &Arc<Socket>,
        candidate: &Arc<Candidate>,
        id: &str,
        node: &NodeRef<'_>,
    ) {
        let registration = node.get_optional_child("link_code_companion_reg");
        let answer = registration.and_then(|registration| {
            let number = person(registration, "jid")?;
            match word(registration, "stage")?.as_str() {
                "companion_hello" => {
                    let key = "link_code_pairing_wrapped_companion_ephemeral_pub";
                    let sealed_key = child_bytes(registration, key)?.to_vec();
                    let reference = hex::encode_upper(random::bytes::<16>()).into_bytes();
                    let showing = Showing {
                        candidate: candidate.clone(),
                        reference: reference.clone(),
                        sealed_key,
                        finish: Mutex::new(None),
                    };
                    let mut codes = self
                        .codes
                        .0
                        .lock()
                        .expect("Invariant: nothing panics under this lock");
                    codes.insert(number, Arc::new(showing));
                    let reference = bytes("link_code_pairing_ref", reference);
                    let answer = NodeBuilder::new("link_code_companion_reg")
                        .children([reference])
                        .build();
                    Some(result(id).children([answer]).build())
                }
                "companion_finish" => {
                    let key = "link_code_pairing_wrapped_key_bundle";
                    let bundle = child_bytes(registration, key)?.to_vec();
                    let showing = self.codes.find(number)?;
                    let mut finish = showing
                        .finish
                        .lock()
                        .expect("Invariant: nothing panics under this lock");
                    socket.send(Arc::new(result(id).build()));
                    // Whoever waited may have lost patience; the client then tries again.
                    let _ = finish.take()?.send(bundle);
                    None
                }
                _ => None,
            }
        });
        match answer {
            Some(answer) => socket.send(Arc::new(answer)),
            None if registration.and_then(|r| word(r, "stage")).as_deref()
                == Some("companion_finish") => {}
            None => socket.send(Arc::new(refusal(id, 400, "bad-request"))),
        }
    }

    /// The user of a phone types the code that a client shows.
    pub async fn pair_code(&self, phone: &str, code: &str) -> Result<Linked> {
        let number = self.number(phone)?;
        let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        let code = code.to_ascii_uppercase();
        let showing = self
            .codes
            .find(number)
            .ok_or_else(|| Error::not_found("nobody shows a code for this number"))?;
        let ours = KeyPair::generate(&mut random::generator());
        let ours_public = ours.public_key.public_key_bytes();
        let ours_public: [u8; 32] = ours_public.try_into().map_err(Error::internal)?;
        let sealed_key = showing.sealed_key.clone();
        // Deriving the key of a code is slow by design.
        let (theirs, ours_sealed) = tokio::task::spawn_blocking(move || {
            let theirs = PairCodeUtils::decrypt_primary_ephemeral_pub(&sealed_key, &code);
            (
                theirs,
                PairCodeUtils::encrypt_ephemeral_pub(&ours_public, &code),
            )
        })
        .await
        .map_err(Error::internal)?;
        let theirs = theirs.map_err(Error::internal)?;
        let (finish, finished) = oneshot::channel();
        *showing
            .finish
            .lock()
            .expect("Invariant: nothing panics under this lock") = Some(finish);
        let phone = self.directory.phone(number);
        let keys = phone.keys(&self.seed);
        let hello = NodeBuilder::new("link_code_companion_reg")
            .attr("stage", "primary_hello")
            .children([
                bytes(
                    "link_code_pairing_wrapped_primary_ephemeral_pub",
                    ours_sealed,
                ),
                bytes("primary_identity_pub", keys.identity_public()),
                bytes("link_code_pairing_ref", showing.reference.clone()),
            ]);
        let notification = NodeBuilder::new("notification")
            .attr("from", server())
            .attr("type", "link_code_companion_reg")
            .attr("id", random::message_id())
            .attr("t", self.now().as_secs())
            .children([hello.build()]);
        showing
            .candidate
            .socket
            .send(Arc::new(notification.build()));
        let late = || Error::new(Code::HostTimeout, "the client did not answer");
        let bundle = tokio::time::timeout(PATIENCE, finished)
            .await
            .map_err(|_| late())?;
        let bundle = bundle.map_err(|_| late())?;
        let secret = open_bundle(keys, &ours, &theirs, &showing.candidate.identity, &bundle);
        let secret = secret.ok_or_else(|| Error::invalid("wrong code"))?;
        self.link(&showing.candidate, number, &secret).await
    }
}

/// Opens what the client sealed for whoever knows the code; answers the secret of the link.
fn open_bundle(
    keys: &PhoneKeys,
    ours: &KeyPair,
    theirs: &[u8; 32],
    companion: &[u8; 32],
    bundle: &[u8],
) -> Option<[u8; 32]> {
    if bundle.len() != SEALED {
        return None;
    }
    let theirs = PublicKey::from_djb_public_key_bytes(theirs).ok()?;
    let shared = ours.calculate_agreement(&theirs).ok()?;
    let mut key = [0; 32];
    let label = b"link_code_pairing_key_bundle_encryption_key";
    hkdf_sha256_into(&shared, Some(&bundle[..32]), label, &mut key).ok()?;
    let nonce = bundle[32..44].try_into().ok()?;
    let mut opened = Vec::new();
    aes_256_gcm_decrypt(&key, &nonce, b"", &bundle[44..], &mut opened).ok()?;
    if opened.len() != 96 || opened[..32] != *companion || opened[32..64] != *keys.identity_public()
    {
        return None;
    }
    let companion = PublicKey::from_djb_public_key_bytes(companion).ok()?;
    let identities = keys
        .identity
        .private_key()
        .calculate_agreement(&companion)
        .ok()?;
    let material = [&shared, &identities, &opened[64..]].concat();
    let mut secret = [0; 32];
    hkdf_sha256_into(&material, None, b"adv_secret", &mut secret).ok()?;
    Some(secret)
}
