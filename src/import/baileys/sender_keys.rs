//! `sender-key-*.json`: what the members of a group write by.
//!
//! The file is a list of states, the newest last: as such, or, since Baileys keeps it as bytes, its JSON
//! as bytes of JSON.

use serde::Deserialize;

use super::json::{Bytes, Exact, PublicKey, read};
use crate::wa::account::SenderKeyState;

/// The most skipped messages of one key that anybody keeps.
const MOST_SKIPPED: usize = 2000;

#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    States(Vec<State>),
    Packed(Bytes),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    sender_key_id: u32,
    sender_chain_key: Step,
    sender_signing_key: SigningKey,
    #[serde(default)]
    sender_message_keys: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    iteration: u32,
    seed: Exact<32>,
}

#[derive(Deserialize)]
struct SigningKey {
    public: PublicKey,
    /// Nothing or no bytes where it is somebody else's.
    private: Option<Bytes>,
}

/// Reads a file, the oldest state first; says why it cannot be.
pub(super) fn states(bytes: &[u8]) -> Result<Vec<SenderKeyState>, &'static str> {
    let states = match read(bytes)? {
        File::States(states) => states,
        File::Packed(Bytes(inner)) => read(&inner)?,
    };
    let states = states.into_iter().map(state).collect::<Option<Vec<_>>>();
    states.ok_or("it is of an unknown form")
}

fn state(state: State) -> Option<SenderKeyState> {
    let next = state.sender_chain_key.iteration;
    let private = state.sender_signing_key.private.map(|private| private.0);
    let private = private.filter(|private| !private.is_empty());
    let skipped = state.sender_message_keys.into_iter();
    let mut skipped: Vec<_> = skipped
        .filter(|step| step.iteration < next)
        .map(|step| (step.iteration, step.seed.0))
        .collect();
    skipped.sort_unstable_by_key(|(number, _)| *number);
    skipped.dedup_by_key(|(number, _)| *number);
    skipped.drain(..skipped.len().saturating_sub(MOST_SKIPPED));
    Some(SenderKeyState {
        id: state.sender_key_id,
        next,
        seed: state.sender_chain_key.seed.0,
        signing_public: state.sender_signing_key.public.0,
        signing_private: private.map(TryInto::try_into).transpose().ok()?,
        skipped,
    })
}
