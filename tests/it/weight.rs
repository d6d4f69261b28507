//! What requests cost: memory of the real program, places that others need, room in the store.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use warung::sandbox::Sandbox;
use warung::store::{Read as _, tables};

use crate::kill::Running;
use crate::support::{Answer, Call, PATIENCE, Rig, Sink, eventually};

const MIB: usize = 1 << 20;

/// What a request may take beside twice its bytes: buffers, the store's cache, the answer.
const BESIDE: usize = 12 * MIB;

/// A number of `/proc/PID/status`, in bytes.
fn memory(pid: u32, name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let words = line.expect("a number").trim_start_matches(':');
    let kib = words.split_whitespace().next().expect("a number");
    kib.parse::<usize>().expect("a number") * 1024
}

/// So many bytes of this, between a beginning and an end.
fn body(begin: &str, again: &str, end: &str, bytes: usize) -> Bytes {
    let many = bytes.saturating_sub(begin.len() + end.len()) / again.len();
    [begin, &again.repeat(many), end].concat().into()
}

/// The program, and how much memory a request takes in it at most.
struct Scale {
    running: Running,
    _network: Sandbox,
    _folder: tempfile::TempDir,
}

impl Scale {
    async fn new() -> Self {
        let network = Sandbox::open(Default::default()).await.expect("a network");
        let folder = tempfile::tempdir().expect("a folder");
        let running = Running::start(&folder.path().join("data"), &network).await;
        let made = running.call("POST", "/api/v1/sessions");
        made.json(&json!({ "sessionId": "shop" }))
            .send()
            .await
            .expect(201);
        Self {
            running,
            _network: network,
            _folder: folder,
        }
    }

    fn post(&self, path: &str, body: Bytes) -> Call {
        let call = self.running.call("POST", path);
        call.header("content-type", "application/json").body(body)
    }

    /// Sends it, and answers how far memory rose while it was worked on.
    async fn weigh(&self, call: Call) -> (Answer, usize) {
        let pid = self.running.pid();
        // Forgets the peak of before.
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("our own process");
        let before = memory(pid, "VmRSS");
        let answer = call.send().await;
        (answer, memory(pid, "VmHWM").saturating_sub(before))
    }

    /// Requires an answer of this status, and that it took at most twice its bytes and a little.
    async fn bear(&self, what: &str, path: &str, body: Bytes, status: u16) {
        let bytes = body.len();
        let (answer, rise) = self.weigh(self.post(path, body)).await;
        let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
        println!(
            "{what}: {} KiB, {} KiB more: {} {text}",
            bytes / 1024,
            rise / 1024,
            answer.status
        );
        assert_eq!(answer.status, status, "{what}: {text}");
        assert!(
            rise <= 2 * bytes + BESIDE,
            "{what}: {bytes} bytes took {rise}"
        );
    }

    /// Requires that what the requests took is given back.
    async fn rest(&self, before: usize) {
        eventually("memory is given back", || async {
            let now = memory(self.running.pid(), "VmRSS");
            (now <= before + 24 * MIB).then_some(())
        })
        .await;
    }
}

