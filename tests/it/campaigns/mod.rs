//! Campaigns, recipient lists and numbers that want none.

mod adversity;
mod contract;
mod damaged;
mod interrupted;
mod kill;
mod lists;
mod model;
mod pacing;
mod requests;
mod sending;

use serde_json::{Value, json};

use crate::support::{Answer, Call, Rig, eventually};

/// The number of the n-th person of a test; `block` keeps tests apart.
pub fn person(block: u32, n: u32) -> String {
    format!("6285{block:03}{n:05}")
}

/// So many people with a name and a field of their own.
pub fn people(block: u32, count: u32) -> Vec<Value> {
    (0..count)
        .map(|n| json!({ "number": person(block, n), "name": format!("Ani {n}"), "kode": format!("K{n}") }))
        .collect()
}

/// Settings without any wait.
pub fn at_once() -> Value {
    json!({ "delayBetweenMessages": 0, "retryDelay": 50, "maxRetries": 3 })
}

/// Posts with the session's token.
pub async fn post(rig: &Rig, token: &str, path: &str, body: &Value) -> Answer {
    rig.post(path, body).bearer(token).send().await
}

/// Makes a campaign; answers it.
pub async fn create(rig: &Rig, token: &str, body: &Value) -> Value {
    post(rig, token, "/api/v1/campaigns", body)
        .await
        .expect(201)
}

/// A text campaign to these people.
pub async fn text_campaign(rig: &Rig, token: &str, text: &str, people: &[Value]) -> String {
    let body = json!({ "name": "Promo", "sessionId": "shop", "settings": at_once(),
        "message": { "type": "text", "content": text }, "recipients": people });
    let made = create(rig, token, &body).await;
    assert_eq!(made["status"], "draft");
    made["id"].as_str().expect("an id").to_owned()
}

/// Has a campaign do something; answers whatever comes.
pub async fn step(rig: &Rig, token: &str, id: &str, what: &str) -> Answer {
    post(
        rig,
        token,
        &format!("/api/v1/campaigns/{id}/{what}"),
        &json!({}),
    )
    .await
}

/// A campaign as it is now.
pub async fn show(rig: &Rig, token: &str, id: &str) -> Value {
    let call: Call = rig.get(&format!("/api/v1/campaigns/{id}")).bearer(token);
    call.send().await.expect(200)
}

/// Waits until a campaign has this status; answers it.
pub async fn wait_for(rig: &Rig, token: &str, id: &str, status: &str) -> Value {
    let path = format!("/api/v1/campaigns/{id}/status");
    eventually(&format!("the campaign is {status}"), || async {
        let now = rig.get(&path).bearer(token).send().await.expect(200);
        (now["status"] == status).then_some(())
    })
    .await;
    show(rig, token, id).await
}

/// Checks that the statistics are the sums of the rows.
pub fn assert_sums(campaign: &Value) {
    let rows = campaign["recipients"].as_array().expect("recipients");
    let count = |field: &str, words: &[&str]| {
        let word = |row: &&Value| words.contains(&row[field].as_str().unwrap_or_default());
        rows.iter().filter(word).count()
    };
    let said = &campaign["statistics"];
    assert_eq!(said["total"], rows.len(), "{said}");
    for status in ["sent", "failed", "pending", "sending"] {
        assert_eq!(said[status], count("status", &[status]), "{said}");
    }
    let delivered = count("delivery", &["delivered", "read"]);
    assert_eq!(said["delivered"], delivered, "{said}");
    assert_eq!(said["read"], count("delivery", &["read"]), "{said}");
}

/// Checks that each of these people got this one message, once; `text` makes it for the n-th.
pub async fn assert_each_once(rig: &Rig, block: u32, count: u32, text: impl Fn(u32) -> String) {
    for n in 0..count {
        let got = rig.received(&person(block, n)).await;
        assert_eq!(got.len(), 1, "{} got {got:?}", person(block, n));
        let said = got[0]["text"].as_str().or(got[0]["caption"].as_str());
        assert_eq!(said, Some(text(n).as_str()));
    }
}
