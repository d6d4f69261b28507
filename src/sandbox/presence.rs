//! Who is there, who is typing, who calls.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};

use super::chat::Chat;
use super::connection::Socket;
use super::network::Network;
use super::number::Address;
use super::routing::ack;
use super::stanza::{jid, text};

impl Network {
    pub(super) fn take_presence(&self, from: Address, node: &NodeRef<'_>) {
        let available = match text(node, "type").as_deref() {
            Some("available") | None => true,
            Some("unavailable") => false,
            _ => return,
        };
        if let Some(account) = self.directory.known_account(from.number)
            && let Some(companion) = account.lock().companions.get_mut(&from.device)
        {
            companion.available = available;
        }
    }

    pub(super) fn take_chatstate(&self, from: Address, node: &NodeRef<'_>) {
        let chat = jid(node, "to").and_then(|to| Chat::from_jid(&to));
        let content = node.children().and_then(|all| all.first());
        if let (Some(chat), Some(content)) = (chat, content) {
            self.pass_on_typing(from, &chat, content.to_owned());
        }
    }

    /// Shows those in a chat who are there that somebody types.
    pub(super) fn pass_on_typing(&self, from: Address, chat: &Chat, content: Node) {
        let state = NodeBuilder::new("chatstate");
        let (state, to) = match chat {
            Chat::Person(number) => (state.attr("from", from.jid(self.form)), vec![*number]),
            list => {
                let state = state
                    .attr("from", list.jid(self.form))
                    .attr("participant", from.jid(self.form));
                (
                    state,
                    self.members_of(list, from.number).unwrap_or_default(),
                )
            }
        };
        let state = Arc::new(state.children([content]).build());
        for number in to.into_iter().filter(|number| *number != from.number) {
            if let Some(account) = self.directory.known_account(number) {
                account.mention(None, &state);
            }
        }
    }

    pub(super) fn take_call(&self, socket: &Arc<Socket>, _from: Address, node: &NodeRef<'_>) {
        socket.send(Arc::new(ack(node, "call", self.now().as_secs()).build()));
    }
}
