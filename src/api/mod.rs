//! The HTTP APIs: one file or folder per dialect, each a thin adapter to `domain`.

pub mod admin;
mod admit;
pub mod docs;
mod import;
mod keys;
pub mod legacy;
mod pairing;
pub use pairing::terminal as terminal_qr;
mod read;
mod reply;
pub mod v1;

use std::future::Future;
use std::sync::Arc;

use crate::domain::Gateway;
use crate::domain::dialect::Dialect;
use crate::domain::event::delivery::{DueDelivery, Payload};
use crate::error::Result;
use crate::http::{HttpMetrics, Method, Mount, Reply, Request, Route};
use crate::time::Timestamp;

/// All dialects and pages, as the listener serves them.
pub fn mounts(gateway: &Arc<Gateway>, metrics: &Arc<HttpMetrics>) -> Vec<Mount> {
    vec![
        v1::mount(gateway),
        v1::files(gateway),
        legacy::mount(gateway),
        admin::mount(gateway, metrics),
    ]
}

/// What a webhook gets for an event, in the dialect that made it.
pub fn render(
    dialect: Dialect,
    due: &DueDelivery,
    secret: Option<&str>,
    public_url: &str,
    now: Timestamp,
) -> Payload {
    match dialect {
        // The others have no webhooks yet.
        Dialect::V1 | Dialect::OpenWa | Dialect::Kirana | Dialect::ServerWa | Dialect::Wafa => {
            v1::event_json::delivery(due, secret, public_url, now)
        }
    }
}

/// A route whose handler gets the gateway, and admits its callers itself.
fn route<F, Out>(gateway: &Arc<Gateway>, method: Method, path: &'static str, handler: F) -> Route
where
    F: Fn(Arc<Gateway>, Request) -> Out + Clone + Send + Sync + 'static,
    Out: Future<Output = Result<Reply>> + Send + 'static,
{
    let gateway = gateway.clone();
    Route::new(method, path, move |request| {
        handler(gateway.clone(), request)
    })
}
