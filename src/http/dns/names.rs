//! From a name to its addresses: the machine's files, then its name servers, one after the other.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::ask::ask;
use super::cache::{Cache, Found};
use super::machine::{Settings, in_hosts};
use super::message::{Answer, Family, Question};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IdSource;

/// Where the machine names its name servers, and its own names.
const SYSTEM: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// For everything, however many servers and domains there are.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long addresses are kept, whatever the server says: what changes often must not be asked for
/// at every request, and what never changes once in a while.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);

/// Addresses and how long they are kept, or why there are none.
type Known = Result<(Vec<IpAddr>, Duration), &'static str>;
const UNKNOWN: &str = "there is no such name";
const SILENT: &str = "no name server answered";

/// The resolver. It reads the machine's files again for every name: at boot the network may come
/// after us.
pub(in crate::http) struct Names {
    file: PathBuf,
    hosts: PathBuf,
    fallback: Arc<[IpAddr]>,
    port: u16,
    cache: Mutex<Cache>,
}

impl Names {
    pub(in crate::http) fn of_system(fallback: Arc<[IpAddr]>) -> Self {
        Self::new(SYSTEM.into(), fallback, 53)
    }

    pub(in crate::http) fn new(file: PathBuf, fallback: Arc<[IpAddr]>, port: u16) -> Self {
        Self {
            file,
            hosts: HOSTS.into(),
            fallback,
            port,
            cache: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_hosts(mut self, hosts: PathBuf) -> Self {
        self.hosts = hosts;
        self
    }

    /// All addresses of a name, IPv4 and IPv6.
    pub(in crate::http) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>> {
        let name = name.to_ascii_lowercase();
        let own = in_hosts(&read(&self.hosts), &name);
        if !own.is_empty() {
            return Ok(own);
        }
        let configuration = read(&self.file);
        let place = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.place(&configuration, &name, Instant::now())
        };
        let search = || async {
            let searching = self.search(&configuration, &name);
            let done = timeout(PATIENCE, searching).await.unwrap_or(Err(SILENT));
            let kept = done.as_ref().map_or(Duration::ZERO, |(_, kept)| *kept);
            Found {
                addresses: done.map(|(addresses, _)| addresses),
                until: Instant::now() + kept,
            }
        };
        let found = place.get_or_init(search).await;
        found.addresses.clone().map_err(|reason| {
            let text = "The host's name cannot be resolved";
            Error::new(ErrorKind::Upstream, text).because(reason)
        })
    }

    /// Asks for every name that is meant, until one has addresses: where one search fails, the next
    /// may succeed, as a server inside need not know the outside.
    async fn search(&self, configuration: &str, name: &str) -> Known {
        let settings = Settings::parse(configuration);
        let mut known = Err(UNKNOWN);
        for full in settings.full_names(name) {
            known = self.ask_all(&settings, &full).await;
            if known.is_ok() {
                break;
            }
        }
        known
    }

    /// Asks every server in turn and then again, until one knows.
    async fn ask_all(&self, settings: &Settings, name: &str) -> Known {
        // Where nobody is named, this machine, as C libraries do.
        let local = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        let named = [&settings.servers[..], &self.fallback, &local];
        let servers = named.into_iter().find(|servers| !servers.is_empty());
        for _ in 0..settings.tries {
            for ip in servers.into_iter().flatten() {
                let server = SocketAddr::new(*ip, self.port);
                let one = |family| ask_for(server, name, family, settings.patience);
                // One family that fails costs the other at most the rest of this try.
                let (v4, v6) = tokio::join!(one(Family::V4), one(Family::V6));
                if let Some(known) = together(v4, v6) {
                    return known;
                }
            }
        }
        Err(SILENT)
    }
}

/// A file that cannot be read says nothing: there may be none.
fn read(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn ask_for(server: SocketAddr, name: &str, family: Family, patience: Duration) -> Answer {
    let id = u16::from_be_bytes(IdSource::random().bytes());
    let Some(question) = Question::new(id, name, family) else {
        return Answer::Unknown;
    };
    let question = question.with_capitals(IdSource::random().bytes());
    let asking = timeout(patience, ask(server, &question)).await;
    let answer = asking.map_err(io::Error::from).flatten();
    answer.unwrap_or_else(|error| {
        tracing::debug!(%server, %error, "a name server did not answer");
        Answer::Failed
    })
}

/// What both answers say together; `None` when another server has to be asked.
fn together(v4: Answer, v6: Answer) -> Option<Known> {
    let unknown = [&v4, &v6].contains(&&Answer::Unknown);
    let (mut addresses, mut seconds, mut complete) = (Vec::new(), u32::MAX, true);
    for answer in [v4, v6] {
        match answer {
            Answer::Addresses(found, ttl) => {
                if !found.is_empty() {
                    seconds = seconds.min(ttl);
                }
                addresses.extend(found);
            }
            Answer::Unknown => {}
            Answer::Failed | Answer::Cut | Answer::OtherLetters => complete = false,
        }
    }
    if addresses.is_empty() {
        return (unknown || complete).then_some(Err(UNKNOWN));
    }
    let kept = match seconds {
        // Only for whoever asked (RFC 1035, section 3.2.1).
        0 => Duration::ZERO,
        // The other family may be the one that can be reached.
        _ if !complete => SHORTEST,
        _ => Duration::from_secs(seconds.into()).clamp(SHORTEST, LONGEST),
    };
    Some(Ok((addresses, kept)))
}
