//! The gateway that runs on the data folder, asked over HTTP by the other commands.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{absolute, local_url};
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::http::{Listen, Method};
use crate::net::client::{Client, OutBody, OutgoingRequest, Policy, Timeouts};
use crate::server::{noted_address, own_socket, store_file};
use crate::store;

/// What is said without the master key, and with another one.
const NO_KEY: &str = "the gateway's master key is needed: set WARUNG_MASTER_KEY or WARUNG_MASTER_KEY_FILE as the gateway has it \
                      (a key that the gateway made is in master.key in its data folder)";
const WRONG_KEY: &str = "the master key is wrong, the gateway has another one: set WARUNG_MASTER_KEY or WARUNG_MASTER_KEY_FILE as the \
                         gateway has it (a key that the gateway made is in master.key in its data folder)";

/// How long the gateway may work at what was handed to it.
const LONG: Duration = Duration::from_secs(1800);

/// The largest answer, in bytes: the report of an import names each campaign and each list.
const MAX_ANSWER: usize = 64 << 20;

/// Succeeds when the running gateway answers.
pub async fn healthcheck(config: &Config) -> Result<()> {
    Running::of(config)?
        .ask(Method::GET, "/health", None)
        .await
        .map(|_| ())
}

/// The gateway that has the data folder open, asked with its master key.
pub(super) struct Running {
    client: Client,
    /// Where the client asks.
    url: String,
    /// Where it listens for everybody, as it said itself.
    listens: Listen,
    key: String,
    /// What is said when the gateway does not take the key.
    wrong_key: &'static str,
}

impl Running {
    /// The gateway that runs; an error that says where it was looked for when none does.
    pub(super) fn of(config: &Config) -> Result<Self> {
        Self::find(config)?.ok_or_else(|| nobody_runs(&config.data))
    }

    /// The gateway that runs, if one does.
    ///
    /// Hazard: only the lock on the store says so. On a shared machine a stranger may hold the port
    /// while the gateway is down, and what a killed gateway noted stays.
    pub(super) fn find(config: &Config) -> Result<Option<Self>> {
        Self::find_within(config, Timeouts::default())
    }

    /// The same for what takes the gateway long.
    pub(super) fn find_for_long(config: &Config) -> Result<Option<Self>> {
        let timeouts = Timeouts {
            head: LONG,
            ..Timeouts::default()
        };
        Self::find_within(config, timeouts)
    }

    fn find_within(config: &Config, timeouts: Timeouts) -> Result<Option<Self>> {
        match store::is_in_use(&store_file(config)) {
            Ok(true) => Self::ask_at(config, timeouts).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(unreadable(&config.data, error)),
        }
    }

    fn ask_at(config: &Config, timeouts: Timeouts) -> Result<Self> {
        let listens = match noted_address(config) {
            Some(listen) => listen,
            None => config.listen.parse()?,
        };
        // The gateway may listen on any port of any address of this machine.
        let mut allow = config.allow_private.clone();
        if let Listen::Tcp(address) = &listens {
            allow.push(address.ip().to_string());
        }
        let policy = Policy::new(&allow, &config.dns_servers)?.with_loopback(true);
        let policy = policy.with_timeouts(timeouts);
        let (key, wrong_key) = master_key(config)?;
        // The socket that strangers do not reach comes first; it lies there while a gateway runs.
        let own = Some(own_socket(config)).filter(|path| path.exists());
        let path = match &listens {
            Listen::Unix { path, .. } => Some(own.unwrap_or_else(|| path.clone())),
            Listen::Tcp(_) => own,
        };
        let (client, url) = match path {
            Some(path) => (
                Client::over_unix(policy, &path)?,
                "http://localhost".to_owned(),
            ),
            None => (
                Client::new(policy)?,
                local_url(&format!("http://{listens}")),
            ),
        };
        Ok(Self {
            client,
            url,
            listens,
            key,
            wrong_key,
        })
    }

