//! The power goes: a disk that loses all that was not synced, or fails, under the whole gateway.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use warung::store::faults::SimulatedDisk;
use warung::store::{self, Disk};

use crate::promises::{CUSTOMER, Promises, Traffic};
use crate::support::{Rig, Sink, eventually};

const ACCOUNT: &str = "6281200000701";

/// How often the power goes.
const ROUNDS: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_unsynced_writes_are() {
    let disk = SimulatedDisk::new();
    let mut rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let sink = Sink::new().await;
    rig.pair("shop", ACCOUNT).await;
    rig.hook("shop", &sink.url, &[]).await;
    let promises = Arc::<Promises>::default();
    let mut disk = disk;
    for round in 0..ROUNDS {
        let traffic = Traffic::new(&promises, round);
        let sending = tokio::spawn(traffic.clone().send(rig.addr()));
        let writing = tokio::spawn(traffic.clone().write(rig.network.clone(), ACCOUNT));
        tokio::time::sleep(Duration::from_millis(80 + 37 * u64::from(round))).await;
        promises.flow(2 * (round as usize + 1)).await;
        // From here on nothing can be acknowledged: every write fails.
        disk.fail_after(0);
        let after = disk.crash();
        traffic.end();
        sending.await.expect("the sender ends");
        writing.await.expect("the phone ends");
        rig.stop().await;
        disk = after;
        rig.restart_on(Some(Disk::Simulated(disk.clone()))).await;
        rig.wait_for_status("shop", "CONNECTED").await;
    }
    promises.were_kept(&rig.network, &sink).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_is_an_error_the_client_sees_and_it_heals() {
    let disk = SimulatedDisk::new();
    let rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let token = rig.pair("shop", ACCOUNT).await;
    disk.fail_after(0);
    let message = json!({ "to": CUSTOMER, "type": "text", "text": { "body": "into the void" } });
    let failed = eventually("a refusal", || async {
        let answer = rig
            .post("/api/v1/messages?sessionId=shop", &message)
            .bearer(&token)
            .send()
            .await;
        (answer.status == 503).then(|| answer.json())
    })
    .await;
    assert_eq!(failed["status"], "error");
    eventually("not ready", || async {
        (rig.get("/ready").send().await.status == 503).then_some(())
    })
    .await;
    disk.heal();
    rig.wait_until_ready().await;
    let sent = eventually("a message after the disk healed", || async {
        let answer = rig
            .post("/api/v1/messages?sessionId=shop", &message)
            .bearer(&token)
            .send()
            .await;
        (answer.status == 200 && answer.json()[0]["status"] == "success").then(|| answer.json())
    })
    .await;
    let id: &Value = &sent[0]["messageId"];
    eventually("it at the phone", || async {
        rig.received(CUSTOMER)
            .await
            .iter()
            .any(|m| m["id"] == *id)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_while_the_disk_fails_is_told_when_it_works_again() {
    let disk = SimulatedDisk::new();
    let rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    rig.pair("shop", ACCOUNT).await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &[]).await;
    let writers: Vec<String> = (0..5).map(|n| format!("628129999071{n}")).collect();
    let write = async |writer: &str, text: String| {
        let path = format!("/sandbox/phones/{writer}/messages");
        rig.sandbox("POST", &path, &json!({ "to": ACCOUNT, "text": text }))
            .await;
    };
    for writer in &writers {
        write(writer, format!("before, by {writer}")).await;
    }
    sink.wait_for("message.received", writers.len()).await;
    disk.fail_after(0);
    for n in 0..3 {
        for writer in &writers {
            write(writer, format!("{n}, by {writer}")).await;
        }
    }
    eventually("the store known to fail, and what waits for it", || async {
        let answer = rig.get("/ready").send().await;
        let words = String::from_utf8_lossy(&answer.body).into_owned();
        (answer.status == 503 && words.contains("wait for it")).then_some(())
    })
    .await;
    disk.heal();
    // No new connection is needed: what waited is told.
    sink.wait_for("message.received", 4 * writers.len()).await;
    rig.assert_all_understood().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_calls_and_groups_that_come_while_the_disk_fails_are_told_later() {
    let disk = SimulatedDisk::new();
    let rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let account = "6281200000704";
    let token = rig.pair("shop", account).await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &[]).await;
    let phone = format!("/sandbox/phones/{CUSTOMER}");
    rig.sandbox("PUT", &phone, &json!({ "receipts": "none" }))
        .await;
    let sent = rig.send_text("shop", &token, CUSTOMER, "one").await;
    let id = sent["messageId"].as_str().expect("an id").to_owned();
    disk.fail_after(0);
    let write = json!({ "numbers": ["6281299990704"] });
    eventually("writes fail", || async {
        let write = rig.post("/api/v1/suppressions", &write).bearer(&token);
        (write.send().await.status == 503).then_some(())
    })
    .await;
    rig.sandbox("POST", &format!("{phone}/read"), &json!({ "id": id }))
        .await;
    rig.sandbox("POST", &format!("{phone}/call"), &json!({ "to": account }))
        .await;
    let group = json!({ "subject": "RT 07", "participants": [CUSTOMER, account], "by": CUSTOMER });
    rig.sandbox("POST", "/sandbox/groups", &group).await;
    // All of it was handed over, and nothing comes twice.
    eventually("the network has nothing left", || async {
        let network = rig.sandbox("GET", "/sandbox", &Value::Null).await;
        (network["accounts"][0]["companions"][0]["waiting"] == 0).then_some(())
    })
    .await;
    disk.heal();
    rig.wait_until_ready().await;
    sink.wait_for("call.offer", 1).await;
    sink.wait_for("group.update", 1).await;
    let shown = format!("/api/v1/messages/{id}?sessionId=shop");
    eventually("it was read", || async {
        let row = rig.get(&shown).bearer(&token).send().await.expect(200);
        (row["delivery"] == "read").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pairing_that_meets_a_disk_that_fails_is_saved_later() {
    let disk = SimulatedDisk::new();
    let mut rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let account = "6281200000705";
    rig.create("shop").await;
    let qr = rig.get("/api/v1/sessions/shop/qr").master().send().await;
    assert_eq!(qr.status, 200);
    disk.fail_after(0);
    let scan = json!({ "sessionId": "shop", "phone": account });
    rig.sandbox("POST", "/sandbox/scan", &scan).await;
    // It is linked for the phone, and comes back as its companion.
    eventually("the phone's new companion", || async {
        let network = rig.sandbox("GET", "/sandbox", &Value::Null).await;
        let companion = &network["accounts"][0]["companions"][0];
        (companion["connected"] == true).then_some(())
    })
    .await;
    disk.heal();
    rig.wait_until_ready().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    rig.stop().await;
    rig.restart_on(Some(Disk::Simulated(disk))).await;
    rig.wait_for_status("shop", "CONNECTED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_ratchet_is_ahead_of_its_row_is_asked_for_again() {
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", ACCOUNT).await;
    let path = format!("/sandbox/phones/{CUSTOMER}/messages");
    let write = json!({ "to": ACCOUNT, "text": "before" });
    rig.sandbox("POST", &path, &write).await;
    rig.send_text("shop", &token, CUSTOMER, "an answer").await;
    rig.sandbox("POST", "/sandbox/faults", &json!({ "loseReceipts": true }))
        .await;
    let sent = rig
        .sandbox(
            "POST",
            &path,
            &json!({ "to": ACCOUNT, "text": "not to be lost" }),
        )
        .await;
    let id = sent["id"].as_str().expect("an id").to_owned();
    let told = format!("/api/v1/messages/{id}?sessionId=shop");
    eventually("it is stored", || async {
        let answer = rig.get(&told).bearer(&token).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
    rig.stop().await;
    // What a crash leaves between the library's write of the ratchet and ours of the message.
    let disk = Disk::File(rig.config.data.join("warung.redb"));
    let store = store::Store::open(disk, store::StoreOptions::default()).expect("the store opens");
    let wanted = id.clone();
    store
        .write(store::Durability::Sync, move |tx| {
            use store::Read as _;
            for (key, _) in tx.prefix(store::tables::MESSAGES, b"", None, usize::MAX)? {
                if String::from_utf8_lossy(&key).contains(&wanted) {
                    tx.delete(store::tables::MESSAGES, &key);
                }
            }
            Ok(())
        })
        .await
        .expect("the row is gone");
    store.close().await;
    rig.network
        .control("DELETE", "/sandbox/faults", &Value::Null)
        .await
        .expect("the faults are taken back");
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    eventually("it is stored again", || async {
        let answer = rig.get(&told).bearer(&token).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_is_told_so() {
    let rig = Rig::new().await;
    let file = rig.config.data.join("warung.redb");
    let error = store::Store::open(Disk::File(file), store::StoreOptions::default());
    let text = error.err().expect("refused").to_string();
    assert!(text.contains("warung.redb"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_is_answered_as_sent_though_it_cannot_be_written_down() {
    let disk = SimulatedDisk::new();
    let rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let token = rig.pair("shop", "6281200000702").await;
    rig.send_text("shop", &token, CUSTOMER, "warm").await;
    rig.sandbox("POST", "/sandbox/faults", &json!({ "delayAcks": 18_000 }))
        .await;
    let message = json!({ "to": CUSTOMER, "type": "text", "text": { "body": "sent" } });
    let call = rig.post("/api/v1/messages?sessionId=shop", &message);
    let sending = tokio::spawn(call.bearer(&token).send());
    rig.wait_for_received(CUSTOMER, 2).await;
    disk.fail_after(0);
    let write = json!({ "numbers": ["6281299990702"] });
    eventually("writes fail", || async {
        let write = rig.post("/api/v1/suppressions", &write).bearer(&token);
        (write.send().await.status == 503).then_some(())
    })
    .await;
    assert!(!sending.is_finished(), "the acknowledgement is on its way");
    rig.sandbox("DELETE", "/sandbox/faults", &json!({})).await;
    let result = sending.await.expect("it ends").expect(200)[0].clone();
    assert_eq!(result["status"], "success", "{result}");
    assert!(
        result["note"].as_str().expect("a note").contains("stored"),
        "{result}"
    );
    disk.heal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_is_asked_for_again_after_the_power_went_is_the_same_poll() {
    let disk = SimulatedDisk::new();
    let mut rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let token = rig.pair("shop", "6281200000703").await;
    let phone = "6281299990703";
    rig.sandbox(
        "PUT",
        &format!("/sandbox/phones/{phone}"),
        &json!({ "receipts": "none" }),
    )
    .await;
    rig.sandbox("POST", "/sandbox/faults", &json!({ "loseAcks": true }))
        .await;
    let poll = json!({ "to": phone, "type": "poll",
        "poll": { "question": "Kapan?", "options": ["Senin", "Selasa"] } });
    let ask = |rig: &Rig| {
        let call = rig.post("/api/v1/messages?sessionId=shop", &poll);
        call.bearer(&token).header("idempotency-key", "poll-1")
    };
    let first = tokio::spawn(ask(&rig).try_send());
    let id = rig.wait_for_received(phone, 1).await[0]["id"].clone();
    disk.fail_after(0);
    let disk = disk.crash();
    rig.stop().await;
    first.await.expect("it ends");
    let faults = rig
        .network
        .control("DELETE", "/sandbox/faults", &Value::Null);
    faults.await.expect("none");
    rig.restart_on(Some(Disk::Simulated(disk))).await;
    rig.wait_for_status("shop", "CONNECTED").await;
    let path = format!(
        "/api/v1/messages/{}?sessionId=shop",
        id.as_str().expect("an id")
    );
    let show = || async { rig.get(&path).bearer(&token).send().await.expect(200) };
    eventually("it went again", || async {
        (show().await["delivery"] == "sent").then_some(())
    })
    .await;
    let again = ask(&rig).send().await.expect(200)[0].clone();
    assert_eq!(again["status"], "success", "{again}");
    assert_eq!(again["messageId"], id);
    let vote = json!({ "messageId": id, "options": ["Selasa"] });
    rig.sandbox("POST", &format!("/sandbox/phones/{phone}/vote"), &vote)
        .await;
    eventually("the vote can be opened", || async {
        let row = show().await;
        (row["poll"]["options"][1]["votes"] == 1).then_some(())
    })
    .await;
    let stats = rig.stats().await;
    assert_eq!(
        stats["duplicates"], 1,
        "only the restart sent it again: {stats}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_deletion_cannot_be_written_stays_linked() {
    let disk = SimulatedDisk::new();
    let rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let token = rig.pair("shop", "6281200000705").await;
    disk.fail_after(0);
    let delete = || rig.delete("/api/v1/sessions/shop").master().send();
    delete().await.expect(503);
    disk.heal();
    rig.wait_until_ready().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    let sent = rig.send_text("shop", &token, CUSTOMER, "still here").await;
    assert_eq!(sent["status"], "success", "{sent}");
    delete().await.expect(200);
}
