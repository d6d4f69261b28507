//! When the next message of a campaign may go: delay with jitter, daily cap, quiet hours.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::zone::{Day, Zone};
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;

/// The longest delay between two messages.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// The highest daily cap.
const MAX_DAILY_CAP: u64 = 1_000_000;

/// How fast a campaign may send. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pacing {
    /// The least time between two messages.
    #[serde(with = "milliseconds")]
    pub delay: Duration,
    /// How much longer the delay may become by chance, in percent.
    pub jitter: u8,
    /// How many messages go in one day of the zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_cap: Option<NonZeroU32>,
    /// When nothing is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<QuietHours>,
    /// Whose days and hours count.
    #[serde(default)]
    pub zone: Zone,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(3),
            jitter: 30,
            daily_cap: None,
            quiet: None,
            zone: Zone::utc(),
        }
    }
}

impl Pacing {
    /// The least time between two messages: up to an hour, in milliseconds.
    pub fn set_delay(&mut self, ms: u64) -> Result<()> {
        let most = MAX_DELAY.as_millis() as u64;
        self.delay = Duration::from_millis(bounded(ms, most)?);
        Ok(())
    }

    /// How much longer the delay may become by chance: up to 100 percent.
    pub fn set_jitter(&mut self, percent: u64) -> Result<()> {
        self.jitter = bounded(percent, 100)?;
        Ok(())
    }

    /// How many messages go in one day: one to a million.
    pub fn set_daily_cap(&mut self, many: u64) -> Result<()> {
        let cap = NonZeroU32::new(bounded(many, MAX_DAILY_CAP)?);
        let none = || Error::new(Code::NumberOutOfRange, "must be at least 1");
        self.daily_cap = Some(cap.ok_or_else(none)?);
        Ok(())
    }
}

/// A number from 0 to `most`.
pub(super) fn bounded<N: TryFrom<u64>>(value: u64, most: u64) -> Result<N> {
    let within = Some(value).filter(|value| *value <= most);
    let number = within.and_then(|value| N::try_from(value).ok());
    number.ok_or_else(|| {
        let detail = format!("must be a whole number from 0 to {most}");
        Error::new(Code::NumberOutOfRange, detail)
    })
}

/// Hours in which nothing is sent, as the clock on the wall shows them; they may cross midnight.
/// Where a clock shows an hour twice or not at all, so it does with its quiet. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    from: u16,
    to: u16,
}

impl QuietHours {
    /// From one minute of the day until before another.
    pub fn new(from: u16, to: u16) -> Result<Self> {
        if from >= 1440 || to >= 1440 || from == to {
            return Err(Error::new(
                Code::QuietHoursInvalid,
                "quiet hours must begin and end at different times of the day",
            ));
        }
        Ok(Self { from, to })
    }

    /// Reads two times of the day such as `21:00` and `08:00`; `24:00` is midnight.
    pub fn parse(from: &str, to: &str) -> Result<Self> {
        match (minute_of_day(from), minute_of_day(to)) {
            (Some(from), Some(to)) => Self::new(from, to),
            _ => Err(Error::from(Code::QuietHoursInvalid)),
        }
    }

    /// The first quiet minute of the day.
    pub fn from(self) -> u16 {
        self.from
    }

    /// The first minute of the day that is not quiet any more.
    pub fn to(self) -> u16 {
        self.to
    }

    fn holds(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

/// How many messages went on the last day on which any went. Stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayCount {
    /// The day, in the pacing's zone.
    pub day: Day,
    /// How many went.
    pub sent: u32,
}

impl DayCount {
    /// How many count for `day`. A clock or a zone that went back by a day gives no second cap.
    pub fn on(self, day: Day) -> u32 {
        let counts = day == self.day || day.next() == self.day;
        if counts { self.sent } else { 0 }
    }

    /// With one more message, sent on `day`.
    #[must_use]
    pub fn plus_one(self, day: Day) -> Self {
        let day_kept = if day.next() == self.day {
            self.day
        } else {
            day
        };
        Self {
            day: day_kept,
            sent: self.on(day).saturating_add(1),
        }
    }
}

/// When a message may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextSend {
    /// At once.
    Now,
    /// Not before this moment.
    At(Timestamp, WaitReason),
}

