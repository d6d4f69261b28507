//! Messages between the wire and their row on the disk, and how none of them is lost there.
//!
//! The library keeps Signal state in memory and writes all of it whenever anything asks for it. A
//! ratchet that is on the disk before the message that moved it makes WhatsApp's redelivery of that
//! message a duplicate, which the library acknowledges: after a crash in between it is gone. So
//!
//! - [`Backend`](super::backend::Backend) writes ratchets only behind the rows of the messages that
//!   are being decrypted ([`ArrivingMessages::until_stored`]);
//! - a duplicate that has no row is not acknowledged but asked for again ([`ArrivingMessages::ask_unless_stored`]),
//!   whatever order the library chose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use whatsapp_rust::wacore_binary as wire;

use crate::error::{Code, Error, ErrorKind, Result};
use crate::ids::MessageId;
use crate::jid::Jid;

/// How long a message that was heard holds up ratchets although nobody began to store it. Some are
/// never stored (keys alone, what cannot be read), and nothing says so.
const GRACE: Duration = Duration::from_millis(250);
/// How often a write that failed is tried again while the disk fails.
const AGAIN: Duration = Duration::from_millis(200);
/// How many live messages may come while the store fails before the connection is made anew: from
/// then on WhatsApp hands them out in portions, and only as fast as they are stored.
const HELD: usize = 1000;

/// Whether a message with this id from this sender has a row.
pub type IsStored = Arc<dyn Fn(&MessageId, &Jid) -> Result<bool> + Send + Sync>;

/// A message that WhatsApp delivered again, that Signal calls a duplicate, and that has no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// Where it was written, as the library names it.
    pub(super) chat: wire::Jid,
    /// The device that wrote it.
    pub(super) sender: wire::Jid,
    /// Its id.
    pub(super) id: MessageId,
}

/// The messages of one session that are on their way to the disk.
pub(super) struct ArrivingMessages {
    heard: Mutex<Observed>,
    changed: Notify,
    /// How many reads and writes for messages wait for a store that fails.
    waiting: AtomicUsize,
    stored: IsStored,
    missing: mpsc::UnboundedSender<Missing>,
    closing: CancellationToken,
}

#[derive(Default)]
struct Observed {
    /// By message id. Hazard: strangers choose ids; one that is used twice only ends a wait early.
    messages: HashMap<String, StoreStage>,
    /// Live messages since the store began to fail.
    held: usize,
}

#[derive(Clone, Copy)]
enum StoreStage {
    /// It came at this moment.
    Came(Instant),
    /// Its row is being written.
    Storing,
}

impl ArrivingMessages {
    pub(super) fn new(
        stored: IsStored,
        missing: mpsc::UnboundedSender<Missing>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            heard: Mutex::default(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            stored,
            missing,
            closing,
        }
    }

    /// Notes a stanza before it is decrypted. Says whether the connection should be made anew, since
    /// too many have come that cannot be stored.
    ///
    /// What waited at WhatsApp is left out: the library stores such messages in batches, each before
    /// its ratchets.
    pub(super) fn observe(&self, stanza: &wire::NodeRef<'_>, store_fails: bool) -> bool {
        if stanza.tag.as_ref() != "message" || stanza.get_attr("offline").is_some() {
            return false;
        }
        let Some(id) = stanza.get_attr("id") else {
            return false;
        };
        let now = Instant::now();
        let mut heard = self.lock();
        heard.messages.retain(|_, stage| stage.holds(now));
        heard
            .messages
            .insert(id.as_str().to_string(), StoreStage::Came(now));
        heard.held = if store_fails { heard.held + 1 } else { 0 };
        let too_many = heard.held >= HELD;
        if too_many {
            heard.held = 0;
        }
        too_many
    }

