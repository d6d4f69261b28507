//! What operators and supervisors ask: health, readiness, metrics, backup.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use serde_json::json;

use super::admit::master_only;
use super::read::{json_object, text};
use super::reply::refuse;
use super::v1::status_word;
use super::{docs, import, keys, route};
use crate::domain::Gateway;
use crate::domain::session::{Session, SessionState};
use crate::domain::vault::check_key;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::http::{HttpMetrics, Method, Mount, MountClaim, Reply, Request, StatusCode};

/// The content type of what a scrape gets.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a form is told.
const ONLY_JSON: &str = "Content-Type must be application/json";

/// Routes that belong to no dialect, and the docs page.
pub fn mount(gateway: &Arc<Gateway>, transport: &Arc<HttpMetrics>) -> Mount {
    let transport = transport.clone();
    let metrics = move |gateway, _| metrics(gateway, transport.clone());
    let mut routes = vec![
        route(gateway, Method::GET, "/health", health),
        route(gateway, Method::GET, "/ping", ping),
        route(gateway, Method::GET, "/ready", ready),
        master_only(gateway, Method::GET, "/metrics", metrics),
        master_only(gateway, Method::POST, "/admin/backup", backup),
    ];
    routes.extend(keys::routes(gateway));
    routes.extend(import::routes(gateway));
    routes.extend(docs::routes(gateway));
    Mount {
        prefix: "",
        claim: MountClaim::everything(),
        routes,
        render: refuse,
    }
}

/// The process answers.
async fn health(_: Arc<Gateway>, _: Request) -> Result<Reply> {
    Ok(Reply::json(StatusCode::OK, &json!({ "status": "ok" })))
}

/// The same in one word, which the monitors of the original's users look for.
async fn ping(_: Arc<Gateway>, _: Request) -> Result<Reply> {
    Ok(Reply::text(StatusCode::OK, "pong"))
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
        // The store told the log when it began, and anybody may ask here as often as they like.
        let answer = json!({ "status": "error", "message": detail });
        return Ok(Reply::json(StatusCode::SERVICE_UNAVAILABLE, &answer));
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
    let connections = gateway
        .sessions()
        .all()
        .into_iter()
        .filter_map(|s| s.connection());
    connections
        .map(|connection| connection.waiting_for_store())
        .sum()
}

/// Figures in the text format of OpenMetrics, which Prometheus reads.
async fn metrics(gateway: Arc<Gateway>, transport: Arc<HttpMetrics>) -> Result<Reply> {
    let mut registry = Registry::default();
    let resident = resident_bytes();
    registry.register(
        "process_resident_memory_bytes",
        "Memory that the process holds",
        ConstGauge::new(resident),
    );
    let warung = registry.sub_registry_with_prefix("warung");
    sessions(&gateway, warung);
    store(&gateway, resident, warung);
    let newest = *gateway.newest_event().borrow();
    gateway.metrics().register(newest, warung);
    transport.register(warung);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(Error::internal)?;
    Ok(Reply::bytes(OPEN_METRICS, text))
}

fn sessions(gateway: &Arc<Gateway>, to: &mut Registry) {
    let by_status = Family::<[(&str, &str); 1], Gauge>::default();
    let all = gateway.sessions().all();
    for state in [
        SessionState::Created,
        SessionState::Connecting,
        SessionState::Pairing,
        SessionState::Connected,
        SessionState::Disconnected,
    ] {
        let of = |s: &&Arc<Session>| status_word(s.state()) == status_word(state);
        let count = all.iter().filter(of).count();
        let gauge = by_status
            .get_or_create(&[("status", status_word(state))])
            .clone();
        gauge.set(count as i64);
    }
    to.register("sessions", "Sessions by their status", by_status);
    let new_contacts = Family::<[(&str, String); 1], Gauge>::default();
    for session in all {
        let last_day = gateway.guard_status(&session).map_or(0, |s| s.last_day);
        // Of most sessions there is nothing to tell.
        if last_day > 0 {
            let name = [("session", session.id.to_string())];
            new_contacts.get_or_create(&name).set(i64::from(last_day));
        }
    }
    to.register(
        "new_contacts_last_day",
        "New contacts that a session wrote to by plain sends in the last 24 hours",
        new_contacts,
    );
}

fn store(gateway: &Arc<Gateway>, resident: u64, to: &mut Registry) {
    let store = gateway.store_stats();
    for (name, help, value) in [
        ("store_operations", "Writes asked for", store.ops),
        ("store_commits", "Transactions", store.commits),
        ("store_fsyncs", "Waits for the disk", store.fsyncs),
        ("store_written_bytes", "Bytes written", store.bytes_written),
    ] {
        to.register(name, help, ConstCounter::new(value));
    }
    let backlog = gateway.backlog().unwrap_or_default();
    let (waiting, degraded) = (store.queue_depth as u64, u64::from(store.degraded));
    for (name, help, value) in [
        (
            "store_file_bytes",
            "Size of the store's file",
            store.file_bytes,
        ),
        ("store_free_bytes", "Free inside of it", store.free_bytes),
        ("store_queue_depth", "Writes that wait", waiting),
        ("store_degraded", "1 while it cannot be written", degraded),
        (
            "inbound_waiting",
            "Reads and writes for what arrives that wait for the store",
            waiting_for_store(gateway) as u64,
        ),
        (
            "webhook_deliveries_waiting",
            "Webhook deliveries that wait, tried or not",
            backlog.deliveries,
        ),
        (
            "downloads_waiting",
            "Downloads of received files that wait",
            backlog.downloads,
        ),
        (
            "unread_messages_waiting",
            "Messages that could not be read and may still come",
            backlog.unread,
        ),
        (
            "campaign_recipients_waiting",
            "Recipients of live campaigns who were not written to yet",
            backlog.campaign_recipients,
        ),
        (
            "resident_bytes",
            "The same as process_resident_memory_bytes",
            resident,
        ),
        (
            "clock_astray_seconds",
            "How far the clock is from what is believed",
            gateway.clock().astray().as_secs(),
        ),
    ] {
        to.register(name, help, ConstGauge::new(value));
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
    let is_form = request.header("content-type").is_some_and(is_form);
    let body = json_object(&mut request).await;
    let body = body.map_err(|error| match error.kind() {
        ErrorKind::Invalid if is_form => Error::new(Code::ContentTypeUnsupported, ONLY_JSON),
        _ => error,
    })?;
    let name = text(&body, "name")?.unwrap_or("warung.redb");
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.bytes().all(harmless) {
        return Err(Error::invalid(
            "name may hold letters, digits, dots, dashes and underscores",
        ));
    }
    let file = gateway.backups()?.join(name);
    check_key(&gateway.config().data, gateway.seal())?;
    gateway.backup(&file).await?;
    let answer = json!({ "status": "success", "file": file.display().to_string() });
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// Whether a body says that it is a form. Clients say so of JSON too, unless they are told otherwise.
fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["application/x-www-form-urlencoded", "multipart/form-data"]
        .iter()
        .any(|form| essence.eq_ignore_ascii_case(form))
}
