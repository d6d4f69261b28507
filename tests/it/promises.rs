//! What was acknowledged to somebody while the ground shook, and the check that it was kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use warung::sandbox::Sandbox;

use crate::support::{Call, Sink, eventually};

/// Whom the gateway writes to.
pub const CUSTOMER: &str = "6281299999501";

/// Who writes to the gateway's account.
const WRITER: &str = "6281299999502";

/// Promises of the gateway to its client, and of the network to the phone that wrote.
#[derive(Default)]
pub struct Promises {
    sent: Mutex<BTreeMap<String, String>>,
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
            let body = json!({ "to": CUSTOMER, "type": "text", "text": { "body": text } });
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
            self.promises.sent.lock().await.insert(id, text);
        }
    }

    /// A phone writes to the account, and notes what the network took.
    pub async fn write(self, network: Sandbox, account: &'static str) {
        let path = format!("/sandbox/phones/{WRITER}/messages");
        for n in 0..20 {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let text = format!("from the phone: round {} message {n}", self.round);
            let body = json!({ "to": account, "text": text });
            if network.control("POST", &path, &body).await.is_ok() {
                self.promises.written.lock().await.insert(text);
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
}

impl Promises {
    /// Every message answered as sent was received once; every one that was written to us reached
    /// the webhook.
    pub async fn were_kept(&self, network: &Sandbox, sink: &Sink) {
        let (sent, written) = (self.sent.lock().await, self.written.lock().await);
        assert!(sent.len() > 10 && written.len() > 10, "messages flowed");
        let path = format!("/sandbox/phones/{CUSTOMER}/messages");
        let got = network
            .control("GET", &path, &Value::Null)
            .await
            .expect("a list");
        let mut received: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for message in got.as_array().expect("an array") {
            let id = message["id"].as_str().expect("an id");
            received
                .entry(id)
                .or_default()
                .push(message["text"].as_str().unwrap_or_default());
        }
        for (id, text) in sent.iter() {
            let texts = received.get(id.as_str());
            assert_eq!(
                texts,
                Some(&vec![text.as_str()]),
                "{id} was answered as sent"
            );
        }
        eventually("every message of the phone at the webhook", || async {
            let all = sink.got().await;
            let text = |d: &crate::support::Delivered| {
                d.json()["data"]["text"].as_str().map(str::to_owned)
            };
            let seen: BTreeSet<String> = all.iter().filter_map(text).collect();
            written.is_subset(&seen).then_some(())
        })
        .await;
    }
}
