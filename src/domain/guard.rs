//! The guard of plain sends: how many new contacts a session may write to in a minute and in a day.
//!
//! A first program that sends in a loop gets its account banned: WhatsApp watches who writes to many
//! people that never heard of them. Replies, chats that are known and groups are free, and campaigns
//! have their own pacing.
//!
//! Who is known is read from what the store has anyway: the state of Signal, which begins with the
//! first message in either direction and stays as long as the account is linked. Only messages to new
//! contacts write rows, in the transaction that stores the message.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Gateway;
use super::session::Session;
use crate::error::{Code, Error, Result};
use crate::ids::SessionNumber;
use crate::jid::{Jid, JidServer};
use crate::store::record::Record;
use crate::store::{Read, Tx, Typed, bytes_of, tables};
use crate::time::Timestamp;
use crate::wa::backend;

/// The most that a limit can be: more is `off`.
pub const MAX_GUARD: u32 = 1_000_000;

/// How many new contacts a session may write to. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardLimits {
    /// In any minute.
    pub per_minute: NonZeroU32,
    /// In any 24 hours.
    pub per_day: NonZeroU32,
}

impl GuardLimits {
    /// Both from 1 to [`MAX_GUARD`].
    pub fn new(per_minute: u64, per_day: u64) -> Option<Self> {
        let limit = |many: u64| {
            let many = u32::try_from(many).ok().filter(|many| *many <= MAX_GUARD);
            many.and_then(NonZeroU32::new)
        };
        Some(Self {
            per_minute: limit(per_minute)?,
            per_day: limit(per_day)?,
        })
    }
}

/// Whether a session is guarded. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// It is not.
    Off,
    /// It may write to so many new contacts.
    On(GuardLimits),
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On(limits) => write!(f, "{},{}", limits.per_minute, limits.per_day),
        }
    }
}

impl FromStr for Guard {
    type Err = ();

    /// Reads `off`, or a minute's and a day's number: `60,1000`.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        let (minute, day) = text.split_once(',').ok_or(())?;
        let number = |part: &str| part.trim().parse::<u64>().map_err(drop);
        let limits = GuardLimits::new(number(minute)?, number(day)?);
        limits.map(Self::On).ok_or(())
    }
}

/// One of the two windows in which new contacts are counted.
struct Window {
    length: Duration,
    /// What lies within this is counted as one, so that a row stays small.
    slot: Duration,
    /// As a sentence says it.
    name: &'static str,
}

const MINUTE: Window = Window {
    length: Duration::from_secs(60),
    slot: Duration::from_secs(5),
    name: "minute",
};
const DAY: Window = Window {
    length: Duration::from_secs(24 * 3600),
    slot: Duration::from_secs(3600),
    name: "day",
};

/// So many since then, within a slot of the window.
type Slot = (Timestamp, u32);

impl Window {
    /// Drops what has left the window. A slot counts until its last moment has left it, so that no
    /// minute ever has more than the limit.
    ///
    /// Hazard: a clock that was set back must not hold anybody up for longer than the window, and
    /// one that was set forward forgets.
    fn shift(&self, slots: &mut Vec<Slot>, now: Timestamp) {
        slots.retain_mut(|(began, _)| {
            *began = (*began).min(now);
            self.end_of(*began) > now
        });
    }

    fn end_of(&self, began: Timestamp) -> Timestamp {
        began.after(self.slot).after(self.length)
    }

    /// How long until there is room for one more; `None` when there is.
    fn wait(&self, slots: &[Slot], most: NonZeroU32, now: Timestamp) -> Option<Duration> {
        let mut count = sum(slots);
        for (began, many) in slots {
            if count < most.get() {
                break;
            }
            count = count.saturating_sub(*many);
            if count < most.get() {
                return Some(self.end_of(*began).since(now));
            }
        }
        None
    }

    fn add(&self, slots: &mut Vec<Slot>, now: Timestamp) {
        match slots.last_mut() {
            Some((began, many)) if began.after(self.slot) > now => *many += 1,
            _ => slots.push((now, 1)),
        }
    }
}

fn sum(slots: &[Slot]) -> u32 {
    slots
        .iter()
        .fold(0, |all, (_, many)| all.saturating_add(*many))
}

/// The new contacts of a session. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct NewContacts {
    minute: Vec<Slot>,
    day: Vec<Slot>,
}

impl Record for NewContacts {
    const VERSION: u8 = 1;
}

impl NewContacts {
    fn shift(&mut self, now: Timestamp) {
        MINUTE.shift(&mut self.minute, now);
        DAY.shift(&mut self.day, now);
    }

