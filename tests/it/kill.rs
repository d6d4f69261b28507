//! The real program, killed at random moments while messages flow both ways.
//!
//! The claims: every message answered as sent was received exactly once by its phone; every message
//! that a phone sent reached the webhook; the store is in order after every kill.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use warung::sandbox::Sandbox;

use crate::support::{Call, MASTER, Sink, eventually, program};

/// Rounds in CI; `KILL_ROUNDS` asks for more.
const ROUNDS: u32 = 20;

const ACCOUNT: &str = "6281200000501";
const CUSTOMER: &str = "6281299999501";
const WRITER: &str = "6281299999502";

/// A running program and where it listens.
struct Running {
    child: Child,
    addr: SocketAddr,
}

impl Running {
    async fn start(data: &std::path::Path, network: &Sandbox) -> Self {
        let mut child = Command::new(program())
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--master-key",
                MASTER,
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

    fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.addr, method, path).master()
    }

    async fn wait_connected(&self) {
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

    async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// A small generator: moments need not be unguessable, but differ from run to run.
fn random(state: &mut u64) -> u64 {
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
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    let written = Arc::new(Mutex::new(BTreeSet::new()));
    let mut running = Some(running);
    for round in 0..rounds {
        let now = running.take().expect("running");
        let stop = Arc::new(AtomicBool::new(false));
        let sending = tokio::spawn(send(now.addr, round, acknowledged.clone(), stop.clone()));
        let phone = tokio::spawn(write(network.clone(), round, written.clone(), stop.clone()));
        tokio::time::sleep(Duration::from_millis(50 + random(&mut seed) % 400)).await;
        now.kill().await;
        stop.store(true, Ordering::SeqCst);
        sending.await.expect("the sender ends");
        phone.await.expect("the phone ends");
        let problems = warung::store::check(&data.join("warung.redb")).expect("the store opens");
        assert!(problems.is_empty(), "round {round}: {problems:?}");
        let again = Running::start(&data, &network).await;
        again.wait_connected().await;
        running = Some(again);
    }
    verify(
        &network,
        &sink,
        &*acknowledged.lock().await,
        &*written.lock().await,
    )
    .await;
    running.expect("running").kill().await;
}

async fn pair(running: &Running, network: &Sandbox, sink: &Sink) {
    let made = running
        .call("POST", "/api/v1/sessions")
        .json(&json!({ "sessionId": "shop" }));
    made.send().await.expect(201);
    let qr = running
        .call("GET", "/api/v1/sessions/shop/qr")
        .send()
        .await
        .expect(200);
    let scan = json!({ "qr": qr["qr"], "phone": ACCOUNT });
    network
        .control("POST", "/sandbox/scan", &scan)
        .await
        .expect("scanned");
    running.wait_connected().await;
    let hook = json!({ "sessionId": "shop", "url": sink.url });
    running
        .call("POST", "/api/v1/webhook")
        .json(&hook)
        .send()
        .await
        .expect(200);
}

/// Sends until the program dies, and notes what was answered as sent.
async fn send(
    addr: SocketAddr,
    round: u32,
    acknowledged: Arc<Mutex<BTreeMap<String, String>>>,
    stop: Arc<AtomicBool>,
) {
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let text = format!("round {round} message {n}");
        let body = json!({ "to": CUSTOMER, "type": "text", "text": { "body": text } });
        let call = Call::new(addr, "POST", "/api/v1/messages?sessionId=shop")
            .master()
            .json(&body);
        let Some(answer) = call.try_send().await else {
            return;
        };
        if answer.status == 200 && answer.json()[0]["status"] == "success" {
            let id = answer.json()[0]["messageId"]
                .as_str()
                .expect("an id")
                .to_owned();
            acknowledged.lock().await.insert(id, text);
        }
    }
}

/// A phone writes to the account, all the time.
async fn write(
    network: Sandbox,
    round: u32,
    written: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
) {
    let path = format!("/sandbox/phones/{WRITER}/messages");
    for n in 0..20 {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let text = format!("from the phone: round {round} message {n}");
        let body = json!({ "to": ACCOUNT, "text": text });
        if network.control("POST", &path, &body).await.is_ok() {
            written.lock().await.insert(text);
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

async fn verify(
    network: &Sandbox,
    sink: &Sink,
    acknowledged: &BTreeMap<String, String>,
    written: &BTreeSet<String>,
) {
    assert!(
        acknowledged.len() > 20 && written.len() > 20,
        "messages flowed"
    );
    let path = format!("/sandbox/phones/{CUSTOMER}/messages");
    let got = network
        .control("GET", &path, &serde_json::Value::Null)
        .await
        .expect("a list");
    let mut counts: BTreeMap<&str, (u32, &str)> = BTreeMap::new();
    for message in got.as_array().expect("an array") {
        let id = message["id"].as_str().expect("an id");
        let entry = counts
            .entry(id)
            .or_insert((0, message["text"].as_str().unwrap_or_default()));
        entry.0 += 1;
    }
    for (id, text) in acknowledged {
        assert_eq!(
            counts.get(id.as_str()),
            Some(&(1, text.as_str())),
            "{id} was answered as sent"
        );
    }
    eventually("every message of the phone at the webhook", || async {
        let seen: BTreeSet<String> = sink
            .got()
            .await
            .iter()
            .filter_map(|d| d.json()["data"]["text"].as_str().map(str::to_owned))
            .collect();
        written.is_subset(&seen).then_some(())
    })
    .await;
}
