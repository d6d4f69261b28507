//! Messages of rarer and unknown kinds: each is an event, whatever its writer's client made of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::support::{Rig, Sink, eventually};

const PHONE: &str = "6281299999811";

/// A length-delimited field of a protobuf.
fn field(number: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut bytes = varint(u64::from(number) << 3 | 2);
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

/// A field of a protobuf that holds an integer, a truth or a choice.
fn number(field: u32, value: u64) -> Vec<u8> {
    let mut bytes = varint(u64::from(field) << 3);
    bytes.extend(varint(value));
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that holds degrees.
fn double(field: u32, value: f64) -> Vec<u8> {
    let mut bytes = varint(u64::from(field) << 3 | 1);
    bytes.extend(value.to_le_bytes());
    bytes
}

fn all(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// A rig whose session tells a sink what it receives.
async fn listening(account: &str) -> (Rig, Sink, String) {
    let rig = Rig::new().await;
    let sink = Sink::new().await;
    let token = rig.pair("shop", account).await;
    rig.hook("shop", &sink.url, &[]).await;
    (rig, sink, token)
}

async fn sends_bytes(rig: &Rig, to: &str, message: &[u8]) -> String {
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let body = json!({ "to": to, "protobuf": STANDARD.encode(message) });
    let sent = rig.sandbox("POST", &path, &body).await;
    sent["id"].as_str().expect("an id").to_owned()
}

/// What the webhook was told of this message.
async fn told(sink: &Sink, event: &str, id: &str) -> Value {
    eventually(&format!("{event} of {id}"), || async {
        let got = sink.got().await;
        let mut events = got.iter().map(|delivered| delivered.json());
        events.find(|e| e["event"] == event && e["data"]["id"] == id)
    })
    .await["data"]
        .clone()
}

/// Sends each message and compares the named fields of what is told of it.
async fn each_is_told(account: &str, cases: &[(&str, Vec<u8>, Value)]) {
    let (rig, sink, token) = listening(account).await;
    for (kind, message, wanted) in cases {
        let id = sends_bytes(&rig, account, message).await;
        let data = told(&sink, "message.received", &id).await;
        assert_eq!(data["type"], *kind, "{data}");
        assert_eq!(data["from"], format!("{PHONE}@s.whatsapp.net"));
        for (name, value) in wanted.as_object().expect("an object") {
            assert_eq!(&data[name], value, "{name} of {kind}: {data}");
        }
        let shown = format!("/api/v1/messages/{id}?sessionId=shop");
        let shown = rig.get(&shown).bearer(&token).send().await.expect(200);
        assert_eq!(shown["fromMe"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_menu_names_what_was_chosen() {
    let context = field(3, all(&[field(1, "3EB0AA"), number(70, 1)]));
    let row = field(3, field(1, "row-7"));
    let form = all(&[
        field(1, "menu_options"),
        field(2, r#"{"id":"flow-1","description":"hangat"}"#),
    ]);
    let cases = [
        (
            "listResponseMessage",
            field(39, all(&[field(1, "Nasi goreng"), row, field(5, "pedas")])),
            json!({
                "text": "Nasi goreng",
                "selection": { "id": "row-7", "title": "Nasi goreng", "description": "pedas" },
            }),
        ),
        (
            "buttonsResponseMessage",
            field(43, all(&[field(1, "yes"), field(2, "Ya"), context])),
            json!({
                "text": "Ya", "quotedId": "3EB0AA", "mentionsAll": true,
                "selection": { "id": "yes", "title": "Ya", "description": null },
            }),
        ),
        (
            "templateButtonReplyMessage",
            field(29, all(&[field(1, "stop"), field(2, "Berhenti")])),
            json!({
                "text": "Berhenti",
                "selection": { "id": "stop", "title": "Berhenti", "description": null },
            }),
        ),
        (
            "interactiveResponseMessage",
            field(48, all(&[field(1, field(1, "Teh")), field(2, form)])),
            json!({
                "text": "Teh",
                "selection": {
                    "id": "flow-1", "title": "Teh", "description": "hangat",
                    "params": r#"{"id":"flow-1","description":"hangat"}"#,
                },
            }),
        ),
    ];
    each_is_told("6281200000811", &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn menus_are_told_with_what_can_be_chosen() {
    let row = |id: &str, title: &str| field(2, all(&[field(1, title), field(3, id)]));
    let section = field(5, all(&[row("a", "Satu"), row("b", "Dua")]));
    let button = field(9, all(&[field(1, "ok"), field(2, field(1, "Oke"))]));
    let quick = field(8, field(1, all(&[field(1, "Ya"), field(2, "y")])));
    let link = field(
        8,
        field(2, all(&[field(1, "Buka"), field(2, "https://example.com")])),
    );
    let flow = field(
        1,
        all(&[
            field(1, "single_select"),
            field(2, r#"{"sections":[{"rows":[{"id":"s1","title":"Kopi"}]}]}"#),
        ]),
    );
    let cases = [
        (
            "listMessage",
            field(
                36,
                all(&[
                    field(1, "Menu"),
                    field(2, "Pilih"),
                    field(3, "Buka"),
                    section,
                ]),
            ),
            json!({ "text": "Pilih", "menu": {
                "title": "Menu", "footer": null, "button": "Buka",
                "options": [{ "id": "a", "title": "Satu" }, { "id": "b", "title": "Dua" }],
            }}),
        ),
        (
            "buttonsMessage",
            field(
                42,
                all(&[
                    field(1, "Kepala"),
                    field(6, "Setuju?"),
                    field(7, "kaki"),
                    button,
                ]),
            ),
            json!({ "text": "Setuju?", "menu": {
                "title": "Kepala", "footer": "kaki", "button": null,
                "options": [{ "id": "ok", "title": "Oke" }],
            }}),
        ),
        (
            "templateMessage",
            field(25, field(4, all(&[field(6, "Isi"), quick, link]))),
            json!({ "text": "Isi", "menu": {
                "title": null, "footer": null, "button": null,
                "options": [
                    { "id": "y", "title": "Ya" },
                    { "id": null, "title": "Buka", "url": "https://example.com" },
                ],
            }}),
        ),
        (
            "interactiveMessage",
            field(45, all(&[field(2, field(1, "Mau apa?")), field(6, flow)])),
            json!({ "text": "Mau apa?", "menu": {
                "title": null, "footer": null, "button": null,
                "options": [{ "id": "s1", "title": "Kopi" }],
            }}),
        ),
    ];
    each_is_told("6281200000812", &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_dates_orders_and_the_like_have_fields_of_their_own() {
    let key = |id: &str| field(1, all(&[number(2, 0), field(3, id)]));
    let invite = all(&[
        field(1, "120363000000000077@g.us"),
        field(2, "AbCd"),
        field(4, "Tim"),
        field(6, "ayo"),
    ]);
    let product = field(
        1,
        all(&[
            field(2, "p1"),
            field(3, "Teh"),
            field(5, "IDR"),
            number(6, 5_000_000),
        ]),
    );
    let poll = all(&[
        field(2, "Kapan?"),
        field(3, field(1, "Senin")),
        field(3, field(1, "Rabu")),
    ]);
    let cases = [
        (
            "groupInviteMessage",
            field(28, invite),
            json!({ "text": "ayo", "invite": {
                "groupId": "120363000000000077@g.us", "groupName": "Tim", "code": "AbCd", "expires": null,
            }}),
        ),
        (
            "liveLocationMessage",
            field(
                18,
                all(&[
                    double(1, -6.2),
                    double(2, 106.8),
                    number(3, 12),
                    field(6, "jalan"),
                ]),
            ),
            json!({ "text": "jalan", "location": {
                "latitude": -6.2, "longitude": 106.8, "accuracy": 12, "live": true,
            }}),
        ),
        (
            "eventMessage",
            field(
                75,
                all(&[
                    field(3, "Rapat"),
                    field(4, "di kantor"),
                    number(7, 1_800_000_000),
                ]),
            ),
            json!({ "text": "Rapat", "appointment": {
                "title": "Rapat", "description": "di kantor", "starts": 1_800_000_000, "ends": null,
                "place": null, "link": null, "call": false, "canceled": false,
            }}),
        ),
        (
            "scheduledCallCreationMessage",
            field(
                61,
                all(&[
                    number(1, 1_800_000_000_000),
                    number(2, 1),
                    field(3, "Telepon"),
                ]),
            ),
            json!({ "text": "Telepon", "appointment": {
                "title": "Telepon", "description": null, "starts": 1_800_000_000, "ends": null,
                "place": null, "link": null, "call": true, "canceled": false,
            }}),
        ),
        (
            "orderMessage",
            field(
                38,
                all(&[
                    field(1, "o1"),
                    number(3, 2),
                    field(6, "pesan"),
                    number(10, 9000),
                    field(11, "IDR"),
                ]),
            ),
            json!({ "text": "pesan", "order": {
                "id": "o1", "title": null, "items": 2, "total1000": 9000, "currency": "IDR", "token": null,
            }}),
        ),
        (
            "productMessage",
            field(30, product),
            json!({ "text": "Teh", "product": {
                "id": "p1", "retailerId": null, "title": "Teh", "description": null,
                "price1000": 5_000_000, "currency": "IDR", "url": null,
            }}),
        ),
        (
            "stickerPackMessage",
            field(
                86,
                all(&[
                    field(1, "s"),
                    field(2, "Kucing"),
                    field(3, "Ani"),
                    field(4, field(1, "1.webp")),
                ]),
            ),
            json!({ "text": "Kucing", "stickerPack": {
                "id": "s", "name": "Kucing", "publisher": "Ani", "stickers": 1,
            }}),
        ),
        (
            "pinInChatMessage",
            field(63, all(&[key("3EB0BB"), number(2, 1)])),
            json!({ "text": null, "pin": { "messageId": "3EB0BB", "pinned": true } }),
        ),
        (
            "keepInChatMessage",
            field(51, all(&[key("3EB0BB"), number(2, 2)])),
            json!({ "text": null, "keep": { "messageId": "3EB0BB", "kept": false } }),
        ),
        (
            "protocolMessage",
            field(12, all(&[number(2, 3), number(4, 86400)])),
            json!({ "text": null, "disappearing": { "seconds": 86400 } }),
        ),
        (
            "pollCreationMessageV5",
            field(111, poll.clone()),
            json!({ "text": "Kapan?", "poll": { "question": "Kapan?", "options": ["Senin", "Rabu"] } }),
        ),
        (
            "pollCreationMessageV4",
            field(93, field(1, field(49, poll))),
            json!({ "innerType": "pollCreationMessage", "text": "Kapan?" }),
        ),
    ];
    each_is_told("6281200000813", &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrapper_is_taken_off() {
    let text = || field(1, field(1, "di dalam"));
    let sticker = field(
        1,
        field(
            26,
            all(&[
                field(2, [1; 32]),
                field(3, [2; 32]),
                field(4, [3; 32]),
                field(5, "application/was"),
                field(8, "/v/t62.15575-24/sticker.enc"),
                number(9, 1000),
            ]),
        ),
    );
    let image = field(
        1,
        field(
            3,
            all(&[
                field(3, "sekali"),
                field(4, [1; 32]),
                number(5, 1000),
                field(8, [2; 32]),
                field(9, [3; 32]),
                field(11, "/v/t62.7118-24/image.enc"),
            ]),
        ),
    );
    let comment = all(&[text(), field(2, field(3, "3EB0CC"))]);
    let wrapped = |kind, number, inner: Vec<u8>, more: Value| (kind, field(number, inner), more);
    let words = || json!({ "text": "di dalam", "innerType": "conversation" });
    let cases = [
        wrapped("ephemeralMessage", 40, text(), words()),
        wrapped("groupMentionedMessage", 62, text(), words()),
        wrapped("editedMessage", 58, text(), words()),
        wrapped("documentWithCaptionMessage", 53, text(), words()),
        wrapped("viewOnceMessage", 37, text(), words()),
        wrapped("viewOnceMessageV2Extension", 59, text(), words()),
        wrapped(
            "viewOnceMessageV2",
            55,
            image,
            json!({ "text": "sekali", "innerType": "imageMessage" }),
        ),
        wrapped(
            "lottieStickerMessage",
            74,
            sticker,
            json!({ "innerType": "stickerMessage" }),
        ),
        wrapped(
            "commentMessage",
            77,
            comment,
            json!({ "text": "di dalam", "commentsOn": "3EB0CC" }),
        ),
    ];
    each_is_told("6281200000814", &cases).await;
    let (rig, sink, _) = listening("6281200000815").await;
    let (_, once, _) = &cases[6];
    let id = sends_bytes(&rig, "6281200000815", once).await;
    let data = told(&sink, "message.received", &id).await;
    assert_eq!(data["media"]["viewOnce"], true, "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_nobody_knows_is_told_as_it_is() {
    let call_log = field(69, all(&[number(1, 1), number(3, 42)]));
    let large = field(76, field(2, vec![7; 70_000]));
    let cases = [
        (
            "callLogMesssage",
            call_log.clone(),
            json!({ "text": null, "raw": STANDARD.encode(&call_log), "rawSize": call_log.len() }),
        ),
        // A field that is newer than this program, alone and beside what goes with any message.
        (
            "unknown",
            field(4711, field(1, "masa depan")),
            json!({ "text": null }),
        ),
        (
            "unknown",
            all(&[field(4711, "masa depan"), field(35, field(3, [7; 32]))]),
            json!({ "text": null }),
        ),
        // Changes and signs that name no message.
        (
            "protocolMessage",
            field(12, number(2, 0)),
            json!({ "text": null }),
        ),
        (
            "protocolMessage",
            field(12, number(2, 99)),
            json!({ "text": null }),
        ),
        (
            "reactionMessage",
            field(46, field(2, "👍")),
            json!({ "text": null }),
        ),
    ];
    each_is_told("6281200000816", &cases).await;
    let (rig, sink, _) = listening("6281200000817").await;
    let id = sends_bytes(&rig, "6281200000817", &large).await;
    let data = told(&sink, "message.received", &id).await;
    assert_eq!(data["raw"], Value::Null, "too large to be told");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_between_devices_is_no_event() {
    let account = "6281200000818";
    let (rig, sink, _) = listening(account).await;
    // History, keys, requests to a phone, a wrapper without content.
    for kind in [5, 6, 7, 16, 17] {
        sends_bytes(&rig, account, &field(12, number(2, kind))).await;
    }
    sends_bytes(&rig, account, &field(31, field(1, "628@s.whatsapp.net"))).await;
    let last = sends_bytes(&rig, account, &field(1, "terakhir")).await;
    told(&sink, "message.received", &last).await;
    let got = sink.wait_for("message.received", 1).await;
    assert_eq!(got.len(), 1, "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_that_says_stop_is_no_opt_out() {
    let account = "6281200000819";
    let (rig, sink, token) = listening(account).await;
    let stop = json!({ "to": "status@broadcast", "text": "STOP", "readers": [account] });
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let story = rig.sandbox("POST", &path, &stop).await;
    let story = story["id"].as_str().expect("an id");
    let data = told(&sink, "message.received", story).await;
    assert_eq!(data["from"], "status@broadcast", "as before: {data}");
    let list = rig
        .get("/api/v1/suppressions?sessionId=shop")
        .bearer(&token);
    let list = list.send().await.expect(200);
    assert!(!list.to_string().contains(PHONE), "{list}");
    let opted = |d: &crate::support::Delivered| d.json()["event"] == "contact.optout";
    assert!(!sink.got().await.iter().any(opted));
    // Written to the session itself it counts.
    sends_bytes(&rig, account, &field(1, "STOP")).await;
    sink.wait_for("contact.optout", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_caption_is_told() {
    let account = "6281200000820";
    let (rig, sink, _) = listening(account).await;
    let edited = field(14, field(3, field(3, "baru")));
    let change = field(
        12,
        all(&[field(1, field(3, "3EB0DD")), number(2, 14), edited]),
    );
    let id = sends_bytes(&rig, account, &change).await;
    let data = told(&sink, "message.edited", &id).await;
    assert_eq!(data["messageId"], "3EB0DD");
    assert_eq!(data["text"], "baru");
}

/// What a phone writes, in words.
async fn sends_text(rig: &Rig, to: &str, text: &str) -> String {
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let body = json!({ "to": to, "text": text });
    let sent = rig.sandbox("POST", &path, &body).await;
    sent["id"].as_str().expect("an id").to_owned()
}

/// A rig whose clock the test moves, with a session that tells a sink what it receives.
async fn with_clock(account: &str) -> (Rig, Sink, Clock) {
    let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
    let deps = Deps {
        clock: clock.clone(),
        ..Deps::default()
    };
    let rig = Rig::made_of(deps, |_| {}).await;
    let sink = Sink::new().await;
    rig.pair("shop", account).await;
    rig.hook("shop", &sink.url, &[]).await;
    (rig, sink, clock)
}

/// Lets messages that could not be read be given up.
fn lose_patience(rig: &Rig, clock: &Clock) {
    clock.advance(warung::domain::queues::UNREADABLE_WAIT);
    let server = rig.server.as_ref().expect("running");
    server.gateway().unreadable_queue().wake();
}

/// Waits until so many messages that could not be read are waited for.
async fn waited_for(rig: &Rig, count: usize) {
    eventually(&format!("{count} unread"), || async {
        let server = rig.server.as_ref().expect("running");
        let due = server
            .gateway()
            .unreadable_queue()
            .next_due()
            .expect("readable");
        (usize::from(due.is_some()) == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_stays_unreadable_is_told_once() {
    let account = "6281200000821";
    let (mut rig, sink, clock) = with_clock(account).await;
    // No client can make a message of this.
    let id = sends_bytes(&rig, account, &[0x0a, 0xff]).await;
    waited_for(&rig, 1).await;
    assert!(
        sink.got()
            .await
            .iter()
            .all(|d| d.json()["data"]["id"] != id.as_str())
    );
    lose_patience(&rig, &clock);
    let data = told(&sink, "message.received", &id).await;
    assert_eq!(data["type"], "unreadable", "{data}");
    assert_eq!(data["reason"], "undecryptable");
    assert_eq!(data["text"], Value::Null);
    assert_eq!(data["from"], format!("{PHONE}@s.whatsapp.net"));
    let deps = Deps {
        clock: clock.clone(),
        ..Deps::default()
    };
    rig.restart_made_of(deps).await;
    rig.wait_for_status("shop", "CONNECTED").await;
    lose_patience(&rig, &clock);
    let last = sends_text(&rig, account, "terakhir").await;
    told(&sink, "message.received", &last).await;
    let got = sink.got().await;
    let of_it = got.iter().filter(|d| d.json()["data"]["id"] == id.as_str());
    assert_eq!(of_it.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_at_the_second_try_is_never_told_as_unreadable() {
    let account = "6281200000822";
    let (rig, sink, clock) = with_clock(account).await;
    let garble = json!({ "garble": true, "phone": account, "count": 1 });
    rig.sandbox("POST", "/sandbox/faults", &garble).await;
    let id = sends_text(&rig, account, "sampai").await;
    let data = told(&sink, "message.received", &id).await;
    assert_eq!(data["text"], "sampai");
    lose_patience(&rig, &clock);
    waited_for(&rig, 0).await;
    let got = sink.got().await;
    let of_it = got.iter().filter(|d| d.json()["data"]["id"] == id.as_str());
    assert_eq!(of_it.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_come_late_are_told_although_patience_was_lost() {
    let account = "6281200000823";
    let (rig, sink, clock) = with_clock(account).await;
    // The phone's first copy is spoilt, and so are those that it sends again.
    let garble = json!({ "garble": true, "phone": account, "count": 2 });
    rig.sandbox("POST", "/sandbox/faults", &garble).await;
    let id = sends_text(&rig, account, "akhirnya").await;
    eventually("the words", || async {
        lose_patience(&rig, &clock);
        let got = sink.got().await;
        let mut events = got.iter().map(|delivered| delivered.json());
        events.find(|e| e["data"]["id"] == id.as_str() && e["data"]["text"] == "akhirnya")
    })
    .await;
}
