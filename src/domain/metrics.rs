//! What is measured of the gateway's work since its start, for `/metrics`.

use std::time::Duration;

use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bounds of the buckets in seconds: from a receiver next door to the longest patience.
const SECONDS: [f64; 12] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Measurements of one run. Nothing of it is stored.
#[derive(Debug)]
pub struct DomainMetrics {
    /// The number that the first event of this run comes after.
    before: u64,
    send: Histogram,
    webhook: Histogram,
    webhook_failures: Counter,
    dead_letters: Counter,
    held_back: Counter,
    sent: Counter,
    failed: Counter,
    received: Counter,
    delivered: Counter,
}

impl DomainMetrics {
    /// Begins after the newest event's number: a start leaves a gap in the numbers.
    pub fn new(newest_event: u64) -> Self {
        Self {
            before: newest_event,
            send: Histogram::new(SECONDS),
            webhook: Histogram::new(SECONDS),
            webhook_failures: Counter::default(),
            dead_letters: Counter::default(),
            held_back: Counter::default(),
            sent: Counter::default(),
            failed: Counter::default(),
            received: Counter::default(),
            delivered: Counter::default(),
        }
    }

    /// WhatsApp acknowledged a message so long after it was begun to be written.
    pub(super) fn note_sent(&self, took: Duration) {
        self.sent.inc();
        self.send.observe(took.as_secs_f64());
    }

    /// A try of a webhook took so long, however it came out.
    pub fn note_webhook(&self, took: Duration, failed: bool) {
        self.webhook.observe(took.as_secs_f64());
        match failed {
            true => self.webhook_failures.inc(),
            false => self.delivered.inc(),
        };
    }

    /// A delivery was given up.
    pub(super) fn note_dead_letter(&self) {
        self.dead_letters.inc();
    }

    /// So many messages were tried and not acknowledged, or could not be made.
    pub(super) fn note_failed(&self, count: usize) {
        self.failed.inc_by(count as u64);
    }

    /// So many messages of others arrived.
    pub(super) fn note_received(&self, count: u64) {
        self.received.inc_by(count);
    }

    /// The guard held so many messages back.
    pub(super) fn note_held_back(&self, count: usize) {
        self.held_back.inc_by(count as u64);
    }

    /// Names the measurements in a registry.
    pub fn register(&self, newest_event: u64, to: &mut Registry) {
        let events = newest_event.saturating_sub(self.before);
        let events = ConstCounter::new(events);
        to.register("events", "Events recorded since the start", events);
        to.register(
            "send_duration_seconds",
            "Time from writing a message until WhatsApp acknowledged it",
            self.send.clone(),
        );
        to.register(
            "webhook_duration_seconds",
            "Time that a try of a webhook delivery took",
            self.webhook.clone(),
        );
        for (name, help, count) in [
            (
                "messages_sent",
                "Messages that WhatsApp acknowledged, those of campaigns included",
                &self.sent,
            ),
            (
                "messages_failed",
                "Messages that were refused or not acknowledged, each try",
                &self.failed,
            ),
            (
                "messages_received",
                "Messages of others that arrived",
                &self.received,
            ),
            (
                "guard_held_back",
                "Messages to new contacts that the guard held back",
                &self.held_back,
            ),
            (
                "webhook_deliveries",
                "Webhook deliveries that a receiver took",
                &self.delivered,
            ),
            (
                "webhook_failures",
                "Tries of webhook deliveries that failed",
                &self.webhook_failures,
            ),
            (
                "webhook_dead_letters",
                "Webhook deliveries that were given up",
                &self.dead_letters,
            ),
        ] {
            to.register(name, help, count.clone());
        }
    }
}
