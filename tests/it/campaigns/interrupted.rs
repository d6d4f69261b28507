//! Campaigns that the power cut in the middle, and a world that went on before they came back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warung::server::Deps;
use warung::store::Disk;
use warung::store::faults::SimulatedDisk;
use warung::store::tables;
use warung::time::Clock;

use super::pacing::MORNING;
use super::{
    assert_each_once, assert_sums, create, people, person, show, step, text_campaign, wait_for,
};
use crate::damage::{DAMAGED, put, rows};
use crate::support::{Rig, eventually};

const PEOPLE: u32 = 3;

/// A gateway that came back after a power cut, and is kept from WhatsApp until it is let in.
struct Cut {
    rig: Rig,
    clock: Clock,
    token: String,
    campaign: String,
}

fn deps(clock: &Clock, disk: &Arc<SimulatedDisk>) -> Deps {
    Deps {
        clock: clock.clone(),
        disk: Some(Disk::Simulated(disk.clone())),
        ..Deps::default()
    }
}

async fn faults(rig: &Rig, method: &str, body: &Value) {
    let done = rig.network.control(method, "/sandbox/faults", body).await;
    done.expect("a fault");
}

impl Cut {
    /// The power goes when everybody's message was delivered and nobody's was acknowledged.
    async fn new(account: &str, block: u32, settings: Value) -> Self {
        let (clock, disk) = (Clock::manual(MORNING), SimulatedDisk::new());
        let week = |config: &mut warung::config::Config| config.retention_days = 7;
        let mut rig = Rig::made_of(deps(&clock, &disk), week).await;
        let token = rig.pair("shop", account).await;
        for n in 0..PEOPLE {
            let path = format!("/sandbox/phones/{}", person(block, n));
            rig.sandbox("PUT", &path, &json!({ "receipts": "none" }))
                .await;
        }
        faults(&rig, "POST", &json!({ "loseAcks": true })).await;
        let body = json!({ "name": "Cut", "settings": settings,
            "message": { "content": "{{name}}" }, "recipients": people(block, PEOPLE) });
        let made = create(&rig, &token, &body).await;
        let campaign = made["id"].as_str().expect("an id").to_owned();
        step(&rig, &token, &campaign, "start").await.expect(200);
        for n in 0..PEOPLE {
            rig.wait_for_received(&person(block, n), 1).await;
        }
        disk.fail_after(0);
        let disk = disk.crash();
        rig.stop().await;
        faults(&rig, "DELETE", &Value::Null).await;
        faults(
            &rig,
            "POST",
            &json!({ "connectFailure": { "reason": 503 } }),
        )
        .await;
        rig.restart_made_of(deps(&clock, &disk)).await;
        let cut = Self {
            rig,
            clock,
            token,
            campaign,
        };
        assert_eq!(cut.show().await["statistics"]["sending"], PEOPLE);
        cut
    }

    async fn show(&self) -> Value {
        show(&self.rig, &self.token, &self.campaign).await
    }

    async fn connect(&self) {
        faults(&self.rig, "DELETE", &Value::Null).await;
        let path = "/api/v1/sessions/shop/reconnect";
        let call = self.rig.post(path, &json!({})).bearer(&self.token);
        call.send().await.expect(200);
        self.rig.wait_for_status("shop", "CONNECTED").await;
    }

    /// Waits until the gateway has made up its mind about what the power cut.
    async fn settled(&self) -> Value {
        eventually("nobody is in between", || async {
            let now = self.show().await;
            (now["statistics"]["sending"] == 0).then_some(now)
        })
        .await
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        let server = self.rig.server.as_ref().expect("running");
        server.gateway().wake_campaigns();
    }

    /// How often a phone got what it had.
    async fn repeated(&self) -> u64 {
        let stats = self.rig.stats().await;
        stats["duplicates"].as_u64().expect("a number")
    }

