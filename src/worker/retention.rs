//! Forgetting: events, messages and idempotency keys that are older than the settings say.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::Gateway;

/// How long after the start old rows are looked for first.
const FIRST: Duration = Duration::from_secs(60);

/// How often after that.
const EVERY: Duration = Duration::from_secs(3600);

/// Sweeps until `stop`.
pub async fn run(gateway: Gateway, stop: CancellationToken) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = EVERY,
        }
        match gateway.forget_old(&stop).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old rows removed"),
            Err(error) => tracing::error!(?error, "old rows could not be removed"),
        }
    }
}
