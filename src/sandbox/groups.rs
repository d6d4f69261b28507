//! Groups: who is in them, what they are called, who may do what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::chat::Chat;
use super::communities::CommunityPlace;
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Form, Number};
use super::outbox::Class;
use super::random;
use super::routing::in_list;
use crate::error::{Code, Error, Result};

/// All groups of the network.
#[derive(Default)]
pub(super) struct Groups(Mutex<BTreeMap<Box<str>, Group>>);

/// One group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) subject: String,
    pub(super) subject_by: Number,
    pub(super) subject_at: i64,
    pub(super) creator: Number,
    pub(super) created_at: i64,
    pub(super) description: Option<Description>,
    pub(super) members: BTreeMap<Number, MemberRole>,
    /// Only admins may change what the group is called.
    pub(super) locked: bool,
    /// Only admins may write.
    pub(super) announcement: bool,
    /// After how many seconds messages disappear; 0 is never.
    pub(super) ephemeral: u32,
    /// Whoever wants to join has to be let in.
    pub(super) approval: bool,
    pub(super) add_mode: String,
    pub(super) invite: String,
    /// Who asked to be let in, and when.
    pub(super) waiting: BTreeMap<Number, i64>,
    /// By which names its members are called.
    #[serde(default)]
    pub(super) form: Form,
    /// Switches that the network only remembers.
    pub(super) switches: BTreeMap<String, bool>,
    /// Where it stands among communities.
    #[serde(default)]
    pub(super) place: CommunityPlace,
}

/// What a group is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) by: Number,
    pub(super) at: i64,
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MemberRole {
    Member,
    Admin,
    Superadmin,
}

impl Groups {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Group>> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under the groups' lock")
    }
}

impl Group {
    pub(super) fn new(subject: String, creator: Number, form: Form, now: i64) -> Self {
        Self {
            subject,
            form,
            subject_by: creator,
            subject_at: now,
            creator,
            created_at: now,
            description: None,
            members: BTreeMap::from([(creator, MemberRole::Superadmin)]),
            locked: false,
            announcement: false,
            ephemeral: 0,
            approval: false,
            add_mode: "all_member_add".to_owned(),
            invite: hex::encode_upper(random::bytes::<11>()),
            waiting: BTreeMap::new(),
            switches: BTreeMap::new(),
            place: CommunityPlace::Alone,
        }
    }

    pub(super) fn is_admin(&self, number: Number) -> bool {
        self.members
            .get(&number)
            .is_some_and(|role| *role != MemberRole::Member)
    }

    /// Whether somebody may write to the group.
    pub(super) fn hears(&self, number: Number) -> bool {
        self.members.contains_key(&number) && (!self.announcement || self.is_admin(number))
    }

    /// The group as it is told to its members.
    pub(super) fn node(&self, id: &str) -> Node {
        let form = self.form;
        let creator = DeviceAddress::phone(self.creator);
        let mut children: Vec<_> = self
            .members
            .iter()
            .map(|(number, role)| member_node(*number, *role, form))
            .collect();
        if let Some(description) = &self.description {
            children.push(
                NodeBuilder::new("description")
                    .attr("id", description.id.as_str())
                    .attr(
                        "participant",
                        DeviceAddress::phone(description.by).jid(form),
                    )
                    .attr("t", description.at)
                    .children([NodeBuilder::new("body")
                        .string_content(description.text.as_str())
                        .build()])
                    .build(),
            );
        }
        if self.locked {
            children.push(NodeBuilder::new("locked").build());
        }
        if self.announcement {
            children.push(NodeBuilder::new("announcement").build());
        }
        if self.ephemeral > 0 {
            let ephemeral = NodeBuilder::new("ephemeral").attr("expiration", self.ephemeral);
            children.push(ephemeral.build());
        }
        if self.approval {
            children.push(approval_node(true));
        }
        children.push(
            NodeBuilder::new("member_add_mode")
                .string_content(self.add_mode.as_str())
                .build(),
        );
        for (name, _) in self.switches.iter().filter(|(_, on)| **on) {
            children.push(NodeBuilder::new_dynamic(name.clone()).build());
        }
        children.extend(self.place.nodes());
        NodeBuilder::new("group")
            .attr("id", id)
            .attr("subject", self.subject.as_str())
            .attr("s_o", DeviceAddress::phone(self.subject_by).jid(form))
            .attr("s_t", self.subject_at)
            .attr("creator", creator.jid(form))
            .attr("creator_pn", creator.pn())
            .attr("creation", self.created_at)
            .attr("addressing_mode", form.name())
            .attr("size", self.members.len())
            .children(children)
            .build()
    }
}

