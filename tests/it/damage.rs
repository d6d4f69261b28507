//! Rows that are damaged, or that nothing else belongs to: one of them does not keep the others.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warung::domain::event::publish::append;
use warung::domain::queues::DOWNLOADS;
use warung::ids::SessionNumber;
use warung::server::Deps;
use warung::store::queue::{self, LaneOrder};
use warung::store::{Durability, RESTORED, Read, tables};
use warung::time::{Clock, Timestamp};

use crate::files::{file, upload, uploaded};
use crate::support::{Rig, Sink, eventually, opt_out, read_events};

const PHONE: &str = "6281299990863";
const ACCOUNT: &str = "6281200000863";

/// A value that no version wrote; the store refuses one without a date.
pub const DAMAGED: &[u8] = b"\x01{\"at\":0}";

/// How many events are read from the log at a time.
const PAGE: usize = 100;

pub fn key(session: u32, rest: &[u8]) -> Vec<u8> {
    [&session.to_be_bytes()[..], rest].concat()
}

pub async fn put(rig: &Rig, table: tables::Table, key: Vec<u8>, value: &'static [u8]) {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let write = gateway.store().write(Durability::Sync, move |tx| {
        tx.put(table, key, value);
        Ok(())
    });
    write.await.expect("written");
}

pub fn rows(rig: &Rig, table: tables::Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let rows = gateway
        .store()
        .read(|read| read.prefix(table, b"", None, 100_000));
    rows.expect("read")
}

/// The row whose value holds this.
fn holding(rig: &Rig, table: tables::Table, held: &str) -> (Vec<u8>, Vec<u8>) {
    let holds = |(_, value): &(Vec<u8>, Vec<u8>)| String::from_utf8_lossy(value).contains(held);
    let found = rows(rig, table).into_iter().find(holds);
    found.unwrap_or_else(|| panic!("a row with {held}"))
}

/// Damages all rows of a table, of which there are some.
pub async fn damage_all(rig: &Rig, table: tables::Table) {
    let all = rows(rig, table);
    assert!(!all.is_empty(), "there are rows");
    for (key, _) in all {
        put(rig, table, key, DAMAGED).await;
    }
}

async fn nothing_waits(rig: &Rig) {
    eventually("an empty queue", || async {
        rows(rig, tables::QUEUE_ROWS).is_empty().then_some(())
    })
    .await;
}

async fn phone_sends(rig: &Rig, draft: &Value) -> String {
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let sent = rig.sandbox("POST", &path, draft).await;
    sent["id"].as_str().expect("an id").to_owned()
}

/// A session with an account, whose phone tells nobody that it received something; and its token.
async fn silent(rig: &Rig) -> String {
    let token = rig.pair("shop", ACCOUNT).await;
    let path = format!("/sandbox/phones/{PHONE}");
    rig.sandbox("PUT", &path, &json!({ "receipts": "none" }))
        .await;
    token
}

/// Waits until a message has come so far.
async fn reaches(rig: &Rig, token: &str, id: &str, state: &str) {
    let path = format!("/api/v1/messages/{id}?sessionId=shop");
    eventually(&format!("{id} {state}"), || async {
        let shown = rig.get(&path).bearer(token).send().await;
        (shown.status == 200 && shown.json()["delivery"] == state).then_some(())
    })
    .await;
}

