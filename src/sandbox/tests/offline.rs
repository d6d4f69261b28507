//! What waits while a client is away.

use whatsapp_rust::Jid;
use whatsapp_rust::wacore::types::presence::ReceiptType;

use super::rig::{Rig, eventually, said};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_wait_for_a_client_that_is_away() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    rig.network
        .send_text(CUSTOMER, SHOP, "before")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "before");
    let waiting = || rig.network.overview().accounts[0].companions[0].waiting;
    eventually("the confirmation", || (waiting() == 0).then_some(())).await;
    let backend = shop.backend.clone();
    shop.handle.shutdown().await;
    for n in 0..30 {
        rig.network
            .send_text(CUSTOMER, SHOP, &format!("{n}"))
            .expect("sent");
    }
    assert_eq!(waiting(), 30);
    let mut shop = rig.restart(backend).await;
    let texts = shop.texts(30).await;
    let expected: Vec<_> = (0..30).map(|n| n.to_string()).collect();
    assert_eq!(texts, expected);
    eventually("every confirmation", || (waiting() == 0).then_some(())).await;
    let sent = rig.network.sent(CUSTOMER).expect("sent");
    assert!(
        sent.iter().all(|message| message.delivered),
        "the sender knows that they arrived"
    );
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_client_gets_again_what_it_did_not_confirm() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let backend = shop.backend.clone();
    shop.handle.abort();
    drop(shop);
    rig.network
        .send_text(CUSTOMER, SHOP, "are you there?")
        .expect("sent");
    let mut shop = rig.restart(backend).await;
    assert_eq!(said(&shop.message().await), "are you there?");
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_seen_by_writers() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let id = rig
        .network
        .send_text(CUSTOMER, SHOP, "read me")
        .expect("sent");
    let message = shop.message().await;
    shop.client
        .mark_as_read(&message.info.source.chat, None, &[id.as_str()])
        .await
        .expect("read");
    eventually("the reader", || {
        rig.network.sent(CUSTOMER).expect("sent")[0]
            .read
            .then_some(())
    })
    .await;
    let sent = shop
        .client
        .send_text(Jid::pn(CUSTOMER), "and me")
        .await
        .expect("sent");
    let messages = rig.received(CUSTOMER, 1).await;
    shop.receipt(&sent.message_id, ReceiptType::Delivered).await;
    rig.network.read(CUSTOMER, &messages[0].id).expect("read");
    shop.receipt(&sent.message_id, ReceiptType::Read).await;
    rig.finish();
}
