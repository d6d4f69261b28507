//! Time zones: what a clock on the wall shows somewhere, and when it shows it. The zones' rules are
//! part of the program, because small hosts have none installed.

use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Code, Error, Result};
use crate::names;
use crate::time::Timestamp;

/// A time zone by its IANA name (`Asia/Jakarta`) or as a fixed offset (`+07:00`). Stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// A day of some zone's calendar, as days since 1970-01-01. Stored.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Day(i32);

impl Zone {
    /// The zone that needs no name.
    pub fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            rules: TimeZone::UTC,
        }
    }

    /// Reads a zone's name in any case, or an offset of at most 14 hours (`+07:00`, `+0700`, `+07`).
    pub fn parse(name: &str) -> Result<Self> {
        let name = name.trim();
        if ["Z", "UTC"]
            .iter()
            .any(|utc| name.eq_ignore_ascii_case(utc))
        {
            return Ok(Self::utc());
        }
        if let Some(offset) = offset(name) {
            let seconds = offset.seconds();
            let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
            return Ok(Self {
                name: format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
                rules: TimeZone::fixed(offset),
            });
        }
        let rules = TimeZoneDatabase::bundled().get(name).ok();
        // The database has a zone for places that are in no zone.
        let rules = rules.filter(|rules| !rules.is_unknown());
        let known = rules.and_then(|rules| Some((rules.iana_name()?.to_owned(), rules)));
        let (name, rules) = known.ok_or_else(|| {
            let shown = names::excerpt(name, 64);
            Error::new(Code::TimeZoneUnknown, format!("unknown time zone: {shown}"))
        })?;
        Ok(Self { name, rules })
    }

    /// The name, spelled as the database spells it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The day there.
    pub fn day(&self, at: Timestamp) -> Day {
        Day(days(self.local(at).date()))
    }

    /// The minute of the day that the clock there shows, 0 to 1439.
    pub fn minute(&self, at: Timestamp) -> u16 {
        let local = self.local(at);
        u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs())
    }

    /// The first moment after `after` at which the clock there shows `minute` of `day`, or has
    /// jumped over it. Where the clock shows it twice and the first time is past, the second one.
    pub(super) fn when(&self, day: Day, minute: u16, after: Timestamp) -> Timestamp {
        let days = jiff::Span::new().try_days(day.0);
        let date = days
            .and_then(|days| EPOCH.checked_add(days))
            .unwrap_or(Date::MAX);
        let (hour, minute) = ((minute / 60) as i8, (minute % 60) as i8);
        let ambiguous = self
            .rules
            .to_ambiguous_timestamp(date.at(hour, minute, 0, 0));
        let moments = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => [ambiguous.compatible().ok(), None],
            AmbiguousOffset::Fold { .. } => [ambiguous.earlier().ok(), ambiguous.later().ok()],
            AmbiguousOffset::Gap { .. } => {
                // What `later` answers lies as far behind the jump as the time lies in the gap.
                let behind = ambiguous.later().ok();
                let jump = behind.and_then(|behind| {
                    let past = behind
                        .saturating_add(jiff::SignedDuration::from_secs(1))
                        .ok()?;
                    self.rules.preceding(past).next().map(|t| t.timestamp())
                });
                [jump, behind]
            }
        };
        let moments = moments.into_iter().flatten();
        let mut moments = moments.map(|m| Timestamp::from_ms(m.as_millisecond()));
        moments
            .find(|moment| *moment > after)
            .unwrap_or(Timestamp::from_ms(i64::MAX))
    }

    /// The moment at which the clock there shows `local`: the first one when it does so twice; when
    /// it jumps over it, as much later as it jumps.
    pub(super) fn moment(&self, local: DateTime) -> Option<Timestamp> {
        let moment = self.rules.to_ambiguous_timestamp(local).compatible().ok()?;
        Some(Timestamp::from_ms(moment.as_millisecond()))
    }

    /// The next moment after `after` at which the clock there may jump.
    pub(super) fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let change = self.rules.following(on_earth(after)).next()?;
        Some(Timestamp::from_ms(change.timestamp().as_millisecond()))
    }

    fn local(&self, at: Timestamp) -> DateTime {
        self.rules.to_datetime(on_earth(at))
    }
}

impl Day {
    /// The day after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&name).map_err(|_| serde::de::Error::custom("not a time zone"))
    }
}

const EPOCH: Date = Date::constant(1970, 1, 1);

/// The moment as the calendar's library has it, whose time ends earlier than ours.
fn on_earth(at: Timestamp) -> jiff::Timestamp {
    let ends = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
    let ms = at
        .as_ms()
        .clamp(ends.0.as_millisecond(), ends.1.as_millisecond());
    jiff::Timestamp::from_millisecond(ms).unwrap_or(ends.1)
}

fn days(date: Date) -> i32 {
    date.since(EPOCH).map_or(0, |span| span.get_days())
}

