//! A second, independent client on the same network: Baileys, unmodified.
//!
//! It needs Node 20 and `npm ci` in `tests/baileys`; where they are missing the test says so and
//! passes, since the program itself needs neither.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::{Rig, Sink};

/// A program that is a linked device by Baileys.
pub struct Baileys {
    child: Child,
    orders: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Baileys {
    fn start(url: &str, root: &str) -> Option<Self> {
        Self::run("@whiskeysockets/baileys", &[url, root])
    }

    /// One of a version that keeps its account in a folder.
    pub fn start_in(url: &str, root: &str, account: &Path, package: &str) -> Option<Self> {
        let account = account.to_str().expect("UTF-8");
        Self::run(package, &[url, root, account, package])
    }

    fn run(package: &str, arguments: &[&str]) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/baileys");
        if !folder.join("node_modules").join(package).exists() {
            println!("skipped: run `npm ci` in tests/baileys to try the second client");
            return None;
        }
        let mut child = Command::new("node")
            .current_dir(&folder)
            .arg("client.mjs")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let orders = child.stdin.take().expect("piped");
        let events = BufReader::new(child.stdout.take().expect("piped")).lines();
        Some(Self {
            child,
            orders,
            events,
        })
    }

    /// The next event of this kind.
    pub async fn hear(&mut self, kind: &str) -> Value {
        let find = async {
            loop {
                let line = self
                    .events
                    .next_line()
                    .await
                    .expect("readable")
                    .expect("it runs");
                let event: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
                assert!(event["error"].is_null(), "{event}");
                if !event[kind].is_null() {
                    return event[kind].clone();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(40), find)
            .await
            .expect(kind)
    }

    pub async fn send(&mut self, to: &str, text: &str) {
        let order = format!("{}\n", json!({ "to": to, "text": text }));
        self.orders
            .write_all(order.as_bytes())
            .await
            .expect("it listens");
    }

    /// Ends it in good order: what it knows is in its folder then.
    pub async fn stop(self) {
        let Self {
            mut child,
            orders,
            events: _events,
        } = self;
        drop(orders);
        child.wait().await.expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn baileys_pairs_with_the_network_and_talks_with_a_session_of_ours() {
    let rig = Rig::new().await;
    let overview = rig.sandbox("GET", "/sandbox", &Value::Null).await;
    let root = overview["rootKey"].as_str().expect("a key").to_owned();
    let Some(mut baileys) = Baileys::start(&rig.network.url(), &root) else {
        return;
    };
    let token = rig.pair("shop", "6281200000601").await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &[]).await;

    let qr = baileys.hear("qr").await;
    rig.sandbox(
        "POST",
        "/sandbox/scan",
        &json!({ "qr": qr, "phone": "6281200000602" }),
    )
    .await;
    baileys.hear("open").await;
    let sent = rig
        .send_text("shop", &token, "6281200000602", "halo Baileys")
        .await;
    assert_eq!(sent["status"], "success", "{sent}");
    assert_eq!(baileys.hear("message").await["text"], "halo Baileys");
    baileys
        .send("6281200000601@s.whatsapp.net", "halo Warung")
        .await;
    baileys.hear("sent").await;
    let got = sink.wait_for("message.received", 1).await;
    assert_eq!(got[0]["data"]["text"], "halo Warung");
    assert_eq!(got[0]["data"]["senderNumber"], "6281200000602");
    rig.assert_all_understood().await;
}
