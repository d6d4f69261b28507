//! Linking a companion by an eight-character code.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::NodeRef;

use super::connection::Socket;
use super::network::Network;
use super::pairing::Candidate;
use super::stanza::refusal;

impl Network {
    pub(super) fn take_code_stage(
        &self,
        socket: &Arc<Socket>,
        _candidate: &Arc<Candidate>,
        id: &str,
        _node: &NodeRef<'_>,
    ) {
        socket.send(Arc::new(refusal(id, 400, "bad-request")));
    }
}
