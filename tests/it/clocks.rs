//! Clocks that are wrong: nothing is deleted, given up or held up because of one.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warung::server::Deps;
use warung::store::faults::SimulatedDisk;
use warung::store::{Disk, Durability, Read, tables};
use warung::time::{Clock, Timestamp};

use crate::support::{Rig, Sink, eventually};

const HOUR: Duration = Duration::from_secs(3600);
const PHONE: &str = "6281299999851";

/// What the clocks of the phones show.
fn now() -> Timestamp {
    Clock::system().now()
}

fn deps(clock: &Clock) -> Deps {
    Deps {
        clock: clock.clone(),
        ..Deps::default()
    }
}

async fn phone_sends(rig: &Rig, to: &str, text: &str) {
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let sent = json!({ "to": to, "text": text });
    rig.sandbox("POST", &path, &sent).await;
}

fn wake(rig: &Rig) {
    let gateway = rig.server.as_ref().expect("running").gateway();
    gateway.delivery_queue().wake();
}

async fn sweep(rig: &Rig) -> usize {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let swept = gateway.forget_old(&CancellationToken::new()).await;
    swept.expect("swept")
}

async fn log(rig: &Rig, token: &str) -> Vec<Value> {
    let path = "/api/v1/webhook/deliveries?sessionId=shop";
    let log = rig.get(path).bearer(token).send().await.expect(200);
    log["deliveries"].as_array().expect("an array").clone()
}

/// Waits until the newest delivery was tried so often.
async fn tried(rig: &Rig, token: &str, attempts: u64) -> Value {
    eventually("a try", || async {
        wake(rig);
        let newest = log(rig, token).await.into_iter().next_back()?;
        (newest["attempts"].as_u64() >= Some(attempts)).then_some(newest)
    })
    .await
}

