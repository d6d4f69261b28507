//! The command line: commands, and the settings as flags of all of them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, FromArgMatches, Subcommand};

use super::{Config, Given, Origin};
use crate::error::{Code, Error, Result};
use crate::version;

/// What the program is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the gateway (this is the default).
    Serve,
    /// Show a session's QR code here until it is scanned.
    Pair {
        /// The session's name.
        session: String,
    },
    /// Send a text: 0 says that WhatsApp has it, 1 that it was not sent, 2 that nobody knows.
    Send(SendCommand),
    /// Verify the store; exit 1 when something is wrong.
    Check,
    /// Write a consistent copy of store and files, sealed under secret.key.
    Backup {
        /// Where to; the files go to FILE.media.
        file: PathBuf,
    },
    /// Make a store of a backup, in a data folder that holds only its secret.key.
    Restore {
        /// What `warung backup` wrote.
        file: PathBuf,
    },
    /// Move in from Super-Light or another gateway on Baileys: no phone scans a QR code again.
    Import(ImportCommand),
    /// Exit 0 when the running gateway answers.
    Healthcheck,
    /// Tell what this host lacks, and whether a URL can be reached.
    SelfCheck {
        /// A webhook's, say; nothing is sent to it.
        url: Option<String>,
    },
    /// Make, list or revoke the keys of callers of the running gateway.
    #[command(subcommand)]
    Key(KeysCommand),
    /// Check or show the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Tell what this program is and what it was built of.
    Version {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show all licences and notices, and where the source is.
    Licenses,
    /// Run the gateway on a simulated WhatsApp network.
    #[command(hide = !cfg!(feature = "sandbox"))]
    Sandbox,
    /// Run only the simulated WhatsApp network.
    #[command(hide = !cfg!(feature = "sandbox"))]
    Network,
    /// Write completions and man pages of the release into a folder.
    // Here, because a release is packed on a machine that may not be able to run it, while its
    // sandbox build is made beside it, and what writes them stays out of the release.
    #[cfg(feature = "sandbox")]
    #[command(hide = true)]
    Manual {
        /// It is made.
        folder: PathBuf,
    },
    /// Print this: a help text.
    #[command(skip)]
    Print(String),
}

/// What to send: `[SESSION] TO TEXT`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(override_usage = "warung send [OPTIONS] [SESSION] TO TEXT")]
pub struct SendCommand {
    /// The session, which may be left out when there is only one; whom to, and the text.
    #[arg(num_args = 2..=3, required = true, value_names = ["SESSION", "TO", "TEXT"])]
    words: Vec<String>,
}

impl SendCommand {
    /// The session, if one is named.
    pub fn session(&self) -> Option<&str> {
        self.words.iter().rev().nth(2).map(String::as_str)
    }

    /// Whom to: a number, or the id of a group.
    pub fn to(&self) -> &str {
        self.words.iter().rev().nth(1).map_or("", String::as_str)
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.words.last().map_or("", String::as_str)
    }
}

/// What to move in, and how.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ImportCommand {
    /// The folder of Super-Light, one of Baileys (with creds.json), or one that holds such folders.
    pub folder: PathBuf,
    /// Change nothing, and print the report all the same.
    #[arg(long)]
    pub dry_run: bool,
    /// The name that the account of a folder of Baileys gets (default: the folder's name).
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// Put sessions in the place of those of the same name that are here, and of all they have.
    #[arg(long)]
    pub replace: bool,
    /// Leave out what has a problem, and import the rest.
    #[arg(long)]
    pub skip_problems: bool,
    /// Import although the other program seems to run.
    #[arg(long)]
    pub even_if_running: bool,
}

