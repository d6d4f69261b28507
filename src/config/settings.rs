//! The settings: each stands here once, with its name, type, default, permitted values and meaning.
//!
//! Flags, variables, names in the file, `--help`, the man page, completions and `config show` are
//! all made of this, and a test holds README to it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use serde::Serialize;

use super::value::{self, MANY, MIB, Secret};
use crate::domain::guard::Guard;

/// Who may use the legacy sends, which the original leaves open to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
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

/// What the list of sessions shows without a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PublicSessions {
    /// Names and states.
    Safe,
    /// Everything, tokens and QR codes too, as the original documents it.
    Open,
}

/// From which level on something is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Off,
    /// What the gateway could not do.
    Error,
    /// What somebody should look at.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Everything, also what the WhatsApp library says: numbers and pairing codes.
    Trace,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// All settings of one run.
// A doc line is what `--help` says. Where a list is its own value, `Vec` is written with its path:
// clap would take the short form for a flag that is given many times.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize)]
pub struct Config {
    /// Where it listens: ADDR:PORT (port 0: a free one) or unix:PATH.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000", value_parser = value::listen)]
    pub listen: String,

    /// The data folder: store, files and keys.
    #[arg(long, value_name = "DIR", default_value = "warung-data", value_parser = value::path)]
    pub data: PathBuf,

    /// What is logged: off, error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true)]
    #[arg(hide_possible_values = true)]
    pub log: Level,

    /// How it is logged: text, or json (an object per line).
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    pub log_format: LogFormat,

    /// The key that may create and use all sessions, at least 8 characters and better 16; made on the
    /// first start when it is not set.
    #[arg(long, value_name = "KEY", value_parser = value::master_key)]
    pub master_key: Option<Secret>,

