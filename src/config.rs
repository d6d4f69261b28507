//! Settings: defaults, then the file, then the environment, then the command line; checked once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// What the program is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the gateway.
    Serve,
    /// Run the gateway on the simulated WhatsApp network.
    Sandbox,
    /// Run only the simulated WhatsApp network.
    Network,
    /// Verify the store.
    Check,
    /// Show a session's QR in the terminal until it is scanned.
    Pair(String),
    /// Copy store and media to a file.
    Backup(PathBuf),
    /// Make a store of a backup.
    Restore(PathBuf),
    /// Ask the running instance whether it is well.
    Healthcheck,
    /// Tell what this host lacks; with a URL, also whether that can be reached.
    SelfCheck(Option<String>),
    /// Print the usage.
    Help,
    /// Print the version.
    Version,
}

/// Who may use the legacy sends, which the original leaves open to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legacy {
    /// Open to direct callers on a loopback listener; a token is needed otherwise.
    Auto,
    /// Open to whoever reaches the port, as documented.
    Open,
    /// A session's token or the master key is needed always.
    Token,
    /// Switched off.
    Off,
}

/// All settings of one run.
#[derive(Clone)]
pub struct Config {
    /// `ADDR:PORT` or `unix:PATH`.
    pub listen: String,
    /// The data folder: store, media, keys.
    pub data: PathBuf,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`.
    pub log: String,
    /// The key that may create and see all sessions; made on first start when it is not set.
    pub master_key: Option<String>,
    /// How many sessions may exist.
    pub max_sessions: usize,
    /// Where events go for sessions that have no webhook of their own.
    pub webhook_url: Option<String>,
    /// Signs deliveries to `webhook_url`.
    pub webhook_secret: Option<String>,
    /// Stands for a leading 0 in a phone number.
    pub default_country_code: Option<String>,
    /// Who may use the legacy sends.
    pub legacy: Legacy,
    /// Address ranges that links and webhooks may name although they are private.
    pub allow_private: Vec<String>,
    /// Ports that webhooks and links may name besides those of web servers.
    pub allow_ports: Vec<u16>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// Certificates (PEM) that are trusted besides the public roots, where connections go out.
    pub trusted_roots: Option<PathBuf>,
    /// Name servers to ask when the host names none.
    pub dns_servers: Vec<IpAddr>,
    /// Bytes of the store's page cache.
    pub store_cache: usize,
    /// How long a send waits for WhatsApp's acknowledgement.
    pub ack_timeout: Duration,
    /// How many connections are served at once.
    pub max_connections: usize,
    /// How many of them one address may have; a quarter when not set.
    pub max_connections_per_address: Option<usize>,
    /// How many days events and messages are kept.
    pub retention_days: u32,
    /// How many days files are kept.
    pub media_days: u32,
    /// How many bytes the files of one session may take.
    pub media_quota: u64,
    /// How many bytes of the store the lists, campaigns and messages of one session may take; 0 is
    /// no limit.
    pub store_quota: u64,
    /// How many bytes the bodies of all requests under way may take in memory.
    pub body_budget: u64,
    /// The largest file that a link or a message may bring.
    pub max_media_bytes: u64,
    /// How the linked device is called on the phone.
    pub device_name: String,
    /// Whether accounts look online while they are connected, so that their phones do not ring.
    pub show_online: bool,
    /// The version of WhatsApp Web that the client says it is.
    pub whatsapp_version: (u32, u32, u32),
    /// Another WhatsApp server; only in sandbox builds, only on loopback.
    pub whatsapp_url: Option<String>,
    /// Whether webhooks may go to this machine; set by the sandbox.
    pub webhooks_to_loopback: bool,
    /// Whether systemd (or who speaks its protocol) started us and wants to be told.
    pub under_systemd: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:3000".into(),
            data: "warung-data".into(),
            log: "info".into(),
            master_key: None,
            max_sessions: 1000,
            webhook_url: None,
            webhook_secret: None,
            default_country_code: None,
            legacy: Legacy::Auto,
            allow_private: Vec::new(),
            allow_ports: Vec::new(),
            trusted_proxies: Vec::new(),
            trusted_roots: None,
            dns_servers: Vec::new(),
            store_cache: 8 << 20,
            ack_timeout: Duration::from_secs(20),
            max_connections: 1024,
            max_connections_per_address: None,
            retention_days: 30,
            media_days: 30,
            media_quota: 1 << 30,
            store_quota: 2 << 30,
            body_budget: 32 << 20,
            max_media_bytes: 100 << 20,
            device_name: "Warung".into(),
            show_online: false,
            whatsapp_version: (2, 3000, 1035194821),
            whatsapp_url: None,
            webhooks_to_loopback: false,
            under_systemd: false,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("data", &self.data)
            .field("max_sessions", &self.max_sessions)
            .field("legacy", &self.legacy)
            .field("master_key", &self.master_key.as_ref().map(|_| "(hidden)"))
            .finish_non_exhaustive()
    }
}

/// The usage text.
pub const USAGE: &str = "\
Warung: a WhatsApp gateway in one file.

usage: warung [COMMAND] [OPTIONS]

  serve             run the gateway (this is the default)
  pair SESSION      show the session's QR code here until it is scanned
  check             verify the store; exit 1 when something is wrong
  backup FILE       write a consistent copy of store and files, sealed under secret.key
  restore FILE      make a store of a backup, in a data folder that holds only its secret.key
  healthcheck       exit 0 when the running gateway answers
  self-check [URL]  tell what this host lacks, and whether URL (a webhook) can be reached
  sandbox           run the gateway on a simulated WhatsApp network (sandbox builds)
  network           run only the simulated WhatsApp network (sandbox builds)

  --listen ADDR     ADDR:PORT or unix:PATH            (default 127.0.0.1:3000; WARUNG_LISTEN, PORT)
  --data DIR        store, media and keys             (default ./warung-data; WARUNG_DATA)
  --config FILE     settings in TOML                  (WARUNG_CONFIG)
  --log LEVEL       error, warn, info, debug, trace   (default info; WARUNG_LOG)
  --whatsapp-url U  ws://127.0.0.1:PORT/ws/chat       (sandbox builds only)
  --help, --version

Every setting has a name in the environment (WARUNG_MASTER_KEY, WARUNG_LEGACY, ...) and in the
file (master_key, legacy, ...); the README lists them.
";

/// The other names under which seed 001's program knows a setting.
const ALIASES: &[(&str, &str)] = &[
    ("MASTER_API_KEY", "master_key"),
    ("MAX_SESSIONS", "max_sessions"),
    ("WEBHOOK_URL", "webhook_url"),
    ("DEFAULT_COUNTRY_CODE", "default_country_code"),
];

impl Config {
    /// Reads command line, environment and the file that one of them names.
    pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<(Command, Self)> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place the rule points to"
        )]
        let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let names: Vec<String> = std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect();
        let vars = names
            .into_iter()
            .filter_map(|n| env(&n).map(|v| (n, v)))
            .collect();
        Self::from_parts(args, &vars, |path| {
            std::fs::read_to_string(path).map_err(|e| {
                Error::invalid(format!("cannot read the configuration file {path}: {e}"))
            })
        })
    }

    /// The pure part of [`Config::load`].
    pub fn from_parts(
        args: impl IntoIterator<Item = OsString>,
        env: &BTreeMap<String, String>,
        read: impl Fn(&str) -> Result<String>,
    ) -> Result<(Command, Self)> {
        let (command, flags) = parse_args(args)?;
        let mut config = Self::default();
        let file = flags.get("config").or_else(|| env.get("WARUNG_CONFIG"));
        if let Some(path) = file {
            let table: toml::Table = read(path)?.parse().map_err(|e: toml::de::Error| {
                Error::invalid(format!("{path} is not valid TOML: {}", e.message()))
            })?;
            for (name, value) in &table {
                config.set(name, &plain(value)?)?;
            }
        }
        for (alias, name) in ALIASES {
            if let Some(value) = env.get(*alias) {
                config.set(name, value)?;
            }
        }
        if let Some(port) = env.get("PORT") {
            let host = env.get("HOST").map_or("127.0.0.1", String::as_str);
            config.listen = if port.bytes().all(|b| b.is_ascii_digit()) {
                format!("{host}:{port}")
            } else {
                port.clone()
            };
        }
        config.under_systemd = env.contains_key("NOTIFY_SOCKET");
        for (name, value) in env {
            if let Some(name) = name.strip_prefix("WARUNG_") {
                let name = name.to_ascii_lowercase();
                if name != "config" {
                    config.set(&name, value)?;
                }
            }
        }
        for (name, value) in &flags {
            if name != "config" {
                config.set(name, value)?;
            }
        }
        config.check(&command)?;
        Ok((command, config))
    }

    /// Sets one value by its name in the file.
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let bad = |what: &str| Error::invalid(format!("setting {name}: {what}"));
        let list = || {
            value
                .split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
        };
        let count = || {
            value
                .parse::<usize>()
                .map_err(|_| bad("not a whole number"))
        };
        match name {
            "listen" => self.listen = value.into(),
            "data" => self.data = value.into(),
            "log" => self.log = value.into(),
            "master_key" => self.master_key = Some(value.into()),
            "max_sessions" => self.max_sessions = count()?,
            "webhook_url" => self.webhook_url = Some(value.into()),
            "webhook_secret" => self.webhook_secret = Some(value.into()),
            "default_country_code" => self.default_country_code = Some(value.into()),
            "legacy" => {
                self.legacy = match value {
                    "auto" => Legacy::Auto,
                    "open" => Legacy::Open,
                    "token" => Legacy::Token,
                    "off" => Legacy::Off,
                    _ => return Err(bad("one of auto, open, token, off")),
                }
            }
            "allow_private" => self.allow_private = list().collect(),
            "allow_ports" => {
                self.allow_ports = list()
                    .map(|s| s.parse().map_err(|_| bad("a list of port numbers")))
                    .collect::<Result<_>>()?;
            }
            "trusted_proxies" => self.trusted_proxies = list().collect(),
            "trusted_roots" => self.trusted_roots = Some(value.into()),
            "dns_servers" => {
                self.dns_servers = list()
                    .map(|s| s.parse().map_err(|_| bad("a list of IP addresses")))
                    .collect::<Result<_>>()?;
            }
            "store_cache" => self.store_cache = count()?.max(1 << 20),
            "ack_timeout" => self.ack_timeout = Duration::from_secs(count()?.clamp(1, 300) as u64),
            "max_connections" => self.max_connections = count()?.max(4),
            "max_connections_per_address" => {
                self.max_connections_per_address = Some(count()?.max(1));
            }
            "retention_days" => {
                // Deliveries are tried for three days; what they tell must be there as long.
                self.retention_days = u32::try_from(count()?.clamp(4, 3650)).unwrap_or(30);
            }
            "media_days" => {
                self.media_days = u32::try_from(count()?.clamp(1, 3650)).unwrap_or(30);
            }
            "media_quota" => self.media_quota = count()?.max(1 << 20) as u64,
            "store_quota" => self.store_quota = count()? as u64,
            "body_budget" => self.body_budget = count()?.max(1 << 20) as u64,
            "max_media_bytes" => self.max_media_bytes = count()?.max(1 << 20) as u64,
            "device_name" => self.device_name = value.into(),
            "show_online" => self.show_online = value.parse().map_err(|_| bad("true or false"))?,
            "whatsapp_version" => {
                let parts: Vec<u32> = value
                    .split('.')
                    .map(|p| {
                        p.parse()
                            .map_err(|_| bad("a version like 2.3000.1035194821"))
                    })
                    .collect::<Result<_>>()?;
                let [a, b, c] = parts[..] else {
                    return Err(bad("a version like 2.3000.1035194821"));
                };
                self.whatsapp_version = (a, b, c);
            }
            "whatsapp_url" => self.whatsapp_url = Some(value.into()),
            _ => return Err(Error::invalid(format!("there is no setting named {name}"))),
        }
        Ok(())
    }

    /// What no single value shows to be wrong.
    fn check(&self, command: &Command) -> Result<()> {
        if let Some(key) = &self.master_key
            && (key.len() < 16 || !key.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(Error::invalid(
                "setting master_key: at least 16 printable characters without spaces",
            ));
        }
        if let Some(code) = &self.default_country_code
            && !((1..=3).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(Error::invalid(
                "setting default_country_code: 1 to 3 digits, such as 62",
            ));
        }
        if let Some(url) = &self.whatsapp_url {
            if !cfg!(feature = "sandbox") {
                return Err(Error::invalid(
                    "--whatsapp-url: this build talks to WhatsApp only; a build with the sandbox feature can use another server",
                ));
            }
            loopback_websocket(url)?;
        }
        let needs_sandbox = matches!(command, Command::Sandbox | Command::Network);
        if needs_sandbox && !cfg!(feature = "sandbox") {
            return Err(Error::invalid(
                "this build has no simulated network; build with: cargo build --features sandbox",
            ));
        }
        if *command == Command::Serve && cfg!(feature = "sandbox") && self.whatsapp_url.is_none() {
            return Err(Error::invalid(
                "a sandbox build does not check WhatsApp's certificate and refuses the real WhatsApp; \
                 use `warung sandbox`, name a simulated network with --whatsapp-url, or build without the feature",
            ));
        }
        Ok(())
    }

    /// Host, port and path of the WhatsApp server.
    pub fn whatsapp_server(&self) -> Result<(String, u16, String)> {
        match &self.whatsapp_url {
            None => Ok(("web.whatsapp.com".into(), 443, "/ws/chat".into())),
            Some(url) => loopback_websocket(url),
        }
    }
}

/// Takes `ws://LOOPBACK:PORT/PATH` apart.
///
/// Invariant: a build that skips the certificate check never leaves the machine.
fn loopback_websocket(url: &str) -> Result<(String, u16, String)> {
    let bad =
        || Error::invalid("--whatsapp-url: ws://127.0.0.1:PORT/ws/chat, on this machine only");
    let rest = url.strip_prefix("ws://").ok_or_else(bad)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address: std::net::SocketAddr = authority.parse().map_err(|_| bad())?;
    if !address.ip().is_loopback() {
        return Err(bad());
    }
    Ok((address.ip().to_string(), address.port(), format!("/{path}")))
}

/// A TOML value as the text that the environment would hold.
fn plain(value: &toml::Value) -> Result<String> {
    Ok(match value {
        toml::Value::String(s) => s.clone(),
        toml::Value::Integer(i) => i.to_string(),
        toml::Value::Boolean(b) => b.to_string(),
        toml::Value::Array(items) => items
            .iter()
            .map(plain)
            .collect::<Result<Vec<_>>>()?
            .join(","),
        _ => {
            return Err(Error::invalid(
                "the configuration file holds plain values and lists only",
            ));
        }
    })
}

/// Command and options as they stand on the command line.
fn parse_args(
    args: impl IntoIterator<Item = OsString>,
) -> Result<(Command, BTreeMap<String, String>)> {
    use lexopt::prelude::*;
    let wrong = |e: lexopt::Error| Error::invalid(format!("{e}; see warung --help"));
    let mut parser = lexopt::Parser::from_args(args);
    let mut words: Vec<String> = Vec::new();
    let mut flags = BTreeMap::new();
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Long("help") | Short('h') => return Ok((Command::Help, flags)),
            Long("version") | Short('V') => return Ok((Command::Version, flags)),
            Long(name) => {
                let name = name.replace('-', "_");
                let value = parser.value().and_then(|v| v.string()).map_err(wrong)?;
                flags.insert(name, value);
            }
            Value(word) => words.push(word.string().map_err(wrong)?),
            Short(_) => return Err(wrong(arg.unexpected())),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = match words[..] {
        [] | ["serve"] => Command::Serve,
        ["sandbox"] => Command::Sandbox,
        ["network"] => Command::Network,
        ["check"] => Command::Check,
        ["pair", session] => Command::Pair(session.into()),
        ["backup", file] => Command::Backup(file.into()),
        ["restore", file] => Command::Restore(file.into()),
        ["healthcheck"] => Command::Healthcheck,
        ["self-check"] => Command::SelfCheck(None),
        ["self-check", url] => Command::SelfCheck(Some(url.into())),
        ["pair"] => return Err(Error::invalid("warung pair needs the name of a session")),
        ["backup" | "restore"] => {
            let text = format!("warung {} needs the name of a file", words[0]);
            return Err(Error::invalid(text));
        }
        _ => {
            return Err(Error::invalid(format!(
                "unknown command: {}; see warung --help",
                words.join(" ")
            )));
        }
    };
    Ok((command, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &[&str], env: &[(&str, &str)], file: &str) -> Result<(Command, Config)> {
        let env = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Config::from_parts(args.iter().map(OsString::from), &env, |_| {
            Ok(file.to_owned())
        })
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = "max_sessions = 3\nlisten = \"127.0.0.1:1\"\nlegacy = \"off\"\nallow_private = [\"10.0.0.0/8\", \"::1/128\"]";
        let args = ["check", "--config", "f", "--listen", "127.0.0.1:4"];
        let env = [
            ("WARUNG_LISTEN", "127.0.0.1:3"),
            ("PORT", "2"),
            ("MAX_SESSIONS", "5"),
        ];
        let (command, config) = load(&args, &env, file).expect("good settings");
        assert_eq!(command, Command::Check);
        assert_eq!(config.listen, "127.0.0.1:4");
        assert_eq!(config.max_sessions, 5);
        assert_eq!(config.legacy, Legacy::Off);
        assert_eq!(config.allow_private, ["10.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn the_original_programs_port_is_honoured_on_loopback() {
        let (_, config) = load(&["check"], &[("PORT", "8080")], "").expect("good settings");
        assert_eq!(config.listen, "127.0.0.1:8080");
    }

    #[test]
    fn a_server_that_is_not_this_machine_is_refused() {
        for url in [
            "wss://web.whatsapp.com/ws/chat",
            "ws://10.0.0.1:1/ws",
            "ws://example.com:80/",
            "ws://127.0.0.1",
            "http://127.0.0.1:1/",
        ] {
            assert!(
                load(&["serve", "--whatsapp-url", url], &[], "").is_err(),
                "{url}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (args, word) in [
            (&["fly"][..], "fly"),
            (&["check", "--nonsense", "1"], "nonsense"),
            (&["check", "--legacy", "maybe"], "legacy"),
            (&["check", "--max-sessions", "many"], "max_sessions"),
            (&["pair"], "session"),
            (&["check", "--master-key", "short"], "master_key"),
        ] {
            let error = load(args, &[], "").expect_err("refused");
            assert!(error.detail().contains(word), "{error:?}");
        }
    }

    #[test]
    fn secrets_are_hidden_from_debug_output() {
        let (_, config) =
            load(&["check", "--master-key", "0123456789abcdef"], &[], "").expect("good");
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
    }
}
