//! What operators and supervisors ask: health, readiness, metrics, backup.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::json;

use super::{docs, route, rules};
use crate::domain::Gateway;
use crate::domain::session::{State, word};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Method, Mount, Reply, Request, StatusCode};

/// Routes that belong to no dialect, and the docs page.
pub fn mount(gateway: &Gateway) -> Mount {
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
async fn health(_: Gateway, _: Request) -> Result<Reply> {
    Ok(Reply::json(StatusCode::OK, &json!({ "status": "ok" })))
}

/// Requests that need the store would succeed.
async fn ready(gateway: Gateway, _: Request) -> Result<Reply> {
    if gateway.store.stats().degraded {
        let detail = match waiting_for_store(&gateway) {
            0 => "The store cannot be written now".to_owned(),
            count => format!(
                "The store cannot be written now; {count} messages that arrived wait for it"
            ),
        };
        return Err(Error::new(ErrorKind::Unavailable, detail));
    }
    let astray = gateway.clock.astray().as_secs();
    if astray > 0 {
        // It serves all the same; nothing is removed for its age meanwhile.
        let answer = json!({ "status": "ready", "clockAstraySeconds": astray });
        return Ok(Reply::json(StatusCode::OK, &answer));
    }
    Ok(Reply::json(StatusCode::OK, &json!({ "status": "ready" })))
}

/// How many messages have arrived that cannot be stored yet.
fn waiting_for_store(gateway: &Gateway) -> usize {
    let links = gateway.sessions.all().into_iter().filter_map(|s| s.link());
    links.map(|link| link.waiting_for_store()).sum()
}

fn master_only(gateway: &Gateway, request: &Request) -> Result<()> {
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
async fn metrics(gateway: Gateway, request: Request) -> Result<Reply> {
    master_only(&gateway, &request)?;
    let mut text = String::new();
    let mut put = |name: &str, labels: &str, value: f64| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "warung_{name}{labels} {value}");
    };
    let sessions = gateway.sessions.all();
    for state in [
        State::Created,
        State::Connecting,
        State::Pairing,
        State::Connected,
        State::Disconnected,
    ] {
        let count = sessions
            .iter()
            .filter(|s| word(s.state()) == word(state))
            .count();
        put(
            "sessions",
            &format!("{{status=\"{}\"}}", word(state)),
            count as f64,
        );
    }
    let store = gateway.store.stats();
    for (name, value) in [
        ("store_operations_total", store.ops),
        ("store_commits_total", store.commits),
        ("store_fsyncs_total", store.fsyncs),
        ("store_written_bytes_total", store.bytes_written),
        ("store_file_bytes", store.file_bytes),
        ("store_free_bytes", store.free_bytes),
        ("store_queue_depth", store.queue_depth as u64),
        ("store_degraded", u64::from(store.degraded)),
        ("inbound_waiting", waiting_for_store(&gateway) as u64),
        ("events_total", *gateway.newest_event.borrow()),
        ("resident_bytes", resident_bytes()),
        ("clock_astray_seconds", gateway.clock.astray().as_secs()),
    ] {
        put(name, "", value as f64);
    }
    Ok(Reply::text(StatusCode::OK, text))
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
async fn backup(gateway: Gateway, mut request: Request) -> Result<Reply> {
    master_only(&gateway, &request)?;
    let body = rules::object(&mut request).await?;
    let name = rules::text(&body, "name")?.unwrap_or("warung.redb");
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.bytes().all(harmless) {
        return Err(Error::invalid(
            "name may hold letters, digits, dots, dashes and underscores",
        ));
    }
    let folder = gateway.config.data.join("backups");
    std::fs::create_dir_all(&folder).map_err(|e| {
        Error::new(
            ErrorKind::Unavailable,
            "the folder for backups cannot be made",
        )
        .because(e)
    })?;
    let file: PathBuf = folder.join(name);
    gateway.backup(&file).await?;
    let answer = json!({ "status": "success", "file": file.display().to_string() });
    Ok(Reply::json(StatusCode::OK, &answer))
}
