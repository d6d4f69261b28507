//! The control API as its callers see it.

use serde_json::{Value, json};

use super::rig::{Rig, said};
use crate::error::ErrorKind;
use crate::sandbox::control;

const CUSTOMER: &str = "6289876543210";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drives_the_whole_network() {
    let rig = Rig::new().await;
    let mut shop = rig.stranger().await;
    let qr = shop.qr().await;
    let linked = rig.ask("POST", "/scan", json!({ "qr": qr })).await;
    let phone = linked["phone"].as_str().expect("a number").to_owned();
    assert_eq!(linked["device"], 1);
    shop.connected().await;
    let overview = rig.ask("GET", "/sandbox", Value::Null).await;
    assert_eq!(overview["accounts"][0]["phone"], phone);
    assert_eq!(overview["rootKey"].as_str().map(str::len), Some(64));
    let path = format!("/phones/{CUSTOMER}");
    let profile = rig
        .ask("PUT", &path, json!({ "name": "Budi", "echo": true }))
        .await;
    assert_eq!(profile["registered"], true);
    let messages = format!("{path}/messages");
    let id = rig
        .ask("POST", &messages, json!({ "to": phone, "text": "Halo" }))
        .await;
    let message = shop.message().await;
    assert_eq!(
        (said(&message).as_str(), message.info.id.as_str()),
        ("Halo", id["id"].as_str().expect("an id"))
    );
    assert_eq!(message.info.push_name, "Budi");
    shop.client
        .send_text(message.info.source.chat.clone(), "ping")
        .await
        .expect("sent");
    assert_eq!(said(&shop.message().await), "ping");
    let seen = rig.ask("GET", &messages, Value::Null).await;
    assert_eq!(seen[0]["type"], "text");
    assert_eq!(seen[0]["text"], "ping");
    for key in [
        "id",
        "from",
        "chat",
        "timestamp",
        "caption",
        "mimetype",
        "fileName",
        "size",
        "sha256",
        "mentions",
        "quotedId",
        "edited",
        "revoked",
    ] {
        assert!(seen[0].get(key).is_some(), "{key}");
    }
    let react = json!({ "id": seen[0]["id"], "emoji": "!" });
    rig.ask("POST", &format!("{path}/react"), react).await;
    assert!(shop.message().await.message.reaction_message.is_set());
    rig.ask(
        "POST",
        &format!("{path}/read"),
        json!({ "id": seen[0]["id"] }),
    )
    .await;
    rig.ask("POST", &format!("{path}/typing"), json!({ "to": phone }))
        .await;
    let group = json!({ "subject": "Toko", "participants": [CUSTOMER, phone] });
    let group = rig.ask("POST", "/groups", group).await;
    let draft = json!({ "to": group["id"], "text": "Semua" });
    let sent = rig.ask("POST", &messages, draft).await;
    assert_eq!(said(&shop.message().await), "Semua");
    rig.ask(
        "POST",
        &format!("{path}/edit"),
        json!({ "id": sent["id"], "text": "Kalian" }),
    )
    .await;
    rig.ask(
        "POST",
        &format!("{path}/revoke"),
        json!({ "id": sent["id"] }),
    )
    .await;
    rig.ask("POST", &format!("{path}/call"), json!({ "to": phone }))
        .await;
    assert_eq!(
        rig.ask("GET", "/stats", Value::Null).await["undecryptable"],
        0
    );
    rig.ask("POST", &format!("/phones/{phone}/logout"), Value::Null)
        .await;
    rig.finish();
}

#[tokio::test]
async fn every_route_leads_somewhere() {
    let rig = Rig::new().await;
    for (method, path) in control::ROUTES {
        let path = path.replace("{phone}", CUSTOMER);
        let answer = control::handle(&rig.network, method, &path, &json!({})).await;
        let lost = answer
            .err()
            .is_some_and(|error| error.detail() == "no such call");
        assert!(!lost, "{method} {path}");
    }
}

#[tokio::test]
async fn refuses_what_makes_no_sense() {
    let rig = Rig::new().await;
    let fails = async |method: &str, path: &str, body: Value| {
        control::handle(&rig.network, method, path, &body)
            .await
            .expect_err("refused")
            .kind()
    };
    assert_eq!(
        fails("GET", "/nothing", Value::Null).await,
        ErrorKind::NotFound
    );
    assert_eq!(fails("POST", "/scan", json!({})).await, ErrorKind::Invalid);
    assert_eq!(
        fails("GET", "/phones/12", Value::Null).await,
        ErrorKind::Invalid
    );
    assert_eq!(
        fails("PUT", "/phones/6281234567890", json!({ "nam": 1 })).await,
        ErrorKind::Invalid
    );
    let draft = json!({ "to": "6281234567890" });
    assert_eq!(
        fails("POST", "/phones/6281234567891/messages", draft).await,
        ErrorKind::Invalid
    );
    let logout = fails("POST", "/phones/6281234567890/logout", Value::Null).await;
    assert_eq!(logout, ErrorKind::NotFound);
}
