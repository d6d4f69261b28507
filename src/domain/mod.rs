//! What the gateway can do: types, rules and use cases. No HTTP, no redb, no library type.

pub mod access;
pub mod backlog;
pub mod campaign;
mod damage;
pub mod dialect;
pub mod event;
pub mod fair;
pub mod guard;
pub mod import;
mod keyed_locks;
pub mod list;
mod markup;
pub mod media;
pub mod message;
pub mod metrics;
pub mod optout;
pub mod pacing;
mod pending_removal;
pub mod queues;
pub mod recipient;
pub mod removal;
pub mod retention;
mod roster;
pub mod schedule;
pub mod session;
pub mod sheet;
pub mod spool;
mod stored;
pub mod suppression;
pub mod template;
pub mod unreadable;
pub mod vault;
pub mod zone;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::fair::SessionSlots;
use self::keyed_locks::KeyedLocks;
use self::media::blobs::BlobFolder;
use self::media::turns::ImageTurns;
use self::vault::Vault;
use crate::config::Config;
use crate::error::{ErrorKind, Result};
use crate::ids::{IdSource, SessionNumber};
use crate::net::client::{Client, Dialer};
use crate::seal::Seal;
use crate::store::queue::Queue;
use crate::store::{Durability, Reader, Store, StoreStats, Tx};
use crate::tasks::Tasks;
use crate::time::Clock;
use crate::wa::Endpoint;

/// How many links are fetched at once, and how many of one session.
const LINKS_AT_ONCE: usize = 8;
const LINKS_OF_ONE: usize = 2;

/// How many searches run at once, and how many of one session: few enough that most of the threads
/// for blocking work are left to files and to the keys of WhatsApp.
const SCANS_AT_ONCE: usize = 4;
const SCANS_OF_ONE: usize = 2;

/// How long until what WhatsApp told is written again while the store fails.
const STORE_AGAIN: Duration = Duration::from_millis(200);

/// The gateway: everything that a dialect or a worker may ask for. It is shared as an `Arc`.
///
/// Invariants:
/// - what is answered as done is committed;
/// - a message's id is stored before the message is written to WhatsApp;
/// - a message from WhatsApp, its event and its deliveries are stored in one transaction before
///   WhatsApp is told that it arrived.
pub struct Gateway {
    config: Config,
    store: Store,
    clock: Clock,
    ids: IdSource,
    vault: Vault,
    seal: Seal,
    master_key: String,
    sessions: session::Sessions,
    keys: access::Keys,
    /// Held for reading by those who close the connection of a session that is deleted already.
    closing_sessions: tokio::sync::RwLock<()>,
    deliveries: Queue,
    /// Webhooks whose last delivery failed.
    failing_webhooks: event::failing::Failing,
    /// The number of the newest event; event streams wait on it.
    newest_event: watch::Sender<u64>,
    /// Idempotency keys whose requests are being worked on.
    in_flight: message::idempotency::InFlight,
    media: Arc<BlobFolder>,
    /// Bytes of uploads that are not whole yet.
    arriving: Arc<media::arriving::ArrivingBytes>,
    /// Files that are being uploaded to WhatsApp, by the keys of their rows.
    uploading: KeyedLocks,
    /// Files of messages that are being fetched, by the keys of the messages.
    fetching: KeyedLocks,
    /// Whose image is worked on next.
    pictures: ImageTurns,
    downloads: Queue,
    /// Messages that could not be read and may still come.
    unreadable: Queue,
    /// Wakes the loops that send campaigns.
    campaigns: campaign::live::CampaignWaker,
    /// Recipients of campaigns that are to be tried again.
    retries: Queue,
    /// Who fetches links that clients name.
    link_places: SessionSlots,
    /// Who searches the store.
    scan_places: SessionSlots,
    link_client: Client,
    webhook_client: Arc<Client>,
    media_client: Arc<Client>,
    dialer: Dialer,
    endpoint: Endpoint,
    metrics: metrics::DomainMetrics,
    /// Tasks that must end before the store closes.
    tasks: Tasks,
}

/// What a gateway is made of.
pub struct Setup {
    /// The settings.
    pub config: Config,
    /// Keys and bytes.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// New identifiers.
    pub ids: IdSource,
    /// Seals stored secrets that are text.
    pub vault: Vault,
    /// Seals the rows of the WhatsApp library, and backups.
    pub seal: Seal,
    /// The key that may do everything.
    pub master_key: String,
    /// The number of the newest event that the store may know.
    pub newest_event: u64,
    /// Fetches links that clients name.
    pub link_client: Client,
    /// Sends webhooks.
    pub webhook_client: Client,
    /// Moves WhatsApp's media.
    pub media_client: Client,
    /// Connects to WhatsApp.
    pub dialer: Dialer,
    /// Where WhatsApp is.
    pub endpoint: Endpoint,
}

