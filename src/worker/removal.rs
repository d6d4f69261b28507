//! Removing the rows of what was deleted, in the background.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::{Gateway, removal};

/// Removes until `stop`; what is left then is taken up by the next start.
pub async fn run(gateway: Arc<Gateway>, stop: CancellationToken) {
    let signal = removal::signal(gateway.store());
    let mut patience = Duration::from_secs(1);
    while !stop.is_cancelled() {
        let mut woken = pin!(signal.notified());
        // Before looking: what is marked while we look wakes us too.
        woken.as_mut().enable();
        let pause = match gateway.remove_marked(&stop).await {
            Ok(()) => {
                patience = Duration::from_secs(1);
                Duration::from_secs(3600)
            }
            Err(error) => {
                tracing::error!(?error, "what was deleted cannot be removed yet");
                patience = (patience * 2).min(Duration::from_secs(60));
                patience
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            // Whoever marks something has a store that works.
            () = woken => patience = Duration::from_secs(1),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