    /// How many sessions may exist, at least 1.
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = value::whole::<usize>(1..=MANY))]
    pub max_sessions: usize,

    /// Where events go for sessions that have no webhook of their own.
    #[arg(long, value_name = "URL", value_parser = value::web)]
    pub webhook_url: Option<String>,

    /// Signs deliveries to webhook_url, 8 to 256 characters; without it they are not signed.
    #[arg(long, value_name = "SECRET", value_parser = value::webhook_secret)]
    pub webhook_secret: Option<Secret>,

    /// Stands for a leading 0 in a phone number, 1 to 3 digits such as 62.
    #[arg(long, value_name = "DIGITS", value_parser = value::country_code)]
    pub default_country_code: Option<String>,

    /// Who may use the legacy sends: auto (callers on this machine, others need a token), open
    /// (everybody), token, off.
    #[arg(
        long,
        value_name = "WHO",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub legacy: Legacy,

    /// What the list of sessions shows without a credential: safe (names and states), open (tokens and
    /// QR codes too).
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "safe",
        hide_possible_values = true
    )]
    pub public_sessions: PublicSessions,

    /// How many new contacts a session may write to by plain sends, per minute and per day: MINUTE,DAY,
    /// or off. Replies, known chats, groups and campaigns are free.
    #[arg(long, value_name = "LIMITS", default_value = "60,1000", value_parser = value::guard)]
    #[serde(serialize_with = "value::as_text")]
    pub guard: Guard,

    /// Address ranges that links and webhooks may name although they are private, such as
    /// 10.0.0.0/8,::1.
    #[arg(long, value_name = "RANGES", default_value = "", value_parser = value::ranges)]
    pub allow_private: std::vec::Vec<String>,

    /// Where clients reach the gateway, such as example.org/wa with https:// before it: links in answers
    /// begin with it.
    #[arg(long, value_name = "URL", value_parser = value::folder)]
    pub public_url: Option<String>,

    /// Ports that links and webhooks may name besides 80, 443, 8080 and 8443.
    #[arg(long, value_name = "PORTS", default_value = "", value_parser = value::ports)]
    pub allow_ports: std::vec::Vec<u16>,

    /// Proxies (addresses or ranges) whose X-Forwarded-For is believed.
    #[arg(long, value_name = "RANGES", default_value = "", value_parser = value::ranges)]
    pub trusted_proxies: std::vec::Vec<String>,

    /// Certificates (PEM) that are trusted besides the public roots, where connections go out.
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub trusted_roots: Option<PathBuf>,

    /// Name servers to ask when the host names none.
    #[arg(long, value_name = "ADDRESSES", default_value = "", value_parser = value::addresses)]
    pub dns_servers: std::vec::Vec<IpAddr>,

    /// Bytes of the store's page cache, at least 1048576.
    #[arg(long, value_name = "BYTES", default_value = "8388608", value_parser = value::whole::<usize>(MIB..=MANY))]
    pub store_cache: usize,

    /// Seconds that a send waits for WhatsApp's acknowledgement, from 1 to 300.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = value::seconds(1..=300))]
    #[serde(serialize_with = "value::as_seconds")]
    pub ack_timeout: Duration,

    /// HTTP connections that are served at once, at least 4.
    #[arg(long, value_name = "COUNT", default_value = "1024", value_parser = value::whole::<usize>(4..=MANY))]
    pub max_connections: usize,

    /// How many of them one address may have, at least 1; a quarter when it is not set.
    #[arg(long, value_name = "COUNT", value_parser = value::whole::<usize>(1..=MANY))]
    pub max_connections_per_address: Option<usize>,

    /// Days that events and messages are kept, from 4 to 3650.
    // Deliveries are tried for three days; what they tell must be there as long.
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = value::whole::<u32>(4..=3650))]
    pub retention_days: u32,

    /// Days that files are kept, from 1 to 3650.
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = value::whole::<u32>(1..=3650))]
    pub media_days: u32,

    /// Bytes that the files of one session may take, at least 1048576.
    #[arg(long, value_name = "BYTES", default_value = "1073741824", value_parser = value::whole::<u64>(MIB..=MANY))]
    pub media_quota: u64,

    /// Bytes of the store that the lists, campaigns and messages of one session may take before no
    /// more lists and campaigns are made; 0 is no limit.
    #[arg(long, value_name = "BYTES", default_value = "2147483648", value_parser = value::whole::<u64>(0..=MANY))]
    pub store_quota: u64,

    /// Bytes of memory that the bodies of all requests under way may take, at least 1048576.
    #[arg(long, value_name = "BYTES", default_value = "33554432", value_parser = value::whole::<u64>(MIB..=MANY))]
    pub body_budget: u64,

    /// Bytes of the largest file that a link or a message may bring, at least 1048576.
    #[arg(long, value_name = "BYTES", default_value = "104857600", value_parser = value::whole::<u64>(MIB..=MANY))]
    pub max_media_bytes: u64,

    /// The gateway's name in the phone's list of linked devices.
    #[arg(long, value_name = "NAME", default_value = "Warung", value_parser = value::text)]
    pub device_name: String,

    /// Whether accounts look online while they are connected, true or false; the phone of one that
    /// does makes no sound.
    #[arg(long, value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set)]
    #[arg(hide_possible_values = true)]
    pub show_online: bool,

    /// The version of WhatsApp Web that the gateway says it is, when WhatsApp refuses the default.
    #[arg(long, value_name = "VERSION", default_value = "2.3000.1035194821", value_parser = value::version)]
    #[serde(serialize_with = "value::as_version")]
    pub whatsapp_version: (u32, u32, u32),

    /// Where the source of this very program can be had (AGPL section 13).
    #[arg(long, value_name = "URL", value_parser = value::web)]
    pub source_url: Option<String>,

    /// Another WhatsApp server, ws://127.0.0.1:PORT/ws/chat; in sandbox builds only, on this machine
    /// only.
    #[arg(long, value_name = "URL", value_parser = value::whatsapp, hide = !cfg!(feature = "sandbox"))]
    pub whatsapp_url: Option<String>,

    /// Whether webhooks may go to this machine; set by the sandbox, no setting.
    #[arg(skip)]
    #[serde(skip)]
    pub webhooks_to_loopback: bool,

    /// Whether systemd (or who speaks its protocol) started us and wants to be told; no setting.
    #[arg(skip)]
    #[serde(skip)]
    pub under_systemd: bool,

    /// Device and inode of the journal's stream, `DEVICE:INODE`, when somebody says that output goes
    /// there; no setting.
    #[arg(skip)]
    #[serde(skip)]
    pub journal_stream: Option<String>,
}

impl Config {
    /// All settings as flags, which read and judge their values. The flag's id is the setting's name.
    pub fn settings() -> clap::Command {
        Self::augment_args(clap::Command::new("settings")).no_binary_name(true)
    }

    /// The settings of these words (`--NAME=VALUE`), all others as they are by default.
    pub(super) fn of_flags(flags: Vec<String>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::settings().try_get_matches_from(flags)?)
    }

    /// What links begin with: nothing, or `public_url`.
    pub fn links(&self) -> &str {
        self.public_url.as_deref().unwrap_or_default()
    }

    /// Host, port and path of the WhatsApp server.
    pub fn whatsapp_server(&self) -> crate::error::Result<(String, u16, String)> {
        match &self.whatsapp_url {
            None => Ok(("web.whatsapp.com".into(), 443, "/ws/chat".into())),
            Some(url) => value::loopback_websocket(url).ok_or_else(|| {
                crate::error::Error::invalid("setting whatsapp_url: on this machine only")
            }),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::of_flags(Vec::new()).expect("the defaults are permitted")
    }
}
