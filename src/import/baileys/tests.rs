use proptest::prelude::*;
use serde_json::{Value, json};

use super::json::{Bytes, PublicKey, Whole};
use super::*;

/// 32 bytes in base64 that are all the same.
fn key(byte: u8) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode([byte; 32])
}

/// A public key as libsignal-node writes it.
fn public(byte: u8) -> String {
    use base64::Engine as _;
    let bytes = [[5].as_slice(), &[byte; 32]].concat();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn parts() -> Parts {
    let pair = json!({ "public": key(1), "private": key(2) });
    let signature = json!({ "type": "Buffer", "data": vec![3; 64] });
    let creds = json!({
        "noiseKey": pair,
        "signedIdentityKey": pair,
        "signedPreKey": { "keyPair": pair, "signature": signature, "keyId": 1 },
        "registrationId": 238,
        "advSecretKey": key(4),
        "me": { "id": "6281200000700:1@s.whatsapp.net", "lid": "1660147381488804@lid" },
        "account": {
            "details": "CNCP", "accountSignatureKey": key(5),
            "accountSignature": signature, "deviceSignature": signature,
        },
        "nextPreKeyId": 31,
        "firstUnuploadedPreKeyId": 31,
    });
    let creds: Creds = json::read(creds.to_string().as_bytes()).unwrap();
    Parts::new(creds.into_account().unwrap())
}

/// One state by its base key, with a device that has this identity key.
fn state(base: u8, identity: u8, used: i64, closed: i64) -> (String, Value) {
    let state = json!({
        "registrationId": 10034,
        "currentRatchet": {
            "ephemeralKeyPair": { "pubKey": public(20), "privKey": key(21) },
            "lastRemoteEphemeralKey": public(22),
            "previousCounter": -1,
            "rootKey": key(23),
        },
        "indexInfo": {
            "baseKey": public(base), "baseKeyType": 1, "closed": closed,
            "used": used, "created": 1, "remoteIdentityKey": public(identity),
        },
        "_chains": {
            public(22): {
                "chainKey": { "counter": 6, "key": key(24) }, "chainType": 2,
                "messageKeys": { "1": key(25), "4": key(26) },
            },
            public(20): {
                "chainKey": { "counter": -1, "key": key(27) }, "chainType": 1, "messageKeys": {},
            },
            public(28): { "chainKey": { "counter": 3 }, "chainType": 2, "messageKeys": {} },
        },
        "pendingPreKey": { "signedKeyId": 1, "baseKey": public(base), "preKeyId": 4 },
    });
    (public(base), state)
}

fn session(states: impl IntoIterator<Item = (String, Value)>) -> String {
    let states: serde_json::Map<_, _> = states.into_iter().collect();
    json!({ "_sessions": states, "version": "v1" }).to_string()
}

fn put(parts: &mut Parts, name: &str, text: &str) -> Result<(), &'static str> {
    parts.read(names::holds(name).expect(name), name, text.as_bytes())
}

#[test]
fn bytes_are_read_in_every_form_that_baileys_wrote() {
    for text in [
        r#""AQID""#,
        "[1, 2, 3]",
        r#"{"type": "Buffer", "data": "AQID"}"#,
        r#"{"type": "Buffer", "data": [1, 2, 3]}"#,
        r#"{"buffer": true, "value": [1, 2, 3]}"#,
        r#"{"0": 1, "1": 2, "2": 3}"#,
    ] {
        let read: Bytes = json::read(text.as_bytes()).expect(text);
        assert_eq!(read.0, [1, 2, 3], "{text}");
    }
    for text in [
        r#""?""#,
        "[256]",
        "[-1]",
        "7",
        "null",
        r#"{"0": 1, "2": 3}"#,
        r#"{"a": 1}"#,
    ] {
        assert!(json::read::<Bytes>(text.as_bytes()).is_err(), "{text}");
    }
    for text in [
        "17",
        r#""17""#,
        r#"{"low": 17, "high": 0, "unsigned": true}"#,
    ] {
        let read: Whole = json::read(text.as_bytes()).expect(text);
        assert_eq!(read.0, 17, "{text}");
    }
    let with = PublicKey::of(&[[5].as_slice(), &[9; 32]].concat()).map(|key| key.0);
    assert_eq!(with, Some([9; 32]));
    assert_eq!(PublicKey::of(&[9; 32]).map(|key| key.0), Some([9; 32]));
    assert!(PublicKey::of(&[9; 33]).is_none());
}

