//! What the transport counts, for whoever reports it.

use std::sync::atomic::AtomicU64;

use hyper::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Answers by the first digit of their status, 1 to 5.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counters of one listener since its start. Reading them never waits.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    accepted: Counter,
    open: Gauge<u64, AtomicU64>,
    in_flight: Gauge<u64, AtomicU64>,
    panics: Counter,
    refused_connections: Counter,
    refused_requests: Counter,
    failed_logins: Counter,
    by_class: Family<[(&'static str, &'static str); 1], Counter>,
}

impl HttpMetrics {
    /// Names the counters in a registry, which goes on to show what they count.
    pub fn register(&self, to: &mut Registry) {
        // A class that had no answer yet is 0, not unknown.
        for class in 1..=CLASSES.len() {
            self.of_class(class);
        }
        to.register(
            "http_responses",
            "Answers by the class of their status",
            self.by_class.clone(),
        );
        to.register(
            "http_connections",
            "Connections that are open",
            self.open.clone(),
        );
        to.register(
            "http_requests_under_way",
            "Requests that are not answered yet",
            self.in_flight.clone(),
        );
        for (name, help, count) in [
            (
                "http_accepted_connections",
                "Connections that were accepted",
                &self.accepted,
            ),
            (
                "http_refused_connections",
                "Connections from addresses that had enough",
                &self.refused_connections,
            ),
            (
                "http_refused_requests",
                "Requests while enough were under way",
                &self.refused_requests,
            ),
            (
                "http_failed_logins",
                "Requests with a wrong credential",
                &self.failed_logins,
            ),
            ("http_panics", "Handlers that panicked", &self.panics),
        ] {
            to.register(name, help, count.clone());
        }
    }

    fn of_class(&self, class: usize) -> Option<Counter> {
        let class = CLASSES.get(class.wrapping_sub(1))?;
        Some(self.by_class.get_or_create(&[("class", class)]).clone())
    }

    pub(super) fn note_accepted(&self) {
        self.accepted.inc();
        self.open.inc();
    }

    pub(super) fn note_closed(&self) {
        self.open.dec();
    }

    pub(super) fn note_panic(&self) {
        self.panics.inc();
    }

    pub(super) fn note_refused_connection(&self) {
        self.refused_connections.inc();
    }

    pub(super) fn note_refused_request(&self) {
        self.refused_requests.inc();
    }

    pub(super) fn note_failed_login(&self) {
        self.failed_logins.inc();
    }

    pub(super) fn note_answer(&self, status: StatusCode) {
        if let Some(count) = self.of_class(usize::from(status.as_u16() / 100)) {
            count.inc();
        }
    }

    /// Counts a request until the guard is dropped, also when its client hangs up.
    pub(super) fn under_way(&self) -> RequestInProgress<'_> {
        self.in_flight.inc();
        RequestInProgress(self)
    }
}

/// What tests look at.
#[cfg(test)]
impl HttpMetrics {
    /// Connections accepted since the start.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Connections open now, upgraded ones included.
    pub(crate) fn open(&self) -> u64 {
        self.open.get()
    }

    /// Requests whose answer is not ready yet.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }

    /// Handlers that panicked.
    pub(super) fn panics(&self) -> u64 {
        self.panics.get()
    }

    /// Requests that were refused because enough were under way.
    pub(super) fn refused_requests(&self) -> u64 {
        self.refused_requests.get()
    }

    /// Answers by the first digit of their status, 1 to 5.
    pub(super) fn answered(&self, class: usize) -> u64 {
        self.of_class(class).map_or(0, |count| count.get())
    }
}

/// One request that is being answered.
pub(super) struct RequestInProgress<'a>(&'a HttpMetrics);

impl Drop for RequestInProgress<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}
