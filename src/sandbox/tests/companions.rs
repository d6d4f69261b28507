//! Several devices of one account.

use whatsapp_rust::Jid;
use whatsapp_rust::prelude::*;
use whatsapp_rust::wacore::types::presence::ReceiptType;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;

use super::rig::{Rig, eventually, said};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_companion_gets_what_is_received_and_what_the_others_send() {
    let rig = Rig::new().await;
    let mut first = rig.companion(SHOP).await;
    let mut second = rig.companion(SHOP).await;
    assert_eq!(rig.network.overview().accounts[0].companions.len(), 2);
    rig.network
        .send_text(CUSTOMER, SHOP, "to both")
        .expect("sent");
    assert_eq!(said(&first.message().await), "to both");
    assert_eq!(said(&second.message().await), "to both");
    first
        .client
        .send_text(Jid::pn(CUSTOMER), "from the first")
        .await
        .expect("sent");
    let echo = second.message().await;
    assert_eq!(said(&echo), "from the first");
    assert!(echo.info.source.is_from_me);
    assert_eq!(echo.info.source.chat.user, CUSTOMER);
    second
        .client
        .send_text(Jid::pn(CUSTOMER), "from the second")
        .await
        .expect("sent");
    assert_eq!(said(&first.message().await), "from the second");
    let messages = rig.received(CUSTOMER, 2).await;
    assert_eq!((messages[0].device, messages[1].device), (1, 2));
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_writes_shows_it_to_its_companions() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    rig.network
        .send_text(SHOP, CUSTOMER, "from the phone itself")
        .expect("sent");
    let echo = shop.message().await;
    assert_eq!(said(&echo), "from the phone itself");
    assert!(echo.info.source.is_from_me);
    assert_eq!(echo.info.source.chat.user, CUSTOMER);
    assert_eq!(rig.received(CUSTOMER, 1).await[0].device, 0);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_learn_of_new_devices() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let mut first = rig.companion(CUSTOMER).await;
    shop.client
        .send_text(Jid::pn(CUSTOMER), "one")
        .await
        .expect("sent");
    assert_eq!(said(&first.message().await), "one");
    let mut second = rig.companion(CUSTOMER).await;
    // The list of devices changes at the sender when the server's word has been worked off.
    eventually("the sender's confirmation", || {
        let accounts = rig.network.overview().accounts;
        let shop = accounts.iter().find(|account| account.phone == SHOP)?;
        (shop.companions[0].waiting == 0).then_some(())
    })
    .await;
    shop.client
        .send_text(Jid::pn(CUSTOMER), "two")
        .await
        .expect("sent");
    assert_eq!(said(&first.message().await), "two");
    assert_eq!(said(&second.message().await), "two");
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_side_can_unlink() {
    let rig = Rig::new().await;
    let mut first = rig.companion(SHOP).await;
    let mut second = rig.companion(SHOP).await;
    first.client.logout().await;
    first
        .wait("the end", |event| {
            matches!(event, Event::LoggedOut(_)).then_some(())
        })
        .await;
    assert_eq!(rig.network.overview().accounts[0].companions.len(), 1);
    rig.network.log_out(SHOP, Some(2)).expect("unlinked");
    second
        .wait("the end", |event| {
            matches!(event, Event::LoggedOut(_)).then_some(())
        })
        .await;
    assert!(rig.network.overview().accounts[0].companions.is_empty());
    let backend = second.backend.clone();
    second.handle.shutdown().await;
    let mut again = rig.restart(backend).await;
    again
        .wait("the refusal", |event| {
            matches!(event, Event::LoggedOut(_)).then_some(())
        })
        .await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_device_reads_the_others_know() {
    let rig = Rig::new().await;
    let mut first = rig.companion(SHOP).await;
    let mut second = rig.companion(SHOP).await;
    let customer = Jid::pn(CUSTOMER);
    let one = rig.network.send_text(CUSTOMER, SHOP, "one").expect("sent");
    assert_eq!(said(&first.message().await), "one");
    assert_eq!(said(&second.message().await), "one");
    let read = first.client.mark_as_read(&customer, None, &[&one]).await;
    read.expect("read");
    second.receipt(&one, ReceiptType::Read).await;
    eventually("the sender's phone", || {
        rig.network.sent(CUSTOMER).expect("sent")[0]
            .read
            .then_some(())
    })
    .await;

    let two = rig.network.send_text(CUSTOMER, SHOP, "two").expect("sent");
    assert_eq!(said(&second.message().await), "two");
    rig.network.read(SHOP, &two).expect("read by the phone");
    second.receipt(&two, ReceiptType::Read).await;

    // One who does not want others to know reads for himself.
    let three = rig
        .network
        .send_text(CUSTOMER, SHOP, "three")
        .expect("sent");
    assert_eq!(said(&second.message().await), "three");
    let quietly = NodeBuilder::new("receipt")
        .attr("id", three.as_str())
        .attr("to", customer)
        .attr("type", "read-self")
        .build();
    first.client.send_node(quietly).await.expect("sent");
    second.receipt(&three, ReceiptType::ReadSelf).await;
    assert!(!rig.network.sent(CUSTOMER).expect("sent")[2].read);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companion_goes_by_the_name_that_it_gives() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let mut customer = rig.companion(CUSTOMER).await;
    let renamed = shop.client.profile().set_push_name("Toko Baru").await;
    renamed.expect("renamed");
    let sent = shop.client.send_text(Jid::pn(CUSTOMER), "new sign").await;
    sent.expect("sent");
    assert_eq!(customer.message().await.info.push_name, "Toko Baru");
    rig.finish();
}