    /// The beginning of a curl command that reaches it from this machine, up to the path.
    pub(super) fn curl(&self) -> String {
        match &self.listens {
            Listen::Tcp(address) => {
                format!("curl '{}", local_url(&format!("http://{address}")))
            }
            Listen::Unix { path, .. } => {
                let path = path.display();
                format!("curl --unix-socket '{path}' 'http://localhost")
            }
        }
    }

    /// The port that it listens on, if it is one.
    pub(super) fn port(&self) -> Option<u16> {
        match &self.listens {
            Listen::Tcp(address) => Some(address.port()),
            Listen::Unix { .. } => None,
        }
    }

    /// Posts a large body, and answers the JSON: of a success, or of a conflict that tells more than a
    /// sentence.
    pub(super) async fn upload(&self, path: &str, body: OutBody) -> Result<Value> {
        let request = OutgoingRequest {
            method: Method::POST,
            url: format!("{}{path}", self.url),
            headers: vec![
                ("content-type".into(), "application/x-tar".into()),
                ("x-master-key".into(), self.key.clone()),
            ],
            body,
        };
        let (status, answer) = self.exchange(request).await?;
        match status {
            409 if answer["lines"].is_array() => Ok(answer),
            _ => self.judged(status, answer),
        }
    }

    /// Asks, and answers the JSON of a success.
    ///
    /// # Errors
    /// What it refused as not valid is [`Code::InvalidRequest`], what is not there
    /// [`Code::NotFound`], what it did not get in time from WhatsApp [`Code::QrNotReady`]; other
    /// refusals are [`Code::GatewayRefused`].
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
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
        let (status, answer) = self.exchange(request).await?;
        self.judged(status, answer)
    }

    async fn exchange(&self, request: OutgoingRequest) -> Result<(u16, Value)> {
        let unreachable = |text: String| Error::new(Code::GatewayUnreachable, text);
        let response = self.client.send(request).await.map_err(|e| {
            let at = &self.listens;
            unreachable(format!(
                "the data folder is in use, but no gateway answers at {at}: it may be starting or stopping, \
                 or another warung command is at work there; try again"
            ))
            .because(e)
        })?;
        let status = response.status().as_u16();
        let answer: Value = serde_json::from_slice(&response.collect(MAX_ANSWER).await?)
            .map_err(|_| unreachable(format!("what answers at {} is no gateway", self.listens)))?;
        Ok((status, answer))
    }

    fn judged(&self, status: u16, answer: Value) -> Result<Value> {
        let refused = || answer["message"].as_str().unwrap_or("refused").to_owned();
        match status {
            ..300 => Ok(answer),
            401 | 403 => Err(Error::new(Code::MasterKeyInvalid, self.wrong_key)),
            400 => Err(Error::new(Code::InvalidRequest, refused())),
            404 => Err(Error::new(Code::NotFound, refused())),
            504 => Err(Error::new(Code::QrNotReady, refused())),
            _ => Err(Error::new(Code::GatewayRefused, refused())),
        }
    }
}

/// The master key that this command has, and what is said when the gateway does not take it.
fn master_key(config: &Config) -> Result<(String, &'static str)> {
    if let Some(key) = &config.master_key {
        return Ok((key.to_string(), WRONG_KEY));
    }
    match std::fs::read_to_string(config.data.join("master.key")) {
        Ok(key) => Ok((key.trim().to_owned(), WRONG_KEY)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((String::new(), NO_KEY)),
        Err(error) => Err(unreadable(&config.data, error)),
    }
}

fn nobody_runs(data: &Path) -> Error {
    let there = if data.is_dir() {
        ""
    } else {
        ", which does not exist"
    };
    let text = format!(
        "no gateway runs on the data folder {}{there}: start one with `warung serve`, or name the folder of the one \
         that runs with --data (or --config, as it has it)",
        absolute(data).display()
    );
    Error::new(Code::GatewayUnreachable, text)
}

fn unreadable(data: &Path, error: io::Error) -> Error {
    let folder = absolute(data);
    let text = match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "permission denied: the data folder {} belongs to another user; run this as that user, or as root",
            folder.display()
        ),
        _ => format!(
            "the data folder {} cannot be read: {error}",
            folder.display()
        ),
    };
    Error::new(Code::PathUnusable, text).because(error)
}
