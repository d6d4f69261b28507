//! Reads the settings: defaults, then the file, then the environment, then the command line.
//!
//! What a setting is stands in `settings`. Whatever gives a value gives it as text, and the flag of
//! that setting reads it: a value is judged by one rule, wherever it comes from.

mod command;
mod file;
mod settings;
mod show;
mod value;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read as _};

use clap::Arg;
use clap::error::ContextKind;

pub use command::{Command, ConfigCommand, ImportCommand, KeysCommand, command_line};
pub use settings::{Config, Legacy, Level, LogFormat, PublicSessions};
pub use value::{Secret, country_code};

use crate::error::{Code, Error, Result};

/// The other names under which seed 001's program knows a setting.
const ALIASES: &[(&str, &str)] = &[
    ("MASTER_API_KEY", "master_key"),
    ("MAX_SESSIONS", "max_sessions"),
    ("WEBHOOK_URL", "webhook_url"),
    ("DEFAULT_COUNTRY_CODE", "default_country_code"),
];

/// What seed 001's program reads besides, and this one has no use for.
const UNNEEDED: &[&str] = &[
    "ADMIN_DASHBOARD_PASSWORD",
    "SESSION_SECRET",
    "TOKEN_ENCRYPTION_KEY",
    "MAINTENANCE_MODE",
    "NODE_ENV",
];

