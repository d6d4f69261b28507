//! What operators and supervisors ask: health, readiness, metrics, backup.

use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::v1::status_word;
use super::{docs, route, rules};
use crate::at_rest;
use crate::domain::Gateway;
use crate::domain::session::{Session, State};
use crate::domain::vault::private_folder;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Method, Metrics, Mount, Reply, Request, StatusCode};

/// Routes that belong to no dialect, and the docs page.
pub fn mount(gateway: &Arc<Gateway>, transport: &Arc<Metrics>) -> Mount {
    let transport = transport.clone();
    let metrics = move |gateway, request| metrics(gateway, request, transport.clone());
    let mut routes = vec![
        route(gateway, Method::GET, "/health", health),
        route(gateway, Method::GET, "/ready", ready),
        route(gateway, Method::GET, "/metrics", metrics),
        route(gateway, Method::POST, "/admin/backup", backup),
    ];
    routes.extend(docs::routes(gateway));
    Mount {
        prefix: "",
        routes,
        render: rules::refuse,
    }
}

/// The process answers.
async fn health(_: Arc<Gateway>, _: Request) -> Result<Reply> {
    Ok(Reply::json(StatusCode::OK, &json!({ "status": "ok" })))
}

/// Requests that need the store would succeed.
async fn ready(gateway: Arc<Gateway>, _: Request) -> Result<Reply> {
    if gateway.store_stats().degraded {
        let detail = match waiting_for_store(&gateway) {
            0 => "The store cannot be written now".to_owned(),
            count => format!(
                "The store cannot be written now; {count} messages that arrived wait for it"
            ),
        };
        return Err(Error::new(ErrorKind::Unavailable, detail));
    }
    let astray = gateway.clock().astray().as_secs();
    if astray > 0 {
        // It serves all the same; nothing is removed for its age meanwhile.
        let answer = json!({ "status": "ready", "clockAstraySeconds": astray });
        return Ok(Reply::json(StatusCode::OK, &answer));
    }
    Ok(Reply::json(StatusCode::OK, &json!({ "status": "ready" })))
}

/// How many messages have arrived that cannot be stored yet.
fn waiting_for_store(gateway: &Arc<Gateway>) -> usize {
    let links = gateway
        .sessions()
        .all()
        .into_iter()
        .filter_map(|s| s.link());
    links.map(|link| link.waiting_for_store()).sum()
}

fn master_only(gateway: &Arc<Gateway>, request: &Request) -> Result<()> {
    let key = request.header("x-master-key").or_else(|| request.bearer());
    if key.is_some_and(|key| gateway.is_master_key(key)) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unauthorized,
        "Master API key required",
    ))
}

/// Figures in Prometheus' text format; the master key as `X-Master-Key` or bearer.
async fn metrics(
    gateway: Arc<Gateway>,
    request: Request,
    transport: Arc<Metrics>,
) -> Result<Reply> {
    master_only(&gateway, &request)?;
    let mut figures = Figures(String::new());
    figures.sessions(&gateway);
    figures.store(&gateway);
    figures.transport(&transport);
    Ok(Reply::text(StatusCode::OK, figures.0))
}

/// The text that a scrape gets.
struct Figures(String);

