//! Questions about people: who is registered, with which devices, names, pictures and words.

use whatsapp_rust::wacore::messages::MessageUtils;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};

use super::chat::Chat;
use super::iq::IqRequest;
use super::network::Network;
use super::number::{DeviceAddress, Form, Number};
use super::stanza::{jid, text};

impl Network {
    pub(super) fn answer_usync(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        let usync = request.child("usync")?;
        let query = usync.get_optional_child("query")?;
        let asked: Vec<_> = query
            .children()
            .unwrap_or_default()
            .iter()
            .map(|p| &*p.tag)
            .collect();
        let users = usync
            .get_optional_child("list")
            .and_then(|list| list.children());
        let asker = request.from.number;
        let users = users.unwrap_or_default().iter();
        let users = users.map(|user| self.user_node(asker, user, &asked));
        let users: Vec<_> = users.collect();
        let results: Vec<_> = asked
            .iter()
            .map(|name| NodeBuilder::new_dynamic((*name).to_owned()).build())
            .collect();
        let mut answer = NodeBuilder::new("usync")
            .attr("index", 0)
            .attr("last", true);
        for key in ["sid", "mode", "context"] {
            if let Some(value) = usync.get_attr(key) {
                answer = answer.attr(key, value.to_node_value());
            }
        }
        let answer = answer.children([
            NodeBuilder::new("result").children(results).build(),
            NodeBuilder::new("list").children(users).build(),
        ]);
        request.answer([answer.build()])
    }

    fn user_node(&self, asker: Number, user: &NodeRef<'_>, asked: &[&str]) -> Node {
        let by_jid = jid(user, "jid").or_else(|| jid(user, "pn_jid"));
        let written = user
            .get_optional_child("contact")
            .and_then(|c| c.content_as_string());
        let number = by_jid
            .as_ref()
            .and_then(DeviceAddress::from_jid)
            .map(|address| address.number)
            .or_else(|| written.as_deref().and_then(Number::parse));
        let known = number.filter(|number| self.directory.is_registered(*number));
        if let Some(number) = known
            && asked.contains(&"devices")
        {
            self.directory.acquaint(asker, number);
        }
        let mut answer = NodeBuilder::new("user");
        if let Some(jid) = &by_jid {
            answer = answer.attr("jid", jid.to_non_ad());
        } else if let Some(number) = number {
            answer = answer.attr("jid", DeviceAddress::phone(number).pn());
        }
        let form = by_jid.as_ref().map(Form::of).unwrap_or_default();
        if form == Form::Lid
            && let Some(number) = known
        {
            answer = answer.attr("pn_jid", DeviceAddress::phone(number).pn());
        }
        let mut children = Vec::new();
        for name in asked {
            if *name == "contact" {
                let kind = if known.is_some() { "in" } else { "out" };
                let mut contact = NodeBuilder::new("contact").attr("type", kind);
                if let Some(written) = &written {
                    contact = contact.string_content(written.clone());
                }
                children.push(contact.build());
            } else if let Some(number) = known
                && let Some(child) = self.fact_node(number, name)
            {
                children.push(child);
            }
        }
        answer.children(children).build()
    }

    fn fact_node(&self, number: Number, name: &str) -> Option<Node> {
        Some(match name {
            "devices" => self.devices_node(number),
            "lid" => NodeBuilder::new("lid")
                .attr("val", DeviceAddress::phone(number).lid())
                .build(),
            "status" => {
                let about = self
                    .directory
                    .known_account(number)
                    .and_then(|account| account.lock().about.clone());
                NodeBuilder::new("status")
                    .attr("t", 0)
                    .string_content(about.unwrap_or_else(|| "Hey there!".to_owned()))
                    .build()
            }
            "picture" => {
                let (id, _) = self.picture(&Chat::Person(number))?;
                NodeBuilder::new("picture").attr("id", id).build()
            }
            "disappearing_mode" => NodeBuilder::new("disappearing_mode")
                .attr("duration", 0)
                .attr("t", 0)
                .build(),
            _ => return None,
        })
    }

    fn devices_node(&self, number: Number) -> Node {
        let account = self.directory.known_account(number);
        let companions = account
            .as_ref()
            .map(|account| account.devices())
            .unwrap_or_default();
        let phone = NodeBuilder::new("device").attr("id", 0).build();
        let rest = companions.iter().map(|device| {
            NodeBuilder::new("device")
                .attr("id", *device)
                .attr("key-index", *device)
                .build()
        });
        let list = NodeBuilder::new("device-list")
            .attr("hash", self.device_hash(number))
            .children(std::iter::once(phone).chain(rest))
            .build();
        let mut children = vec![list];
        if let Some(account) = account.filter(|_| !companions.is_empty()) {
            let keys = self.directory.phone(number);
            let (changed, signed) = account.key_index_list(keys.keys(&self.seed));
            children.push(
                NodeBuilder::new("key-index-list")
                    .attr("ts", changed)
                    .bytes(signed)
                    .build(),
            );
        }
        NodeBuilder::new("devices").children(children).build()
    }

    /// The short name of an account's set of devices.
    pub(super) fn device_hash(&self, number: Number) -> String {
        let devices: Vec<_> = self.devices_of(number).map(DeviceAddress::pn).collect();
        MessageUtils::participant_list_hash(&devices).unwrap_or_default()
    }
}

/// What a request says about a person, for those that name one.
pub(super) fn person(node: &NodeRef<'_>, key: &str) -> Option<Number> {
    let jid = jid(node, key)?;
    DeviceAddress::from_jid(&jid).map(|address| address.number)
}

/// A word that a request carries in an attribute.
pub(super) fn word(node: &NodeRef<'_>, key: &str) -> Option<String> {
    text(node, key).map(|word| word.into_owned())
}
