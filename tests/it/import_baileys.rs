//! An account of Baileys goes on here: the same device, the same keys, no new QR.
//!
//! With Node 20 and `npm ci` in `tests/baileys` a Baileys of each version in use is paired with the
//! simulated network, chats, and is stopped; without them these tests say so and pass.

use std::path::Path;

use serde_json::{Value, json};
use warung::import::baileys;
use warung::seal::Seal;
use warung::store::{Disk, Durability, Store, StoreOptions};
use warung::time::Clock;
use warung::wa::backend::Backend;

use crate::baileys::Baileys;
use crate::support::{Rig, Sink};

const OWN: &str = "6281200000700";
const FIRST: &str = "6281200000701";
const SECOND: &str = "6281200000702";

/// Has a phone write to somebody.
async fn say(rig: &Rig, phone: &str, to: &str, text: &str) {
    let path = format!("/sandbox/phones/{phone}/messages");
    rig.sandbox("POST", &path, &json!({ "to": to, "text": text }))
        .await;
}

/// The texts that a phone has received, in this order.
async fn texts(rig: &Rig, phone: &str) -> Vec<String> {
    let received = rig.received(phone).await;
    let text = |message: &Value| message["text"].as_str().map(str::to_owned);
    received.iter().filter_map(text).collect()
}

/// Gives the session the device of a folder; the gateway is stopped meanwhile.
async fn import(rig: &mut Rig, folder: &Path) {
    rig.stop().await;
    let found = baileys::read(folder).unwrap_or_else(|why| panic!("{why:?}"));
    let strange: Vec<_> = found
        .left_out
        .iter()
        .filter(|left| !left.file.contains('*'))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    let key = warung::at_rest::key_of(&rig.config, &Default::default()).expect("a key");
    let disk = Disk::File(warung::server::store_file(&rig.config));
    let store = Store::open(disk, StoreOptions::default()).expect("a store");
    let backend = Backend::new(store.clone(), 1, Clock::system(), Seal::new(&key));
    let (rows, unfit) = backend.adopt(&found.account).expect("its keys fit");
    assert_eq!(unfit, []);
    let written = store.write(Durability::Sync, move |tx| rows.put(tx));
    written.await.expect("written");
    store.close().await;
    rig.restart().await;
    rig.create_again("shop").await;
}

/// Pairs a Baileys, has it chat with two people and in a group, imports it, and goes on.
async fn moves_in(package: &str, addressing: &str) {
    let mut rig = Rig::new().await;
    let overview = rig.sandbox("GET", "/sandbox", &Value::Null).await;
    let root = overview["rootKey"].as_str().expect("a key").to_owned();
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("account");
    let Some(mut baileys) = Baileys::start_in(&rig.network.url(), &root, &folder, package) else {
        return;
    };
    for phone in [FIRST, SECOND] {
        let path = format!("/sandbox/phones/{phone}");
        rig.sandbox("PUT", &path, &json!({ "registered": true }))
            .await;
    }
    let qr = baileys.hear("qr").await;
    rig.sandbox("POST", "/sandbox/scan", &json!({ "qr": qr, "phone": OWN }))
        .await;
    baileys.hear("open").await;
    let first = format!("{FIRST}@s.whatsapp.net");
    baileys.send(&first, "satu").await;
    baileys.hear("sent").await;
    say(&rig, FIRST, OWN, "dua").await;
    assert_eq!(baileys.hear("message").await["text"], "dua");
    baileys.send(&first, "tiga").await;
    baileys.hear("sent").await;
    say(&rig, SECOND, OWN, "empat").await;
    assert_eq!(baileys.hear("message").await["text"], "empat");
    let members = json!({ "subject": "Arisan", "participants": [FIRST, SECOND, OWN], "addressing": addressing });
    let group = rig.sandbox("POST", "/sandbox/groups", &members).await;
    let group = group["id"].as_str().expect("an id").to_owned();
    baileys.send(&group, "lima").await;
    baileys.hear("sent").await;
    say(&rig, FIRST, &group, "enam").await;
    assert_eq!(baileys.hear("message").await["text"], "enam");
    say(&rig, SECOND, &group, "tujuh").await;
    assert_eq!(baileys.hear("message").await["text"], "tujuh");
    rig.wait_for_received(FIRST, 4).await;
    rig.wait_for_received(SECOND, 2).await;
    baileys.stop().await;

    // Nobody is there to read these.
    say(&rig, FIRST, OWN, "delapan").await;
    say(&rig, SECOND, &group, "sembilan").await;

    let token = rig.create("shop").await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &[]).await;
    let before = rig.stats().await;
    import(&mut rig, &folder).await;
    let row = rig.wait_for_status("shop", "CONNECTED").await;
    assert_eq!(row["number"], OWN, "{row}");
    let sent = rig.send_text("shop", &token, FIRST, "sepuluh").await;
    assert_eq!(sent["status"], "success", "{sent}");
    let sent = rig.send_text("shop", &token, SECOND, "sebelas").await;
    assert_eq!(sent["status"], "success", "{sent}");
    let sent = rig.send_text("shop", &token, &group, "dua belas").await;
    assert_eq!(sent["status"], "success", "{sent}");
    say(&rig, FIRST, OWN, "tiga belas").await;
    say(&rig, FIRST, &group, "empat belas").await;
    say(&rig, SECOND, &group, "lima belas").await;

    let got = sink.wait_for("message.received", 5).await;
    let mut read: Vec<_> = got
        .iter()
        .map(|event| event["data"]["text"].as_str().expect("a text"))
        .collect();
    read.sort_unstable();
    let expected = [
        "delapan",
        "empat belas",
        "lima belas",
        "sembilan",
        "tiga belas",
    ];
    assert_eq!(read, expected);
    for event in &got {
        let number = event["data"]["senderNumber"].as_str().expect("a number");
        assert!([FIRST, SECOND].contains(&number), "{event}");
    }
    rig.wait_for_received(FIRST, 7).await;
    rig.wait_for_received(SECOND, 5).await;
    for (phone, expected) in [
        (
            FIRST,
            ["satu", "tiga", "lima", "sepuluh", "dua belas"].as_slice(),
        ),
        (SECOND, &["lima", "sebelas", "dua belas"]),
    ] {
        let texts = texts(&rig, phone).await;
        for text in expected {
            let times = texts.iter().filter(|known| known == text).count();
            assert_eq!(times, 1, "{phone}: {text} in {texts:?}");
        }
    }
    // Everything could be read at once, by the sessions and sender keys that were taken over.
    let after = rig.stats().await;
    for count in ["undecryptable", "duplicates"] {
        assert_eq!(after[count], before[count], "{count}: {after}");
    }
    rig.assert_all_understood().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_baileys_7_goes_on_without_a_new_qr() {
    moves_in("@whiskeysockets/baileys", "lid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_baileys_7_goes_on_in_a_group_of_numbers() {
    moves_in("@whiskeysockets/baileys", "pn").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_baileys_6_goes_on_without_a_new_qr() {
    moves_in("baileys6", "lid").await;
}
