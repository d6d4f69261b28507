//! Rows in all spellings, what is refused and why, and what any input must keep to.

use proptest::prelude::*;
use serde::de::DeserializeSeed as _;
use serde_json::{Map, Value, json};

use super::*;
use crate::error::Result;
use crate::json::Object;

/// What was read, with the recipients as they are stored.
#[derive(Debug, Default, PartialEq)]
struct ReadRecipients {
    recipients: Vec<Recipient>,
    rejected: Vec<RejectedRow>,
    merged: Vec<MergedRow>,
}

impl From<RecipientRows> for ReadRecipients {
    fn from(parsed: RecipientRows) -> Self {
        let recipients = parsed.recipients.iter().collect::<Result<_>>();
        Self {
            recipients: recipients.expect("recipients"),
            rejected: parsed.rejected,
            merged: parsed.merged,
        }
    }
}

fn parse(value: &Value) -> ReadRecipients {
    RecipientRows::from_json(value, Some("62"))
        .expect("a list")
        .into()
}

fn numbers(parsed: &ReadRecipients) -> Vec<&str> {
    parsed
        .recipients
        .iter()
        .map(|r| r.number.as_str())
        .collect()
}

/// Row and beginning of the reason.
fn rejections(parsed: &ReadRecipients) -> Vec<(usize, &str)> {
    let pairs = parsed.rejected.iter().map(|r| (r.row, &*r.reason));
    pairs.collect()
}

