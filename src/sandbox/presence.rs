//! Who is there, and who is typing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};

use super::chat::Chat;
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Form, Number};
use super::stanza::{jid, text};

/// Who wants to know when somebody is there.
#[derive(Default)]
pub(super) struct Watchers(Mutex<HashMap<Number, HashSet<(DeviceAddress, Form)>>>);

impl Network {
    pub(super) fn take_presence(&self, from: DeviceAddress, node: &NodeRef<'_>) {
        if let Some(name) = text(node, "name") {
            self.note_name(from, &name);
        }
        let target = jid(node, "to");
        let whom = target
            .as_ref()
            .and_then(DeviceAddress::from_jid)
            .map(|address| address.number);
        match (text(node, "type").as_deref(), whom, target) {
            (Some("available") | None, ..) => self.set_available(from, true),
            (Some("unavailable"), ..) => self.set_available(from, false),
            (Some("subscribe"), Some(whom), _) if self.hides(whom, from.number, node) => {}
            (Some("subscribe"), Some(whom), Some(target)) => {
                let form = Form::of(&target);
                self.watchers
                    .lock()
                    .entry(whom)
                    .or_default()
                    .insert((from, form));
                let news = self.presence_node(whom, form);
                if !self.blocks(whom, from.number)
                    && let Some(account) = self.directory.known_account(from.number)
                {
                    account.mention_to(from.device, &news);
                }
            }
            (Some("unsubscribe"), Some(whom), Some(target)) => {
                if let Some(watching) = self.watchers.lock().get_mut(&whom) {
                    watching.remove(&(from, Form::of(&target)));
                }
            }
            // Groups and lists have no presence.
            (Some("subscribe" | "unsubscribe"), ..) => {}
            (Some(other), ..) => self.counters.unknown(format!("presence {other}")),
        }
    }

    /// Whether somebody does not show whether he is there.
    fn hides(&self, whom: Number, by: Number, asked: &NodeRef<'_>) -> bool {
        let as_last_seen = self.directory.known_account(whom).is_some_and(|account| {
            let chosen = account.lock().privacy.get("online").cloned();
            chosen.as_deref() == Some("match_last_seen")
        });
        let what = if as_last_seen { "last" } else { "online" };
        self.keeps_from(whom, what, by, asked)
    }

    /// A companion says by which name it goes.
    fn note_name(&self, who: DeviceAddress, name: &str) {
        if let Some(account) = self.directory.known_account(who.number)
            && let Some(companion) = account.lock().companions.get_mut(&who.device)
            && companion.name.as_deref() != Some(name)
        {
            companion.name = Some(name.to_owned());
            self.changes.touch(|| JournalKey::Companion(who));
        }
    }

    fn set_available(&self, who: DeviceAddress, available: bool) {
        if let Some(account) = self.directory.known_account(who.number)
            && let Some(companion) = account.lock().companions.get_mut(&who.device)
        {
            companion.available = available;
        }
        self.tell_watchers(who.number);
    }

    /// Tells those who want to know whether somebody is there.
    pub(super) fn tell_watchers(&self, whom: Number) {
        let watching = self.watchers.lock().get(&whom).cloned().unwrap_or_default();
        for (watcher, form) in watching {
            if !self.blocks(whom, watcher.number)
                && let Some(account) = self.directory.known_account(watcher.number)
            {
                account.mention_to(watcher.device, &self.presence_node(whom, form));
            }
        }
    }

    fn presence_node(&self, whom: Number, form: Form) -> Arc<Node> {
        let phone_on = self
            .directory
            .known_phone(whom)
            .is_none_or(|phone| phone.profile().online);
        let companion_there = self.directory.known_account(whom).is_some_and(|account| {
            account
                .lock()
                .companions
                .values()
                .any(|companion| companion.available)
        });
        let presence =
            NodeBuilder::new("presence").attr("from", DeviceAddress::phone(whom).jid(form));
        let presence = if phone_on || companion_there {
            presence.attr("type", "available")
        } else {
            presence
                .attr("type", "unavailable")
                .attr("last", self.now().as_secs())
        };
        Arc::new(presence.build())
    }

    pub(super) fn take_chatstate(&self, from: DeviceAddress, node: &NodeRef<'_>) {
        let chat = jid(node, "to").and_then(|to| Chat::from_jid(&to));
        let content = node.children().and_then(|all| all.first());
        if let (Some(chat), Some(content)) = (chat, content) {
            let state = match (content.tag.as_ref(), text(content, "media").as_deref()) {
                ("composing", Some("audio")) => "recording",
                ("composing", _) => "composing",
                _ => "paused",
            };
            if let Chat::Person(whom) = &chat
                && !self.blocks(*whom, from.number)
            {
                self.directory.phone(*whom).note_typing(from.number, state);
            }
            self.pass_on_typing(from, &chat, content.to_owned());
        }
    }

    /// Shows those in a chat who are there that somebody types.
    pub(super) fn pass_on_typing(&self, from: DeviceAddress, chat: &Chat, content: Node) {
        let state = NodeBuilder::new("chatstate");
        let (state, to) = match chat {
            Chat::Person(number) if self.blocks(*number, from.number) => return,
            Chat::Person(number) => (state.attr("from", from.jid(self.form)), vec![*number]),
            list => {
                let form = self.list_form(list);
                let state = state
                    .attr("from", list.jid(form))
                    .attr("participant", from.jid(form));
                (
                    state,
                    self.members_of(list, from.number).unwrap_or_default(),
                )
            }
        };
        let state = Arc::new(state.children([content]).build());
        for number in to.into_iter().filter(|number| *number != from.number) {
            if let Some(account) = self.directory.known_account(number) {
                account.mention(&state);
            }
        }
    }
}

impl Watchers {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Number, HashSet<(DeviceAddress, Form)>>> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under this lock")
    }
}
