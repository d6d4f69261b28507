//! What the users of phones do: the control API as plain methods.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::chat::Chat;
use super::envelope::ReceiptHeading;
use super::inbox::ReceivedMessage;
use super::iq_groups::GroupView;
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Form};
use super::phone::{Notice, SentMessage};
use super::profile::Profile;
use crate::error::{Error, Result};

/// What somebody does with the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Typing {
    /// Writes.
    Composing,
    /// Records a voice message.
    Recording,
    /// Stopped.
    Paused,
}

/// The network at a glance.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// Where WhatsApp clients connect, once the network listens.
    pub url: Option<String>,
    /// Under which host and port files are left and fetched.
    pub media_host: String,
    /// The key under which the server's certificates are signed, in hexadecimal digits.
    pub root_key: String,
    /// Accounts that have, or had, a companion.
    pub accounts: Vec<AccountView>,
    /// How many phones were ever touched.
    pub phones: usize,
    /// The counters.
    pub stats: super::stats::NetworkStats,
}

/// An account with its companions.
#[derive(Debug, Clone, Serialize)]
pub struct AccountView {
    /// The phone's number.
    pub phone: String,
    /// The account's hidden id.
    pub lid: String,
    /// Its companions.
    pub companions: Vec<CompanionView>,
}

/// A companion.
#[derive(Debug, Clone, Serialize)]
pub struct CompanionView {
    /// The device's id.
    pub device: u16,
    /// What it calls itself.
    pub platform: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether it makes its owner look online.
    pub available: bool,
    /// How many stanzas wait for its confirmation.
    pub waiting: usize,
    /// How many one-time prekeys it has left at the server.
    pub prekeys: usize,
}

impl Network {
    /// The network at a glance.
    pub fn overview(&self) -> Overview {
        let accounts = self.directory.accounts().into_iter().filter_map(|account| {
            let state = account.lock();
            if state.next_device == 1 {
                return None;
            }
            let companions = state
                .companions
                .iter()
                .map(|(device, companion)| CompanionView {
                    device: *device,
                    platform: companion.platform.clone(),
                    connected: companion.socket.is_some(),
                    available: companion.available,
                    waiting: companion.outbox.len(),
                    prekeys: companion
                        .keys
                        .as_ref()
                        .map_or(0, |keys| keys.one_time.len()),
                });
            Some(AccountView {
                phone: account.number.to_string(),
                lid: format!("{}@lid", account.number.lid()),
                companions: companions.collect(),
            })
        });
        let host = self.media_host();
        Overview {
            url: self.listens().then(|| format!("ws://{host}/ws/chat")),
            media_host: host,
            root_key: hex::encode(self.root_public_key()),
            accounts: accounts.collect(),
            phones: self.directory.touched_phones(),
            stats: self.stats(),
        }
    }

    /// How the user of a phone behaves.
    pub fn phone(&self, phone: &str) -> Result<Profile> {
        let number = self.number(phone)?;
        Ok(self
            .directory
            .known_phone(number)
            .map(|phone| phone.profile())
            .unwrap_or_default())
    }

    /// Changes how the user of a phone behaves; what waited for the phone is handed to it.
    pub fn set_phone(self: &Arc<Self>, phone: &str, profile: Profile) -> Result<()> {
        let number = self.number(phone)?;
        let renamed = profile.name != self.directory.phone(number).profile().name;
        let (waiting, wanted) = self.directory.phone(number).set_profile(profile);
        if renamed && !self.directory.companions(number).is_empty() {
            self.share_name(number);
        }
        for envelope in waiting {
            self.hand_to_phone(DeviceAddress::phone(number), envelope);
        }
        for wanted in wanted {
            self.give_file(&wanted);
        }
        self.tell_watchers(number);
        Ok(())
    }

    /// What a phone received from others, in order of arrival.
    pub fn messages(&self, phone: &str) -> Result<Vec<ReceivedMessage>> {
        self.messages_of(phone, false)
    }

    /// What a phone's companions sent, as the phone itself saw it.
    pub fn copies(&self, phone: &str) -> Result<Vec<ReceivedMessage>> {
        self.messages_of(phone, true)
    }

    fn messages_of(&self, phone: &str, own: bool) -> Result<Vec<ReceivedMessage>> {
        let Some(phone) = self.directory.known_phone(self.number(phone)?) else {
            return Ok(Vec::new());
        };
        Ok(phone.messages(own, |view, body, fetched| {
            self.look_at_file(view, body, fetched);
        }))
    }