impl Gateway {
    /// Puts a gateway together. It does nothing by itself.
    ///
    /// # Errors
    /// The media folder cannot be opened.
    pub fn new(setup: Setup) -> Result<Arc<Self>> {
        let queue = |number, longest_wait| {
            Queue::new(&setup.store, number, setup.clock.clone(), longest_wait)
        };
        Ok(Arc::new(Self {
            deliveries: queue(queues::DELIVERIES, queues::DELIVERY_WAIT)
                .at_most_per_lane(queues::ASIDE_AT_ONCE),
            failing_webhooks: Default::default(),
            downloads: queue(queues::DOWNLOADS, queues::DOWNLOAD_WAIT)
                .at_most_per_lane(queues::DOWNLOADS_AT_ONCE),
            unreadable: queue(queues::UNREADABLE, queues::UNREADABLE_WAIT),
            retries: queue(queues::RETRIES, queues::RETRY_WAIT),
            metrics: metrics::DomainMetrics::new(setup.newest_event),
            media: Arc::new(BlobFolder::open(&setup.config.data, setup.ids.clone())?),
            arriving: Default::default(),
            uploading: Default::default(),
            fetching: Default::default(),
            campaigns: Default::default(),
            pictures: ImageTurns::of_machine(),
            link_places: SessionSlots::new(LINKS_AT_ONCE, LINKS_OF_ONE),
            scan_places: SessionSlots::new(SCANS_AT_ONCE, SCANS_OF_ONE),
            sessions: Default::default(),
            keys: Default::default(),
            closing_sessions: Default::default(),
            in_flight: Default::default(),
            newest_event: watch::Sender::new(setup.newest_event),
            tasks: Tasks::default(),
            config: setup.config,
            store: setup.store,
            clock: setup.clock,
            ids: setup.ids,
            vault: setup.vault,
            seal: setup.seal,
            master_key: setup.master_key,
            link_client: setup.link_client,
            webhook_client: Arc::new(setup.webhook_client),
            media_client: Arc::new(setup.media_client),
            dialer: setup.dialer,
            endpoint: setup.endpoint,
        }))
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The store, for those who put the program together and watch over it; dialects never ask it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How the store is doing.
    pub fn store_stats(&self) -> StoreStats {
        self.store.stats()
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The key that may do everything.
    pub fn master_key(&self) -> &str {
        &self.master_key
    }

    /// Seals backups.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// All sessions.
    pub fn sessions(&self) -> &session::Sessions {
        &self.sessions
    }

    /// Tasks that must end before the store closes.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Webhook deliveries that wait.
    pub fn delivery_queue(&self) -> &Queue {
        &self.deliveries
    }

    /// Downloads of received files that wait.
    pub fn download_queue(&self) -> &Queue {
        &self.downloads
    }

    /// Messages that could not be read and may still come.
    pub fn unreadable_queue(&self) -> &Queue {
        &self.unreadable
    }

    /// Whose image is worked on next.
    #[cfg(feature = "sandbox")]
    pub fn image_turns(&self) -> &ImageTurns {
        &self.pictures
    }

    /// Sends webhooks.
    pub fn webhook_client(&self) -> &Client {
        &self.webhook_client
    }

    /// What is measured of the work.
    pub fn metrics(&self) -> &metrics::DomainMetrics {
        &self.metrics
    }

    /// The number of the newest event; changes when one is recorded.
    pub fn newest_event(&self) -> watch::Receiver<u64> {
        self.newest_event.subscribe()
    }

    /// The country whose national numbers are understood.
    pub fn country(&self) -> Option<&str> {
        self.config.default_country_code.as_deref()
    }

    /// Has the loops that send campaigns look at what changed.
    pub fn wake_campaigns(&self) {
        self.campaigns.wake();
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

    /// Writes what WhatsApp told, which it does once, or does something else that must not be left
    /// undone: again while the store fails, until the program ends. What follows waits behind it, in its
    /// order.
    async fn while_store_fails<T, F>(&self, act: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            match act().await {
                Err(error) if error.kind() == ErrorKind::Unavailable && !self.tasks.is_closed() => {
                    tokio::time::sleep(STORE_AGAIN).await;
                }
                done => return done,
            }
        }
    }
}
