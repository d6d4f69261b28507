//! The composition root: opens the store, starts sessions, workers and listener; stops them in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::domain::campaign;
use crate::domain::fair::Places;
use crate::domain::media::folder::Folder;
use crate::domain::media::received;
use crate::domain::vault::{Vault, key_bytes, secret_file};
use crate::domain::{Gateway, Parts, webhook};
use crate::error::{Error, ErrorKind, Result};
use crate::http::client::{Client, Dialer, Patience, Policy};
use crate::http::{App, Limits, Listen, Mount, Room, Server as Listener};
use crate::ids::{IdSource, SessionId};
use crate::store::queue::Queue;
use crate::store::{Disk, Durability, Options, Read, Store, tables};
use crate::time::Clock;
use crate::wa::Endpoint;
use crate::{api, worker};

/// How long each step of stopping may take.
const STEP: Duration = Duration::from_secs(10);

/// How long a receiver of webhooks may take: a slow one must not hold up those of other sessions.
const WEBHOOK_PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    head: Duration::from_secs(10),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(15),
};

/// How long the file of a link may take. It is wanted by a client who waits, and holds a place.
const LINK_PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    head: Duration::from_secs(30),
    idle: Duration::from_secs(20),
    total: Duration::from_secs(600),
};

/// How many links are fetched at once, and how many of one session.
const LINKS_AT_ONCE: usize = 8;
const LINKS_OF_ONE: usize = 2;

/// How many searches run at once, and how many of one session: few enough that most of the threads
/// for blocking work are left to files and to the keys of WhatsApp.
const SCANS_AT_ONCE: usize = 4;
const SCANS_OF_ONE: usize = 2;

/// More events than one interval between fsyncs can hold.
const EVENT_GAP: u64 = 1 << 20;

/// What a test replaces.
pub struct Deps {
    /// The time.
    pub clock: Clock,
    /// New identifiers.
    pub ids: IdSource,
    /// Where the store lies; the data folder when `None`.
    pub disk: Option<Disk>,
    /// Further routes: the sandbox's control API.
    pub mounts: Vec<Mount>,
}

impl Default for Deps {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            ids: IdSource::random(),
            disk: None,
            mounts: Vec::new(),
        }
    }
}

/// A running gateway.
pub struct Server {
    gateway: Gateway,
    listener: Listener,
    stop: CancellationToken,
    workers: TaskTracker,
    made_master_key: bool,
}

impl Server {
    /// Opens the store, starts everything, and answers when requests are served.
    pub async fn start(config: Config, deps: Deps) -> Result<Self> {
        make_folder(&config.data)?;
        refuse_lost_key(&config)?;
        let (sealing, _) = secret_file(&config.data.join("secret.key"), &deps.ids)?;
        let vault = Vault::new(&key_bytes(&sealing)?, deps.ids.clone());
        let (master_key, made_master_key) = match &config.master_key {
            Some(key) => (key.clone(), false),
            None => secret_file(&config.data.join("master.key"), &deps.ids)?,
        };
        let disk = deps.disk.unwrap_or_else(|| Disk::File(store_file(&config)));
        let options = Options {
            cache_bytes: config.store_cache,
            ..Options::default()
        };
        let store = Store::open(disk, options)?;
        note_default_webhook(&store, config.webhook_url.is_some()).await?;
        let newest = skip_event_numbers(&store).await?;
        let (host, port, path) = config.whatsapp_server()?;
        let endpoint = Endpoint {
            tls: config.whatsapp_url.is_none(),
            host,
            port,
            path,
        };
        let policies = Policies::of(&config)?;
        let listen: Listen = config.listen.parse()?;
        let limits = Limits {
            max_connections: config.max_connections,
            room: Room::new(config.body_budget),
            ..Limits::default()
        };
        let gateway = Gateway::new(Parts {
            deliveries: Queue::new(&store, webhook::QUEUE, deps.clock.clone()),
            downloads: Queue::new(&store, received::QUEUE, deps.clock.clone()),
            media: Folder::open(&config.data, deps.ids.clone())?,
            uploads: Default::default(),
            campaigns: Default::default(),
            retries: Queue::new(&store, campaign::QUEUE, deps.clock.clone()),
            picture_work: Semaphore::new(1),
            link_places: Places::new(LINKS_AT_ONCE, LINKS_OF_ONE),
            scan_places: Places::new(SCANS_AT_ONCE, SCANS_OF_ONE),
            link_client: Client::new(policies.links)?,
            store,
            clock: deps.clock,
            ids: deps.ids,
            vault,
            master_key,
            sessions: Default::default(),
            newest_event: watch::Sender::new(newest),
            in_flight: Default::default(),
            webhook_client: Arc::new(Client::new(policies.webhooks)?),
            media_client: Arc::new(Client::new(policies.whatsapp.clone())?),
            dialer: Dialer::new(policies.whatsapp)?,
            endpoint,
            tasks: TaskTracker::new(),
            config,
        });
        if let Some(url) = &gateway.config.webhook_url {
            gateway
                .webhook_client
                .check_url(url)
                .map_err(|e| Error::invalid(format!("setting webhook_url: {}", e.detail())))?;
        }
        gateway.remove_orphaned_media().await?;
        gateway.load_sessions()?;
        let mut mounts = api::mounts(&gateway);
        mounts.extend(deps.mounts);
        let app = App::new(mounts)?.trusting(&gateway.config.trusted_proxies)?;
        let listener = Listener::bind(&listen, app, limits).await?;
        let server = Self {
            gateway,
            listener,
            stop: CancellationToken::new(),
            workers: TaskTracker::new(),
            made_master_key,
        };
        server.start_workers();
        Ok(server)
    }

