//! What a client asks of a content that it may have already: only if it changed, or only a part
//! (RFC 9110, sections 13 and 14).

use std::ops::Range;

/// Which bytes of a content a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum RequestedRange {
    /// All of them.
    Whole,
    /// Some of them; never none.
    Part(Range<u64>),
    /// Only such as there are not.
    Beyond,
}

/// Whether `If-None-Match` names the tag. The comparison is the weak one (RFC 9110, 13.1.2).
pub(super) fn is_known(if_none_match: Option<&str>, tag: &str) -> bool {
    let mut tags = if_none_match.into_iter().flat_map(|tags| tags.split(','));
    tags.any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}

/// Reads the header `Range`. Of several, or of one that makes no sense, the whole is a legal answer.
pub fn wanted(range: Option<&str>, length: u64) -> RequestedRange {
    let Some((first, last)) = range
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return RequestedRange::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than fit are beyond any content.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(last)) if first.is_empty() => length.saturating_sub(last)..length,
        _ => return RequestedRange::Whole,
    };
    if part.start < part.end {
        RequestedRange::Part(part)
    } else {
        RequestedRange::Beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_a_part_and_many_or_nonsense_the_whole() {
        for (range, expected) in [
            ("bytes=0-0", RequestedRange::Part(0..1)),
            ("bytes=2-4", RequestedRange::Part(2..5)),
            ("bytes=5-99", RequestedRange::Part(5..10)),
            ("bytes=7-", RequestedRange::Part(7..10)),
            ("bytes=-3", RequestedRange::Part(7..10)),
            ("bytes=-99", RequestedRange::Part(0..10)),
            ("bytes=10-", RequestedRange::Beyond),
            ("bytes=-0", RequestedRange::Beyond),
            ("bytes=99999999999999999999-", RequestedRange::Beyond),
            ("bytes=4-2", RequestedRange::Whole),
            ("bytes=0-1,3-4", RequestedRange::Whole),
            ("bytes=a-b", RequestedRange::Whole),
            ("bytes=-", RequestedRange::Whole),
            ("lines=1-2", RequestedRange::Whole),
        ] {
            assert_eq!(wanted(Some(range), 10), expected, "{range}");
        }
        assert_eq!(wanted(None, 10), RequestedRange::Whole);
        assert_eq!(wanted(Some("bytes=0-"), 0), RequestedRange::Beyond);
    }

    #[test]
    fn knows_a_tag_among_others() {
        assert!(is_known(Some("\"a\""), "\"a\""));
        assert!(is_known(Some("\"b\", W/\"a\""), "\"a\""));
        assert!(is_known(Some("*"), "\"a\""));
        assert!(!is_known(Some("\"b\""), "\"a\""));
        assert!(!is_known(Some(""), "\"a\""));
        assert!(!is_known(None, "\"a\""));
    }
}
