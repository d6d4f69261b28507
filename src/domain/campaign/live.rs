//! Live campaigns: what is known of one while it runs, what can be done for it, and what wakes its loop.

use tokio::sync::watch;

use super::{Campaign, SendProgress};
use crate::ids::RowId;
use crate::store::queue::Claim;
use crate::time::Timestamp;

/// Wakes the loops when something changed for a campaign.
pub struct CampaignWaker(watch::Sender<u64>);

impl Default for CampaignWaker {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl CampaignWaker {
    /// Something changed: a status, a time, an answer, the clock.
    pub fn wake(&self) {
        self.0.send_modify(|n| *n += 1);
    }

    /// Tells of each change.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// A campaign that is live, as it was a moment ago.
pub(super) struct LiveCampaign {
    pub(super) id: RowId,
    pub(super) campaign: Campaign,
    pub(super) progress: SendProgress,
}

/// What can be done for a campaign.
pub(super) enum CampaignWork {
    /// Nothing, before something changes.
    Nothing,
    /// Nothing before this moment.
    Later(Timestamp),
    /// These are tried again.
    Again(Vec<Claim>),
    /// So many that were not begun have their turn.
    New(usize),
}
