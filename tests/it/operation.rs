//! Running it: metrics, and a stop that loses nothing.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::support::{Rig, Sink, eventually};

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
    let answer = rig.get("/metrics").master().send().await;
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{name} ")));
        line.and_then(|n| n.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("{name} in {text}"))
    };
    assert_eq!(value("warung_sessions{status=\"CONNECTED\"}"), 1.0);
    assert!(value("warung_store_fsyncs_total") >= 1.0);
    assert!(value("warung_store_written_bytes_total") > 1000.0);
    assert!(value("warung_resident_bytes") > 1_000_000.0);
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
