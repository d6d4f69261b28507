//! From a name to its addresses: the machine's `hosts` file, then its name servers, and never the C
//! library, whose resolver may load foreign modules into a static program.
//!
//! Hickory asks the questions: a random id, port and spelling for each, TCP for what is too long, a
//! cache, one question for all who wait. Around it stands what it does not do: the machine's files
//! count as they are now, a server that refuses is followed by the next one, and of an answer only
//! the addresses of the name itself are believed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::{Instant, timeout};

use crate::error::{Code, Error, Result};

/// Where the machine names its name servers, and its own names.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// For one lookup, however many servers and domains there are.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest for one try at one server, in seconds: three servers get their turn, and one that is
/// silent twice is told of before a webhook's connection is given up (5 s).
const MAX_TRY_SECONDS: u32 = 2;
const MAX_TRIES: u32 = 5;
/// How long a server that did not answer is asked after the others.
const SILENCE: Duration = Duration::from_secs(30);

/// How long an answer is kept at most, whatever the server says.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// How long it is kept that a name does not exist: somebody may be setting it up.
const MAX_NEGATIVE_AGE: Duration = Duration::from_secs(5);
/// Answers of one server that are kept: both families of 256 names.
const CACHE_SIZE: u64 = 512;
/// Addresses of one name beyond this are left out.
const MAX_ADDRESSES: usize = 64;
/// More aliases than this, one after the other, are taken for a circle.
const MAX_ALIASES: usize = 16;

const UNKNOWN: &str = "there is no such name";
const SILENT: &str = "no name server answered";

/// Resolves names. It reads the machine's files again for every name: at boot the network may come
/// after us.
pub(super) struct Resolver {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    fallback: Arc<[IpAddr]>,
    port: u16,
    /// Made again, with empty caches, whenever `resolv.conf` changes.
    current: Mutex<Option<Arc<Configured>>>,
}

impl Resolver {
    /// The machine's own configuration; `fallback` is asked where that names no server.
    pub(super) fn of_system(fallback: Arc<[IpAddr]>) -> Self {
        Self::new(RESOLV_CONF.into(), HOSTS.into(), fallback, 53)
    }

    pub(super) fn new(
        resolv_conf: PathBuf,
        hosts: PathBuf,
        fallback: Arc<[IpAddr]>,
        port: u16,
    ) -> Self {
        Self {
            resolv_conf,
            hosts,
            fallback,
            port,
            current: Mutex::default(),
        }
    }

    /// All addresses of a name, IPv4 and IPv6, at most 64.
    pub(super) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>> {
        let own = in_hosts(&String::from_utf8_lossy(&read(&self.hosts)), name);
        if !own.is_empty() {
            return Ok(own);
        }
        let unresolved = |reason: &str| {
            let text = "The host's name cannot be resolved";
            Error::new(Code::HostUnreachable, text).because(reason)
        };
        let configured = self
            .configured()
            .map_err(|error| unresolved(&error.to_string()))?;
        let found = timeout(TOTAL_TIMEOUT, configured.search(name)).await;
        found.unwrap_or(Err(SILENT)).map_err(unresolved)
    }

    fn configured(&self) -> Result<Arc<Configured>, NetError> {
        let text = read(&self.resolv_conf);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(configured) = current.as_ref().filter(|c| c.text == text) {
            return Ok(configured.clone());
        }
        let configured = Arc::new(Configured::new(text, &self.fallback, self.port)?);
        *current = Some(configured.clone());
        Ok(configured)
    }
}

/// A file that cannot be read says nothing: there may be none.
fn read(file: &Path) -> Vec<u8> {
    fs::read(file).unwrap_or_default()
}

/// The addresses that a `hosts` file gives a name (hosts(5)).
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        // The interface that an IPv6 address may name is left out.
        let ip = words.next().and_then(|w| w.split('%').next()?.parse().ok());
        if let Some(ip) = ip
            && words.any(|word| word.eq_ignore_ascii_case(name))
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found
}

/// What a `resolv.conf` says (resolv.conf(5)), and a resolver for each server that it names.
struct Configured {
    text: Vec<u8>,
    servers: Vec<DnsServer>,
    domains: Vec<String>,
    /// A name without a dot is asked for as it is before it is looked for in the domains.
    alone_first: bool,
    /// How often each server is tried.
    tries: u32,
}

impl Configured {
    fn new(text: Vec<u8>, fallback: &[IpAddr], port: u16) -> Result<Self, NetError> {
        // What makes no sense in it is left out.
        let (mut config, _) = resolv_conf::Config::parse_with_errors(&text);
        config.glibc_normalize();
        let named: Vec<_> = config.nameservers.iter().map(IpAddr::from).collect();
        // Where nobody is named, this machine, as C libraries do.
        let local = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        let servers = [&named, fallback, &local];
        let servers = servers.into_iter().find(|servers| !servers.is_empty());
        let patience = Duration::from_secs(config.timeout.clamp(1, MAX_TRY_SECONDS).into());
        Ok(Self {
            servers: servers
                .into_iter()
                .flatten()
                .map(|ip| DnsServer::new(*ip, port, patience, config.edns0))
                .collect::<Result<_, _>>()?,
            domains: config
                .get_last_search_or_domain()
                .map(|domain| domain.trim_matches('.').to_owned())
                .filter(|domain| !domain.is_empty())
                .collect(),
            alone_first: config.ndots == 0,
            tries: config.attempts.clamp(1, MAX_TRIES),
            text,
        })
    }