/// What to do with keys.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum KeysCommand {
    /// Make a key and show it, once.
    Create {
        /// What people call it.
        name: String,
        /// What it may do: admin, send, broadcast, config, ai, media, webhook, read.
        #[arg(
            long = "scope",
            value_name = "SCOPE",
            required = true,
            value_delimiter = ','
        )]
        scopes: Vec<String>,
        /// The only session that it opens; without it, every one.
        #[arg(long)]
        session: Option<String>,
        /// The dialect in which it is shown.
        #[arg(long, default_value = "v1")]
        dialect: String,
    },
    /// List all keys, without themselves.
    List,
    /// End a key at once.
    Revoke {
        /// As it is listed.
        id: String,
    },
}

/// What to do with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Exit 0 when the gateway would start with these settings, 1 and why when it would not.
    Check,
    /// Print the settings as they hold now, as TOML, and where each comes from.
    Show,
}

impl Command {
    /// Whether it serves until it is told to stop.
    pub fn serves(&self) -> bool {
        matches!(self, Self::Serve | Self::Sandbox | Self::Network)
    }

    /// Whether it needs no settings, and works when they are wrong.
    pub(super) fn is_about_the_program(&self) -> bool {
        match self {
            #[cfg(feature = "sandbox")]
            Self::Manual { .. } => true,
            Self::Version { .. } | Self::Print(_) => true,
            _ => false,
        }
    }
}

/// The settings that each command's help shows. All of them at each command would be a wall: `warung
/// serve --help` shows it once.
const EVERYWHERE: [&str; 3] = ["listen", "data", "log"];

const MORE: &str = "All settings are flags of every command; `warung serve --help` shows them.";

/// The name of a setting in the environment.
pub(super) fn variable(name: &str) -> String {
    format!("WARUNG_{}", name.to_uppercase())
}

/// A setting as a flag. Its value is judged later, with those of other places, by one set of words
/// that does not repeat a secret.
fn flag(setting: &Arg) -> Arg {
    let name = setting.get_id().as_str();
    let help = setting.get_help().map(ToString::to_string);
    let help = format!("{} [env: {}]", help.unwrap_or_default(), variable(name));
    let flag = setting.clone().help(help).long_help(None::<&str>);
    let flag = flag.value_parser(clap::value_parser!(String));
    // Underscores, as in the file, were always understood.
    let flag = match name.contains('_') {
        true => flag.alias(setting.get_id().clone()),
        false => flag,
    };
    let empty = setting
        .get_default_values()
        .iter()
        .all(|value| value.is_empty());
    flag.hide_default_value(empty).allow_hyphen_values(true)
}

/// The whole command line.
pub fn command_line() -> clap::Command {
    let settings = Config::settings();
    let file = Arg::new("config").long("config").value_name("FILE");
    let file = file.help("Settings in TOML [env: WARUNG_CONFIG]");
    let short = |setting| {
        let flag = flag(setting).global(true);
        let shown = EVERYWHERE.contains(&setting.get_id().as_str());
        if shown { flag } else { flag.hide(true) }
    };
    let long = settings.get_arguments().map(flag);
    let root = clap::Command::new("warung")
        .version(version::version())
        .propagate_version(true)
        .arg(file.allow_hyphen_values(true).global(true))
        .args(settings.get_arguments().map(short))
        .args_override_self(true)
        .after_help(MORE);
    let root = Command::augment_subcommands(root).about("A WhatsApp gateway in one file");
    root.mut_subcommand("serve", |serve| {
        serve.args(long).after_help(
            "Defaults, then the file, then the environment, then flags. In the file a setting is called\n\
             max_sessions, say. A secret can also be read from a file that WARUNG_MASTER_KEY_FILE or\n\
             WARUNG_WEBHOOK_SECRET_FILE names.",
        )
    })
}

