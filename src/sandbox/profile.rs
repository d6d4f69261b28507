//! How the user of a phone behaves.

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
    /// usual for accounts that write to strangers.
    pub trusted_only: bool,
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
