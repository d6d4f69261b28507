//! Campaigns and lists: making them, paging through them, sending them.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{Bench, Gateway, decrypted, median, pair, request, wait};

fn people(count: u32) -> Vec<Value> {
    (0..count)
        .map(|n| json!({ "number": format!("62814{n:08}"), "name": format!("Person {n}"), "companyName": "Toko" }))
        .collect()
}

fn settings() -> Value {
    json!({ "delayBetweenMessages": 0 })
}

fn campaign(people: Value) -> Value {
    json!({ "name": "Bench", "sessionId": "shop", "settings": settings(),
        "message": { "content": "Halo {{Name}}, {pagi|siang}" }, "recipients": people })
}

/// Milliseconds that a request takes, and its answer.
fn timed(gateway: &Gateway, method: &str, path: &str, body: &str) -> (f64, Value) {
    let request = request(method, path, body);
    let mut connection = gateway.connect();
    let started = Instant::now();
    let answer = connection.ask(&request);
    let took = started.elapsed().as_secs_f64() * 1000.0;
    (took, serde_json::from_slice(&answer).expect("JSON"))
}

/// Making and sending campaigns.
pub(crate) fn campaigns(bench: &Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(bench, folder.path());
    pair(bench, &gateway, "shop", "6281200000004");
    making(&gateway);
    // Whoever was never written to needs keys, whose sessions are fsynced one by one.
    sending(bench, &gateway, 10_000, "to strangers");
    for count in [100, 1000, 10_000] {
        sending(bench, &gateway, count, "to people known before");
    }
}

fn making(gateway: &Gateway) {
    let lists = "/api/v1/recipient-lists?sessionId=shop";
    for count in [1000, 100_000] {
        let body = json!({ "name": "Bench", "recipients": people(count) }).to_string();
        let mut id = String::new();
        let times = (0..5).map(|_| {
            let (took, made) = timed(gateway, "POST", lists, &body);
            id = made["id"]
                .as_str()
                .unwrap_or_else(|| panic!("{made}"))
                .to_owned();
            took
        });
        println!(
            "recipient list of {count}: {:.1} ms",
            median(times.collect())
        );
        let page = format!(
            "/api/v1/recipient-lists/{id}?offset={}&limit=1000",
            count - 1000
        );
        let times = (0..5).map(|_| timed(gateway, "GET", &page, "").0);
        println!("its last page of 1,000: {:.1} ms", median(times.collect()));
        if count > 1000 {
            let mut body = campaign(Value::Null);
            body["recipientListId"] = json!(id);
            let body = body.to_string();
            let times = (0..5).map(|_| timed(gateway, "POST", "/api/v1/campaigns", &body).0);
            println!(
                "campaign of {count} from the list: {:.1} ms",
                median(times.collect())
            );
        }
    }
    for count in [10_000, 100_000] {
        let body = campaign(json!(people(count))).to_string();
        let times = (0..5).map(|_| timed(gateway, "POST", "/api/v1/campaigns", &body).0);
        println!("campaign of {count}: {:.1} ms", median(times.collect()));
    }
}

/// A whole campaign as fast as it goes: what each message costs must not depend on the size.
fn sending(bench: &Bench, gateway: &Gateway, count: u32, whom: &str) {
    let made = gateway.ask("POST", "/api/v1/campaigns", &campaign(json!(people(count))));
    let id = made["id"].as_str().expect("an id");
    let before = (
        decrypted(bench),
        gateway.metric("store_fsyncs_total"),
        gateway.metric("store_written_bytes_total"),
    );
    let started = Instant::now();
    gateway.ask("POST", &format!("/api/v1/campaigns/{id}/start"), &json!({}));
    wait(|| decrypted(bench) - before.0 >= u64::from(count));
    wait(|| {
        let path = format!("/api/v1/campaigns/{id}/status");
        gateway.ask("GET", &path, &Value::Null)["status"] == "completed"
    });
    let (seconds, count) = (started.elapsed().as_secs_f64(), f64::from(count));
    println!(
        "campaign of {count} sent {whom}: {:.0} per second; {:.3} fsyncs and {:.1} KiB written per message",
        count / seconds,
        (gateway.metric("store_fsyncs_total") - before.1) / count,
        (gateway.metric("store_written_bytes_total") - before.2) / count / 1024.0
    );
}
