//! Rows that say how old they are: a version byte, then a JSON object with `at` or `ends`. The rest of
//! the row is its owner's.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::time::Timestamp;

/// The one field of a row that says how old it is.
#[derive(Deserialize)]
struct Dated {
    #[serde(alias = "ends")]
    at: Timestamp,
    #[serde(flatten)]
    _rest: std::collections::HashMap<String, IgnoredAny>,
}

/// When the row was written, or ends; `None` for a damaged one.
pub fn date(row: &[u8]) -> Option<Timestamp> {
    let (_version, json) = row.split_first()?;
    let Dated { at, .. } = serde_json::from_slice(json).ok()?;
    Some(at)
}

/// The row with another date; `None` for a damaged one.
pub fn redated(row: &[u8], date: Timestamp) -> Option<Vec<u8>> {
    let (version, json) = row.split_first()?;
    let mut value: serde_json::Value = serde_json::from_slice(json).ok()?;
    let fields = value.as_object_mut()?;
    let field = ["ends", "at"]
        .into_iter()
        .find(|f| fields.contains_key(*f))?;
    fields.insert(field.to_owned(), date.as_ms().into());
    let mut row = vec![*version];
    serde_json::to_writer(&mut row, &value).ok()?;
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_with_another_date_is_the_same_row() {
        let at = Timestamp::from_secs(1_800_000_000);
        for (field, version) in [("at", b'\x01'), ("ends", b'\x02')] {
            let row = |date: i64| {
                let json = format!("{{\"{field}\":{date},\"text\":\"hai\"}}");
                [&[version], json.as_bytes()].concat()
            };
            assert_eq!(date(&row(7000)), Some(Timestamp::from_secs(7)));
            assert_eq!(redated(&row(7000), at), Some(row(at.as_ms())));
        }
        for damaged in [&b""[..], b"\x01[]", b"\x01{}", b"\x01{\"at\":\"now\"}"] {
            assert_eq!(date(damaged), None);
        }
        assert_eq!(redated(b"\x01{}", at), None);
    }
}
