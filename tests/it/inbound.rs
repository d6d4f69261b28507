//! Receiving: what a phone sends reaches the webhook and the event stream, once and in order.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};

use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::support::{Rig, Sink, eventually, hmac, read_events};

const PHONE: &str = "6281299999801";

/// A rig with a paired session whose webhook is the sink; answers the token and the secret too.
async fn listening(account: &str) -> (Rig, Sink, String, String) {
    let rig = Rig::new().await;
    let sink = Sink::new().await;
    let token = rig.pair("shop", account).await;
    let answer = rig.hook("shop", &sink.url, &[]).await;
    assert_eq!(answer["message"], "Webhook URL for session shop updated");
    let secret = answer["secret"].as_str().expect("a secret").to_owned();
    (rig, sink, token, secret)
}

async fn phone_sends(rig: &Rig, to: &str, text: &str) -> String {
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let sent = rig
        .sandbox("POST", &path, &json!({ "to": to, "text": text }))
        .await;
    sent["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_the_webhook_signed_and_in_the_originals_shape() {
    let (rig, sink, _, secret) = listening("6281200000201").await;
    let id = phone_sends(&rig, "6281200000201", "Halo & selamat").await;
    let got = sink.wait_for("message.received", 1).await;
    let data = &got[0]["data"];
    assert_eq!(got[0]["sessionId"], "shop");
    assert_eq!(data["from"], format!("{PHONE}@s.whatsapp.net"));
    assert_eq!(data["text"], "Halo & selamat");
    assert_eq!(data["type"], "conversation");
    assert_eq!(data["id"], id.as_str());
    assert_eq!(data["senderNumber"], PHONE);
    assert!(
        data["senderLid"].as_str().expect("a LID").ends_with("@lid"),
        "{data}"
    );
    let all = sink.got().await;
    let delivered = all
        .iter()
        .find(|d| d.json()["event"] == "message.received")
        .expect("it");
    assert_eq!(delivered.headers["x-webhook-event"], "message.received");
    assert_eq!(
        delivered.headers["x-webhook-signature"],
        hmac(&secret, &[&delivered.body])
    );
    let timestamp = &delivered.headers["x-webhook-timestamp"];
    let dated = hmac(&secret, &[timestamp.as_bytes(), b".", &delivered.body]);
    assert_eq!(
        delivered.headers["x-webhook-signature-v2"],
        format!("t={timestamp},v2={dated}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_gets_everything_later_once_and_in_order() {
    let (rig, sink, token, _) = listening("6281200000202").await;
    eventually("the webhook is idle", || async {
        let path = "/api/v1/webhook/deliveries?sessionId=shop&state=pending";
        let list = rig.get(path).bearer(&token).send().await.expect(200);
        list["deliveries"].as_array()?.is_empty().then_some(())
    })
    .await;
    sink.answer(503);
    for n in 0..10 {
        phone_sends(&rig, "6281200000202", &format!("message {n}")).await;
    }
    eventually("a try that failed", || async {
        let path = "/api/v1/webhook/deliveries?sessionId=shop";
        let list = rig.get(path).bearer(&token).send().await.expect(200);
        let failed = |d: &Value| d["httpStatus"] == 503 && d["status"] == "pending";
        list["deliveries"]
            .as_array()?
            .iter()
            .any(failed)
            .then_some(())
    })
    .await;
    sink.answer(200);
    let got = sink.wait_for("message.received", 10).await;
    let texts: Vec<_> = got
        .iter()
        .map(|d| d["data"]["text"].as_str().expect("a text"))
        .collect();
    let wanted: Vec<_> = (0..10).map(|n| format!("message {n}")).collect();
    assert_eq!(texts, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_reactions_and_revokes_are_events_of_their_own() {
    let (rig, sink, token, _) = listening("6281200000203").await;
    let id = phone_sends(&rig, "6281200000203", "frist").await;
    sink.wait_for("message.received", 1).await;
    let phone = format!("/sandbox/phones/{PHONE}");
    let to = "6281200000203";
    let edit = json!({ "to": to, "id": id, "text": "first" });
    rig.sandbox("POST", &format!("{phone}/edit"), &edit).await;
    let edited = sink.wait_for("message.edited", 1).await;
    assert_eq!(edited[0]["data"]["messageId"], id.as_str());
    assert_eq!(edited[0]["data"]["text"], "first");
    rig.sandbox(
        "POST",
        &format!("{phone}/revoke"),
        &json!({ "to": to, "id": id }),
    )
    .await;
    let deleted = sink.wait_for("message.deleted", 1).await;
    assert_eq!(deleted[0]["data"]["messageId"], id.as_str());
    let sent = rig.send_text("shop", &token, PHONE, "like it?").await;
    rig.wait_for_received(PHONE, 1).await;
    let react = json!({ "id": sent["messageId"], "text": "👍" });
    rig.sandbox("POST", &format!("{phone}/react"), &react).await;
    let reacted = sink.wait_for("message.reaction", 1).await;
    assert_eq!(reacted[0]["data"]["emoji"], "👍");
    assert_eq!(reacted[0]["data"]["messageId"], sent["messageId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_group_changes_are_told() {
    let (rig, sink, _, _) = listening("6281200000204").await;
    let call = json!({ "to": "6281200000204" });
    rig.sandbox("POST", &format!("/sandbox/phones/{PHONE}/call"), &call)
        .await;
    let offers = sink.wait_for("call.offer", 1).await;
    assert_eq!(offers[0]["data"]["number"], PHONE, "{}", offers[0]);
    let group = json!({ "subject": "Team", "participants": ["6281200000204", PHONE] });
    let group = rig.sandbox("POST", "/sandbox/groups", &group).await;
    let told = sink.wait_for("group.update", 1).await;
    assert_eq!(told[0]["data"]["id"], group["id"]);
    assert_eq!(told[0]["data"]["action"], "create");
    assert_eq!(told[0]["data"]["subject"], "Team");
    let members = told[0]["data"]["participants"].as_array().expect("members");
    let mut members: Vec<_> = members
        .iter()
        .filter_map(|member| member.as_str())
        .collect();
    members.sort_unstable();
    let phone = format!("{PHONE}@s.whatsapp.net");
    let mut expected = ["6281200000204@s.whatsapp.net", &phone];
    expected.sort_unstable();
    assert_eq!(members, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_the_gateway_was_down_comes_after_it_is_back() {
    let (mut rig, sink, _, _) = listening("6281200000205").await;
    phone_sends(&rig, "6281200000205", "before").await;
    sink.wait_for("message.received", 1).await;
    rig.stop().await;
    for n in 0..5 {
        let sent = rig
            .network
            .control(
                "POST",
                &format!("/sandbox/phones/{PHONE}/messages"),
                &json!({ "to": "6281200000205", "text": format!("offline {n}") }),
            )
            .await
            .expect("sent");
        assert!(sent["id"].is_string());
    }
    rig.restart().await;
    let got = sink.wait_for("message.received", 6).await;
    let texts: Vec<_> = got
        .iter()
        .map(|d| d["data"]["text"].as_str().expect("a text"))
        .collect();
    assert_eq!(
        texts,
        [
            "before",
            "offline 0",
            "offline 1",
            "offline 2",
            "offline 3",
            "offline 4"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_stream_goes_on_from_any_event() {
    let (rig, sink, token, _) = listening("6281200000206").await;
    for n in 0..3 {
        phone_sends(&rig, "6281200000206", &format!("message {n}")).await;
    }
    let got = sink.wait_for("message.received", 3).await;
    let first = got[0]["id"].as_u64().expect("a number");
    let stream = rig
        .get("/api/v1/events")
        .bearer(&token)
        .header("last-event-id", &first.to_string());
    let response = stream.open().await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut text = String::new();
    phone_sends(&rig, "6281200000206", "live").await;
    while !text.contains("live") {
        let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await;
        let frame = frame
            .expect("events come")
            .expect("the stream goes on")
            .expect("no error");
        text.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
    }
    assert!(!text.contains("message 0"), "{text}");
    let at = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("{what} in {text}"))
    };
    assert!(at("message 1") < at("message 2") && at("message 2") < at("live"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_sees_the_events_of_all_sessions_in_order_until_they_are_deleted() {
    let mut rig = Rig::new().await;
    for (session, account) in [("one", "6281200000271"), ("two", "6281200000272")] {
        rig.pair(session, account).await;
    }
    let accounts = ["6281200000271", "6281200000272", "6281200000271"];
    let received = |events: &[Value]| -> Vec<(String, String)> {
        let texts = events.iter().filter(|e| e["event"] == "message.received");
        let pair = |e: &Value| {
            (
                e["sessionId"].as_str()?.to_owned(),
                e["data"]["text"].as_str()?.to_owned(),
            )
                .into()
        };
        texts.filter_map(pair).collect()
    };
    let stream = || rig.get("/api/v1/events?lastEventId=0").master();
    for (n, account) in accounts.into_iter().enumerate() {
        phone_sends(&rig, account, &format!("message {n}")).await;
        // Two sessions receive at the same time: only what waits has an order.
        read_events(stream(), |got| received(got).len() == n + 1).await;
    }
    let events = read_events(stream(), |got| received(got).len() == 3).await;
    let pair = |session: &str, text: &str| (session.to_owned(), text.to_owned());
    let all = [
        pair("one", "message 0"),
        pair("two", "message 1"),
        pair("one", "message 2"),
    ];
    assert_eq!(received(&events), all);
    let gone = rig.delete("/api/v1/sessions/one").master();
    gone.send().await.expect(200);
    let events = read_events(stream(), |got| !received(got).is_empty()).await;
    assert!(
        events.iter().all(|event| event["sessionId"] == "two"),
        "{events:?}"
    );
    rig.stop().await;
    let problems = warung::store::check(&rig.folder.path().join("data/warung.redb"));
    assert_eq!(problems.expect("checked"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_refused_for_good_is_kept_and_can_be_replayed() {
    let clock = Clock::manual(Timestamp::from_secs(1_700_000_000));
    let deps = Deps {
        clock: clock.clone(),
        ..Deps::default()
    };
    let rig = Rig::made_of(deps, |_| {}).await;
    let sink = Sink::new().await;
    let token = rig.pair("shop", "6281200000207").await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    sink.answer(422);
    phone_sends(&rig, "6281200000207", "lost?").await;
    let log = || async {
        let path = "/api/v1/webhook/deliveries?sessionId=shop";
        rig.get(path).bearer(&token).send().await.expect(200)["deliveries"][0].clone()
    };
    for attempt in 1..=10 {
        let entry = eventually("the next try", || async {
            let entry = log().await;
            (entry["attempts"] == attempt).then_some(entry)
        })
        .await;
        assert_eq!(entry["httpStatus"], 422);
        assert_eq!(
            entry["status"],
            if attempt < 10 { "pending" } else { "dead" }
        );
        let replay = format!(
            "/api/v1/webhook/deliveries/{}/replay?sessionId=shop",
            entry["id"].as_str().expect("an id")
        );
        let answer = rig.post(&replay, &json!({})).bearer(&token);
        if attempt < 10 {
            clock.advance(Duration::from_secs(3600));
            rig.server
                .as_ref()
                .expect("running")
                .gateway()
                .delivery_queue()
                .wake();
        } else {
            sink.answer(200);
            answer.send().await.expect(200);
        }
    }
    assert_eq!(
        sink.wait_for("message.received", 1).await[0]["data"]["text"],
        "lost?"
    );
    eventually("the log says so", || async {
        (log().await["status"] == "delivered").then_some(())
    })
    .await;
    let missing = "/api/v1/webhook/deliveries/9999999-v1/replay?sessionId=shop";
    rig.post(missing, &json!({}))
        .bearer(&token)
        .send()
        .await
        .expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_without_a_webhook_have_the_configurations() {
    let sink = Sink::new().await;
    let url = sink.url.clone();
    let rig = Rig::with(|config| {
        config.webhook_url = Some(url);
        config.webhook_secret = Some("of the configuration".into());
    })
    .await;
    let token = rig.pair("shop", "6281200000208").await;
    let shown = rig
        .get("/api/v1/webhook?sessionId=shop")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(shown["url"], sink.url.as_str());
    phone_sends(&rig, "6281200000208", "to the default").await;
    sink.wait_for("message.received", 1).await;
    let all = sink.got().await;
    let last = all.last().expect("one");
    let wanted = hmac("of the configuration", &[&last.body]);
    assert_eq!(last.headers["x-webhook-signature"], wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_and_with_its_session() {
    let rig = Rig::new().await;
    let first = rig.create("shop").await;
    let open = |token: &str| rig.get("/api/v1/events").bearer(token).open();
    let ends = async |stream: hyper::Response<hyper::body::Incoming>| {
        let mut body = stream.into_body();
        let read = async { while let Some(Ok(_)) = body.frame().await {} };
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, read).await.expect("it ends");
    };
    let stream = open(&first).await;
    let rotate = rig.post("/api/v1/sessions/shop/token", &json!({}));
    let answer = rotate.bearer(&first).send().await.expect(200);
    let second = answer["token"].as_str().expect("a token").to_owned();
    ends(stream).await;
    let stream = open(&second).await;
    let delete = rig.delete("/api/v1/sessions/shop").bearer(&second);
    delete.send().await.expect(200);
    ends(stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_a_removed_webhook_goes_to_nobody_else() {
    let (own, default) = (Sink::new().await, Sink::new().await);
    let url = default.url.clone();
    let rig = Rig::with(|config| config.webhook_url = Some(url)).await;
    let token = rig.pair("shop", "6281200000209").await;
    rig.hook("shop", &own.url, &["message.received"]).await;
    own.answer(503);
    phone_sends(&rig, "6281200000209", "for the own webhook only").await;
    eventually("a try that failed", || async {
        let path = "/api/v1/webhook/deliveries?sessionId=shop";
        let list = rig.get(path).bearer(&token).send().await.expect(200);
        let failed = |d: &Value| d["httpStatus"] == 503;
        list["deliveries"]
            .as_array()?
            .iter()
            .any(failed)
            .then_some(())
    })
    .await;
    rig.delete("/api/v1/webhook?sessionId=shop")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    phone_sends(&rig, "6281200000209", "for the default").await;
    let got = default.wait_for("message.received", 1).await;
    assert_eq!(got[0]["data"]["text"], "for the default");
}
