//! Where a message belongs.

use std::fmt;

use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore_binary::JidExt as _;
use whatsapp_rust::{Jid, Server};

use super::number::{DeviceAddress, Form, Number};

/// A conversation with a person, a group, or the status list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Chat {
    Person(Number),
    /// The part of the group's address before the `@`.
    Group(Box<str>),
    Status,
}

impl Chat {
    pub(super) fn from_jid(jid: &Jid) -> Option<Self> {
        match jid.server {
            Server::Group => Some(Self::Group(jid.user.as_str().into())),
            Server::Broadcast if jid.is_status_broadcast() => Some(Self::Status),
            _ => DeviceAddress::from_jid(jid).map(|address| Self::Person(address.number)),
        }
    }

    /// Reads digits, an address of a person or group, or `status@broadcast`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(number) = Number::parse(text) {
            return Some(Self::Person(number));
        }
        Self::from_jid(&text.parse().ok()?)
    }

    pub(super) fn jid(&self, form: Form) -> Jid {
        match self {
            Self::Person(number) => DeviceAddress::phone(*number).jid(form),
            Self::Group(id) => Jid::group(id.as_ref()),
            Self::Status => Jid::status_broadcast(),
        }
    }
}

impl fmt::Display for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(number) => number.fmt(f),
            other => other.jid(Form::Pn).fmt(f),
        }
    }
}
