//! What was acknowledged to somebody while the ground shook, and the check that it was kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use warung::sandbox::Sandbox;

use crate::support::{Call, PATIENCE, Sink, eventually};

/// Whom the gateway writes to.
pub const CUSTOMER: &str = "6281299999501";

/// Whom it writes to in this message: mostly somebody known, at times somebody new, since a new
/// session makes the library write down all that it holds.
fn receiver(round: u32, n: usize) -> String {
    match n % 4 {
        3 => format!("62813{round:05}{n:04}"),
        _ => CUSTOMER.to_owned(),
    }
}

/// Who writes to the gateway's account: two who did before, and two in each round who did not.
fn writers(round: u32) -> [String; 4] {
    let new = |n| format!("62814{round:05}{n:04}");
    [
        "6281299999502".into(),
        "6281299999503".into(),
        new(1),
        new(2),
    ]
}

/// Promises of the gateway to its client, and of the network to the phone that wrote.
#[derive(Default)]
pub struct Promises {
    /// By id: the phone and the text.
    sent: Mutex<BTreeMap<String, (String, String)>>,
    written: Mutex<BTreeSet<String>>,
}

/// One stretch of traffic, which ends when it is told to or when the server is gone.
#[derive(Clone)]
pub struct Traffic {
    pub promises: Arc<Promises>,
    pub round: u32,
    pub stop: Arc<AtomicBool>,
}

impl Traffic {
    pub fn new(promises: &Arc<Promises>, round: u32) -> Self {
        Self {
            promises: promises.clone(),
            round,
            stop: Arc::default(),
        }
    }

    pub fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Sends to the customer as the session `shop`, and notes what was answered as sent.
    pub async fn send(self, addr: SocketAddr) {
        for n in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let text = format!("round {} message {n}", self.round);
            let to = receiver(self.round, n);
            let body = json!({ "to": to, "type": "text", "text": { "body": text } });
            let call = Call::new(addr, "POST", "/api/v1/messages?sessionId=shop").master();
            let Some(answer) = call.json(&body).try_send().await else {
                return;
            };
            let row = if answer.status == 200 {
                answer.json()[0].clone()
            } else {
                Value::Null
            };
            if row["status"] != "success" {
                // The client sees an error, not a promise.
                assert!(
                    answer.status >= 400 || row["status"] == "error",
                    "{answer:?}"
                );
                continue;
            }
            let id = row["messageId"].as_str().expect("an id").to_owned();
            self.promises.sent.lock().await.insert(id, (to, text));
        }
    }

    /// Phones write to the account at once, and note what the network took.
    pub async fn write(self, network: Sandbox, account: &'static str) {
        let write = |writer| self.clone().write_as(writer, network.clone(), account);
        futures_util::future::join_all(writers(self.round).map(write)).await;
    }

    async fn write_as(self, writer: String, network: Sandbox, account: &'static str) {
        let path = format!("/sandbox/phones/{writer}/messages");
        for n in 0..20 {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let text = format!("from {writer}: round {} message {n}", self.round);
            let body = json!({ "to": account, "text": text });
            if network.control("POST", &path, &body).await.is_ok() {
                self.promises.written.lock().await.insert(text);
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
}

impl Promises {
    /// Waits until so many messages went out, and as many came in.
    pub async fn flow(&self, count: usize) {
        eventually("messages flow", || async {
            let (sent, written) = (
                self.sent.lock().await.len(),
                self.written.lock().await.len(),
            );
            (sent >= count && written >= count).then_some(())
        })
        .await;
    }

    /// Every message answered as sent was received once; every one that was written to us reached
    /// the webhook.
    pub async fn were_kept(&self, network: &Sandbox, sink: &Sink) {
        let (sent, written) = (self.sent.lock().await, self.written.lock().await);
        assert!(sent.len() > 10 && written.len() > 10, "messages flowed");
        let mut received: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let phones: BTreeSet<&String> = sent.values().map(|(phone, _)| phone).collect();
        for phone in phones {
            let path = format!("/sandbox/phones/{phone}/messages");
            let got = network.control("GET", &path, &Value::Null).await;
            for message in got.expect("a list").as_array().expect("an array") {
                let word = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
                received.entry(word("id")).or_default().push(word("text"));
            }
        }
        for (id, (_, text)) in sent.iter() {
            let texts = received.get(id);
            assert_eq!(
                texts,
                Some(&vec![text.clone()]),
                "{id} was answered as sent"
            );
        }
        let missing = || async {
            let all = sink.got().await;
            let text = |d: &crate::support::Delivered| {
                d.json()["data"]["text"].as_str().map(str::to_owned)
            };
            let seen: BTreeSet<String> = all.iter().filter_map(text).collect();
            let missing = written.difference(&seen).cloned();
            missing.collect::<Vec<String>>()
        };
        let all = async {
            while !missing().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            panic!("never at the webhook: {:?}", missing().await);
        }
        println!("{} sent, {} written, each once", sent.len(), written.len());
    }
}