/// Reads an offset from UTC: a sign, two digits of hours, and perhaps two of minutes.
pub(super) fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.as_bytes() {
        [sign @ (b'+' | b'-'), rest @ ..] => (if *sign == b'-' { -1 } else { 1 }, rest),
        _ => return None,
    };
    let (hours, minutes) = match *digits {
        [a, b] => ([a, b], *b"00"),
        [a, b, c, d] | [a, b, b':', c, d] => ([a, b], [c, d]),
        _ => return None,
    };
    let number = |pair: [u8; 2]| {
        let digits = pair.iter().all(u8::is_ascii_digit);
        digits.then(|| i32::from(pair[0] - b'0') * 10 + i32::from(pair[1] - b'0'))
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if minutes > 59 || hours * 60 + minutes > 14 * 60 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().expect("a time");
        Timestamp::from_ms(time.as_millisecond())
    }

    #[test]
    fn zones_are_known_by_name_and_by_offset() {
        for (name, known) in [
            ("Asia/Jakarta", "Asia/Jakarta"),
            ("asia/jakarta", "Asia/Jakarta"),
            ("+07:00", "+07:00"),
            ("+0700", "+07:00"),
            ("+07", "+07:00"),
            (" -03:30 ", "-03:30"),
            ("-0000", "+00:00"),
            ("UTC", "UTC"),
            ("Z", "UTC"),
        ] {
            assert_eq!(Zone::parse(name).expect(name).name(), known);
        }
        for utc in ["utc", "Utc", "z"] {
            assert_eq!(Zone::parse(utc).expect(utc), Zone::utc());
        }
        let noon = at("2026-01-01T18:30:00Z");
        for name in ["Asia/Jakarta", "+07:00"] {
            let zone = Zone::parse(name).expect(name);
            assert_eq!(zone.minute(noon), 90);
            assert_eq!(zone.day(noon), Zone::utc().day(noon).next());
            assert_eq!(
                zone.when(
                    zone.day(noon),
                    90,
                    noon.before(std::time::Duration::from_secs(1))
                ),
                noon
            );
        }
    }

    #[test]
    fn an_unknown_zone_is_named() {
        for name in [
            "Asia/Jakarta2",
            "",
            "WIB",
            "+15:00",
            "+7",
            "+07:60",
            "+0x:00",
            "../etc/passwd",
            "Etc/Unknown",
            "etc/unknown",
            "Asia",
            "Asia/Jakarta Asia/Tokyo",
        ] {
            let error = Zone::parse(name).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn every_zone_of_the_database_is_found_in_any_case() {
        let mut count = 0;
        for name in TimeZoneDatabase::bundled().available() {
            let name = name.as_str();
            for asked in [name.to_ascii_uppercase(), name.to_ascii_lowercase()] {
                assert_eq!(Zone::parse(&asked).expect(name).name(), name);
            }
            count += 1;
        }
        assert!(count > 500, "{count}");
    }

    #[test]
    fn summer_time_begins_and_ends_when_it_should() {
        for (name, moment, hours) in [
            ("Asia/Jakarta", "2026-06-01T00:00:00Z", 7),
            ("Europe/Berlin", "2026-03-29T00:59:59Z", 1),
            ("Europe/Berlin", "2026-03-29T01:00:00Z", 2),
            ("Europe/Berlin", "2026-10-25T00:59:59Z", 2),
            ("Europe/Berlin", "2026-10-25T01:00:00Z", 1),
            ("America/New_York", "2026-03-08T06:59:59Z", -5),
            ("America/New_York", "2026-03-08T07:00:00Z", -4),
            ("America/New_York", "2060-07-01T00:00:00Z", -4),
            ("Australia/Sydney", "2026-04-04T15:59:59Z", 11),
            ("Australia/Sydney", "2026-04-04T16:00:00Z", 10),
        ] {
            let zone = Zone::parse(name).expect(name);
            let moment: jiff::Timestamp = moment.parse().expect("a time");
            let offset = Offset::constant(hours);
            assert_eq!(zone.rules.to_offset(moment), offset, "{name} {moment}");
        }
    }

    #[test]
    fn a_stored_zone_is_read_again() {
        let zones = ["Europe/Berlin", "+05:45", "UTC"].map(|z| Zone::parse(z).expect("a zone"));
        let stored = serde_json::to_string(&zones).expect("JSON");
        assert_eq!(stored, r#"["Europe/Berlin","+05:45","UTC"]"#);
        let read: [Zone; 3] = serde_json::from_str(&stored).expect("zones");
        assert_eq!(read, zones);
    }

    #[test]
    fn the_ends_of_time_are_no_panic() {
        for zone in
            ["Asia/Jakarta", "America/New_York", "-14:00"].map(|z| Zone::parse(z).expect("a zone"))
        {
            for end in [i64::MIN, i64::MAX].map(Timestamp::from_ms) {
                let _ = zone.when(zone.day(end), zone.minute(end), end);
                let _ = zone.when(Day(i32::MAX), 0, end);
                let _ = zone.when(Day(i32::MIN), 0, end);
            }
        }
    }

    #[test]
    fn skipped_and_doubled_times_have_their_moment() {
        let berlin = Zone::parse("Europe/Berlin").expect("a zone");
        // The clock jumps from 2:00 to 3:00 at 1:00 UTC.
        let before = at("2026-03-29T00:30:00Z");
        let spring = berlin.day(before);
        assert_eq!(berlin.when(spring, 150, before), at("2026-03-29T01:00:00Z"));
        // The clock goes back from 3:00 to 2:00 at 1:00 UTC.
        let before = at("2026-10-25T00:00:00Z");
        let autumn = berlin.day(before);
        assert_eq!(berlin.when(autumn, 150, before), at("2026-10-25T00:30:00Z"));
        let between = at("2026-10-25T01:10:00Z");
        assert_eq!(
            berlin.when(autumn, 150, between),
            at("2026-10-25T01:30:00Z")
        );
    }
}
