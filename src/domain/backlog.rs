//! What waits to be done, for `/metrics`.

use super::{Gateway, campaign, queues};
use crate::error::Result;
use crate::store::queue;

/// What waits to be done, of all sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Webhook deliveries, tried or not.
    pub deliveries: u64,
    /// Downloads of received files.
    pub downloads: u64,
    /// Messages that could not be read and may still come.
    pub unread: u64,
    /// Recipients of running and scheduled campaigns who were not written to yet.
    pub campaign_recipients: u64,
}

impl Gateway {
    /// What waits to be done. It reads a row for each lane of the queues and each live campaign.
    pub fn backlog(&self) -> Result<Backlog> {
        self.store.read(|read| {
            Ok(Backlog {
                deliveries: queue::len(read, queues::DELIVERIES)?,
                downloads: queue::len(read, queues::DOWNLOADS)?,
                unread: queue::len(read, queues::UNREADABLE)?,
                campaign_recipients: campaign::rows::waiting_recipients(read)?,
            })
        })
    }
}