/// What was asked for, the settings that are given as flags, and the file that is named.
pub(super) fn read(
    args: impl IntoIterator<Item = OsString>,
) -> Result<(Command, Vec<Given>, Option<String>)> {
    let args = std::iter::once("warung".into()).chain(args);
    let found = match command_line().try_get_matches_from(args) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            return Ok((Command::Print(version::line()), Vec::new(), None));
        }
        Err(error) if !error.use_stderr() => {
            let text = error.render().to_string();
            return Ok((Command::Print(text), Vec::new(), None));
        }
        Err(error) => return Err(explain(&error)),
    };
    let command = match found.subcommand_name() {
        None => Command::Serve,
        Some(_) => Command::from_arg_matches(&found).map_err(|error| explain(&error))?,
    };
    let settings = Config::settings();
    let names = settings.get_arguments().map(|arg| arg.get_id().as_str());
    let given = names.filter_map(|name| {
        Some(Given {
            name: name.to_owned(),
            value: on_command_line(&found, name)?,
            origin: Origin::Flag(format!("--{}", name.replace('_', "-"))),
        })
    });
    Ok((command, given.collect(), on_command_line(&found, "config")))
}

fn on_command_line(found: &ArgMatches, name: &str) -> Option<String> {
    let said = found.value_source(name) == Some(ValueSource::CommandLine);
    said.then(|| found.get_one::<String>(name).cloned())
        .flatten()
}

/// One sentence for a command line that is not understood.
fn explain(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    // The second kind is the first with a flag behind it.
    let needs_more = [
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ErrorKind::MissingSubcommand,
    ];
    if needs_more.contains(&error.kind()) {
        let needs = match text.contains("warung key") {
            true => "warung key needs create, list or revoke; see warung key --help",
            false => "warung config needs check or show; see warung config --help",
        };
        return Error::new(Code::SettingInvalid, needs);
    }
    let too_few = [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::TooFewValues,
        ErrorKind::WrongNumberOfValues,
    ];
    if too_few.contains(&error.kind()) && text.contains("warung send") {
        let given = error.get(ContextKind::ActualNumValues);
        let missing = match given {
            Some(ContextValue::Number(1)) => "the TEXT is missing",
            _ => "TO and TEXT are missing: whom to write to, and what",
        };
        return Error::new(Code::SettingInvalid, format!("{missing}; {SEND_LIKE_THIS}"));
    }
    // Behind it come usage and advice, in paragraphs.
    let problem = text.trim_start_matches("error: ").split("\n\n").next();
    let words: Vec<&str> = problem.unwrap_or_default().split_whitespace().collect();
    let mut said = words.join(" ");
    if let Some(word) = error.get(ContextKind::InvalidSubcommand) {
        said = format!("unknown command: {word}");
    }
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(word) = error.get(ContextKind::InvalidArg)
    {
        let word = word.to_string();
        if let Some(hint) = hint(&word) {
            return Error::new(Code::SettingInvalid, format!("there is no {word}: {hint}"));
        }
        said = match word.starts_with('-') {
            true => format!("there is no {word}"),
            false => format!("{word} is one argument too many"),
        };
    }
    if error.kind() == ErrorKind::TooManyValues
        && let Some(word) = error.get(ContextKind::InvalidValue)
    {
        said = format!("{word} is one argument too many");
    }
    let meant = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg];
    if let Some(meant) = meant.into_iter().find_map(|kind| error.get(kind)) {
        said = format!("{said}; did you mean {meant}?");
    }
    Error::new(Code::SettingInvalid, format!("{said}; see warung --help"))
}

/// What is said when a word of `send` is missing.
const SEND_LIKE_THIS: &str = "write it like this: warung send 6281234567890 'Hello' (with several sessions, the session comes \
                              first: warung send shop 6281234567890 'Hello')";

/// What somebody means by a flag that other programs have.
fn hint(flag: &str) -> Option<&'static str> {
    Some(match flag {
        "--port" | "-p" | "--host" => {
            "--listen ADDR:PORT sets address and port, such as --listen 127.0.0.1:8080"
        }
        "-v" => "-V or `warung version` shows the version; --log debug tells more",
        "--verbose" | "--debug" => "--log debug tells more",
        "-d" | "--daemon" => {
            "it stays in the foreground; a supervisor such as systemd runs it in the background"
        }
        "-c" => "--config FILE names the settings",
        _ => return None,
    })
}
