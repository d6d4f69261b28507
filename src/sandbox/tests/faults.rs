//! Misfortunes, and how real clients take them.

use serde_json::{Value, json};
use whatsapp_rust::Jid;
use whatsapp_rust::prelude::*;
use whatsapp_rust::wacore::types::presence::ReceiptType;

use super::rig::{Device, Rig, eventually};
use crate::sandbox::control;

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

async fn order(rig: &Rig, fault: Value) {
    control::handle(&rig.network, "POST", "/sandbox/faults", &fault)
        .await
        .expect("ordered");
}

async fn send(shop: &Device, text: &str) -> String {
    shop.client
        .send_text(Jid::pn(CUSTOMER), text)
        .await
        .expect("sent")
        .message_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_and_end() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    order(&rig, json!({ "refuse": { "code": 463 }, "count": 1 })).await;
    let refused = send(&shop, "one").await;
    assert_eq!(shop.verdict(&refused).await.as_deref(), Some("463"));
    let taken = send(&shop, "two").await;
    assert_eq!(shop.verdict(&taken).await, None);
    let messages = rig.received(CUSTOMER, 1).await;
    assert_eq!(messages[0].text.as_deref(), Some("two"));
    assert_eq!(rig.network.stats().refused, 1);
    assert!(rig.network.faults().is_empty());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_answer_is_lost_is_shown_once_when_it_is_sent_again() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    order(
        &rig,
        json!({ "loseAcks": true, "count": 1, "to": CUSTOMER }),
    )
    .await;
    let id = send(&shop, "once").await;
    rig.received(CUSTOMER, 1).await;
    let again = SendOptions::default().with_message_id(id.clone());
    let message = wa::Message {
        conversation: Some("once".to_owned()),
        ..Default::default()
    };
    shop.client
        .send_message_with_options(Jid::pn(CUSTOMER), message, again)
        .await
        .expect("sent");
    assert_eq!(shop.verdict(&id).await, None);
    eventually("the duplicate", || {
        (rig.network.stats().duplicates == 1).then_some(())
    })
    .await;
    assert_eq!(rig.network.messages(CUSTOMER).expect("messages").len(), 1);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_answers_come() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    order(&rig, json!({ "delayAcks": 300, "phone": SHOP })).await;
    let start = std::time::Instant::now();
    let id = send(&shop, "slow").await;
    shop.receipt(&id, ReceiptType::Delivered).await;
    assert_eq!(shop.verdict(&id).await, None);
    assert!(start.elapsed().as_millis() >= 300);
    rig.network.clear_faults(None);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_come_back_after_a_cut() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let faults = [
        json!({ "drop": { "now": true } }),
        json!({ "streamError": { "code": 515 } }),
        json!({ "streamError": { "code": 503 } }),
        json!({ "drop": { "afterMessages": 1 }, "count": 1 }),
        json!({ "drop": { "afterFrames": 1 }, "count": 1 }),
    ];
    for fault in faults {
        order(&rig, fault.clone()).await;
        if fault.get("streamError").is_none() && fault["drop"]["now"].is_null() {
            let _ = shop.client.send_text(Jid::pn(CUSTOMER), "cut").await;
        }
        shop.connected().await;
        let id = send(&shop, "back").await;
        assert_eq!(shop.verdict(&id).await, None, "{fault}");
    }
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_why_they_may_not_come_in() {
    let ends = |event: &Event| match event {
        Event::LoggedOut(_) => Some("logged out"),
        Event::TemporaryBan(_) => Some("banned"),
        Event::ClientOutdated(_) => Some("outdated"),
        Event::StreamReplaced(_) => Some("replaced"),
        _ => None,
    };
    for (fault, expected) in [
        (json!({ "connectFailure": { "reason": 401 } }), "logged out"),
        (json!({ "connectFailure": { "reason": 405 } }), "outdated"),
        (json!({ "ban": { "expire": 3600 } }), "banned"),
    ] {
        let rig = Rig::new().await;
        let mut shop = rig.companion(SHOP).await;
        order(&rig, fault).await;
        order(&rig, json!({ "drop": { "now": true } })).await;
        assert_eq!(shop.wait("the verdict", ends).await, expected);
        rig.finish();
    }
    for (code, expected) in [(401, "logged out"), (409, "replaced"), (440, "replaced")] {
        let rig = Rig::new().await;
        let mut shop = rig.companion(SHOP).await;
        order(&rig, json!({ "streamError": { "code": code } })).await;
        assert_eq!(shop.wait("the verdict", ends).await, expected, "{code}");
        rig.finish();
    }
}
