//! Requests about the account itself: privacy, blocked people, experiments, status text, pictures.

use std::collections::BTreeMap;
use std::sync::Arc;

use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::iq::IqRequest;
use super::journal::JournalKey;
use super::network::Network;
use super::number::DeviceAddress;
use super::outbox::Class;
use super::random;
use super::stanza::text;
use super::usync::{person, word};

/// What everybody allows who has not chosen.
const PRIVACY: [(&str, &str); 7] = [
    ("readreceipts", "all"),
    ("last", "all"),
    ("profile", "all"),
    ("status", "all"),
    ("online", "all"),
    ("groupadd", "all"),
    ("calladd", "all"),
];

/// What every client is to do: show the tokens of those whom it writes to (10518), show computed
/// tokens to strangers (24941), and take the secret for that from the history (25189) and from the
/// settings (25253).
const SWITCHED_ON: [u32; 4] = [10_518, 24_941, 25_189, 25_253];

impl Network {
    pub(super) fn answer_account(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        if request.set {
            self.changes
                .touch(|| JournalKey::Account(request.from.number));
        }
        match (request.xmlns, request.set) {
            ("abt", false) => {
                let props = NodeBuilder::new("props")
                    .attr("protocol", 1)
                    .attr("ab_key", "sandbox")
                    .attr("hash", "1")
                    .attr("refresh", 86_400)
                    .attr("refresh_id", 1);
                let switched_on = SWITCHED_ON.map(|code| {
                    NodeBuilder::new("prop")
                        .attr("config_code", code)
                        .attr("config_value", 1)
                        .build()
                });
                request.answer([props.children(switched_on).build()])
            }
            ("privacy", false) => {
                let chosen = self
                    .directory
                    .account(request.from.number)
                    .lock()
                    .privacy
                    .clone();
                let mut all: BTreeMap<&str, &str> = PRIVACY.into_iter().collect();
                all.extend(
                    chosen
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.as_str())),
                );
                let categories = all.into_iter().map(|(name, value)| {
                    NodeBuilder::new("category")
                        .attr("name", name)
                        .attr("value", value)
                        .build()
                });
                request.answer([NodeBuilder::new("privacy").children(categories).build()])
            }
            ("privacy", true) => {
                if let Some(tokens) = request.child("tokens") {
                    self.take_tokens(request, tokens);
                }
                if let Some(privacy) = request.child("privacy") {
                    let account = self.directory.account(request.from.number);
                    let mut state = account.lock();
                    for category in privacy.get_children_by_tag("category") {
                        if let (Some(name), Some(value)) =
                            (word(category, "name"), word(category, "value"))
                        {
                            state.privacy.insert(name, value);
                        }
                    }
                }
                request.done()
            }
            ("blocklist", false) => {
                let account = self.directory.account(request.from.number);
                let blocked = account.lock().blocked.clone();
                let items = blocked.into_iter().map(|number| {
                    let who = DeviceAddress::phone(number);
                    NodeBuilder::new("item")
                        .attr("jid", who.lid())
                        .attr("pn_jid", who.pn())
                        .build()
                });
                let items: Vec<_> = items.collect();
                request.answer([NodeBuilder::new("list")
                    .attr("dhash", items.len())
                    .children(items)
                    .build()])
            }
            ("blocklist", true) => {
                let item = request.child("item")?;
                let who = person(item, "jid").or_else(|| person(item, "pn_jid"));
                let account = self.directory.account(request.from.number);
                let mut state = account.lock();
                if let Some(who) = who {
                    if text(item, "action").as_deref() == Some("unblock") {
                        state.blocked.remove(&who);
                    } else {
                        state.blocked.insert(who);
                    }
                }
                request.answer([NodeBuilder::new("list")
                    .attr("dhash", state.blocked.len())
                    .build()])
            }
            ("status", true) => {
                let words = request.child("status").and_then(|s| s.content_as_string());
                let words = words.map(|words| words.to_string());
                self.tell_about(request.from, words.as_deref().unwrap_or_default());
                self.directory.account(request.from.number).lock().about = words;
                request.done()
            }
            ("w:biz", false) => {
                let profile = NodeBuilder::new("business_profile").attr("v", 244);
                request.answer([profile.build()])
            }
            ("spam", true) => request.done(),
            ("urn:xmpp:whatsapp:dirty" | "urn:xmpp:whatsapp:push" | "tos" | "w:stats", true) => {
                request.done()
            }
            _ => None,
        }
    }

    /// Tells everybody who may want to know what somebody writes about himself. Nobody has an address
    /// book here, so it is everybody.
    fn tell_about(&self, who: DeviceAddress, words: &str) {
        let id = random::message_id();
        let set = NodeBuilder::new("set").string_content(words);
        let notification = NodeBuilder::new("notification")
            .attr("from", DeviceAddress::phone(who.number).pn())
            .attr("type", "status")
            .attr("id", id.as_str())
            .attr("t", self.now().as_secs())
            .attr("notify", self.name_of_device(who))
            .children([set.build()]);
        let notification = Arc::new(notification.build());
        for account in self.directory.accounts() {
            let except = (account.number == who.number).then_some(who.device);
            if !self.blocks(who.number, account.number) {
                account.deliver_to_all(except, Class::Notification, &id, &notification);
            }
        }
    }

    pub(super) fn answer_media(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        request.child("media_conn")?;
        let host = NodeBuilder::new("host")
            .attr("hostname", self.media_host())
            .attr("type", "primary");
        let connection = NodeBuilder::new("media_conn")
            .attr("auth", self.media_key.current())
            .attr("ttl", 3600)
            .attr("auth_ttl", 3600)
            .attr("max_buckets", 12)
            .children([host.build()]);
        request.answer([connection.build()])
    }
}
