//! Unlinking a companion, from either side.

use std::sync::Arc;

use whatsapp_rust::wacore_binary::Node;

use super::connection::{Socket, stream_error};
use super::iq::IqRequest;
use super::journal::JournalKey;
use super::network::Network;
use super::number::DeviceAddress;
use super::stanza::{jid, result};

impl Network {
    pub(super) fn answer_linking(
        self: &Arc<Self>,
        request: &IqRequest<'_, '_>,
        socket: &Arc<Socket>,
    ) -> Option<Node> {
        let remove = request.child("remove-companion-device")?;
        let who = jid(remove, "jid").and_then(|jid| DeviceAddress::from_jid(&jid));
        let who = who
            .filter(|who| who.number == request.from.number)
            .unwrap_or(request.from);
        socket.send(Arc::new(result(request.id).build()));
        self.unlink(who);
        request.done()
    }

    /// Removes a companion for good.
    pub(super) fn unlink(self: &Arc<Self>, who: DeviceAddress) -> bool {
        let account = self.directory.account(who.number);
        let mut state = account.lock();
        let Some(companion) = state.companions.remove(&who.device) else {
            return false;
        };
        state.devices_changed = self.now().as_secs();
        drop(state);
        self.changes.touch(|| JournalKey::Account(who.number));
        self.changes.touch(|| JournalKey::Companion(who));
        self.changes.touch(|| JournalKey::Keys(who));
        for place in companion.outbox.places() {
            self.changes.touch(|| JournalKey::Waiting(who, place));
        }
        self.directory.remove_login(&companion.noise);
        if let Some(socket) = &companion.socket {
            stream_error(socket, 401, Some("device_removed"));
        }
        self.directory.phone(who.number).forget_session(who);
        self.announce_devices(who, false);
        true
    }
}
