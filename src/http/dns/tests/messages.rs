//! Messages, byte by byte.

use proptest::prelude::*;

use super::*;
use crate::http::dns::{Answer, Family, Question};

fn question(name: &str) -> Question {
    Question::new(0x1234, name, Family::V4).expect("a name")
}

/// Reads an answer with these records to a question for `www.example`.
fn read(records: &[Vec<u8>]) -> Answer {
    let question = question("www.example");
    let reply = reply(&question.bytes(), 0, records);
    question.read(&reply).expect("an answer")
}

fn found(addresses: &[&str], ttl: u32) -> Answer {
    Answer::Addresses(ips(addresses), ttl)
}

#[test]
fn a_question_is_what_the_standard_says() {
    let question = Question::new(0x1234, "Ab.c", Family::V6).expect("a name");
    let expected = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x02ab\x01c\0\0\x1c\0\x01";
    assert_eq!(question.bytes(), expected);
    let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    assert_eq!(long.len(), 253);
    assert!(Question::new(0, &long, Family::V4).is_some());
    let label = format!("{}.example", "a".repeat(64));
    for bad in ["", ".", "a..b", ".a", "a.", &label, &format!("{long}b")] {
        assert!(Question::new(0, bad, Family::V4).is_none(), "{bad:?}");
    }
}

#[test]
fn capitals_are_sent_and_must_come_back() {
    let mut bits = [0; 32];
    bits[0] = 0b1001_0110;
    let asked = question("www.example").with_capitals(bits);
    assert_eq!(&asked.bytes()[12..25], b"\x03WWw\x07exAmple\0");
    let records = [address("www.example", "1.2.3.4", 9)];
    let right = reply(&asked.bytes(), 0, &records);
    assert_eq!(asked.read(&right), Some(found(&["1.2.3.4"], 9)));
    let mut wrong = right;
    wrong[13] = b'w';
    assert_eq!(asked.read(&wrong), Some(Answer::OtherLetters));
    assert_eq!(
        asked.without_capitals().read(&wrong),
        Some(found(&["1.2.3.4"], 9))
    );
}

#[test]
fn only_the_answer_to_the_question_is_read() {
    let question = question("www.example");
    let right = reply(
        &question.bytes(),
        0,
        &[address("www.example", "1.2.3.4", 9)],
    );
    assert_eq!(question.read(&right), Some(found(&["1.2.3.4"], 9)));
    let loud = b"\x03WWW\x07eXample\0";
    let mut other_case = right.clone();
    other_case[12..12 + loud.len()].copy_from_slice(loud);
    assert_eq!(question.read(&other_case), Some(found(&["1.2.3.4"], 9)));
    // Each of these bytes makes it somebody else's: id, not a response, operation, two questions
    // or none, name, type, class.
    let after = 12 + loud.len();
    for (at, byte) in [
        (0, 0x13),
        (1, 0x35),
        (2, 0x01),
        (2, 0xa1),
        (5, 2),
        (5, 0),
        (13, b'v'),
        (after + 1, 28),
        (after + 3, 3),
    ] {
        let mut wrong = right.clone();
        wrong[at] = byte;
        assert_eq!(question.read(&wrong), None, "byte {at}");
    }
    for end in 0..after + 4 {
        assert_eq!(question.read(&right[..end]), None, "{end} bytes");
    }
    // From there on it is our answer, and not all of it.
    for end in after + 4..right.len() {
        assert_eq!(question.read(&right[..end]), Some(Answer::Cut), "{end}");
    }
    assert_eq!(question.read(&question.bytes()), None);
}

#[test]
fn what_a_server_says_is_told_apart() {
    let question = question("www.example");
    let say = |flags, records: &[Vec<u8>]| {
        let reply = reply(&question.bytes(), flags, records);
        question.read(&reply).expect("an answer")
    };
    let one = [address("www.example", "1.2.3.4", 9)];
    assert_eq!(say(0, &[]), found(&[], u32::MAX));
    assert_eq!(say(NO_SUCH_NAME, &[]), Answer::Unknown);
    assert_eq!(say(CUT, &one), Answer::Cut);
    for code in [1, 2, 4, 5, 15] {
        assert_eq!(say(code, &one), Answer::Failed, "{code}");
    }
}

#[test]
fn records_of_other_names_and_kinds_are_left_out() {
    let mut other_class = address("www.example", "9.9.9.3", 1);
    other_class[14 + 1] = 3;
    let answer = read(&[
        address("www.example", "1.2.3.4", 300),
        address("evil.example", "9.9.9.1", 1),
        address("example", "9.9.9.2", 1),
        other_class,
        address("www.example", "2001:db8::1", 1),
        record(&wire("www.example"), 1, 1, &[9, 9, 9, 4, 4]),
        record(&wire("www.example"), 16, 1, b"\x04text"),
        address("WWW.example", "1.2.3.5", 200),
    ]);
    assert_eq!(answer, found(&["1.2.3.4", "1.2.3.5"], 200));
}

