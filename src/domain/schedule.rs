//! Dates and times as clients write them.

use jiff::civil::DateTime;

use super::zone::{Zone, offset};
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;

/// Reads a moment: `2026-12-31T09:00:00.000+07:00`, with `Z`, with a space for the `T`, without
/// seconds. Without an offset it is the time that the clock in `zone` shows: the first one where it
/// shows it twice; where it jumps over it, as much later as it jumps.
pub fn parse_when(text: &str, zone: &Zone) -> Result<Timestamp> {
    parse(text.trim(), zone).ok_or_else(|| Error::from(Code::TimeInvalid))
}

fn parse(text: &str, zone: &Zone) -> Option<Timestamp> {
    let mut rest = text;
    let year = number(&mut rest, 4)?;
    let month = small(sign(&mut rest, "-").and_then(|()| number(&mut rest, 2))?)?;
    let day = small(sign(&mut rest, "-").and_then(|()| number(&mut rest, 2))?)?;
    sign(&mut rest, "Tt ")?;
    let hour = small(number(&mut rest, 2)?)?;
    let minute = small(sign(&mut rest, ":").and_then(|()| number(&mut rest, 2))?)?;
    let (mut second, mut nanos) = (0, 0);
    if sign(&mut rest, ":").is_some() {
        second = small(number(&mut rest, 2)?)?;
        if sign(&mut rest, ".,").is_some() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let exponent = 9_u32.checked_sub(u32::try_from(digits).ok()?)?;
            nanos = number(&mut rest, digits)? * 10_i32.pow(exponent);
        }
    }
    let year = i16::try_from(year).ok()?;
    let local = DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
    match rest.trim_start() {
        "" => zone.moment(local),
        "Z" | "z" => Zone::utc().moment(local),
        written => {
            let moment = offset(written)?.to_timestamp(local).ok()?;
            Some(Timestamp::from_ms(moment.as_millisecond()))
        }
    }
}

/// Takes exactly so many digits, at least one and at most nine.
fn number(rest: &mut &str, digits: usize) -> Option<i32> {
    let (number, after) = rest.split_at_checked(digits)?;
    let legal = number.bytes().all(|b| b.is_ascii_digit());
    *rest = after;
    legal.then(|| number.parse().ok()).flatten()
}

fn small(number: i32) -> Option<i8> {
    i8::try_from(number).ok()
}

/// Takes one of these signs.
fn sign(rest: &mut &str, signs: &str) -> Option<()> {
    *rest = rest.strip_prefix(|c| signs.contains(c))?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn when(text: &str) -> Option<String> {
        let zone = Zone::parse("Asia/Jakarta").expect("a zone");
        parse_when(text, &zone).ok().map(|at| at.to_string())
    }

    #[test]
    fn moments_in_each_spelling_are_read() {
        for text in [
            "2026-12-31T02:30:00Z",
            "2026-12-31T02:30:00.000Z",
            "2026-12-31T02:30:00.0000000z",
            "2026-12-31t09:30:00+07:00",
            "2026-12-31T09:30:00+0700",
            "2026-12-31 09:30:00 +07",
            "2026-12-30T22:00:00-04:30",
            "2026-12-31T02:30Z",
            "2026-12-31T09:30+07:00",
            "2026-12-31 09:30",
            "2026-12-31T09:30",
            " 2026-12-31 09:30:00 ",
        ] {
            assert_eq!(
                when(text).as_deref(),
                Some("2026-12-31T02:30:00.000Z"),
                "{text}"
            );
        }
        assert_eq!(
            when("2026-12-31T02:30:59.1239Z").as_deref(),
            Some("2026-12-31T02:30:59.123Z")
        );
        assert!(when("2024-02-29 00:00").is_some());
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2026-12-31",
            "09:30",
            "2026-02-29 00:00",
            "2026-13-01 00:00",
            "2026-12-31 24:00",
            "2026-12-31 09:60",
            "2026-12-31 9:30",
            "31-12-2026 09:30",
            "2026/12/31 09:30",
            "2026-12-31T09:30:00+25:00",
            "2026-12-31T09:30:00 WIB",
            "1798700000",
            "2026-12-31T09:30:",
            "2026-12-31T09:30:00.",
            "2026-12-31T09:30:00.0123456789Z",
            "-026-12-31 09:30",
            "2026-12-31T09:30:00Z[Asia/Jakarta]",
            "2026-12-31T09:3\u{e9}",
        ] {
            assert_eq!(when(text), None, "{text}");
        }
    }

    #[test]
    fn skipped_and_doubled_times_are_read() {
        let berlin = Zone::parse("Europe/Berlin").expect("a zone");
        for (text, moment) in [
            ("2026-03-29 02:30", "2026-03-29T01:30:00.000Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00.000Z"),
        ] {
            let at = parse_when(text, &berlin).expect("a moment");
            assert_eq!(at.to_string(), moment);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,40}|[0-9TZ:+. -]{10,30}") {
            let _ = when(&text);
        }

        #[test]
        fn a_written_moment_is_read_again(ms in 0..4_000_000_000_000_i64) {
            let at = Timestamp::from_ms(ms);
            prop_assert_eq!(parse_when(&at.to_string(), &Zone::utc()).ok(), Some(at));
        }
    }
}
