//! Every secret of a phone, derived from the network's seed and the phone's number.
//!
//! A phone that was never touched costs nothing, and a network that is started again with the same
//! seed has the same phones.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use whatsapp_rust::wacore::libsignal::protocol::{
    IdentityKey, IdentityKeyPair, KeyPair, PrivateKey,
};

use super::number::Number;
use super::random;

/// The id of the one signed prekey that a phone has.
pub(super) const SIGNED_PREKEY_ID: u32 = 1;

/// What everything secret on this network is derived from.
#[derive(Clone, Copy)]
pub(super) struct Seed([u8; 32]);

impl Seed {
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) fn derive(&self, label: &str, number: Number, index: u32) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .expect("Invariant: HMAC takes keys of any length");
        mac.update(label.as_bytes());
        mac.update(&number.value().to_be_bytes());
        mac.update(&index.to_be_bytes());
        mac.finalize().into_bytes().into()
    }

    pub(super) fn key_pair(&self, label: &str, number: Number, index: u32) -> KeyPair {
        let private = PrivateKey::deserialize(&self.derive(label, number, index))
            .expect("Invariant: every 32 bytes are a private key");
        let public = private
            .public_key()
            .expect("Invariant: a private key has a public key");
        KeyPair::new(public, private)
    }

    /// The one-time prekey `id` of a phone.
    pub(super) fn one_time_prekey(&self, number: Number, id: u32) -> KeyPair {
        self.key_pair("one-time prekey", number, id)
    }
}

/// The lasting keys of one phone.
pub(super) struct PhoneKeys {
    pub(super) identity: IdentityKeyPair,
    pub(super) registration_id: u32,
    pub(super) signed_prekey: KeyPair,
}

impl PhoneKeys {
    pub(super) fn new(seed: &Seed, number: Number) -> Self {
        let identity = seed.key_pair("identity", number, 0);
        let id = seed.derive("registration", number, 0);
        Self {
            identity: IdentityKeyPair::new(
                IdentityKey::new(identity.public_key),
                identity.private_key,
            ),
            registration_id: u32::from(u16::from_be_bytes([id[0], id[1]]) & 0x3fff) + 1,
            signed_prekey: seed.key_pair("signed prekey", number, SIGNED_PREKEY_ID),
        }
    }

    pub(super) fn identity_public(&self) -> &[u8] {
        self.identity.public_key().public_key_bytes()
    }

    /// Signs `message` with the phone's identity.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.identity
            .private_key()
            .calculate_signature(message, &mut random::generator())
            .expect("Invariant: signing with a good key works")
    }
}
