//! Whom the server does not carry a message to, and what it says then.

use whatsapp_rust::prelude::*;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::{Jid, wacore_binary::Node};

use super::rig::{Rig, said};
use crate::sandbox::{Profile, Typing};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";
const NOBODY: &str = "6280000000000";

async fn send(from: &super::rig::Device, to: &str, text: &str) -> String {
    let sent = from.client.send_text(Jid::pn(to), text).await;
    sent.expect("sent").message_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_blocked_is_not_heard_and_does_not_notice() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    rig.network.block(CUSTOMER, SHOP, true).expect("blocked");
    let id = send(&shop, CUSTOMER, "do you hear me?").await;
    assert_eq!(shop.verdict(&id).await, None, "the server says nothing");
    rig.network.block(CUSTOMER, SHOP, false).expect("unblocked");
    send(&shop, CUSTOMER, "and now?").await;
    let heard = rig.received(CUSTOMER, 1).await;
    assert_eq!(heard[0].text.as_deref(), Some("and now?"));

    let customer = Jid::pn(CUSTOMER);
    shop.client
        .blocking()
        .block(&customer)
        .await
        .expect("blocked");
    rig.network
        .send_text(CUSTOMER, SHOP, "angry")
        .expect("taken");
    rig.network
        .typing(CUSTOMER, SHOP, Typing::Composing)
        .expect("taken");
    rig.network.call(CUSTOMER, SHOP, false).expect("taken");
    shop.client
        .blocking()
        .unblock(&customer)
        .await
        .expect("unblocked");
    rig.network
        .send_text(CUSTOMER, SHOP, "sorry")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "sorry");
    let passed = |event: &Event| matches!(event, Event::ChatPresence(_) | Event::IncomingCall(_));
    assert!(!shop.seen().iter().any(|event| passed(event)));
    assert_eq!(rig.network.messages(CUSTOMER).expect("messages").len(), 1);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_a_number_without_whatsapp_is_refused() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let gone = Profile {
        registered: false,
        ..Profile::default()
    };
    rig.network.set_phone(NOBODY, gone).expect("set");
    let id = send(&shop, NOBODY, "hello?").await;
    assert_eq!(shop.verdict(&id).await.as_deref(), Some("404"));
    assert_eq!(rig.network.stats().refused, 1);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_a_channel_that_does_not_exist_is_refused() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let channel: Jid = "120363000000000009@newsletter".parse().expect("an address");
    let words = NodeBuilder::new("plaintext").bytes(vec![10, 2, b'h', b'i']);
    let message = NodeBuilder::new("message")
        .attr("id", "CHANNEL1")
        .attr("to", channel)
        .attr("type", "text")
        .children([words.build()])
        .build();
    shop.client.send_node(message).await.expect("sent");
    assert_eq!(shop.verdict("CHANNEL1").await.as_deref(), Some("404"));
    rig.finish();
}

/// A question without a type, as some clients report their numbers.
fn report(id: &str) -> Node {
    NodeBuilder::new("iq")
        .attr("id", id)
        .attr("to", "s.whatsapp.net")
        .attr("xmlns", "w:stats")
        .children([NodeBuilder::new("add").attr("t", 1).build()])
        .build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_without_a_type_is_answered() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let filter = whatsapp_rust::NodeFilter::tag("iq").attr("id", "REPORT1");
    let answer = shop.client.wait_for_node(filter);
    shop.client
        .send_node(report("REPORT1"))
        .await
        .expect("sent");
    let answer = tokio::time::timeout(super::rig::PATIENCE, answer).await;
    let answer = answer.expect("an answer").expect("an answer");
    let kind = answer.get().get_attr("type").map(|kind| kind.to_string());
    assert_eq!(kind.as_deref(), Some("result"));
    rig.finish();
}
