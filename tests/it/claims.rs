//! What strangers say about messages that are not theirs.

use serde_json::{Value, json};

use crate::support::{Rig, Sink, eventually};

const STRANGER: &str = "6281299991501";
const CUSTOMER: &str = "6281299991502";

async fn listening(account: &str) -> (Rig, Sink, String) {
    let rig = Rig::new().await;
    let sink = Sink::new().await;
    let token = rig.pair("shop", account).await;
    rig.hook("shop", &sink.url, &[]).await;
    (rig, sink, token)
}

async fn does(rig: &Rig, phone: &str, what: &str, body: Value) -> String {
    let path = format!("/sandbox/phones/{phone}/{what}");
    let done = rig.sandbox("POST", &path, &body).await;
    done["id"].as_str().expect("an id").to_owned()
}

async fn writes(rig: &Rig, phone: &str, to: &str, text: &str) -> String {
    does(rig, phone, "messages", json!({ "to": to, "text": text })).await
}

/// Waits until the message with this id is told: events come in order.
async fn told(sink: &Sink, id: &str) -> Vec<Value> {
    eventually("the event", || async {
        let all: Vec<Value> = sink.got().await.iter().map(|d| d.json()).collect();
        all.iter()
            .any(|event| event["data"]["id"] == id)
            .then_some(all)
    })
    .await
}

/// The changes that were told of, as event and target.
fn changes(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = ["message.deleted", "message.edited", "message.reaction"];
    let of_change = events
        .iter()
        .filter(|event| names.contains(&event["event"].as_str().unwrap_or_default()));
    of_change
        .map(|event| (text(&event["event"]), text(&event["data"]["messageId"])))
        .collect()
}

