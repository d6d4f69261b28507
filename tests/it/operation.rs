//! Running it: metrics, and a stop that loses nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::support::{Rig, Sink, eventually};

/// Reads an exposition as strictly as a scraper: every value is of a family that was named once with
/// its type and meaning, nothing is there twice, and the end is marked.
fn exposition(text: &str) -> BTreeMap<&str, f64> {
    let (mut types, mut figures) = (BTreeMap::new(), BTreeMap::new());
    let mut meant = None;
    let body = text.strip_suffix("# EOF\n").expect("an end");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (family, help) = rest.split_once(' ').expect("a meaning");
            assert!(help.ends_with('.') && !help.ends_with(".."), "{line}");
            meant = Some(family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(meant, Some(family), "{line}");
            assert!(types.insert(family, kind).is_none(), "{line}: twice");
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let family = meant.expect("a family");
            let bare = name.split('{').next().unwrap_or_default();
            let suffix = bare.strip_prefix(family).expect("a value of the family");
            let fits = match types[family] {
                "counter" => suffix == "_total",
                "histogram" => ["_sum", "_count", "_bucket"].contains(&suffix),
                "gauge" => suffix.is_empty(),
                _ => false,
            };
            assert!(fits, "{line}");
            let value = value.parse().expect("a number");
            assert!(figures.insert(name, value).is_none(), "{line}: twice");
        }
    }
    figures
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happens() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200001001").await;
    rig.send_text("shop", &token, "6281299991001", "count me")
        .await;
    let sink = Sink::new().await;
    sink.answer(503);
    rig.hook("shop", &sink.url, &["message.received"]).await;
    for _ in 0..3 {
        let path = "/sandbox/phones/6281299991001/messages";
        let body = json!({ "to": "6281200001001", "text": "count me" });
        rig.sandbox("POST", path, &body).await;
    }
    eventually("the network has nothing left", || async {
        let network = rig.sandbox("GET", "/sandbox", &Value::Null).await;
        (network["accounts"][0]["companions"][0]["waiting"] == 0).then_some(())
    })
    .await;
    let refused = json!({ "to": "6281299991001", "type": "image", "image": { "id": "none.jpg" } });
    rig.send("shop", &token, &refused).await;
    let people = crate::campaigns::people(1, 2);
    let later = json!({ "name": "Promo", "sessionId": "shop", "scheduledAt": "2999-01-01T00:00:00Z",
        "message": { "type": "text", "content": "x" }, "recipients": people });
    crate::campaigns::create(&rig, &token, &later).await;
    let answer = rig.get("/metrics").master().send().await;
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    let figures = exposition(&text);
    let value = |name: &str| {
        let found = figures.get(name);
        *found.unwrap_or_else(|| panic!("{name} in {text}"))
    };
    assert_eq!(value("warung_sessions{status=\"CONNECTED\"}"), 1.0);
    assert!(value("warung_store_fsyncs_total") >= 1.0);
    assert!(value("warung_store_written_bytes_total") > 1000.0);
    assert!(value("warung_resident_bytes") > 1_000_000.0);
    assert!(value("process_resident_memory_bytes") > 1_000_000.0);
    // One message went out, three came in; none has the number of its event.
    assert_eq!(value("warung_send_duration_seconds_count"), 1.0);
    let events = value("warung_events_total");
    assert!((4.0..100.0).contains(&events), "{events}");
    assert!(value("warung_webhook_duration_seconds_count") >= 1.0);
    assert!(value("warung_http_responses_total{class=\"2xx\"}") >= 2.0);
    assert_eq!(value("warung_http_panics_total"), 0.0);
    assert_eq!(value("warung_messages_sent_total"), 1.0);
    assert_eq!(value("warung_messages_received_total"), 3.0);
    assert_eq!(value("warung_messages_failed_total"), 1.0);
    assert_eq!(value("warung_campaign_recipients_waiting"), 2.0);
    for name in [
        "webhook_deliveries_total",
        "webhook_dead_letters_total",
        "downloads_waiting",
    ] {
        assert_eq!(value(&format!("warung_{name}")), 0.0, "{name}");
    }
    // The receiver takes nothing: one delivery is tried, and two wait behind it.
    assert_eq!(value("warung_webhook_deliveries_waiting"), 3.0);
    assert!(
        !text.contains("count me") && !text.contains("6281299991001"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_a_batch_under_way_finish_and_answers_it() {
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", "6281200001002").await;
    let phone = "6281299991002";
    let text = |n: u32| json!({ "to": phone, "type": "text", "text": { "body": format!("n{n}") } });
    let batch = Value::Array((0..100).map(text).collect());
    let call = rig
        .post("/api/v1/messages?sessionId=shop", &batch)
        .bearer(&token);
    let sending = tokio::spawn(call.send());
    eventually("the first of the batch", || async {
        (!rig.received(phone).await.is_empty()).then_some(())
    })
    .await;
    rig.stop().await;
    let answer = sending.await.expect("a task").expect(200);
    let sent = answer.as_array().expect("an array");
    assert!(
        sent.iter().all(|row| row["status"] == "success"),
        "{answer}"
    );
    rig.restart().await;
    assert_eq!(rig.wait_for_received(phone, 100).await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_settings_say_is_forgotten_and_nothing_else() {
    let clock = Clock::manual(Timestamp::from_secs(1_700_000_000));
    let deps = Deps {
        clock: clock.clone(),
        ..Deps::default()
    };
    let rig = Rig::made_of(deps, |config| config.retention_days = 7).await;
    let token = rig.pair("shop", "6281200001003").await;
    let days = |n: u64| std::time::Duration::from_secs(n * 24 * 3600);
    let old = rig.send_text("shop", &token, "6281299991003", "old").await;
    clock.advance(days(5));
    let new = rig.send_text("shop", &token, "6281299991003", "new").await;
    clock.advance(days(4));
    let gateway = rig.server.as_ref().expect("running").gateway();
    let gone = gateway
        .forget_old(&CancellationToken::new())
        .await
        .expect("swept");
    assert!(gone >= 1);
    let status = |message: &Value| {
        let id = message["messageId"].as_str().expect("an id").to_owned();
        let call = rig
            .get(&format!("/api/v1/messages/{id}?sessionId=shop"))
            .bearer(&token);
        async move { call.send().await.status }
    };
    assert_eq!((status(&old).await, status(&new).await), (404, 200));
    assert_eq!(
        gateway
            .forget_old(&CancellationToken::new())
            .await
            .expect("swept"),
        0
    );
    let sent = rig
        .send_text("shop", &token, "6281299991003", "still works")
        .await;
    assert_eq!(sent["status"], "success", "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_begin_where_clients_reach_the_gateway() {
    let rig = Rig::with(|config| config.public_url = Some("https://example.org/wa".into())).await;
    let token = rig.pair("shop", "6281200001009").await;
    let form = crate::files::form(&[crate::files::upload_field("a.pdf", b"%PDF-1.4")]);
    let path = "/api/v1/media?sessionId=shop";
    let made = crate::files::form_call(&rig, path, &token, form);
    let made = made.send().await.expect(201);
    let id = made["mediaId"].as_str().expect("an id");
    let link = format!("https://example.org/wa/media/{id}");
    assert_eq!(made["url"], link);
    let list = rig.get(path).bearer(&token).send().await.expect(200);
    assert_eq!(list["files"][0]["url"], link);
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    let document =
        json!({ "data": crate::files::base64(b"%PDF-1.4"), "mimetype": "application/pdf" });
    let message = json!({ "to": "6281200001009", "document": document });
    let sent = "/sandbox/phones/6281299991009/messages";
    rig.sandbox("POST", sent, &message).await;
    let told = eventually("the delivery", || async {
        sink.got().await.first().map(|delivery| delivery.json())
    })
    .await;
    let link = told["data"]["media"]["url"].as_str().expect("a link");
    let start = "https://example.org/wa/api/v1/messages/";
    assert!(link.starts_with(start), "{told}");
}
