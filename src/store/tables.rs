//! Every table of the store: its name, its key layout, how its values begin.
//!
//! To add a table, add one entry below, and a [`super::Typed`] beside the type of its values. To change a layout, give the table a new name (`/2`), move the
//! rows in a migration (`migrations.rs`) and put the old name into [`RETIRED`]. `check` reads the layouts from here, and
//! so do the debug assertions of [`super::Tx::put`], so that a row of another shape is found at once.
//!
//! `sid` is the session's number. Layouts are those of [`super::Key`]: integers big-endian,
//! [`LayoutPart::Text`] ended by a NUL, [`LayoutPart::Escaped`] any bytes, [`LayoutPart::Tail`] the rest.

use std::fmt;

use super::layout::{LayoutPart, Values};

/// A table of the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Table(u8);

struct Spec {
    name: &'static str,
    key: &'static [LayoutPart],
    values: Values,
}

impl Table {
    /// The name in the file, with its layout's version: `messages/1`.
    pub fn name(self) -> &'static str {
        SPECS[self.number()].name
    }

    /// The layout of its keys.
    pub const fn key(self) -> &'static [LayoutPart] {
        SPECS[self.number()].key
    }

    /// How its values begin.
    pub const fn values(self) -> Values {
        SPECS[self.number()].values
    }

    /// Whether its rows are a session's.
    pub fn is_of_session(self) -> bool {
        self.key().first() == Some(&LayoutPart::Session)
    }

    /// Whether its rows are a roster's.
    pub fn is_of_roster(self) -> bool {
        self.key().first() == Some(&LayoutPart::Roster)
    }

    /// Whether its rows say how old they are.
    pub fn is_dated(self) -> bool {
        matches!(self.values(), Values::Dated(_))
    }

    pub(super) const fn number(self) -> usize {
        self.0 as usize
    }

    /// Every table there is.
    pub fn all() -> impl Iterator<Item = Self> {
        (0u8..).take(COUNT).map(Self)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $text:literal: [$($part:expr),* $(,)?] => $values:expr;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u8)]
        enum Number { $($name),* }
        $($(#[$doc])* pub const $name: Table = Table(Number::$name as u8);)*
        pub(super) const COUNT: usize = [$(Number::$name as u8),*].len();
        static SPECS: [Spec; COUNT] = {
            use LayoutPart::{Escaped, Fixed, Roster, Session, Tail, Text, U32, U64, U8};
            use Values::{Dated, Raw, Versioned};
            [$(Spec { name: $text, key: &[$($part),*], values: $values }),*]
        };
    };
}

