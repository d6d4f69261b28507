//! Links: fetched by the guarded client; what is wrong with one is said, and nothing is sent.

use serde_json::{Value, json};

use crate::files::{Shelf, on_disk};
use crate::support::Rig;

async fn failure(rig: &Rig, token: &str, link: &str) -> (u64, String) {
    let body = json!({ "to": "6281299991201", "type": "image", "image": { "link": link } });
    let results = rig.send("shop", token, &body).await;
    let result = &results[0];
    assert_eq!(result["status"], "error", "{link}: {result}");
    assert_eq!(result["messageId"], Value::Null, "{link}: {result}");
    let code = result["code"].as_u64().expect("a code");
    (code, result["message"].as_str().expect("words").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_leads_inside() {
    let rig =
        Rig::with(|config| config.dns_servers = vec!["127.0.0.1".parse().expect("an IP")]).await;
    let token = rig.pair("shop", "6281200001201").await;
    for link in [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://127.0.0.1/x.jpg",
        "http://localhost/x.jpg",
        "http://10.0.0.1/x.jpg",
        "http://[::1]/",
        "http://2852039166/",
        "http://0x7f.1/",
        "http://printer.local/x.jpg",
        "file:///etc/passwd",
    ] {
        let (code, why) = failure(&rig, &token, link).await;
        assert_eq!(code, 400, "{link}: {why}");
        assert!(
            why.starts_with("Invalid image URL: URL must"),
            "{link}: {why}"
        );
    }
    assert!(rig.received("6281299991201").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_disappoints_is_told_and_leaves_nothing() {
    let rig = Rig::with(|config| {
        config.allow_private = vec!["127.0.0.0/8".into()];
        config.max_media_bytes = 1 << 20;
    })
    .await;
    let token = rig.pair("shop", "6281200001202").await;
    let shelf = Shelf::new().await;
    for (path, wanted, words) in [
        ("page.jpg", 415, "text/html"),
        (
            "liar.jpg",
            415,
            "says that it is image/jpeg, but its content is application/pdf",
        ),
        ("empty.jpg", 400, "The link is empty"),
        ("gone.jpg", 502, "The link answered with status 404"),
        ("inside.jpg", 400, "private or reserved"),
        ("cut.jpg", 502, "broke off"),
        ("endless.jpg", 413, "larger than"),
    ] {
        let (code, why) = failure(&rig, &token, &shelf.link(path)).await;
        assert_eq!(code, wanted, "{path}: {why}");
        assert!(why.contains(words), "{path}: {why}");
    }
    assert!(rig.received("6281299991201").await.is_empty());
    assert_eq!(on_disk(&rig), (vec![], 0));
}
