//! Messages between two people.

use whatsapp_rust::Jid;
use whatsapp_rust::prelude::*;

use super::rig::{Rig, said};
use crate::sandbox::{Form, NetworkOptions, Profile, Receipts};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_reaches_the_phone_and_is_acknowledged() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let sent = shop
        .client
        .send_text(Jid::pn(CUSTOMER), "Selamat pagi")
        .await
        .expect("sent");
    let messages = rig.received(CUSTOMER, 1).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].text.as_deref(), Some("Selamat pagi"));
    assert_eq!((messages[0].from.as_str(), messages[0].device), (SHOP, 1));
    assert_eq!(messages[0].id, sent.message_id);
    let id = sent.message_id.clone();
    let error = shop
        .wait("the acknowledgement", |event| match event {
            Event::ServerAck(ack) if ack.id == id => Some(ack.error.clone()),
            _ => None,
        })
        .await;
    assert_eq!(error, None);
    shop.wait("the delivery receipt", |event| match event {
        Event::Receipt(receipt) if receipt.message_ids.contains(&id) => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(
        rig.network.copies(SHOP).expect("copies").len(),
        1,
        "the own phone sees it too"
    );
    assert_eq!(rig.network.stats().decrypted, 1);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_writes_and_gets_an_answer() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let id = rig
        .network
        .send_text(CUSTOMER, SHOP, "Ada beras?")
        .expect("sent");
    let message = shop.message().await;
    assert_eq!(said(&message), "Ada beras?");
    assert_eq!(message.info.id, id);
    assert_eq!(message.info.source.sender.user, CUSTOMER);
    shop.client
        .send_text(message.info.source.chat.clone(), "Ada")
        .await
        .expect("sent");
    let messages = rig.received(CUSTOMER, 1).await;
    assert_eq!(messages[0].text.as_deref(), Some("Ada"));
    for n in 0..20 {
        rig.network
            .send_text(CUSTOMER, SHOP, &format!("{n}"))
            .expect("sent");
        assert_eq!(said(&shop.message().await), n.to_string());
        shop.client
            .send_text(Jid::pn(CUSTOMER), format!("re {n}"))
            .await
            .expect("sent");
    }
    rig.received(CUSTOMER, 21).await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_write_to_each_other_by_number() {
    write_to_each_other(Form::Pn).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_write_to_each_other_by_hidden_id() {
    write_to_each_other(Form::Lid).await;
}

async fn write_to_each_other(form: Form) {
    let rig = Rig::with(NetworkOptions {
        form,
        ..NetworkOptions::default()
    })
    .await;
    let mut shop = rig.companion(SHOP).await;
    let mut customer = rig.companion(CUSTOMER).await;
    shop.client
        .send_text(Jid::pn(CUSTOMER), "Halo")
        .await
        .expect("sent");
    assert_eq!(said(&customer.message().await), "Halo");
    customer
        .client
        .send_text(Jid::pn(SHOP), "Halo juga")
        .await
        .expect("sent");
    assert_eq!(said(&shop.message().await), "Halo juga");
    rig.received(CUSTOMER, 1).await;
    rig.received(SHOP, 1).await;
    rig.network
        .send_text("6285550001111", SHOP, "Saya juga")
        .expect("sent");
    let third = shop.message().await;
    assert_eq!(third.info.source.sender.is_lid(), form == Form::Lid);
    shop.client
        .send_text(third.info.source.chat.clone(), "Halo")
        .await
        .expect("sent");
    rig.received("6285550001111", 1).await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_behaves_as_it_is_told() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let echo = Profile {
        echo: true,
        receipts: Receipts::Read,
        ..Profile::default()
    };
    rig.network.set_phone(CUSTOMER, echo.clone()).expect("set");
    let sent = shop
        .client
        .send_text(Jid::pn(CUSTOMER), "ping")
        .await
        .expect("sent");
    assert_eq!(said(&shop.message().await), "ping");
    shop.wait("the read receipt", |event| match event {
        Event::Receipt(receipt)
            if receipt.message_ids.contains(&sent.message_id)
                && receipt.r#type == whatsapp_rust::wacore::types::presence::ReceiptType::Read =>
        {
            Some(())
        }
        _ => None,
    })
    .await;
    let off = Profile {
        online: false,
        ..Profile::default()
    };
    rig.network.set_phone(CUSTOMER, off).expect("set");
    shop.client
        .send_text(Jid::pn(CUSTOMER), "later")
        .await
        .expect("sent");
    super::rig::eventually("the message at the server", || {
        (rig.network.stats().messages == 3).then_some(())
    })
    .await;
    assert_eq!(rig.network.messages(CUSTOMER).expect("messages").len(), 1);
    rig.network
        .set_phone(CUSTOMER, Profile::default())
        .expect("set");
    assert_eq!(
        rig.received(CUSTOMER, 2).await[1].text.as_deref(),
        Some("later")
    );
    rig.finish();
}
