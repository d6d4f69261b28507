//! A campaign under random deeds of its owner, of WhatsApp, of the clock and of the power, against a
//! small model of what may happen: which steps are refused, and that in the end, when all is well
//! again, everybody was written to once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use warung::server::Deps;
use warung::store::Disk;
use warung::store::faults::SimulatedDisk;
use warung::time::{Clock, Timestamp};

use super::{assert_each_once, assert_sums, create, people, person, show, step};
use crate::kill::random;
use crate::support::{Rig, eventually, option};

/// Histories in CI; `MODEL_CASES` asks for more, `MODEL_SEED` for one of them again.
const CASES: u64 = 5;

const STEPS: u32 = 18;
const PEOPLE: u32 = 12;
const ACCOUNT: &str = "6281200002501";

/// One history.
struct History {
    rig: Rig,
    disk: Arc<SimulatedDisk>,
    clock: Clock,
    token: String,
    campaign: String,
    block: u32,
    seed: u64,
    told: Vec<String>,
}

fn deps(clock: &Clock, disk: &Arc<SimulatedDisk>) -> Deps {
    Deps {
        clock: clock.clone(),
        disk: Some(Disk::Simulated(disk.clone())),
        ..Deps::default()
    }
}

impl History {
    async fn begin(block: u32, mut seed: u64) -> Self {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let disk = SimulatedDisk::new();
        let rig = Rig::made_of(deps(&clock, &disk), |config| {
            config.ack_timeout = Duration::from_secs(1);
        })
        .await;
        let token = rig.pair("shop", ACCOUNT).await;
        for n in 0..PEOPLE {
            let receipts = ["none", "delivered", "read"][(random(&mut seed) % 3) as usize];
            let path = format!("/sandbox/phones/{}", person(block, n));
            rig.sandbox("PUT", &path, &json!({ "receipts": receipts }))
                .await;
        }
        let delay = [0, 0, 700][(random(&mut seed) % 3) as usize];
        let body = json!({ "name": "Model", "message": { "content": "{{name}}" }, "recipients": people(block, PEOPLE),
            "settings": { "delayBetweenMessages": delay, "retryDelay": 300, "maxRetries": 1 } });
        let made = create(&rig, &token, &body).await;
        let campaign = made["id"].as_str().expect("an id").to_owned();
        let told = vec![format!("delay {delay}")];
        Self {
            rig,
            disk,
            clock,
            token,
            campaign,
            block,
            seed,
            told,
        }
    }

    async fn status(&self) -> String {
        let now = show(&self.rig, &self.token, &self.campaign).await;
        now["status"].as_str().expect("a status").to_owned()
    }

    /// The owner asks for a step; the model says whether it may be refused.
    async fn ask(&mut self, what: &str) {
        let before = self.status().await;
        let answer = step(&self.rig, &self.token, &self.campaign, what).await;
        let may = match (what, before.as_str()) {
            ("start", "draft") | ("resume", "paused") => &[200][..],
            // It may have ended in this moment.
            ("pause", "sending") => &[200, 409],
            ("retry", "draft") => &[409],
            ("retry", _) => &[200],
            _ => &[409],
        };
        self.told
            .push(format!("{what} of {before}: {}", answer.status));
        assert!(may.contains(&answer.status), "{:?}", self.told);
    }

    async fn fault(&mut self, fault: Value) {
        self.told.push(fault.to_string());
        self.rig.sandbox("POST", "/sandbox/faults", &fault).await;
    }

    /// The program ends, in good order or with the power, and starts again.
    async fn restart(&mut self, power: bool) {
        self.told
            .push(if power { "power cut" } else { "restart" }.into());
        let disk = if power {
            self.disk.fail_after(0);
            self.disk.crash()
        } else {
            self.disk.clone()
        };
        self.rig.stop().await;
        self.disk = disk;
        self.rig
            .restart_made_of(deps(&self.clock, &self.disk))
            .await;
    }

    /// The disk fails after so many more deeds of its own, and is mended.
    async fn disk_fails(&mut self, after: u64) {
        self.told.push(format!("the disk fails after {after}"));
        self.disk.fail_after(after);
        self.write_answers(503).await;
        self.disk.heal();
        self.write_answers(200).await;
    }

    async fn write_answers(&mut self, status: u16) {
        // Who is listed already needs no write.
        let stranger = AtomicU64::new(random(&mut self.seed) % 1_000_000_000);
        eventually(&format!("a write is answered {status}"), || async {
            let n = stranger.fetch_add(1, Ordering::SeqCst);
            let stranger = json!({ "numbers": [format!("6290{n:010}")] });
            let write = self.rig.post("/api/v1/suppressions", &stranger);
            (write.bearer(&self.token).send().await.status == status).then_some(())
        })
        .await;
    }

    async fn log_out(&mut self) {
        self.told.push("logout".into());
        let path = format!("/sandbox/phones/{ACCOUNT}/logout");
        self.rig.sandbox("POST", &path, &json!({})).await;
        self.pair_again().await;
    }

