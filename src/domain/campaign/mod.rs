//! Campaigns: one message to many people, at a pace, through any crash, to each once.
//!
//! How it works: the people lie in a roster (`roster.rs`), and [`SendProgress`] holds the position of the
//! first that was not begun. A [`RecipientState`] row is written when a recipient is begun, in the transaction
//! that also stores the message under its id; from then on the message carries the campaign's
//! [`CampaignRef`], and whatever moves the message (acknowledgements, receipts) moves the recipient in the
//! same transaction. What is to be tried again, also after a crash, waits in the due-queue, always
//! with the id it was first sent with: WhatsApp's clients show one message per id.
//!
//! Invariants:
//! - the work per message does not depend on the size of the campaign;
//! - [`Counts`] are the sums of the state rows, because both change in the same transactions;
//! - a recipient is begun only while the campaign's row says that it runs.

pub mod control;
pub mod create;
pub mod imported;
pub mod live;
pub mod message;
pub mod preview;
pub mod report;
pub mod restored;
pub mod rows;
pub mod run;
mod sending;
mod settings;
pub mod steps;

use serde::{Deserialize, Serialize};

use super::roster::{Position, Roster};
use super::zone::Day;
use crate::ids::{MediaId, MessageId, RowId, SessionNumber};
use crate::store::record::Record;
use crate::store::{Typed, tables};
use crate::time::Timestamp;
use crate::wa::message::MediaKind;
use crate::words::words;

pub use settings::CampaignSettings;

words! {
    /// Where a campaign stands. Stored, by the names of its variants, not by the words.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub enum CampaignState {
        /// Made, and not started.
        Draft = "draft",
        /// Starts by itself at its time.
        Ready = "ready",
        /// Sends.
        Sending = "sending",
        /// Stopped until somebody resumes it.
        Paused = "paused",
        /// Everybody was written to, or given up.
        Completed = "completed",
    }
}

impl CampaignState {
    /// Where a campaign begins that is to start at this time: one whose time has passed is not sent to
    /// everybody for a wrong date.
    pub(super) fn before(start: Option<Timestamp>, now: Timestamp) -> Self {
        match start {
            Some(start) if start > now => Self::Ready,
            _ => Self::Draft,
        }
    }

    /// Whether it runs, or will by itself.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Ready | Self::Sending)
    }

    /// Where it stands on another server than the one that it comes from. One that ran is paused: two
    /// servers must not send it.
    pub(super) fn when_moved(self) -> Self {
        match self.is_live() {
            true => Self::Paused,
            false => self,
        }
    }
}

/// What a campaign says. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignMessage {
    /// The text, or the caption below the file; with placeholders, and variants where they are asked for.
    pub content: String,
    /// The caption below the file, which wins over the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// The file, if there is one.
    pub media: Option<CampaignMedia>,
    /// Whether the words may be simple HTML. Those that were stored before this was known are sent as they
    /// were then, or one campaign would say two things.
    #[serde(default)]
    pub is_html: bool,
}

/// The file of a campaign. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignMedia {
    /// How it is shown.
    pub kind: MediaKind,
    /// Which of the session's files.
    pub id: MediaId,
    /// The link that it was fetched from.
    pub link: Option<String>,
    /// The name of a document.
    pub file_name: Option<String>,
}

/// A campaign without its recipients. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    pub(super) roster: Roster,
    /// What it is called.
    pub name: String,
    /// Where it stands.
    pub status: CampaignState,
    /// What it says.
    pub message: CampaignMessage,
    /// How it sends.
    pub settings: CampaignSettings,
    /// The list that its recipients came from.
    pub list: Option<RowId>,
    /// When it starts by itself.
    pub scheduled_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started first.
    pub started_at: Option<Timestamp>,
    /// When the last recipient was done.
    pub completed_at: Option<Timestamp>,
    /// When it was changed.
    pub updated_at: Option<Timestamp>,
    /// How many recipients it has, refused rows included.
    pub total: u32,
    /// Why it was paused, when it was not by hand.
    pub detail: Option<String>,
    /// How many bytes its recipients take; `None` when it was made before that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
}

impl Campaign {
    /// Whether its time has passed and it waits for somebody to start it: it had passed when it was given,
    /// or the campaign moved in as a draft.
    pub fn has_missed_its_time(&self, now: Timestamp) -> bool {
        self.status == CampaignState::Draft && self.scheduled_at.is_some_and(|at| at <= now)
    }

    /// Whether its time has come and it did not start: none is unless something is wrong.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.status == CampaignState::Ready && self.scheduled_at.is_some_and(|at| at < now)
    }
}

impl Record for Campaign {
    const VERSION: u8 = 1;
}

pub(super) const CAMPAIGNS: Typed<(SessionNumber, RowId), Campaign> = Typed::new(tables::CAMPAIGNS);

/// Those that run or wait for their time.
const LIVE: Typed<(SessionNumber, RowId), ()> = Typed::new(tables::LIVE_CAMPAIGNS);

/// How far a campaign has come. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendProgress {
    /// The first position that was not begun.
    pub(super) next: Position,
    /// The position after the last.
    pub(super) end: Position,
    /// How many recipients are in each state.
    pub counts: Counts,
    /// How many wait to be tried again.
    pub(super) waiting: u32,
    /// When the last message was begun.
    pub last_sent: Option<Timestamp>,
    /// WhatsApp asked to slow down: nothing goes before this.
    pub(super) not_before: Option<Timestamp>,
    /// How often in a row it asked that.
    pub(super) slowed: u32,
    /// When the last `campaign.progress` event was recorded.
    #[serde(rename = "told_at")]
    pub(super) last_event_at: Option<Timestamp>,
}

