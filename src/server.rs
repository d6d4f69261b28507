//! The composition root: opens the store, starts sessions, workers and listener; stops them in order.

use std::fs::Permissions;
#[cfg(feature = "sandbox")]
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::domain::campaign;
use crate::domain::vault::{Vault, private_folder, secret_file};
use crate::domain::{Gateway, Setup, event, retention};
use crate::error::{Code, Error, Result};
use crate::http::{App, BodyBudget, HttpMetrics, HttpServer as Listener, Limits, Listen, Mount};
use crate::ids::IdSource;
#[cfg(feature = "sandbox")]
use crate::ids::SessionId;
use crate::net::client::{Client, Dialer, Policy, Timeouts};
use crate::seal::Seal;
use crate::store::{Disk, Durability, Store, StoreOptions, tables};
use crate::tasks::Tasks;
use crate::time::{Clock, Timestamp};
use crate::wa::Endpoint;
use crate::{api, at_rest, worker};

/// How long each step of stopping may take.
const STEP: Duration = Duration::from_secs(10);

/// How long a receiver of webhooks may take: a slow one must not hold up those of other sessions.
const WEBHOOK_PATIENCE: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    head: Duration::from_secs(10),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(15),
};

/// How long the file of a link may take. It is wanted by a client who waits, and holds a place.
const LINK_PATIENCE: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    head: Duration::from_secs(30),
    idle: Duration::from_secs(20),
    total: Duration::from_secs(600),
};

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
    gateway: Arc<Gateway>,
    listener: Listener,
    own_listener: Option<Listener>,
    stop: CancellationToken,
    workers: Tasks,
    made_master_key: bool,
}

impl Server {
    /// Opens the store, starts everything, and answers when requests are served.
    pub async fn start(config: Config, mut deps: Deps) -> Result<Self> {
        let listen: Listen = config.listen.parse()?;
        let limits = limits(&config);
        let config = Config {
            max_connections: limits.max_connections,
            ..config
        };
        let further = std::mem::take(&mut deps.mounts);
        let (gateway, made_master_key) = open_gateway(config, deps).await?;
        let metrics = Arc::new(HttpMetrics::default());
        let mut mounts = api::mounts(&gateway, &metrics);
        mounts.extend(further);
        let most = limits.max_connections;
        let app = App::new(mounts)?
            .trusting(&gateway.config().trusted_proxies)?
            .counting(metrics)
            .at_most(
                (most / 2).max(16),
                (most / 4).max(8),
                limits.max_per_address,
            );
        let listener = Listener::bind(&listen, app.clone(), limits.clone()).await;
        let listener = listener.map_err(|error| {
            let text = format!("{}; --listen chooses another address", error.detail());
            error.worded(text)
        })?;
        let own_listener = listen_for_own_commands(gateway.config(), app, limits).await;
        note_address(gateway.config(), &listener.url());
        let server = Self {
            gateway,
            listener,
            own_listener,
            stop: CancellationToken::new(),
            workers: Tasks::default(),
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
            .spawn(worker::unreadable::run(gateway.clone(), stop.clone()));
        self.workers
            .spawn(campaign::run::run(gateway.clone(), stop.clone()));
        self.workers
            .spawn(worker::retention::run(gateway.clone(), stop.clone()));
        self.workers
            .spawn(worker::removal::run(gateway.clone(), stop.clone()));
        self.workers
            .spawn(worker::verify::run(gateway.clone(), stop.clone()));
        self.workers
            .spawn(worker::keys::run(gateway.clone(), stop.clone()));
        let (upgrading, stop) = (gateway.clone(), stop.clone());
        self.workers.spawn(async move {
            if let Err(error) = upgrading.upgrade_events(&stop).await {
                tracing::warn!(
                    ?error,
                    "events of an older version are written anew by the next start"
                );
            }
        });
        let gateway = gateway.clone();
        self.workers
            .spawn(async move { gateway.start_paired_sessions().await });
    }

    /// The gateway itself.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Finds the QR code that a session shows; the sandbox's phones scan it.
    #[cfg(feature = "sandbox")]
    pub fn qr_finder(&self) -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
        let gateway = self.gateway.clone();
        move |session| {
            let id = SessionId::parse(session).ok()?;
            gateway
                .sessions()
                .get(&id)?
                .status()
                .qr
                .map(|(code, _)| code)
        }
    }

    /// Where it listens, when that is a TCP address.
    #[cfg(feature = "sandbox")]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address as a person or a script reads it.
    pub fn url(&self) -> String {
        self.listener.url()
    }

    /// The master key, if this start made it.
    pub fn new_master_key(&self) -> Option<&str> {
        self.made_master_key.then(|| self.gateway.master_key())
    }