    async fn ends(&self, block: u32) {
        let done = wait_for(&self.rig, &self.token, &self.campaign, "completed").await;
        assert_sums(&done);
        assert_eq!(done["statistics"]["sent"], PEOPLE, "{}", done["statistics"]);
        assert_each_once(&self.rig, block, PEOPLE, |n| format!("Ani {n}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paused_meanwhile_goes_when_it_is_resumed() {
    let cut = Cut::new("6281200002601", 80, json!({ "delayBetweenMessages": 0 })).await;
    let pause = step(&cut.rig, &cut.token, &cut.campaign, "pause").await;
    pause.expect(200);
    cut.connect().await;
    let now = cut.settled().await;
    assert_eq!(
        now["statistics"]["pending"], PEOPLE,
        "{}",
        now["statistics"]
    );
    assert_eq!(cut.repeated().await, 0);
    let resume = step(&cut.rig, &cut.token, &cut.campaign, "resume").await;
    resume.expect(200);
    cut.pass(Duration::from_secs(1));
    cut.ends(80).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_meanwhile_goes_no_more() {
    let cut = Cut::new("6281200002602", 81, json!({ "delayBetweenMessages": 0 })).await;
    let id = cut.show().await["recipients"][0]["messageId"].clone();
    let path = format!("/api/v1/campaigns/{}", cut.campaign);
    let delete = cut.rig.delete(&path).bearer(&cut.token);
    delete.send().await.expect(200);
    cut.connect().await;
    let path = format!(
        "/api/v1/messages/{}?sessionId=shop",
        id.as_str().expect("an id")
    );
    let settled = eventually("it is settled", || async {
        let row = cut.rig.get(&path).bearer(&cut.token).send().await;
        let row = row.expect(200);
        (row["delivery"] != "sending").then_some(row)
    })
    .await;
    assert_eq!(settled["delivery"], "failed", "{settled}");
    assert_eq!(cut.repeated().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_back_at_night_waits_and_who_wrote_stop_gets_no_more() {
    let settings = json!({ "delayBetweenMessages": 0, "timezone": "Asia/Jakarta",
        "quietHours": { "from": "21:00", "to": "08:00" } });
    let cut = Cut::new("6281200002603", 82, settings).await;
    cut.pass(Duration::from_secs(14 * 3600));
    let stop = json!({ "numbers": [person(82, 0)] });
    let stop = cut.rig.post("/api/v1/suppressions", &stop);
    stop.bearer(&cut.token).send().await.expect(200);
    cut.connect().await;
    let now = cut.settled().await;
    assert_eq!(
        now["statistics"]["pending"], PEOPLE,
        "{}",
        now["statistics"]
    );
    // The loop has been through when an ordinary message has gone since.
    cut.pass(Duration::from_secs(60));
    let text = cut
        .rig
        .send_text("shop", &cut.token, "6281299992603", "good night")
        .await;
    assert_eq!(text["status"], "success", "{text}");
    assert_eq!(cut.show().await["statistics"]["pending"], PEOPLE);
    assert_eq!(cut.repeated().await, 0);
    cut.pass(Duration::from_secs(10 * 3600));
    let done = wait_for(&cut.rig, &cut.token, &cut.campaign, "completed").await;
    assert_sums(&done);
    assert_eq!(
        done["recipients"][0]["error"],
        "the number asked for no more campaigns"
    );
    assert_eq!(done["statistics"]["sent"], PEOPLE - 1);
    eventually("the others got it again, under the same id", || async {
        (cut.repeated().await == u64::from(PEOPLE) - 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_messages_are_kept_is_not_forgotten() {
    let cut = Cut::new("6281200002604", 83, json!({ "delayBetweenMessages": 0 })).await;
    cut.pass(Duration::from_secs(30 * 24 * 3600));
    let gateway = cut.rig.server.as_ref().expect("running").gateway();
    let swept = gateway.forget_old(&CancellationToken::new()).await;
    swept.expect("swept");
    cut.connect().await;
    cut.settled().await;
    cut.pass(Duration::from_secs(1));
    cut.ends(83).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_message_is_damaged_gets_it_again_and_the_campaign_ends() {
    let cut = Cut::new("6281200002607", 86, json!({ "delayBetweenMessages": 0 })).await;
    let whose = cut.show().await["recipients"][0]["messageId"].clone();
    let id = whose.as_str().expect("an id");
    let mut messages = rows(&cut.rig, tables::MESSAGES);
    messages.retain(|(key, _)| String::from_utf8_lossy(key).contains(id));
    assert_eq!(messages.len(), 1);
    put(&cut.rig, tables::MESSAGES, messages[0].0.clone(), DAMAGED).await;
    cut.connect().await;
    cut.settled().await;
    cut.pass(Duration::from_secs(1));
    cut.ends(86).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_damaged_while_he_is_written_to_has_failed_and_the_campaign_ends() {
    let cut = Cut::new("6281200002608", 91, json!({ "delayBetweenMessages": 0 })).await;
    let states = rows(&cut.rig, tables::CAMPAIGN_STATES);
    let first = states.first().expect("a recipient").0.clone();
    put(&cut.rig, tables::CAMPAIGN_STATES, first, DAMAGED).await;
    cut.connect().await;
    cut.settled().await;
    cut.pass(Duration::from_secs(1));
    let done = wait_for(&cut.rig, &cut.token, &cut.campaign, "completed").await;
    assert_sums(&done);
    let said = &done["statistics"];
    assert_eq!((&said["sent"], &said["failed"]), (&json!(2), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_cut_short_leaves_nobody_waiting_in_a_completed_campaign() {
    let disk = SimulatedDisk::new();
    let on = |disk: &Arc<SimulatedDisk>| Some(Disk::Simulated(disk.clone()));
    let mut rig = Rig::on(on(&disk), |_| {}).await;
    let token = rig.pair("shop", "6281200002605").await;
    let stop = json!({ "numbers": [person(84, 0), person(84, 1)] });
    let stop = rig.post("/api/v1/suppressions", &stop);
    stop.bearer(&token).send().await.expect(200);
    let id = text_campaign(&rig, &token, "{{name}}", &people(84, 2)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    let done = wait_for(&rig, &token, &id, "completed").await;
    assert_eq!(done["statistics"]["failed"], 2);
    rig.stop().await;
    faults(
        &rig,
        "POST",
        &json!({ "connectFailure": { "reason": 503 } }),
    )
    .await;
    for operations in 0.. {
        let cut = disk.crash();
        rig.restart_on(on(&cut)).await;
        cut.fail_after(operations);
        let retry = step(&rig, &token, &id, "retry").await;
        let after = cut.crash();
        rig.restart_on(on(&after)).await;
        let now = show(&rig, &token, &id).await;
        assert!(
            now["status"] == "sending" || now["statistics"]["failed"] == 2,
            "cut after {operations} operations: {} {}",
            now["status"],
            now["statistics"]
        );
        if retry.status == 200 {
            assert_eq!(now["status"], "sending");
            return;
        }
        assert!(operations < 500, "it ends at last");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_that_a_full_disk_lost_hold_up_nobody_when_there_is_room_again() {
    let disk = SimulatedDisk::new();
    let rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let token = rig.pair("shop", "6281200002606").await;
    for n in 0..PEOPLE {
        let path = format!("/sandbox/phones/{}", person(85, n));
        let silent = json!({ "receipts": "none" });
        rig.sandbox("PUT", &path, &silent).await;
    }
    let other = "6281299992606";
    let path = format!("/sandbox/phones/{other}");
    rig.sandbox("PUT", &path, &json!({ "receipts": "none" }))
        .await;
    rig.send_text("shop", &token, other, "warm").await;
    let late = json!({ "delayAcks": 18_000, "count": 4 });
    faults(&rig, "POST", &late).await;
    let id = text_campaign(&rig, &token, "{{name}}", &people(85, PEOPLE)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    for n in 0..PEOPLE {
        rig.wait_for_received(&person(85, n), 1).await;
    }
    let (session, text) = (token.clone(), json!({ "body": "last" }));
    let body = json!({ "to": other, "type": "text", "text": text });
    let last = rig.post("/api/v1/messages?sessionId=shop", &body);
    let last = tokio::spawn(last.bearer(&session).send());
    rig.wait_for_received(other, 2).await;
    disk.fail_after(0);
    let write = json!({ "numbers": ["6281299990706"] });
    eventually("writes fail", || async {
        let write = rig.post("/api/v1/suppressions", &write).bearer(&token);
        (write.send().await.status == 503).then_some(())
    })
    .await;
    // Now all of them are acknowledged.
    faults(&rig, "DELETE", &json!({})).await;
    let last = last.await.expect("it ends").expect(200)[0].clone();
    assert!(last["note"].is_string(), "it could not be stored: {last}");
    assert_eq!(
        show(&rig, &token, &id).await["statistics"]["sending"],
        PEOPLE
    );
    disk.heal();
    rig.wait_until_ready().await;
    let done = wait_for(&rig, &token, &id, "completed").await;
    assert_eq!(done["statistics"]["sent"], PEOPLE, "{}", done["statistics"]);
    assert_each_once(&rig, 85, PEOPLE, |n| format!("Ani {n}")).await;
    // What was told of the other is stored too, without another start.
    let id = last["messageId"].as_str().expect("an id");
    let path = format!("/api/v1/messages/{id}?sessionId=shop");
    eventually("the other is sent", || async {
        let row = rig.get(&path).bearer(&token).send().await.expect(200);
        (row["delivery"] == "sent").then_some(())
    })
    .await;
}