impl Record for SendProgress {
    const VERSION: u8 = 1;
}

/// How many recipients are in each state; those that were not begun are in none. Stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Handed to WhatsApp, not acknowledged yet.
    pub sending: u32,
    /// Acknowledged by WhatsApp's server.
    pub sent: u32,
    /// On the receiver's phone.
    pub delivered: u32,
    /// Seen by the receiver.
    pub read: u32,
    /// Given up, refused rows included.
    pub failed: u32,
}

impl Counts {
    /// All that WhatsApp took, however far they came.
    pub fn all_sent(&self) -> u32 {
        self.sent + self.delivered + self.read
    }

    /// How many of `total` wait for their turn.
    pub fn pending(&self, total: u32) -> u32 {
        total.saturating_sub(self.sending + self.all_sent() + self.failed)
    }

    fn of(&mut self, state: RecipientStatus) -> Option<&mut u32> {
        match state {
            RecipientStatus::Pending => None,
            RecipientStatus::Sending => Some(&mut self.sending),
            RecipientStatus::Sent => Some(&mut self.sent),
            RecipientStatus::Delivered => Some(&mut self.delivered),
            RecipientStatus::Read => Some(&mut self.read),
            RecipientStatus::Failed => Some(&mut self.failed),
        }
    }

    /// One recipient goes from one state to another.
    fn shift(&mut self, from: RecipientStatus, to: RecipientStatus) {
        if let Some(count) = self.of(from) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.of(to) {
            *count += 1;
        }
    }
}

/// How far a campaign has come, in numbers of recipients: `total` is the sum of `pending`, `sending`,
/// `sent` and `failed`; who read it is in `delivered` and in `sent` too. Stored in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// All of the campaign.
    pub total: u32,
    /// Those whose message WhatsApp took.
    pub sent: u32,
    /// Those given up.
    pub failed: u32,
    /// Those that wait for their turn.
    pub pending: u32,
    /// Those whose message is on its way to WhatsApp.
    pub sending: u32,
    /// Those whose phone has it.
    pub delivered: u32,
    /// Those who saw it.
    pub read: u32,
}

impl Statistics {
    /// The numbers of a campaign of so many recipients.
    pub fn of(counts: &Counts, total: u32) -> Self {
        Self {
            total,
            sent: counts.all_sent(),
            failed: counts.failed,
            pending: counts.pending(total),
            sending: counts.sending,
            delivered: counts.delivered + counts.read,
            read: counts.read,
        }
    }

    /// How much of it is done, sent or given up, in whole percent; 100 where there is nobody.
    pub fn percent(&self) -> u32 {
        let done = u64::from(self.sent) + u64::from(self.failed);
        let percent = (done * 100).checked_div(u64::from(self.total));
        percent.map_or(100, |percent| percent.min(100) as u32)
    }
}

words! {
    /// How far a recipient has come. Stored, by the names of its variants, not by the words.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum RecipientStatus {
        /// Waits for its turn, or for another try.
        #[default]
        Pending = "pending",
        /// Handed to WhatsApp.
        Sending = "sending",
        /// Acknowledged by WhatsApp's server.
        Sent = "sent",
        /// On the receiver's phone.
        Delivered = "delivered",
        /// Seen by the receiver.
        Read = "read",
        /// Given up.
        Failed = "failed",
    }
}

impl RecipientStatus {
    /// Whether WhatsApp took the message, however far it came since.
    pub fn is_sent(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered | Self::Read)
    }

    /// Whether whoever asks for `asked` means this too: what was read was delivered and sent before.
    pub fn is_within(self, asked: Self) -> bool {
        match asked {
            Self::Sent => self.is_sent(),
            Self::Delivered => matches!(self, Self::Delivered | Self::Read),
            _ => self == asked,
        }
    }
}

/// What became of one recipient. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientState {
    /// How far it has come.
    #[serde(rename = "stage")]
    pub status: RecipientStatus,
    /// The id of its message, which every try carries.
    pub message: Option<MessageId>,
    /// When it was sent, or given up.
    pub at: Option<Timestamp>,
    /// When the receiver's phone had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// When the receiver saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// What went wrong last.
    pub error: Option<String>,
    /// How often it was tried.
    pub tries: u32,
    /// How often WhatsApp took it without ever acknowledging it.
    #[serde(rename = "unheard", default, skip_serializing_if = "is_zero")]
    pub unacknowledged: u32,
    /// The day on whose cap it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Day>,
    /// What stood in a row that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Record for RecipientState {
    const VERSION: u8 = 1;
}

/// Which recipient of which campaign a message is for; the message's row carries it. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignRef {
    pub(super) campaign: RowId,
    pub(super) roster: Roster,
    #[serde(rename = "place")]
    pub(super) position: Position,
}

/// The first position of rows that were refused: they have a state and no recipient.
const REFUSED: Position = 1 << 31;

/// Where a campaign lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignKey {
    /// Its session.
    pub session: SessionNumber,
    /// Its id.
    pub id: RowId,
}