#[test]
fn objects_texts_and_numbers_are_read_in_all_spellings() {
    let parsed = parse(&json!([
        {"number": "+62 812-3456-7890", "name": " Budi ", "jobTitle": "CEO", "companyName": "A & B"},
        {"phone": 6281234567891_u64, "Name": "Ani", "job_title": "CTO", "company_name": "C",
         "customFields": {"City": "Solo", "Age": 30, "None": null, "Empty": " "}, "vip": true, "price": 1.5},
        {"Number": "081234567892", "company": "D", "nama": "Eko"},
        "6281234567893@s.whatsapp.net",
        6281234567894_u64,
    ]));
    assert_eq!(parsed.rejected, []);
    assert_eq!(
        numbers(&parsed),
        [
            "6281234567890",
            "6281234567891",
            "6281234567892",
            "6281234567893",
            "6281234567894"
        ]
    );
    let [budi, ani, eko, ..] = parsed.recipients.as_slice() else {
        panic!("five recipients");
    };
    assert_eq!(
        (&*budi.name, &*budi.job_title, &*budi.company),
        ("Budi", "CEO", "A & B")
    );
    assert_eq!(
        (&*ani.name, &*ani.job_title, &*ani.company),
        ("Ani", "CTO", "C")
    );
    assert_eq!(
        ani.fields,
        [
            ("Age", "30"),
            ("City", "Solo"),
            ("price", "1.5"),
            ("vip", "true")
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
    );
    assert_eq!((&*eko.name, &*eko.company), ("Eko", "D"));
}

#[test]
fn a_second_spelling_of_a_known_field_becomes_a_custom_field() {
    let parsed = parse(&json!([
        {"nomor": "A-12", "number": "6281234567890", "phone": "02112345678", "name": "", "nama": "Budi"},
    ]));
    let budi = &parsed.recipients[0];
    assert_eq!(
        (budi.number.as_str(), &*budi.name),
        ("6281234567890", "Budi")
    );
    assert_eq!(budi.field("nomor"), Some("A-12"));
    assert_eq!(budi.field("Phone"), Some("02112345678"));
    assert_eq!(budi.field("Number"), Some("6281234567890"));
}

#[test]
fn placeholders_find_their_fields_in_any_case() {
    let parsed = parse(&json!([
        {"number": "6281234567890", "name": "Budi", "jobTitle": "CEO", "company": "C",
         "customFields": {"Order ID": "7", "name": "X", "Nama": "Y", "\u{c4}rzte": "x", "city": "Solo", "City": "Bogor"}},
        {"number": "6281234567891"},
    ]));
    let budi = &parsed.recipients[0];
    for (name, value) in [
        ("Name", "Budi"),
        ("name", "Budi"),
        ("NAMA", "Y"),
        ("namalengkap", "Budi"),
        ("JobTitle", "CEO"),
        ("job_title", "CEO"),
        ("jobtitle", "CEO"),
        ("Company", "C"),
        ("CompanyName", "C"),
        ("company_name", "C"),
        ("Number", "6281234567890"),
        ("phone", "6281234567890"),
        ("order id", "7"),
        ("\u{e4}rzte", "x"),
        ("city", "Solo"),
        ("City", "Bogor"),
    ] {
        assert_eq!(budi.field(name), Some(value), "{name}");
    }
    assert_eq!(budi.field("country"), None);
    assert_eq!(parsed.recipients[1].field("name"), None);
    assert_eq!(parsed.recipients[1].field("nama"), None);
}

#[test]
fn texts_are_split_and_empty_parts_do_not_count() {
    let text = json!("6281234567890, 081234567891;\r\n\n+62 812 3456 7892,,x\n");
    let parsed = parse(&text);
    assert_eq!(
        numbers(&parsed),
        ["6281234567890", "6281234567891", "6281234567892"]
    );
    assert_eq!(rejections(&parsed), [(4, "not a phone number")]);
    assert_eq!(parse(&json!("")), ReadRecipients::default());
    assert_eq!(
        numbers(&parse(&json!({"number": "6281234567890"}))).len(),
        1
    );
    assert_eq!(numbers(&parse(&json!(6281234567890_u64))).len(), 1);
}

#[test]
fn groups_are_recipients_but_no_numbers_to_suppress() {
    let rows = json!([
        "120363021033254949@g.us",
        "6281234567890",
        "120363021033254949@g.us"
    ]);
    let parsed = parse(&rows);
    assert_eq!(
        numbers(&parsed),
        ["120363021033254949@g.us", "6281234567890"]
    );
    let merged = serde_json::to_value(&parsed.merged).expect("JSON");
    let group = "120363021033254949@g.us";
    assert_eq!(merged, json!([{ "row": 3, "into": 1, "number": group }]));
    let people = RecipientReader::new(None, |_: &Object| {}).people_only();
    let parsed: ReadRecipients = people
        .deserialize(&rows)
        .expect("JSON")
        .expect("a list")
        .into();
    assert_eq!(numbers(&parsed), ["6281234567890"]);
    assert_eq!(rejections(&parsed)[0], (1, "a group, not a person"));
}

#[test]
fn every_refused_row_has_its_place_and_reason() {
    let long = "x".repeat(201);
    let many: Map<String, Value> = (0..51).map(|i| (format!("k{i}"), json!(i))).collect();
    let parsed = parse(&json!([
        {"name": "no number"},
        "abc",
        "1234567",
        "1234567890123456",
        "+081234567890",
        -6281234567890_i64,
        6281234567890.5,
        "6.28123E+12",
        "6281234567890.0",
        "abc@g.us",
        "100000012345678@lid",
        null,
        true,
        [],
        {"number": []},
        {"number": "6281234567890", "customFields": "x"},
        {"number": "6281234567890", "customFields": {"a": {}}},
        {"number": "6281234567890", "name": long},
        {"number": "6281234567890", "customFields": many},
        {"number": "6281234567890", "customFields": {"k".repeat(65): "v"}},
        {"number": "6281234567890", "note": "v".repeat(1025)},
        {"number": "62812\u{7}".to_owned() + &"9".repeat(90)},
    ]));
    assert_eq!(parsed.recipients, []);
    let begins = [
        "no number",
        "not a phone",
        "too short",
        "too long",
        "begins with 0",
        "a phone number cannot be neg",
        "a phone number cannot be a dec",
        "the spreadsheet rounded",
        "written as a decimal",
        "a group",
        "a hidden id",
        "no number",
        "not a phone",
        "not a phone",
        "number is neither",
        "customFields is not",
        "a is neither",
        "the name is longer than 200",
        "more than 50",
        "the name of a custom field",
        "the custom field note is longer than 1024",
        "not a phone",
    ];
    assert_eq!(parsed.rejected.len(), begins.len());
    for ((row, rejected), begin) in (1..).zip(&parsed.rejected).zip(begins) {
        assert_eq!(rejected.row, row);
        assert!(rejected.reason.starts_with(begin), "{rejected:?}, {begin}");
    }
    assert_eq!(parsed.rejected[0].input, "no number");
    assert_eq!(parsed.rejected[17].input, "6281234567890");
    let shown = &parsed.rejected[21].input;
    assert!(shown.starts_with("628129") && shown.len() == 64, "{shown}");
}

#[test]
fn limits_are_still_taken() {
    let fields: Map<String, Value> = (0..50).map(|i| (format!("k{i}"), json!(i))).collect();
    let parsed = parse(&json!([
        {"number": "6281234567890", "name": "\u{e9}".repeat(200), "customFields": fields},
        {"number": "6281234567891", "customFields": {"\u{e9}".repeat(64): "\u{e9}".repeat(1024)}},
    ]));
    assert_eq!(parsed.rejected, []);
}

#[test]
fn numbers_copied_with_invisible_marks_are_read() {
    for text in [
        "\u{202a}+62 812\u{2011}3456\u{2011}7890\u{202c}",
        "\u{feff}081234567890",
        "812.3456.7890",
    ] {
        assert!(number(text, Some("62")).is_ok(), "{text:?}");
    }
}

#[test]
fn rows_with_the_same_number_become_one() {
    let parsed = parse(&json!([
        {"number": "6281234567890", "name": "Budi", "customFields": {"a": "1"}},
        "6281234567891",
        {"number": "0812-3456-7890", "name": "Other", "company": "C", "customFields": {"a": "2", "b": "3"}},
        6281234567890_u64,
    ]));
    assert_eq!(numbers(&parsed), ["6281234567890", "6281234567891"]);
    let budi = &parsed.recipients[0];
    assert_eq!((&*budi.name, &*budi.company), ("Budi", "C"));
    assert_eq!((budi.field("a"), budi.field("b")), (Some("1"), Some("3")));
    let merged: Vec<_> = parsed.merged.iter().map(|m| (m.row, m.into)).collect();
    assert_eq!(merged, [(3, 1), (4, 1)]);
}

#[test]
fn merging_goes_no_further_than_the_limit_of_custom_fields() {
    let fields = |keys: std::ops::Range<u8>| -> Map<String, Value> {
        keys.map(|i| (format!("k{i:02}"), json!(i))).collect()
    };
    let parsed = parse(&json!([
        {"number": "6281234567890", "customFields": fields(0..40)},
        {"number": "6281234567890", "customFields": fields(30..60)},
    ]));
    let merged = &parsed.recipients[0];
    assert_eq!(merged.fields.len(), MAX_FIELDS);
    assert_eq!(
        (merged.field("k49"), merged.field("k50")),
        (Some("49"), None)
    );
}

#[test]
fn what_is_no_list_or_too_long_is_refused() {
    for value in [json!(null), json!(true)] {
        assert!(RecipientRows::from_json(&value, None).is_err());
    }
    let row = json!(6281234567890_u64);
    assert!(RecipientRows::from_json(&Value::Array(vec![row.clone(); 100_000]), None).is_ok());
    assert!(RecipientRows::from_json(&Value::Array(vec![row; 100_001]), None).is_err());
    let good = "6281234567890,";
    assert!(RecipientRows::from_text(&good.repeat(100_000), None).is_ok());
    assert!(RecipientRows::from_text(&good.repeat(100_001), None).is_err());
    assert!(RecipientRows::from_text(&"1,".repeat(MAX_REJECTED), None).is_ok());
    assert!(RecipientRows::from_text(&"1,".repeat(MAX_REJECTED + 1), None).is_err());
}

#[test]
fn a_stored_recipient_is_read_again_and_holds_no_empty_field() {
    let parsed = parse(&json!([{"number": "6281234567890", "name": "B"}, "6281234567891"]));
    let stored = serde_json::to_string(&parsed.recipients).expect("JSON");
    assert_eq!(
        stored,
        r#"[{"number":"6281234567890","name":"B"},{"number":"6281234567891"}]"#
    );
    let read: Vec<Recipient> = serde_json::from_str(&stored).expect("recipients");
    assert_eq!(read, parsed.recipients);
    assert!(serde_json::from_str::<Recipient>(r#"{"number":"x"}"#).is_err());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        "[0-9+ ().,eE@-]{0,20}".prop_map(Value::from),
        "0?8?1?2?[0-9]{7,9}".prop_map(Value::from),
    ];
    let key = "number|phone|name|nama|company|customFields|\\PC{0,4}";
    leaf.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_row_is_lost_and_no_number_is_there_twice(
        rows in proptest::collection::vec(value(), 0..12), country in any::<bool>(),
    ) {
        let count = rows.len();
        let parsed = RecipientRows::from_json(&Value::Array(rows), country.then_some("62"));
        let parsed = ReadRecipients::from(parsed.expect("a list"));
        prop_assert_eq!(
            parsed.recipients.len() + parsed.rejected.len() + parsed.merged.len(),
            count
        );
        let mut all = numbers(&parsed);
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), parsed.recipients.len());
        let stored = serde_json::to_vec(&parsed.recipients).expect("JSON");
        let read: Vec<Recipient> = serde_json::from_slice(&stored).expect("recipients");
        prop_assert_eq!(read, parsed.recipients);
        prop_assert!(parsed.rejected.iter().all(|r| r.input.chars().count() <= 64));
    }

    #[test]
    fn any_text_is_read(text in "\\PC{0,80}") {
        let _ = RecipientRows::from_text(&text, Some("62"));
    }
}