fn change(name: &str, target: &str) -> (String, String) {
    (format!("message.{name}"), target.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_changes_no_message_of_others() {
    let account = "6281200001501";
    let (rig, sink, token) = listening(account).await;
    let ours = rig
        .send_text("shop", &token, CUSTOMER, "Total 50.000")
        .await;
    let ours = ours["messageId"].as_str().expect("an id").to_owned();
    let theirs = writes(&rig, CUSTOMER, account, "order").await;
    told(&sink, &theirs).await;
    // In the stranger's chat, by every claim of authorship, and in the customer's own chat by him.
    for from_me in [json!(true), json!(false), Value::Null] {
        for target in [&ours, &theirs] {
            let raw = json!({ "key": { "remoteJid": format!("{account}@s.whatsapp.net"), "fromMe": from_me, "id": target } });
            let aimed = json!({ "to": account, "raw": raw, "text": "x" });
            for what in ["revoke", "edit", "react"] {
                does(&rig, STRANGER, what, aimed.clone()).await;
            }
        }
        let raw = json!({ "key": { "fromMe": from_me, "id": ours } });
        for what in ["revoke", "edit"] {
            does(
                &rig,
                CUSTOMER,
                what,
                json!({ "to": account, "raw": raw, "text": "x" }),
            )
            .await;
        }
    }
    for phone in [STRANGER, CUSTOMER] {
        let last = writes(&rig, phone, account, "last").await;
        assert_eq!(changes(&told(&sink, &last).await), []);
    }
    // What is theirs to change is changed.
    does(
        &rig,
        CUSTOMER,
        "react",
        json!({ "id": ours, "emoji": "👍" }),
    )
    .await;
    does(
        &rig,
        CUSTOMER,
        "edit",
        json!({ "id": theirs, "text": "two orders" }),
    )
    .await;
    does(&rig, CUSTOMER, "revoke", json!({ "id": theirs })).await;
    let last = writes(&rig, CUSTOMER, account, "bye").await;
    assert_eq!(
        changes(&told(&sink, &last).await),
        [
            change("reaction", &ours),
            change("edited", &theirs),
            change("deleted", &theirs)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_group_an_admin_names_whose_message_he_takes_back() {
    let account = "6281200001502";
    let (rig, sink, _) = listening(account).await;
    let group = json!({ "subject": "RT 05", "participants": [STRANGER, CUSTOMER, account] });
    let group = rig.sandbox("POST", "/sandbox/groups", &group).await;
    let group = group["id"].as_str().expect("an id").to_owned();
    let said = writes(&rig, CUSTOMER, &group, "spam").await;
    let sender = told(&sink, &said).await;
    let sender = sender
        .iter()
        .find(|event| event["data"]["id"] == said.as_str());
    let sender = sender.expect("it was told")["data"]["sender"].clone();
    let take_back = |to: &str, key: Value| {
        let body = json!({ "to": to, "raw": { "key": key } });
        does(&rig, STRANGER, "revoke", body)
    };
    let own = json!({ "remoteJid": group, "fromMe": true, "id": said });
    take_back(&group, own).await;
    let elsewhere = json!({ "remoteJid": "120363000000000000@g.us", "fromMe": false, "id": said, "participant": sender });
    take_back(&group, elsewhere).await;
    let admins = json!({ "remoteJid": group, "fromMe": false, "id": said, "participant": sender });
    take_back(account, admins.clone()).await;
    let last = writes(&rig, STRANGER, &group, "so far").await;
    assert_eq!(changes(&told(&sink, &last).await), []);
    take_back(&group, admins).await;
    let last = writes(&rig, STRANGER, &group, "last").await;
    assert_eq!(
        changes(&told(&sink, &last).await),
        [change("deleted", &said)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_use_the_id_of_our_message_do_not_hide_it() {
    let account = "6281200001503";
    let (rig, sink, token) = listening(account).await;
    let phone = json!({ "receipts": "none" });
    rig.sandbox("PUT", &format!("/sandbox/phones/{CUSTOMER}"), &phone)
        .await;
    let ours = rig.send_text("shop", &token, CUSTOMER, "Total").await;
    let ours = ours["messageId"].as_str().expect("an id").to_owned();
    for n in 0..12 {
        let used = json!({ "to": account, "text": "x", "raw": { "id": ours } });
        // Before the customer in the order of chats.
        let stranger = format!("62812000{n:05}");
        does(&rig, &stranger, "messages", used).await;
    }
    sink.wait_for("message.received", 12).await;
    let read = json!({ "id": ours });
    rig.sandbox("POST", &format!("/sandbox/phones/{CUSTOMER}/read"), &read)
        .await;
    let shown = format!("/api/v1/messages/{ours}?sessionId=shop");
    eventually("our message was read", || async {
        let row = rig.get(&shown).bearer(&token).send().await.expect(200);
        (row["delivery"] == "read").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_may_name_an_author_by_his_other_name() {
    let account = "6281200001505";
    let (rig, sink, _) = listening(account).await;
    let group = json!({ "subject": "RT 06", "participants": [STRANGER, CUSTOMER, account], "addressing": "lid" });
    let group = rig.sandbox("POST", "/sandbox/groups", &group).await;
    let group = group["id"].as_str().expect("an id").to_owned();
    let said = writes(&rig, CUSTOMER, &group, "spam").await;
    let heard = told(&sink, &said).await;
    let data = &heard.last().expect("an event")["data"];
    let forms = [
        &data["senderLid"],
        &json!(format!("{CUSTOMER}@s.whatsapp.net")),
    ];
    let other = forms.into_iter().find(|form| **form != data["sender"]);
    let other = other.expect("number or LID");
    let key = json!({ "remoteJid": group, "fromMe": false, "id": said, "participant": other });
    let body = json!({ "to": group, "raw": { "key": key } });
    does(&rig, STRANGER, "revoke", body).await;
    let last = writes(&rig, CUSTOMER, &group, "bye").await;
    assert_eq!(
        changes(&told(&sink, &last).await),
        [change("deleted", &said)]
    );
}
