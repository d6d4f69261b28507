//! What each command of the program does.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::terminal_qr;
use crate::at_rest;
use crate::config::{Config, KeysCommand, Legacy, Loaded};
use crate::domain::media::blobs;
use crate::domain::media::staged::Staged;
use crate::domain::retention::COPY_DAYS;
use crate::domain::vault::Vault;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::http::{Listen, Method};
use crate::ids::IdSource;
use crate::net::client::{Client, OutgoingRequest, Policy};
use crate::seal::Seal;
#[cfg(feature = "sandbox")]
use crate::server::make_folder;
use crate::server::{Deps, Server, judge, own_socket, store_file};
use crate::store::{self, tables};
use crate::systemd;

/// Writes to standard output what was asked for; a reader that went away is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            Code::PathUnusable,
            format!("standard output cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Tells how it goes, on standard output. Nothing depends on whether it is heard.
pub fn say(text: &str) {
    let _ = print(text);
}

/// Writes an error to standard error.
pub fn complain(error: &Error) {
    for line in error.detail().lines() {
        let _ = writeln!(std::io::stderr(), "warung: {line}");
    }
}

/// Runs the gateway until it is told to stop.
pub async fn serve(config: Config) -> Result<()> {
    let server = Server::start(config, Deps::default()).await?;
    let signals = Signals::catch();
    greet(&server);
    say(&format!("listening on {}", server.url()));
    wait_and_stop(server, signals).await;
    Ok(())
}

/// Runs the gateway on the simulated network, which keeps its state in the data folder.
#[cfg(feature = "sandbox")]
pub async fn sandbox(mut config: Config) -> Result<()> {
    use crate::sandbox::{NetworkOptions, Sandbox};
    make_folder(&config.data)?;
    let network = Sandbox::open(NetworkOptions::kept_in(
        &config.data.join("sandbox.journal"),
    ))
    .await?;
    config.whatsapp_url = Some(network.url());
    config.webhooks_to_loopback = true;
    let deps = Deps {
        mounts: network.mounts(),
        ..Deps::default()
    };
    let server = Server::start(config, deps).await?;
    network.attach(server.qr_finder());
    let signals = Signals::catch();
    greet(&server);
    say(&format!("listening on {}", server.url()));
    say(&format!("sandbox whatsapp at {}", network.url()));
    wait_and_stop(server, signals).await;
    network.stop().await;
    Ok(())
}

/// Runs the simulated network alone, for other clients or several gateways.
#[cfg(feature = "sandbox")]
pub async fn network(config: Config) -> Result<()> {
    use crate::sandbox::{NetworkOptions, Sandbox};
    make_folder(&config.data)?;
    let network = Sandbox::serve(
        &config.listen,
        NetworkOptions::kept_in(&config.data.join("sandbox.journal")),
    )
    .await?;
    let mut signals = Signals::catch();
    say(&format!("sandbox whatsapp at {}", network.url()));
    signals.next().await;
    network.stop().await;
    Ok(())
}

/// Warns of variables that begin like a setting's. They may hold anything: only names are told.
pub fn warn_of_unknown_variables(loaded: &Loaded) {
    for variable in &loaded.unknown_variables {
        tracing::warn!(
            variable,
            "there is no such setting: the variable is ignored"
        );
    }
}

/// Says whether the gateway would start with these settings; that they are permitted was found when
/// they were read.
pub fn check_settings(loaded: &Loaded) -> Result<()> {
    judge(&loaded.config).map_err(|error| loaded.located(error))?;
    for variable in &loaded.unknown_variables {
        say(&format!("{variable} is ignored: there is no such setting"));
    }
    say("the settings are in order");
    Ok(())
}

/// Tells the newcomer the key that was made, and warns of what is open.
fn greet(server: &Server) {
    let config = server.gateway().config();
    if let Some(key) = server.new_master_key() {
        let file = config.data.join("master.key");
        say(&format!(
            "a master key was made; it creates sessions (X-Master-Key) and is in {}",
            file.display()
        ));
        // A journal keeps what is said for longer, and for more people, than a terminal does.
        if std::io::stdout().is_terminal() {
            say(&format!("  {key}"));
        }
    }
    if config.legacy == Legacy::Open {
        tracing::warn!("legacy = open: whoever reaches the port can send from every session");
    }
    if config.webhook_url.is_some() && config.webhook_secret.is_none() {
        tracing::warn!(
            "webhook_url is set without webhook_secret: those deliveries are not signed"
        );
    }
}

/// Waits for a signal and stops; a second signal ends the program at once.
async fn wait_and_stop(server: Server, mut signals: Signals) {
    systemd::ready();
    tokio::select! {
        () = signals.next() => {}
        never = systemd::watch(server.gateway().clone()) => match never {},
    }
    systemd::stopping();
    tracing::info!("stopping");
    tokio::select! {
        () = server.stop() => {}
        () = signals.next() => tracing::warn!("stopped before everything was finished"),
    }
}

/// What asks the program to stop: SIGTERM and SIGINT.
///
/// They are caught from here on. It must be before anybody is told that the program runs, or who
/// stops it at once kills it.
struct Signals(Option<(Signal, Signal)>);

impl Signals {
    fn catch() -> Self {
        let caught = signal(SignalKind::terminate()).and_then(|terminate| {
            let interrupt = signal(SignalKind::interrupt())?;
            Ok((terminate, interrupt))
        });
        if let Err(error) = &caught {
            tracing::error!(%error, "signals cannot be heard; the program runs until it is killed");
        }
        Self(caught.ok())
    }

    async fn next(&mut self) {
        let Some((terminate, interrupt)) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Verifies the store and the files, and says what is wrong.
pub fn check(config: &Config) -> Result<ExitCode> {
    let file = store_file(config);
    let mut problems = store::check(&file)?;
    // A store that is not in order does not tell which files there must be.
    let named = match problems.is_empty() {
        true => store::keys(&file, tables::BLOBS)?,
        false => Vec::new(),
    };
    let named = named.into_iter().filter_map(|key| key.try_into().ok());
    let named: Vec<_> = named.map(crate::ids::Hash).collect();
    problems.extend(blobs::check(&config.data.join("media"), &named)?);
    for (_, copy) in store::older_copies(&file)? {
        say(&format!(
            "{} is a copy from before an upgrade, with what was deleted since; the gateway removes it \
             after {COPY_DAYS} days",
            copy.display()
        ));
    }
    if problems.is_empty() {
        say(&format!("{} is in order", file.display()));
        let space = store::space(&file)?;
        let (size, free) = (space.file >> 20, space.free() >> 20);
        say(&format!("it has {size} MiB, {free} MiB of them free"));
        return Ok(ExitCode::SUCCESS);
    }
    problems.iter().for_each(|problem| say(problem));
    Ok(ExitCode::FAILURE)
}

/// Asks the running gateway for a copy and moves it to `file`.
pub async fn backup(config: &Config, file: &Path) -> Result<()> {
    let running = Running::of(config)?;
    let staged = Staged::begin(file)?;
    let name = format!("backup-{}.redb", std::process::id());
    let answer = running
        .ask(Method::POST, "/admin/backup", Some(json!({ "name": name })))
        .await;
    let made = match answer {
        // The name is ours: what an answer names is not opened, and not removed.
        Ok(_) => Some(config.data.join("backups").join(&name)),
        // Nobody runs: the store can be read from here.
        Err(error) if error.kind() == ErrorKind::Upstream => None,
        Err(error) => return Err(error),
    };
    match made {
        Some(made) => {
            let copied = staged.copy(&made);
            // It goes also when there was no room for the copy: it takes that of the data folder.
            let gone = std::fs::remove_file(&made)
                .and_then(|()| std::fs::remove_dir_all(blobs::media_folder_of(&made)));
            copied?;
            gone.map_err(|e| {
                let text = format!("cannot remove {}: {e}", made.display());
                Error::new(Code::PathUnusable, text)
            })?;
        }
        None => {
            let ids = IdSource::random();
            let key = at_rest::key_of(config, &ids)?;
            let (vault, seal) = (Vault::new(&key, ids), Seal::new(&key));
            let (disk, options) = (store::Disk::File(store_file(config)), Default::default());
            let store = at_rest::open_store(disk, options, &vault, &seal).await?;
            let room = config.data.clone();
            let copied = store
                .sealed_backup(seal.clone(), room, &staged.store())
                .await;
            store.close().await;
            copied?;
            staged.seal_files(&config.data.join("media"), &seal)?;
        }
    }
    staged.publish()?;
    let files = blobs::media_folder_of(file);
    say(&format!("wrote {} and {}", file.display(), files.display()));
    Ok(())
}

/// How many of the files that are lost a sentence names.
const NAMED: usize = 3;

/// Makes a store of a backup; the data folder holds the key and no store yet. That files are missing
/// is told on standard error and is no failure: the store is there.
pub fn restore(config: &Config, file: &Path) -> Result<()> {
    let lost = at_rest::restore(config, file)?;
    say(&format!("{} is restored", store_file(config).display()));
    say(
        "the first start pauses campaigns that were running or scheduled; resume each when you know \
         who was written to or opted out since the backup",
    );
    let files = blobs::media_folder_of(file);
    if !files.exists() {
        say(&format!(
            "{} is not there: the files of messages and campaigns are missing; `warung check` names them",
            files.display()
        ));
    }
    for (hashes, what) in [(&lost.missing, "missing"), (&lost.damaged, "damaged")] {
        if hashes.is_empty() {
            continue;
        }
        let named: Vec<_> = hashes.iter().take(NAMED).map(ToString::to_string).collect();
        let more = match hashes.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        complain(&Error::new(
            Code::FileDamaged,
            format!(
                "files of the backup are {what} ({}): {}{more}; everything else is restored",
                hashes.len(),
                named.join(", ")
            ),
        ));
    }
    if config.master_key.is_none() && !config.data.join("master.key").exists() {
        say("the first start makes a new master key; put the old master.key back to keep it");
    }
    Ok(())
}

/// Succeeds when the running gateway answers.
pub async fn healthcheck(config: &Config) -> Result<()> {
    Running::of(config)?
        .ask(Method::GET, "/health", None)
        .await
        .map(|_| ())
}

/// Shows a session's QR code until a phone has scanned it.
pub async fn pair(config: &Config, session: &str) -> Result<()> {
    let session = crate::ids::SessionId::parse(session)?;
    let running = Running::of(config)?;
    let created = json!({ "sessionId": session });
    running
        .ask(Method::POST, "/api/v1/sessions", Some(created))
        .await?;
    let mut shown = String::new();
    loop {
        let state = running
            .ask(Method::GET, &format!("/api/v1/sessions/{session}"), None)
            .await?;
        if state["status"] == "CONNECTED" {
            say(&format!(
                "{session}: {}",
                state["detail"].as_str().unwrap_or("connected")
            ));
            return Ok(());
        }
        let paired_now = state["status"] == "CONNECTING";
        if !paired_now {
            let path = format!("/api/v1/sessions/{session}/qr");
            match running.ask(Method::GET, &path, None).await {
                Ok(qr) => {
                    let code = qr["qr"].as_str().unwrap_or_default();
                    if code != shown {
                        say(&terminal_qr(code)?);
                        say("On the phone: WhatsApp > Settings > Linked devices > Link a device");
                        code.clone_into(&mut shown);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Invalid => {}
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Makes, lists or revokes keys of the running gateway.
pub async fn key(config: &Config, what: KeysCommand) -> Result<()> {
    let running = Running::of(config)?;
    match what {
        KeysCommand::Create {
            name,
            scopes,
            session,
            dialect,
        } => {
            let new = json!({
                "name": name, "scopes": scopes, "sessionId": session, "dialect": dialect,
            });
            let made = running.ask(Method::POST, "/admin/keys", Some(new)).await?;
            let field = |name: &str| made[name].as_str().unwrap_or_default();
            print(&format!("{} was made; it is shown only now:", field("id")))?;
            print(field("key"))?;
        }
        KeysCommand::List => {
            let answer = running.ask(Method::GET, "/admin/keys", None).await?;
            let keys = answer["keys"].as_array();
            keys.into_iter()
                .flatten()
                .for_each(|key| say(&line_of(key)));
        }
        KeysCommand::Revoke { id } => {
            // What is no id must not become another path.
            let id = crate::ids::RowId::parse(&id);
            let id = id.ok_or(Code::KeyNotFound)?;
            let path = format!("/admin/keys/{id}");
            let answer = running.ask(Method::DELETE, &path, None).await?;
            say(answer["message"].as_str().unwrap_or_default());
        }
    }
    Ok(())
}

/// A key as a line of the list.
fn line_of(key: &Value) -> String {
    let text = |name: &str| key[name].as_str().unwrap_or("-").to_owned();
    let scopes = key["scopes"].as_array().into_iter().flatten();
    let scopes: Vec<&str> = scopes.filter_map(Value::as_str).collect();
    let state = match key["revokedAt"].as_str() {
        Some(at) => format!("revoked {at}"),
        None => format!("used {} times, last {}", key["usage"], text("lastUsedAt")),
    };
    format!(
        "{}  {}  ...{}  {}  session {}  {state}  {}",
        text("id"),
        text("dialect"),
        text("preview"),
        scopes.join(","),
        text("sessionId"),
        text("name")
    )
}

/// What is said without the master key, and with another one.
const NO_KEY: &str = "the gateway's master key is needed: set WARUNG_MASTER_KEY or WARUNG_MASTER_KEY_FILE as the gateway has it \
                      (a key that the gateway made is in master.key in its data folder)";
const WRONG_KEY: &str = "the gateway has another master key: set WARUNG_MASTER_KEY or WARUNG_MASTER_KEY_FILE as the gateway has it \
                         (a key that the gateway made is in master.key in its data folder)";

/// The gateway that runs with these settings, asked over HTTP with its master key.
struct Running {
    client: Client,
    url: String,
    key: String,
    store: std::path::PathBuf,
    /// What is said when the gateway does not take the key.
    wrong_key: &'static str,
}

impl Running {
    fn of(config: &Config) -> Result<Self> {
        // The gateway may listen on any port of any address of this machine.
        let mut allow = config.allow_private.clone();
        let address = config.listen.parse::<std::net::SocketAddr>();
        allow.extend(address.map(|address| address.ip().to_string()));
        let policy = Policy::new(&allow, &config.dns_servers)?.with_loopback(true);
        let (key, wrong_key) = match &config.master_key {
            Some(key) => (key.to_string(), WRONG_KEY),
            None => match std::fs::read_to_string(config.data.join("master.key")) {
                Ok(key) => (key, WRONG_KEY),
                Err(_) => (String::new(), NO_KEY),
            },
        };
        // The socket that strangers do not reach comes first; it lies there while a gateway runs.
        let own = Some(own_socket(config)).filter(|path| path.exists());
        let listened = match config.listen.parse::<Listen>()? {
            Listen::Unix { path, .. } => Some(path),
            Listen::Tcp(_) => None,
        };
        let url = match own.or(listened) {
            Some(path) => {
                return Ok(Self {
                    client: Client::over_unix(policy, &path)?,
                    url: "http://localhost".into(),
                    key: key.trim().into(),
                    store: store_file(config),
                    wrong_key,
                });
            }
            // A listener on all addresses is reached on loopback.
            None => format!(
                "http://{}",
                config
                    .listen
                    .replace("0.0.0.0:", "127.0.0.1:")
                    .replace("[::]:", "[::1]:")
            ),
        };
        Ok(Self {
            client: Client::new(policy)?,
            url,
            key: key.trim().into(),
            store: store_file(config),
            wrong_key,
        })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        // Hazard: on a shared machine a stranger may hold the port while the gateway is down.
        if !store::is_in_use(&self.store) {
            return Err(Error::new(
                Code::GatewayUnreachable,
                format!("no gateway runs on {}", self.store.display()),
            ));
        }
        let mut headers = vec![("content-type".into(), "application/json".into())];
        if path != "/health" {
            headers.push(("x-master-key".into(), self.key.clone()));
        }
        let request = OutgoingRequest {
            method,
            url: format!("{}{path}", self.url),
            headers,
            body: body.map(|b| b.to_string()).unwrap_or_default().into(),
        };
        let response = self.client.send(request).await.map_err(|e| {
            Error::new(
                Code::GatewayUnreachable,
                format!("no gateway answers at {}", self.url),
            )
            .because(e)
        })?;
        let status = response.status().as_u16();
        let answer: Value =
            serde_json::from_slice(&response.collect(8 << 20).await?).map_err(|_| {
                Error::new(
                    Code::GatewayUnreachable,
                    format!("{} is no gateway", self.url),
                )
            })?;
        if status < 300 {
            return Ok(answer);
        }
        if matches!(status, 401 | 403) {
            return Err(Error::new(Code::MasterKeyInvalid, self.wrong_key));
        }
        let code = match status {
            400 => Code::InvalidRequest,
            _ => Code::GatewayRefused,
        };
        Err(Error::new(
            code,
            answer["message"].as_str().unwrap_or("refused").to_owned(),
        ))
    }
}
