//! What systemd is told: that the gateway serves, that it lives, that it stops.
//!
//! The unit is of `Type=notify`: it counts as started when requests are served, and it is started
//! again when it falls silent. Without systemd nobody is told anything.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::domain::Gateway;
use crate::domain::session::SessionState;
use crate::store::Durability;

/// How often the status line is looked at when systemd wants no sign of life.
const STATUS_EVERY: Duration = Duration::from_secs(30);

/// Says that requests are served.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Says that the gateway stops because it was told to.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Shows how the sessions are, for ever, and gives signs of life as often as the unit's `WatchdogSec` asks.
///
/// A sign is given only when the runtime runs this task and the store's writer answers. A disk that
/// refuses writes is no reason for a restart, which would not mend it; one that hangs for ever is.
pub async fn watch(gateway: Arc<Gateway>) -> std::convert::Infallible {
    if !gateway.config().under_systemd {
        return std::future::pending().await;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // Half of the time is systemd's own advice; a third leaves room for one that is late.
    let every = watchdog.map_or(STATUS_EVERY, |time| {
        (time / 3).max(Duration::from_millis(10))
    });
    let mut shown = String::new();
    loop {
        // Its error is an answer too.
        let _ = gateway.store().write(Durability::Lazy, |_| Ok(())).await;
        if watchdog.is_some() {
            notify(&[NotifyState::Watchdog]);
        }
        let status = status(&gateway);
        if status != shown {
            notify(&[NotifyState::Status(&status)]);
            shown = status;
        }
        tokio::time::sleep(every).await;
    }
}

/// One line for `systemctl status`.
fn status(gateway: &Arc<Gateway>) -> String {
    let sessions = gateway.sessions().all();
    let connected = sessions
        .iter()
        .filter(|s| s.state() == SessionState::Connected)
        .count();
    let degraded = if gateway.store().is_degraded() {
        "; THE STORE CANNOT BE WRITTEN"
    } else {
        ""
    };
    format!(
        "{connected} of {} sessions connected{degraded}",
        sessions.len()
    )
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
