//! Settings that the companions of an account share (the library calls them app state).

use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::iq::Request;
use super::network::Network;
use super::stanza::text;

impl Network {
    pub(super) fn answer_settings(&self, request: &Request<'_, '_>) -> Option<Node> {
        let sync = request.child("sync")?;
        let collections = sync.get_children_by_tag("collection").map(|asked| {
            let version: u64 = text(asked, "version")
                .and_then(|v| v.parse().ok())
                .unwrap_or_default();
            let added = u64::from(asked.get_optional_child("patch").is_some());
            NodeBuilder::new("collection")
                .attr("name", text(asked, "name").unwrap_or_default().into_owned())
                .attr("type", "result")
                .attr("version", version + added)
                .build()
        });
        let collections: Vec<_> = collections.collect();
        request.answer([NodeBuilder::new("sync").children(collections).build()])
    }
}
