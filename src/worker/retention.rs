//! Forgetting: events, messages and idempotency keys that are older than the settings say.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::Gateway;

/// How long after the start old rows are looked for first.
const FIRST: Duration = Duration::from_secs(60);

/// How often after that.
const EVERY: Duration = Duration::from_secs(3600);

/// How often the clock is looked at, so that a jump is noticed and said.
const LOOK: Duration = Duration::from_secs(60);

/// How often the time is noted, so that the next run knows it.
const NOTE: Duration = Duration::from_secs(600);

/// How often the file is measured, and made smaller when most of it is free. It reads all of it.
const MEASURE: Duration = Duration::from_secs(24 * 3600);

/// Sweeps until `stop`.
pub async fn run(gateway: Arc<Gateway>, stop: CancellationToken) {
    let (mut sweep, mut note) = (Instant::now() + FIRST, Instant::now());
    let mut measure = Instant::now() + EVERY;
    loop {
        gateway.clock().seen();
        if note <= Instant::now() {
            note = Instant::now() + NOTE;
            if let Err(error) = gateway.note_time().await {
                tracing::error!(?error, "the time could not be noted");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if Instant::now() < sweep {
            continue;
        }
        sweep = Instant::now() + EVERY;
        match gateway.forget_old(&stop).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old rows removed"),
            Err(error) => tracing::error!(?error, "old rows could not be removed"),
        }
        if measure <= Instant::now() {
            measure = Instant::now() + MEASURE;
            if let Err(error) = gateway.store().give_space_back().await {
                tracing::error!(?error, "the store could not be measured");
            }
        }
    }
}
