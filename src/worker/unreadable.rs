//! Telling of messages that could not be read and did not come again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::Gateway;

/// How many are told at once.
const AT_ONCE: usize = 32;

/// Tells until `stop`.
pub async fn run(gateway: Arc<Gateway>, stop: CancellationToken) {
    loop {
        let ready = tokio::select! {
            () = stop.cancelled() => return,
            ready = gateway.unreadable_queue().ready() => ready,
        };
        if let Err(error) = report_due(&gateway, ready).await {
            tracing::error!(?error, "messages that could not be read cannot be told");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }
}

async fn report_due(
    gateway: &Arc<Gateway>,
    ready: crate::error::Result<()>,
) -> crate::error::Result<()> {
    ready?;
    for claim in gateway.unreadable_queue().claim(AT_ONCE)? {
        gateway.report_unreadable(claim).await?;
    }
    Ok(())
}
