//! The real program, killed or stopped at random moments while messages flow both ways.
//!
//! The claims: every message answered as sent was received exactly once by its phone; every message
//! that a phone sent reached the webhook; the store is in order after every kill.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use warung::sandbox::Sandbox;

use crate::promises::Traffic;
use crate::support::{Call, MASTER, Sink, eventually, program};

/// Rounds in CI; `KILL_ROUNDS` asks for more.
const ROUNDS: u32 = 20;

const ACCOUNT: &str = "6281200000501";

/// A running program and where it listens.
pub struct Running {
    child: Child,
    pub addr: SocketAddr,
}

impl Running {
    pub async fn start(data: &std::path::Path, network: &Sandbox) -> Self {
        let mut child = Command::new(program())
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--master-key",
                MASTER,
                "--guard",
                "off",
                "--log",
                "error",
            ])
            .arg("--data")
            .arg(data)
            .args([
                "--whatsapp-url",
                &network.url(),
                "--allow-private",
                "127.0.0.0/8",
            ])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let line = lines
                    .next_line()
                    .await
                    .expect("readable")
                    .expect("it says where it listens");
                if let Some(url) = line.strip_prefix("listening on http://") {
                    break url.to_owned();
                }
            }
        })
        .await
        .expect("it listens in time");
        Self {
            child,
            addr: line.parse().expect("an address"),
        }
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.addr, method, path).master()
    }

    pub async fn wait_connected(&self) {
        eventually("the session is connected", || async {
            let row = self
                .call("GET", "/api/v1/sessions/shop")
                .send()
                .await
                .expect(200);
            (row["status"] == "CONNECTED").then_some(())
        })
        .await;
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) {
        let id = self.child.id().expect("it runs").to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(told.expect("kill runs").success());
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait());
        let ended = ended.await.expect("it stops in time").expect("its end");
        assert!(ended.success(), "{ended}");
    }

    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// A small generator: moments need not be unguessable, but differ from run to run.
pub fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_doubled_by_kills() {
    let rounds = crate::support::option("KILL_ROUNDS")
        .and_then(|n| n.parse().ok())
        .unwrap_or(ROUNDS);
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let sink = Sink::new().await;
    let running = Running::start(&data, &network).await;
    pair(&running, &network, &sink).await;
    let mut seed = std::process::id().into();
    println!("seed {seed}");
    let promises = Arc::default();
    let mut running = Some(running);
    for round in 0..rounds {
        let now = running.take().expect("running");
        let traffic = Traffic::new(&promises, round);
        let sending = tokio::spawn(traffic.clone().send(now.addr));
        let phone = tokio::spawn(traffic.clone().write(network.clone(), ACCOUNT));
        tokio::time::sleep(Duration::from_millis(50 + random(&mut seed) % 400)).await;
        // Every upgrade is a clean stop: it may lose no more than a kill.
        if round % 4 == 3 {
            now.stop().await;
        } else {
            now.kill().await;
        }
        traffic.end();
        sending.await.expect("the sender ends");
        phone.await.expect("the phone ends");
        let problems = warung::store::check(&data.join("warung.redb")).expect("the store opens");
        assert!(problems.is_empty(), "round {round}: {problems:?}");
        let again = Running::start(&data, &network).await;
        again.wait_connected().await;
        running = Some(again);
    }
    promises.were_kept(&network, &sink).await;
    running.expect("running").kill().await;
}

/// Makes the session `shop` and has this phone scan its QR.
pub async fn pair_with(running: &Running, network: &Sandbox, phone: &str) {
    let made = running
        .call("POST", "/api/v1/sessions")
        .json(&json!({ "sessionId": "shop" }));
    made.send().await.expect(201);
    let qr = running
        .call("GET", "/api/v1/sessions/shop/qr")
        .send()
        .await
        .expect(200);
    let scan = json!({ "qr": qr["qr"], "phone": phone });
    network
        .control("POST", "/sandbox/scan", &scan)
        .await
        .expect("scanned");
    running.wait_connected().await;
}

async fn pair(running: &Running, network: &Sandbox, sink: &Sink) {
    pair_with(running, network, ACCOUNT).await;
    let hook = json!({ "sessionId": "shop", "url": sink.url, "events": ["*"] });
    running
        .call("POST", "/api/v1/webhook")
        .json(&hook)
        .send()
        .await
        .expect(200);
}
