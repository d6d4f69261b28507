//! What the gateway can do: types, rules and use cases. No HTTP, no redb, no library type.

pub mod campaign;
mod chat;
pub mod draft;
pub mod event;
pub mod fair;
pub mod inbound;
pub mod key;
pub mod list;
pub mod media;
pub mod message;
pub mod optout;
pub mod pacing;
mod poll;
pub mod recipient;
mod reference;
pub mod removal;
pub mod retention;
mod roster;
pub mod schedule;
pub mod send;
pub mod session;
pub mod sheet;
pub mod spool;
mod stored;
pub mod suppression;
pub mod template;
pub mod unread;
pub mod vault;
pub mod webhook;
pub mod zone;
mod zone_rules;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::error::Result;
use crate::ids::{IdSource, SessionNumber};
use crate::net::client::{Client, Dialer};
use crate::seal::Seal;
use crate::store::queue::Queue;
use crate::store::{Durability, Reader, Store, Tx};
use crate::time::Clock;
use crate::wa::Endpoint;

/// The gateway: everything that a dialect or a worker may ask for. Cheap to clone.
///
/// Invariants:
/// - what is answered as done is committed;
/// - a message's id is stored before the message is written to WhatsApp;
/// - a message from WhatsApp, its event and its deliveries are stored in one transaction before
///   WhatsApp is told that it arrived.
#[derive(Clone)]
pub struct Gateway(Arc<Parts>);

/// What a gateway is made of; put together by `server`.
pub struct Parts {
    /// The settings.
    pub config: Config,
    /// Keys and bytes.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// New identifiers.
    pub ids: IdSource,
    /// Seals stored secrets that are text.
    pub vault: vault::Vault,
    /// Seals the rows of the WhatsApp library, and backups.
    pub seal: Seal,
    /// The key that may do everything.
    pub master_key: String,
    /// All sessions.
    pub sessions: session::Sessions,
    /// Webhook deliveries that wait.
    pub deliveries: Queue,
    /// The number of the newest event; event streams wait on it.
    pub newest_event: watch::Sender<u64>,
    /// Idempotency keys whose requests are being worked on.
    pub in_flight: send::InFlight,
    /// Files.
    pub media: Arc<media::folder::Folder>,
    /// Bytes of uploads that are not whole yet.
    pub arriving: media::arriving::Arriving,
    /// Files that are being uploaded to WhatsApp.
    pub uploads: media::attachment::Uploads,
    /// Whose picture is worked on next.
    pub pictures: media::turns::Turns,
    /// Downloads of received files that wait.
    pub downloads: Queue,
    /// Messages that could not be read and may still come.
    pub unread: Queue,
    /// Wakes the loops that send campaigns.
    pub campaigns: campaign::run::Campaigns,
    /// Recipients of campaigns that are to be tried again.
    pub retries: Queue,
    /// Who fetches links that clients name.
    pub link_places: fair::Places,
    /// Who searches the store.
    pub scan_places: fair::Places,
    /// Fetches links that clients name.
    pub link_client: Client,
    /// Sends webhooks.
    pub webhook_client: Arc<Client>,
    /// Moves WhatsApp's media.
    pub media_client: Arc<Client>,
    /// Connects to WhatsApp.
    pub dialer: Dialer,
    /// Where WhatsApp is.
    pub endpoint: Endpoint,
    /// Tasks that must end before the store closes.
    pub tasks: TaskTracker,
}

impl std::ops::Deref for Gateway {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Gateway {
    /// Wraps the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Reads what takes long, for a client who is given up on when nobody waits for it any more.
    pub(crate) async fn scan<T: Send + 'static>(
        &self,
        session: SessionNumber,
        read: impl FnOnce(&Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _place = self.scan_places.take(session).await?;
        self.store.read_slow(read).await
    }

    /// Runs a write that may record events, and wakes those who wait for them.
    pub(crate) async fn record<T: Send + 'static>(
        &self,
        durability: Durability,
        write: impl FnOnce(&mut Tx) -> Result<(T, Option<u64>)> + Send + 'static,
    ) -> Result<T> {
        let (value, newest) = self.store.write(durability, write).await?;
        if let Some(seq) = newest {
            self.newest_event.send_if_modified(|known| {
                let newer = seq > *known;
                *known = (*known).max(seq);
                newer
            });
        }
        Ok(value)
    }
}
