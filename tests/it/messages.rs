//! Sending: what the phone decrypts is what the client sent, and each answer is honest.

use serde_json::json;

use crate::support::{Rig, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_text_arrives_as_it_was_written() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000101").await;
    let text = "Harga & <b>\"promo\"</b> {{Name}} 😀\n baris 2";
    let sent = rig.send_text("shop", &token, "+62 812-9999-9901", text).await;
    assert_eq!(sent["message"], "Message sent to 6281299999901@s.whatsapp.net");
    let got = rig.wait_for_received("6281299999901", 1).await;
    assert_eq!(got[0]["text"], text);
    assert_eq!(got[0]["id"], sent["messageId"]);
    assert!(got[0]["from"].as_str().expect("a sender").starts_with("6281200000101"), "{}", got[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_its_order_and_its_errors_keep_their_place() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000102").await;
    let to = "6281299999902";
    let text = |body: &str| json!({ "to": to, "type": "text", "text": { "body": body } });
    let batch = json!([text("one"), { "to": "abc", "type": "text" }, text("two"), null, text("three"),
        { "to": to, "type": "text", "text": { "body": 5 } }, { "to": to, "type": "hologram" }]);
    let results = rig.send("shop", &token, &batch).await;
    let states: Vec<_> = results.as_array().expect("an array").iter().map(|r| r["status"].as_str()).collect();
    let (good, bad) = (Some("success"), Some("error"));
    assert_eq!(states, [good, bad, good, bad, good, bad, bad], "{results}");
    assert_eq!(results[3]["message"], "Invalid message format. \"to\" and \"type\" are required.");
    assert_eq!(results[5]["message"], "Invalid text message content.");
    let got = rig.wait_for_received(to, 3).await;
    let texts: Vec<_> = got.iter().map(|m| m["text"].as_str()).collect();
    assert_eq!(texts, [Some("one"), Some("two"), Some("three")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_move_a_message_from_sent_to_read() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000103").await;
    let phone = "6281299999903";
    let sent = rig.send_text("shop", &token, phone, "read me").await;
    let id = sent["messageId"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/messages/{id}?sessionId=shop");
    let delivery = |wanted: &'static str| {
        let (rig, path, token) = (&rig, &path, &token);
        async move {
            eventually(wanted, || async {
                let row = rig.get(path).bearer(token).send().await.expect(200);
                (row["delivery"] == wanted).then_some(())
            })
            .await;
        }
    };
    delivery("delivered").await;
    rig.sandbox("POST", &format!("/sandbox/phones/{phone}/read"), &json!({ "id": id })).await;
    delivery("read").await;
}
