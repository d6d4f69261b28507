//! Answers of name servers, and of whoever pretends to be one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warung::http::dns::{Answer, Family, Question};

fuzz_target!(|input: (bool, u16, u16, &[u8])| {
    let (v6, flags, records, rest) = input;
    let family = if v6 { Family::V6 } else { Family::V4 };
    let question = Question::new(7, "www.example.com", family).expect("a name");
    let _ = question.read(rest);
    // With the right beginning, so that the records are reached.
    let mut bytes = question.bytes();
    bytes[2..4].copy_from_slice(&(flags | 0x8000).to_be_bytes());
    bytes[6..8].copy_from_slice(&records.to_be_bytes());
    bytes.extend(rest);
    if let Some(Answer::Addresses(ips, _)) = question.read(&bytes) {
        assert!(ips.iter().all(|ip| ip.is_ipv6() == v6));
    }
});