    /// Asks for every name that is meant, until one has addresses: where one search fails, the next
    /// may succeed, as a server inside need not know the outside.
    async fn search(&self, name: &str) -> Result<Vec<IpAddr>, &'static str> {
        let mut found = Err(UNKNOWN);
        for full in self.full_names(name) {
            found = self.ask_all(&full).await;
            if found.is_ok() {
                break;
            }
        }
        found
    }

    /// The full names that a name may mean, in the order in which they are asked for.
    ///
    /// Invariant: a name with a dot means itself, whatever `ndots` says: below the network's own
    /// domains somebody else could answer for it.
    fn full_names(&self, name: &str) -> Vec<Name> {
        let mut texts = Vec::new();
        if !name.contains('.') {
            let below = |domain: &String| format!("{name}.{domain}");
            texts.extend(self.domains.iter().map(below));
        }
        texts.insert(
            if self.alone_first { 0 } else { texts.len() },
            name.to_owned(),
        );
        let full = texts.into_iter().filter_map(|text| {
            let mut full = Name::from_ascii(text).ok()?;
            full.set_fqdn(true);
            (!full.is_root()).then_some(full)
        });
        full.collect()
    }

    /// Asks every server in turn and then again, until one knows.
    async fn ask_all(&self, name: &Name) -> Result<Vec<IpAddr>, &'static str> {
        for _ in 0..self.tries {
            let mut order: Vec<_> = self.servers.iter().collect();
            order.sort_by_key(|server| server.is_silent());
            for server in order {
                if let Some(known) = server.ask(name).await {
                    return known;
                }
            }
        }
        Err(SILENT)
    }
}

/// What a server says about one family of addresses.
enum DnsAnswer {
    Addresses(Vec<IpAddr>),
    /// There is no such name, in either family (RFC 8020).
    Unknown,
    /// The server cannot or does not want to tell.
    Failed,
    Silent,
}

/// One name server.
struct DnsServer {
    ip: IpAddr,
    patience: Duration,
    /// Asks by UDP in random capitals that must come back; by TCP where they do not.
    careful: TokioResolver,
    /// For a server that garbles that: asks by TCP, and by UDP without capitals where nobody hears.
    plain: TokioResolver,
    /// When it last did not answer in time.
    silent: Mutex<Option<Instant>>,
}

impl DnsServer {
    fn new(ip: IpAddr, port: u16, patience: Duration, edns0: bool) -> Result<Self, NetError> {
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        (udp.port, tcp.port) = (port, port);
        let over = |connections| NameServerConfig::new(ip, true, connections);
        let make = |servers, careful| {
            let config = ResolverConfig::from_name_servers(servers);
            let runtime = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, runtime);
            let options = builder.options_mut();
            options.timeout = patience;
            options.attempts = 0;
            options.edns0 = edns0;
            options.case_randomization = careful;
            options.use_hosts_file = ResolveHosts::Never;
            options.cache_size = CACHE_SIZE;
            options.positive_max_ttl = Some(MAX_AGE);
            options.negative_max_ttl = Some(MAX_NEGATIVE_AGE);
            options.num_concurrent_reqs = 1;
            options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
            builder.build()
        };
        Ok(Self {
            ip,
            patience,
            careful: make(vec![over(vec![udp.clone(), tcp.clone()])], true)?,
            plain: make(vec![over(vec![tcp]), over(vec![udp])], false)?,
            silent: Mutex::default(),
        })
    }

    fn is_silent(&self) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|since| since.elapsed() < SILENCE)
    }

    /// What the server knows of the name; `None` when another one has to be asked.
    async fn ask(&self, name: &Name) -> Option<Result<Vec<IpAddr>, &'static str>> {
        // One family that fails costs the other at most the rest of this try.
        let (v4, v6) = tokio::join!(
            self.ask_for(name, RecordType::A),
            self.ask_for(name, RecordType::AAAA)
        );
        if matches!((&v4, &v6), (DnsAnswer::Silent, DnsAnswer::Silent)) {
            *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        let (mut addresses, mut is_unknown, mut is_complete) = (Vec::new(), false, true);
        for answer in [v4, v6] {
            match answer {
                DnsAnswer::Addresses(found) => addresses.extend(found),
                DnsAnswer::Unknown => is_unknown = true,
                DnsAnswer::Failed | DnsAnswer::Silent => is_complete = false,
            }
        }
        if addresses.is_empty() {
            return (is_unknown || is_complete).then_some(Err(UNKNOWN));
        }
        addresses.truncate(MAX_ADDRESSES);
        Some(Ok(addresses))
    }

    async fn ask_for(&self, name: &Name, family: RecordType) -> DnsAnswer {
        let asking = async {
            match self.careful.lookup(name.clone(), family).await {
                Ok(lookup) => Ok(lookup),
                Err(error @ (NetError::Timeout | NetError::Dns(_))) => Err(error),
                Err(_) => self.plain.lookup(name.clone(), family).await,
            }
        };
        let answer = timeout(self.patience, asking).await;
        match answer.unwrap_or(Err(NetError::Timeout)) {
            Ok(lookup) => {
                addresses(&lookup, name, family).map_or(DnsAnswer::Failed, DnsAnswer::Addresses)
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NXDomain => DnsAnswer::Unknown,
                _ => DnsAnswer::Addresses(Vec::new()),
            },
            Err(error) => {
                tracing::debug!(server = %self.ip, %error, "a name server did not answer");
                match error {
                    NetError::Timeout => DnsAnswer::Silent,
                    _ => DnsAnswer::Failed,
                }
            }
        }
    }
}