    fn start_workers(&self) {
        let (gateway, stop) = (&self.gateway, &self.stop);
        self.workers.spawn(worker::webhook::run(
            gateway.clone(),
            api::render,
            stop.clone(),
        ));
        self.workers
            .spawn(worker::download::run(gateway.clone(), stop.clone()));
        self.workers
            .spawn(campaign::run::run(gateway.clone(), stop.clone()));
        self.workers
            .spawn(worker::retention::run(gateway.clone(), stop.clone()));
        let gateway = gateway.clone();
        self.workers
            .spawn(async move { gateway.start_paired_sessions().await });
    }

    /// The gateway itself.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Finds the QR code that a session shows; the sandbox's phones scan it.
    pub fn qr_finder(&self) -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
        let gateway = self.gateway.clone();
        move |session| {
            let id = SessionId::parse(session).ok()?;
            gateway.sessions.get(&id)?.status().qr.map(|(code, _)| code)
        }
    }

    /// Where it listens, when that is a TCP address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address as a person or a script reads it.
    pub fn url(&self) -> String {
        self.listener.url()
    }

    /// The master key, if this start made it: it is shown once.
    pub fn new_master_key(&self) -> Option<&str> {
        self.made_master_key
            .then_some(self.gateway.master_key.as_str())
    }

    /// Stops in the order that loses nothing: no new requests, requests under way, workers,
    /// sessions, the store.
    pub async fn stop(self) {
        self.listener.shutdown().await;
        self.stop.cancel();
        self.workers.close();
        in_time("workers", self.workers.wait()).await;
        self.gateway.tasks.close();
        in_time("sessions", self.gateway.stop_sessions()).await;
        in_time("tasks", self.gateway.tasks.wait()).await;
        self.gateway.store.close().await;
    }
}

/// Awaits a step of stopping, but not for ever.
async fn in_time(step: &str, work: impl Future<Output = ()>) {
    if tokio::time::timeout(STEP, work).await.is_err() {
        tracing::warn!(step, "did not stop in time and is cut off");
    }
}

/// Which addresses each kind of outgoing connection may reach.
pub(crate) struct Policies {
    pub(crate) links: Policy,
    pub(crate) webhooks: Policy,
    pub(crate) whatsapp: Policy,
}

impl Policies {
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let mut base = Policy::new(&config.allow_private, &config.dns_servers)?;
        if let Some(path) = &config.trusted_roots {
            let wrong = |why: &dyn std::fmt::Display| {
                Error::invalid(format!("setting trusted_roots: {}: {why}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|e| wrong(&e))?;
            base = base.with_roots(&pem).map_err(|e| wrong(&e.detail()))?;
        }
        Ok(Self {
            links: base.clone().with_patience(LINK_PATIENCE),
            webhooks: base
                .clone()
                .with_loopback(config.webhooks_to_loopback)
                .with_patience(WEBHOOK_PATIENCE),
            // Only a sandbox build has such a URL, and only on loopback.
            whatsapp: base.with_loopback(config.whatsapp_url.is_some()),
        })
    }
}

/// The store's file in the data folder.
pub fn store_file(config: &Config) -> PathBuf {
    config.data.join("warung.redb")
}

/// A store without its key is no new store: a fresh key would lock its secrets away for ever.
pub(crate) fn refuse_lost_key(config: &Config) -> Result<()> {
    let key = config.data.join("secret.key");
    if store_file(config).exists() && !key.exists() {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "{} is missing beside a store that needs it; put it back",
                key.display()
            ),
        ));
    }
    Ok(())
}

/// Makes the data folder, for its owner only.
pub(crate) fn make_folder(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| {
            Error::new(
                ErrorKind::Unavailable,
                format!("the data folder {} cannot be made: {e}", path.display()),
            )
        })
}

/// Leaves a gap in the events' numbers. Events of which only the fsync was missing when the power
/// went may have been delivered; their numbers must not name others.
async fn skip_event_numbers(store: &Store) -> Result<u64> {
    store
        .write(Durability::Sync, |tx| tx.next_seqs("events", EVENT_GAP))
        .await?;
    store.read(|read| read.last_seq("events"))
}

/// Tells the store whether sessions without a webhook have the configuration's.
async fn note_default_webhook(store: &Store, set: bool) -> Result<()> {
    store
        .write(Durability::Lazy, move |tx| {
            if set {
                tx.put(tables::META, *b"default_webhook", *b"1");
            } else {
                tx.delete(tables::META, b"default_webhook");
            }
            Ok(())
        })
        .await
}