/// Waits for so many messages at the receiver, while minutes pass, but not hours.
async fn delivered(rig: &Rig, clock: &Clock, sink: &Sink, count: usize) {
    let mut minutes = 0;
    while sink.got().await.len() < count {
        assert!(minutes < 90, "{} of {count} came", sink.got().await.len());
        clock.advance(Duration::from_secs(60));
        minutes += 1;
        wake(rig);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn rows(rig: &Rig, table: tables::Table) -> usize {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let rows = gateway
        .store()
        .read(|read| read.prefix(table, b"", None, 9999));
    rows.expect("read").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_in_the_year_2099_deletes_nothing_and_gives_nothing_up() {
    let clock = Clock::manual(now());
    let mut rig = Rig::made_of(deps(&clock), |_| {}).await;
    let token = rig.pair("shop", "6281200000851").await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    sink.answer(503);
    rig.send_text("shop", &token, PHONE, "kept").await;
    phone_sends(&rig, "6281200000851", "delivered late").await;
    tried(&rig, &token, 1).await;
    sweep(&rig).await;
    clock.advance(10 * HOUR);
    sweep(&rig).await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    gateway.note_time().await.expect("noted");
    let before = (rows(&rig, tables::EVENTS), rows(&rig, tables::MESSAGES));
    // The machine starts with a garbled clock, and so does the gateway.
    let right = clock.now();
    let wrong = Clock::manual(Timestamp::from_secs(4_070_908_800));
    rig.restart_made_of(deps(&wrong)).await;
    rig.wait_for_status("shop", "CONNECTED").await;
    wrong.advance(Duration::from_secs(75));
    assert_eq!(sweep(&rig).await, 0);
    tried(&rig, &token, 2).await;
    let ready = rig.get("/ready").send().await.expect(200);
    assert!(
        ready["clockAstraySeconds"].as_u64() > Some(1_000_000),
        "{ready}"
    );
    wrong.set(right.after(Duration::from_secs(75)));
    assert_eq!(sweep(&rig).await, 0);
    let after = (rows(&rig, tables::EVENTS), rows(&rig, tables::MESSAGES));
    assert!(after >= before, "{after:?} of {before:?}");
    sink.answer(200);
    delivered(&rig, &wrong, &sink, 1).await;
    let got = sink.wait_for("message.received", 1).await;
    assert_eq!(got[0]["data"]["text"], "delivered late");
    // What is dated 2099 has the right time since, and goes when its days have passed.
    wrong.advance(31 * 24 * HOUR);
    assert!(sweep(&rig).await > 0);
    assert_eq!(rows(&rig, tables::EVENTS), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_the_clock_was_set_is_delivered_and_kept() {
    let clock = Clock::manual(Timestamp::from_secs(45));
    clock.set_doubted(true);
    let rig = Rig::made_of(deps(&clock), |_| {}).await;
    let token = rig.pair("shop", "6281200000852").await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    sink.answer(503);
    for n in 0..3 {
        phone_sends(&rig, "6281200000852", &format!("in 1970: {n}")).await;
    }
    tried(&rig, &token, 1).await;
    clock.set_doubted(false);
    clock.set(now());
    tried(&rig, &token, 2).await;
    assert_eq!(sweep(&rig).await, 0);
    clock.advance(7 * HOUR);
    assert_eq!(sweep(&rig).await, 0);
    let newest = tried(&rig, &token, 3).await;
    assert_eq!(newest["status"], "pending");
    sink.answer(200);
    delivered(&rig, &clock, &sink, 3).await;
    assert!(rows(&rig, tables::EVENTS) >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_holds_up_no_delivery() {
    let clock = Clock::manual(now());
    let mut rig = Rig::made_of(deps(&clock), |_| {}).await;
    let token = rig.pair("shop", "6281200000853").await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    sink.answer(503);
    for n in 0..3 {
        phone_sends(&rig, "6281200000853", &format!("n{n}")).await;
    }
    tried(&rig, &token, 1).await;
    sink.answer(200);
    clock.set(now().before(3 * HOUR));
    // A try that was under way waits as long as it should by the new clock.
    delivered(&rig, &clock, &sink, 3).await;
    // And when it is set back while the gateway does not run.
    sink.answer(503);
    phone_sends(&rig, "6281200000853", "last").await;
    eventually("it was tried", || async {
        let newest = log(&rig, &token).await.into_iter().next()?;
        (newest["attempts"] == 1 && newest["status"] == "pending").then_some(())
    })
    .await;
    sink.answer(200);
    let back = Clock::manual(now().before(9 * HOUR));
    rig.restart_made_of(deps(&back)).await;
    sink.wait_for("message.received", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_for_days_is_given_up_with_what_is_as_old() {
    let clock = Clock::manual(now());
    let disk = Disk::Simulated(SimulatedDisk::new());
    let deps = Deps {
        disk: Some(disk),
        ..deps(&clock)
    };
    let rig = Rig::made_of(deps, |config| config.retention_days = 2).await;
    let token = rig.pair("shop", "6281200000854").await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    sink.answer(503);
    for n in 0..3 {
        phone_sends(&rig, "6281200000854", &format!("n{n}")).await;
    }
    let mut attempts = 1;
    loop {
        let oldest = tried(&rig, &token, attempts).await;
        if oldest["status"] == "dead" {
            break;
        }
        assert!(attempts < 100, "{oldest}");
        // The event is older than the settings say, and is needed.
        assert_eq!(oldest["status"], "pending");
        sweep(&rig).await;
        clock.advance(HOUR);
        attempts += 1;
    }
    assert!(attempts > 70, "given up after {attempts} tries");
    eventually("those behind it, after one try each", || async {
        wake(&rig);
        clock.advance(HOUR);
        let log = log(&rig, &token).await;
        let dead = log.iter().filter(|row| row["status"] == "dead");
        (dead.count() == 3).then_some(())
    })
    .await;
    // A new one has its own days.
    phone_sends(&rig, "6281200000854", "new").await;
    eventually("the new one is tried", || async {
        wake(&rig);
        let newest = log(&rig, &token).await.into_iter().next()?;
        (newest["status"] == "pending").then_some(())
    })
    .await;
    sink.answer(200);
    delivered(&rig, &clock, &sink, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_dated_anew_is_counted_as_what_it_takes_then() {
    const MISDATED: &[u8] = br#"{"chat":"6281299999852@s.whatsapp.net","sender":null,"at":0,"text":null,"sent":null,"progress":null,"refusal":null}"#;
    let rig = Rig::new().await;
    rig.create("shop").await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    let place = [
        &1u32.to_be_bytes()[..],
        b"3EB0AA\x006281299999852@s.whatsapp.net\0",
    ]
    .concat();
    let (row, key) = ([b"\x01", MISDATED].concat(), place.clone());
    let write = gateway.store().write(Durability::Sync, move |tx| {
        tx.put(tables::MESSAGES, key, row);
        Ok(())
    });
    write.await.expect("written");
    let counted = [&b"messages/"[..], &1u32.to_be_bytes()].concat();
    let read = |table, key: &[u8]| {
        gateway
            .store()
            .read(|read| read.get(table, key))
            .expect("read")
    };
    assert_eq!(
        read(tables::META, &counted),
        None,
        "it was put there past the count"
    );
    sweep(&rig).await;
    let row = read(tables::MESSAGES, &place).expect("it stays");
    let grown = row.len() as u64 - 1 - MISDATED.len() as u64;
    assert!(grown > 0, "its date is longer than it was");
    let count = read(tables::META, &counted).expect("it is counted");
    assert_eq!(count, grown.to_be_bytes());
}