impl MemberRole {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Member => None,
            Self::Admin => Some("admin"),
            Self::Superadmin => Some("superadmin"),
        }
    }
}

/// One member, under both names.
pub(super) fn member_node(number: Number, role: MemberRole, form: Form) -> Node {
    let who = DeviceAddress::phone(number);
    let member = NodeBuilder::new("participant").attr("jid", who.jid(form));
    let mut member = match form {
        Form::Pn => member.attr("lid", who.lid()),
        Form::Lid => member.attr("phone_number", who.pn()),
    };
    if let Some(name) = role.name() {
        member = member.attr("type", name);
    }
    member.build()
}

pub(super) fn approval_node(on: bool) -> Node {
    let state = NodeBuilder::new("group_join").attr("state", if on { "on" } else { "off" });
    NodeBuilder::new("membership_approval_mode")
        .children([state.build()])
        .build()
}

impl Network {
    /// Makes a group; answers its id (the part before the `@`).
    pub(super) fn new_group(
        &self,
        subject: &str,
        creator: DeviceAddress,
        members: &[Number],
        form: Form,
        shape: impl FnOnce(&mut Group),
    ) -> Box<str> {
        let now = self.now().as_secs();
        let mut group = Group::new(subject.to_owned(), creator.number, form, now);
        for number in members {
            group.members.entry(*number).or_insert(MemberRole::Member);
        }
        shape(&mut group);
        let random = u64::from_be_bytes(random::bytes()) % 10_000_000_000_000;
        let id: Box<str> = format!("12036{random:013}").into();
        let create = NodeBuilder::new("create")
            .attr("type", "new")
            .children([group.node(&id)])
            .build();
        let everybody: Vec<_> = group.members.keys().copied().collect();
        self.groups.lock().insert(id.clone(), group);
        self.announce(&id, creator, &everybody, Some(creator), create);
        id
    }

    /// Tells members what happened in their group.
    pub(super) fn announce(
        &self,
        id: &str,
        by: DeviceAddress,
        to: &[Number],
        except: Option<DeviceAddress>,
        what: Node,
    ) {
        self.changes.touch(|| JournalKey::Group(id.into()));
        let stanza = random::message_id();
        let notification = NodeBuilder::new("notification")
            .attr("from", whatsapp_rust::Jid::group(id))
            .attr("type", "w:gp2")
            .attr("id", stanza.as_str())
            .attr("t", self.now().as_secs())
            .attr("notify", self.name_of_device(by));
        let by = DeviceAddress::phone(by.number);
        let form = self.list_form(&Chat::Group(id.into()));
        let notification = in_list(notification, by, form).children([what]).build();
        let notification = Arc::new(notification);
        for number in to {
            if let Some(account) = self.directory.known_account(*number) {
                let skip = except.filter(|except| except.number == *number);
                account.deliver_to_all(
                    skip.map(|except| except.device),
                    Class::Notification,
                    &stanza,
                    &notification,
                );
            }
        }
    }

    /// Everybody in a group, or everybody to whom a phone shows its status.
    pub(super) fn members_of(&self, list: &Chat, writer: Number) -> Result<Vec<Number>> {
        let Chat::Group(id) = list else {
            return Ok(self.readers_of(writer));
        };
        let groups = self.groups.lock();
        let group = groups
            .get(id)
            .ok_or_else(|| Error::not_found("no such group"))?;
        if !group.hears(writer) {
            return Err(Error::new(
                Code::SessionForbidden,
                "this phone may not write to the group",
            ));
        }
        Ok(group.members.keys().copied().collect())
    }

    /// To whom a phone shows its status: to whoever it has a chat with, and to its own companions.
    fn readers_of(&self, writer: Number) -> Vec<Number> {
        let known = self.directory.known_phone(writer);
        let mut readers = known.map(|phone| phone.partners()).unwrap_or_default();
        readers.retain(|reader| {
            let shut = self.blocks(*reader, writer) || self.blocks(writer, *reader);
            !shut && self.directory.is_registered(*reader)
        });
        readers.insert(writer);
        readers.into_iter().collect()
    }

    /// Whether the server takes a message from somebody; the code of its refusal if not.
    pub(super) fn refusal_of(&self, chat: &Chat, writer: Number) -> Option<u16> {
        let id = match chat {
            Chat::Group(id) => id,
            // Nobody is there who could get it.
            Chat::Person(number) if !self.directory.is_registered(*number) => return Some(404),
            _ => return None,
        };
        match self.groups.lock().get(id) {
            None => Some(404),
            Some(group) if !group.members.contains_key(&writer) => Some(403),
            Some(group) if !group.hears(writer) => Some(405),
            Some(_) => None,
        }
    }
}
