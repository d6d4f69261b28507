//! The guard of plain sends: how many new contacts a session may write to in a minute and in a day.
//!
//! A first program that sends in a loop gets its account banned: WhatsApp watches who writes to many
//! people that never heard of them. Replies, chats that are known and groups are free, and campaigns
//! have their own pacing.
//!
//! Known is whom the session wrote to privately, or who wrote to it: a row each, written with the first
//! message, in its transaction. The state of Signal says less: one text to a group agrees keys with all
//! its members. Only where a session is here for the first time with this rule, out of an older version
//! or another program, those with whom it has such state are taken as known: nothing tells them apart.
//!
//! The rows are the account's: they outlast a logout, and go when another account is paired.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::ids::{MessageId, SessionNumber};
use crate::jid::{Jid, JidServer};
use crate::store::record::Record;
use crate::store::{Durability, Read, Reader, Store, Tx, Typed, bytes_of, tables};
use crate::time::Timestamp;
use crate::wa::backend;
use crate::wa::message::Incoming;

/// How many rows one transaction writes or deletes, so that the other sessions are not held up.
const PAGE: usize = 1000;

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
    slot: Duration::from_secs(1),
    name: "minute",
};
const DAY: Window = Window {
    length: Duration::from_secs(24 * 3600),
    slot: Duration::from_secs(900),
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

    /// Takes one away that was counted at this time, unless it has left the window.
    fn give_back(&self, slots: &mut Vec<Slot>, counted: Timestamp) {
        let covers = |(began, _): &&mut Slot| *began <= counted && began.after(self.slot) > counted;
        if let Some((_, many)) = slots.iter_mut().find(covers) {
            *many = many.saturating_sub(1);
        }
        slots.retain(|(_, many)| *many > 0);
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
    /// Whether those are noted as known who were there before this rule.
    #[serde(default)]
    older_noted: bool,
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
        let contacts = match most.get() {
            1 => "contact",
            _ => "contacts",
        };
        let text = format!(
            "the guard lets a session write to {most} new {contacts} a {}, and this is one more: try again in {seconds} \
             seconds, use a campaign, or change the setting guard (of the session or of the gateway)",
            window.name
        );
        Err(Error::new(Code::GuardReached, text).again_after(wait))
    }
}

/// That a session and a person are known to each other. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct FirstContact {
    /// The message that was counted for it, until it is known whether it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counted: Option<CountedMessage>,
}

/// A first message to somebody. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CountedMessage {
    id: MessageId,
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