    /// Stops in the order that loses nothing: no new requests, requests under way, workers,
    /// sessions, the store.
    pub async fn stop(self) {
        let _ = std::fs::remove_file(address_file(self.gateway.config()));
        let own = self.own_listener.map(Listener::shutdown);
        tokio::join!(self.listener.shutdown(), OptionFuture::from(own));
        self.stop.cancel();
        self.workers.close();
        in_time("workers", self.workers.wait()).await;
        self.gateway.tasks().close();
        in_time("sessions", self.gateway.stop_sessions()).await;
        in_time("tasks", self.gateway.tasks().wait()).await;
        self.gateway.store().close().await;
    }
}

/// Opens the store and reads what it holds; nothing is started. Also whether a master key was made.
pub(crate) async fn open_gateway(config: Config, deps: Deps) -> Result<(Arc<Gateway>, bool)> {
    make_folder(&config.data)?;
    let key = at_rest::key_of(&config, &deps.ids)?;
    let (vault, seal) = (Vault::new(&key, deps.ids.clone()), Seal::new(&key));
    let (master_key, made_master_key) = match &config.master_key {
        Some(key) => (key.to_string(), false),
        None => secret_file(&config.data.join("master.key"), &deps.ids)?,
    };
    let disk = deps.disk.unwrap_or_else(|| Disk::File(store_file(&config)));
    let options = StoreOptions {
        cache_bytes: config.store_cache,
        ..StoreOptions::default()
    };
    let store = at_rest::open_store(disk, options, &vault, &seal).await?;
    deps.clock.resume(last_known_time(&store)?);
    note_default_webhook(&store, config.webhook_url.is_some()).await?;
    let newest = event::log::begin_run(&store, deps.clock.now()).await?;
    let policies = Policies::of(&config)?;
    let gateway = Gateway::new(Setup {
        store,
        clock: deps.clock,
        ids: deps.ids,
        vault,
        seal,
        master_key,
        newest_event: newest,
        link_client: Client::new(policies.links)?,
        webhook_client: Client::new(policies.webhooks)?,
        media_client: Client::new(policies.whatsapp.clone())?,
        dialer: Dialer::new(policies.whatsapp)?,
        endpoint: endpoint(&config)?,
        config,
    })?;
    check_webhook_url(gateway.config(), gateway.webhook_client())?;
    take_up(&gateway).await?;
    Ok((gateway, made_master_key))
}

/// Where WhatsApp is.
fn endpoint(config: &Config) -> Result<Endpoint> {
    let (host, port, path) = config.whatsapp_server()?;
    Ok(Endpoint {
        tls: config.whatsapp_url.is_none(),
        host,
        port,
        path,
    })
}

/// Takes up what the last run left: its files, sessions and keys, and a store that was restored.
async fn take_up(gateway: &Arc<Gateway>) -> Result<()> {
    gateway.remove_orphaned_media().await?;
    gateway.load_sessions()?;
    gateway.load_keys()?;
    gateway.pause_restored().await?;
    if let Err(error) = gateway.forget_old_copies().await {
        tracing::warn!(?error, "copies of older stores could not be looked at");
    }
    Ok(())
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
        let mut base = Policy::new(&config.allow_private, &config.dns_servers)?
            .with_ports(&config.allow_ports);
        if let Some(path) = &config.trusted_roots {
            let wrong = |why: &dyn std::fmt::Display| {
                Error::new(
                    Code::SettingInvalid,
                    format!("setting trusted_roots: {}: {why}", path.display()),
                )
            };
            let pem = std::fs::read(path).map_err(|e| wrong(&e))?;
            base = base.with_roots(&pem).map_err(|e| wrong(&e.detail()))?;
        }
        Ok(Self {
            links: base.clone().with_timeouts(LINK_PATIENCE),
            webhooks: base
                .clone()
                .with_loopback(config.webhooks_to_loopback)
                .with_timeouts(WEBHOOK_PATIENCE),
            // Only a sandbox build has such a URL, and only on loopback.
            whatsapp: base.with_loopback(config.whatsapp_url.is_some()),
        })
    }
}

/// Finds what a start would refuse of the settings. Nothing is started or made.
pub(crate) fn judge(config: &Config) -> Result<()> {
    let policies = Policies::of(config)?;
    check_webhook_url(config, &Client::new(policies.webhooks)?)?;
    check_folder(&config.data)
}

/// Whether the data folder is there and can be written, or could be made.
fn check_folder(path: &Path) -> Result<()> {
    let wrong = |at: &Path, why: &dyn std::fmt::Display| {
        let text = format!("setting data: {}: {why}", at.display());
        Err(Error::new(Code::SettingInvalid, text))
    };
    let absolute = match std::path::absolute(path) {
        Ok(absolute) => absolute,
        Err(error) => return wrong(path, &error),
    };
    for at in absolute.ancestors() {
        match std::fs::metadata(at) {
            Ok(there) if !there.is_dir() => return wrong(at, &"it is no folder"),
            Ok(_) => {
                let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
                return match rustix::fs::access(at, access) {
                    Ok(()) => Ok(()),
                    Err(error) => wrong(at, &error),
                };
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return wrong(at, &error),
        }
    }
    Ok(())
}

fn check_webhook_url(config: &Config, client: &Client) -> Result<()> {
    let Some(url) = &config.webhook_url else {
        return Ok(());
    };
    let wrong = |e: Error| {
        Error::new(
            Code::SettingInvalid,
            format!("setting webhook_url: {}", e.detail()),
        )
    };
    client.check_url(url).map(drop).map_err(wrong)
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
            Code::SecretKeyWrong,
            format!(
                "{} is missing beside a store that needs it; put it back",
                key.display()
            ),
        ));
    }
    Ok(())
}

