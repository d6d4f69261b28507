//! Who may write to those who take nothing from strangers.

use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::{Jid, NodeFilter};

use super::rig::{Device, PATIENCE, Rig, eventually, said};
use crate::sandbox::number::Number;
use crate::sandbox::{Options, Profile};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

fn choosy() -> Profile {
    Profile {
        trusted_only: true,
        ..Profile::default()
    }
}

fn hidden(phone: &str) -> String {
    Number::parse(phone).expect("a number").lid().to_string()
}

/// Waits until a client holds a token of somebody.
async fn token(device: &Device, of: &str) -> Vec<u8> {
    let key = hidden(of);
    let start = std::time::Instant::now();
    loop {
        let entry = device.client.tc_token().get(&key).await.expect("readable");
        if let Some(entry) = entry.filter(|entry| !entry.token.is_empty()) {
            return entry.token;
        }
        assert!(start.elapsed() < PATIENCE, "no token of {of}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// What the next message of a client shows: `tctoken`, `cstoken` or nothing.
async fn shows(shop: &mut Device, text: &str) -> (Option<String>, Option<String>) {
    let sent = shop.client.wait_for_sent_node(NodeFilter::tag("message"));
    let message = shop.client.send_text(Jid::pn(CUSTOMER), text).await;
    let id = message.expect("sent").message_id;
    let sent = tokio::time::timeout(PATIENCE, sent).await.expect("sent");
    let node = sent.expect("sent");
    let token = ["tctoken", "cstoken"]
        .into_iter()
        .find(|tag| node.get_optional_child(tag).is_some());
    (token.map(str::to_owned), shop.verdict(&id).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_shows_a_computed_token_and_a_friend_the_one_he_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let rig = Rig::with(Options::kept_in(&path)).await;
    let mut shop = rig.companion(SHOP).await;
    rig.network.set_phone(CUSTOMER, choosy()).expect("set");
    eventually("the secret of the account", || {
        let device = shop.client.persistence_manager().get_device_snapshot();
        device.nct_salt.is_some().then_some(())
    })
    .await;
    let stranger = shows(&mut shop, "you do not know me").await;
    assert_eq!(stranger, (Some("cstoken".to_owned()), None));
    rig.network
        .send_text(CUSTOMER, SHOP, "now I do")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "now I do");
    let held = token(&shop, CUSTOMER).await;
    let friend = shows(&mut shop, "thank you").await;
    assert_eq!(friend, (Some("tctoken".to_owned()), None));
    rig.received(CUSTOMER, 2).await;
    rig.finish();

    // A token is good after a kill, too, and is not given anew at each message.
    let backend = shop.backend.clone();
    shop.handle.shutdown().await;
    std::fs::copy(&path, &copy).expect("copied");
    let second = Rig::with(Options::kept_in(&copy)).await;
    let mut shop = second.restart(backend).await;
    shop.connected().await;
    second
        .network
        .send_text(CUSTOMER, SHOP, "again")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "again");
    assert_eq!(token(&shop, CUSTOMER).await, held);
    let friend = shows(&mut shop, "still here").await;
    assert_eq!(friend, (Some("tctoken".to_owned()), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_without_a_token_is_refused() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    rig.network.set_phone(CUSTOMER, choosy()).expect("set");
    let enc = NodeBuilder::new("enc").attr("v", 2).attr("type", "msg");
    let message = NodeBuilder::new("message")
        .attr("id", "STRANGER1")
        .attr("to", Jid::pn(CUSTOMER))
        .attr("type", "text")
        .children([
            enc.bytes(vec![0x33, 1, 2]).build(),
            NodeBuilder::new("tctoken").bytes(vec![1; 16]).build(),
        ]);
    shop.client.send_node(message.build()).await.expect("sent");
    assert_eq!(shop.verdict("STRANGER1").await.as_deref(), Some("463"));
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gives_its_token_to_whom_it_writes() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let mut customer = rig.companion(CUSTOMER).await;
    let other = rig.companion(CUSTOMER).await;
    shop.client
        .send_text(Jid::pn(CUSTOMER), "hello")
        .await
        .expect("sent");
    assert_eq!(said(&customer.message().await), "hello");
    // Every device of the account gets it.
    let held = token(&customer, SHOP).await;
    assert_eq!(token(&other, SHOP).await, held);
    rig.finish();
}
