//! The power goes: a disk that loses all that was not synced, or fails, under the whole gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use warung::store::faults::SimulatedDisk;
use warung::store::{self, Disk};

use crate::support::{Call, Rig, Sink, eventually};

const ACCOUNT: &str = "6281200000701";
const CUSTOMER: &str = "6281299999701";
const WRITER: &str = "6281299999702";

/// How often the power goes.
const ROUNDS: u64 = 8;

/// What was acknowledged to somebody, and so may not be lost.
#[derive(Default)]
struct Promised {
    sent: Mutex<BTreeMap<String, String>>,
    written: Mutex<BTreeSet<String>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_unsynced_writes_are() {
    let disk = SimulatedDisk::new();
    let mut rig = Rig::on(Some(Disk::Simulated(disk.clone())), |_| {}).await;
    let sink = Sink::new().await;
    let token = rig.pair("shop", ACCOUNT).await;
    let hook = json!({ "sessionId": "shop", "url": sink.url });
    rig.post("/api/v1/webhook", &hook)
        .bearer(&token)
        .send()
        .await
        .expect(200);
    let promised = Arc::new(Promised::default());
    let mut disk = disk;
    for round in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let sending = tokio::spawn(send(
            rig.addr(),
            token.clone(),
            round,
            promised.clone(),
            stop.clone(),
        ));
        let writing = tokio::spawn(write(
            rig.network.clone(),
            round,
            promised.clone(),
            stop.clone(),
        ));
        tokio::time::sleep(Duration::from_millis(80 + 37 * round)).await;
        // From here on nothing can be acknowledged: every write fails.
        disk.fail_after(0);
        let after = disk.crash();
        stop.store(true, Ordering::SeqCst);
        sending.await.expect("the sender ends");
        writing.await.expect("the phone ends");
        rig.stop().await;
        disk = after;
        rig.restart_on(Some(Disk::Simulated(disk.clone()))).await;
        rig.wait_for_status("shop", "CONNECTED").await;
    }
    verify(&rig, &sink, &promised).await;
}

async fn send(
    addr: std::net::SocketAddr,
    token: String,
    round: u64,
    promised: Arc<Promised>,
    stop: Arc<AtomicBool>,
) {
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let text = format!("round {round} message {n}");
        let body = json!({ "to": CUSTOMER, "type": "text", "text": { "body": text } });
        let call = Call::new(addr, "POST", "/api/v1/messages?sessionId=shop")
            .bearer(&token)
            .json(&body);
        let Some(answer) = call.try_send().await else {
            return;
        };
        if answer.status == 200 && answer.json()[0]["status"] == "success" {
            let id = answer.json()[0]["messageId"]
                .as_str()
                .expect("an id")
                .to_owned();
            promised.sent.lock().await.insert(id, text);
        } else {
            // The disk is gone: the client sees an error, not a promise.
            assert!(
                answer.status >= 400 || answer.json()[0]["status"] == "error",
                "{answer:?}"
            );
            return;
        }
    }
}

async fn write(
    network: warung::sandbox::Sandbox,
    round: u64,
    promised: Arc<Promised>,
    stop: Arc<AtomicBool>,
) {
    let path = format!("/sandbox/phones/{WRITER}/messages");
    for n in 0..15 {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let text = format!("from the phone: round {round} message {n}");
        let body = json!({ "to": ACCOUNT, "text": text });
        if network.control("POST", &path, &body).await.is_ok() {
            promised.written.lock().await.insert(text);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn verify(rig: &Rig, sink: &Sink, promised: &Promised) {
    let sent = promised.sent.lock().await;
    let written = promised.written.lock().await;
    assert!(sent.len() > 10 && written.len() > 10, "messages flowed");
    let got = rig.received(CUSTOMER).await;
    for (id, text) in sent.iter() {
        let texts: Vec<_> = got
            .iter()
            .filter(|m| m["id"] == id.as_str())
            .map(|m| &m["text"])
            .collect();
        assert_eq!(texts, [text], "{id} was answered as sent");
    }
    eventually("every message of the phone at the webhook", || async {
        let all = sink.got().await;
        let seen: BTreeSet<String> = all
            .iter()
            .filter_map(|d| d.json()["data"]["text"].as_str().map(str::to_owned))
            .collect();
        written.is_subset(&seen).then_some(())
    })
    .await;
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
    eventually("ready again", || async {
        (rig.get("/ready").send().await.status == 200).then_some(())
    })
    .await;
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
async fn a_second_process_on_the_same_folder_is_told_so() {
    let rig = Rig::new().await;
    let file = rig.config.data.join("warung.redb");
    let error = store::Store::open(Disk::File(file.clone()), store::Options::default());
    let text = error.err().expect("refused").to_string();
    assert!(text.contains("warung.redb"), "{text}");
}
