//! What the machine's own files say: `resolv.conf` about name servers, `hosts` about names.

use std::net::IpAddr;
use std::time::Duration;

/// As many as C libraries take; the rest would never have its turn.
const MAX_SERVERS: usize = 3;
const MAX_DOMAINS: usize = 6;

/// How names are asked for (resolv.conf(5)).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) servers: Vec<IpAddr>,
    domains: Vec<String>,
    alone_first: bool,
    /// For one try at one server.
    pub(super) patience: Duration,
    /// How often each server is tried.
    pub(super) tries: u32,
}

impl Settings {
    /// Reads a `resolv.conf`; what makes no sense in it is left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut settings = Self {
            servers: Vec::new(),
            domains: Vec::new(),
            alone_first: false,
            patience: Duration::from_secs(2),
            tries: 2,
        };
        for line in text.lines() {
            let mut words = words(line, &['#', ';']);
            match words.next() {
                Some("nameserver") => settings.servers.extend(words.next().and_then(address)),
                // Whichever comes last counts.
                Some("domain" | "search") => {
                    let domains = words.map(|word| word.trim_matches('.').to_ascii_lowercase());
                    settings.domains = domains.filter(|d| !d.is_empty()).collect();
                }
                Some("options") => words.for_each(|word| settings.option(word)),
                _ => {}
            }
        }
        settings.servers.truncate(MAX_SERVERS);
        settings.domains.truncate(MAX_DOMAINS);
        settings
    }

    fn option(&mut self, word: &str) {
        let (option, number) = word.split_once(':').unwrap_or_default();
        let Ok(number) = number.parse::<u32>() else {
            return;
        };
        match option {
            "ndots" => self.alone_first = number == 0,
            "timeout" => self.patience = Duration::from_secs(number.clamp(1, 5).into()),
            "attempts" => self.tries = number.clamp(1, 5),
            _ => {}
        }
    }

    /// The full names that a name may mean, in the order in which they are asked for.
    ///
    /// Invariant: a name with a dot means itself, whatever `ndots` says: below the network's own
    /// domains somebody else could answer for it.
    pub(super) fn full_names(&self, name: &str) -> Vec<String> {
        if let Some(full) = name.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let alone = name.to_owned();
        if name.contains('.') {
            return vec![alone];
        }
        let mut names: Vec<_> = self.domains.iter().map(|d| format!("{name}.{d}")).collect();
        names.insert(if self.alone_first { 0 } else { names.len() }, alone);
        names
    }
}

/// The addresses that a `hosts` file gives a name (hosts(5)).
pub(super) fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = words(line, &['#']);
        if let Some(ip) = words.next().and_then(address)
            && words.any(|word| word.eq_ignore_ascii_case(name))
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found
}

fn words<'a>(line: &'a str, comment: &[char]) -> impl Iterator<Item = &'a str> {
    let text = line.split(comment).next().unwrap_or_default();
    text.split_whitespace()
}

/// An address; the interface that an IPv6 address may name is not understood and left out.
fn address(word: &str) -> Option<IpAddr> {
    word.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        let ips = texts.iter().map(|t| t.parse().expect("an address"));
        ips.collect()
    }

    #[test]
    fn name_servers_are_read_as_the_machine_names_them() {
        let settings = Settings::parse(
            "# nameserver 9.9.9.1\n; nameserver 9.9.9.2\n\n\tnameserver  9.9.9.9 # ours\r\n\
             nameserver 2620:fe::fe%eth0\nnameserver nonsense\nnameserver\nsortlist x\n\
             domain old.example\nsearch Lan. corp.example .\n\
             options ndots:3 timeout:1 attempts:9 rotate timeout:x\n\
             nameserver 1.1.1.1\nnameserver 8.8.8.8\n",
        );
        assert_eq!(
            settings.servers,
            ips(&["9.9.9.9", "2620:fe::fe", "1.1.1.1"])
        );
        assert_eq!(settings.patience, Duration::from_secs(1));
        assert_eq!(settings.tries, 5);
        assert_eq!(
            settings.full_names("nas"),
            ["nas.lan", "nas.corp.example", "nas"]
        );
        assert_eq!(settings.full_names("nas."), ["nas"]);
        assert_eq!(settings.full_names("a.b"), ["a.b"]);
        let settings = Settings::parse("search lan\noptions ndots:0");
        assert_eq!(settings.full_names("nas"), ["nas", "nas.lan"]);
        let nothing = Settings::parse("");
        assert_eq!(nothing.full_names("nas"), ["nas"]);
        assert_eq!((nothing.servers, nothing.tries), (Vec::new(), 2));
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
