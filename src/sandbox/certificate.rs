//! The network's own certificate chain: root, intermediate, and the server's static key as leaf.
//!
//! It is signed as the real one is, so that a client which lets its pinned root be replaced can
//! check it in full.

use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::waproto::whatsapp::cert_chain::noise_certificate::Details;
use whatsapp_rust::waproto::whatsapp::{CertChain, cert_chain::NoiseCertificate};

use super::keys::Seed;
use super::number::Number;
use super::random;
use crate::time::Timestamp;

const DAY: i64 = 24 * 60 * 60;

/// The server's key and the proof that it is the server's.
pub(super) struct Certificate {
    root: KeyPair,
    server: KeyPair,
    chain: Vec<u8>,
}

impl Certificate {
    /// Makes a chain that is valid from ten days before `now` to ten years after.
    pub(super) fn new(seed: &Seed, now: Timestamp) -> Self {
        let key = |label| seed.key_pair(label, Number::from_value(0), 0);
        let (root, intermediate, server) = (key("root"), key("intermediate"), key("server"));
        let details = |serial, issuer, key: &KeyPair| {
            Details {
                serial: Some(serial),
                issuer_serial: Some(issuer),
                key: Some(key.public_key.public_key_bytes().to_vec()),
                not_before: u64::try_from(now.as_secs() - 10 * DAY).ok(),
                not_after: u64::try_from(now.as_secs() + 3650 * DAY).ok(),
            }
            .encode_to_vec()
        };
        let chain = CertChain {
            intermediate: MessageField::some(signed(details(1, 0, &intermediate), &root)),
            leaf: MessageField::some(signed(details(2, 1, &server), &intermediate)),
        };
        Self {
            chain: chain.encode_to_vec(),
            root,
            server,
        }
    }

    /// The key under which the whole chain is signed.
    pub(super) fn root_public(&self) -> &[u8] {
        self.root.public_key.public_key_bytes()
    }

    pub(super) fn server(&self) -> &KeyPair {
        &self.server
    }

    pub(super) fn chain(&self) -> &[u8] {
        &self.chain
    }
}

fn signed(details: Vec<u8>, issuer: &KeyPair) -> NoiseCertificate {
    let signature = issuer
        .calculate_signature(&details, &mut random::generator())
        .expect("Invariant: signing with a good key works");
    NoiseCertificate {
        details: Some(details),
        signature: Some(signature.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::wacore::libsignal::protocol::PublicKey;

    use super::*;

    #[test]
    fn each_certificate_is_signed_by_the_one_above() {
        let made = Certificate::new(&Seed::new([7; 32]), Timestamp::from_secs(1_800_000_000));
        let chain = CertChain::decode_from_slice(made.chain()).expect("decodes");
        let (intermediate, leaf) = (chain.intermediate.unwrap(), chain.leaf.unwrap());
        let root = PublicKey::from_djb_public_key_bytes(made.root_public()).expect("root key");
        let intermediate_details = intermediate.details.expect("details");
        assert!(root.verify_signature(
            &intermediate_details,
            &intermediate.signature.expect("signature")
        ));
        let details = Details::decode_from_slice(&intermediate_details).expect("decodes");
        let above = PublicKey::from_djb_public_key_bytes(&details.key.expect("key")).expect("key");
        let leaf_details = leaf.details.expect("details");
        assert!(above.verify_signature(&leaf_details, &leaf.signature.expect("signature")));
        let details = Details::decode_from_slice(&leaf_details).expect("decodes");
        assert_eq!(
            details.key.as_deref(),
            Some(made.server().public_key.public_key_bytes())
        );
    }
}
