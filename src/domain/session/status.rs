//! Where a session stands.

use serde::{Deserialize, Serialize};

use crate::jid::Jid;
use crate::time::Timestamp;

/// Where a session stands. Stored in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionState {
    /// Made, nothing tried yet.
    Created,
    /// On its way to WhatsApp.
    Connecting,
    /// A QR waits to be scanned, or a code to be typed.
    Pairing,
    /// Ready to send and receive.
    Connected,
    /// Not connected; the detail says why and what to do.
    Disconnected,
    /// The pairing ended; a new QR is needed.
    LoggedOut,
}

/// Where a session stands, with everything one may want to show.
#[derive(Debug, Clone)]
pub struct SessionStatus {
    /// The state.
    pub state: SessionState,
    /// A sentence about it.
    pub detail: String,
    /// Whether a phone accepted it and has not ended that.
    pub paired: bool,
    /// The QR that waits, and when it ends.
    pub qr: Option<(String, Timestamp)>,
    /// The account's number.
    pub number: Option<String>,
    /// The account's hidden id.
    pub lid: Option<Jid>,
    /// The account's own name.
    pub name: String,
}
