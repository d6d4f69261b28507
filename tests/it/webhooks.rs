//! Webhooks that fail: who waits for whom, what the owner can do about it, and what is told of it.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::support::{Rig, Sink, eventually};

const PHONE: &str = "6281299999871";
const ACCOUNT: &str = "6281200000871";

/// A rig whose time stands still, with a session whose messages go to the sink; and its token.
async fn rig(sink: &Sink) -> (Rig, Clock, String) {
    let clock = Clock::manual(Timestamp::from_secs(1_700_000_000));
    let deps = Deps {
        clock: clock.clone(),
        ..Deps::default()
    };
    let rig = Rig::made_of(deps, |_| {}).await;
    let token = rig.pair("shop", ACCOUNT).await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    (rig, clock, token)
}

async fn phone_sends(rig: &Rig, text: &str) {
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let sent = json!({ "to": ACCOUNT, "text": text });
    rig.sandbox("POST", &path, &sent).await;
}

async fn list(rig: &Rig, token: &str) -> Value {
    let path = "/api/v1/webhook/deliveries?sessionId=shop";
    rig.get(path).bearer(token).send().await.expect(200)
}

/// Waits until the oldest delivery was tried so often, and so many wait.
async fn oldest(rig: &Rig, token: &str, attempts: u64, waiting: u64) -> Value {
    eventually("a try", || async {
        let list = list(rig, token).await;
        let oldest = list["deliveries"].as_array()?.last()?.clone();
        let tried = oldest["attempts"].as_u64() >= Some(attempts);
        (tried && list["waiting"] == waiting).then_some(oldest)
    })
    .await
}

async fn arrived(sink: &Sink, count: usize) -> Vec<String> {
    let got = sink.wait_for("message.received", count).await;
    let text = |event: &Value| event["data"]["text"].as_str().map(str::to_owned);
    got.iter().filter_map(text).collect()
}

fn path_of(delivery: &Value, rest: &str) -> String {
    let id = delivery["id"].as_str().expect("an id");
    format!("/api/v1/webhook/deliveries/{id}{rest}?sessionId=shop")
}