/// Connections for the commands of this user: `healthcheck`, `pair`, `backup`.
const OWN_CONNECTIONS: usize = 16;

/// The socket in the data folder that only this user reaches. No stranger can hold its connections,
/// so that the health check does not depend on strangers.
pub(crate) fn own_socket(config: &Config) -> PathBuf {
    config.data.join("own.sock")
}

/// Where a gateway that runs notes its address, for the commands of this user.
fn address_file(config: &Config) -> PathBuf {
    config.data.join("address")
}

/// Notes the address. Commands find the gateway without it too, if it listens where the settings say.
fn note_address(config: &Config, url: &str) {
    let text = match url.strip_prefix("unix:") {
        // Commands may be run in another folder.
        Some(path) => match std::path::absolute(path) {
            Ok(path) => format!("unix:{}:600\n", path.display()),
            Err(_) => return,
        },
        None => format!("{}\n", url.trim_start_matches("http://")),
    };
    let file = address_file(config);
    let new = file.with_extension("new");
    let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &file));
    if let Err(error) = written {
        tracing::info!(%error, "commands find this gateway by its settings only");
    }
}

/// The address that a gateway noted here.
///
/// Hazard: what a killed gateway noted stays; only the lock on the store says that one runs.
pub(crate) fn noted_address(config: &Config) -> Option<Listen> {
    let text = std::fs::read_to_string(address_file(config)).ok()?;
    text.trim().parse().ok()
}

/// Listens there. The gateway works without, on a file system that has no sockets, say.
async fn listen_for_own_commands(config: &Config, app: App, limits: Limits) -> Option<Listener> {
    let path = own_socket(config);
    let listen = Listen::Unix { path, mode: 0o600 };
    let limits = Limits {
        max_connections: OWN_CONNECTIONS,
        ..limits
    };
    match Listener::bind(&listen, app, limits).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            let why = error.detail();
            tracing::info!(why, "healthcheck and pair use the port that strangers use");
            None
        }
    }
}

/// The bounds on clients, as far as the machine allows them: connections may not take the file
/// descriptors that sessions and the store need.
fn limits(config: &Config) -> Limits {
    let files = most_files().unwrap_or(usize::MAX);
    let max_connections = config.max_connections.min(files / 2).max(4);
    if max_connections < config.max_connections {
        tracing::warn!(
            max_connections,
            files,
            "fewer connections are served than the settings say: ulimit -n is too low"
        );
    }
    let per_address = config.max_connections_per_address;
    Limits {
        max_connections,
        body_budget: BodyBudget::new(config.body_budget),
        max_per_address: per_address.unwrap_or((max_connections / 4).max(8)),
        ..Limits::default()
    }
}

/// How many files may be open at once, after asking for as many as the host allows. `None`: any.
fn most_files() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit
            .maximum
            .map(|most| most.min(MANY_FILES))
            .or(Some(MANY_FILES)),
        maximum: limit.maximum,
    };
    let more = limit.current.is_some_and(|now| wanted.current > Some(now));
    let now = if more && setrlimit(Resource::Nofile, wanted).is_ok() {
        wanted.current
    } else {
        limit.current
    };
    now.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// More open files than these are never needed.
const MANY_FILES: u64 = 65_536;

/// Makes the data folder, for its owner only. One of ours that others may enter is narrowed.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    private_folder(path)?;
    let Ok(there) = std::fs::metadata(path) else {
        return Ok(());
    };
    let mode = there.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // A folder with the sticky bit is meant for everybody, such as /tmp.
    let ours = there.uid() == geteuid().as_raw() && mode & 0o1000 == 0;
    let narrowed = ours && std::fs::set_permissions(path, Permissions::from_mode(0o700)).is_ok();
    let (folder, mode) = (path.display(), format!("{mode:o}"));
    if narrowed {
        tracing::warn!(%folder, mode, "the data folder was open to others; its mode is 700 now");
    } else {
        tracing::warn!(%folder, mode, "the data folder is open to others: its mode should be 700");
    }
    Ok(())
}

/// The time that the last run believed; the newest event's when it did not say.
fn last_known_time(store: &Store) -> Result<Option<Timestamp>> {
    store.read(|read| {
        let noted = retention::noted_time(read)?;
        noted.map_or_else(|| event::log::newest_time(read), |at| Ok(Some(at)))
    })
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
