//! How long, how much and how many: the bounds on clients.

use std::time::Duration;

use super::BodyBudget;

/// The bounds on clients. Each one is there because a client without it can hold something for ever.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For a request's head to arrive, and for a connection to stay idle between requests.
    pub head_timeout: Duration,
    /// For a body to be silent.
    pub body_idle: Duration,
    /// For a whole body; more for a client that keeps sending at 16 KiB per second.
    pub body_total: Duration,
    /// For a client to take nothing of an answer.
    pub write_idle: Duration,
    /// The size of a body, where the route has no limit of its own.
    pub max_json: u64,
    /// What the bodies of all requests under way may take in memory.
    pub body_budget: BodyBudget,
    /// Connections at a time, upgraded ones included. Idle ones give way to more.
    pub max_connections: usize,
    /// Connections at a time of one address (of one /64 of IPv6). Addresses behind which many
    /// people stand, this machine's and those of trusted proxies, have no such bound.
    pub max_per_address: usize,
    /// For requests under way when the program stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(20),
            body_idle: Duration::from_secs(20),
            body_total: Duration::from_secs(60),
            write_idle: Duration::from_secs(30),
            max_json: 2 * 1024 * 1024,
            body_budget: BodyBudget::default(),
            max_connections: 1024,
            max_per_address: 256,
            drain: Duration::from_secs(10),
        }
    }
}