tables! {
    /// Files in the media folder, by content. `sha256` -> record: size, how many rows name it.
    BLOBS = "blobs/1": [Fixed(32)] => Versioned(1);
    /// Campaigns. `sid, campaign id` -> record.
    CAMPAIGNS = "campaigns/1": [Session, Tail] => Versioned(1);
    /// How far a campaign has come. `roster` -> record.
    CAMPAIGN_PROGRESS = "campaign_progresses/1": [Roster] => Versioned(1);
    /// What became of a campaign's recipients, those that were begun. `roster, place` -> record.
    CAMPAIGN_STATES = "campaign_states/1": [Roster, U32] => Versioned(1);
    /// Campaigns that run or wait for their time. `sid, campaign id` -> nothing.
    LIVE_CAMPAIGNS = "live_campaigns/1": [Session, Tail] => Raw;
    /// How many campaign messages a session sent on its last day. `sid` -> record.
    DAY_COUNTS = "day_counts/1": [Session] => Versioned(1);
    /// What is remembered of chats. `sid, chat` -> record.
    CHATS = "chats/1": [Session, Tail] => Versioned(1);
    /// The delivery log. `sid, event seq, webhook id` -> record.
    DELIVERIES = "deliveries/1": [Session, U64, Tail] => Dated(1);
    /// What happened in a session, in order. `sid, seq` -> record.
    EVENTS = "events/1": [Session, U64] => Dated(2);
    /// Index: the events of all sessions in the order of the log. `seq` -> sid (u32).
    EVENT_ORDER = "event_orders/1": [U64] => Raw;
    /// People whom a session wrote to privately, or who wrote to it. `sid, person` -> record.
    FIRST_CONTACTS = "first_contacts/1": [Session, Tail] => Versioned(1);
    /// First answers to calls that carried an idempotency key. `sid, sha256 of the key` -> record.
    IDEMPOTENCY = "idempotency_keys/1": [Session, Fixed(32)] => Dated(1);
    /// Keys by which callers are admitted. `sid, or 0 where a key is for all sessions; key id` -> record.
    KEYS = "access_keys/1": [Session, Tail] => Versioned(1);
    /// Lists of recipients. `sid, list id` -> record.
    LISTS = "recipient_lists/1": [Session, Tail] => Versioned(1);
    /// Files of a session. `sid, media id` -> record.
    MEDIA = "media_files/1": [Session, Tail] => Versioned(1);
    /// How much the files of a session take. `sid` -> record.
    MEDIA_USAGE = "media_usages/1": [Session] => Versioned(1);
    /// Messages sent and received. `sid, message id, chat, sender` -> record.
    MESSAGES = "messages/1": [Session, Text, Text, Tail] => Dated(1);
    /// Facts about the file itself. `name` -> bytes: `application`, `schema` (u32), `seq/NAME` (u64).
    META = "meta/1": [Tail] => Raw;
    /// How many new contacts a session wrote to lately. `sid` -> record.
    NEW_CONTACTS = "new_contacts/1": [Session] => Versioned(1);
    /// Messages that are being sent. `sid, message id` -> when that began (ms, i64), then a number
    /// that grows with each (u64; older versions wrote none).
    OUTBOX = "outbox_messages/1": [Session, Tail] => Raw;
    /// What people answered to polls. `sid, poll's message id, voter` -> record.
    POLL_VOTES = "poll_votes/1": [Session, Text, Tail] => Dated(1);
    /// Index: each lane that has rows, by when its first is due. `queue, due time, lane` -> nothing.
    QUEUE_DUE = "queue_dues/1": [U8, U64, Escaped] => Raw;
    /// Lanes that have rows. `queue, lane` -> see `queue/lane.rs`.
    QUEUE_LANES = "queue_lanes/1": [U8, Escaped] => Versioned(1);
    /// Queue rows. `queue, lane, 0 or due time, seq` -> see `queue/lane.rs`.
    QUEUE_ROWS = "queue_rows/1": [U8, Escaped, U64, U64] => Versioned(1);
    /// What was deleted and has rows left. `kind, number` -> nothing; see `domain/removal.rs`.
    REMOVALS = "removals/1": [U8, U32] => Raw;
    /// People of lists and campaigns. `roster, chunk` -> record: several of them in order.
    RECIPIENTS = "recipients/1": [Roster, U32] => Versioned(1);
    /// Sessions. `session id` -> record.
    SESSIONS = "sessions/1": [Tail] => Versioned(1);
    /// Numbers that want no campaigns. `sid, number` -> record.
    SUPPRESSED = "suppressed_numbers/1": [Session, Tail] => Versioned(1);
    /// Files that lie at WhatsApp's servers. `sid, sha256 of the source, purpose` -> record.
    UPLOADS = "uploads/1": [Session, Fixed(32), Tail] => Dated(1);
    /// Device and Signal state of the WhatsApp library. `sid, kind, key` -> see `wa/backend/rows.rs`.
    WA = "wa_rows/1": [Session, U8, Tail] => Versioned(2);
    /// Index of rows in `wa_rows` that end. `sid, kind, end (seconds), key` -> nothing.
    WA_EXPIRY = "wa_expiries/1": [Session, U8, U64, Tail] => Raw;
    /// Webhooks of a session. `sid, webhook id` -> record.
    WEBHOOKS = "webhooks/1": [Session, Tail] => Versioned(1);
}

// `Changes` keeps one bit per table.
const _: () = assert!(COUNT <= 64);

/// Names that earlier schemas used, so that no new table takes one.
pub const RETIRED: &[&str] = &["dead_letters/1"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plural_versioned_unique_and_not_retired() {
        let mut seen = std::collections::BTreeSet::new();
        for table in Table::all() {
            let (noun, version) = table.name().split_once('/').expect("noun/version");
            assert!(
                noun.ends_with('s') || table == META,
                "{table:?} is not plural"
            );
            assert!(version.parse::<u32>().is_ok(), "{table:?} has no version");
            assert!(seen.insert(table.name()), "{table:?} twice");
            assert!(!RETIRED.contains(&table.name()), "{table:?} is retired");
        }
    }

    #[test]
    fn only_the_last_part_of_a_key_may_be_open_ended() {
        for table in Table::all() {
            let (_, before) = table.key().split_last().expect("a key has parts");
            assert!(!before.contains(&LayoutPart::Tail), "{table:?}");
        }
    }
}