/// The longest file that settings or a secret are read from, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// Where a value was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In the settings file.
    File {
        /// As it was named.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// In a variable, or in the file that a `*_FILE` names.
    Variable(String),
    /// On the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.escape_debug()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A setting as somebody gave it.
struct Given {
    name: String,
    value: String,
    origin: Origin,
}

/// What the program was asked to do, and the settings for it.
#[derive(Debug)]
pub struct Loaded {
    /// What to do.
    pub command: Command,
    /// All settings.
    pub config: Config,
    /// Where those come from that are not as they are by default.
    pub origins: BTreeMap<String, Origin>,
    /// Variables that begin like a setting's and are none. Kubernetes sets such ones for every
    /// service: WARUNG_PORT for one that is called warung.
    pub unknown_variables: Vec<String>,
    /// Variables of the original program that mean nothing here.
    pub unneeded_variables: Vec<&'static str>,
}

/// Reads command line, environment and the files that they name.
pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Loaded> {
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads it")]
    let vars = std::env::vars_os();
    let vars = vars.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    load_from(args, &vars.collect(), |path| {
        let file = std::fs::File::open(path)?;
        let text = io::read_to_string(file.take(LONGEST_FILE + 1))?;
        if text.len() as u64 > LONGEST_FILE {
            return Err(io::Error::other("it is too large for settings"));
        }
        Ok(text)
    })
}

/// The pure part of [`load`]. The error has a line for everything that is wrong.
pub fn load_from(
    args: impl IntoIterator<Item = OsString>,
    env: &BTreeMap<String, OsString>,
    read: impl Fn(&str) -> io::Result<String>,
) -> Result<Loaded> {
    let (command, flags, file) = command::read(args)?;
    if command.is_about_the_program() {
        return Ok(Loaded {
            command,
            config: Config::default(),
            origins: BTreeMap::new(),
            unknown_variables: Vec::new(),
            unneeded_variables: Vec::new(),
        });
    }
    let settings = Config::settings();
    let mut given = Vec::new();
    let all = env
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let (env, empty): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.partition(|(_, value): &(String, OsString)| !value.is_empty());
    let env = &env;
    let mut problems = Vec::new();
    let file = match file {
        Some(path) => Some(path),
        None => variable(env, "WARUNG_CONFIG")
            .transpose()
            .map_err(Error::invalid)?,
    };
    if let Some(path) = file {
        match read(&path) {
            Ok(text) => {
                (given, problems) = file::read(&path, &text, |name| {
                    // What is no setting is told elsewhere.
                    let setting = settings.get_arguments().find(|s| s.get_id() == name);
                    setting.is_none_or(takes_list)
                })
            }
            Err(error) => {
                problems.push(format!("the settings file {path} cannot be read: {error}"))
            }
        }
    }
    // An empty one is one that is not set, but who sets a secret wants to have one.
    let empty = empty
        .into_keys()
        .filter(|name| names_secret(&settings, name));
    problems
        .extend(empty.map(|name| {
            format!("the variable {name} is empty: give it a value, or do not set it")
        }));
    for found in from_environment(&settings, env, read) {
        match found {
            Ok(one) => given.push(one),
            Err(problem) => problems.push(problem),
        }
    }
    given.extend(flags);

    let (mut origins, mut chosen) = (BTreeMap::new(), BTreeMap::new());
    for given in given {
        match judge(&settings, &given) {
            Ok(flag) => {
                origins.insert(given.name.clone(), given.origin);
                chosen.insert(given.name, flag);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Error::new(Code::SettingInvalid, problems.join("\n")));
    }
    let mut config = Config::of_flags(chosen.into_values().collect())
        .map_err(|error| Error::new(Code::SettingInvalid, format!("settings: {}", error.kind())))?;
    config.under_systemd = env.contains_key("NOTIFY_SOCKET");
    let stream = env.get("JOURNAL_STREAM").and_then(|stream| stream.to_str());
    config.journal_stream = stream.map(str::to_owned);
    let unneeded = UNNEEDED.iter().copied();
    let mut unneeded: Vec<_> = unneeded.filter(|name| env.contains_key(*name)).collect();
    if env.contains_key("HOST") && !env.contains_key("PORT") && host_alone(env).is_none() {
        unneeded.push("HOST (no address of this machine, and PORT is not set)");
    }
    let loaded = Loaded {
        command,
        config,
        origins,
        unknown_variables: unknown(&settings, env),
        unneeded_variables: unneeded,
    };
    loaded.check()?;
    Ok(loaded)
}

impl Loaded {
    /// What no single value shows to be wrong.
    fn check(&self) -> Result<()> {
        let sandbox = cfg!(feature = "sandbox");
        let wrong = |text: &'static str| Err(Error::new(Code::SettingInvalid, text));
        match self.command {
            _ if self.config.whatsapp_url.is_some() && !sandbox => wrong(
                "setting whatsapp_url: this build talks to WhatsApp only; a build with the sandbox feature can use another server",
            ),
            Command::Sandbox | Command::Network if !sandbox => wrong(
                "this build has no simulated network; build with: cargo build --features sandbox",
            ),
            Command::Serve if sandbox && self.config.whatsapp_url.is_none() => wrong(
                "a sandbox build does not check WhatsApp's certificate and refuses the real WhatsApp; \
                 use `warung sandbox`, name a simulated network with --whatsapp-url, or build without the feature",
            ),
            _ => Ok(()),
        }
        .map_err(|error| self.located(error))
    }

    /// The error with the place of the setting that it begins with.
    #[must_use]
    pub fn located(&self, error: Error) -> Error {
        let rest = error.detail().strip_prefix("setting ");
        let Some((name, rest)) = rest.and_then(|rest| rest.split_once(": ")) else {
            return error;
        };
        let origin = self.origins.get(name).unwrap_or(&Origin::Default);
        Error::new(
            Code::SettingInvalid,
            format!("setting {name} ({origin}): {rest}"),
        )
    }
}

/// The setting whose value is a URL that may hold a secret.
const HIDES_SECRETS: &str = "webhook_url";

/// Whether the variable gives a secret, itself or in a file.
fn names_secret(settings: &clap::Command, variable: &str) -> bool {
    let aliased = ALIASES.iter().find(|(alias, _)| *alias == variable);
    settings.get_arguments().filter(|s| is_secret(s)).any(|s| {
        let name = s.get_id().as_str();
        let own = command::variable(name);
        aliased.is_some_and(|(_, of)| *of == name)
            || variable.strip_suffix("_FILE").unwrap_or(variable) == own
    })
}

/// Whether the setting's value is a list.
fn takes_list(setting: &Arg) -> bool {
    use std::any::TypeId;
    let lists = [
        TypeId::of::<Vec<String>>(),
        TypeId::of::<Vec<u16>>(),
        TypeId::of::<Vec<std::net::IpAddr>>(),
    ];
    let own = setting.get_value_parser().type_id();
    lists.iter().any(|list| own == *list)
}

/// Whether the setting's value may be shown to nobody.
fn is_secret(setting: &Arg) -> bool {
    setting.get_value_parser().type_id() == std::any::TypeId::of::<Secret>()
}

/// A setting as a flag that was judged, or what is wrong with it.
fn judge(settings: &clap::Command, given: &Given) -> Result<String, String> {
    let Given {
        name,
        value,
        origin,
    } = given;
    let all = || settings.get_arguments();
    let Some(setting) = all().find(|setting| setting.get_id() == name.as_str()) else {
        let meant = suggestion(settings, name).map(|meant| format!("; did you mean {meant}?"));
        let meant = meant.unwrap_or_default();
        let name = name.escape_debug();
        return Err(format!(
            "setting {name} ({origin}): there is none of this name{meant}"
        ));
    };
    let flag = format!("--{}={value}", name.replace('_', "-"));
    // The setting alone: cloning and parsing all of them for each value would be felt at the start.
    let alone = clap::Command::new("setting").no_binary_name(true);
    let Err(error) = alone.arg(setting).try_get_matches_from([&flag]) else {
        return Ok(flag);
    };
    let expected = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(expected), _) => expected.to_string(),
        (None, Some(values)) => format!("one of {values}"),
        (None, None) => "understood".into(),
    };
    let said = match is_secret(setting) || name == HIDES_SECRETS {
        true => "its value".into(),
        false => format!("{value:?}"),
    };
    Err(format!(
        "setting {name} ({origin}): {said} is not {expected}"
    ))
}

