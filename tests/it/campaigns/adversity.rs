//! Campaigns while everything goes wrong: nobody twice, nobody forgotten.

use serde_json::{Value, json};

use super::{
    assert_each_once, assert_sums, at_once, create, people, person, show, step, text_campaign,
    wait_for,
};
use crate::support::{Rig, eventually};

async fn fault(rig: &Rig, body: Value) {
    rig.sandbox("POST", "/sandbox/faults", &body).await;
}

async fn finished_well(rig: &Rig, token: &str, id: &str, block: u32, count: u32) {
    let done = wait_for(rig, token, id, "completed").await;
    assert_sums(&done);
    assert_eq!(done["statistics"]["sent"], count, "{}", done["statistics"]);
    assert_each_once(rig, block, count, |n| format!("Ani {n}")).await;
    rig.assert_all_understood().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_drop_again_and_again() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002101").await;
    for after in [7, 40, 90, 160] {
        fault(
            &rig,
            json!({ "drop": { "afterMessages": after }, "count": 1 }),
        )
        .await;
    }
    let id = text_campaign(&rig, &token, "{{name}}", &people(11, 300)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    finished_well(&rig, &token, &id, 11, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_are_lost() {
    let rig = Rig::with(|config| config.ack_timeout = std::time::Duration::from_secs(1)).await;
    let token = rig.pair("shop", "6281200002102").await;
    fault(&rig, json!({ "loseAcks": true, "count": 10 })).await;
    let id = text_campaign(&rig, &token, "{{name}}", &people(12, 60)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    finished_well(&rig, &token, &id, 12, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_are_refused_for_a_while() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002103").await;
    fault(&rig, json!({ "refuse": { "code": 503 }, "count": 20 })).await;
    let id = text_campaign(&rig, &token, "{{name}}", &people(13, 60)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    finished_well(&rig, &token, &id, 13, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_is_always_refused_holds_up_nobody_and_fails_with_the_reason() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002104").await;
    fault(
        &rig,
        json!({ "refuse": { "code": 463 }, "to": person(14, 0) }),
    )
    .await;
    let id = text_campaign(&rig, &token, "{{name}}", &people(14, 20)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    let done = wait_for(&rig, &token, &id, "completed").await;
    assert_sums(&done);
    let first = &done["recipients"][0];
    assert_eq!(
        (&first["status"], &first["tries"]),
        (&json!("failed"), &json!(4)),
        "{first}"
    );
    assert!(
        first["error"].as_str().expect("words").contains("463"),
        "{first}"
    );
    assert_eq!(done["statistics"]["sent"], 19);
    // Later it works, and is tried again with the id that it had.
    rig.sandbox("DELETE", "/sandbox/faults", &Value::Null).await;
    let again = step(&rig, &token, &id, "retry").await.expect(200);
    assert_eq!(again["retryCount"], 1);
    let done = wait_for(&rig, &token, &id, "completed").await;
    assert_eq!(done["statistics"]["sent"], 20);
    assert_eq!(done["recipients"][0]["messageId"], first["messageId"]);
    assert_each_once(&rig, 14, 20, |n| format!("Ani {n}")).await;
    let none = step(&rig, &token, &id, "retry").await.expect(200);
    assert_eq!(none["retryCount"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatsapp_asks_to_slow_down() {
    let clock = warung::time::Clock::manual(warung::time::Timestamp::from_secs(1_800_000_000));
    let deps = warung::server::Deps {
        clock: clock.clone(),
        ..Default::default()
    };
    let rig = Rig::made_of(deps, |_| {}).await;
    let token = rig.pair("shop", "6281200002105").await;
    fault(&rig, json!({ "refuse": { "code": 429 }, "count": 5 })).await;
    let id = text_campaign(&rig, &token, "{{name}}", &people(15, 60)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    let held = eventually("the others were sent", || async {
        let now = show(&rig, &token, &id).await;
        let said = &now["statistics"];
        (said["sent"].as_u64() >= Some(40) && said["sending"] == 0).then_some(now)
    })
    .await;
    assert!(
        held["statistics"]["pending"].as_u64() >= Some(5),
        "{}",
        held["statistics"]
    );
    assert_eq!(held["status"], "sending");
    // It waits, counts no try against anybody, and goes on.
    let gateway = rig.server.as_ref().expect("running").gateway();
    let done = eventually("the end", || async {
        clock.advance(std::time::Duration::from_secs(40));
        gateway.wake_campaigns();
        let now = show(&rig, &token, &id).await;
        (now["status"] == "completed").then_some(now)
    })
    .await;
    assert!(
        done["recipients"]
            .as_array()
            .expect("rows")
            .iter()
            .all(|row| row["tries"] == 1)
    );
    finished_well(&rig, &token, &id, 15, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_is_logged_out_in_the_middle_and_paired_again() {
    let rig = Rig::new().await;
    let account = "6281200002106";
    let token = rig.pair("shop", account).await;
    let slow = json!({ "delayBetweenMessages": 20, "jitter": 0, "retryDelay": 50 });
    let body = json!({ "name": "Slow", "settings": slow,
        "message": { "content": "{{name}}" }, "recipients": people(16, 40) });
    let made = create(&rig, &token, &body).await;
    let id = made["id"].as_str().expect("an id");
    step(&rig, &token, id, "start").await.expect(200);
    eventually("some are sent", || async {
        let now = show(&rig, &token, id).await;
        (now["statistics"]["sent"].as_u64() >= Some(5)).then_some(())
    })
    .await;
    rig.sandbox(
        "POST",
        &format!("/sandbox/phones/{account}/logout"),
        &json!({}),
    )
    .await;
    rig.wait_for_status("shop", "DISCONNECTED").await;
    let waiting = show(&rig, &token, id).await;
    assert_eq!(waiting["status"], "sending");
    assert_eq!(waiting["detail"], "Waits until session shop is connected");
    rig.get("/api/v1/sessions/shop/qr")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    let scan = json!({ "sessionId": "shop", "phone": account });
    rig.sandbox("POST", "/sandbox/scan", &scan).await;
    rig.wait_for_status("shop", "CONNECTED").await;
    finished_well(&rig, &token, id, 16, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_not_on_whatsapp_is_told_when_it_is_asked_for() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002107").await;
    let path = format!("/sandbox/phones/{}", person(17, 1));
    rig.sandbox("PUT", &path, &json!({ "registered": false }))
        .await;
    let mut settings = at_once();
    settings["checkNumbers"] = json!(true);
    settings["typing"] = json!(true);
    let body = json!({ "name": "Checked", "settings": settings,
        "message": { "content": "{{name}}" }, "recipients": people(17, 3) });
    let made = create(&rig, &token, &body).await;
    let id = made["id"].as_str().expect("an id");
    step(&rig, &token, id, "start").await.expect(200);
    let done = wait_for(&rig, &token, id, "completed").await;
    assert_sums(&done);
    assert_eq!(
        done["recipients"][1]["error"],
        "the number is not on WhatsApp"
    );
    assert_eq!(done["statistics"]["sent"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_whose_file_is_gone_says_so_and_waits() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002108").await;
    let id = crate::files::uploaded(&rig, &token, "a.pdf", &crate::files::file("prices.pdf")).await;
    let body = json!({ "name": "File", "settings": at_once(),
        "message": { "type": "document", "mediaId": id, "fileName": "harga.pdf" }, "recipients": people(18, 3) });
    let made = create(&rig, &token, &body).await;
    let campaign = made["id"].as_str().expect("an id");
    // As long as a campaign needs it, it cannot be taken away.
    let taken = rig
        .delete(&format!("/api/v1/media/{id}"))
        .bearer(&token)
        .send()
        .await;
    assert_eq!(
        taken.expect(409)["message"],
        "The file is part of a campaign that has not ended"
    );
    step(&rig, &token, campaign, "start").await.expect(200);
    wait_for(&rig, &token, campaign, "completed").await;
    let got = rig.received(&person(18, 0)).await;
    assert_eq!(
        (&got[0]["fileName"], &got[0]["type"]),
        (&json!("harga.pdf"), &json!("document"))
    );
    rig.delete(&format!("/api/v1/media/{id}"))
        .bearer(&token)
        .send()
        .await
        .expect(200);
    let clone = step(&rig, &token, campaign, "clone").await.expect(201);
    let clone = clone["id"].as_str().expect("an id");
    step(&rig, &token, clone, "start").await.expect(200);
    let paused = wait_for(&rig, &token, clone, "paused").await;
    assert!(
        paused["detail"]
            .as_str()
            .expect("a reason")
            .contains("file"),
        "{paused}"
    );
    assert_eq!(paused["statistics"]["pending"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_message_is_of_a_wrong_form_holds_up_nobody() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002109").await;
    let malformed = json!({ "refuse": { "code": 479 }, "to": person(19, 0) });
    fault(&rig, malformed).await;
    let id = text_campaign(&rig, &token, "{{name}}", &people(19, 60)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    let done = wait_for(&rig, &token, &id, "completed").await;
    assert_sums(&done);
    assert_eq!(done["statistics"]["sent"], 59);
    let why = done["recipients"][0]["error"].as_str().expect("words");
    assert!(why.contains("code 479"), "{why}");
    assert!(!why.contains("too many"), "it is no matter of pace: {why}");
}