impl Figures {
    /// Says what a name means. Names that end in `_total` only grow.
    fn name(&mut self, name: &str, help: &str) {
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            self.0,
            "# HELP warung_{name} {help}\n# TYPE warung_{name} {kind}"
        );
    }

    fn value(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "warung_{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, help: &str, value: u64) {
        self.name(name, help);
        self.value(name, "", value);
    }

    fn sessions(&mut self, gateway: &Arc<Gateway>) {
        let sessions = gateway.sessions().all();
        self.name("sessions", "Sessions by their status.");
        for state in [
            State::Created,
            State::Connecting,
            State::Pairing,
            State::Connected,
            State::Disconnected,
        ] {
            let of = |s: &&Arc<Session>| status_word(s.state()) == status_word(state);
            let count = sessions.iter().filter(of).count();
            let labels = format!("{{status=\"{}\"}}", status_word(state));
            self.value("sessions", &labels, count as u64);
        }
    }

    fn store(&mut self, gateway: &Arc<Gateway>) {
        let store = gateway.store_stats();
        let (waiting, degraded) = (store.queue_depth as u64, u64::from(store.degraded));
        let newest = *gateway.newest_event().borrow();
        for (name, help, value) in [
            ("store_operations_total", "Writes asked for.", store.ops),
            ("store_commits_total", "Transactions.", store.commits),
            ("store_fsyncs_total", "Waits for the disk.", store.fsyncs),
            (
                "store_written_bytes_total",
                "Bytes written.",
                store.bytes_written,
            ),
            ("store_file_bytes", "Size of the file.", store.file_bytes),
            ("store_free_bytes", "Free inside of it.", store.free_bytes),
            ("store_queue_depth", "Writes that wait.", waiting),
            ("store_degraded", "1 while it cannot be written.", degraded),
            ("events_total", "The newest event's number.", newest),
            (
                "inbound_waiting",
                "Reads and writes for what arrives that wait for the store.",
                waiting_for_store(gateway) as u64,
            ),
            (
                "webhook_deliveries_waiting",
                "Webhook deliveries that wait, tried or not.",
                gateway.deliveries_waiting().unwrap_or(0),
            ),
            ("resident_bytes", "Memory of the process.", resident_bytes()),
            (
                "clock_astray_seconds",
                "How far the clock is from what is believed.",
                gateway.clock().astray().as_secs(),
            ),
        ] {
            self.one(name, help, value);
        }
    }

    fn transport(&mut self, http: &Metrics) {
        self.name(
            "http_responses_total",
            "Answers by the class of their status.",
        );
        for class in 1..=5 {
            let labels = format!("{{class=\"{class}xx\"}}");
            self.value("http_responses_total", &labels, http.answered(class));
        }
        let (full, busy) = (http.refused_connections(), http.refused_requests());
        for (name, help, value) in [
            ("http_connections_total", "Accepted.", http.accepted()),
            ("http_connections", "Open now.", http.open()),
            (
                "http_requests_under_way",
                "Not answered yet.",
                http.in_flight(),
            ),
            (
                "http_refused_connections_total",
                "The address had enough.",
                full,
            ),
            (
                "http_refused_requests_total",
                "Enough were under way.",
                busy,
            ),
            (
                "http_failed_logins_total",
                "Wrong credentials.",
                http.failed_logins(),
            ),
            (
                "http_panics_total",
                "Handlers that panicked.",
                http.panics(),
            ),
        ] {
            self.one(name, help, value);
        }
    }
}

/// Memory that the process holds, as Linux counts it; 0 elsewhere.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Writes a consistent copy of the store and its files beside it: `backups/NAME` and
/// `backups/NAME.media` in the data folder.
///
/// The client names no path: only a file name of harmless letters is taken.
async fn backup(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    master_only(&gateway, &request)?;
    let body = rules::object(&mut request).await?;
    let name = rules::text(&body, "name")?.unwrap_or("warung.redb");
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.bytes().all(harmless) {
        return Err(Error::invalid(
            "name may hold letters, digits, dots, dashes and underscores",
        ));
    }
    let folder = gateway.config().data.join("backups");
    private_folder(&folder)?;
    // An older version made it for everybody.
    let _ = std::fs::set_permissions(&folder, Permissions::from_mode(0o700));
    let file: PathBuf = folder.join(name);
    at_rest::check_key(gateway.config(), gateway.seal())?;
    gateway.backup(&file).await?;
    let answer = json!({ "status": "success", "file": file.display().to_string() });
    Ok(Reply::json(StatusCode::OK, &answer))
}
