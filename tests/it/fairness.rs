//! Who waits for whom: receivers that hang, campaigns beside sends, what a crash interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warung::domain::event::publish::append;
use warung::server::Deps;
use warung::store::faults::SimulatedDisk;
use warung::store::{Disk, Durability, Read, tables};

use crate::campaigns::{at_once, create, people, person, show, step};
use crate::support::{Rig, Sink, eventually, opt_out};

/// More than there are slots for receivers that are not known.
const HANGING: usize = 300;

/// Receivers that take a connection and never answer. Tells how many tries came and how many ended.
#[derive(Clone, Default)]
struct Hanging {
    came: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Hanging {
    async fn one_more(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let hanging = self.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                hanging.came.fetch_add(1, Ordering::SeqCst);
                let ended = hanging.ended.clone();
                tokio::spawn(async move {
                    // Ends when the sender gives up.
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        url
    }
}

/// Records an event of a session.
async fn happen(rig: &Rig, session: u32, name: &str) {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let event = opt_out(name, gateway.clock().now());
    let write = gateway.store().write(Durability::Lazy, move |tx| {
        append(tx, warung::ids::SessionNumber(session), &event)
    });
    assert!(write.await.expect("written").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_hang_hold_up_no_other() {
    let rig = Rig::with(|config| {
        config.max_sessions = HANGING + 1;
        // No connection is ever made: the sessions are only there.
        config.whatsapp_url = Some("ws://127.0.0.1:9/ws/chat".into());
    })
    .await;
    let sink = Sink::new().await;
    rig.create("well").await;
    rig.hook("well", &sink.url, &["contact.optout"]).await;
    happen(&rig, 1, "well").await;
    sink.wait_for("contact.optout", 1).await;
    let hanging = Hanging::default();
    for n in 0..HANGING {
        let name = format!("hangs-{n}");
        rig.create(&name).await;
        let url = hanging.one_more().await;
        rig.hook(&name, &url, &["contact.optout"]).await;
    }
    for n in 0..HANGING {
        happen(&rig, n as u32 + 2, &format!("hangs-{n}")).await;
    }
    // All slots that they can have are taken, and stay taken for as long as a try may last.
    eventually("the slots are taken", || async {
        (hanging.came.load(Ordering::SeqCst) >= 64).then_some(())
    })
    .await;
    for count in 2..=10 {
        happen(&rig, 1, "well").await;
        sink.wait_for("contact.optout", count).await;
    }
    // It did not have to wait until they had given up one after the other.
    let ended = hanging.ended.load(Ordering::SeqCst);
    assert!(ended < HANGING / 2, "{ended} ended first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_has_its_share_beside_sends_without_a_pause() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000861").await;
    let stop = CancellationToken::new();
    let sent = Arc::new(AtomicU64::new(0));
    let mut senders = Vec::new();
    for n in 0..4 {
        let (stop, sent, token) = (stop.clone(), sent.clone(), token.clone());
        let phone = person(60, n);
        let text =
            |n: u32| json!({ "to": phone, "type": "text", "text": { "body": format!("{n}") } });
        let batch = Value::Array((0..10).map(text).collect());
        let call = rig
            .post("/api/v1/messages?sessionId=shop", &batch)
            .bearer(&token);
        senders.push(tokio::spawn(async move {
            while !stop.is_cancelled() {
                call.clone().send().await.expect(200);
                sent.fetch_add(10, Ordering::SeqCst);
            }
        }));
    }
    eventually("ordinary sends are steady", || async {
        (sent.load(Ordering::SeqCst) >= 40).then_some(())
    })
    .await;
    let body = json!({ "name": "Promo", "sessionId": "shop", "settings": at_once(),
        "message": { "type": "text", "content": "Halo" }, "recipients": people(61, 500) });
    let id = create(&rig, &token, &body).await["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let before = sent.load(Ordering::SeqCst);
    step(&rig, &token, &id, "start").await.expect(200);
    eventually("the campaign is through", || async {
        (show(&rig, &token, &id).await["status"] == "completed").then_some(())
    })
    .await;
    let beside = sent.load(Ordering::SeqCst) - before;
    stop.cancel();
    for sender in senders {
        sender.await.expect("a sender");
    }
    assert!(beside <= 10 * 500, "{beside} others went meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_interrupted_goes_out_in_its_order() {
    let disk = SimulatedDisk::new();
    let on = |disk: &Arc<SimulatedDisk>| Deps {
        disk: Some(Disk::Simulated(disk.clone())),
        ..Deps::default()
    };
    let patience = std::time::Duration::from_secs(3);
    let mut rig = Rig::made_of(on(&disk), |config| config.ack_timeout = patience).await;
    let token = rig.pair("shop", "6281200000862").await;
    let phone = "6281299999862";
    rig.send_text("shop", &token, phone, "warm").await;
    let fault = |body: Value| {
        let network = rig.network.clone();
        async move {
            let done = network.control("POST", "/sandbox/faults", &body).await;
            done.expect("a fault");
        }
    };
    fault(json!({ "connectFailure": { "reason": 503 } })).await;
    fault(json!({ "drop": { "afterMessages": 1 }, "count": 1 })).await;
    let text = |n: u32| json!({ "to": phone, "type": "text", "text": { "body": format!("n{n}") } });
    let batch = Value::Array((0..12).map(text).collect());
    let call = |rig: &Rig| {
        rig.post("/api/v1/messages?sessionId=shop", &batch)
            .header("idempotency-key", "the batch")
            .bearer(&token)
    };
    let first = tokio::spawn(call(&rig).try_send());
    rig.wait_for_received(phone, 2).await;
    let waiting = rig.server.as_ref().expect("running").gateway().clone();
    eventually("the batch is durable", || async {
        let rows = waiting
            .store()
            .read(|read| read.prefix(tables::OUTBOX, b"", None, 99));
        (rows.expect("read").len() == 12).then_some(())
    })
    .await;
    drop(waiting);
    disk.fail_after(0);
    let disk = disk.crash();
    rig.stop().await;
    first.abort();
    let done = rig
        .network
        .control("DELETE", "/sandbox/faults", &Value::Null);
    done.await.expect("none");
    rig.restart_made_of(on(&disk)).await;
    // The client asks again, as it should, while what was interrupted is on its way.
    let again = eventually("an answer", || async {
        let answer = call(&rig).send().await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    for row in again.as_array().expect("an array") {
        assert_eq!(row["status"], "success", "{again}");
    }
    let got = rig.wait_for_received(phone, 13).await;
    let got: Vec<_> = got.iter().filter_map(|m| m["text"].as_str()).collect();
    let wanted: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
    assert_eq!(got[1..], wanted);
}
