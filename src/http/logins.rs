//! Failed logins: counted per client, told to the log, and answered less once there are many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::network;

/// The stretch of time that is judged, and reported, as one.
const MINUTE: Duration = Duration::from_secs(60);

/// More wrong credentials than these in a minute are guesses.
const TOLERATED: u32 = 20;

/// How many clients are told apart. Whoever comes beyond that is counted with the others.
const REMEMBERED: usize = 4096;

/// Who failed to log in.
#[derive(Default)]
pub(super) struct Logins(Mutex<HashMap<Option<IpAddr>, Failures>>);

struct Failures {
    minute: Instant,
    within: u32,
    told: Instant,
    untold: u64,
}

/// What one more failure means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// The first one for a while: to be told at once.
    pub(super) is_first: bool,
    /// There were so many that it looks like guessing.
    pub(super) is_guessing: bool,
}

impl Logins {
    /// Counts a failure of this client; `None` stands for all that have no address.
    pub(super) fn failed(&self, client: Option<IpAddr>, now: Instant) -> Failed {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = client
            .map(network)
            .filter(|client| known.len() < REMEMBERED || known.contains_key(&Some(*client)));
        let mut is_first = false;
        let failures = known.entry(client).or_insert_with(|| {
            is_first = true;
            Failures {
                minute: now,
                within: 0,
                told: now,
                untold: 0,
            }
        });
        if now.duration_since(failures.minute) >= MINUTE {
            (failures.minute, failures.within) = (now, 0);
        }
        failures.within = failures.within.saturating_add(1);
        failures.untold += u64::from(!is_first);
        Failed {
            is_first,
            is_guessing: failures.within > TOLERATED,
        }
    }

    /// What is to be told now, by client: of each that goes on, once a minute.
    pub(super) fn unreported(&self, now: Instant) -> Vec<(Option<IpAddr>, u64)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        known.retain(|client, failures| {
            if now.duration_since(failures.told) < MINUTE {
                return true;
            }
            if failures.untold > 0 {
                due.push((*client, std::mem::take(&mut failures.untold)));
                failures.told = now;
                return true;
            }
            now.duration_since(failures.minute) < MINUTE
        });
        due
    }
}

/// Tells the log of failures.
pub(super) fn log_failures(client: Option<IpAddr>, failures: u64) {
    match client {
        Some(client) => tracing::warn!(%client, failures, "wrong credentials were sent"),
        None => tracing::warn!(failures, "wrong credentials were sent"),
    }
}

/// Tells the log of requests that were refused because they had no credential.
pub(super) fn log_nameless(client: Option<IpAddr>, requests: u64) {
    match client {
        Some(client) => tracing::info!(%client, requests, "refused: no credential was sent"),
        None => tracing::info!(requests, "refused: no credential was sent"),
    }
}

/// How often [`Logins::unreported`] is asked.
pub(super) const ASKED_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_of_once_a_minute_with_its_count() {
        let logins = Logins::default();
        let client: IpAddr = "192.0.2.1".parse().expect("an address");
        let now = Instant::now();
        assert!(logins.failed(Some(client), now).is_first);
        for _ in 0..500 {
            assert!(!logins.failed(Some(client), now).is_first);
        }
        assert_eq!(logins.unreported(now), [], "it was told of at once");
        let later = now + MINUTE;
        assert_eq!(logins.unreported(later), [(Some(client), 500)]);
        assert_eq!(logins.unreported(later), []);
        // It is told anew when it comes back after a silence.
        assert_eq!(logins.unreported(later + MINUTE), []);
        assert!(logins.failed(Some(client), later + MINUTE).is_first);
    }

    #[test]
    fn many_failures_in_a_minute_are_guesses_of_that_network_only() {
        let logins = Logins::default();
        let ip = |text: &str| Some(text.parse().expect("an address"));
        let now = Instant::now();
        for _ in 0..TOLERATED {
            assert!(!logins.failed(ip("2a00:1:2:3::1"), now).is_guessing);
        }
        assert!(logins.failed(ip("2a00:1:2:3:4::2"), now).is_guessing);
        assert!(!logins.failed(ip("2a00:1:2:4::1"), now).is_guessing);
        assert!(!logins.failed(ip("2a00:1:2:3::1"), now + MINUTE).is_guessing);
    }

    #[test]
    fn memory_is_bounded() {
        let logins = Logins::default();
        let now = Instant::now();
        for n in 0..10_000u32 {
            logins.failed(Some(IpAddr::from(n.to_be_bytes())), now);
        }
        let known = logins.0.lock().expect("no panic").len();
        assert_eq!(known, REMEMBERED + 1);
        let rest: u64 = logins
            .unreported(now + MINUTE)
            .iter()
            .map(|(_, count)| count)
            .sum();
        assert_eq!(rest, 10_000 - known as u64, "the rest is counted too");
    }
}
