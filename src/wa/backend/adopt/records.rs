//! Signal sessions and sender keys in the library's form.

use whatsapp_rust::wacore::libsignal::protocol::{
    KeyPair as SignalKeyPair, PendingPreKeyComponents, PrivateKey, SenderChainKeyComponents,
    SenderKeyRecord, SenderKeyRecordComponents, SenderKeyStateComponents,
    SenderMessageKeyComponents, SenderSigningKeyComponents, SessionChainComponents,
    SessionChainKeyComponents, SessionComponents, SessionMessageKeyComponents,
    SessionMessageKeyMaterial, SessionRecord, SessionRecordComponents,
};

use crate::wa::account::{
    Account, KeyPair, ReceivingChain, SenderKeyState, SessionState, SignalSession,
};

/// How many chains of the other side the library keeps in a session.
const RECEIVING_CHAINS: usize = 5;
/// How many states it keeps of a sender key.
const SENDER_KEY_STATES: usize = 5;

/// The library's key pair; `Err` if the halves do not belong together.
pub(super) fn key_pair(keys: &KeyPair) -> Result<SignalKeyPair, ()> {
    let private = PrivateKey::deserialize(&keys.private).map_err(drop)?;
    let public = private.public_key().map_err(drop)?;
    if public.public_key_bytes() != keys.public {
        return Err(());
    }
    Ok(SignalKeyPair::new(public, private))
}

/// A session in the library's form; `None` if its keys do not fit: nobody could read what is sent by it.
pub(super) fn session_record(account: &Account, session: &SignalSession) -> Option<Vec<u8>> {
    for state in session.current.iter().chain(&session.archived) {
        key_pair(&state.sending.ratchet).ok()?;
    }
    let components = SessionRecordComponents {
        current_session: session
            .current
            .as_ref()
            .map(|state| components(account, state)),
        previous_sessions: session
            .archived
            .iter()
            .map(|state| components(account, state))
            .collect(),
    };
    SessionRecord::from_components(components)
        .ok()?
        .serialize()
        .ok()
}

fn components(account: &Account, state: &SessionState) -> SessionComponents {
    let public = |key: &[u8; 32]| Some(key.to_vec());
    let chains = &state.receiving[state.receiving.len().saturating_sub(RECEIVING_CHAINS)..];
    SessionComponents {
        session_version: Some(3),
        local_identity_public: public(&account.identity.public),
        remote_identity_public: public(&state.remote_identity),
        root_key: Some(state.root_key.to_vec()),
        previous_counter: Some(state.previous_counter),
        sender_chain: Some(SessionChainComponents {
            sender_ratchet_key: public(&state.sending.ratchet.public),
            sender_ratchet_key_private: Some(state.sending.ratchet.private.to_vec()),
            chain_key: Some(SessionChainKeyComponents {
                index: Some(state.sending.next),
                key: Some(state.sending.key.to_vec()),
            }),
            message_keys: Vec::new(),
        }),
        receiver_chains: chains.iter().map(receiving).collect(),
        pending_key_exchange: None,
        pending_pre_key: state
            .pending
            .as_ref()
            .map(|pending| PendingPreKeyComponents {
                pre_key_id: pending.prekey,
                // The record keeps the bits of the number as a signed one.
                signed_pre_key_id: Some(pending.signed_prekey.cast_signed()),
                base_key: public(&state.base_key),
                kyber_pre_key_id: None,
                kyber_ciphertext: None,
            }),
        remote_registration_id: Some(state.registration_id),
        local_registration_id: Some(account.registration_id),
        needs_refresh: None,
        alice_base_key: public(&state.base_key),
    }
}

fn receiving(chain: &ReceivingChain) -> SessionChainComponents {
    SessionChainComponents {
        sender_ratchet_key: Some(chain.ratchet.to_vec()),
        sender_ratchet_key_private: None,
        chain_key: Some(SessionChainKeyComponents {
            index: Some(chain.next),
            key: chain.key.map(|key| key.to_vec()),
        }),
        message_keys: chain
            .skipped
            .iter()
            .map(|(index, seed)| SessionMessageKeyComponents {
                index: *index,
                material: SessionMessageKeyMaterial::Seed(*seed),
            })
            .collect(),
    }
}

/// A sender key in the library's form, of states of which the last is the newest; `None` if its keys do not fit.
pub(super) fn sender_key_record<'a>(
    states: impl DoubleEndedIterator<Item = &'a SenderKeyState> + Clone,
) -> Option<Vec<u8>> {
    for state in states.clone() {
        if let Some(private) = state.signing_private {
            let public = state.signing_public;
            key_pair(&KeyPair { public, private }).ok()?;
        }
    }
    let newest = states.rev().take(SENDER_KEY_STATES);
    let states = newest.map(|state| SenderKeyStateComponents {
        key_id: state.id,
        chain_key: SenderChainKeyComponents {
            iteration: state.next,
            seed: state.seed.to_vec(),
        },
        signing_key: SenderSigningKeyComponents {
            public: state.signing_public.to_vec(),
            private: state.signing_private.map(|key| key.to_vec()),
        },
        message_keys: state
            .skipped
            .iter()
            .map(|(iteration, seed)| SenderMessageKeyComponents {
                iteration: *iteration,
                seed: seed.to_vec(),
            })
            .collect(),
    });
    let components = SenderKeyRecordComponents {
        states: states.collect(),
    };
    SenderKeyRecord::from_components(components)
        .ok()?
        .serialize()
        .ok()
}
