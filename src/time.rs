//! Points in time and the clock that names them. The only file that may read the OS clock.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// From seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Later by `by`, at most the end of time.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Earlier by `by`.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long from `earlier` until this; zero when the clock went back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// ISO 8601 with milliseconds and `Z`, as the original program writes times.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_millis(self.0).unwrap_or_default();
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// When this version was made: no clock that is right shows an earlier time.
const MADE: Timestamp = Timestamp::from_secs(1_793_491_200);

/// How long after the machine's start its clock may still wait to be set by the network. A network
/// that never sets it must not hold anything up for ever.
const SYNC_PATIENCE: Duration = Duration::from_secs(600);

/// Where the time comes from: the machine, or a test that moves it by hand.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<Manual>>);

#[derive(Debug, Default)]
struct Manual {
    ms: AtomicI64,
    doubted: AtomicBool,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `start` until it is moved.
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(Manual {
            ms: AtomicI64::new(start.as_ms()),
            doubted: AtomicBool::new(false),
        })))
    }

    /// The present moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the rule points to"
    )]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(manual) => Timestamp(manual.ms.load(Ordering::SeqCst)),
            None => Timestamp(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
            ),
        }
    }

    /// Why the clock is probably wrong, if it is. A board without a battery starts with the time of
    /// its last shutdown, or with 1970, until the network has set it.
    pub fn doubt(&self) -> Option<&'static str> {
        match &self.0 {
            Some(manual) => manual
                .doubted
                .load(Ordering::SeqCst)
                .then_some("it is said to be wrong"),
            None if self.now() < MADE => Some("it shows a time before this program was made"),
            None if waits_for_network(Path::new("/")) => {
                Some("the network has not set it since the machine started")
            }
            None => None,
        }
    }

    /// Makes a manual clock one that is probably wrong, or right again.
    pub fn set_doubted(&self, doubted: bool) {
        if let Some(manual) = &self.0 {
            manual.doubted.store(doubted, Ordering::SeqCst);
        }
    }

    /// Sets a manual clock, backwards too; the machine's clock cannot be set.
    pub fn set(&self, to: Timestamp) {
        if let Some(manual) = &self.0 {
            manual.ms.store(to.as_ms(), Ordering::SeqCst);
        }
    }

    /// Moves a manual clock forward; the machine's clock cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.0 {
            manual.ms.fetch_add(
                i64::try_from(by.as_millis()).unwrap_or(i64::MAX),
                Ordering::SeqCst,
            );
        }
    }
}

/// Whether the machine started a moment ago and systemd-timesyncd has not set its clock yet. The
/// file is that service's own sign, and readable where the kernel's is not.
fn waits_for_network(root: &Path) -> bool {
    let uptime = std::fs::read_to_string(root.join("proc/uptime")).unwrap_or_default();
    let seconds = uptime
        .split_whitespace()
        .next()
        .and_then(|s| s.parse::<f64>().ok());
    let service = root.join("run/systemd/timesync");
    seconds.is_some_and(|s| s < SYNC_PATIENCE.as_secs_f64())
        && service.is_dir()
        && !service.join("synchronized").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_sets_the_clock_of_a_board_that_just_started() {
        let root = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        let waits = || waits_for_network(root.path());
        file("proc/uptime", "20.11 30.00\n");
        assert!(!waits(), "no such service");
        file("run/systemd/timesync/other", "");
        assert!(waits());
        file("proc/uptime", "700.00 30.00\n");
        assert!(!waits(), "not for ever");
        file("proc/uptime", "20.11 30.00\n");
        file("run/systemd/timesync/synchronized", "");
        assert!(!waits());
    }

    #[test]
    fn writes_iso_8601_with_milliseconds() {
        assert_eq!(
            Timestamp::from_ms(1_700_000_000_123).to_string(),
            "2023-11-14T22:13:20.123Z"
        );
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_negative_wait() {
        assert_eq!(
            Timestamp::from_ms(5).since(Timestamp::from_ms(9)),
            Duration::ZERO
        );
    }
}