    /// Notes that the rows of messages are being written, until what it answers is dropped: the library
    /// drops a write that lasts too long when a connection ends.
    pub(super) fn storing(&self, ids: Vec<String>) -> Storing<'_> {
        let mut heard = self.lock();
        for id in &ids {
            heard.messages.insert(id.clone(), StoreStage::Storing);
        }
        drop(heard);
        Storing {
            arriving: self,
            ids,
        }
    }

    /// Notes that a message needs no more waiting for: it is stored, or never will be.
    pub(super) fn settle(&self, id: &str) {
        if self.lock().messages.remove(id).is_some() {
            self.changed.notify_waiters();
        }
    }

    /// Waits until all messages that have come by now are stored, or are seen to need no row. Also while
    /// the session is closed: the library's last flush is no different.
    pub(super) async fn until_stored(&self) {
        let mut waiting: Vec<String> = self.lock().messages.keys().cloned().collect();
        loop {
            let changed = self.changed.notified();
            let now = Instant::now();
            {
                let heard = self.lock();
                waiting.retain(|id| heard.messages.get(id).is_some_and(|s| s.holds(now)));
            }
            if waiting.is_empty() {
                return;
            }
            let _ = tokio::time::timeout(GRACE / 4, changed).await;
        }
    }

    /// Waits before something is tried again; says that it is of no use when the session is being closed.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        let pause = tokio::time::sleep(time);
        self.closing.run_until_cancelled(pause).await.is_some()
    }

    /// Whether the session is being closed, so that what arrives is left to the next connection.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// How many reads and writes for messages wait for the store.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Begins a read or write for what arrives, which is tried until it succeeds.
    pub(super) fn persist(&self) -> Persistence<'_> {
        Persistence {
            arriving: self,
            waits: false,
        }
    }

    /// Fails for a duplicate that must not be acknowledged, since its message has no row; such a
    /// message is asked for again.
    pub(super) fn ask_unless_stored(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        let (Ok(id), Ok(chat), Ok(sender)) = (
            MessageId::parse(id),
            chat.parse::<wire::Jid>(),
            sender.parse::<wire::Jid>(),
        ) else {
            // Such a message is never stored.
            return Ok(());
        };
        let Some(from) = super::convert::from_wire(&sender) else {
            return Ok(());
        };
        if (self.stored)(&id, &from)? {
            return Ok(());
        }
        // A closed channel means that the session is being closed: it comes again.
        let _ = self.missing.send(Missing { chat, sender, id });
        Err(Error::new(
            Code::MessageNotFound,
            "a message that came twice has no row; it is asked for again",
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages whose rows are being written.
pub(super) struct Storing<'a> {
    arriving: &'a ArrivingMessages,
    ids: Vec<String>,
}

impl Drop for Storing<'_> {
    fn drop(&mut self) {
        for id in &self.ids {
            self.arriving.settle(id);
        }
    }
}

/// A read or write for what arrives, and its patience.
///
/// Invariant: a message that was decrypted stays in memory and unacknowledged until its row is on the
/// disk. Giving up would leave a ratchet that is ahead of it.
pub(super) struct Persistence<'a> {
    arriving: &'a ArrivingMessages,
    waits: bool,
}

impl Persistence<'_> {
    /// Waits a moment after it has failed, to try it again; gives the error back when that is
    /// of no use.
    pub(super) async fn wait(&mut self, failed: Error) -> Result<()> {
        if failed.kind() != ErrorKind::Unavailable {
            return Err(failed);
        }
        let waiting = &self.arriving.waiting;
        if !self.waits && waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the store fails: messages that arrive wait in memory, unacknowledged");
        }
        self.waits = true;
        let paused = self.arriving.pause(AGAIN).await;
        if paused { Ok(()) } else { Err(failed) }
    }
}

impl Drop for Persistence<'_> {
    fn drop(&mut self) {
        if self.waits && self.arriving.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::info!("no message waits for the store any more");
        }
    }
}

impl StoreStage {
    /// Whether ratchets wait for it.
    fn holds(self, now: Instant) -> bool {
        match self {
            Self::Came(at) => now.duration_since(at) < GRACE,
            Self::Storing => true,
        }
    }
}
