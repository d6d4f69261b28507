//! Calls, as far as ringing and hanging up go; nobody speaks.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::NodeRef;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::connection::Socket;
use super::network::Network;
use super::number::{DeviceAddress, Form};
use super::outbox::Class;
use super::random;
use super::routing::ack;
use super::stanza::{jid, text};
use super::usync::word;
use crate::error::{Error, Result};

impl Network {
    /// Takes what a companion does with a call.
    pub(super) fn take_call(&self, socket: &Arc<Socket>, from: DeviceAddress, node: &NodeRef<'_>) {
        let mut answer = ack(node, "call", self.now().as_secs());
        let action = node.children().and_then(|all| all.first());
        if let Some(action) = action {
            answer = answer.attr("type", action.tag.as_ref());
        }
        socket.send(Arc::new(answer.build()));
        let to = jid(node, "to");
        let target = to.as_ref().and_then(DeviceAddress::from_jid);
        let (Some(action), Some(target), Some(to)) = (action, target, to) else {
            return;
        };
        if self.blocks(target.number, from.number) {
            return;
        }
        if let Some(call) = word(action, "call-id") {
            let phone = self.directory.phone(target.number);
            phone.note_call(from.number, &call, action.tag.as_ref());
        }
        let Some(account) = self.directory.known_account(target.number) else {
            return;
        };
        let id = text(node, "id")
            .map(|id| id.into_owned())
            .unwrap_or_else(random::message_id);
        let call = NodeBuilder::new("call")
            .attr("from", from.jid(Form::of(&to)))
            .attr("id", id.as_str())
            .attr("t", self.now().as_secs())
            .children([action.to_owned()])
            .build();
        account.deliver_to_all(None, Class::Call, &id, &Arc::new(call));
    }

    /// The user of a phone calls somebody; answers the id of the call.
    pub fn call(&self, phone: &str, to: &str, video: bool) -> Result<String> {
        let from = DeviceAddress::phone(self.number(phone)?);
        let call = hex::encode_upper(random::bytes::<16>());
        let mut offer = NodeBuilder::new("offer")
            .attr("call-id", call.as_str())
            .attr("call-creator", from.jid(self.form))
            .children([NodeBuilder::new("audio")
                .attr("enc", "opus")
                .attr("rate", 16_000)
                .build()]);
        if video {
            offer = offer.children([NodeBuilder::new("video").build()]);
        }
        self.ring(from, to, offer)?;
        Ok(call)
    }

    /// The user of a phone hangs up.
    pub fn hang_up(&self, phone: &str, to: &str, call: &str) -> Result<()> {
        let from = DeviceAddress::phone(self.number(phone)?);
        let terminate = NodeBuilder::new("terminate")
            .attr("call-id", call)
            .attr("call-creator", from.jid(self.form));
        self.ring(from, to, terminate)
    }

    fn ring(&self, from: DeviceAddress, to: &str, action: NodeBuilder) -> Result<()> {
        let to = self.number(to)?;
        let account = self
            .directory
            .known_account(to)
            .ok_or_else(|| Error::not_found("nobody else can be called on this number"))?;
        if self.blocks(to, from.number) {
            return Ok(());
        }
        let id = random::message_id();
        let call = NodeBuilder::new("call")
            .attr("from", from.jid(self.form))
            .attr("id", id.as_str())
            .attr("t", self.now().as_secs())
            .attr("notify", self.name_of(from.number))
            .attr("platform", "android")
            .attr("version", "2.24.1")
            .children([action.build()])
            .build();
        account.deliver_to_all(None, Class::Call, &id, &Arc::new(call));
        Ok(())
    }
}
