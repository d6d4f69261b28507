//! Who may write to those who take nothing from strangers.

use serde_json::json;
use whatsapp_rust::NodeFilter;
use whatsapp_rust::prelude::*;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::rig::{Device, PATIENCE, Rig, eventually, said};
use crate::sandbox::number::Number;
use crate::sandbox::{NetworkOptions, Profile};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";
const STAFF: &str = "6285550001111";

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
    send(shop, CUSTOMER, text).await
}

async fn send(from: &mut Device, to: &str, text: &str) -> (Option<String>, Option<String>) {
    let sent = from.client.wait_for_sent_node(NodeFilter::tag("message"));
    let message = from.client.send_text(Jid::pn(to), text).await;
    let id = message.expect("sent").message_id;
    let sent = tokio::time::timeout(PATIENCE, sent).await.expect("sent");
    let node = sent.expect("sent");
    let token = ["tctoken", "cstoken"]
        .into_iter()
        .find(|tag| node.get_optional_child(tag).is_some());
    (token.map(str::to_owned), from.verdict(&id).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_shows_a_computed_token_and_a_friend_the_one_he_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let rig = Rig::with(NetworkOptions::kept_in(&path)).await;
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
    let second = Rig::with(NetworkOptions::kept_in(&copy)).await;
    let mut shop = second.restart(backend).await;
    shop.connected().await;
    // A client asks in its own time what it is to do.
    shop.client.fetch_props().await.expect("answered");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_phone_says_which_tokens_it_takes_and_who_learns_the_secret() {
    let rig = Rig::new().await;
    let old = json!({ "trustedOnly": true, "takesTokens": ["given"], "sharesSalt": [] });
    rig.ask("PUT", &format!("/sandbox/phones/{SHOP}"), old)
        .await;
    let mut shop = rig.companion(SHOP).await;
    let mut customer = rig.companion(CUSTOMER).await;
    for device in [&shop, &customer] {
        device.client.fetch_props().await.expect("answered");
    }
    let salt = |device: &Device| {
        let device = device.client.persistence_manager().get_device_snapshot();
        device.nct_salt.is_some().then_some(())
    };
    eventually("the secret of the account", || salt(&customer)).await;
    // What is computed counts for nothing here.
    let stranger = send(&mut customer, SHOP, "you do not know me").await;
    let computed = (Some("cstoken".to_owned()), Some("463".to_owned()));
    assert_eq!(stranger, computed);
    // A companion whose phone does not share the secret has nothing to compute with.
    rig.network.set_phone(STAFF, choosy()).expect("set");
    let stranger = send(&mut shop, STAFF, "nor do you know me").await;
    assert_eq!(stranger, (None, Some("463".to_owned())));
    assert!(salt(&shop).is_none());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_of_strangers_shows_them_nothing() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let customer = rig.companion(CUSTOMER).await;
    let profile = customer.client.profile();
    let picture = profile.set_profile_picture(vec![0xFF; 8]).await;
    picture.expect("set");
    let off = Profile {
        online: false,
        ..choosy()
    };
    rig.network.set_phone(CUSTOMER, off).expect("set");
    let whom = Jid::pn(CUSTOMER);
    let client = shop.client.clone();
    let contacts = client.contacts();
    let hidden = contacts.get_profile_picture(&whom, false).await;
    assert!(hidden.expect("answered").is_none());
    let presence = client.presence();
    presence.subscribe(&whom).await.expect("asked");
    // What is answered later came after the presence, if there was one.
    client.fetch_props().await.expect("answered");
    let there = |event: &Event| match event {
        Event::Presence(update) => Some(update.unavailable),
        _ => None,
    };
    assert!(!shop.seen().iter().any(|event| there(event).is_some()));
    customer
        .client
        .send_text(Jid::pn(SHOP), "now you know me")
        .await
        .expect("sent");
    assert_eq!(said(&shop.message().await), "now you know me");
    token(&shop, CUSTOMER).await;
    let shown = contacts.get_profile_picture(&whom, false).await;
    assert!(shown.expect("answered").is_some());
    presence.subscribe(&whom).await.expect("asked");
    shop.wait("the presence", there).await;

    // And what is for contacts only is for those who were given a token.
    rig.network
        .set_phone(CUSTOMER, Profile::default())
        .expect("set");
    let privacy = |value: &'static str| {
        let category = NodeBuilder::new("category")
            .attr("name", "profile")
            .attr("value", value);
        let privacy = NodeBuilder::new("privacy").children([category.build()]);
        NodeBuilder::new("iq")
            .attr("id", format!("PRIVACY-{value}"))
            .attr("type", "set")
            .attr("xmlns", "privacy")
            .attr("to", Jid::new("", whatsapp_rust::Server::Pn))
            .children([privacy.build()])
            .build()
    };
    let staff = rig.companion(STAFF).await;
    for (value, seen) in [("contacts", [true, false]), ("none", [false, false])] {
        let set = customer.client.send_node(privacy(value));
        set.await.expect("sent");
        // Its answer comes after that of what was asked before.
        customer.client.fetch_props().await.expect("answered");
        for (device, sees) in [&shop, &staff].into_iter().zip(seen) {
            let picture = device.client.contacts();
            let picture = picture.get_profile_picture(&whom, false).await;
            assert_eq!(picture.expect("answered").is_some(), sees, "{value}");
        }
    }
    rig.finish();
}
