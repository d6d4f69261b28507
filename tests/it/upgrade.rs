//! A store of an older version, made by that version (`tests/files/stores/*.sh`), in the hands of
//! this one; and one of a newer version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use warung::domain::vault::key_bytes;
use warung::seal::Seal;
use warung::server::Deps;
use warung::store::{Disk, Durability, Read, Store, StoreOptions, tables};
use warung::time::{Clock, Timestamp};
use warung::wa::backend::seal_rows;

use crate::support::{Call, PATIENCE, Rig, Sink, eventually, program, read_events};

/// The key under which the fixtures were made.
const KEY: &str = "a-master-key-of-the-fixture";

/// A program that runs on a folder, and all that it has said so far.
struct Running {
    child: Child,
    addr: std::net::SocketAddr,
    log: PathBuf,
}

impl Running {
    async fn start(folder: &Path, name: &str) -> Self {
        let log = folder.join(name);
        let stderr = std::fs::File::create(&log).expect("a log");
        let mut child = command(folder)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let said = tokio::time::timeout(Duration::from_secs(30), async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(url) = line.strip_prefix("listening on http://") {
                    return url.to_owned();
                }
            }
            panic!("{}", std::fs::read_to_string(&log).expect("a log"))
        });
        let addr = said.await.expect("in time").parse().expect("an address");
        Self { child, addr, log }
    }

    fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.addr, method, path).header("x-master-key", KEY)
    }

    async fn get(&self, path: &str) -> Value {
        self.call("GET", path).send().await.expect(200)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    async fn stop(mut self) {
        let id = self.child.id().expect("it runs").to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(told.expect("kill runs").success());
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        assert!(ended.expect("in time").expect("it ends").success());
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .args(["sandbox", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.join("data"))
        .env("WARUNG_MASTER_KEY", KEY)
        .kill_on_drop(true);
    command
}

async fn unpacked(fixture: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files/stores")
        .join(fixture);
    let unpacking = Command::new("tar")
        .arg("-xzf")
        .arg(file)
        .arg("-C")
        .arg(folder.path())
        .status();
    assert!(unpacking.await.expect("tar runs").success());
    folder
}

fn store_file(folder: &Path) -> PathBuf {
    folder.join("data/warung.redb")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_schema_1_is_copied_migrated_and_loses_nothing() {
    migrates(1, "indexes the events").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_schema_2_is_copied_migrated_and_loses_nothing() {
    migrates(2, "cannot read sealed rows").await;
}

/// The files in which an older version's keys of WhatsApp can be read.
fn readable(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder.join("data")).expect("a folder");
    files
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && !path.ends_with("sandbox.journal"))
        .filter(|path| {
            let bytes = std::fs::read(path).expect("a file");
            bytes.windows(11).any(|part| part == b"\"noise_key\"")
        })
        .collect()
}

async fn migrates(schema: u32, word: &str) {
    let folder = unpacked(&format!("schema-{schema}.tar.gz")).await;
    assert_eq!(readable(folder.path()), [store_file(folder.path())]);
    let before = std::fs::read(store_file(folder.path())).expect("a store");
    let old = warung::store::check(&store_file(folder.path())).expect("checked");
    assert!(
        old.len() == 1 && old[0].contains("older version"),
        "{old:?}"
    );

    let running = Running::start(folder.path(), "first").await;
    eventually("the log says that events were written anew", || async {
        let said = "events of an older version were written anew";
        running.log().contains(said).then_some(())
    })
    .await;
    let log = running.log();
    for part in ["copied first", word, "is migrated", "were sealed"] {
        assert!(log.contains(part), "{part} in {log}");
    }
    for session in ["shop", "clinic"] {
        eventually(
            "the session is connected without another pairing",
            || async {
                let row = running.get(&format!("/api/v1/sessions/{session}")).await;
                (row["status"] == "CONNECTED").then_some(())
            },
        )
        .await;
    }
    let stream = running.call("GET", "/api/v1/events?lastEventId=0");
    let received = |event: &&Value| event["event"] == "message.received";
    let events = read_events(stream, |got| got.iter().filter(received).count() == 3).await;
    let numbers: Vec<_> = events.iter().map(|event| event["id"].as_u64()).collect();
    assert!(numbers.is_sorted(), "in the log's order: {numbers:?}");
    let sessions: BTreeSet<_> = events
        .iter()
        .map(|event| event["sessionId"].as_str())
        .collect();
    assert_eq!(sessions, BTreeSet::from([Some("clinic"), Some("shop")]));
    let lists = running.get("/api/v1/recipient-lists?sessionId=shop").await;
    assert!(lists.to_string().contains("Guests"), "{lists}");
    let campaigns = running.get("/api/v1/campaigns?sessionId=shop").await;
    assert!(campaigns.to_string().contains("Opening"), "{campaigns}");
    let files = running.get("/api/v1/media?sessionId=shop").await;
    assert!(files.to_string().contains("prices.pdf"), "{files}");
    let text = json!({ "to": "6281200000101", "type": "text", "text": { "body": "after" } });
    let sent = running
        .call("POST", "/api/v1/messages?sessionId=shop")
        .json(&text);
    assert_eq!(sent.send().await.expect(200)[0]["status"], "success");
    let phone = running.get("/sandbox/phones/6281200000101/messages").await;
    let bodies: Vec<_> = phone
        .as_array()
        .expect("messages")
        .iter()
        .map(|m| &m["text"])
        .collect();
    assert_eq!(bodies, ["before 1", "after"]);
    running.stop().await;

    let problems = warung::store::check(&store_file(folder.path())).expect("checked");
    assert!(problems.is_empty(), "{problems:?}");
    assert!(readable(folder.path()).is_empty(), "no key of WhatsApp");
    let copy = folder
        .path()
        .join(format!("data/warung.redb.schema-{schema}"));
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    std::fs::copy(
        folder.path().join("data/secret.key"),
        elsewhere.join("secret.key"),
    )
    .expect("copied");
    let mut restoring = Command::new(program());
    restoring.arg("restore").arg(&copy).arg("--data");
    let restored = restoring.arg(&elsewhere).status().await;
    assert!(restored.expect("it runs").success());
    let kept = warung::store::check(&elsewhere.join("warung.redb"));
    assert_eq!(kept.expect("the copy is a store of the old version"), old);
    assert_ne!(
        std::fs::read(store_file(folder.path())).expect("a store"),
        before
    );

    let again = Running::start(folder.path(), "second").await;
    assert!(!again.log().contains("migrat"), "{}", again.log());
    assert!(!again.log().contains("sealed"), "{}", again.log());
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_store_is_not_sealed_under_a_key_that_is_not_its_own() {
    let folder = unpacked("schema-2.tar.gz").await;
    let key = folder.path().join("data/secret.key");
    let right = std::fs::read(&key).expect("a key");
    std::fs::write(&key, "ab".repeat(32)).expect("written");
    let started = command(folder.path()).output();
    let output = tokio::time::timeout(Duration::from_secs(30), started).await;
    let output = output.expect("in time").expect("it runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("does not belong to this store"), "{words}");
    std::fs::write(&key, right).expect("written");
    let running = Running::start(folder.path(), "with the right key").await;
    eventually("connected", || async {
        let row = running.get("/api/v1/sessions/shop").await;
        (row["status"] == "CONNECTED").then_some(())
    })
    .await;
    running.stop().await;
    assert!(readable(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_last_row_was_sealed_leaves_no_key_readable() {
    let folder = unpacked("schema-2.tar.gz").await;
    let key = std::fs::read_to_string(folder.path().join("data/secret.key")).expect("a key");
    let key = key_bytes(key.trim()).expect("a key");
    let path = store_file(folder.path());
    let store = Store::open(Disk::File(path.clone()), StoreOptions::default()).expect("opened");
    let sealed = seal_rows(&store, &Seal::new(&key)).await.expect("sealed");
    assert!(sealed > 0);
    store.close().await;
    drop(store);
    assert!(
        readable(folder.path()).contains(&path),
        "free pages hold what was there before"
    );
    let running = Running::start(folder.path(), "after the crash").await;
    running.stop().await;
    assert!(readable(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_version_is_refused_with_a_sentence() {
    let folder = unpacked("schema-1.tar.gz").await;
    let path = store_file(folder.path());
    let store = Store::open(Disk::File(path.clone()), StoreOptions::default()).expect("opened");
    store
        .write(Durability::Sync, |tx| {
            tx.put(tables::META, *b"schema", 99u32.to_be_bytes());
            Ok(())
        })
        .await
        .expect("written");
    store.close().await;
    drop(store);
    let started = command(folder.path()).output();
    let output = tokio::time::timeout(Duration::from_secs(30), started).await;
    let output = output.expect("in time").expect("it runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        words.contains("newer version") && words.contains("schema 99"),
        "{words}"
    );
    let problems = warung::store::check(&path).expect("checked");
    assert!(
        problems.len() == 1 && problems[0].contains("newer version"),
        "{problems:?}"
    );
}

/// What events and deliveries of an older version's store must look like: in a file beside it, as that
/// version told them. A file that is not there is written, by whichever version runs.
fn must_be(fixture: &str, told: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files/stores")
        .join(fixture);
    let Ok(wanted) = std::fs::read_to_string(&file) else {
        std::fs::write(&file, told).expect("written");
        panic!("{fixture} was not there and is written: look whether it is right");
    };
    for (told, wanted) in told.split("\n\n").zip(wanted.split("\n\n")) {
        assert_eq!(told, wanted, "{fixture}");
    }
    assert_eq!(told.len(), wanted.len(), "{fixture}");
}

/// Reads a stream of events to the one with this number, as it comes.
async fn raw_events(call: Call, last: u64) -> String {
    let mut body = call.open().await.into_body();
    let mut text = String::new();
    let (mut end, head) = (None, format!("\nid: {last}\n"));
    while end.is_none() {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        let frame = frame.unwrap_or_else(|_| panic!("{last} is told: {text}"));
        let frame = frame.expect("the stream goes on").expect("no error");
        text.push_str(std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8"));
        let at = text.find(&head).map(|at| at + head.len());
        end = at.and_then(|at| Some(at + text[at..].find("\n\n")? + 2));
    }
    text.truncate(end.expect("an end"));
    text
}

/// The number of the last event in the log of schema 3's store, and when it happened.
const LAST: (u64, i64) = (1_048_653, 1_795_293_675_195);

/// The events that schema 3 had.
const KINDS: [&str; 13] = [
    "session.update",
    "message.received",
    "message.status",
    "message.edited",
    "message.deleted",
    "message.reaction",
    "message.media",
    "poll.vote",
    "campaign.progress",
    "campaign.status",
    "contact.optout",
    "call.offer",
    "group.update",
];

#[tokio::test(flavor = "multi_thread")]
async fn events_and_deliveries_of_a_store_of_schema_3_are_told_to_the_byte() {
    let folder = unpacked("schema-3.tar.gz").await;
    let (last, at) = LAST;
    // Nothing is due before the hook is heard.
    let clock = Clock::manual(Timestamp::from_ms(at));
    let deps = Deps {
        clock: clock.clone(),
        ..Deps::default()
    };
    let mut rig = Rig::made_of(deps, |config| config.data = folder.path().join("data")).await;
    let sink = Sink::new().await;
    let shown = rig.get("/api/v1/webhook?sessionId=shop").master();
    let shown = shown.send().await.expect(200);
    assert_eq!(shown["url"], "http://127.0.0.1:9/nobody", "{shown}");

    let stream = rig.get("/api/v1/events?lastEventId=0").master();
    let events = raw_events(stream, last).await;
    for name in KINDS {
        assert!(events.contains(&format!("\nevent: {name}\n")), "no {name}");
    }
    must_be("schema-3.events", &events);
    // Now from what was written anew.
    let gateway = rig.server.as_ref().expect("running").gateway();
    eventually("every event is typed", || async {
        let rows = gateway
            .store()
            .read(|read| read.prefix(tables::EVENTS, b"", None, 9999));
        let versions = rows.expect("read").into_iter().map(|(_, row)| row[0]);
        versions
            .collect::<BTreeSet<_>>()
            .eq(&BTreeSet::from([2]))
            .then_some(())
    })
    .await;
    let stream = rig.get("/api/v1/events?lastEventId=0").master();
    must_be("schema-3.events", &raw_events(stream, last).await);

    // The address is another one, where somebody answers; the secret and what waits stay.
    let hook = json!({ "sessionId": "shop", "url": sink.url });
    clock.advance(Duration::from_secs(3600));
    let set = rig.post("/api/v1/webhook", &hook).master().send();
    assert_eq!(set.await.expect(200)["secret"], Value::Null);
    let server = rig.server.as_ref().expect("running");
    server.gateway().delivery_queue().wake();
    let end = format!("shop-{last}");
    let delivered = eventually("all that waited", || async {
        let mut got = sink.got().await;
        let at = got.iter().position(|d| d.headers["x-webhook-id"] == end)?;
        got.truncate(at + 1);
        Some(got)
    })
    .await;
    let mut told = String::new();
    for delivery in &delivered {
        told += &format!("{} {}\n", delivery.method, delivery.path);
        for (name, value) in &delivery.headers {
            if !["host", "content-length", "user-agent"].contains(&name.as_str()) {
                told += &format!("{name}: {value}\n");
            }
        }
        told += &format!("{}\n\n", String::from_utf8_lossy(&delivery.body));
    }
    must_be("schema-3.deliveries", &told);

    let path = "/api/v1/webhook/deliveries?sessionId=shop&state=pending";
    eventually("none waits any more", || async {
        let list = rig.get(path).master().send().await.expect(200);
        list["deliveries"].as_array()?.is_empty().then_some(())
    })
    .await;
    rig.stop().await;
    let problems = warung::store::check(&store_file(folder.path())).expect("checked");
    assert!(problems.is_empty(), "{problems:?}");
}
