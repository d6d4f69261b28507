//! Addresses and numbers as clients and WhatsApp write them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warung::ids::{MessageId, SessionId};
use warung::jid::{Jid, PhoneNumber, recipient};

fuzz_target!(|text: &str| {
    let _ = (SessionId::parse(text), MessageId::parse(text));
    let _ = PhoneNumber::parse(text, Some("62"));
    if let Some(jid) = Jid::parse(text) {
        assert_eq!(Jid::parse(&jid.to_string()), Some(jid));
    }
    for group in [false, true] {
        if let Some(jid) = recipient(text, group, Some("62")) {
            assert_eq!(recipient(&jid.to_string(), group, None), Some(jid));
        }
    }
});