/// Records events of these sessions, in this order.
async fn publish(rig: &Rig, sessions: Vec<(u32, &'static str)>) {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let at = gateway.clock().now();
    let write = gateway.store().write(Durability::Sync, move |tx| {
        for (number, name) in sessions {
            append(tx, SessionNumber(number), &opt_out(name, at))?;
        }
        Ok(())
    });
    write.await.expect("written");
}

fn is_of(event: &Value, session: &str) -> bool {
    event["sessionId"] == session && event["event"] == "contact.optout"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_all_sessions_goes_on_behind_those_of_one_that_is_removed() {
    let rig = Rig::new().await;
    rig.create("gone").await;
    rig.create("shop").await;
    // The mark alone, without the signal: the rows are nobody's any more, and are still there.
    put(
        &rig,
        tables::REMOVALS,
        [&[1][..], &key(1, b"")].concat(),
        b"",
    )
    .await;
    let mut sessions = vec![(1, "gone"); PAGE - 1];
    sessions.extend([(2, "shop"); PAGE / 2]);
    publish(&rig, sessions).await;
    let stream = rig.get("/api/v1/events").master();
    let seen = |events: &[Value]| events.iter().filter(|event| is_of(event, "shop")).count();
    let events = read_events(stream.header("last-event-id", "0"), |events| {
        seen(events) == PAGE / 2
    });
    assert!(!events.await.iter().any(|event| is_of(event, "gone")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_keeps_no_stream_from_the_others() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    publish(&rig, vec![(1, "shop"); 3]).await;
    let of_opt_out = |value: &[u8]| String::from_utf8_lossy(value).contains("ContactOptOut");
    let events = rows(&rig, tables::EVENTS).into_iter();
    let mut events = events.filter(|(_, value)| of_opt_out(value));
    let (damaged, _) = events.nth(1).expect("the second");
    put(&rig, tables::EVENTS, damaged, DAMAGED).await;
    let all = rig.get("/api/v1/events").master();
    let own = rig.get("/api/v1/events?sessionId=shop").bearer(&token);
    for stream in [all, own] {
        let seen = |events: &[Value]| events.iter().filter(|event| is_of(event, "shop")).count();
        read_events(stream.header("last-event-id", "0"), |events| {
            seen(events) == 2
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_webhook_keeps_no_event_from_being_recorded_and_delivered() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    rig.hook("shop", "http://127.0.0.1:9/", &[]).await;
    put(&rig, tables::WEBHOOKS, key(1, b"other"), DAMAGED).await;
    publish(&rig, vec![(1, "shop")]).await;
    assert!(!rows(&rig, tables::QUEUE_ROWS).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_campaign_or_list_is_left_out_of_the_others() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    for (path, table) in [
        ("/api/v1/campaigns", tables::CAMPAIGNS),
        ("/api/v1/recipient-lists", tables::LISTS),
    ] {
        let body = json!({ "sessionId": "shop", "name": "Promo", "message": { "content": "hai" },
            "recipients": [{ "number": "6281200000862", "name": "Ani" }] });
        let made = rig.post(path, &body).bearer(&token).send().await;
        made.expect(201);
        put(&rig, table, key(1, b"damaged_1_a"), DAMAGED).await;
        // Another can be made beside it.
        let made = rig.post(path, &body).bearer(&token).send().await;
        made.expect(201);
        let listed = rig.get(path).bearer(&token).send().await.expect(200);
        assert_eq!(listed.as_array().map(Vec::len), Some(2), "{path}: {listed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_outbox_row_leaves_no_session_out() {
    let mut rig = Rig::new().await;
    rig.create("shop").await;
    // An id that is no text, and a time that is too short.
    put(&rig, tables::OUTBOX, key(1, b"3EB0\xff"), &[0; 16]).await;
    put(&rig, tables::OUTBOX, key(1, b"3EB0AA"), b"\x01").await;
    rig.restart().await;
    let shown = rig.get("/api/v1/sessions/shop").master().send().await;
    shown.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_again_is_settled_and_leaves_the_outbox() {
    const WITHOUT_CONTENT: &[u8] = br#"{"chat":"6281200000862@s.whatsapp.net","sender":null,"at":0,"text":null,"sent":null,"progress":"Sending","refusal":null}"#;
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000861").await;
    let message = [&b"\x01"[..], WITHOUT_CONTENT].concat().leak();
    let place = key(1, b"3EB0AA\x006281200000862@s.whatsapp.net\0");
    put(&rig, tables::MESSAGES, place, message).await;
    // Of one nothing is kept, of the other only that it was sent.
    put(&rig, tables::OUTBOX, key(1, b"3EB0BB"), &[0; 16]).await;
    put(&rig, tables::OUTBOX, key(1, b"3EB0AA"), &[0; 16]).await;
    rig.restart().await;
    eventually("an empty outbox", || async {
        rows(&rig, tables::OUTBOX).is_empty().then_some(())
    })
    .await;
    let shown = rig.get("/api/v1/messages/3EB0AA?sessionId=shop");
    let shown = shown.bearer(&token).send().await.expect(200);
    assert_eq!(shown["delivery"], "failed", "{shown}");
}

/// The row of the session's one webhook.
fn hook_row() -> Vec<u8> {
    key(1, b"v1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_cannot_be_read_is_mended_by_setting_it_again() {
    const SEALED_BY_ANOTHER_KEY: &[u8] = b"\x01{\"url\":\"http://127.0.0.1:9/\",\"secret\":[1,2,3],\"events\":[\"message.received\"],\"dialect\":\"v1\",\"at\":0}";
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let set = json!({ "sessionId": "shop", "url": "http://127.0.0.1:9/" });
    let set = || rig.post("/api/v1/webhook", &set).bearer(&token).send();
    for (damaged, events) in [
        (DAMAGED, json!(["session.update", "message.received"])),
        (SEALED_BY_ANOTHER_KEY, json!(["message.received"])),
    ] {
        put(&rig, tables::WEBHOOKS, hook_row(), damaged).await;
        let made = set().await.expect(200);
        assert!(made["secret"].is_string(), "{made}");
        let shown = rig.get("/api/v1/webhook?sessionId=shop").bearer(&token);
        assert_eq!(shown.send().await.expect(200)["events"], events);
        // It is told once.
        let again = set().await.expect(200);
        assert_eq!(again["secret"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_rows_of_a_webhooks_queue_lose_only_themselves() {
    let rig = Rig::new().await;
    let sink = Sink::new().await;
    let token = rig.create("shop").await;
    sink.answer(503);
    rig.hook("shop", &sink.url, &["contact.optout"]).await;
    publish(&rig, vec![(1, "shop"); 2]).await;
    // Neither a damaged lane nor a damaged row keeps an event from being recorded.
    damage_all(&rig, tables::QUEUE_LANES).await;
    publish(&rig, vec![(1, "shop")]).await;
    let (second, _) = rows(&rig, tables::QUEUE_ROWS).swap_remove(1);
    put(&rig, tables::QUEUE_ROWS, second, DAMAGED).await;
    publish(&rig, vec![(1, "shop")]).await;
    damage_all(&rig, tables::QUEUE_LANES).await;
    let path = "/api/v1/webhook/deliveries?sessionId=shop";
    let list = rig.get(path).bearer(&token).send().await.expect(200);
    assert_eq!(list["waiting"], 4, "{list}");
    // A webhook that is set anew tells its secret, and has what waits be tried now.
    put(&rig, tables::WEBHOOKS, hook_row(), DAMAGED).await;
    sink.answer(200);
    let made = rig.hook("shop", &sink.url, &["contact.optout"]).await;
    assert!(made["secret"].is_string(), "{made}");
    sink.wait_for("contact.optout", 3).await;
    nothing_waits(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_go_to_a_damaged_webhook_goes_to_no_other() {
    let usual = "http://127.0.0.1:9/";
    let rig = Rig::with(|config| config.webhook_url = Some(usual.into())).await;
    // Before the first event of the session.
    put(&rig, tables::WEBHOOKS, hook_row(), DAMAGED).await;
    let token = rig.create("shop").await;
    rig.create("other").await;
    publish(&rig, vec![(1, "shop"), (2, "other")]).await;
    let waiting = rows(&rig, tables::QUEUE_ROWS);
    let waits = |lane: &[u8]| {
        let mut keys = waiting.iter().map(|(key, _)| key);
        keys.any(|key| key.windows(lane.len()).any(|part| part == lane))
    };
    assert!(waits(b"\x02default"), "{waiting:?}");
    assert!(!waits(b"\x01default"), "{waiting:?}");
    let shown = rig.get("/api/v1/webhook?sessionId=shop").bearer(&token);
    assert_eq!(shown.send().await.expect(200)["url"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_or_delivery_keeps_no_other() {
    let rig = Rig::new().await;
    let sink = Sink::new().await;
    let token = rig.create("shop").await;
    sink.answer(503);
    rig.hook("shop", &sink.url, &["contact.optout"]).await;
    publish(&rig, vec![(1, "shop"); 3]).await;
    let of_opt_out = |value: &[u8]| String::from_utf8_lossy(value).contains("ContactOptOut");
    let mut events = rows(&rig, tables::EVENTS);
    events.retain(|(_, value)| of_opt_out(value));
    // It was not tried before.
    put(&rig, tables::EVENTS, events[1].0.clone(), DAMAGED).await;
    sink.answer(200);
    // What waits is tried now.
    rig.hook("shop", &sink.url, &["contact.optout"]).await;
    sink.wait_for("contact.optout", 2).await;
    nothing_waits(&rig).await;
    let newest = [&u64::MAX.to_be_bytes()[..], b"v1"].concat();
    put(&rig, tables::DELIVERIES, key(1, &newest), DAMAGED).await;
    let path = "/api/v1/webhook/deliveries?sessionId=shop";
    let list = rig.get(path).bearer(&token).send().await.expect(200);
    let listed = list["deliveries"].as_array().map(Vec::len);
    assert_eq!(listed, Some(2), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_a_damaged_webhook_wait_and_say_why() {
    let rig = Rig::new().await;
    let sink = Sink::new().await;
    let token = rig.create("shop").await;
    sink.answer(503);
    rig.hook("shop", &sink.url, &["contact.optout"]).await;
    publish(&rig, vec![(1, "shop")]).await;
    damage_all(&rig, tables::WEBHOOKS).await;
    eventually("a try that says why", || async {
        let path = "/api/v1/webhook/deliveries?sessionId=shop";
        let list = rig.get(path).bearer(&token).send().await.expect(200);
        let last = &list["deliveries"][0];
        let why = last["lastError"] == "the webhook cannot be read; set it again";
        (why && last["status"] == "pending").then_some(())
    })
    .await;
    assert_eq!(rows(&rig, tables::QUEUE_ROWS).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_number_is_left_out_of_those_that_want_no_campaigns() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let (damaged, other) = ("6281200000864", "6281200000865");
    put(
        &rig,
        tables::SUPPRESSED,
        key(1, damaged.as_bytes()),
        DAMAGED,
    )
    .await;
    let body = json!({ "numbers": [other] });
    let told = rig.post("/api/v1/suppressions", &body).bearer(&token);
    told.send().await.expect(200);
    let list = rig.get("/api/v1/suppressions").bearer(&token).send().await;
    let list = list.expect(200).to_string();
    assert!(list.contains(other) && !list.contains(damaged), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_campaign_or_file_keeps_no_other_file() {
    let clock = Clock::manual(Timestamp::from_secs(1_700_000_000));
    let deps = Deps {
        clock: clock.clone(),
        ..Deps::default()
    };
    let size = file("prices.pdf").len() as u64;
    let rig = Rig::made_of(deps, |config| {
        config.media_days = 10;
        config.media_quota = 3 * size + size / 2;
    })
    .await;
    let (token, other) = (rig.create("shop").await, rig.create("other").await);
    let bytes = file("prices.pdf");
    let mut ids = Vec::new();
    for name in ["a.pdf", "b.pdf", "c.pdf"] {
        ids.push(uploaded(&rig, &token, name, &bytes).await);
    }
    uploaded(&rig, &other, "d.pdf", &bytes).await;
    put(&rig, tables::CAMPAIGNS, key(1, b"damaged_1_a"), DAMAGED).await;
    put(&rig, tables::MEDIA, key(1, ids[0].as_bytes()), DAMAGED).await;
    put(&rig, tables::MEDIA_USAGE, key(2, b""), DAMAGED).await;
    // No file makes room, which is no failure of ours.
    let full = upload(&rig, &token, "e.pdf", &bytes).await;
    full.expect(413);
    let list = rig.get("/api/v1/media").bearer(&token).send().await;
    let list = list.expect(200).to_string();
    assert!(list.contains(&ids[1]) && !list.contains(&ids[0]), "{list}");
    let delete = rig.delete(&format!("/api/v1/media/{}", ids[1]));
    delete.bearer(&token).send().await.expect(200);
    clock.advance(Duration::from_secs(11 * 24 * 3600));
    let gateway = rig.server.as_ref().expect("running").gateway();
    let swept = gateway.forget_old(&CancellationToken::new()).await;
    swept.expect("swept");
    let left: Vec<_> = rows(&rig, tables::MEDIA).into_iter().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].1, DAMAGED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_message_is_downloaded_no_more() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    let message = key(
        1,
        format!("3EB0AA\0{PHONE}@s.whatsapp.net\0{PHONE}@s.whatsapp.net").as_bytes(),
    );
    put(&rig, tables::MESSAGES, message.clone(), DAMAGED).await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    let now = gateway.clock().now();
    let write = gateway.store().write(Durability::Sync, move |tx| {
        let lane = key(1, b"");
        queue::enqueue(tx, DOWNLOADS, &lane, LaneOrder::ByDue, now, &message).map(|_| ())
    });
    write.await.expect("written");
    nothing_waits(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_is_stored_beside_damaged_timers_messages_and_votes() {
    let rig = Rig::new().await;
    let sink = Sink::new().await;
    let token = rig.pair("shop", ACCOUNT).await;
    rig.hook("shop", &sink.url, &[]).await;
    let first = json!({ "to": ACCOUNT, "text": "frist", "ephemeral": 86400 });
    let first = phone_sends(&rig, &first).await;
    sink.wait_for("message.received", 1).await;
    damage_all(&rig, tables::CHATS).await;
    damage_all(&rig, tables::MESSAGES).await;
    let second = json!({ "to": ACCOUNT, "text": "second", "ephemeral": 604800 });
    phone_sends(&rig, &second).await;
    sink.wait_for("message.received", 2).await;
    let edit = json!({ "to": ACCOUNT, "id": first, "text": "first" });
    let phone = format!("/sandbox/phones/{PHONE}");
    rig.sandbox("POST", &format!("{phone}/edit"), &edit).await;
    sink.wait_for("message.edited", 1).await;
    let poll = json!({ "to": PHONE, "type": "poll",
        "poll": { "question": "Kapan?", "options": ["Senin", "Rabu"] } });
    let poll = rig.send("shop", &token, &poll).await[0]["messageId"].clone();
    rig.wait_for_received(PHONE, 1).await;
    for (count, option) in [(1, "Senin"), (2, "Rabu")] {
        let vote = json!({ "messageId": poll, "options": [option] });
        rig.sandbox("POST", &format!("{phone}/vote"), &vote).await;
        let votes = sink.wait_for("poll.vote", count).await;
        assert!(votes[count - 1].to_string().contains(option), "{votes:?}");
        if count == 1 {
            damage_all(&rig, tables::POLL_VOTES).await;
        }
    }
    let poll = poll.as_str().expect("an id");
    let damaged = key(
        1,
        format!("{poll}\06281200000009@s.whatsapp.net").as_bytes(),
    );
    put(&rig, tables::POLL_VOTES, damaged, DAMAGED).await;
    let path = format!("/api/v1/messages/{poll}?sessionId=shop");
    let shown = rig.get(&path).bearer(&token).send().await.expect(200);
    assert_eq!(shown["poll"]["options"][1]["votes"], 1, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_campaign_keeps_no_restored_gateway_from_starting() {
    let mut rig = Rig::new().await;
    rig.create("shop").await;
    put(&rig, tables::CAMPAIGNS, key(1, b"damaged_1_a"), DAMAGED).await;
    put(&rig, tables::LIVE_CAMPAIGNS, key(1, b"damaged_1_a"), b"").await;
    put(&rig, tables::META, RESTORED.to_vec(), b"").await;
    rig.restart().await;
    let marks = rows(&rig, tables::META);
    assert!(!marks.iter().any(|(key, _)| key == RESTORED));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_message_keeps_no_other_of_its_request_from_being_settled() {
    let rig = Rig::new().await;
    let token = silent(&rig).await;
    let late = json!({ "delayAcks": 18_000, "count": 2 });
    rig.send_text("shop", &token, PHONE, "warm").await;
    rig.sandbox("POST", "/sandbox/faults", &late).await;
    let text = |body: &str| json!({ "to": PHONE, "type": "text", "text": { "body": body } });
    let both = json!([text("damaged"), text("whole")]);
    let both = rig.post("/api/v1/messages?sessionId=shop", &both);
    let both = tokio::spawn(both.bearer(&token).send());
    rig.wait_for_received(PHONE, 3).await;
    let (damaged, _) = holding(&rig, tables::MESSAGES, "\"damaged\"");
    put(&rig, tables::MESSAGES, damaged, DAMAGED).await;
    // Now both are acknowledged.
    rig.sandbox("DELETE", "/sandbox/faults", &json!({})).await;
    let both = both.await.expect("it ends").expect(200);
    assert_eq!(both[1]["status"], "success", "{both}");
    let whole = both[1]["messageId"].as_str().expect("an id");
    reaches(&rig, &token, whole, "sent").await;
    assert!(rows(&rig, tables::OUTBOX).is_empty());
}

/// Leaves a message under this id in the outbox, as one whose outcome could not be stored.
async fn leave(rig: &Rig, like: &[u8], id: &str) {
    let place = key(1, format!("{id}\0{PHONE}@s.whatsapp.net\0").as_bytes());
    let text = String::from_utf8(like.to_vec()).expect("JSON");
    let begun = text.replace("\"progress\":\"Sent\"", "\"progress\":\"Sending\"");
    assert_ne!(begun, text);
    put(rig, tables::MESSAGES, place, begun.into_bytes().leak()).await;
    put(rig, tables::OUTBOX, key(1, id.as_bytes()), &[0; 16]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_sends_nothing_that_the_first_left() {
    let mut rig = Rig::new().await;
    let token = silent(&rig).await;
    rig.send_text("shop", &token, PHONE, "by the first").await;
    let (_, sent) = holding(&rig, tables::MESSAGES, "by the first");
    leave(&rig, &sent, "3EB0AA").await;
    let path = format!("/sandbox/phones/{ACCOUNT}/logout");
    rig.sandbox("POST", &path, &json!({})).await;
    rig.wait_for_status("shop", "DISCONNECTED").await;
    reaches(&rig, &token, "3EB0AA", "failed").await;
    // What a crash left undone of that is done before another account sends anything.
    leave(&rig, &sent, "3EB0BB").await;
    rig.restart().await;
    let qr = rig.get("/api/v1/sessions/shop/qr").bearer(&token);
    qr.send().await.expect(200);
    let scan = json!({ "sessionId": "shop", "phone": "6281200000866" });
    rig.sandbox("POST", "/sandbox/scan", &scan).await;
    rig.wait_for_status("shop", "CONNECTED").await;
    reaches(&rig, &token, "3EB0BB", "failed").await;
    rig.send_text("shop", &token, PHONE, "by the second").await;
    let got = rig.wait_for_received(PHONE, 2).await;
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(rows(&rig, tables::OUTBOX).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_upload_keeps_no_other_message_from_being_sent_again() {
    let mut rig = Rig::new().await;
    let token = silent(&rig).await;
    let id = uploaded(&rig, &token, "turned.jpg", &file("turned.jpg")).await;
    let picture = json!({ "to": PHONE, "type": "image",
        "image": { "id": id, "caption": "a picture" } });
    let sent = rig.send("shop", &token, &picture).await;
    assert_eq!(sent[0]["status"], "success", "{sent}");
    rig.send_text("shop", &token, PHONE, "a text").await;
    for (id, held) in [("3EB0AA", "a picture"), ("3EB0BB", "a text")] {
        let (_, like) = holding(&rig, tables::MESSAGES, held);
        leave(&rig, &like, id).await;
    }
    damage_all(&rig, tables::UPLOADS).await;
    rig.restart().await;
    reaches(&rig, &token, "3EB0BB", "sent").await;
    reaches(&rig, &token, "3EB0AA", "failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_row_is_damaged_is_listed_and_can_be_deleted_and_made_anew() {
    // Of one row nothing can be read, one says at least which rows are its own, and one names those of
    // another session.
    const LOST: &[u8] = b"\x01{\"number\":1,\"created_at\":\"";
    const KNOWN: &[u8] = b"\x01{\"number\":2}";
    const FALSE: &[u8] = b"\x01{\"number\":3}";
    let mut rig = Rig::new().await;
    let mut tokens = Vec::new();
    for session in ["lost", "known", "intact"] {
        let token = rig.create(session).await;
        let list = json!({ "sessionId": session, "name": "Langganan",
            "recipients": [{ "number": "6281200000862", "name": "Ani" }] });
        let made = rig.post("/api/v1/recipient-lists", &list).bearer(&token);
        made.send().await.expect(201);
        tokens.push(token);
    }
    put(&rig, tables::SESSIONS, b"lost".into(), LOST).await;
    put(&rig, tables::SESSIONS, b"known".into(), KNOWN).await;
    put(&rig, tables::SESSIONS, b"third".into(), FALSE).await;
    rig.restart().await;
    let listed = rig
        .get("/api/v1/sessions")
        .master()
        .send()
        .await
        .expect(200);
    let rows = listed.as_array().expect("rows").iter();
    let names: Vec<_> = rows.map(|row| row["sessionId"].clone()).collect();
    assert_eq!(
        json!(names),
        json!(["intact", "known", "lost", "third"]),
        "{listed}"
    );
    for session in ["lost", "known", "third"] {
        let path = format!("/api/v1/sessions/{session}");
        let body = json!({ "sessionId": session });
        for refused in [rig.get(&path), rig.post("/api/v1/sessions", &body)] {
            let why = refused.master().send().await.expect(409)["message"].clone();
            assert!(why.to_string().contains("delete the session"), "{why}");
        }
        let other = rig.delete(&path).bearer(&tokens[2]).send().await;
        assert_eq!(other.status, 403);
        rig.delete(&path).master().send().await.expect(200);
        assert_eq!(rig.delete(&path).master().send().await.status, 404);
        rig.create(session).await;
    }
    // What belonged to one is gone with it; the other's is where it was.
    let of = |number: u32| {
        let lists = rows_of(&rig, tables::LISTS).into_iter();
        lists
            .filter(|list| list.starts_with(&key(number, b"")))
            .count()
    };
    assert_eq!((of(2), of(3)), (0, 1));
    rig.restart().await;
    let shown = rig.get("/api/v1/sessions/intact").bearer(&tokens[2]);
    shown.send().await.expect(200);
}

fn rows_of(rig: &Rig, table: tables::Table) -> Vec<Vec<u8>> {
    rows(rig, table).into_iter().map(|(key, _)| key).collect()
}

/// A list and a campaign of two people, and where they are: the path, and the table of their rows.
async fn list_and_campaign(rig: &Rig, token: &str) -> Vec<(String, tables::Table)> {
    let mut made = Vec::new();
    for (path, table) in [
        ("/api/v1/campaigns", tables::CAMPAIGNS),
        ("/api/v1/recipient-lists", tables::LISTS),
    ] {
        let body = json!({ "sessionId": "shop", "name": "Promo", "message": { "content": "hai" },
            "recipients": [{ "number": "6281200000862", "name": "Ani" }] });
        let answer = rig.post(path, &body).bearer(token).send().await.expect(201);
        let id = answer["id"].as_str().expect("an id");
        made.push((format!("{path}/{id}"), table));
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_list_or_campaign_says_so_and_can_be_deleted() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    for (path, table) in list_and_campaign(&rig, &token).await {
        let (place, whole) = rows(&rig, table).remove(0);
        let people = |rows: &[(Vec<u8>, Vec<u8>)], roster: &[u8]| {
            rows.iter().any(|(key, _)| key.starts_with(roster))
        };
        let named: Value = serde_json::from_slice(&whole[1..]).expect("JSON");
        let roster = u32::try_from(named["roster"].as_u64().expect("a number")).expect("small");
        let known = format!("\u{1}{{\"roster\":{roster}}}").into_bytes();
        put(&rig, table, place.clone(), known.leak()).await;
        let said = rig.get(&path).bearer(&token).send().await.expect(409);
        let words = said["message"].as_str().expect("words");
        assert!(words.contains("`warung check` names it"), "{words}");
        let gone = || rig.delete(&path).bearer(&token).send();
        gone().await.expect(200);
        assert_eq!(gone().await.status, 404);
        rig.get(&path).bearer(&token).send().await.expect(404);
        assert!(rows(&rig, table).is_empty());
        // What its row still named as its own goes too.
        eventually("its people are gone", || async {
            let left = rows(&rig, tables::RECIPIENTS);
            (!people(&left, &roster.to_be_bytes())).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_costs_no_other_list_its_people() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    for (path, table) in list_and_campaign(&rig, &token).await {
        put(&rig, table, rows(&rig, table).remove(0).0, DAMAGED).await;
        rig.delete(&path).bearer(&token).send().await.expect(200);
    }
    let made = list_and_campaign(&rig, &token).await;
    // Both name the people of the list.
    let (_, list) = rows(&rig, tables::LISTS).remove(0);
    let named: Value = serde_json::from_slice(&list[1..]).expect("JSON");
    let false_row = format!("\u{1}{{\"roster\":{}}}", named["roster"]).into_bytes();
    let (place, _) = rows(&rig, tables::CAMPAIGNS).remove(0);
    put(&rig, tables::CAMPAIGNS, place, false_row.leak()).await;
    let (campaign, list) = (&made[0].0, &made[1].0);
    let deleted = rig.delete(campaign).bearer(&token).send().await;
    deleted.expect(200);
    assert!(rows(&rig, tables::REMOVALS).is_empty());
    let shown = rig.get(list).bearer(&token).send().await.expect(200);
    assert_eq!(shown["recipients"][0]["name"], "Ani", "{shown}");
    damage_all(&rig, tables::RECIPIENTS).await;
    rig.get(list).bearer(&token).send().await.expect(409);
    rig.delete(list).bearer(&token).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_what_cannot_be_read() {
    let mut rig = Rig::new().await;
    let token = rig.create("shop").await;
    let made = list_and_campaign(&rig, &token).await;
    for (_, table) in &made {
        damage_all(&rig, *table).await;
    }
    let whole = list_and_campaign(&rig, &token).await;
    put(&rig, tables::SESSIONS, b"lost".into(), b"\x01{").await;
    let data = rig.config.data.clone();
    rig.stop().await;
    let mut check = tokio::process::Command::new(crate::support::program());
    let output = check.args(["check", "--data"]).arg(&data).output().await;
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let id = |path: &str| path.rsplit('/').next().expect("an id").to_owned();
    let (campaign, list) = (id(&made[0].0), id(&made[1].0));
    for line in [
        "session lost cannot be read; delete it".to_owned(),
        format!("campaign {campaign} of session shop cannot be read"),
        format!("list {list} of session shop cannot be read"),
    ] {
        assert!(said.contains(&line), "{line}: {said}");
    }
    for (path, _) in &whole {
        assert!(!said.contains(&id(path)), "{said}");
    }
}
