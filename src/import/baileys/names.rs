//! The names of the files: what each holds, and whose it is.
//!
//! Baileys makes them of a kind and an id, with `/` written as `__` and `:` as `-`.

use super::json::base64;
use crate::jid::Jid;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    /// The device itself.
    Creds,
    /// The one-time key of this number.
    PreKey(u32),
    /// The Signal session with a device.
    Session(Named),
    /// The sender key of a device in a group.
    SenderKey(String, Named),
    /// The identity key of a device.
    Identity(Named),
    /// The key of the account's settings with this id.
    SyncKey(Vec<u8>),
    /// The state of a collection of settings.
    Collection(String),
    /// The LID of this number.
    LidOf(String),
    /// The number of this LID.
    NumberOf(String),
    /// A privacy token of this person.
    PrivacyToken(Jid),
    /// What Baileys keeps and nobody here needs; why not.
    Needless(&'static str, &'static str),
    /// What only Baileys needs, and only as long as it runs.
    Index,
}

/// A device as Baileys names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The digits.
    pub(super) user: String,
    /// What they are: 1 is a LID, 128 and 129 are hosted. Version 6 does not say it.
    pub(super) domain: Option<u8>,
    /// The device.
    pub(super) device: u16,
}

impl Named {
    /// Reads `1047567871201151_1` and a device.
    fn of(user: &str, device: &str) -> Option<Self> {
        let (user, domain) = match user.split_once('_') {
            Some((user, domain)) => (user, Some(domain.parse().ok()?)),
            None => (user, None),
        };
        Some(Self {
            user: digits(user)?,
            domain,
            device: device.parse().ok()?,
        })
    }
}

/// What a file holds by its name; `None` is no file of Baileys.
pub(super) fn holds(name: &str) -> Option<Holds> {
    let stem = name.strip_suffix(".json")?;
    if stem == "creds" {
        return Some(Holds::Creds);
    }
    let of = |kind: &str| stem.strip_prefix(kind)?.strip_prefix('-');
    // The longer of two kinds that begin alike comes first.
    if of("sender-key-memory").is_some() {
        return Some(Holds::Needless(
            "sender-key-memory-*.json",
            "which members of a group have its key is not taken over: they get it again with the \
             first message to the group",
        ));
    }
    if of("device-list").is_some() {
        return Some(Holds::Needless(
            "device-list-*.json",
            "which devices people have is not taken over: WhatsApp is asked again",
        ));
    }
    if let Some(id) = of("pre-key") {
        let id = id.parse().ok().filter(|id| (1..1 << 24).contains(id))?;
        return Some(Holds::PreKey(id));
    }
    if let Some(id) = of("session") {
        let (user, device) = id.rsplit_once('.')?;
        return Named::of(user, device).map(Holds::Session);
    }
    if let Some(id) = of("identity-key") {
        let (user, device) = id.rsplit_once('.')?;
        return Named::of(user, device).map(Holds::Identity);
    }
    if let Some(id) = of("sender-key") {
        let (id, device) = id.rsplit_once("--")?;
        let (group, user) = id.rsplit_once("--")?;
        let place = Jid::parse(group).filter(|jid| jid.is_group() || jid.is_status())?;
        return Some(Holds::SenderKey(
            place.to_string(),
            Named::of(user, device)?,
        ));
    }
    if let Some(id) = of("app-state-sync-key") {
        return base64(&id.replace("__", "/")).map(Holds::SyncKey);
    }
    if let Some(collection) = of("app-state-sync-version") {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let known =
            !collection.is_empty() && collection.len() < 64 && collection.bytes().all(plain);
        return known.then(|| Holds::Collection(collection.to_owned()));
    }
    if let Some(id) = of("lid-mapping") {
        return match id.strip_suffix("_reverse") {
            Some(lid) => digits(lid).map(Holds::NumberOf),
            None => digits(id).map(Holds::LidOf),
        };
    }
    let id = of("tctoken")?;
    if id == "__index" {
        return Some(Holds::Index);
    }
    let person = Jid::parse(id).filter(Jid::is_person)?;
    digits(person.user_part())?;
    Some(Holds::PrivacyToken(person))
}

/// The digits of a number or a LID.
pub(super) fn digits(text: &str) -> Option<String> {
    let fits = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.to_owned())
}
