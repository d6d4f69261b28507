//! A hostile phone: what it claims of its files, their places and names is not believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use warung::sandbox::Sandbox;
use warung::server::Deps;
use warung::store::{Disk, Durability, Store, StoreOptions, tables};

use crate::files::{base64, file, on_disk, sha256, upload, uploaded};
use crate::support::{Answer, Call, PATIENCE, Rig, Sink, eventually, program};

const CROOK: &str = "6281299991401";
const CUSTOMER: &str = "6281299991402";

/// The file that a crook would have sent in place of the price list, as long as `like`.
fn forgery(like: &[u8]) -> Vec<u8> {
    let mut bytes = b"%PDF-1.4\nPAY TO 666\n".to_vec();
    bytes.resize(like.len(), b' ');
    bytes
}

/// Pairs a session and has its events sent to a sink.
async fn paired(rig: &Rig, session: &str, account: &str) -> (Sink, String) {
    let sink = Sink::new().await;
    let token = rig.pair(session, account).await;
    rig.hook(session, &sink.url, &[]).await;
    (sink, token)
}

/// Sends a document with these claims; answers the event of its arrival.
async fn lies(rig: &Rig, sink: &Sink, to: &str, bytes: &[u8], raw: Value) -> Value {
    let document =
        json!({ "data": base64(bytes), "mimetype": "application/pdf", "fileName": "prices.pdf" });
    let body = json!({ "to": to, "document": document, "raw": raw });
    let path = format!("/sandbox/phones/{CROOK}/messages");
    let sent = rig.sandbox("POST", &path, &body).await;
    event(
        sink,
        "message.received",
        sent["id"].as_str().expect("an id"),
    )
    .await
}

/// The event about the message with this id.
async fn event(sink: &Sink, name: &str, id: &str) -> Value {
    eventually(&format!("{name} of {id}"), || async {
        let all = sink.got().await;
        let mut data = all.iter().map(|d| d.json()).filter(|d| d["event"] == name);
        data.find(|d| d["data"]["id"] == id || d["data"]["messageId"] == id)
    })
    .await["data"]
        .clone()
}

async fn fetched(rig: &Rig, session: &str, token: &str, message: &Value) -> Answer {
    let id = message["id"].as_str().expect("an id");
    let path = format!("/api/v1/messages/{id}/media?sessionId={session}");
    rig.get(&path).bearer(token).send().await
}