#[test]
fn a_file_is_known_by_its_name() {
    let named = |user: &str, domain, device| Named {
        user: user.to_owned(),
        domain,
        device,
    };
    let known = [
        ("creds.json", Holds::Creds),
        ("pre-key-812.json", Holds::PreKey(812)),
        (
            "session-1047567871201151_1.3.json",
            Holds::Session(named("1047567871201151", Some(1), 3)),
        ),
        (
            "session-6281200000701.0.json",
            Holds::Session(named("6281200000701", None, 0)),
        ),
        (
            "sender-key-6281-1500@g.us--6281200000701--2.json",
            Holds::SenderKey("6281-1500@g.us".into(), named("6281200000701", None, 2)),
        ),
        (
            "sender-key-status@broadcast--1047567871201151_1--0.json",
            Holds::SenderKey(
                "status@broadcast".into(),
                named("1047567871201151", Some(1), 0),
            ),
        ),
        (
            "app-state-sync-key-AAA__+A==.json",
            Holds::SyncKey(vec![0, 0, 63, 248]),
        ),
        (
            "app-state-sync-version-regular_high.json",
            Holds::Collection("regular_high".into()),
        ),
        (
            "lid-mapping-1047567871201151_reverse.json",
            Holds::NumberOf("1047567871201151".into()),
        ),
        (
            "lid-mapping-6281200000701.json",
            Holds::LidOf("6281200000701".into()),
        ),
        ("tctoken-__index.json", Holds::Index),
    ];
    for (name, holds) in known {
        assert_eq!(names::holds(name), Some(holds), "{name}");
    }
    for name in [
        "creds.json.bak",
        "pre-key-0.json",
        "pre-key-16777216.json",
        "pre-key-x.json",
        "session-.0.json",
        "session-6281200000701.json",
        "session-6281200000701.-1.json",
        "session-6281200000701.65536.json",
        "session-../../x.0.json",
        "sender-key-6281--1--0.json",
        "app-state-sync-version-.json",
        "lid-mapping-x.json",
        "tctoken-x@lid.json",
        "package.json",
        ".DS_Store",
        "",
    ] {
        assert_eq!(names::holds(name), None, "{name}");
    }
}

#[test]
fn counters_count_from_the_next_message() {
    let mut parts = parts();
    let text = session([state(10, 30, 5, -1)]);
    put(&mut parts, "session-6281200000701.2.json", &text).unwrap();
    let found = parts.put_together(None).account;
    let [session] = &found.sessions[..] else {
        panic!("one session");
    };
    assert_eq!((session.address.device, session.archived.len()), (2, 0));
    let state = session.current.as_ref().expect("it is open");
    assert_eq!(state.registration_id, 10034);
    assert_eq!((state.sending.next, state.previous_counter), (0, 0));
    // The chain of the last answer is the newest.
    let [ended, newest] = &state.receiving[..] else {
        panic!("two chains");
    };
    assert_eq!((ended.ratchet, ended.next, ended.key), ([28; 32], 4, None));
    assert_eq!((newest.next, newest.key), (7, Some([24; 32])));
    assert_eq!(newest.skipped, [(1, [25; 32]), (4, [26; 32])]);
    let pending = state.pending.as_ref().expect("it is unanswered");
    assert_eq!((pending.prekey, pending.signed_prekey), (Some(4), 1));
    assert_eq!(found.identities, [(session.address.clone(), [30; 32])]);
}

#[test]
fn sessions_of_one_device_are_one_under_its_lid() {
    let mut parts = parts();
    let by_number = session([state(10, 30, 9, -1), state(11, 30, 3, 4)]);
    let by_lid = session([state(10, 30, 5, -1), state(12, 30, 7, -1)]);
    put(&mut parts, "session-6281200000701.0.json", &by_number).unwrap();
    put(&mut parts, "session-1047567871201151_1.0.json", &by_lid).unwrap();
    put(
        &mut parts,
        "lid-mapping-6281200000701.json",
        r#""1047567871201151""#,
    )
    .unwrap();
    let found = parts.put_together(None).account;
    let [session] = &found.sessions[..] else {
        panic!("one session");
    };
    assert_eq!(session.address.user, "1047567871201151");
    assert_eq!(session.address.space, AddressSpace::Lid);
    let base = |state: &crate::wa::account::SessionState| state.base_key[0];
    assert_eq!(session.current.as_ref().map(base), Some(10));
    let archived: Vec<_> = session.archived.iter().map(base).collect();
    assert_eq!(archived, [12, 11]);
    // The account's own LID is known from creds.json.
    assert_eq!(
        found.lids,
        [
            ("1047567871201151".to_owned(), "6281200000701".to_owned()),
            ("1660147381488804".to_owned(), "6281200000700".to_owned()),
        ]
    );
}

#[test]
fn version_6_tells_whose_a_lid_is_by_the_identity_key() {
    let mut parts = parts();
    for (name, base, identity) in [
        ("session-6281200000701.0.json", 10, 30),
        ("session-1047567871201151.0.json", 11, 30),
        ("session-1434988360913498.0.json", 12, 31),
    ] {
        let text = session([state(base, identity, i64::from(base), -1)]);
        put(&mut parts, name, &text).unwrap();
    }
    let found = parts.put_together(None).account;
    let known = ("1047567871201151".to_owned(), "6281200000701".to_owned());
    assert_eq!(found.lids[0], known);
    let users: Vec<_> = found
        .sessions
        .iter()
        .map(|session| (session.address.user.as_str(), session.address.space))
        .collect();
    let expected = [
        ("1047567871201151", AddressSpace::Lid),
        ("1434988360913498", AddressSpace::Lid),
    ];
    assert_eq!(users, expected);
}

