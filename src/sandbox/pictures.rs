//! Pictures of people and groups.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::chat::Chat;
use super::iq::Request;
use super::media::Stored;
use super::network::Network;
use super::number::{Address, Form};
use super::outbox::Class;
use super::random;
use super::stanza::{jid, text};

/// Who has which picture: its id, and where it can be fetched.
#[derive(Default)]
pub(super) struct Pictures(Mutex<HashMap<Chat, (u64, Stored)>>);

impl Network {
    pub(super) fn answer_picture(&self, request: &Request<'_, '_>) -> Option<Node> {
        let target = jid(request.node, "target");
        let me = Chat::Person(request.from.number);
        let whose = match &target {
            Some(jid) => Chat::from_jid(jid)?,
            None => me.clone(),
        };
        if !request.set {
            let known = self.picture(&whose);
            let Some((id, stored)) = known else {
                return request.refuse(404, "item-not-found");
            };
            let asked = request.child("picture")?;
            if text(asked, "id").is_some_and(|had| had == id.to_string()) {
                return request.done();
            }
            let kind = text(asked, "type").unwrap_or("preview".into()).into_owned();
            let picture = NodeBuilder::new("picture")
                .attr("id", id)
                .attr("type", kind)
                .attr("url", stored.url)
                .attr("direct_path", stored.direct_path);
            return request.answer([picture.build()]);
        }
        if whose != me && self.refusal_of(&whose, request.from.number).is_some() {
            return request.refuse(403, "forbidden");
        }
        let file = request
            .child("picture")
            .and_then(|picture| picture.content_bytes());
        let id = self.set_picture(&whose, request.from, file);
        match id {
            Some(id) => request.answer([NodeBuilder::new("picture").attr("id", id).build()]),
            None => request.done(),
        }
    }

    pub(super) fn picture(&self, whose: &Chat) -> Option<(u64, Stored)> {
        let pictures = self
            .pictures
            .0
            .lock()
            .expect("Invariant: nothing panics under this lock");
        pictures.get(whose).cloned()
    }

    /// Changes or removes a picture and tells those who know the person or group.
    fn set_picture(&self, whose: &Chat, by: Address, file: Option<&[u8]>) -> Option<u64> {
        let id = self.now().as_ms().unsigned_abs();
        let mut pictures = self
            .pictures
            .0
            .lock()
            .expect("Invariant: nothing panics under this lock");
        let change = match file {
            Some(file) => {
                let name = random::hex(&random::bytes::<16>());
                let stored =
                    self.keep_picture(&format!("/pp/{name}.jpg"), Bytes::copy_from_slice(file));
                pictures.insert(whose.clone(), (id, stored));
                NodeBuilder::new("set").attr("id", id)
            }
            None => {
                pictures.remove(whose);
                NodeBuilder::new("delete")
            }
        };
        drop(pictures);
        let author = Address::phone(by.number).pn();
        let change = change
            .attr("jid", whose.jid(Form::Pn))
            .attr("author", author)
            .build();
        let told = match whose {
            Chat::Person(number) => {
                let mut told = self.directory.acquaintances(*number);
                told.push(*number);
                told
            }
            list => self.members_of(list, by.number).unwrap_or_default(),
        };
        let stanza = random::message_id();
        let notification = NodeBuilder::new("notification")
            .attr("from", whose.jid(Form::Pn))
            .attr("type", "picture")
            .attr("id", stanza.as_str())
            .attr("t", self.now().as_secs())
            .children([change])
            .build();
        let notification = Arc::new(notification);
        for number in told {
            if let Some(account) = self.directory.known_account(number) {
                let except = (number == by.number).then_some(by.device);
                account.deliver_to_all(except, Class::Notification, &stanza, &notification);
            }
        }
        file.map(|_| id)
    }
}
