//! The real program, killed at random moments while files come in and go out.
//!
//! The claims: an upload that was answered is there, whole; the folder holds what the list names and
//! nothing else; a message answered as sent reached its phone once, with the right file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use warung::sandbox::Sandbox;

use crate::files::{FORM, form, sha256, upload_field};
use crate::kill::{Running, pair_with, random};
use crate::support::{Call, MASTER, eventually, option};

/// Rounds in CI; `MEDIA_KILL_ROUNDS` asks for more.
const ROUNDS: u32 = 12;

/// What was promised: files that are there by their ids, and messages that were sent by theirs.
#[derive(Default)]
struct Promises {
    files: BTreeMap<String, Vec<u8>>,
    gone: Vec<String>,
    sent: BTreeMap<String, String>,
}

/// A PDF that differs from all others, small or large.
fn document(seed: &mut u64) -> Vec<u8> {
    let mut bytes = format!("%PDF-1.4\n% {}\n", random(seed)).into_bytes();
    let size = 1000 + (random(seed) % 1_500_000) as usize;
    bytes.resize(size, b' ');
    bytes
}

/// Uploads, sends and deletes until the program is gone.
async fn work(
    addr: std::net::SocketAddr,
    promises: Arc<Mutex<Promises>>,
    ends: Arc<AtomicBool>,
    mut seed: u64,
) {
    let call =
        |method: &str, path: &str| Call::new(addr, method, path).header("x-master-key", MASTER);
    while !ends.load(Ordering::SeqCst) {
        let bytes = document(&mut seed);
        let upload = call("POST", "/api/v1/media?sessionId=shop").header("content-type", FORM);
        let body = form(&[upload_field("a.pdf", &bytes)]);
        let Some(made) = upload
            .body(body)
            .try_send()
            .await
            .filter(|a| a.status == 201)
        else {
            continue;
        };
        let id = made.json()["mediaId"].as_str().expect("an id").to_owned();
        promises
            .lock()
            .await
            .files
            .insert(id.clone(), bytes.clone());
        let to = format!("62851990{:05}", random(&mut seed) % 20);
        let message = json!({ "to": to, "type": "document", "document": { "id": id } });
        let send = call("POST", "/api/v1/messages?sessionId=shop").json(&message);
        if let Some(sent) = send.try_send().await.filter(|a| a.status == 200) {
            let sent = sent.json()[0].clone();
            if sent["status"] == "success" {
                let message = sent["messageId"].as_str().expect("an id").to_owned();
                promises.lock().await.sent.insert(message, sha256(&bytes));
            }
        }
        if random(&mut seed).is_multiple_of(3) {
            // It may be deleted and the answer lost: it is promised no more either way.
            promises.lock().await.files.remove(&id);
            let delete = call("DELETE", &format!("/api/v1/media/{id}?sessionId=shop"));
            if delete.try_send().await.is_some_and(|a| a.status == 200) {
                promises.lock().await.gone.push(id);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_there_whole_or_not_at_all_after_kills() {
    let rounds: u32 = option("MEDIA_KILL_ROUNDS")
        .and_then(|n| n.parse().ok())
        .unwrap_or(ROUNDS);
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut running = Running::start(&data, &network).await;
    pair_with(&running, &network, "6281200001401").await;
    let mut seed = std::process::id().into();
    println!("seed {seed}");
    let promises: Arc<Mutex<Promises>> = Arc::default();
    for _ in 0..rounds {
        let ends = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let seed = random(&mut seed);
                tokio::spawn(work(running.addr, promises.clone(), ends.clone(), seed))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50 + random(&mut seed) % 300)).await;
        running.kill().await;
        ends.store(true, Ordering::SeqCst);
        for worker in workers {
            worker.await.expect("it ends");
        }
        let problems = warung::store::check(&data.join("warung.redb")).expect("the store opens");
        assert!(problems.is_empty(), "{problems:?}");
        running = Running::start(&data, &network).await;
        running.wait_connected().await;
        assert_folder(&running, &data).await;
    }
    assert_kept(&running, &network, &*promises.lock().await).await;
    running.kill().await;
}

/// The folder holds what the list names, and nothing else.
async fn assert_folder(running: &Running, data: &std::path::Path) {
    let mut named = std::collections::BTreeSet::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/media?sessionId=shop{after}");
        let page = running.call("GET", &path).send().await.expect(200);
        for file in page["files"].as_array().expect("files") {
            named.insert(file["sha256"].as_str().expect("a hash").to_owned());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let folder = data.join("media");
    let entries = std::fs::read_dir(&folder).expect("the folder").flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    let there: std::collections::BTreeSet<String> = names.filter(|n| n != "arriving").collect();
    assert_eq!(there, named);
    let arriving = std::fs::read_dir(folder.join("arriving")).expect("a folder");
    assert_eq!(arriving.count(), 0);
}

async fn assert_kept(running: &Running, network: &Sandbox, promises: &Promises) {
    assert!(
        promises.files.len() > 3 && promises.sent.len() > 3,
        "something happened"
    );
    for (id, bytes) in &promises.files {
        let path = format!("/media/{id}?sessionId=shop");
        let got = running.call("GET", &path).send().await;
        assert_eq!(got.status, 200, "{id}");
        assert!(got.body[..] == bytes[..], "{id} changed");
    }
    for id in &promises.gone {
        let path = format!("/media/{id}?sessionId=shop");
        assert_eq!(running.call("GET", &path).send().await.status, 404, "{id}");
    }
    let mut left = promises.sent.clone();
    for phone in 0..20 {
        let path = format!("/sandbox/phones/62851990{phone:05}/messages");
        let got = eventually("the phone's messages", || async {
            network.control("GET", &path, &Value::Null).await.ok()
        })
        .await;
        let mut seen = std::collections::BTreeSet::new();
        for message in got.as_array().expect("messages") {
            let id = message["id"].as_str().expect("an id");
            assert!(seen.insert(id.to_owned()), "{id} is shown twice");
            assert_eq!(message["opened"], true, "{message}");
            if let Some(hash) = left.remove(id) {
                assert_eq!(message["sha256"], hash, "{message}");
            }
        }
    }
    assert!(left.is_empty(), "sent and not received: {left:?}");
}
