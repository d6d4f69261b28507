//! Groups: who is in them, what they are called, who may do what.

use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::iq::Request;
use super::network::Network;

impl Network {
    pub(super) fn answer_groups(&self, request: &Request<'_, '_>) -> Option<Node> {
        if !request.set && request.child("participating").is_some() {
            return request.answer([NodeBuilder::new("groups").build()]);
        }
        request.refuse(404, "item-not-found")
    }
}
