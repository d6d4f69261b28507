//! Campaigns that nothing disturbs: exactly the text, exactly once, exactly counted.

use serde_json::{Value, json};

use super::{
    assert_each_once, assert_sums, at_once, create, people, person, show, step, text_campaign,
    wait_for,
};
use crate::files::{file, uploaded};
use crate::support::{Rig, Sink, eventually, read_events};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_people_get_a_picture_and_their_own_words_once() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002001").await;
    let picture = uploaded(&rig, &token, "turned.jpg", &file("turned.jpg")).await;
    let body = json!({ "name": "Promo", "settings": at_once(),
        "message": { "type": "image", "mediaId": picture, "content": "Halo {{Name}} & <b>{{ KODE }}</b> {{nothing}}!" },
        "recipients": people(1, 1000) });
    let made = create(&rig, &token, &body).await;
    let id = made["id"].as_str().expect("an id");
    assert_eq!(made["recipientCount"], 1000);
    assert_eq!(
        made["recipients"].as_array().expect("recipients").len(),
        1000
    );
    let started = step(&rig, &token, id, "start").await.expect(200);
    assert_eq!(started["campaignStatus"], "sending");
    let done = wait_for(&rig, &token, id, "completed").await;
    assert_eq!(done["statistics"]["failed"], 0);
    assert_each_once(&rig, 1, 1000, |n| format!("Halo Ani {n} & K{n} !")).await;
    let stats = rig.stats().await;
    assert_eq!(
        stats["mediaUploads"], 1,
        "one upload for the whole campaign"
    );
    assert_eq!(stats["duplicates"], 0, "{stats}");
    eventually("all receipts", || async {
        let path = format!("/api/v1/campaigns/{id}/status");
        let now = rig.get(&path).bearer(&token).send().await.expect(200);
        (now["statistics"]["delivered"] == 1000).then_some(())
    })
    .await;
    let all = show(&rig, &token, id).await;
    assert_sums(&all);
    assert_eq!(all["statistics"]["sent"], 1000);
    rig.assert_all_understood().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_and_receipts_move_the_rows() {
    let rig = Rig::new().await;
    let sink = Sink::new().await;
    let token = rig.pair("shop", "6281200002002").await;
    rig.hook("shop", &sink.url, &[]).await;
    for n in 0..3 {
        let path = format!("/sandbox/phones/{}", person(2, n));
        rig.sandbox("PUT", &path, &json!({ "receipts": "read" }))
            .await;
    }
    let id = text_campaign(&rig, &token, "{{name}}", &people(2, 3)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    wait_for(&rig, &token, &id, "completed").await;
    let all = eventually("read by all", || async {
        let now = show(&rig, &token, &id).await;
        (now["statistics"]["read"] == 3).then_some(now)
    })
    .await;
    assert_sums(&all);
    for row in all["recipients"].as_array().expect("recipients") {
        // What was sent stays so; how far it came since is told beside it.
        assert_eq!(
            (&row["status"], &row["delivery"]),
            (&json!("sent"), &json!("read"))
        );
        for time in ["sentAt", "deliveredAt", "readAt"] {
            assert!(row[time].is_string(), "{time}: {row}");
        }
        assert!(
            row["messageId"].is_string() && row["sentAt"].is_string(),
            "{row}"
        );
        assert_eq!(row["error"], Value::Null);
    }
    let progress = sink.wait_for("campaign.progress", 1).await;
    assert_eq!(progress[0]["data"]["campaignId"], id.as_str());
    let status = sink.wait_for("campaign.status", 2).await;
    let words: Vec<&Value> = status.iter().map(|s| &s["data"]["status"]).collect();
    assert_eq!(words, ["sending", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_after_the_end_are_told_no_faster_than_before_it() {
    let deps = warung::server::Deps {
        clock: warung::time::Clock::manual(warung::time::Timestamp::from_secs(1_800_000_000)),
        ..Default::default()
    };
    let rig = Rig::made_of(deps, |_| {}).await;
    let token = rig.pair("shop", "6281200002007").await;
    for n in 0..20 {
        let path = format!("/sandbox/phones/{}", person(8, n));
        rig.sandbox("PUT", &path, &json!({ "receipts": "read" }))
            .await;
    }
    let id = text_campaign(&rig, &token, "{{name}}", &people(8, 20)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    wait_for(&rig, &token, &id, "completed").await;
    eventually("read by all", || async {
        let now = show(&rig, &token, &id).await;
        (now["statistics"]["read"] == 20).then_some(())
    })
    .await;
    let last = rig.send_text("shop", &token, "6281299992007", "end").await;
    let log = rig.get("/api/v1/events?sessionId=shop&lastEventId=0");
    let events = read_events(log.bearer(&token), |events| {
        events.iter().any(|e| e["data"]["id"] == last["messageId"])
    })
    .await;
    let told: Vec<&Value> = events
        .iter()
        .filter(|event| event["event"] == "campaign.progress")
        .map(|event| &event["data"]["statistics"])
        .collect();
    // The clock stands: the first, and the end.
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1]["sent"], 20, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_pauses_and_goes_on_where_it_was() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002003").await;
    let slow = json!({ "delayBetweenMessages": 30, "jitter": 0 });
    let body = json!({ "name": "Slow", "settings": slow,
        "message": { "content": "{{name}}" }, "recipients": people(3, 30) });
    let made = create(&rig, &token, &body).await;
    let id = made["id"].as_str().expect("an id");
    assert_eq!(step(&rig, &token, id, "pause").await.status, 409);
    assert_eq!(step(&rig, &token, id, "resume").await.status, 409);
    step(&rig, &token, id, "send").await.expect(200);
    assert_eq!(
        step(&rig, &token, id, "start").await.status,
        409,
        "start twice"
    );
    eventually("some are sent", || async {
        let now = show(&rig, &token, id).await;
        (now["statistics"]["sent"].as_u64() >= Some(3)).then_some(())
    })
    .await;
    let paused = step(&rig, &token, id, "pause").await.expect(200);
    assert_eq!(paused["campaignStatus"], "paused");
    let settled = eventually("nothing is on its way", || async {
        let now = show(&rig, &token, id).await;
        (now["statistics"]["sending"] == 0).then_some(now)
    })
    .await;
    assert!(
        settled["statistics"]["pending"].as_u64() > Some(0),
        "{}",
        settled["statistics"]
    );
    assert_sums(&settled);
    assert_eq!(step(&rig, &token, id, "start").await.status, 409);
    step(&rig, &token, id, "resume").await.expect(200);
    wait_for(&rig, &token, id, "completed").await;
    assert_each_once(&rig, 3, 30, |n| format!("Ani {n}")).await;
    for what in ["start", "pause", "resume"] {
        assert_eq!(step(&rig, &token, id, what).await.status, 409, "{what}");
    }
    let status = rig
        .get(&format!("/api/v1/campaigns/{id}/status"))
        .bearer(&token);
    let status = status.send().await.expect(200);
    assert_eq!(
        (&status["progress"], &status["queueStatus"]),
        (&json!(100), &json!("inactive"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_goes_on_after_a_restart_by_itself() {
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002004").await;
    let slow = json!({ "delayBetweenMessages": 20, "jitter": 0, "variants": true });
    let body = json!({ "name": "Slow", "settings": slow,
        "message": { "content": "{hi|hello} {{name}}" }, "recipients": people(4, 40) });
    let made = create(&rig, &token, &body).await;
    let id = made["id"].as_str().expect("an id");
    step(&rig, &token, id, "start").await.expect(200);
    for sent in [5, 15] {
        eventually("some are sent", || async {
            let now = show(&rig, &token, id).await;
            (now["statistics"]["sent"].as_u64() >= Some(sent)).then_some(())
        })
        .await;
        rig.restart().await;
    }
    let done = wait_for(&rig, &token, id, "completed").await;
    assert_sums(&done);
    assert_eq!(done["statistics"]["sent"], 40);
    for n in 0..40 {
        let got = rig.received(&person(4, n)).await;
        assert_eq!(got.len(), 1);
        let text = got[0]["text"].as_str().expect("words");
        assert!(
            text == format!("hi Ani {n}") || text == format!("hello Ani {n}"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_share_their_session_and_let_ordinary_messages_first() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002005").await;
    let first = text_campaign(&rig, &token, "one {{name}}", &people(5, 400)).await;
    let second = text_campaign(&rig, &token, "two {{name}}", &people(6, 400)).await;
    step(&rig, &token, &first, "start").await.expect(200);
    step(&rig, &token, &second, "start").await.expect(200);
    // An ordinary message in the middle does not wait for the end of either.
    let sent = rig.send_text("shop", &token, "6281299992005", "now").await;
    assert_eq!(sent["status"], "success");
    let (one, two) = (
        show(&rig, &token, &first).await,
        show(&rig, &token, &second).await,
    );
    let left = |c: &Value| c["statistics"]["pending"].as_u64().expect("a number");
    assert!(left(&one) + left(&two) > 0, "it was not the last");
    wait_for(&rig, &token, &first, "completed").await;
    // The other is not far behind: they took turns.
    let two = show(&rig, &token, &second).await;
    assert!(
        two["statistics"]["sent"].as_u64() >= Some(300),
        "{}",
        two["statistics"]
    );
    wait_for(&rig, &token, &second, "completed").await;
    assert_each_once(&rig, 6, 400, |n| format!("two Ani {n}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_more_gets_no_more() {
    let rig = Rig::new().await;
    let account = "6281200002006";
    let token = rig.pair("shop", account).await;
    let writes = |n: u32, text: &'static str| {
        let rig = &rig;
        async move {
            let path = format!("/sandbox/phones/{}/messages", person(7, n));
            rig.sandbox("POST", &path, &json!({ "to": account, "text": text }))
                .await;
        }
    };
    let listed = |count: usize| {
        let (rig, token) = (&rig, &token);
        async move {
            eventually("the list of numbers", || async {
                let list = rig
                    .get("/api/v1/suppressions")
                    .bearer(token)
                    .send()
                    .await
                    .expect(200);
                (list["numbers"].as_array().expect("numbers").len() == count).then_some(list)
            })
            .await
        }
    };
    writes(0, " berhenti! ").await;
    writes(1, "please do not stop").await;
    let list = listed(1).await;
    assert_eq!(list["numbers"][0]["number"], person(7, 0));
    assert_eq!(list["numbers"][0]["by"], "message");
    let by_hand = json!({ "numbers": [person(7, 2)] });
    rig.post("/api/v1/suppressions", &by_hand)
        .bearer(&token)
        .send()
        .await
        .expect(200);
    let id = text_campaign(&rig, &token, "{{name}}", &people(7, 4)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    let done = wait_for(&rig, &token, &id, "completed").await;
    assert_sums(&done);
    assert_eq!(done["statistics"]["failed"], 2);
    assert_eq!(
        done["recipients"][0]["error"],
        "the number asked for no more campaigns"
    );
    for (n, count) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
        assert_eq!(rig.received(&person(7, n)).await.len(), count, "{n}");
    }
    // It may ask again, and be taken off the list by hand.
    writes(0, "MULAI").await;
    listed(1).await;
    let path = format!("/api/v1/suppressions/{}", person(7, 2));
    rig.delete(&path).bearer(&token).send().await.expect(200);
    assert_eq!(rig.delete(&path).bearer(&token).send().await.status, 404);
    let again = step(&rig, &token, &id, "retry").await.expect(200);
    assert_eq!(again["retryCount"], 2);
    wait_for(&rig, &token, &id, "completed").await;
    for n in 0..4 {
        assert_eq!(rig.received(&person(7, n)).await.len(), 1, "{n}");
    }
    // Words of one's own.
    let words = json!({ "optOutWords": ["cukup"] });
    let put = crate::support::Call::new(rig.addr(), "PUT", "/api/v1/sessions/shop/settings");
    put.json(&words).bearer(&token).send().await.expect(200);
    writes(3, "stop").await;
    writes(3, "Cukup.").await;
    listed(1).await;
}
