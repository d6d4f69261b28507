//! Channels: what they are called, and who follows them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use whatsapp_rust::{Jid, Server};

use super::journal::JournalKey;
use super::mex::{MexError, MexResult};
use super::network::Network;
use super::number::{DeviceAddress, Number};
use super::posts::Post;
use super::random;

/// What a follower hears of a channel until he says otherwise.
const SETTINGS: [(&str, &str); 2] = [
    ("MUTE_FOLLOWER_ACTIVITY", "OFF"),
    ("MUTE_ADMIN_ACTIVITY", "ON"),
];

/// All channels of the network.
#[derive(Default)]
pub(super) struct Channels(Mutex<BTreeMap<Box<str>, Channel>>);

/// One channel.
#[derive(Serialize, Deserialize)]
pub(super) struct Channel {
    name: Wording,
    description: Wording,
    created_at: i64,
    invite: String,
    pub(super) followers: BTreeMap<Number, Follower>,
    /// What was written in it, by its number; each has a row of its own in the state file.
    #[serde(skip)]
    pub(super) posts: BTreeMap<u64, Post>,
    /// Who is told at once what becomes of posts, and until which second.
    #[serde(skip)]
    pub(super) watchers: BTreeMap<DeviceAddress, i64>,
}

/// A name or description, and when it was given, in seconds.
#[derive(Serialize, Deserialize)]
struct Wording {
    text: String,
    at: i64,
}

/// Somebody who follows a channel.
#[derive(Serialize, Deserialize)]
pub(super) struct Follower {
    /// Whether the channel is his: he alone changes it and writes to it.
    pub(super) owner: bool,
    settings: BTreeMap<String, String>,
}

impl Channels {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Channel>> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under the channels' lock")
    }
}

impl Wording {
    fn to_json(&self) -> Value {
        let micros = (self.at * 1_000_000).to_string();
        json!({ "id": micros, "text": self.text, "update_time": micros })
    }
}

impl Follower {
    fn new(owner: bool) -> Self {
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            owner,
            settings: settings.into(),
        }
    }
}

impl Channel {
    pub(super) fn is_owner(&self, number: Number) -> bool {
        self.followers
            .get(&number)
            .is_some_and(|follower| follower.owner)
    }

    /// The channel as it is told to somebody.
    fn to_json(&self, id: &str, viewer: Number) -> Value {
        json!({
            "id": address(id),
            "state": { "type": "ACTIVE" },
            "thread_metadata": {
                "creation_time": self.created_at.to_string(),
                "description": self.description.to_json(),
                "handle": null,
                "invite": self.invite,
                "name": self.name.to_json(),
                "picture": null,
                "preview": null,
                "settings": { "reaction_codes": { "value": "ALL" } },
                "subscribers_count": self.followers.len().to_string(),
                "verification": "UNVERIFIED",
            },
            "viewer_metadata": self.told_of(viewer),
        })
    }

    /// What somebody is to the channel.
    fn told_of(&self, viewer: Number) -> Value {
        let Some(follower) = self.followers.get(&viewer) else {
            return json!({ "role": "GUEST", "settings": [] });
        };
        let role = if follower.owner {
            "OWNER"
        } else {
            "SUBSCRIBER"
        };
        let settings = follower.settings.iter();
        let settings = settings.map(|(name, value)| json!({ "type": name, "value": value }));
        json!({ "role": role, "settings": settings.collect::<Vec<_>>() })
    }
}

