//! Receiving files: what the event tells, fetching on demand and by itself, files that expired.

use serde_json::{Value, json};

use crate::files::{base64, file, mime, on_disk, sha256};
use crate::support::{Rig, Sink, eventually};

const PHONE: &str = "6281299991301";

async fn listening(
    account: &str,
    change: impl FnOnce(&mut warung::config::Config),
) -> (Rig, Sink, String) {
    let rig = Rig::with(change).await;
    let sink = Sink::new().await;
    let token = rig.pair("shop", account).await;
    rig.hook("shop", &sink.url, &[]).await;
    (rig, sink, token)
}

async fn phone_sends(rig: &Rig, to: &str, kind: &str, name: &str, caption: Option<&str>) -> String {
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let mut body = json!({ "data": base64(&file(name)), "mimetype": mime(name), "fileName": name });
    if let Some(caption) = caption {
        body["caption"] = json!(caption);
    }
    let sent = rig
        .sandbox("POST", &path, &json!({ "to": to, kind: body }))
        .await;
    sent["id"].as_str().expect("an id").to_owned()
}

/// The event about the message with this id.
async fn event(sink: &Sink, name: &str, id: &str) -> Value {
    eventually("the event", || async {
        let all = sink.got().await;
        let mut data = all.iter().map(|d| d.json()).filter(|d| d["event"] == name);
        data.find(|d| d["data"]["id"] == id || d["data"]["messageId"] == id)
    })
    .await["data"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_received_file_is_described_and_fetched_on_demand() {
    let account = "6281200001301";
    let (rig, sink, token) = listening(account, |_| {}).await;
    for (kind, name, caption) in [
        ("image", "turned.jpg", Some("bukti transfer")),
        ("document", "prices.pdf", Some("daftar")),
        ("video", "film.mp4", None),
        ("audio", "voice.ogg", None),
        ("sticker", "moving.webp", None),
    ] {
        let id = phone_sends(&rig, account, kind, name, caption).await;
        let data = event(&sink, "message.received", &id).await;
        assert_eq!(data["text"], json!(caption), "{data}");
        let media = &data["media"];
        assert_eq!(media["mimetype"], mime(name), "{data}");
        assert_eq!(media["size"], file(name).len(), "{data}");
        if kind == "document" {
            assert_eq!(media["fileName"], name);
        }
        if kind == "image" {
            assert!(media["thumbnail"].as_str().expect("a thumbnail").len() > 100);
        }
        let url = media["url"].as_str().expect("an address");
        let before = on_disk(&rig).0.len();
        let got = rig.get(url).bearer(&token).send().await;
        assert_eq!(got.status, 200, "{url}");
        assert_eq!(got.body, file(name));
        assert_eq!(got.headers["content-type"], mime(name));
        assert_eq!(on_disk(&rig).0.len(), before + 1);
        let downloads = rig.stats().await["mediaDownloads"].clone();
        let part = rig
            .get(url)
            .bearer(&token)
            .header("range", "bytes=0-3")
            .send()
            .await;
        assert_eq!((part.status, &part.body[..]), (206, &file(name)[..4]));
        assert_eq!(rig.stats().await["mediaDownloads"], downloads, "it is kept");
        assert_eq!(rig.get(url).send().await.status, 401);
    }
    let text = json!({ "to": account, "text": "no file" });
    let sent = rig
        .sandbox("POST", &format!("/sandbox/phones/{PHONE}/messages"), &text)
        .await;
    let id = sent["id"].as_str().expect("an id");
    event(&sink, "message.received", id).await;
    let path = format!("/api/v1/messages/{id}/media?sessionId=shop");
    let none = rig.get(&path).bearer(&token).send().await.expect(404);
    assert_eq!(none["message"], "This message has no file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_expired_is_asked_for_again() {
    let account = "6281200001302";
    let (rig, sink, token) = listening(account, |_| {}).await;
    let id = phone_sends(&rig, account, "image", "turned.jpg", None).await;
    event(&sink, "message.received", &id).await;
    rig.sandbox("POST", "/sandbox/faults", &json!({ "expireMedia": {} }))
        .await;
    let path = format!("/api/v1/messages/{id}/media?sessionId=shop");
    let got = rig.get(&path).bearer(&token).send().await;
    assert_eq!(got.status, 200, "{:?}", got.body);
    assert_eq!(got.body, file("turned.jpg"));
    // A phone that does not have it any more.
    let id = phone_sends(&rig, account, "document", "prices.pdf", None).await;
    event(&sink, "message.received", &id).await;
    let settings = json!({ "keepsMedia": false });
    rig.sandbox("PUT", &format!("/sandbox/phones/{account}"), &settings)
        .await;
    rig.sandbox("POST", "/sandbox/faults", &json!({ "expireMedia": {} }))
        .await;
    let path = format!("/api/v1/messages/{id}/media?sessionId=shop");
    let gone = rig.get(&path).bearer(&token).send().await.expect(404);
    assert!(
        gone["message"].as_str().expect("words").contains("gone"),
        "{gone}"
    );
    rig.assert_all_understood().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_have_its_files_fetched_by_themselves() {
    let account = "6281200001303";
    let (mut rig, sink, token) = listening(account, |_| {}).await;
    let path = "/api/v1/sessions/shop/settings";
    let put = |body: Value| {
        crate::support::Call::new(rig.addr(), "PUT", path)
            .json(&body)
            .bearer(&token)
    };
    assert_eq!(
        put(json!({ "autoDownload": "yes" })).send().await.status,
        400
    );
    assert_eq!(put(json!({ "autoDownlod": true })).send().await.status, 400);
    assert_eq!(
        put(json!({ "autoDownload": true }))
            .send()
            .await
            .expect(200)["autoDownload"],
        true
    );
    let id = phone_sends(&rig, account, "document", "prices.xlsx", None).await;
    let data = event(&sink, "message.media", &id).await;
    let url = data["url"].as_str().expect("an address").to_owned();
    let got = rig.get(&url).bearer(&token).send().await;
    assert_eq!(got.body, file("prices.xlsx"));
    assert_eq!(data["fileName"], "prices.xlsx");
    // The choice and the file outlive a restart.
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    assert_eq!(
        rig.get(path).bearer(&token).send().await.expect(200)["autoDownload"],
        true
    );
    assert_eq!(
        rig.get(&url).bearer(&token).send().await.body,
        file("prices.xlsx")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn received_files_make_room_for_newer_ones() {
    let account = "6281200001304";
    let (rig, sink, token) = listening(account, |config| config.media_quota = 1 << 20).await;
    let large = |fill: u8| {
        let mut bytes = file("prices.pdf").to_vec();
        bytes.resize(600 << 10, fill);
        bytes
    };
    let mut ids = Vec::new();
    for fill in [b'a', b'b'] {
        let path = format!("/sandbox/phones/{PHONE}/messages");
        let body = json!({ "data": base64(&large(fill)), "mimetype": "application/pdf", "fileName": "x.pdf" });
        let sent = rig
            .sandbox("POST", &path, &json!({ "to": account, "document": body }))
            .await;
        let id = sent["id"].as_str().expect("an id").to_owned();
        event(&sink, "message.received", &id).await;
        let path = format!("/api/v1/messages/{id}/media?sessionId=shop");
        let got = rig.get(&path).bearer(&token).send().await;
        assert_eq!(got.body, large(fill));
        ids.push(path);
    }
    assert_eq!(on_disk(&rig), (vec![sha256(&large(b'b'))], 0));
    // The first is fetched anew.
    assert_eq!(
        rig.get(&ids[0]).bearer(&token).send().await.body,
        large(b'a')
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn places_cards_and_polls_from_phones_are_told() {
    let account = "6281200001305";
    let (rig, sink, _) = listening(account, |_| {}).await;
    let path = format!("/sandbox/phones/{PHONE}/messages");
    let send = |body: Value| {
        let (rig, path) = (&rig, &path);
        async move {
            let sent = rig.sandbox("POST", path, &body).await;
            sent["id"].as_str().expect("an id").to_owned()
        }
    };
    let id = send(json!({ "to": account, "location": { "latitude": -6.2, "longitude": 106.8, "name": "Rumah" } })).await;
    let data = event(&sink, "message.received", &id).await;
    assert_eq!(data["type"], "locationMessage");
    assert_eq!(data["location"]["latitude"], -6.2);
    let id =
        send(json!({ "to": account, "poll": { "name": "Mana?", "options": ["A", "B"] } })).await;
    let data = event(&sink, "message.received", &id).await;
    assert_eq!(
        data["poll"],
        json!({ "question": "Mana?", "options": ["A", "B"] })
    );
}