/// The addresses of the name, or of the last name that it is an alias of, and of no other name or
/// family; `None` when its aliases go in a circle.
fn addresses(lookup: &Lookup, name: &Name, family: RecordType) -> Option<Vec<IpAddr>> {
    let mut owner = name;
    for _ in 0..=MAX_ALIASES {
        let alias = lookup
            .answers()
            .iter()
            .find_map(|record| match &record.data {
                RData::CNAME(of) if record.name == *owner => Some(&of.0),
                _ => None,
            });
        let Some(of) = alias else {
            let own = lookup.answers().iter().filter(|r| r.name == *owner);
            let own = own.filter(|r| r.record_type() == family);
            return Some(own.filter_map(|r| r.data.ip_addr()).collect());
        };
        owner = of;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        let ips = texts.iter().map(|t| t.parse().expect("an address"));
        ips.collect()
    }

    fn configured(text: &str) -> Configured {
        Configured::new(text.into(), &[], 53).expect("a resolver")
    }

    fn full_names(configured: &Configured, name: &str) -> Vec<String> {
        let names = configured.full_names(name).into_iter();
        names.map(|name| name.to_string()).collect()
    }

    #[tokio::test]
    async fn name_servers_are_read_as_the_machine_names_them() {
        let read = configured(
            "# nameserver 9.9.9.1\n; nameserver 9.9.9.2\n\n\tnameserver  9.9.9.9 # ours\r\n\
             nameserver 2620:fe::fe%eth0\nnameserver nonsense\nnameserver\nsortlist x\n\
             domain old.example\nsearch Lan. corp.example .\n\
             options ndots:3 timeout:1 attempts:9 rotate timeout:x\n\
             nameserver 1.1.1.1\nnameserver 8.8.8.8\n",
        );
        let servers: Vec<_> = read.servers.iter().map(|server| server.ip).collect();
        assert_eq!(servers, ips(&["9.9.9.9", "2620:fe::fe", "1.1.1.1"]));
        assert_eq!(read.servers[0].patience, Duration::from_secs(1));
        assert_eq!(read.tries, 5);
        assert_eq!(
            full_names(&read, "nas"),
            ["nas.Lan.", "nas.corp.example.", "nas."]
        );
        assert_eq!(full_names(&read, "nas."), ["nas."]);
        assert_eq!(full_names(&read, "a.b"), ["a.b."]);
        let read = configured("search lan\noptions ndots:0 timeout:60");
        assert_eq!(full_names(&read, "nas"), ["nas.", "nas.lan."]);
        assert_eq!(read.servers[0].patience, Duration::from_secs(2));
        // Not text, and nothing at all.
        for nothing in [&b"nameserver \xff\nsearch \xff.lan\n"[..], b""] {
            let read = Configured::new(nothing.into(), &[], 53).expect("a resolver");
            assert_eq!(full_names(&read, "nas"), ["nas."]);
            assert_eq!((read.servers.len(), read.tries), (1, 2));
        }
        // A domain that is none does not take the servers along.
        let read = configured("search a..b lan\nnameserver 1.1.1.1\n");
        assert_eq!(read.servers[0].ip, ips(&["1.1.1.1"])[0]);
        assert_eq!(full_names(&read, "nas"), ["nas.lan.", "nas."]);
    }

    #[test]
    fn a_hosts_file_gives_all_addresses_of_a_name() {
        let text = "127.0.0.1 localhost\n::1 localhost ip6-loopback\n\
                    10.0.0.7\tNas.lan nas # box\n#10.0.0.8 nas\nfd00::7 nas\n10.0.0.7 nas\n\
                    nonsense nas\n10.0.0.9\n";
        for name in ["nas", "NAS", "nas."] {
            assert_eq!(in_hosts(text, name), ips(&["10.0.0.7", "fd00::7"]));
        }
        assert_eq!(in_hosts(text, "nas.lan"), ips(&["10.0.0.7"]));
        for name in ["box", "as", "10.0.0.7", "", "."] {
            assert_eq!(in_hosts(text, name), ips(&[]), "{name:?}");
        }
    }
}
