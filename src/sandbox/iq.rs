//! Requests from companions: which file answers which.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::NodeRef;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::connection::Socket;
use super::network::Network;
use super::number::DeviceAddress;
use super::stanza::{refusal, result, text};

/// One request from a companion.
pub(super) struct IqRequest<'a, 'b> {
    pub(super) from: DeviceAddress,
    pub(super) id: &'a str,
    pub(super) set: bool,
    pub(super) xmlns: &'a str,
    pub(super) node: &'a NodeRef<'b>,
}

impl<'a, 'b> IqRequest<'a, 'b> {
    pub(super) fn child(&self, tag: &str) -> Option<&'a NodeRef<'b>> {
        self.node.get_optional_child(tag)
    }

    /// An answer without content.
    pub(super) fn done(&self) -> Option<Node> {
        Some(result(self.id).build())
    }

    pub(super) fn answer(&self, children: impl IntoIterator<Item = Node>) -> Option<Node> {
        let children: Vec<_> = children.into_iter().collect();
        if children.is_empty() {
            return self.done();
        }
        Some(result(self.id).children(children).build())
    }

    pub(super) fn refuse(&self, code: u16, words: &'static str) -> Option<Node> {
        Some(refusal(self.id, code, words))
    }
}

impl Network {
    /// Answers a request, or reads the answer to one of ours.
    pub(super) fn take_iq(
        self: &Arc<Self>,
        socket: &Arc<Socket>,
        from: DeviceAddress,
        node: &NodeRef<'_>,
    ) {
        let kind = text(node, "type");
        let set = match kind.as_deref() {
            Some("set") => true,
            Some("get") => false,
            // Some clients leave the type out when they report numbers.
            None if node.get_attr("xmlns").is_some() => true,
            // Answers to our own requests, of which there are only pings.
            _ => return,
        };
        let Some(id) = text(node, "id") else { return };
        let xmlns = text(node, "xmlns").unwrap_or_default();
        let request = IqRequest {
            from,
            id: &id,
            set,
            xmlns: &xmlns,
            node,
        };
        let answer = self.answer(&request, socket);
        let answer = answer.unwrap_or_else(|| {
            let child = node
                .children()
                .and_then(|all| all.first())
                .map(|c| c.tag.to_string());
            let verb = if set { "set" } else { "get" };
            self.counters
                .unknown(format!("iq {verb} {xmlns} {}", child.unwrap_or_default()));
            refusal(&id, 501, "feature-not-implemented")
        });
        socket.send(Arc::new(answer));
        self.after(&request, socket);
    }

    fn answer(self: &Arc<Self>, request: &IqRequest<'_, '_>, socket: &Arc<Socket>) -> Option<Node> {
        match request.xmlns {
            "w:p" | "urn:xmpp:ping" => request.done(),
            "passive" => request.done(),
            "encrypt" => self.answer_encrypt(request),
            "usync" => self.answer_usync(request),
            "w:m" => self.answer_media(request),
            "w:sync:app:state" => self.answer_settings(request),
            "w:g2" => self.answer_groups(request),
            "w:mex" => self.answer_mex(request),
            "newsletter" => self.answer_channel(request),
            "md" => self.answer_linking(request, socket),
            "w:profile:picture" => self.answer_picture(request),
            _ => self.answer_account(request),
        }
    }

    /// What the server sends by itself after certain answers.
    fn after(self: &Arc<Self>, request: &IqRequest<'_, '_>, socket: &Arc<Socket>) {
        match request.xmlns {
            "passive" if request.child("active").is_some() => self.activate(request.from, socket),
            "encrypt" if request.set => self.greet_companion(request.from),
            _ => {}
        }
    }

    /// The companion wants its messages: first what waited, then whatever comes.
    fn activate(self: &Arc<Self>, address: DeviceAddress, socket: &Arc<Socket>) {
        let account = self.directory.account(address.number);
        let mut state = account.lock();
        let Some(companion) = state.companions.get_mut(&address.device) else {
            return;
        };
        let waiting: Vec<_> = companion.outbox.iter().cloned().collect();
        let count = |class| waiting.iter().filter(|(of, _)| *of == class).count();
        use super::outbox::Class;
        let preview = NodeBuilder::new("offline_preview")
            .attr("count", waiting.len())
            .attr("message", count(Class::Message))
            .attr("receipt", count(Class::Receipt))
            .attr("notification", count(Class::Notification))
            .attr("call", count(Class::Call))
            .attr("appdata", 0)
            .build();
        socket.send(Arc::new(ib(preview)));
        for (place, (_, node)) in waiting.iter().enumerate() {
            let mut node = Node::clone(node);
            node.attrs.insert("offline", place);
            socket.send(Arc::new(node));
        }
        let end = NodeBuilder::new("offline")
            .attr("count", waiting.len())
            .build();
        socket.send(Arc::new(ib(end)));
        companion.active = true;
    }
}

/// A hint from the server.
pub(super) fn ib(child: Node) -> Node {
    NodeBuilder::new("ib")
        .attr("from", super::stanza::server())
        .children([child])
        .build()
}