    async fn pair_again(&self) {
        self.rig.wait_for_status("shop", "DISCONNECTED").await;
        let qr = eventually("a QR", || async {
            let path = "/api/v1/sessions/shop/qr";
            let answer = self.rig.get(path).bearer(&self.token).send().await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        let scan = json!({ "qr": qr["qr"], "phone": ACCOUNT });
        self.rig.sandbox("POST", "/sandbox/scan", &scan).await;
        self.rig.wait_for_status("shop", "CONNECTED").await;
    }

    async fn deed(&mut self) {
        let some = 1 + random(&mut self.seed) % 6;
        match random(&mut self.seed) % 15 {
            0 | 1 => self.ask("start").await,
            2 => self.ask("pause").await,
            3 | 4 => self.ask("resume").await,
            5 => self.ask("retry").await,
            6 => {
                self.fault(json!({ "refuse": { "code": 503 }, "count": some }))
                    .await
            }
            7 => {
                self.fault(json!({ "refuse": { "code": 429 }, "count": some }))
                    .await
            }
            8 => self.fault(json!({ "loseAcks": true, "count": some })).await,
            9 => self.fault(json!({ "drop": { "now": true } })).await,
            10 if some.is_multiple_of(2) => self.jump(Duration::from_secs(600 * some), false),
            // Further than any wait: a retry that seems a long way off is due then. A smaller step
            // back is waited for, an hour at the most, for which this test has no patience.
            10 => self.jump(Duration::from_secs(18_000 * some), true),
            11 => self.restart(false).await,
            12 => self.restart(true).await,
            13 => self.disk_fails(some).await,
            _ => self.log_out().await,
        }
    }

    fn jump(&mut self, by: Duration, back: bool) {
        self.told
            .push(format!("the clock jumps {by:?}, back: {back}"));
        if back {
            self.clock.set(self.clock.now().before(by));
        } else {
            self.clock.advance(by);
        }
    }

    /// The gateway sleeps by the machine's clock; the clock of this history has gone on since.
    fn wake(&self) {
        let server = self.rig.server.as_ref().expect("running");
        server.gateway().wake_campaigns();
    }

    /// What must hold at any time.
    async fn hold(&self) {
        for n in 0..PEOPLE {
            let got = self.rig.received(&person(self.block, n)).await;
            assert!(got.len() <= 1, "{n} got {got:?} after {:?}", self.told);
        }
    }

    /// Waits for the session; one that could not read its keys from a failing disk is started by hand.
    async fn connected(&self) {
        let path = "/api/v1/sessions/shop";
        eventually(&format!("the session after {:?}", self.told), || async {
            let row = self.rig.get(path).master().send().await.expect(200);
            (row["status"] == "CONNECTED").then_some(())
        })
        .await;
    }

    /// All is well again: everybody is written to, once.
    async fn end(mut self) {
        self.rig
            .sandbox("DELETE", "/sandbox/faults", &Value::Null)
            .await;
        self.connected().await;
        let done = eventually(&format!("the end of {:?}", self.told), || async {
            let now = show(&self.rig, &self.token, &self.campaign).await;
            self.wake();
            let next = match (now["status"].as_str(), now["statistics"]["failed"].as_u64()) {
                (Some("draft"), _) => "start",
                (Some("paused"), _) => "resume",
                (Some("completed"), Some(0)) => return Some(now),
                (Some("completed"), _) => "retry",
                _ => return None,
            };
            step(&self.rig, &self.token, &self.campaign, next).await;
            None
        })
        .await;
        assert_sums(&done);
        assert_eq!(done["statistics"]["sent"], PEOPLE, "{:?}", self.told);
        assert_each_once(&self.rig, self.block, PEOPLE, |n| format!("Ani {n}")).await;
        self.rig.stop().await;
        let problems = warung::store::check_simulated(&self.disk).expect("a store");
        assert!(problems.is_empty(), "{problems:?} after {:?}", self.told);
    }
}

async fn history(case: u64, seed: u64) {
    println!("MODEL_SEED={seed}");
    let mut history = History::begin(70 + case as u32, seed).await;
    // The clock of the gateway runs fast, so that delays and backoffs pass.
    let ends = Arc::new(AtomicBool::new(false));
    let ticking = tokio::spawn({
        let (clock, ends) = (history.clock.clone(), ends.clone());
        async move {
            while !ends.load(Ordering::SeqCst) {
                clock.advance(Duration::from_millis(400));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    for _ in 0..STEPS {
        history.deed().await;
        history.wake();
        history.hold().await;
    }
    history.end().await;
    ends.store(true, Ordering::SeqCst);
    ticking.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_everybody_is_written_to_once() {
    if let Some(seed) = option("MODEL_SEED").and_then(|seed| seed.parse().ok()) {
        return history(0, seed).await;
    }
    let cases = option("MODEL_CASES")
        .and_then(|n| n.parse().ok())
        .unwrap_or(CASES);
    let mut seed = u64::from(std::process::id());
    for case in 0..cases {
        let own = random(&mut seed);
        history(case % 900, own).await;
    }
}
