//! Sheets, lists of numbers and texts with placeholders.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warung::domain::optout::OptOutKeywords;
use warung::domain::recipient::RecipientRows;
use warung::domain::schedule::parse_when;
use warung::domain::sheet::Sheet;
use warung::domain::template::Template;
use warung::domain::zone::Zone;

fuzz_target!(|bytes: &[u8]| {
    let _ = Sheet::read(bytes, Some("62"));
    let text = String::from_utf8_lossy(bytes);
    let _ = RecipientRows::from_text(&text, Some("62"));
    if let Ok(value) = serde_json::from_slice(bytes) {
        let _ = RecipientRows::from_json(&value, Some("62"));
    }
    let rendered = Template::parse(&text).render(|_| Some("{a|b}{{c}}"), 7);
    if !text.contains('{') {
        assert_eq!(rendered.text, text);
    }
    let _ = parse_when(&text, &Zone::utc());
    let _ = Zone::parse(&text);
    let _ = OptOutKeywords::default().verdict(&text);
});