    /// What a phone sent, and what became of it.
    pub fn sent(&self, phone: &str) -> Result<Vec<SentMessage>> {
        let number = self.number(phone)?;
        Ok(self
            .directory
            .known_phone(number)
            .map(|phone| phone.sent())
            .unwrap_or_default())
    }

    /// What passed by at a phone lately: who typed, who called or hung up.
    pub fn notices(&self, phone: &str) -> Result<Vec<Notice>> {
        let number = self.number(phone)?;
        Ok(self
            .directory
            .known_phone(number)
            .map(|phone| phone.notices())
            .unwrap_or_default())
    }

    /// The phone loses its Signal sessions, as when it is restored from a backup.
    pub fn lose_sessions(&self, phone: &str) -> Result<()> {
        self.directory.phone(self.number(phone)?).forget_everybody();
        Ok(())
    }

    /// The user of a phone unlinks one of his companions, or all of them.
    pub fn log_out(self: &Arc<Self>, phone: &str, device: Option<u16>) -> Result<()> {
        let number = self.number(phone)?;
        let devices = match device {
            Some(device) => vec![device],
            None => self.directory.companions(number),
        };
        let mut any = false;
        for device in devices {
            any |= self.unlink(DeviceAddress::new(number, device));
        }
        if any {
            Ok(())
        } else {
            Err(Error::not_found("the phone has no such companion"))
        }
    }

    /// The user of a phone makes a group; answers its address.
    pub fn create_group(&self, phone: &str, subject: &str, members: &[String]) -> Result<String> {
        self.create_group_with(phone, subject, members, self.form_of_groups, 0)
    }

    /// The same, with the names by which the members are called, and messages that disappear after so
    /// many seconds; 0 is never.
    pub fn create_group_with(
        &self,
        phone: &str,
        subject: &str,
        members: &[String],
        addressing: Form,
        ephemeral: u32,
    ) -> Result<String> {
        let creator = DeviceAddress::phone(self.number(phone)?);
        let members: Result<Vec<_>> = members.iter().map(|text| self.number(text)).collect();
        let id = self.new_group(subject, creator, &members?, addressing, |group| {
            group.ephemeral = ephemeral;
        });
        Ok(whatsapp_rust::Jid::group(id.as_ref()).to_string())
    }

    /// The user of a phone blocks somebody, or no longer does.
    pub fn block(&self, phone: &str, whom: &str, blocked: bool) -> Result<()> {
        let (number, whom) = (self.number(phone)?, self.number(whom)?);
        let account = self.directory.account(number);
        let mut state = account.lock();
        if blocked {
            state.blocked.insert(whom);
        } else {
            state.blocked.remove(&whom);
        }
        drop(state);
        self.changes.touch(|| JournalKey::Account(number));
        Ok(())
    }

    /// All groups.
    pub fn groups(&self) -> Vec<GroupView> {
        self.groups
            .lock()
            .iter()
            .map(|(id, group)| GroupView::new(id, group))
            .collect()
    }

    /// A phone sends a text to a person or group; answers the message's id.
    pub fn send_text(self: &Arc<Self>, phone: &str, to: &str, text: &str) -> Result<String> {
        let number = self.number(phone)?;
        self.send_text_from_phone(number, &self.chat(to)?, text)
    }

    /// The user of a phone reads a message.
    pub fn read(&self, phone: &str, id: &str) -> Result<()> {
        let number = self.number(phone)?;
        let missing = || Error::not_found("the phone has no such message");
        let (from, chat) = self
            .directory
            .known_phone(number)
            .and_then(|phone| phone.origin(id))
            .ok_or_else(missing)?;
        let heading = ReceiptHeading {
            id: id.into(),
            from,
            chat,
            form: self.form,
            timestamp: 0,
        };
        self.receipt_from_phone(
            DeviceAddress::phone(number),
            &heading,
            Some("read"),
            Vec::new(),
        );
        Ok(())
    }

    /// The user of a phone types (or records, or stops) in a chat.
    pub fn typing(&self, phone: &str, to: &str, state: Typing) -> Result<()> {
        let from = DeviceAddress::phone(self.number(phone)?);
        let chat = self.chat(to)?;
        let content = match state {
            Typing::Composing => NodeBuilder::new("composing").build(),
            Typing::Recording => NodeBuilder::new("composing").attr("media", "audio").build(),
            Typing::Paused => NodeBuilder::new("paused").build(),
        };
        self.pass_on_typing(from, &chat, content);
        Ok(())
    }

    pub(super) fn chat(&self, text: &str) -> Result<Chat> {
        Chat::parse(text).ok_or_else(|| Error::invalid("not a number, group or status address"))
    }
}