/// Whether the session and this person ever wrote to each other privately.
fn is_known(read: &impl Read, session: SessionNumber, person: &Jid) -> Result<bool> {
    for name in names(read, session, person)? {
        if FIRST_CONTACTS.exists(read, (session, &name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The message that was counted for a person, while it is not known whether it left.
fn counted_for(
    read: &impl Read,
    session: SessionNumber,
    person: &Jid,
) -> Result<Option<CountedMessage>> {
    let contact = FIRST_CONTACTS.readable(read, (session, person))?;
    Ok(contact.and_then(|contact| contact.counted))
}

/// What the guard says of messages that are about to be stored, in their order: why one must not go.
/// Those that may go are counted. `None` stands for one that is free, and so is a group.
pub(in crate::domain) fn admit<'a>(
    tx: &mut Tx,
    session: SessionNumber,
    limits: GuardLimits,
    messages: impl Iterator<Item = (&'a MessageId, Option<&'a Jid>)>,
    now: Timestamp,
) -> Result<Vec<Option<Error>>> {
    let mut counted = None;
    let mut said = Vec::new();
    for (id, person) in messages {
        let person = person.filter(|person| person.is_person());
        let known = person.map(|person| is_known(tx, session, person));
        let (Some(person), Some(false)) = (person, known.transpose()?) else {
            // A message that comes again may have left before.
            if let Some(person) = person
                && counted_for(tx, session, person)?.is_some_and(|counted| counted.id == *id)
            {
                FIRST_CONTACTS.put(tx, (session, person), &FirstContact::default())?;
            }
            said.push(None);
            continue;
        };
        let counted = match &mut counted {
            Some(counted) => counted,
            none => none.insert(shifted(tx, session, now)?),
        };
        let refused = counted.take(limits, now).err();
        if refused.is_none() {
            let counted = CountedMessage {
                id: id.clone(),
                at: now,
            };
            let contact = FirstContact {
                counted: Some(counted),
            };
            FIRST_CONTACTS.put(tx, (session, person), &contact)?;
        }
        said.push(refused);
    }
    if let Some(counted) = counted {
        NEW_CONTACTS.put(tx, session, &counted)?;
    }
    Ok(said)
}

/// What became of a message to a person is known: it reached nobody, or it may have arrived. The first to
/// somebody gives its place back if it surely `reached_nobody`, and that somebody is new again.
///
/// Hazard: what may have arrived stays counted, or a loop of sends that fail would have no limit.
pub(in crate::domain) fn settle(
    tx: &mut Tx,
    session: SessionNumber,
    person: &Jid,
    id: &MessageId,
    reached_nobody: bool,
) -> Result<()> {
    let key = (session, person);
    let Some(counted) = counted_for(tx, session, person)? else {
        // Another message to them gave its place back meanwhile.
        return match reached_nobody {
            true => Ok(()),
            false => note_written(tx, session, person),
        };
    };
    if !reached_nobody {
        // Whichever message it was, this person was written to.
        return FIRST_CONTACTS.put(tx, key, &FirstContact::default());
    }
    if counted.id != *id {
        return Ok(());
    }
    FIRST_CONTACTS.delete(tx, key);
    let mut all = NEW_CONTACTS.get(tx, session)?.unwrap_or_default();
    MINUTE.give_back(&mut all.minute, counted.at);
    DAY.give_back(&mut all.day, counted.at);
    NEW_CONTACTS.put(tx, session, &all)
}

/// Remembers that a message was stored to go to somebody.
pub(in crate::domain) fn note_written(tx: &mut Tx, session: SessionNumber, to: &Jid) -> Result<()> {
    if !to.is_person() || is_known(tx, session, to)? {
        return Ok(());
    }
    FIRST_CONTACTS.put(tx, (session, to), &FirstContact::default())
}

/// Remembers that a message came in a person's chat: an answer to it is free from then on.
pub(in crate::domain) fn note_arrived(
    tx: &mut Tx,
    session: SessionNumber,
    incoming: &Incoming,
) -> Result<()> {
    if !incoming.chat.is_person() || is_known(tx, session, &incoming.chat)? {
        return Ok(());
    }
    let person = &incoming.person;
    let number = person.number.as_deref().and_then(Jid::of_number);
    // Of one's own messages it is oneself.
    let others = [number, person.lid.clone()];
    let others = others.into_iter().flatten().filter(|_| !incoming.from_me);
    for name in others.chain([incoming.chat.clone()]) {
        FIRST_CONTACTS.put(tx, (session, &name), &FirstContact::default())?;
    }
    Ok(())
}

/// Takes those as known who were there before this rule: with whom the session has Signal state when it
/// is started with it for the first time. A session that is new has none.
///
/// Hazard: call it before the session connects, or the members of a group that is written to meanwhile
/// are among them. After a crash in between call it again.
pub(in crate::domain) async fn note_older_contacts(
    store: &Store,
    session: SessionNumber,
) -> Result<()> {
    let counted = store.read(|read| NEW_CONTACTS.get(read, session))?;
    if counted.is_some_and(|counted| counted.older_noted) {
        return Ok(());
    }
    let mut after = None;
    loop {
        let page =
            move |read: &Reader| backend::people_with_signal_state(read, session.0, after, PAGE);
        let Some((people, last)) = store.read_slow(page).await? else {
            break;
        };
        let note = move |tx: &mut Tx| {
            let mut notes = people
                .iter()
                .map(|person| note_written(tx, session, person));
            notes.try_for_each(|noted| noted)
        };
        store.write(Durability::Lazy, note).await?;
        after = Some(last);
    }
    let done = move |tx: &mut Tx| {
        let mut counted = NEW_CONTACTS.get(tx, session)?.unwrap_or_default();
        counted.older_noted = true;
        NEW_CONTACTS.put(tx, session, &counted)
    };
    store.write(Durability::Lazy, done).await
}

fn shifted(read: &impl Read, session: SessionNumber, now: Timestamp) -> Result<NewContacts> {
    let mut counted = NEW_CONTACTS.get(read, session)?.unwrap_or_default();
    counted.shift(now);
    Ok(counted)
}

/// Forgets who is known: another account uses the session. What was counted stays.
///
/// After a crash in between call it again.
pub(in crate::domain) async fn forget_contacts(
    store: &Store,
    session: SessionNumber,
) -> Result<()> {
    loop {
        let some =
            move |tx: &mut Tx| tx.delete_some(tables::FIRST_CONTACTS, &bytes_of(session), PAGE);
        if store.write(Durability::Sync, some).await? < PAGE {
            return Ok(());
        }
    }
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

/// How the guard of a session stands.
pub(in crate::domain) fn status(
    read: &impl Read,
    session: SessionNumber,
    guard: Guard,
    now: Timestamp,
) -> Result<GuardStatus> {
    let counted = shifted(read, session, now)?;
    Ok(GuardStatus {
        guard,
        last_minute: sum(&counted.minute),
        last_day: sum(&counted.day),
    })
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
        assert!(taken.contains(&61), "{taken:?}");
        assert!(
            taken.iter().any(|t| (86_400..87_301).contains(t)),
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
        assert_eq!(wait, 41);
        assert!(take(&mut counted, limits, 20 + 40).is_some());
        assert_eq!(take(&mut counted, limits, 20 + 41), None);
    }

    #[test]
    fn a_limit_that_was_lowered_waits_for_enough_to_leave() {
        let mut counted = NewContacts::default();
        for second in [0, 10, 20] {
            assert_eq!(take(&mut counted, limits(9, 100), second), None);
        }
        // All three must leave, or two of them.
        assert_eq!(take(&mut counted, limits(1, 100), 20), Some(61));
        assert_eq!(take(&mut counted, limits(2, 100), 20), Some(51));
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nobody_up_for_longer() {
        let mut counted = NewContacts::default();
        let limits = limits(1, 100);
        assert_eq!(take(&mut counted, limits, 1_000_000), None);
        assert_eq!(take(&mut counted, limits, 0), Some(61));
        assert_eq!(take(&mut counted, limits, 61), None);
    }

    #[test]
    fn a_day_that_is_full_is_what_is_told() {
        let mut counted = NewContacts::default();
        for _ in 0..2 {
            assert_eq!(take(&mut counted, limits(2, 2), 0), None);
        }
        let refused = counted.take(limits(2, 2), at(0)).expect_err("full");
        assert_eq!(refused.code(), Code::GuardReached);
        for words in ["2 new contacts a day", "87300 seconds", "setting guard"] {
            assert!(refused.detail().contains(words), "{refused}");
        }
        let refused = counted.take(limits(9, 1), at(0)).expect_err("full");
        assert!(
            refused.detail().contains("1 new contact a day"),
            "{refused}"
        );
    }

    #[test]
    fn a_place_that_is_given_back_is_the_one_that_was_taken() {
        let mut counted = NewContacts::default();
        let limits = limits(2, 2);
        assert_eq!(take(&mut counted, limits, 0), None);
        assert_eq!(take(&mut counted, limits, 20), None);
        let both = counted.clone();
        // What was counted at another time is nobody's place.
        for second in [-1, 5, 19, 21] {
            MINUTE.give_back(&mut counted.minute, at(second));
        }
        DAY.give_back(&mut counted.day, at(900));
        assert_eq!(counted, both);
        MINUTE.give_back(&mut counted.minute, at(20));
        DAY.give_back(&mut counted.day, at(20));
        assert_eq!((sum(&counted.minute), sum(&counted.day)), (1, 1));
        assert_eq!(take(&mut counted, limits, 30), None);
        // The first one leaves first, and then that one.
        assert_eq!(counted.minute, [(at(0), 1), (at(30), 1)]);
        for _ in 0..3 {
            MINUTE.give_back(&mut counted.minute, at(0));
        }
        assert_eq!(counted.minute, [(at(30), 1)]);
    }

    #[test]
    fn a_row_stays_small() {
        let mut counted = NewContacts::default();
        for second in 0..200_000 {
            let _ = take(&mut counted, limits(1_000_000, 1_000_000), second);
        }
        assert!(counted.minute.len() <= 62 && counted.day.len() <= 98);
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