/// Time stands still: whoever arrives did not wait for a retry.
async fn one_that_is_not_taken_holds_up_nobody(status: u16) {
    let sink = Sink::new().await;
    let (rig, _clock, token) = rig(&sink).await;
    sink.answer_to("poison", status);
    phone_sends(&rig, "poison").await;
    oldest(&rig, &token, 1, 1).await;
    for text in ["one", "two", "three"] {
        phone_sends(&rig, text).await;
    }
    assert_eq!(arrived(&sink, 3).await, ["one", "two", "three"], "{status}");
    let waits = oldest(&rig, &token, 1, 1).await;
    assert_eq!(waits["status"], "pending", "{waits}");
    assert_eq!(waits["httpStatus"], status);
    assert_eq!(waits["waitingBehind"], 0);
    // When the receiver takes it after all, it need not wait for its time.
    sink.answer_to("poison", 200);
    let replay = rig.post(&path_of(&waits, "/replay"), &json!({}));
    replay.bearer(&token).send().await.expect(200);
    assert_eq!(arrived(&sink, 4).await[3], "poison");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_a_content_that_is_refused_holds_up_nobody() {
    for status in [400, 413, 422] {
        one_that_is_not_taken_holds_up_nobody(status).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_alone_is_not_taken_holds_up_nobody() {
    for status in [302, 404, 410, 431, 500] {
        one_that_is_not_taken_holds_up_nobody(status).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_are_not_taken_in_a_row_hold_up_nobody() {
    let sink = Sink::new().await;
    let (rig, _clock, token) = rig(&sink).await;
    sink.answer(503);
    phone_sends(&rig, "poison 0").await;
    oldest(&rig, &token, 1, 1).await;
    for n in 1..6 {
        phone_sends(&rig, &format!("poison {n}")).await;
    }
    phone_sends(&rig, "good").await;
    oldest(&rig, &token, 2, 7).await;
    sink.answer_to("poison", 500);
    sink.answer(200);
    rig.hook("shop", &sink.url, &["message.received"]).await;
    assert_eq!(arrived(&sink, 1).await, ["good"]);
    phone_sends(&rig, "next").await;
    assert_eq!(arrived(&sink, 2).await, ["good", "next"]);
    oldest(&rig, &token, 1, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_breaks_the_receiver_holds_up_nobody_for_long() {
    let sink = Sink::new().await;
    let (rig, clock, token) = rig(&sink).await;
    sink.answer_to("poison", 502);
    phone_sends(&rig, "poison").await;
    oldest(&rig, &token, 1, 1).await;
    phone_sends(&rig, "good").await;
    // It may be the receiver: it is given some seconds.
    oldest(&rig, &token, 2, 2).await;
    assert!(sink.got().await.is_empty());
    clock.advance(std::time::Duration::from_secs(10));
    let server = rig.server.as_ref().expect("running");
    server.gateway().delivery_queue().wake();
    assert_eq!(arrived(&sink, 1).await, ["good"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_as_a_whole_gets_all_in_their_order() {
    for status in [401, 404, 500, 503] {
        let sink = Sink::new().await;
        let (mut rig, clock, token) = rig(&sink).await;
        sink.answer(status);
        let texts = ["one", "two", "three", "four"];
        for (n, text) in texts.iter().enumerate() {
            phone_sends(&rig, text).await;
            if n == 0 {
                oldest(&rig, &token, 1, 1).await;
            }
        }
        let oldest = oldest(&rig, &token, 2, 4).await;
        assert_eq!(oldest["status"], "pending", "{oldest}");
        assert_eq!(oldest["waitingBehind"], 3, "{oldest}");
        sink.answer(200);
        // No time passes, and they go: the owner says where to, or the program starts.
        if status == 500 {
            let deps = Deps {
                clock,
                ..Deps::default()
            };
            rig.restart_made_of(deps).await;
        } else {
            rig.hook("shop", &sink.url, &["message.received"]).await;
        }
        assert_eq!(arrived(&sink, 4).await, texts, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_tries_one_now_or_skips_it() {
    let sink = Sink::new().await;
    let (rig, _clock, token) = rig(&sink).await;
    sink.answer(503);
    phone_sends(&rig, "first").await;
    oldest(&rig, &token, 1, 1).await;
    phone_sends(&rig, "second").await;
    let first = oldest(&rig, &token, 2, 2).await;
    let replay = || rig.post(&path_of(&first, "/replay"), &json!({}));
    replay().bearer(&token).send().await.expect(200);
    let tried = oldest(&rig, &token, 3, 2).await;
    assert_eq!(tried["status"], "pending");
    sink.answer(200);
    let skip = || rig.delete(&path_of(&first, "")).bearer(&token);
    skip().send().await.expect(200);
    assert_eq!(arrived(&sink, 1).await, ["second"]);
    let skipped = oldest(&rig, &token, 3, 0).await;
    assert_eq!(skipped["status"], "dead");
    assert_eq!(skipped["lastError"], "skipped by its owner");
    skip().send().await.expect(409);
    replay().bearer(&token).send().await.expect(200);
    assert_eq!(arrived(&sink, 2).await, ["second", "first"]);
    eventually("it is noted", || async {
        let list = list(&rig, &token).await;
        (list["waiting"] == 0).then_some(())
    })
    .await;
    replay().bearer(&token).send().await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_went_with_its_webhook_is_replayed_to_the_next() {
    let sink = Sink::new().await;
    let (rig, _clock, token) = rig(&sink).await;
    sink.answer(503);
    phone_sends(&rig, "first").await;
    let first = oldest(&rig, &token, 1, 1).await;
    let gone = rig.delete("/api/v1/webhook?sessionId=shop").bearer(&token);
    gone.send().await.expect(200);
    rig.hook("shop", &sink.url, &["message.received"]).await;
    // Another one waits there, so that it looks as if the first did.
    phone_sends(&rig, "second").await;
    eventually("the second was tried", || async {
        let list = list(&rig, &token).await;
        (list["deliveries"].as_array()?.len() == 2).then_some(())
    })
    .await;
    sink.answer(200);
    let replay = rig.post(&path_of(&first, "/replay"), &json!({}));
    replay.bearer(&token).send().await.expect(200);
    assert_eq!(arrived(&sink, 1).await, ["first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_http_is_called_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 1024];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await;
        }
    });
    let sink = Sink::new().await;
    let (rig, _clock, token) = rig(&sink).await;
    rig.hook("shop", &url, &["message.received"]).await;
    phone_sends(&rig, "to a mail server").await;
    let tried = oldest(&rig, &token, 1, 1).await;
    let said = "the receiver gave an answer that is not HTTP";
    assert_eq!(tried["lastError"], said);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_and_dead_letters_are_counted() {
    let sink = Sink::new().await;
    let (rig, clock, token) = rig(&sink).await;
    sink.answer(422);
    phone_sends(&rig, "wrong").await;
    for attempt in 1..=10 {
        oldest(&rig, &token, attempt, u64::from(attempt < 10)).await;
        clock.advance(std::time::Duration::from_secs(3600));
        let server = rig.server.as_ref().expect("running");
        server.gateway().delivery_queue().wake();
    }
    let text = rig.get("/metrics").master().send().await;
    let text = String::from_utf8(text.body.to_vec()).expect("text");
    for line in [
        "warung_webhook_failures_total 10",
        "warung_webhook_dead_letters_total 1",
        "warung_webhook_deliveries_waiting 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
}