impl Network {
    /// `xwa2_newsletter_create`.
    pub(super) fn create_channel(&self, by: Number, variables: &Value) -> MexResult {
        let input = &variables["input"];
        let name = input["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or(MexError::MALFORMED)?;
        if !input["picture"].is_null() {
            return Err(MexError::UNKNOWN);
        }
        let now = self.now().as_secs();
        let wording = |text: &str| Wording {
            text: text.to_owned(),
            at: now,
        };
        let channel = Channel {
            name: wording(name),
            description: wording(input["description"].as_str().unwrap_or_default()),
            created_at: now,
            invite: format!("0029Va{}", hex::encode_upper(random::bytes::<9>())),
            followers: BTreeMap::from([(by, Follower::new(true))]),
            posts: BTreeMap::new(),
            watchers: BTreeMap::new(),
        };
        let random = u64::from_be_bytes(random::bytes()) % 10_000_000_000_000;
        let id: Box<str> = format!("12036{random:013}").into();
        let told = channel.to_json(&id, by);
        self.channels.lock().insert(id.clone(), channel);
        self.changes.touch(|| JournalKey::Channel(id));
        Ok(json!({ "xwa2_newsletter_create": told }))
    }

    /// `xwa2_newsletter_subscribed`: the channels that somebody follows.
    pub(super) fn followed_channels(&self, by: Number) -> MexResult {
        let channels = self.channels.lock();
        let followed = channels
            .iter()
            .filter(|(_, channel)| channel.followers.contains_key(&by));
        let told = followed.map(|(id, channel)| {
            let mut told = channel.to_json(id, by);
            // WhatsApp counts the followers only where one channel is asked for.
            if let Some(thread) = told["thread_metadata"].as_object_mut() {
                thread.remove("subscribers_count");
            }
            told
        });
        Ok(json!({ "xwa2_newsletter_subscribed": told.collect::<Vec<_>>() }))
    }

    /// `xwa2_newsletter`: one channel, by its address or by its invite.
    pub(super) fn channel(&self, by: Number, variables: &Value) -> MexResult {
        let input = &variables["input"];
        let key = input["key"].as_str().ok_or(MexError::MALFORMED)?;
        let channels = self.channels.lock();
        let found = match input["type"].as_str() {
            Some("JID") => id_of(key).and_then(|id| channels.get_key_value(id.as_str())),
            Some("INVITE") => channels.iter().find(|(_, channel)| channel.invite == key),
            _ => return Err(MexError::MALFORMED),
        };
        let mut told = match found {
            Some((id, channel)) => channel.to_json(id, by),
            // As WhatsApp says it: no error, but a channel that does not exist.
            None => json!({
                "id": null,
                "state": { "type": "NON_EXISTING" },
                "thread_metadata": null,
                "viewer_metadata": null,
            }),
        };
        if variables["fetch_viewer_metadata"] != json!(true) {
            told["viewer_metadata"] = Value::Null;
        }
        Ok(json!({ "xwa2_newsletter": told }))
    }

    /// `xwa2_newsletter_join_v2`.
    pub(super) fn follow_channel(&self, by: Number, variables: &Value) -> MexResult {
        let told = self.change_channel(variables, |id, channel| {
            let follower = || Follower::new(false);
            channel.followers.entry(by).or_insert_with(follower);
            Ok(channel.to_json(id, by))
        })?;
        Ok(json!({ "xwa2_newsletter_join_v2": told }))
    }

    /// `xwa2_newsletter_leave_v2`.
    pub(super) fn leave_channel(&self, by: Number, variables: &Value) -> MexResult {
        let told = self.change_channel(variables, |id, channel| {
            channel.followers.remove(&by);
            channel.watchers.retain(|watcher, _| watcher.number != by);
            Ok(stated(id, "ACTIVE"))
        })?;
        Ok(json!({ "xwa2_newsletter_leave_v2": told }))
    }

    /// `xwa2_newsletter_update`.
    pub(super) fn update_channel(&self, by: Number, variables: &Value) -> MexResult {
        let updates = &variables["updates"];
        if !updates["picture"].is_null() || !updates["settings"].is_null() {
            return Err(MexError::UNKNOWN);
        }
        let now = self.now().as_secs();
        let told = self.change_channel(variables, |id, channel| {
            if !channel.is_owner(by) {
                return Err(MexError::FORBIDDEN);
            }
            let name = updates["name"].as_str();
            if name.is_some_and(str::is_empty) {
                return Err(MexError::MALFORMED);
            }
            let description = updates["description"].as_str();
            for (wording, text) in [
                (&mut channel.name, name),
                (&mut channel.description, description),
            ] {
                if let Some(text) = text {
                    *wording = Wording {
                        text: text.to_owned(),
                        at: now,
                    };
                }
            }
            Ok(channel.to_json(id, by))
        })?;
        Ok(json!({ "xwa2_newsletter_update": told }))
    }

    /// `xwa2_newsletter_update_user_setting`: what a follower hears of a channel.
    pub(super) fn set_for_follower(&self, by: Number, variables: &Value) -> MexResult {
        let input = &variables["input"];
        let (Some(name), Some(value)) = (input["type"].as_str(), input["value"].as_str()) else {
            return Err(MexError::MALFORMED);
        };
        let told = self.change_channel(input, |id, channel| {
            let follower = channel.followers.get_mut(&by).ok_or(MexError::FORBIDDEN)?;
            let setting = follower.settings.get_mut(name).ok_or(MexError::MALFORMED)?;
            value.clone_into(setting);
            Ok(stated(id, "ACTIVE"))
        })?;
        Ok(json!({ "xwa2_newsletter_update_user_setting": told }))
    }

    /// `xwa2_newsletter_delete_v2`.
    pub(super) fn delete_channel(&self, by: Number, variables: &Value) -> MexResult {
        let id = named(variables)?;
        let mut channels = self.channels.lock();
        let channel = channels.get(id.as_str()).ok_or(MexError::NOT_FOUND)?;
        if !channel.is_owner(by) {
            return Err(MexError::FORBIDDEN);
        }
        let gone = channels.remove(id.as_str());
        drop(channels);
        let id: Box<str> = id.into();
        for number in gone
            .into_iter()
            .flat_map(|channel| channel.posts.into_keys())
        {
            self.changes.touch(|| JournalKey::Post(id.clone(), number));
        }
        self.changes.touch(|| JournalKey::Channel(id.clone()));
        Ok(json!({ "xwa2_newsletter_delete_v2": stated(&id, "DELETED") }))
    }

    /// Changes the channel that is named, and notes that it has changed.
    fn change_channel(
        &self,
        variables: &Value,
        change: impl FnOnce(&str, &mut Channel) -> MexResult,
    ) -> MexResult {
        let id = named(variables)?;
        let mut channels = self.channels.lock();
        let channel = channels.get_mut(id.as_str()).ok_or(MexError::NOT_FOUND)?;
        let told = change(&id, channel)?;
        drop(channels);
        self.changes.touch(|| JournalKey::Channel(id.into()));
        Ok(told)
    }
}

/// The address of a channel, as GraphQL has it.
fn address(id: &str) -> String {
    Jid::new(id, Server::Newsletter).to_string()
}

/// The part of a channel's address before the `@`.
fn id_of(address: &str) -> Option<String> {
    let jid: Jid = address.parse().ok()?;
    (jid.server == Server::Newsletter).then(|| jid.user.to_string())
}

/// The channel that a document is about.
fn named(variables: &Value) -> Result<String, MexError> {
    let address = variables["newsletter_id"].as_str();
    address.and_then(id_of).ok_or(MexError::MALFORMED)
}

fn stated(id: &str, state: &str) -> Value {
    json!({ "id": address(id), "state": { "type": state } })
}