    /// Counts one more, or says why not. It was shifted to `now`.
    fn take(&mut self, limits: GuardLimits, now: Timestamp) -> Result<()> {
        let by_day = DAY.wait(&self.day, limits.per_day, now);
        let by_minute = MINUTE.wait(&self.minute, limits.per_minute, now);
        let (window, most, wait) = match (by_day, by_minute) {
            (Some(wait), _) => (DAY, limits.per_day, wait),
            (None, Some(wait)) => (MINUTE, limits.per_minute, wait),
            (None, None) => {
                MINUTE.add(&mut self.minute, now);
                DAY.add(&mut self.day, now);
                return Ok(());
            }
        };
        let seconds = wait.as_millis().div_ceil(1000);
        let text = format!(
            "the guard lets a session write to {most} new contacts a {}, and this is one more: try again in {seconds} \
             seconds, use a campaign, or change the setting guard (of the session or of the gateway)",
            window.name
        );
        Err(Error::new(Code::GuardReached, text).again_after(wait))
    }
}

/// That somebody new was written to: it is known before the message has left, and also when that
/// fails. Stored.
#[derive(Debug, Serialize, Deserialize)]
struct FirstContact {
    at: Timestamp,
}

impl Record for FirstContact {
    const VERSION: u8 = 1;
}

const NEW_CONTACTS: Typed<SessionNumber, NewContacts> = Typed::new(tables::NEW_CONTACTS);
const FIRST_CONTACTS: Typed<(SessionNumber, Jid), FirstContact> =
    Typed::new(tables::FIRST_CONTACTS);

/// The names of a person, number and LID as far as both are known: first the one under which WhatsApp
/// encrypts today.
fn names(read: &impl Read, session: SessionNumber, person: &Jid) -> Result<Vec<Jid>> {
    let user = person.user_part();
    let (lid, number) = match person.server() {
        JidServer::Lid => {
            let number = backend::number_of(read, session.0, user)?;
            let number = number.as_deref().and_then(Jid::of_number);
            (Some(person.clone()), number)
        }
        _ => {
            let lid = backend::lid_of(read, session.0, user)?;
            let lid = lid.and_then(|lid| Jid::parse(&format!("{lid}@lid")));
            (lid, Some(person.clone()))
        }
    };
    Ok(lid.into_iter().chain(number).collect())
}

