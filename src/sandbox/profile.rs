//! How the user of a phone behaves.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// How a phone's user behaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Profile {
    /// Whether the number has WhatsApp.
    pub registered: bool,
    /// The name that others see.
    pub name: Option<String>,
    /// Whether the phone is on; while it is off, messages wait.
    pub online: bool,
    /// Which receipts it sends.
    pub receipts: Receipts,
    /// Whether it sends every text back.
    pub echo: bool,
    /// Whether it keeps the files of its messages, and leaves one at the media host once more when
    /// a companion asks for it.
    pub keeps_media: bool,
    /// Whether it takes messages only of those whom it trusts: others are refused with 463, as is
    /// usual for accounts that write to strangers, and see neither its picture nor whether it is there.
    pub trusted_only: bool,
    /// What shows it that somebody is no stranger.
    pub takes_tokens: BTreeSet<TokenPolicy>,
    /// How it tells its companions from what they compute tokens; an old phone does not.
    pub shares_salt: BTreeSet<SaltBy>,
}

/// What a message to somebody who takes none of strangers carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenPolicy {
    /// What the receiver gave to the sender.
    Given,
    /// What the sender computes from a secret of his own account.
    Computed,
}

/// How companions learn the secret of their account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaltBy {
    /// With the chats that a new companion is shown.
    History,
    /// As one of the settings that the devices share.
    Settings,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            registered: true,
            name: None,
            online: true,
            receipts: Receipts::Delivered,
            echo: false,
            keeps_media: true,
            trusted_only: false,
            takes_tokens: [TokenPolicy::Given, TokenPolicy::Computed].into(),
            shares_salt: [SaltBy::History, SaltBy::Settings].into(),
        }
    }
}

/// Which receipts a phone sends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receipts {
    /// None.
    None,
    /// That the message has arrived.
    #[default]
    Delivered,
    /// That it has arrived, and that it was read.
    Read,
}