const SEND: &str = "/api/v1/messages?sessionId=shop";
const LISTS: &str = "/api/v1/recipient-lists?sessionId=shop";
const RESTORE: &str = "/api/v1/restore?sessionId=shop";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_takes_no_more_memory_than_twice_its_bytes() {
    let scale = Scale::new().await;
    // The program's own pages are read once.
    for path in [SEND, LISTS, RESTORE] {
        scale.post(path, "[]".into()).send().await;
    }
    scale
        .post(
            LISTS,
            body("{\"recipients\":[", "6281234567890,", "1]}", MIB),
        )
        .send()
        .await;
    let before = memory(scale.running.pid(), "VmRSS");
    let bombs = body("[", "{\"a\":0},", "{}]", 15 * MIB);
    scale.bear("small elements", SEND, bombs, 400).await;
    let inner = body(
        "[{\"to\":\"6281234567890\",\"type\":\"text\",\"text\":[",
        "{\"a\":0},",
        "0]}]",
        15 * MIB,
    );
    scale.bear("one element of many", SEND, inner, 404).await;
    let deep = body("", "[", "", 15 * MIB);
    scale.bear("nested arrays", SEND, deep, 400).await;
    let deep = body("{\"x\":", "{\"a\":", "", 15 * MIB);
    scale.bear("nested objects", SEND, deep, 400).await;
    let long = "{\"to\":\"6281234567890\",\"type\":\"image\",\"image\":{\"base64\":\"";
    let escaped = body(long, "AAA\\/", "\"}}", 15 * MIB);
    scale.bear("a long text", SEND, escaped, 404).await;
    let twice = body("{\"to\":\"x\"", ",\"text\":[1,2,3,4]", "}", 15 * MIB);
    scale.bear("members twice", SEND, twice, 404).await;
    scale.rest(before).await;
    let rows = body("{\"recipients\":[", "{\"a\":0},", "{}]}", 31 * MIB);
    scale.bear("empty recipients", LISTS, rows, 400).await;
    let rows = body("{\"recipients\":[", "0,", "0]}", 31 * MIB);
    scale.bear("recipients of one byte", LISTS, rows, 400).await;
    let fields = body(
        "{\"recipients\":[{\"number\":\"6281234567890\"",
        ",\"a\":[{\"b\":{}}]",
        "}]}",
        31 * MIB,
    );
    scale
        .bear("a recipient with all fields", LISTS, fields, 400)
        .await;
    let other = body("{\"other\":[", "{\"a\":0},", "{}]}", 31 * MIB);
    scale.bear("other fields", LISTS, other, 413).await;
    let name = body("{\"", "\\u0041", "\":1}", 31 * MIB);
    scale.bear("a long name", LISTS, name, 201).await;
    scale.rest(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_sheets_and_backups_take_no_more_memory_than_twice_their_bytes() {
    let scale = Scale::new().await;
    let person = |n: u64| {
        format!(
            "{{\"number\":\"{}\",\"city\":\"Solo\"}}",
            6_281_200_000_000 + n
        )
    };
    let people = |many: u64| (0..many).map(person).collect::<Vec<_>>().join(",");
    let some = format!("{{\"recipients\":[{}]}}", people(1000));
    scale
        .post(LISTS, some.clone().into())
        .send()
        .await
        .expect(201);
    let document = |many| {
        format!(
            "{{\"version\":1,\"lists\":[{{\"name\":\"a\",\"recipients\":[{}]}}]}}",
            people(many)
        )
    };
    scale
        .post(RESTORE, document(1000).into())
        .send()
        .await
        .expect(201);
    let before = memory(scale.running.pid(), "VmRSS");
    let all = format!("{{\"recipients\":[{}]}}", people(100_000));
    scale
        .bear("as many recipients as may be", LISTS, all.into(), 201)
        .await;
    // However long a list is, a page of it is in memory.
    let lists = scale.running.call("GET", LISTS).send().await.expect(200);
    let longest = lists
        .as_array()
        .expect("lists")
        .iter()
        .find(|list| list["recipientCount"] == 100_000);
    let id = longest.expect("a long one")["id"].as_str().expect("an id");
    let path = format!("/api/v1/recipient-lists/{id}");
    let (answer, rise) = scale.weigh(scale.running.call("GET", &path)).await;
    println!(
        "read again: {} KiB, {} KiB more",
        answer.body.len() / 1024,
        rise / 1024
    );
    let people = answer.json()["recipients"].as_array().map(Vec::len);
    assert_eq!((answer.status, people), (200, Some(100_000)));
    assert!(rise <= 4 * MIB && answer.body.len() > 8 * MIB, "{rise}");
    scale
        .bear(
            "the same from a backup",
            RESTORE,
            document(100_000).into(),
            201,
        )
        .await;
    let lists = body(
        "{\"version\":1,\"lists\":[{\"name\":\"a\",\"x\":[",
        "{\"a\":0},",
        "0]}]}",
        40 * MIB,
    );
    scale.bear("a backup of nothing", RESTORE, lists, 413).await;
    let commas = body("number,name\n6281234567890,Budi", ",", "\n", 31 * MIB);
    let sheet = |sheet: &[u8]| {
        let head =
            "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n";
        Bytes::from([head.as_bytes(), sheet, b"\r\n--B--\r\n"].concat())
    };
    for (what, lines) in [
        ("commas", commas),
        ("short lines", body("number\n", "x\n", "", 31 * MIB)),
        ("one cell", body("number\n\"", "x", "", 31 * MIB)),
        (
            "an open quotation mark",
            body("number\n\"", "x\n", "", 31 * MIB),
        ),
        (
            "nothing",
            body("number\n", ",\n", "6281234567890", 31 * MIB),
        ),
    ] {
        let call = scale.running.call("POST", LISTS);
        let call = call.header("content-type", "multipart/form-data; boundary=B");
        let bytes = lines.len();
        let (answer, rise) = scale.weigh(call.body(sheet(&lines))).await;
        println!("{what}: {} KiB more: {}", rise / 1024, answer.status);
        assert!(
            answer.status == 400 || what == "nothing",
            "{what}: {}",
            answer.status
        );
        assert!(
            rise <= 2 * bytes + BESIDE,
            "{what}: {bytes} bytes took {rise}"
        );
    }
    scale.rest(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_credential_takes_next_to_no_memory() {
    let scale = Scale::new().await;
    let bombs = body("{\"a\":[", "{\"a\":0},", "0]}", 2 * MIB - 64);
    let call = || {
        let call = Call::new(scale.running.addr, "POST", "/api/send-message");
        let call = call.header("content-type", "application/json");
        call.body(bombs.clone())
    };
    let before = memory(scale.running.pid(), "VmRSS");
    std::fs::write(format!("/proc/{}/clear_refs", scale.running.pid()), "5").expect("our own");
    let all = futures_util::future::join_all((0..64).map(|_| call().send()));
    for answer in all.await {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    let rise = memory(scale.running.pid(), "VmHWM").saturating_sub(before);
    println!("64 at once: {} KiB more", rise / 1024);
    assert!(rise <= 32 * MIB, "{rise}");
    // A body that nobody may send is not even read.
    for path in [SEND, LISTS, RESTORE] {
        let call = Call::new(scale.running.addr, "POST", path).body(bombs.clone());
        assert_eq!(call.send().await.status, 401, "{path}");
    }
}

/// A server that says what it was asked and then drips a picture that never ends.
async fn dripping() -> (String, mpsc::UnboundedReceiver<mpsc::UnboundedReceiver<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "http://{}/a.png",
        listener.local_addr().expect("an address")
    );
    let (asked, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (open, closed) = mpsc::unbounded_channel();
            let _ = asked.send(closed);
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await;
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 9000000\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                // Ends when the other side closes.
                while stream.read(&mut asked).await.is_ok_and(|n| n > 0) {}
                drop(open);
            });
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_one_session_take_two_places_and_are_let_go_with_their_client() {
    let rig = Rig::with(|config| config.allow_private = vec!["127.0.0.0/8".into()]).await;
    let token = rig.pair("shop", "6281200007001").await;
    let other = rig.pair("other", "6281200007002").await;
    let (url, mut asked) = dripping().await;
    let link = |n: u32| {
        let image = json!({ "link": format!("{url}?{n}") });
        json!({ "to": "6281299997001", "type": "image", "image": image })
    };
    let send = |session: &str, token: &str| {
        let batch = Value::Array((0..8).map(link).collect());
        let path = format!("/api/v1/messages?sessionId={session}");
        tokio::spawn(rig.post(&path, &batch).bearer(token).send())
    };
    let first = send("shop", &token);
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(asked.recv().await.expect("a connection"));
    }
    // Those of the other come although the first session's others wait.
    let second = send("other", &other);
    for _ in 0..2 {
        open.push(asked.recv().await.expect("a connection"));
    }
    let sent = rig
        .send_text("shop", &token, "6281299997001", "meanwhile")
        .await;
    assert_eq!(sent["status"], "success", "{sent}");
    assert!(asked.try_recv().is_err(), "a third link of one session");
    first.abort();
    second.abort();
    for closed in &mut open {
        let closed = tokio::time::timeout(PATIENCE, closed.recv()).await;
        assert_eq!(closed.expect("it is let go"), None);
    }
    assert_eq!(rig.received("6281299997001").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_campaigns_and_messages_end_where_the_quota_does() {
    let rig = Rig::with(|config| config.store_quota = MIB as u64).await;
    let token = rig.pair("shop", "6281200007003").await;
    let other = rig.create("other").await;
    let people: Vec<Value> = (0..2000_u64)
        .map(|n| json!({ "number": format!("{}", 6_281_200_000_000 + n), "note": "x".repeat(300) }))
        .collect();
    let list = json!({ "name": "people", "recipients": people });
    let post = |path: &str, token: &str, body: &Value| rig.post(path, body).bearer(token).send();
    let lists = "/api/v1/recipient-lists";
    let made = post(lists, &token, &list).await.expect(201);
    let id = made["id"].as_str().expect("an id");
    let clone = format!("{lists}/{id}/clone");
    let refused = post(&clone, &token, &json!({})).await;
    let text = refused.expect(413)["message"].to_string();
    assert!(text.contains("store_quota"), "{text}");
    let campaign = json!({
        "name": "c", "message": { "type": "text", "content": "Hi" }, "recipientListId": id,
    });
    post("/api/v1/campaigns", &token, &campaign)
        .await
        .expect(413);
    post(lists, &token, &list).await.expect(413);
    post(
        &format!("{lists}/{id}/import"),
        &token,
        &json!({ "recipients": [{ "number": "6281300000000" }] }),
    )
    .await
    .expect(200);
    post(lists, &other, &list).await.expect(201);
    let smaller = json!({ "recipients": &people[..10] });
    let changed = Call::new(rig.addr(), "PUT", &format!("{lists}/{id}")).bearer(&token);
    changed.json(&smaller).send().await.expect(200);
    post(&clone, &token, &json!({})).await.expect(201);
    let campaign = post("/api/v1/campaigns", &token, &campaign)
        .await
        .expect(201);
    let copy = format!(
        "/api/v1/campaigns/{}/clone",
        campaign["id"].as_str().expect("an id")
    );
    post(&copy, &token, &json!({})).await.expect(201);
    // What was said counts too.
    let words = "w".repeat(4000);
    let text = json!({ "to": "6281299997003", "type": "text", "text": { "body": words } });
    for _ in 0..3 {
        rig.send("shop", &token, &Value::Array(vec![text.clone(); 100]))
            .await;
    }
    post(&copy, &token, &json!({})).await.expect(413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_recipient_makes_pages_short_and_loses_nobody() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let fields: serde_json::Map<String, Value> = (0..50)
        .map(|n| (format!("k{n}"), json!("y".repeat(1000))))
        .collect();
    let people: Vec<Value> = (0..200_u64)
        .map(|n| json!({ "number": format!("{}", 6_281_200_000_000 + n), "customFields": fields }))
        .collect();
    let call = rig
        .post("/api/v1/recipient-lists", &json!({ "recipients": people }))
        .bearer(&token);
    let mut page = call.send().await.expect(201);
    let path = format!(
        "/api/v1/recipient-lists/{}",
        page["id"].as_str().expect("an id")
    );
    let mut seen = 0;
    loop {
        let rows = page["recipients"].as_array().expect("rows").len();
        assert!(rows > 0 && rows < 150, "{rows}");
        seen += rows;
        let Some(next) = page["next"].as_u64() else {
            break;
        };
        assert_eq!(next as usize, seen);
        let call = rig
            .get(&format!("{path}?offset={next}&limit=10000"))
            .bearer(&token);
        page = call.send().await.expect(200);
    }
    assert_eq!(seen, 200);
    let export = rig
        .get(&format!("{path}/export"))
        .bearer(&token)
        .send()
        .await;
    assert_eq!(export.body.iter().filter(|b| **b == b'\n').count(), 201);
    let backup = rig
        .get("/api/v1/backup")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(
        backup["lists"][0]["recipients"]
            .as_array()
            .expect("rows")
            .len(),
        200
    );
    let restored = rig
        .post("/api/v1/restore", &backup)
        .bearer(&token)
        .send()
        .await
        .expect(201);
    assert_eq!(restored["lists"].as_array().expect("lists").len(), 1);
}

/// What the rows of all messages take, and what was counted for session number 1.
fn messages(rig: &Rig) -> (usize, u64) {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let read = gateway.store().read(|read| {
        let rows = read.prefix(tables::MESSAGES, b"", None, usize::MAX)?;
        let counted = read.get(
            tables::META,
            &[b"messages/".as_slice(), &1u32.to_be_bytes()].concat(),
        )?;
        let bytes = rows.iter().map(|(key, value)| key.len() + value.len());
        let counted = counted.map(|row| u64::from_be_bytes(row.try_into().expect("a number")));
        Ok((bytes.sum(), counted.unwrap_or(0)))
    });
    read.expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_messages_take_is_counted_to_the_byte() {
    let account = "6281200001701";
    let phone = "6281299991701";
    let rig = Rig::new().await;
    let token = rig.pair("shop", account).await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &[]).await;
    let auto = Call::new(rig.addr(), "PUT", "/api/v1/sessions/shop/settings")
        .json(&json!({ "autoDownload": true }));
    auto.bearer(&token).send().await.expect(200);
    let does = async |who: &str, what: &str, body: Value| {
        let path = format!("/sandbox/phones/{who}/{what}");
        rig.sandbox("POST", &path, &body).await
    };
    // Rows that grow: by receipts, by a file that is fetched, by a second message under the same id.
    let sent = rig.send_text("shop", &token, phone, "one").await;
    does(phone, "read", json!({ "id": sent["messageId"] })).await;
    let data = "JVBERi0xLjQKJSVFT0YK";
    let document = json!({ "data": data, "mimetype": "application/pdf", "fileName": "a.pdf" });
    does(
        phone,
        "messages",
        json!({ "to": account, "document": document }),
    )
    .await;
    let again = json!({ "to": account, "text": "longer than it was", "raw": { "id": "3A00" } });
    does(phone, "messages", again.clone()).await;
    does(phone, "messages", again).await;
    let own = does(account, "messages", json!({ "to": phone, "text": "own" })).await;
    sink.wait_for("message.media", 1).await;
    let shown = format!(
        "/api/v1/messages/{}?sessionId=shop",
        own["id"].as_str().expect("an id")
    );
    eventually("what the owner wrote", || async {
        let answer = rig.get(&shown).bearer(&token).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
    let id = sent["messageId"].as_str().expect("an id");
    let shown = format!("/api/v1/messages/{id}?sessionId=shop");
    eventually("it was read", || async {
        let row = rig.get(&shown).bearer(&token).send().await.expect(200);
        (row["delivery"] == "read").then_some(())
    })
    .await;
    let (bytes, counted) = messages(&rig);
    assert!(bytes > 500, "messages were stored: {bytes}");
    assert_eq!(counted, bytes as u64);
}
