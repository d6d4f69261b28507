//! Counters of what passed through the network.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::time::Timestamp;

/// The counters themselves; each is only ever added to.
#[derive(Default)]
pub(super) struct NetworkCounters {
    /// Messages that the server took from companions and phones.
    pub(super) messages: AtomicU64,
    /// Messages handed to a device other than the sender's own.
    pub(super) delivered: AtomicU64,
    /// Messages that a phone decrypted.
    pub(super) decrypted: AtomicU64,
    /// Messages whose id the phone had seen before.
    pub(super) duplicates: AtomicU64,
    /// Messages that a phone could not decrypt.
    pub(super) undecryptable: AtomicU64,
    /// Messages that a companion asked for again.
    pub(super) asked_again: AtomicU64,
    /// Messages that the server refused, by order or because nobody could get them.
    pub(super) refused: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) connected: AtomicU64,
    pub(super) handshakes_xx: AtomicU64,
    pub(super) handshakes_ik: AtomicU64,
    pub(super) stanzas: AtomicU64,
    pub(super) media_uploads: AtomicU64,
    pub(super) media_uploads_again: AtomicU64,
    pub(super) media_downloads: AtomicU64,
    pub(super) media_bytes_in: AtomicU64,
    pub(super) media_bytes_out: AtomicU64,
    unknown: Mutex<BTreeMap<String, u64>>,
    rate: Mutex<Rate>,
}

#[derive(Default, Clone, Copy)]
struct Rate {
    second: i64,
    before: u64,
    last_full: u64,
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn add_many(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

pub(super) fn subtract(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

impl NetworkCounters {
    /// Counts a message, and how many there were in this second.
    pub(super) fn message(&self, now: Timestamp) {
        let taken = self.messages.fetch_add(1, Ordering::Relaxed);
        let second = now.as_secs();
        let mut rate = self
            .rate
            .lock()
            .expect("Invariant: nothing panics under this lock");
        if rate.second != second {
            let full = taken - rate.before;
            let next = rate.second + 1 == second;
            *rate = Rate {
                second,
                before: taken,
                last_full: if next { full } else { 0 },
            };
        }
    }

    /// Notes a stanza that this network does not know.
    pub(super) fn unknown(&self, name: String) {
        let mut unknown = self
            .unknown
            .lock()
            .expect("Invariant: nothing panics under this lock");
        *unknown.entry(name).or_default() += 1;
    }

    pub(super) fn snapshot(&self, now: Timestamp) -> NetworkStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let rate = *self
            .rate
            .lock()
            .expect("Invariant: nothing panics under this lock");
        let names = self
            .unknown
            .lock()
            .expect("Invariant: nothing panics under this lock")
            .clone();
        let messages = read(&self.messages);
        let per_second = match now.as_secs() - rate.second {
            0 => rate.last_full.max(messages - rate.before),
            1 => messages - rate.before,
            _ => 0,
        };
        NetworkStats {
            messages,
            delivered: read(&self.delivered),
            decrypted: read(&self.decrypted),
            duplicates: read(&self.duplicates),
            undecryptable: read(&self.undecryptable),
            asked_again: read(&self.asked_again),
            refused: read(&self.refused),
            connections: read(&self.connections),
            connected: read(&self.connected),
            handshakes_xx: read(&self.handshakes_xx),
            handshakes_ik: read(&self.handshakes_ik),
            stanzas: read(&self.stanzas),
            media_uploads: read(&self.media_uploads),
            media_uploads_again: read(&self.media_uploads_again),
            media_downloads: read(&self.media_downloads),
            media_bytes_in: read(&self.media_bytes_in),
            media_bytes_out: read(&self.media_bytes_out),
            unknown_stanzas: names.values().sum(),
            unknown_names: names,
            per_second,
        }
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStats {
    /// Messages that the server took from companions and phones.
    pub messages: u64,
    /// Messages handed to a device other than the sender's own.
    pub delivered: u64,
    /// Messages that a phone decrypted and had not seen before.
    pub decrypted: u64,
    /// Messages whose id the receiving phone had seen before.
    pub duplicates: u64,
    /// Messages that a phone could not decrypt.
    pub undecryptable: u64,
    /// Messages that a companion could not decrypt and asked for again.
    pub asked_again: u64,
    /// Messages refused by a fault.
    pub refused: u64,
    /// Sockets that were ever opened.
    pub connections: u64,
    /// Sockets that are open now.
    pub connected: u64,
    /// Full handshakes.
    pub handshakes_xx: u64,
    /// Resumed handshakes.
    pub handshakes_ik: u64,
    /// Stanzas read from clients.
    pub stanzas: u64,
    /// Files that clients left at the media host and that were not there.
    pub media_uploads: u64,
    /// Files that clients left although they were there.
    pub media_uploads_again: u64,
    /// Files, or parts of files, that clients fetched.
    pub media_downloads: u64,
    /// Bytes that clients sent to the media host.
    pub media_bytes_in: u64,
    /// Bytes of files that the media host sent.
    pub media_bytes_out: u64,
    /// Stanzas that the network did not know how to answer.
    pub unknown_stanzas: u64,
    /// The names of those stanzas, with how often each came.
    pub unknown_names: BTreeMap<String, u64>,
    /// Messages in the present or the last full second.
    pub per_second: u64,
}
