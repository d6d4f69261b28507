//! Writing how often keys were used: not with each request, and once more when the program stops.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::Gateway;

/// How long uses are counted in memory; a crash loses that much of the counters.
const EVERY: Duration = Duration::from_secs(5);

/// Writes until `stop`. While no key is used nothing happens.
pub async fn run(gateway: Arc<Gateway>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = gateway.key_used() => {}
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        write(&gateway).await;
    }
    // What was used while the last ones were written.
    write(&gateway).await;
}

async fn write(gateway: &Gateway) {
    if let Err(error) = gateway.write_key_uses().await {
        tracing::warn!(?error, "how often keys were used cannot be written now");
    }
}
