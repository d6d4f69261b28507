//! Rows that are damaged, or that nothing else belongs to: one of them does not keep the others.

use serde_json::{Value, json};
use warung::domain::event::publish::append;
use warung::ids::SessionNumber;
use warung::store::{Durability, Read, tables};

use crate::support::{Rig, eventually, opt_out, read_events};

/// A value that no version wrote; the store refuses one without a date.
const DAMAGED: &[u8] = b"\x01{\"at\":0}";

/// How many events are read from the log at a time.
const PAGE: usize = 100;

fn key(session: u32, rest: &[u8]) -> Vec<u8> {
    [&session.to_be_bytes()[..], rest].concat()
}

async fn put(rig: &Rig, table: tables::Table, key: Vec<u8>, value: &'static [u8]) {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let write = gateway.store().write(Durability::Sync, move |tx| {
        tx.put(table, key, value);
        Ok(())
    });
    write.await.expect("written");
}

fn rows(rig: &Rig, table: tables::Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let rows = gateway
        .store()
        .read(|read| read.prefix(table, b"", None, 100_000));
    rows.expect("read")
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
        (DAMAGED, json!([])),
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
async fn the_secret_of_a_webhook_is_told_also_when_what_waits_for_it_cannot_be_hastened() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    rig.hook("shop", "http://127.0.0.1:9/", &[]).await;
    publish(&rig, vec![(1, "shop")]).await;
    for (lane, _) in rows(&rig, tables::QUEUE_LANES) {
        put(&rig, tables::QUEUE_LANES, lane, DAMAGED).await;
    }
    put(&rig, tables::WEBHOOKS, hook_row(), DAMAGED).await;
    let made = rig.hook("shop", "http://127.0.0.1:9/", &[]).await;
    assert!(made["secret"].is_string(), "{made}");
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