#[test]
fn aliases_are_followed_to_their_end() {
    let chain = [
        alias("b.example", "c.example", 60),
        address("www.example", "9.9.9.1", 5),
        address("c.example", "1.2.3.4", 300),
        address("b.example", "9.9.9.2", 5),
        alias("www.example", "B.example", 90),
        alias("x.example", "y.example", 5),
    ];
    assert_eq!(read(&chain), found(&["1.2.3.4"], 60));
    // An alias whose end is not told has no addresses.
    assert_eq!(read(&chain[3..]), found(&["9.9.9.2"], 5));
    assert_eq!(read(&chain[4..]), found(&[], 90));
    let circle = [
        alias("www.example", "b.example", 60),
        alias("b.example", "www.example", 60),
        address("www.example", "9.9.9.1", 60),
    ];
    assert_eq!(read(&circle), Answer::Failed);
    let own = [alias("www.example", "www.example", 60)];
    assert_eq!(read(&own), Answer::Failed);
}

#[test]
fn pointers_lead_backwards_or_nowhere() {
    // The question's name is at 12, its label "example" at 16, the first record at 29.
    let content = [1, 2, 3, 4];
    for (owner, good) in [
        (&b"\xc0\x0c"[..], true),
        (b"\x03www\xc0\x10", true),
        (b"\xc0\x1d", false),
        (b"\xc0\x1f", false),
        (b"\xc0\xff", false),
        (b"\xff\xff", false),
        (b"\x03www\xc0\x1d", false),
        (b"\x40www\0", false),
        (b"\x80\x0c", false),
    ] {
        let answer = read(&[record(owner, 1, 9, &content)]);
        let expected = if good {
            found(&["1.2.3.4"], 9)
        } else {
            Answer::Cut
        };
        assert_eq!(answer, expected, "{owner:?}");
    }
    // Two names that point at each other.
    let there = record(&wire("www.example"), 16, 9, b"\xc0\x36");
    assert_eq!(29 + there.len(), 0x36);
    let back = record(b"\xc0\x34", 1, 9, &content);
    assert_eq!(read(&[there, back]), Answer::Cut);
    // Every pointer leads to the one before.
    let mut ladder = vec![0xc0, 12];
    let start = 29 + 11;
    for i in 0u16..1000 {
        let below = start + 2 * i;
        ladder.extend((0xc000 | below).to_be_bytes());
    }
    let base = record(&[0], 16, 9, &ladder);
    let at = |step: u16| (0xc000 | (start + 2 * step)).to_be_bytes();
    let from = |step| record(&at(step), 1, 9, &content);
    assert_eq!(read(&[base.clone(), from(9)]), found(&["1.2.3.4"], 9));
    assert_eq!(read(&[base, from(1000)]), Answer::Cut);
}

#[test]
fn an_alias_ends_where_its_record_ends() {
    let mut long = alias("www.example", "b.example", 9);
    // The record is said to be shorter than the name in it.
    let length = long.len() - wire("b.example").len() - 1;
    long[length] = 3;
    assert_eq!(read(&[long]), Answer::Cut);
}

#[test]
fn no_more_records_are_read_than_make_sense() {
    let many: Vec<_> = (0..1000)
        .map(|i| address("www.example", &format!("1.2.{}.{}", i / 250, i % 250), 9))
        .collect();
    let Answer::Addresses(ips, 9) = read(&many) else {
        panic!("addresses");
    };
    assert_eq!(ips.len(), 64);
}

#[test]
fn times_that_make_no_sense_are_none() {
    let of = |ttl| read(&[address("www.example", "1.2.3.4", ttl)]);
    assert_eq!(of(0x8000_0000), found(&["1.2.3.4"], 0));
    assert_eq!(of(0x7fff_ffff), found(&["1.2.3.4"], 0x7fff_ffff));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = question("www.example").read(&bytes);
    }

    #[test]
    fn no_records_do_harm(
        flags in any::<u16>(),
        count in any::<u16>(),
        v6 in any::<bool>(),
        // Mostly what records are made of.
        tail in proptest::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(4), Just(5), Just(12), Just(0xc0), any::<u8>()],
            0..600,
        ),
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let question = Question::new(7, "www.example", family).expect("a name");
        let mut bytes = reply(&question.bytes(), 0, &[]);
        bytes[2..4].copy_from_slice(&(0x8000 | flags & 0x858f).to_be_bytes());
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        bytes.extend(tail);
        let answer = question.read(&bytes).expect("the question is right");
        if let Answer::Addresses(ips, _) = answer {
            prop_assert!(ips.len() <= 64);
            prop_assert!(ips.iter().all(|ip| ip.is_ipv6() == v6));
        }
    }

    #[test]
    fn what_is_asked_and_answered_is_read_back(
        id in any::<u16>(),
        name in "[a-zA-Z0-9_-]{1,63}(\\.[a-zA-Z0-9-]{1,40}){0,4}",
        v4 in proptest::collection::vec(any::<[u8; 4]>(), 0..20),
        v6 in proptest::collection::vec(any::<[u8; 16]>(), 0..20),
        ttl in 0..0x8000_0000u32,
    ) {
        let records: Vec<_> = v4.iter().map(|ip| record(&wire(&name), 1, ttl, ip))
            .chain(v6.iter().map(|ip| record(b"\xc0\x0c", 28, ttl, ip)))
            .collect();
        for family in [Family::V4, Family::V6] {
            let question = Question::new(id, &name, family).expect("a name");
            let answer = question.read(&reply(&question.bytes(), 0, &records));
            let ips: Vec<IpAddr> = match family {
                Family::V4 => v4.iter().map(|ip| (*ip).into()).collect(),
                Family::V6 => v6.iter().map(|ip| (*ip).into()).collect(),
            };
            let least = if ips.is_empty() { u32::MAX } else { ttl };
            prop_assert_eq!(answer, Some(Answer::Addresses(ips, least)));
        }
    }
}
