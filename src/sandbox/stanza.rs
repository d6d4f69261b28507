//! Small readers and builders for stanzas.

use std::borrow::Cow;

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};
use whatsapp_rust::{Jid, Server};

/// The server's own address.
pub(super) fn server() -> Jid {
    Jid::new("", Server::Pn)
}

pub(super) fn text<'a>(node: &'a NodeRef<'_>, key: &str) -> Option<Cow<'a, str>> {
    node.get_attr(key).map(|value| value.as_str())
}

pub(super) fn jid(node: &NodeRef<'_>, key: &str) -> Option<Jid> {
    node.get_attr(key).and_then(|value| value.to_jid())
}

/// The bytes inside the child called `tag`.
pub(super) fn child_bytes<'a>(node: &'a NodeRef<'_>, tag: &str) -> Option<&'a [u8]> {
    node.get_optional_child(tag)?.content_bytes()
}

/// A key id: a few bytes, the highest first.
pub(super) fn child_id(node: &NodeRef<'_>, tag: &str) -> Option<u32> {
    let bytes = child_bytes(node, tag)?;
    (bytes.len() <= 4).then(|| bytes.iter().fold(0, |id, byte| id << 8 | u32::from(*byte)))
}

pub(super) fn child_array<const N: usize>(node: &NodeRef<'_>, tag: &str) -> Option<[u8; N]> {
    child_bytes(node, tag)?.try_into().ok()
}

/// An answer to the request `id`.
pub(super) fn result(id: &str) -> NodeBuilder {
    NodeBuilder::new("iq")
        .attr("from", server())
        .attr("id", id)
        .attr("type", "result")
}

/// A refusal of the request `id`.
pub(super) fn refusal(id: &str, code: u16, words: &'static str) -> Node {
    NodeBuilder::new("iq")
        .attr("from", server())
        .attr("id", id)
        .attr("type", "error")
        .children([NodeBuilder::new("error")
            .attr("code", code)
            .attr("text", words)
            .build()])
        .build()
}

pub(super) fn bytes(tag: &'static str, content: impl Into<Vec<u8>>) -> Node {
    NodeBuilder::new(tag).bytes(content).build()
}

/// A key id in the three bytes that it has on the wire.
pub(super) fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes()[1..].to_vec()
}
