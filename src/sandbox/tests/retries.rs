//! Messages that cannot be read are asked for again, in both directions.

use whatsapp_rust::Jid;

use super::rig::{Rig, eventually, said};
use crate::sandbox::Fault;

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_lost_its_sessions_gets_the_message_again() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let to = Jid::pn(CUSTOMER);
    shop.client.send_text(&to, "one").await.expect("sent");
    rig.received(CUSTOMER, 1).await;
    rig.network.send_text(CUSTOMER, SHOP, "two").expect("sent");
    assert_eq!(said(&shop.message().await), "two");
    shop.client.send_text(&to, "three").await.expect("sent");
    rig.received(CUSTOMER, 2).await;
    rig.network.lose_sessions(CUSTOMER).expect("lost");
    let sent = shop.client.send_text(&to, "four").await.expect("sent");
    let messages = rig.received(CUSTOMER, 3).await;
    assert_eq!(messages[2].text.as_deref(), Some("four"));
    assert_eq!(messages[2].id, sent.message_id);
    assert!(rig.network.stats().undecryptable >= 1);
    assert_eq!(rig.network.stats().unknown_stanzas, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_keys_gets_the_message_to_the_group_again() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let group = rig
        .network
        .create_group(CUSTOMER, "Toko", &[SHOP.to_owned()])
        .expect("made");
    let to: Jid = group.parse().expect("an address");
    shop.client.send_text(&to, "one").await.expect("sent");
    rig.received(CUSTOMER, 1).await;
    rig.network
        .send_text(CUSTOMER, &group, "two")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "two");
    rig.network.lose_sessions(CUSTOMER).expect("lost");
    shop.client.send_text(&to, "three").await.expect("sent");
    let messages = rig.received(CUSTOMER, 2).await;
    assert_eq!(messages[1].text.as_deref(), Some("three"));
    assert_eq!(messages[1].chat, group);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_cannot_read_gets_the_message_again() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    rig.network.send_text(CUSTOMER, SHOP, "one").expect("sent");
    assert_eq!(said(&shop.message().await), "one");
    let garble = Fault {
        garble: true,
        count: Some(1),
        ..Fault::default()
    };
    rig.network.order_fault(garble).expect("ordered");
    let id = rig.network.send_text(CUSTOMER, SHOP, "two").expect("sent");
    let message = shop.message().await;
    assert_eq!(
        (said(&message).as_str(), message.info.id.as_str()),
        ("two", id.as_str())
    );
    rig.network
        .send_text(CUSTOMER, SHOP, "three")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "three");
    eventually("every confirmation", || {
        (rig.network.overview().accounts[0].companions[0].waiting == 0).then_some(())
    })
    .await;
    rig.finish();
}
