//! `warung serve` and, in sandbox builds, `sandbox` and `network`: they run until a signal.

use std::io::IsTerminal as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{absolute, local_url, say};
use crate::config::{Legacy, Loaded, Origin, PublicSessions};
use crate::error::Result;
#[cfg(feature = "sandbox")]
use crate::server::make_folder;
use crate::server::{Deps, Server, judge};
use crate::systemd;

/// A shorter master key is a reason for a warning.
const MASTER_KEY: usize = 16;

/// Runs the gateway until it is told to stop.
pub async fn serve(loaded: &Loaded) -> Result<()> {
    warn_of_variables(loaded);
    let server = Server::start(loaded.config.clone(), Deps::default()).await;
    let server = server.map_err(|error| loaded.located(error))?;
    let signals = Signals::catch();
    greet(&server);
    say(&format!("listening on {}", server.url()));
    tell_where(&server, loaded);
    wait_and_stop(server, signals).await;
    Ok(())
}

/// Runs the gateway on the simulated network, which keeps its state in the data folder.
#[cfg(feature = "sandbox")]
pub async fn sandbox(loaded: &Loaded) -> Result<()> {
    use crate::sandbox::{NetworkOptions, Sandbox};
    warn_of_variables(loaded);
    let mut config = loaded.config.clone();
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
    let server = Server::start(config, deps).await;
    let server = server.map_err(|error| loaded.located(error))?;
    network.attach(server.qr_finder());
    let signals = Signals::catch();
    greet(&server);
    say(&format!("listening on {}", server.url()));
    say(&format!("sandbox whatsapp at {}", network.url()));
    tell_where(&server, loaded);
    wait_and_stop(server, signals).await;
    network.stop().await;
    Ok(())
}

/// Runs the simulated network alone, for other clients or several gateways.
#[cfg(feature = "sandbox")]
pub async fn network(loaded: &Loaded) -> Result<()> {
    use crate::sandbox::{NetworkOptions, Sandbox};
    warn_of_variables(loaded);
    let config = &loaded.config;
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

/// What the original's variables are to this program.
fn unneeded(loaded: &Loaded) -> Option<String> {
    let names = &loaded.unneeded_variables;
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(format!("not needed here, and ignored: {names}"))
}

/// Warns of variables that begin like a setting's. They may hold anything: only names are told.
fn warn_of_variables(loaded: &Loaded) {
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
    if let Some(line) = unneeded(loaded) {
        say(&line);
    }
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
        say(&format!(
            "a master key was made; it creates sessions (X-Master-Key) and is in {}",
            absolute(&config.data.join("master.key")).display()
        ));
        // A journal keeps what is said for longer, and for more people, than a terminal does.
        if std::io::stdout().is_terminal() {
            say(&format!("  {key}"));
        }
    }
    if config.legacy == Legacy::Open {
        tracing::warn!("legacy = open: whoever reaches the port can send from every session");
    }
    if config.public_sessions == PublicSessions::Open {
        tracing::warn!(
            "public_sessions = open: whoever reaches the port reads the token of every session, and with it sends"
        );
    }
    if config
        .master_key
        .as_ref()
        .is_some_and(|key| key.len() < MASTER_KEY)
    {
        tracing::warn!(
            "the master key has fewer than {MASTER_KEY} characters: whoever guesses it has every session; choose a longer one"
        );
    }
    if config.webhook_url.is_some() && config.webhook_secret.is_none() {
        tracing::warn!(
            "webhook_url is set without webhook_secret: those deliveries are not signed"
        );
    }
}

/// Tells where everything is that one looks for next.
fn tell_where(server: &Server, loaded: &Loaded) {
    let config = server.gateway().config();
    let url = local_url(&server.url());
    if url.starts_with("http") {
        say(&format!("docs at {url}/docs"));
    }
    if loaded.origins.get("listen") == Some(&Origin::Variable("PORT".into())) {
        say(
            "PORT alone opens it to every address of this machine; HOST=127.0.0.1 keeps it to programs on it",
        );
    }
    if let Some(line) = unneeded(loaded) {
        say(&line);
    }
    say(&format!("data in {}", absolute(&config.data).display()));
    match loaded.origins.get("master_key") {
        Some(origin) => say(&format!("the master key is the one of {origin}")),
        None if server.new_master_key().is_some() => {}
        None => say(&format!(
            "the master key is in {}",
            absolute(&config.data.join("master.key")).display()
        )),
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
