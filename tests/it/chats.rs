//! What a chat asks of those who write into it: its timer, its quotes, who is there.

use serde_json::{Value, json};

use crate::files::{base64, file};
use crate::support::{Rig, eventually};

const PHONE: &str = "6281299999831";

async fn phone_sends(rig: &Rig, draft: &Value) -> String {
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let sent = rig.sandbox("POST", &path, draft).await;
    sent["id"].as_str().expect("an id").to_owned()
}

/// Waits until the session knows a message.
async fn arrived(rig: &Rig, token: &str, id: &str) {
    let path = format!("/api/v1/messages/{id}?sessionId=shop");
    eventually(&format!("message {id}"), || async {
        let answer = rig.get(&path).bearer(token).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_disappears_when_the_chat_says_so() {
    let account = "6281200000831";
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", account).await;
    rig.send_text("shop", &token, PHONE, "tetap").await;
    let draft = json!({ "to": account, "text": "sehari saja", "ephemeral": 86400 });
    let id = phone_sends(&rig, &draft).await;
    arrived(&rig, &token, &id).await;
    rig.send_text("shop", &token, PHONE, "sebentar").await;
    // A restart forgets nothing.
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    let to = |more: Value| {
        let mut message = json!({ "to": PHONE });
        message
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("one").clone());
        message
    };
    let poll =
        json!({ "type": "poll", "poll": { "question": "Kapan?", "options": ["Senin", "Rabu"] } });
    let place = json!({ "type": "location", "location": { "latitude": -6.2, "longitude": 106.8 } });
    rig.send("shop", &token, &to(poll)).await;
    rig.send("shop", &token, &to(place)).await;
    let react = json!({ "type": "reaction", "reaction": { "messageId": id, "emoji": "👍" } });
    rig.send("shop", &token, &to(react)).await;
    let got = rig.wait_for_received(PHONE, 5).await;
    let timers: Vec<_> = got.iter().map(|m| m["expiration"].clone()).collect();
    let day = json!(86400);
    assert_eq!(
        timers,
        [Value::Null, day.clone(), day.clone(), day, Value::Null],
        "{got:?}"
    );
    // The chat's owner switches it off again.
    let off = json!({ "to": account, "protobuf": "YgQQAyAA" });
    let id = phone_sends(&rig, &off).await;
    arrived(&rig, &token, &id).await;
    rig.send_text("shop", &token, PHONE, "tetap lagi").await;
    let got = rig.wait_for_received(PHONE, 6).await;
    assert_eq!(got[5]["expiration"], Value::Null, "{}", got[5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_group_does_not_choose_when_our_messages_disappear() {
    let account = "6281200000832";
    let rig = Rig::new().await;
    let token = rig.pair("shop", account).await;
    let group = json!({ "subject": "Tim", "participants": [account, PHONE] });
    let group = rig.sandbox("POST", "/sandbox/groups", &group).await;
    let draft = json!({ "to": group["id"], "text": "hilang", "ephemeral": 60 });
    let id = phone_sends(&rig, &draft).await;
    arrived(&rig, &token, &id).await;
    let to = group["id"].as_str().expect("an id");
    let sent = rig.send_text("shop", &token, to, "tinggal").await;
    assert_eq!(sent["status"], "success", "{sent}");
    let got = rig.wait_for_received(PHONE, 1).await;
    assert_eq!(got[0]["expiration"], Value::Null, "{}", got[0]);
    // The group itself does.
    let group =
        json!({ "subject": "Sehari", "participants": [account, PHONE], "ephemeral": 86400 });
    let group = rig.sandbox("POST", "/sandbox/groups", &group).await;
    let to = group["id"].as_str().expect("an id");
    for text in ["satu", "dua"] {
        rig.send_text("shop", &token, to, text).await;
    }
    let got = rig.wait_for_received(PHONE, 3).await;
    assert!(got[1..].iter().all(|m| m["expiration"] == 86400), "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_picture_shows_the_picture() {
    let account = "6281200000833";
    let rig = Rig::new().await;
    let token = rig.pair("shop", account).await;
    let image = base64(&file("turned.jpg"));
    let draft = json!({ "to": account, "image": { "data": image, "caption": "ini?" } });
    let id = phone_sends(&rig, &draft).await;
    arrived(&rig, &token, &id).await;
    let answer = |id: &str| json!({ "to": PHONE, "type": "text", "text": { "body": "ya" }, "quotedMessageId": id });
    let sent = rig.send("shop", &token, &answer(&id)).await;
    assert_eq!(sent[0]["status"], "success", "{sent}");
    // One of our own.
    let own = json!({ "to": PHONE, "type": "image", "image": { "base64": image } });
    let own = rig.send("shop", &token, &own).await;
    let own = own[0]["messageId"].as_str().expect("an id").to_owned();
    let sent = rig.send("shop", &token, &answer(&own)).await;
    assert_eq!(sent[0]["status"], "success", "{sent}");
    let got = rig.wait_for_received(PHONE, 3).await;
    for (place, quoted) in [(0, &id), (2, &own)] {
        assert_eq!(got[place]["quotedId"], quoted.as_str());
        assert_eq!(got[place]["quotedType"], "image", "{}", got[place]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_without_whatsapp_is_an_error() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000834").await;
    let nobody = "6281200000666";
    let off = json!({ "registered": false });
    rig.sandbox("PUT", &format!("/sandbox/phones/{nobody}"), &off)
        .await;
    let sent = rig.send_text("shop", &token, nobody, "ada?").await;
    assert_eq!(sent["status"], "error", "{sent}");
    let why = sent["message"].as_str().expect("words");
    assert!(why.contains("not on WhatsApp"), "{why}");
    assert_eq!(sent["code"], 404);
    let sent = rig.send_text("shop", &token, PHONE, "ada?").await;
    assert_eq!(sent["status"], "success", "{sent}");
}

/// Whether the account's only companion makes its owner look online.
async fn available(rig: &Rig) -> Option<bool> {
    let overview = rig.sandbox("GET", "/sandbox", &Value::Null).await;
    overview["accounts"][0]["companions"][0]["available"].as_bool()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connected_account_does_not_look_online_unless_its_operator_wants_it() {
    let account = "6281200000835";
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", account).await;
    for _ in 0..2 {
        eventually("the owner looks offline", || async {
            (available(&rig).await == Some(false)).then_some(())
        })
        .await;
        // Who writes to it still sees that the message arrived.
        let id = phone_sends(&rig, &json!({ "to": account, "text": "masuk?" })).await;
        arrived(&rig, &token, &id).await;
        let path = format!("/sandbox/phones/{PHONE}/sent");
        eventually("the message counts as delivered", || async {
            let sent = rig.sandbox("GET", &path, &Value::Null).await;
            let last = sent.as_array()?.last()?.clone();
            (last["id"] == id.as_str() && last["delivered"] == true).then_some(())
        })
        .await;
        rig.restart().await;
        rig.wait_for_status("shop", "CONNECTED").await;
    }
    let rig = Rig::with(|config| config.show_online = true).await;
    rig.pair("shop", account).await;
    eventually("the owner looks online", || async {
        (available(&rig).await == Some(true)).then_some(())
    })
    .await;
}