/// What a message waits for; the last one when it waits for several things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// The delay since the last message.
    Delay,
    /// The end of the quiet hours.
    QuietHours,
    /// The next day, because this one's messages are sent.
    DailyCap,
}

impl Pacing {
    /// When the next message may go. Who waits until the answer and asks again gets
    /// [`NextSend::Now`].
    ///
    /// `random` must be the same each time the question is asked about the same message (see
    /// [`seed`](super::template::seed)): chosen anew each time, asking often would shorten the wait.
    pub fn next_slot(
        &self,
        last_sent: Option<Timestamp>,
        counted: DayCount,
        now: Timestamp,
        random: u64,
    ) -> NextSend {
        let mut slot = NextSend::Now;
        let mut at = now;
        // A clock that went back says nothing of how long ago the last one went.
        if let Some(last) = last_sent.filter(|last| *last <= now) {
            let free = last.after(self.jittered(random));
            if free > now {
                (at, slot) = (free, NextSend::At(free, WaitReason::Delay));
            }
        }
        // Each step moves on, never past a moment at which the clock jumps: it may end what is waited
        // for. A day's cap and its quiet hours can follow each other, and where a whole day was skipped
        // once more. The bound holds for zones that nobody has thought of.
        for _ in 0..16 {
            let (day, minute) = (self.zone.day(at), self.zone.minute(at));
            let full = |cap: NonZeroU32| counted.on(day) >= cap.get();
            let (ends, why) = if self.daily_cap.is_some_and(full) {
                (self.zone.when(day.next(), 0, at), WaitReason::DailyCap)
            } else if let Some(quiet) = self.quiet.filter(|quiet| quiet.holds(minute)) {
                let last = if minute < quiet.to { day } else { day.next() };
                let ends = self.zone.when(last, quiet.to, at);
                (ends, WaitReason::QuietHours)
            } else {
                break;
            };
            at = self
                .zone
                .next_change(at)
                .map_or(ends, |jump| jump.min(ends));
            slot = NextSend::At(at, why);
        }
        slot
    }

    /// The delay with its share of chance: from `delay` to `delay` and `jitter` percent.
    fn jittered(&self, random: u64) -> Duration {
        let delay = u64::try_from(self.delay.min(MAX_DELAY).as_millis()).unwrap_or(0);
        let spread = delay * u64::from(self.jitter.min(100)) / 100;
        Duration::from_millis(delay + (((random >> 32) * (spread + 1)) >> 32))
    }
}

/// Reads `21:00` or `7:30`; `24:00` is the next day's first minute, and so 0.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        let legal = lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        legal.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (number(hour, 1..=2)?, number(minute, 2..=2)?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= 1440).then_some(total % 1440)
}