/// The setting whose name is most like this one.
fn suggestion(settings: &clap::Command, name: &str) -> Option<String> {
    let flag = format!("--{}", name.replace('_', "-"));
    let error = settings.clone().try_get_matches_from([flag]).err()?;
    let meant = error.get(ContextKind::SuggestedArg)?.to_string();
    Some(meant.trim_start_matches('-').replace('-', "_"))
}

/// A variable's text.
fn variable(env: &BTreeMap<String, OsString>, name: &str) -> Option<Result<String, String>> {
    let value = env.get(name)?.clone().into_string();
    Some(value.map_err(|_| format!("the variable {name} is no text in UTF-8")))
}

/// The settings that variables give, or what is wrong with one.
fn from_environment(
    settings: &clap::Command,
    env: &BTreeMap<String, OsString>,
    read: impl Fn(&str) -> io::Result<String>,
) -> Vec<Result<Given, String>> {
    let given = |name: &str, variable: &str, value: Result<String, String>| {
        value.map(|value| Given {
            name: name.into(),
            value,
            origin: Origin::Variable(variable.into()),
        })
    };
    let mut found = Vec::new();
    for (alias, name) in ALIASES {
        if let Some(value) = variable(env, alias) {
            found.push(given(name, alias, value));
        }
    }
    if let Some(port) = variable(env, "PORT") {
        let host = variable(env, "HOST");
        let origin = if host.is_some() {
            "HOST and PORT"
        } else {
            "PORT"
        };
        // Who sets only PORT, as the original's users and many hosts do, means every address.
        let host = host.unwrap_or_else(|| Ok("0.0.0.0".into()));
        let listen = host.and_then(|host| listen_of(&host, &port?));
        found.push(given("listen", origin, listen));
    } else if let Some(listen) = host_alone(env) {
        found.push(given("listen", "HOST", Ok(listen)));
    }
    for setting in settings.get_arguments() {
        let name = setting.get_id().as_str();
        let direct = command::variable(name);
        let value = variable(env, &direct);
        let in_file = format!("{direct}_FILE");
        let path = variable(env, &in_file).filter(|_| is_secret(setting));
        match (value, path) {
            (None, None) => {}
            (Some(value), None) => found.push(given(name, &direct, value)),
            (Some(_), Some(_)) => {
                found.push(Err(format!(
                    "{direct} and {in_file} are both set; one will do"
                )));
            }
            (None, Some(path)) => {
                let secret = path.and_then(|path| {
                    let wrong = |why: &dyn fmt::Display| format!("{in_file}: {path}: {why}");
                    let text = read(&path).map_err(|error| wrong(&error))?;
                    match text.trim_end_matches(['\n', '\r']) {
                        "" => Err(wrong(&"it is empty")),
                        secret => Ok(secret.to_owned()),
                    }
                });
                found.push(given(name, &in_file, secret));
            }
        }
    }
    found
}

/// Where `HOST` without `PORT` has it listen, at the usual port. Shells set it to the machine's name,
/// which means nothing here: only an address does, and `localhost`.
fn host_alone(env: &BTreeMap<String, OsString>) -> Option<String> {
    let host = variable(env, "HOST")?.ok()?;
    let usual = Config::default().listen;
    let (_, port) = usual.rsplit_once(':')?;
    let listen = listen_of(&host, port).ok()?;
    value::listen(&listen).ok()
}

/// The address of a host and a port; a port that is an address already stands for itself.
fn listen_of(host: &str, port: &str) -> Result<String, String> {
    if port.contains(':') {
        return Ok(port.into());
    }
    if port.parse::<u16>().is_err() {
        return Err(format!(
            "the variable PORT: {port:?} is not a port number from 0 to 65535"
        ));
    }
    Ok(match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    })
}

/// Variables that look like settings and are none.
fn unknown(settings: &clap::Command, env: &BTreeMap<String, OsString>) -> Vec<String> {
    let known = |variable: &str| {
        variable == "WARUNG_CONFIG"
            || settings.get_arguments().any(|setting| {
                let name = command::variable(setting.get_id().as_str());
                variable == name || is_secret(setting) && variable == format!("{name}_FILE")
            })
    };
    let ours = env.keys().filter(|name| name.starts_with("WARUNG_"));
    ours.filter(|name| !known(name)).cloned().collect()
}

#[cfg(test)]
mod tests;
