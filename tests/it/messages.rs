//! Sending: what the phone decrypts is what the client sent, and each answer is honest.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use warung::domain::message::draft::{Draft, DraftContent};
use warung::domain::message::send::MAX_BATCH;
use warung::error::Code;
use warung::ids::{MessageId, SessionId};
use warung::jid::Jid;

use crate::support::{Rig, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_text_arrives_as_it_was_written() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000101").await;
    let text = "Harga & <b>\"promo\"</b> {{Name}} 😀\n baris 2";
    let sent = rig
        .send_text("shop", &token, "+62 812-9999-9901", text)
        .await;
    assert_eq!(
        sent["message"],
        "Message sent to 6281299999901@s.whatsapp.net"
    );
    let got = rig.wait_for_received("6281299999901", 1).await;
    assert_eq!(got[0]["text"], text);
    assert_eq!(got[0]["id"], sent["messageId"]);
    assert!(
        got[0]["from"]
            .as_str()
            .expect("a sender")
            .starts_with("6281200000101"),
        "{}",
        got[0]
    );
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
    let states: Vec<_> = results
        .as_array()
        .expect("an array")
        .iter()
        .map(|r| r["status"].as_str())
        .collect();
    let (good, bad) = (Some("success"), Some("error"));
    assert_eq!(states, [good, bad, good, bad, good, bad, bad], "{results}");
    assert_eq!(
        results[3]["message"],
        "Invalid message format. \"to\" and \"type\" are required."
    );
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
    rig.sandbox(
        "POST",
        &format!("/sandbox/phones/{phone}/read"),
        &json!({ "id": id }),
    )
    .await;
    delivery("read").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_mentions_edits_reactions_and_revokes_reach_the_phone() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000104").await;
    let phone = "6281299999904";
    let path = format!("/sandbox/phones/{phone}/messages");
    let asked = json!({ "to": "6281200000104", "text": "how much?" });
    let question = rig.sandbox("POST", &path, &asked).await["id"].clone();
    let known = format!(
        "/api/v1/messages/{}?sessionId=shop",
        question.as_str().expect("an id")
    );
    eventually("the question is known", || async {
        (rig.get(&known).bearer(&token).send().await.status == 200).then_some(())
    })
    .await;
    let reply = json!({ "to": phone, "type": "text", "text": { "body": "@6281255555555 knows" },
        "mentions": ["6281255555555"], "context": { "message_id": question } });
    let sent = rig.send("shop", &token, &reply).await[0].clone();
    assert_eq!(sent["status"], "success", "{sent}");
    let got = rig.wait_for_received(phone, 1).await;
    assert_eq!(got[0]["quotedId"], question);
    assert!(
        got[0]["mentions"][0]
            .as_str()
            .expect("one")
            .starts_with("6281255555555"),
        "{}",
        got[0]
    );
    let id = sent["messageId"].clone();
    let edit =
        json!({ "to": phone, "type": "edit", "edit": { "messageId": id, "body": "I know" } });
    assert_eq!(
        rig.send("shop", &token, &edit).await[0]["status"],
        "success"
    );
    let react = json!({ "to": phone, "type": "reaction", "reaction": { "messageId": question, "emoji": "👍" } });
    assert_eq!(
        rig.send("shop", &token, &react).await[0]["status"],
        "success"
    );
    let first = |wanted: &'static str, value: serde_json::Value| {
        let rig = &rig;
        async move {
            eventually(wanted, || async {
                (rig.received(phone).await[0][wanted] == value).then_some(())
            })
            .await;
        }
    };
    first("edited", json!(true)).await;
    first("text", json!("I know")).await;
    let gone = json!({ "sessionId": "shop", "remoteJid": format!("{phone}@s.whatsapp.net"), "messageId": id });
    let answer = rig
        .delete("/api/v1/message")
        .json(&gone)
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(
        answer["message"],
        format!(
            "Attempted to delete message {}",
            id.as_str().expect("an id")
        )
    );
    first("revoked", json!(true)).await;
    rig.assert_all_understood().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gets_one_message_and_everybody_can_be_mentioned() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000105").await;
    let members = ["6281200000105", "6281299999905", "6281299999906"];
    let group = json!({ "subject": "Team", "participants": members });
    let group = rig.sandbox("POST", "/sandbox/groups", &group).await["id"].clone();
    let message = json!({ "recipient_type": "group", "to": group, "type": "text",
        "text": { "body": "rapat jam 9" }, "mentions": ["all"] });
    let sent = rig.send("shop", &token, &message).await[0].clone();
    assert_eq!(sent["status"], "success", "{sent}");
    for phone in &members[1..] {
        let got = rig.wait_for_received(phone, 1).await;
        let text = got
            .iter()
            .find(|m| m["id"] == sent["messageId"])
            .expect("the message");
        assert_eq!(text["text"], "rapat jam 9");
        assert_eq!(text["chat"], group);
        assert!(
            text["mentions"].as_array().expect("a list").len() >= 2,
            "{text}"
        );
    }
    // The second uses the sender key that the first distributed.
    let again = json!({ "to": group, "type": "text", "text": { "body": "jadi?" } });
    assert_eq!(
        rig.send("shop", &token, &again).await[0]["status"],
        "success"
    );
    rig.wait_for_received(members[1], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_session_of_ours_gets_the_text_as_a_companion() {
    let rig = Rig::new().await;
    let one = rig.pair("one", "6281200000106").await;
    rig.pair("two", "6281200000107").await;
    let mut events = rig
        .get("/api/v1/events?sessionId=two")
        .master()
        .open()
        .await
        .into_body();
    let sent = rig
        .send_text("one", &one, "6281200000107", "from one to two")
        .await;
    assert_eq!(sent["status"], "success", "{sent}");
    let mut text = String::new();
    while !text.contains("from one to two") {
        let frame = http_body_util::BodyExt::frame(&mut events);
        let frame = tokio::time::timeout(crate::support::PATIENCE, frame)
            .await
            .expect("in time");
        let frame = frame.expect("the stream goes on").expect("no error");
        text.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
    }
    assert!(text.contains("message.received"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_whatsapp_is_told_and_is_no_success() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000108").await;
    let phone = "6281299999908";
    rig.sandbox(
        "POST",
        "/sandbox/faults",
        &json!({ "refuse": { "code": 463 }, "count": 1 }),
    )
    .await;
    let refused = rig.send_text("shop", &token, phone, "one too many").await;
    assert_eq!(refused["status"], "error", "{refused}");
    assert!(
        refused["message"]
            .as_str()
            .expect("words")
            .contains("code 463"),
        "{refused}"
    );
    let id = refused["messageId"].as_str().expect("an id");
    let row = rig
        .get(&format!("/api/v1/messages/{id}?sessionId=shop"))
        .bearer(&token);
    assert_eq!(row.send().await.expect(200)["delivery"], "failed");
    let sent = rig.send_text("shop", &token, phone, "allowed again").await;
    assert_eq!(sent["status"], "success", "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_channel_that_is_not_there_is_no_success() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000159").await;
    let channel = "120363000000000009@newsletter";
    let refused = rig.send_text("shop", &token, channel, "halo").await;
    assert_eq!(refused["status"], "error", "{refused}");
    let why = refused["message"].as_str().expect("words");
    assert!(
        why.ends_with("the recipient does not exist (code 404)"),
        "{refused}"
    );
    let id = refused["messageId"].as_str().expect("an id");
    let row = rig
        .get(&format!("/api/v1/messages/{id}?sessionId=shop"))
        .bearer(&token);
    assert_eq!(row.send().await.expect(200)["delivery"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_number_without_whatsapp_is_no_success() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000148").await;
    let nobody = "6281299999948";
    let path = format!("/sandbox/phones/{nobody}");
    rig.sandbox("PUT", &path, &json!({ "registered": false }))
        .await;
    let refused = rig.send_text("shop", &token, nobody, "hello?").await;
    assert_eq!(refused["status"], "error", "{refused}");
    let why = refused["message"].as_str().expect("words");
    assert!(why.contains("is not on WhatsApp"), "{refused}");
    let id = refused["messageId"].as_str().expect("an id");
    let row = rig
        .get(&format!("/api/v1/messages/{id}?sessionId=shop"))
        .bearer(&token);
    assert_eq!(row.send().await.expect(200)["delivery"], "failed");
    // Who blocked the shop does not let it know: the message is sent, and never arrives.
    let path = "/sandbox/phones/6281299999949/block";
    rig.sandbox("POST", path, &json!({ "phone": "6281200000148" }))
        .await;
    let sent = rig
        .send_text("shop", &token, "6281299999949", "hello?")
        .await;
    assert_eq!(sent["status"], "success", "{sent}");
    assert!(rig.received("6281299999949").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_for_strangers_never_run_out() {
    let rig = Rig::new().await;
    rig.pair("shop", "6281200000147").await;
    // More strangers than there are keys at first.
    for n in 0..130 {
        let path = format!("/sandbox/phones/62877{n:07}/messages");
        let body = json!({ "to": "6281200000147", "text": "is it open?" });
        rig.sandbox("POST", &path, &body).await;
    }
    eventually("keys for the next strangers", || async {
        let network = rig.sandbox("GET", "/sandbox", &json!({})).await;
        let companion = &network["accounts"][0]["companions"][0];
        (companion["waiting"] == 0 && companion["prekeys"].as_u64() > Some(50)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_from_strangers_hears_the_shop() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000146").await;
    let choosy = "6281299999946";
    let path = format!("/sandbox/phones/{choosy}");
    rig.sandbox("PUT", &path, &json!({ "trustedOnly": true }))
        .await;
    // The secret for strangers comes with the account's settings, a moment after the pairing.
    eventually("a first message", || async {
        let sent = rig
            .send_text("shop", &token, choosy, "you do not know me")
            .await;
        (sent["status"] == "success").then_some(())
    })
    .await;
    let heard = rig.received(choosy).await;
    assert_eq!(heard[0]["text"], "you do not know me");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_never_acknowledged_is_no_success_and_names_its_id() {
    let rig = Rig::with(|config| config.ack_timeout = std::time::Duration::from_secs(2)).await;
    let token = rig.pair("shop", "6281200000109").await;
    rig.sandbox(
        "POST",
        "/sandbox/faults",
        &json!({ "loseAcks": true, "count": 1 }),
    )
    .await;
    let lost = rig
        .send_text("shop", &token, "6281299999909", "acked into the void")
        .await;
    assert_eq!(lost["status"], "error", "{lost}");
    let id = lost["messageId"].as_str().expect("an id");
    assert!(
        lost["message"].as_str().expect("words").contains(id),
        "{lost}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_acknowledged_is_repeated_under_its_key() {
    let rig = Rig::with(|config| config.ack_timeout = std::time::Duration::from_secs(2)).await;
    let token = rig.pair("shop", "6281200000149").await;
    let phone = "6281299999949";
    rig.send_text("shop", &token, phone, "warm").await;
    let batch = json!([
        { "to": phone, "type": "text", "text": { "body": "one" } },
        { "to": "nobody", "type": "text", "text": { "body": "two" } },
    ]);
    let send = || async {
        let call = rig.post("/api/v1/messages?sessionId=shop", &batch);
        let call = call.bearer(&token).header("idempotency-key", "order-17");
        call.send().await.json()
    };
    let faults = json!({ "loseAcks": true });
    rig.sandbox("POST", "/sandbox/faults", &faults).await;
    rig.sandbox(
        "PUT",
        &format!("/sandbox/phones/{phone}"),
        &json!({ "receipts": "none" }),
    )
    .await;
    let first = send().await;
    assert_eq!(first[0]["code"], 504, "{first}");
    rig.sandbox("DELETE", "/sandbox/faults", &json!({})).await;
    let again = send().await;
    assert_eq!(again[0]["status"], "success", "{again}");
    assert_eq!(again[0]["messageId"], first[0]["messageId"]);
    assert_eq!(again[1], first[1]);
    // Now it is decided.
    assert_eq!(send().await, again);
    let heard = rig.wait_for_received(phone, 2).await;
    assert_eq!(heard.len(), 2, "shown once: {heard:?}");
    assert_eq!(rig.stats().await["duplicates"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_a_batch_loses_and_doubles_nothing() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000110").await;
    let phone = "6281299999910";
    rig.send_text("shop", &token, phone, "warm").await;
    rig.sandbox(
        "POST",
        "/sandbox/faults",
        &json!({ "drop": { "afterMessages": 20 }, "count": 1 }),
    )
    .await;
    let text = |n: u32| json!({ "to": phone, "type": "text", "text": { "body": format!("n{n}") } });
    let batch = serde_json::Value::Array((0..60).map(text).collect());
    let results = rig.send("shop", &token, &batch).await;
    for result in results.as_array().expect("an array") {
        assert_eq!(result["status"], "success", "{result}");
    }
    let got = rig.wait_for_received(phone, 61).await;
    let mut texts: Vec<_> = got.iter().filter_map(|m| m["text"].as_str()).collect();
    assert_eq!(texts.len(), 61);
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 61, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_sends_once_also_after_a_restart() {
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000111").await;
    let phone = "6281299999911";
    let body = json!({ "to": phone, "type": "text", "text": { "body": "pay once" } });
    let path = "/api/v1/messages?sessionId=shop";
    let call = |rig: &Rig| {
        rig.post(path, &body)
            .bearer(&token)
            .header("idempotency-key", "order-7")
    };
    let first = call(&rig).send().await.expect(200);
    assert_eq!(call(&rig).send().await.expect(200), first);
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    assert_eq!(call(&rig).send().await.expect(200), first);
    let other = json!({ "to": phone, "type": "text", "text": { "body": "pay twice" } });
    let other = rig
        .post(path, &other)
        .bearer(&token)
        .header("idempotency-key", "order-7");
    other.send().await.expect(409);
    let last = rig.send_text("shop", &token, phone, "end").await;
    assert_eq!(last["status"], "success");
    let got = rig.wait_for_received(phone, 2).await;
    assert_eq!(got.len(), 2, "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_message_could_not_be_deleted_is_told_apart() {
    let rig = Rig::with(|config| config.ack_timeout = Duration::from_millis(500)).await;
    let token = rig.pair("shop", "6281200000121").await;
    let phone = "6281299999921";
    let sent = rig.send_text("shop", &token, phone, "oops").await;
    let revoke = json!({ "sessionId": "shop", "remoteJid": phone, "messageId": sent["messageId"] });
    for (fault, status, told) in [
        (json!({ "loseAcks": true }), 504, "did not acknowledge"),
        (json!({ "refuse": { "code": 463 } }), 502, "new contacts"),
    ] {
        rig.sandbox("POST", "/sandbox/faults", &fault).await;
        let answer = rig.delete("/api/v1/message").json(&revoke).bearer(&token);
        let why = answer.send().await.expect(status)["message"].to_string();
        assert!(why.contains(told), "{why}");
        rig.sandbox("DELETE", "/sandbox/faults", &json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_dialect_can_have_more_sent_at_once_than_a_request_may_hold() {
    let rig = Rig::new().await;
    rig.pair("shop", "6281200000122").await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    let session = SessionId::parse("shop").expect("an id");
    let session = gateway.sessions().get(&session).expect("a session");
    let to = Jid::parse("6281299999922@s.whatsapp.net").expect("a JID");
    let text = || DraftContent::Revoke {
        target: MessageId::parse("3EB0A1").expect("an id"),
    };
    let drafts = (0..=MAX_BATCH).map(|_| Draft::new(to.clone(), text()));
    let still_there = CancellationToken::new();
    let sent = gateway.send(&session, drafts.collect(), None, &still_there);
    let refused = sent.await.expect_err("too many");
    assert_eq!(refused.code(), Code::TooManyMessages);
}
