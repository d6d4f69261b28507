//! Fetching the files of messages for sessions that asked for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::domain::Gateway;

/// How many files are fetched at the same time.
const AT_ONCE: usize = 4;

/// Fetches until `stop`; a download that is under way is finished or begun anew by the next start.
pub async fn run(gateway: Arc<Gateway>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    while !stop.is_cancelled() {
        let ready = tokio::select! {
            () = stop.cancelled() => return,
            ready = gateway.download_queue().ready() => ready,
        };
        match ready.and_then(|()| gateway.download_queue().claim(AT_ONCE)) {
            Ok(claims) => {
                for claim in claims {
                    let slot = tokio::select! {
                        () = stop.cancelled() => return,
                        slot = slots.clone().acquire_owned() => slot,
                    };
                    let (Ok(slot), inner) = (slot, gateway.clone()) else {
                        return;
                    };
                    let stop = stop.clone();
                    gateway.tasks().spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            done = inner.download_claimed(claim) => if let Err(error) = done {
                                tracing::error!(?error, "a download could not be read or recorded");
                                tokio::time::sleep(Duration::from_secs(1)).await;
                            }
                        }
                        drop(slot);
                    });
                }
            }
            Err(error) => {
                tracing::error!(?error, "downloads cannot be read");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