fn is_refused(answer: &Answer) {
    let said = answer.expect(422);
    assert_eq!(
        said["message"],
        "The file does not match its message and was not kept"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_under_a_claimed_hash_takes_nobodys_place() {
    let (one, two) = ("6281200001401", "6281200001402");
    let rig = Rig::new().await;
    let (sink, token) = paired(&rig, "c1", one).await;
    let (_, other) = paired(&rig, "c2", two).await;
    let genuine = file("prices.pdf");
    let forged = forgery(&genuine);
    let claim = json!({ "fileSha256": sha256(&genuine) });
    let message = lies(&rig, &sink, one, &forged, claim.clone()).await;
    is_refused(&fetched(&rig, "c1", &token, &message).await);
    // The same by itself.
    let path = "/api/v1/sessions/c1/settings";
    let auto = Call::new(rig.addr(), "PUT", path).json(&json!({ "autoDownload": true }));
    auto.bearer(&token).send().await.expect(200);
    let message = lies(&rig, &sink, one, &forged, claim).await;
    let id = message["id"].as_str().expect("an id");
    let told = event(&sink, "message.media", id).await;
    assert_eq!(told["mediaId"], Value::Null);
    assert!(
        told["error"]
            .as_str()
            .expect("words")
            .contains("does not match its message")
    );
    assert_eq!(on_disk(&rig), (vec![], 0));
    for (session, token) in [("c1", &token), ("c2", &other)] {
        let id = uploaded(&rig, token, "prices.pdf", &genuine).await;
        let got = rig.get(&format!("/media/{id}")).bearer(token).send().await;
        assert_eq!(got.body, genuine);
        let document = json!({ "to": CUSTOMER, "type": "document", "document": { "id": id } });
        let sent = rig.send(session, token, &document).await;
        assert_eq!(sent[0]["status"], "success", "{sent}");
    }
    for message in rig.wait_for_received(CUSTOMER, 2).await {
        assert_eq!(message["sha256"], sha256(&genuine), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_hash_opens_nobodys_file() {
    let (one, two) = ("6281200001403", "6281200001404");
    let rig = Rig::new().await;
    let (_, token) = paired(&rig, "c1", one).await;
    let (sink, other) = paired(&rig, "c2", two).await;
    let patient = file("prices.pdf");
    uploaded(&rig, &token, "patient.pdf", &patient).await;
    let claim = json!({ "fileSha256": sha256(&patient) });
    let message = lies(&rig, &sink, two, &forgery(&patient), claim).await;
    for _ in 0..2 {
        is_refused(&fetched(&rig, "c2", &other, &message).await);
    }
    let files = rig
        .get("/api/v1/media")
        .bearer(&other)
        .send()
        .await
        .expect(200);
    assert_eq!(files["files"], json!([]));
    assert_eq!(on_disk(&rig), (vec![sha256(&patient)], 0));
    // A wrong length is a lie, too.
    let claim = json!({ "fileLength": 5 });
    let message = lies(&rig, &sink, two, &patient, claim).await;
    is_refused(&fetched(&rig, "c2", &other, &message).await);
    // What makes no sense is no file.
    for claim in [
        json!({ "fileSha256": "00ff" }),
        json!({ "mediaKey": "" }),
        json!({ "fileEncSha256": "00" }),
        json!({ "fileLength": u64::MAX }),
    ] {
        let message = lies(&rig, &sink, two, &patient, claim).await;
        assert_eq!(message["media"], Value::Null, "{message}");
        fetched(&rig, "c2", &other, &message).await.expect(404);
    }
}

/// Says what `warung check` finds, and whether it is content.
async fn check(rig: &Rig) -> (bool, String) {
    let mut command = tokio::process::Command::new(program());
    let output = command.arg("check").arg("--data").arg(&rig.config.data);
    let output = output.output().await.expect("it runs");
    let words = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&words).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_let_in_is_found_and_put_aside() {
    let mut rig = Rig::new().await;
    let token = rig.create("own").await;
    let genuine = file("prices.pdf");
    let id = uploaded(&rig, &token, "prices.pdf", &genuine).await;
    let path = format!("/media/{id}");
    let stored = rig.config.data.join("media").join(sha256(&genuine));
    rig.stop().await;
    assert!(check(&rig).await.0);
    std::fs::write(&stored, forgery(&genuine)).expect("written");
    let (good, words) = check(&rig).await;
    assert!(!good && words.contains("not what its name says"), "{words}");
    // As an older version leaves it: nobody has looked yet.
    let disk = Disk::File(rig.config.data.join("warung.redb"));
    let store = Store::open(disk, StoreOptions::default()).expect("a store");
    let forget = store.write(Durability::Sync, |tx| {
        tx.delete(tables::META, b"media_verified");
        Ok(())
    });
    forget.await.expect("written");
    store.close().await;
    drop(store);
    rig.restart().await;
    eventually("the forgery is put aside", || async {
        (!stored.exists()).then_some(())
    })
    .await;
    let aside = rig.config.data.join("media/wrong").join(sha256(&genuine));
    assert!(aside.exists());
    assert_eq!(rig.get(&path).bearer(&token).send().await.status, 503);
    uploaded(&rig, &token, "prices.pdf", &genuine).await;
    assert_eq!(rig.get(&path).bearer(&token).send().await.body, genuine);
    rig.stop().await;
    let (good, words) = check(&rig).await;
    assert!(good, "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_folder_is_not_trusted_by_its_name() {
    let account = "6281200001405";
    let rig = Rig::new().await;
    let (_, token) = paired(&rig, "c1", account).await;
    let genuine = file("prices.pdf");
    let id = uploaded(&rig, &token, "prices.pdf", &genuine).await;
    let stored = rig.config.data.join("media").join(sha256(&genuine));
    std::fs::write(&stored, forgery(&genuine)).expect("written");
    let document = json!({ "to": CUSTOMER, "type": "document", "document": { "id": id } });
    let sent = rig.send("c1", &token, &document).await;
    assert_eq!(sent[0]["status"], "error", "{sent}");
    // Who brings the content again mends it.
    let again = uploaded(&rig, &token, "prices.pdf", &genuine).await;
    for id in [&id, &again] {
        let got = rig.get(&format!("/media/{id}")).bearer(&token).send().await;
        assert_eq!(got.body, genuine);
    }
    let sent = rig.send("c1", &token, &document).await;
    assert_eq!(sent[0]["status"], "success", "{sent}");
    let got = rig.wait_for_received(CUSTOMER, 1).await;
    assert_eq!(got[0]["sha256"], sha256(&genuine));
}

/// A network whose port gets a further digit 7 from somebody else, who counts who comes.
async fn beside_a_thief() -> (Sandbox, Arc<AtomicUsize>) {
    let mut port = 2000 + u16::try_from(std::process::id() % 4000).expect("small");
    loop {
        port = if port >= 6500 { 2000 } else { port + 1 };
        let Ok(thief) = TcpListener::bind(("127.0.0.1", port * 10 + 7)).await else {
            continue;
        };
        let listen = format!("127.0.0.1:{port}");
        let Ok(network) = Sandbox::serve(&listen, Default::default()).await else {
            continue;
        };
        let came = Arc::new(AtomicUsize::new(0));
        let count = came.clone();
        tokio::spawn(async move {
            while thief.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        return (network, came);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_does_not_choose_the_host() {
    let account = "6281200001406";
    let (network, came) = beside_a_thief().await;
    let rig = Rig::on_network(network, Deps::default(), |_| {}).await;
    let (sink, token) = paired(&rig, "c1", account).await;
    let bytes = file("prices.pdf");
    for path in [
        "7/steal",
        ".evil.tld/x",
        "@127.0.0.1/x",
        "//127.0.0.1/x",
        "/../x",
        "/x y",
    ] {
        let claim = json!({ "directPath": path, "url": path });
        let message = lies(&rig, &sink, account, &bytes, claim).await;
        assert_eq!(message["type"], "documentMessage");
        assert_eq!(message["media"], Value::Null, "{path}: {message}");
        fetched(&rig, "c1", &token, &message).await.expect(404);
    }
    assert_eq!(came.load(Ordering::SeqCst), 0);
    // Of an address in place of a path only the path is asked for, at WhatsApp's.
    let claim = json!({ "directPath": "", "url": "https://evil.tld:8443/v/document/none.enc" });
    let message = lies(&rig, &sink, account, &bytes, claim).await;
    assert_eq!(message["media"]["mimetype"], "application/pdf");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_drip_hold_up_nobody_else() {
    let (one, two) = ("6281200001407", "6281200001408");
    let rig = Rig::new().await;
    let (sink, token) = paired(&rig, "c1", one).await;
    let (other_sink, other) = paired(&rig, "c2", two).await;
    let auto = json!({ "autoDownload": true });
    let auto = Call::new(rig.addr(), "PUT", "/api/v1/sessions/c1/settings").json(&auto);
    auto.bearer(&token).send().await.expect(200);
    let slow = json!({ "slowMedia": { "bytesPerSecond": 4000 } });
    rig.sandbox("POST", "/sandbox/faults", &slow).await;
    let mut large = file("prices.pdf").to_vec();
    for fill in 0..10 {
        large.resize(600 << 10, b' ');
        large[100] = fill;
        let message = lies(&rig, &sink, one, &large, json!({})).await;
        let id = message["id"].as_str().expect("an id");
        let path = format!("/api/v1/messages/{id}/media?sessionId=c1");
        let asked = rig.get(&path).bearer(&token);
        tokio::spawn(async move { asked.try_send().await });
    }
    eventually("files drip", || async {
        (rig.stats().await["mediaDownloads"].as_u64()? >= 2).then_some(())
    })
    .await;
    let small = b"%PDF-1.4\nsmall\n";
    let message = lies(&rig, &other_sink, two, small, json!({})).await;
    let got = tokio::time::timeout(PATIENCE, fetched(&rig, "c2", &other, &message)).await;
    assert_eq!(&got.expect("not held up").body[..], small);
    // Nor does the session itself wait for them when it sends.
    let id = uploaded(&rig, &token, "small.pdf", small).await;
    let document = json!({ "to": CUSTOMER, "type": "document", "document": { "id": id } });
    let sent = tokio::time::timeout(PATIENCE, rig.send("c1", &token, &document)).await;
    assert_eq!(sent.expect("not held up")[0]["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_measures_of_strangers_are_made_harmless() {
    let account = "6281200001409";
    let rig = Rig::new().await;
    let (sink, token) = paired(&rig, "c1", account).await;
    let claim = json!({
        "fileName": "../../../etc/cron.d/x\u{202e}gpj.exe\r\nX: 1",
        "mimetype": "application/pdf\r\nX: 1",
        "pushName": "Toko\u{202e}\r\n\u{200f}",
    });
    let message = lies(&rig, &sink, account, &file("prices.pdf"), claim).await;
    assert_eq!(message["media"]["fileName"], "xgpj.exeX: 1");
    assert_eq!(message["media"]["mimetype"], "application/octet-stream");
    assert_eq!(message["senderName"], "Toko");
    let got = fetched(&rig, "c1", &token, &message).await;
    assert_eq!(got.status, 200);
    let files = rig
        .get("/api/v1/media")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(files["files"][0]["fileName"], "xgpj.exeX: 1");
    let film = json!({ "data": base64(&file("film.mp4")), "mimetype": "video/mp4" });
    let raw = json!({ "seconds": u32::MAX, "width": u32::MAX, "height": 10 });
    let body = json!({ "to": account, "video": film, "raw": raw });
    let sent = rig
        .sandbox("POST", &format!("/sandbox/phones/{CROOK}/messages"), &body)
        .await;
    let id = sent["id"].as_str().expect("an id");
    let media = event(&sink, "message.received", id).await["media"].clone();
    let measures = (&media["seconds"], &media["width"], &media["height"]);
    assert_eq!(measures, (&Value::Null, &Value::Null, &json!(10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_uploads_count_against_the_quota() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const QUOTA: u64 = 1 << 20;
    let rig = Rig::with(|config| config.media_quota = QUOTA).await;
    let token = rig.create("own").await;
    let part = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\n\r\n%PDF-1.4\n";
    let piece = vec![b' '; 900 << 10];
    let refused = Arc::new(AtomicUsize::new(0));
    let arriving = rig.config.data.join("media/arriving");
    let on_disk = || {
        let files = std::fs::read_dir(&arriving).expect("a folder").flatten();
        files
            .filter_map(|e| Some(e.metadata().ok()?.len()))
            .sum::<u64>()
    };
    for n in 0..40 {
        let chunked = n % 2 == 0;
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", 20 << 20),
        };
        let head = format!(
            "POST /api/v1/media HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\
             Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        );
        let body = [part.as_bytes(), &piece].concat();
        let body = match chunked {
            true => [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat(),
            false => body,
        };
        let stream = tokio::net::TcpStream::connect(rig.addr()).await;
        let (mut read, mut write) = stream.expect("connected").into_split();
        let refused = refused.clone();
        tokio::spawn(async move {
            let sending = async {
                // The refusal may come before all is taken.
                let _ = write.write_all(head.as_bytes()).await;
                let _ = write.write_all(&body).await;
                std::future::pending::<()>().await;
            };
            let mut answer = [0; 12];
            tokio::select! {
                () = sending => {}
                read = read.read_exact(&mut answer) => if read.is_ok() && &answer == b"HTTP/1.1 413" {
                    refused.fetch_add(1, Ordering::SeqCst);
                },
            }
        });
        // The first has its room before the others come.
        eventually("the first is there", || async {
            (n > 0 || on_disk() > piece.len() as u64 - 4096).then_some(())
        })
        .await;
    }
    let (rig, refused) = (&rig, &refused);
    eventually("all but one are refused", || async move {
        (refused.load(Ordering::SeqCst) == 39).then_some(())
    })
    .await;
    assert!(on_disk() <= QUOTA, "{}", on_disk());
    // What is too much beside it fits into another session.
    let mut large = file("prices.pdf").to_vec();
    large.resize(600 << 10, b' ');
    upload(rig, &token, "b.pdf", &large).await.expect(413);
    let other = rig.create("other").await;
    upload(rig, &other, "b.pdf", &large).await.expect(201);
}