/// Whether the session and this person ever wrote to each other.
fn is_known(read: &impl Read, session: SessionNumber, person: &Jid) -> Result<bool> {
    let names = names(read, session, person)?;
    for name in &names {
        if backend::has_signal_state(read, session.0, name.user_part())? {
            return Ok(true);
        }
    }
    for name in &names {
        if FIRST_CONTACTS.exists(read, (session, name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the guard says of messages that are about to be stored, in their order: why one must not go.
/// Those that may go are counted. `None` stands for one that is free, and so is a group.
pub(in crate::domain) fn admit<'a>(
    tx: &mut Tx,
    session: SessionNumber,
    limits: GuardLimits,
    people: impl Iterator<Item = Option<&'a Jid>>,
    now: Timestamp,
) -> Result<Vec<Option<Error>>> {
    let mut counted = None;
    let mut said = Vec::new();
    for person in people {
        let person = person.filter(|person| person.is_person());
        let known = person.map(|person| is_known(tx, session, person));
        let (Some(person), Some(false)) = (person, known.transpose()?) else {
            said.push(None);
            continue;
        };
        let counted = match &mut counted {
            Some(counted) => counted,
            none => none.insert(shifted(tx, session, now)?),
        };
        let refused = counted.take(limits, now).err();
        if refused.is_none() {
            FIRST_CONTACTS.put(tx, (session, person), &FirstContact { at: now })?;
        }
        said.push(refused);
    }
    if let Some(counted) = counted {
        NEW_CONTACTS.put(tx, session, &counted)?;
    }
    Ok(said)
}

fn shifted(read: &impl Read, session: SessionNumber, now: Timestamp) -> Result<NewContacts> {
    let mut counted = NEW_CONTACTS.get(read, session)?.unwrap_or_default();
    counted.shift(now);
    Ok(counted)
}

/// Forgets who was written to: another account may use the session next. What was counted stays.
pub(in crate::domain) fn forget_contacts(tx: &mut Tx, session: SessionNumber) -> Result<()> {
    tx.delete_prefix(tables::FIRST_CONTACTS, &bytes_of(session))
        .map(drop)
}

/// How the guard of a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardStatus {
    /// What holds.
    pub guard: Guard,
    /// New contacts that were written to in the last minute, and in the last 24 hours.
    pub last_minute: u32,
    /// The same of the last 24 hours.
    pub last_day: u32,
}

impl Gateway {
    /// What holds for a session: its own choice, else the gateway's.
    pub fn guard_of(&self, session: &Session) -> Guard {
        session.settings().guard.unwrap_or(self.config.guard)
    }

    /// How the guard of a session stands.
    pub fn guard_status(&self, session: &Session) -> Result<GuardStatus> {
        let now = self.clock.now();
        let counted = self.store.read(|read| shifted(read, session.number, now))?;
        Ok(GuardStatus {
            guard: self.guard_of(session),
            last_minute: sum(&counted.minute),
            last_day: sum(&counted.day),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_minute: u64, per_day: u64) -> GuardLimits {
        GuardLimits::new(per_minute, per_day).expect("limits")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + seconds)
    }

    /// Tries one at this second; how many seconds to wait when there is no room.
    fn take(counted: &mut NewContacts, limits: GuardLimits, second: i64) -> Option<u64> {
        counted.shift(at(second));
        let refused = counted.take(limits, at(second)).err()?;
        Some(refused.retry_after().expect("a time").as_secs())
    }

    #[test]
    fn no_minute_and_no_day_has_more_than_the_limit() {
        let mut counted = NewContacts::default();
        let limits = limits(3, 20);
        let mut taken = Vec::new();
        for second in 0..100_000 {
            if take(&mut counted, limits, second).is_none() {
                taken.push(second);
            }
        }
        let within = |length: i64| {
            let of = |from: i64| {
                taken
                    .iter()
                    .filter(move |t| (from..from + length).contains(*t))
            };
            taken.iter().map(|&from| of(from).count()).max()
        };
        assert_eq!(within(60), Some(3));
        assert_eq!(within(86_400), Some(20));
        // What was refused could go after the time that was told, and a slot late at most.
        assert!(taken.contains(&65), "{taken:?}");
        assert!(
            taken.iter().any(|t| (86_400..90_001).contains(t)),
            "{taken:?}"
        );
    }

    #[test]
    fn who_waits_as_long_as_told_gets_through_and_not_before() {
        let mut counted = NewContacts::default();
        let limits = limits(2, 100);
        assert_eq!(take(&mut counted, limits, 0), None);
        assert_eq!(take(&mut counted, limits, 10), None);
        let wait = take(&mut counted, limits, 20).expect("full");
        assert_eq!(wait, 45);
        assert!(take(&mut counted, limits, 20 + 44).is_some());
        assert_eq!(take(&mut counted, limits, 20 + 45), None);
    }

    #[test]
    fn a_limit_that_was_lowered_waits_for_enough_to_leave() {
        let mut counted = NewContacts::default();
        for second in [0, 10, 20] {
            assert_eq!(take(&mut counted, limits(9, 100), second), None);
        }
        // All three must leave, or two of them.
        assert_eq!(take(&mut counted, limits(1, 100), 20), Some(65));
        assert_eq!(take(&mut counted, limits(2, 100), 20), Some(55));
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nobody_up_for_longer() {
        let mut counted = NewContacts::default();
        let limits = limits(1, 100);
        assert_eq!(take(&mut counted, limits, 1_000_000), None);
        assert_eq!(take(&mut counted, limits, 0), Some(65));
        assert_eq!(take(&mut counted, limits, 65), None);
    }

    #[test]
    fn a_day_that_is_full_is_what_is_told() {
        let mut counted = NewContacts::default();
        for _ in 0..2 {
            assert_eq!(take(&mut counted, limits(2, 2), 0), None);
        }
        let refused = counted.take(limits(2, 2), at(0)).expect_err("full");
        assert_eq!(refused.code(), Code::GuardReached);
        for words in ["2 new contacts a day", "90000 seconds", "setting guard"] {
            assert!(refused.detail().contains(words), "{refused}");
        }
    }

    #[test]
    fn a_row_stays_small() {
        let mut counted = NewContacts::default();
        for second in 0..200_000 {
            let _ = take(&mut counted, limits(1_000_000, 1_000_000), second);
        }
        assert!(counted.minute.len() <= 14 && counted.day.len() <= 26);
    }

    #[test]
    fn a_guard_is_read_as_it_is_written() {
        for text in ["off", "60,1000", "1,1", "1000000,1000000"] {
            assert_eq!(
                text.parse::<Guard>().map(|g| g.to_string()),
                Ok(text.into())
            );
        }
        assert_eq!("OFF".parse(), Ok(Guard::Off));
        assert_eq!(" 5 , 6".parse(), Ok(Guard::On(limits(5, 6))));
        for text in [
            "",
            "on",
            "60",
            "0,5",
            "5,0",
            "1000001,5",
            "-1,5",
            "a,b",
            "1,2,3",
        ] {
            assert_eq!(text.parse::<Guard>(), Err(()), "{text}");
        }
    }
}
