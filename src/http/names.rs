//! Names to addresses, by the machine's name servers and never by the C library.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;

use crate::error::{Error, ErrorKind, Result};

/// Where the machine names its name servers.
const SYSTEM: &str = "/etc/resolv.conf";

/// The resolver, made again whenever the machine's configuration changes: at boot the network may
/// come after us.
pub(super) struct Names {
    file: PathBuf,
    fallback: Arc<[IpAddr]>,
    port: u16,
    current: Mutex<Option<(Vec<u8>, TokioResolver)>>,
}

impl Names {
    pub(super) fn of_system(fallback: Arc<[IpAddr]>) -> Self {
        Self::new(SYSTEM.into(), fallback, 53)
    }

    pub(super) fn new(file: PathBuf, fallback: Arc<[IpAddr]>, port: u16) -> Self {
        Self {
            file,
            fallback,
            port,
            current: Mutex::new(None),
        }
    }

    /// All addresses of a name, IPv4 and IPv6.
    pub(super) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>> {
        // The dot at the end: a full name is not tried below the network's own domains.
        let full = if name.contains('.') {
            format!("{name}.")
        } else {
            name.to_owned()
        };
        let unknown = |error| {
            let text = "The host's name cannot be resolved";
            Error::new(ErrorKind::Upstream, text).because(error)
        };
        let resolver = self.resolver().map_err(unknown)?;
        let found = resolver.lookup_ip(full).await.map_err(unknown)?;
        Ok(found.iter().collect())
    }

    fn resolver(&self) -> Result<TokioResolver, hickory_resolver::net::NetError> {
        // A file that cannot be read names no servers.
        let text = fs::read(&self.file).unwrap_or_default();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, resolver)) = &*current
            && *of == text
        {
            return Ok(resolver.clone());
        }
        let (config, options) =
            parse_resolv_conf(&text).unwrap_or_else(|_| (self.named(), ResolverOpts::default()));
        let runtime = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, runtime);
        *builder.options_mut() = options;
        let resolver = builder.build()?;
        *current = Some((text, resolver.clone()));
        Ok(resolver)
    }

    /// The servers of our own configuration, or the local one that a C library would ask.
    fn named(&self) -> ResolverConfig {
        let local = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        let servers = if self.fallback.is_empty() {
            &local[..]
        } else {
            &self.fallback
        };
        let of = |ip: &IpAddr| {
            let mut server = NameServerConfig::udp_and_tcp(*ip);
            for connection in &mut server.connections {
                connection.port = self.port;
            }
            server
        };
        ResolverConfig::from_name_servers(servers.iter().map(of).collect())
    }
}