/// A duration as its milliseconds.
mod milliseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::parse_when;
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        parse_when(text, &Zone::utc()).expect("a moment")
    }

    fn pacing(zone: &str) -> Pacing {
        Pacing {
            delay: Duration::ZERO,
            zone: Zone::parse(zone).expect("a zone"),
            ..Pacing::default()
        }
    }

    fn quiet(zone: &str, from: &str, to: &str) -> Pacing {
        Pacing {
            quiet: Some(QuietHours::parse(from, to).expect("hours")),
            ..pacing(zone)
        }
    }

    /// When a campaign that has not sent anything may begin.
    fn first(pacing: &Pacing, now: &str) -> String {
        match pacing.next_slot(None, DayCount::default(), at(now), 0) {
            NextSend::Now => "now".to_owned(),
            NextSend::At(moment, why) => format!("{moment} {why:?}"),
        }
    }

    #[test]
    fn a_clock_that_jumps_out_of_its_quiet_hours_ends_them() {
        // Havana's clock goes back from 01:00 to 00:00, at which nothing is quiet.
        let quiet = quiet("America/Havana", "00:01", "01:00");
        assert_eq!(
            first(&quiet, "2026-11-01T04:59:59Z"),
            "2026-11-01T05:00:00.000Z QuietHours"
        );
    }

    #[test]
    fn the_first_message_goes_at_once_and_the_next_after_the_delay() {
        let pacing = Pacing {
            jitter: 0,
            ..Pacing::default()
        };
        let now = at("2026-01-01T10:00:00Z");
        let next = |last, now| pacing.next_slot(last, DayCount::default(), now, u64::MAX);
        assert_eq!(next(None, now), NextSend::Now);
        let due = now.after(Duration::from_secs(3));
        assert_eq!(next(Some(now), now), NextSend::At(due, WaitReason::Delay));
        assert_eq!(next(Some(now), due), NextSend::Now);
        let early = now.after(Duration::from_millis(2999));
        assert_eq!(next(Some(now), early), NextSend::At(due, WaitReason::Delay));
        // The clock went back by an hour: nobody waits for it to come round again.
        let back = now.before(Duration::from_secs(3600));
        assert_eq!(next(Some(now), back), NextSend::Now);
    }

    #[test]
    fn jitter_lengthens_the_delay_within_its_bounds() {
        let pacing = Pacing {
            delay: Duration::from_secs(10),
            ..Pacing::default()
        };
        let wait = |random| pacing.jittered(random).as_millis();
        assert_eq!((wait(0), wait(u64::MAX)), (10_000, 13_000));
        let waits = (0..1000).map(|n| wait(super::super::template::seed(1, n)));
        let mean = waits.sum::<u128>() / 1000;
        assert!((11_350..11_650).contains(&mean), "{mean}");
        let none = Pacing {
            delay: Duration::ZERO,
            ..pacing
        };
        assert_eq!(none.jittered(u64::MAX), Duration::ZERO);
    }

    #[test]
    fn the_cap_counts_for_a_day_of_the_zone() {
        let pacing = Pacing {
            daily_cap: NonZeroU32::new(2),
            ..pacing("Asia/Jakarta")
        };
        let evening = at("2026-01-01T16:59:59Z");
        let midnight = at("2026-01-01T17:00:00Z");
        let today = pacing.zone.day(evening);
        let next = |sent, now| pacing.next_slot(None, DayCount { day: today, sent }, now, 0);
        assert_eq!(next(1, evening), NextSend::Now);
        assert_eq!(
            next(2, evening),
            NextSend::At(midnight, WaitReason::DailyCap)
        );
        assert_eq!(
            next(9, evening),
            NextSend::At(midnight, WaitReason::DailyCap)
        );
        assert_eq!(next(2, midnight), NextSend::Now);
        let count = DayCount {
            day: today,
            sent: 2,
        };
        assert_eq!(count.plus_one(today).sent, 3);
        assert_eq!(
            count.plus_one(today.next()),
            DayCount {
                day: today.next(),
                sent: 1
            }
        );
        let ahead = DayCount {
            day: today.next(),
            sent: 2,
        };
        assert_eq!(
            ahead.plus_one(today),
            DayCount {
                day: today.next(),
                sent: 3
            }
        );
    }

    #[test]
    fn quiet_hours_hold_within_a_day_and_over_midnight() {
        let night = quiet("Asia/Jakarta", "21:00", "08:00");
        for (now, slot) in [
            ("2026-01-01T13:59:59.999Z", "now"),
            (
                "2026-01-01T14:00:00Z",
                "2026-01-02T01:00:00.000Z QuietHours",
            ),
            (
                "2026-01-01T17:00:00Z",
                "2026-01-02T01:00:00.000Z QuietHours",
            ),
            (
                "2026-01-02T00:59:59.999Z",
                "2026-01-02T01:00:00.000Z QuietHours",
            ),
            ("2026-01-02T01:00:00Z", "now"),
        ] {
            assert_eq!(first(&night, now), slot, "{now}");
        }
        let noon = quiet("+07:00", "12:00", "13:00");
        assert_eq!(first(&noon, "2026-01-01T04:59:59Z"), "now");
        assert_eq!(
            first(&noon, "2026-01-01T05:30:00Z"),
            "2026-01-01T06:00:00.000Z QuietHours"
        );
        let until_midnight = quiet("UTC", "20:00", "24:00");
        assert_eq!(
            first(&until_midnight, "2026-01-01T20:00:00Z"),
            "2026-01-02T00:00:00.000Z QuietHours"
        );
    }

    #[test]
    fn a_full_day_waits_for_the_end_of_the_next_nights_quiet() {
        let pacing = Pacing {
            daily_cap: NonZeroU32::new(1),
            ..quiet("Asia/Jakarta", "21:00", "08:00")
        };
        let now = at("2026-01-01T03:00:00Z");
        let counted = DayCount {
            day: pacing.zone.day(now),
            sent: 1,
        };
        assert_eq!(
            pacing.next_slot(None, counted, now, 0),
            NextSend::At(at("2026-01-02T01:00:00Z"), WaitReason::QuietHours)
        );
    }

    #[test]
    fn a_skipped_hour_ends_the_quiet_and_a_doubled_one_is_quiet_twice() {
        // New York: 2:00 becomes 3:00 at 7:00 UTC; 2:00 becomes 1:00 at 6:00 UTC.
        let spring = quiet("America/New_York", "22:00", "02:30");
        assert_eq!(
            first(&spring, "2026-03-08T06:59:00Z"),
            "2026-03-08T07:00:00.000Z QuietHours"
        );
        assert_eq!(first(&spring, "2026-03-08T07:00:00Z"), "now");
        let inside = quiet("America/New_York", "02:10", "02:50");
        assert_eq!(first(&inside, "2026-03-08T06:59:59Z"), "now");
        assert_eq!(first(&inside, "2026-03-08T07:00:00Z"), "now");
        let autumn = quiet("America/New_York", "22:00", "01:30");
        assert_eq!(
            first(&autumn, "2026-11-01T04:00:00Z"),
            "2026-11-01T05:30:00.000Z QuietHours"
        );
        assert_eq!(first(&autumn, "2026-11-01T05:59:59Z"), "now");
        assert_eq!(
            first(&autumn, "2026-11-01T06:00:00Z"),
            "2026-11-01T06:30:00.000Z QuietHours"
        );
        assert_eq!(first(&autumn, "2026-11-01T06:30:00Z"), "now");
    }

    #[test]
    fn a_day_that_begins_at_one_or_ends_late_has_its_cap() {
        // Cairo's clock goes from 0:00 to 1:00 on 2026-04-24, at 22:00 UTC, and has 25 hours on 10-29.
        let cap = Pacing {
            daily_cap: NonZeroU32::new(1),
            ..pacing("Africa/Cairo")
        };
        for (now, next_day) in [
            ("2026-04-23T12:00:00Z", "2026-04-23T22:00:00Z"),
            ("2026-04-24T12:00:00Z", "2026-04-24T21:00:00Z"),
            ("2026-10-29T12:00:00Z", "2026-10-29T22:00:00Z"),
        ] {
            let now = at(now);
            let counted = DayCount {
                day: cap.zone.day(now),
                sent: 1,
            };
            let slot = cap.next_slot(None, counted, now, 0);
            assert_eq!(slot, NextSend::At(at(next_day), WaitReason::DailyCap));
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for (from, to) in [
            ("21:00", "21:00"),
            ("00:00", "24:00"),
            ("25:00", "08:00"),
            ("21:60", "08:00"),
            ("24:01", "08:00"),
            ("9", "10"),
            ("-1:00", "08:00"),
            ("", ""),
            ("21:0", "08:00"),
        ] {
            assert!(QuietHours::parse(from, to).is_err(), "{from} {to}");
        }
    }

    #[test]
    fn a_stored_pacing_is_read_again() {
        let full = Pacing {
            daily_cap: NonZeroU32::new(5),
            ..quiet("Asia/Jakarta", "21:00", "8:00")
        };
        for pacing in [full, Pacing::default()] {
            let stored = serde_json::to_string(&pacing).expect("JSON");
            assert_eq!(
                serde_json::from_str::<Pacing>(&stored).expect("pacing"),
                pacing
            );
        }
    }

    const ZONES: [&str; 9] = [
        "UTC",
        "Asia/Jakarta",
        "+05:45",
        "America/New_York",
        "Europe/Berlin",
        "Africa/Cairo",
        "America/Havana",
        "Australia/Lord_Howe",
        "Asia/Beirut",
    ];

    /// Moments of 2026, many of them near those at which clocks change.
    fn moments() -> impl Strategy<Value = Timestamp> {
        let changes = [
            "2026-03-08T07:00:00Z",
            "2026-11-01T06:00:00Z",
            "2026-03-29T01:00:00Z",
            "2026-10-25T01:00:00Z",
            "2026-04-23T22:00:00Z",
            "2026-10-29T21:00:00Z",
            "2026-03-08T05:00:00Z",
            "2026-11-01T05:00:00Z",
            "2026-04-04T15:00:00Z",
            "2026-10-03T15:30:00Z",
            "2026-03-28T22:00:00Z",
            "2026-10-24T21:00:00Z",
        ]
        .map(at);
        let near = (
            proptest::sample::select(changes.to_vec()),
            -100_000_000..100_000_000_i64,
        );
        prop_oneof![
            near.prop_map(|(at, off)| Timestamp::from_ms(at.as_ms() + off)),
            (1_767_225_600_000..1_798_761_600_000_i64).prop_map(Timestamp::from_ms),
        ]
    }

    fn pacings() -> impl Strategy<Value = Pacing> {
        let quiet =
            (0..1440_u16, 0..1440_u16).prop_map(|(from, to)| QuietHours::new(from, to).ok());
        let quiet = prop_oneof![quiet.clone(), quiet, Just(None)];
        let zone = proptest::sample::select(ZONES.to_vec());
        let cap = proptest::option::of(1..6_u32);
        (0..=3_600_000_u64, 0..=100_u8, cap, quiet, zone).prop_map(
            |(ms, jitter, cap, quiet, zone)| Pacing {
                delay: Duration::from_millis(ms),
                jitter,
                daily_cap: cap.and_then(NonZeroU32::new),
                quiet,
                zone: Zone::parse(zone).expect("a zone"),
            },
        )
    }

    proptest! {
        #[test]
        fn a_campaign_keeps_its_delay_its_quiet_and_its_cap(
            pacing in pacings(), start in moments(),
            steps in proptest::collection::vec((any::<u64>(), 0..5_000_000_u64), 20),
        ) {
            let (mut now, mut last, mut counted) = (start, None, DayCount::default());
            let mut days = std::collections::BTreeMap::new();
            for (random, later) in steps {
                if let NextSend::At(slot, _) = pacing.next_slot(last, counted, now, random) {
                    prop_assert!(slot > now);
                    prop_assert_eq!(pacing.next_slot(last, counted, slot, random), NextSend::Now);
                    let before = slot.before(Duration::from_millis(1));
                    prop_assert_ne!(pacing.next_slot(last, counted, before, random), NextSend::Now);
                    now = slot;
                }
                prop_assert!(last.is_none_or(|last| now.since(last) >= pacing.delay));
                let minute = pacing.zone.minute(now);
                prop_assert!(pacing.quiet.is_none_or(|quiet| !quiet.holds(minute)));
                let sent = days.entry(pacing.zone.day(now)).or_insert(0);
                *sent += 1;
                prop_assert!(pacing.daily_cap.is_none_or(|cap| *sent <= cap.get()));
                counted = counted.plus_one(pacing.zone.day(now));
                last = Some(now);
                now = now.after(Duration::from_millis(later));
            }
        }

        #[test]
        fn nobody_waits_longer_than_needed(
            pacing in pacings(), now in moments(), sent in 0..6_u32, ago in 0..5_000_000_u64, random: u64,
        ) {
            let counted = DayCount { day: pacing.zone.day(now), sent };
            let last = now.before(Duration::from_millis(ago));
            let due = last.after(pacing.jittered(random)).max(now);
            let may = |at: Timestamp| {
                let full = |cap: NonZeroU32| counted.on(pacing.zone.day(at)) >= cap.get();
                let minute = pacing.zone.minute(at);
                !pacing.daily_cap.is_some_and(full) && !pacing.quiet.is_some_and(|q| q.holds(minute))
            };
            // All that changes does so at a whole minute.
            let mut expected = due;
            while !may(expected) {
                expected = Timestamp::from_ms((expected.as_ms() / 60_000 + 1) * 60_000);
            }
            let slot = match pacing.next_slot(Some(last), counted, now, random) {
                NextSend::Now => now,
                NextSend::At(slot, _) => slot,
            };
            prop_assert_eq!(slot, expected);
        }

        #[test]
        fn no_time_and_no_number_is_a_panic(
            pacing in pacings(), last: i64, now: i64, sent: u32, random: u64,
        ) {
            let (last, now) = (Timestamp::from_ms(last), Timestamp::from_ms(now));
            let counted = DayCount { day: pacing.zone.day(last), sent };
            let _ = pacing.next_slot(Some(last), counted, now, random);
        }
    }
}