#[test]
fn a_sender_key_is_read_in_both_forms() {
    use base64::Engine as _;
    let states = json!([{
        "senderKeyId": 83_890_865,
        "senderChainKey": { "iteration": 3, "seed": { "type": "Buffer", "data": vec![1; 32] } },
        "senderSigningKey": {
            "public": { "type": "Buffer", "data": public(2) },
            "private": { "type": "Buffer", "data": [] },
        },
        "senderMessageKeys": [
            { "iteration": 1, "seed": key(4) },
            { "iteration": 9, "seed": key(5) },
        ],
    }])
    .to_string();
    let packed = base64::engine::general_purpose::STANDARD.encode(&states);
    let packed = json!({ "type": "Buffer", "data": packed }).to_string();
    for text in [states, packed] {
        let read = sender_keys::states(text.as_bytes()).unwrap();
        let [state] = &read[..] else {
            panic!("one state");
        };
        assert_eq!((state.id, state.next), (83_890_865, 3));
        assert_eq!(state.signing_public, [2; 32]);
        assert_eq!(state.signing_private, None);
        // Nobody can have skipped what is still to come.
        assert_eq!(state.skipped, [(1, [4; 32])]);
    }
}

#[test]
fn the_key_of_the_settings_in_use_is_the_last() {
    let mut parts = parts();
    for (id, time) in [("AQ==", 9), ("Ag==", 1), ("Aw==", 5)] {
        let text = json!({ "keyData": key(1), "timestamp": time.to_string() }).to_string();
        put(&mut parts, &format!("app-state-sync-key-{id}.json"), &text).unwrap();
    }
    let found = parts.put_together(Some(vec![3])).account;
    let ids: Vec<_> = found.sync_keys.iter().map(|key| key.id[0]).collect();
    assert_eq!(ids, [2, 1, 3]);
}

/// A file that is right, and a name for it.
fn files() -> Vec<(&'static str, String)> {
    vec![
        (
            "session-6281200000701.0.json",
            session([state(10, 30, 9, -1), state(11, 30, 3, 4)]),
        ),
        (
            "pre-key-4.json",
            json!({ "public": key(1), "private": key(2) }).to_string(),
        ),
        ("lid-mapping-6281200000701.json", "\"1047567871201151\"".into()),
        (
            "tctoken-1047567871201151@lid.json",
            json!({ "token": key(1), "timestamp": "17" }).to_string(),
        ),
        (
            "app-state-sync-version-critical_block.json",
            json!({ "version": 1, "hash": vec![7; 128], "indexValueMap": { key(1): { "valueMac": key(2) } } })
                .to_string(),
        ),
        (
            "sender-key-1@g.us--6281200000701--0.json",
            json!([{
                "senderKeyId": 1, "senderChainKey": { "iteration": 3, "seed": key(3) },
                "senderSigningKey": { "public": public(2) }, "senderMessageKeys": [],
            }])
            .to_string(),
        ),
    ]
}

#[test]
fn the_files_of_the_property_are_right() {
    let mut parts = parts();
    for (name, text) in files() {
        assert_eq!(put(&mut parts, name, &text), Ok(()), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    /// Whatever stands in the files: it is read or left out, and what was read makes an account.
    #[test]
    fn any_file_is_read_or_left_out(
        which in 0..6usize,
        at in any::<prop::sample::Index>(),
        instead in prop::collection::vec(any::<u8>(), 0..4),
        removed in 0..40usize,
        number in any::<i64>(),
        by_number in any::<bool>(),
    ) {
        let mut parts = parts();
        let (name, text) = files().swap_remove(which);
        let mut bytes = text.into_bytes();
        let from = at.index(bytes.len());
        let to = (from + removed).min(bytes.len());
        let instead = if by_number { number.to_string().into_bytes() } else { instead };
        bytes.splice(from..to, instead);
        let holds = names::holds(name).expect("a name");
        let read = parts.read(holds, name, &bytes);
        let found = parts.put_together(None).account;
        if read.is_err() {
            prop_assert!(found.sessions.is_empty() && found.prekeys.is_empty());
        }
        for session in &found.sessions {
            for state in session.current.iter().chain(&session.archived) {
                for chain in &state.receiving {
                    prop_assert!(chain.skipped.iter().all(|(number, _)| *number < chain.next));
                }
            }
        }
    }

    #[test]
    fn any_name_is_known_or_not(name in "(session|sender-key|pre-key|lid-mapping|tctoken|app-state-sync-key|identity-key)-[-0-9_.@a-z+=/:]{0,30}(\\.json)?") {
        let _ = names::holds(&name);
    }
}
