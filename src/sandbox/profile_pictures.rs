//! Pictures of people and groups.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::chat::Chat;
use super::iq::IqRequest;
use super::journal::JournalKey;
use super::media::StoredMedia;
use super::network::Network;
use super::number::{DeviceAddress, Form};
use super::outbox::Class;
use super::stanza::{jid, text};
use super::{base64, random};

/// Who has which picture.
#[derive(Default)]
pub(super) struct ProfilePictures(Mutex<HashMap<Chat, ProfilePicture>>);

/// A picture: its id, where it can be fetched, and the file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ProfilePicture {
    id: u64,
    path: String,
    #[serde(with = "base64::text")]
    file: Vec<u8>,
}

impl ProfilePictures {
    fn lock(&self) -> MutexGuard<'_, HashMap<Chat, ProfilePicture>> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under this lock")
    }

    /// A picture for the state file.
    pub(super) fn row(&self, whose: &Chat) -> Option<ProfilePicture> {
        self.lock().get(whose).cloned()
    }
}

impl Network {
    pub(super) fn answer_picture(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
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
            if let Chat::Person(number) = whose
                && self.keeps_from(number, "profile", request.from.number, asked)
            {
                return request.refuse(401, "not-authorized");
            }
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
        let foreign = match &whose {
            Chat::Person(_) => whose != me,
            list => self.refusal_of(list, request.from.number).is_some(),
        };
        if foreign {
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

    pub(super) fn picture(&self, whose: &Chat) -> Option<(u64, StoredMedia)> {
        let pictures = self.pictures.lock();
        let picture = pictures.get(whose)?;
        Some((picture.id, self.stored(&picture.path)))
    }

    /// Puts a picture back to where it was.
    pub(super) fn restore_picture(&self, whose: Chat, picture: ProfilePicture) {
        self.keep_picture(&picture.path, Bytes::copy_from_slice(&picture.file));
        self.pictures.lock().insert(whose, picture);
    }

    /// Changes or removes a picture and tells those who know the person or group.
    fn set_picture(&self, whose: &Chat, by: DeviceAddress, file: Option<&[u8]>) -> Option<u64> {
        let id = self.now().as_ms().unsigned_abs();
        let change = match file {
            Some(file) => {
                let path = format!("/pp/{}.jpg", hex::encode_upper(random::bytes::<16>()));
                let file = file.to_vec();
                self.restore_picture(whose.clone(), ProfilePicture { id, path, file });
                NodeBuilder::new("set").attr("id", id)
            }
            None => {
                self.pictures.lock().remove(whose);
                NodeBuilder::new("delete")
            }
        };
        self.changes.touch(|| JournalKey::Picture(whose.clone()));
        let author = DeviceAddress::phone(by.number).pn();
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
                // The device that changed it is told, too: it waits for that word.
                account.deliver_to_all(None, Class::Notification, &stanza, &notification);
            }
        }
        file.map(|_| id)
    }
}
