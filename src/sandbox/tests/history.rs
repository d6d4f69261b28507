//! What a phone shows its companions of what it remembers.

use std::sync::Arc;

use whatsapp_rust::Jid;
use whatsapp_rust::prelude::*;
use whatsapp_rust::types::message::{MessageInfo, MessageSource};
use whatsapp_rust::waproto::whatsapp::HistorySync;

use super::rig::{Device, Rig, said};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";
const STAFF: &str = "6285550001111";

async fn history(device: &mut Device) -> HistorySync {
    device
        .wait("a history", |event| match event {
            Event::HistorySync(history) => history.get().cloned(),
            _ => None,
        })
        .await
}

/// The texts of each chat, newest first.
fn texts(history: &HistorySync) -> Vec<(String, Vec<String>)> {
    let chats = history.conversations.iter().map(|chat| {
        let texts = chat.messages.iter().map(|one| {
            let message = one.message.as_option().expect("a message");
            let message = message.message.as_option().expect("what it says");
            message.text_content().unwrap_or_default().to_owned()
        });
        (chat.id.clone(), texts.collect())
    });
    chats.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_companion_sees_the_chats_of_the_phone_and_asks_for_more() {
    let rig = Rig::new().await;
    for n in 0..60 {
        let (from, to) = if n % 2 == 0 {
            (CUSTOMER, SHOP)
        } else {
            (SHOP, CUSTOMER)
        };
        rig.network
            .send_text(from, to, &format!("{n}"))
            .expect("sent");
    }
    let members = [SHOP, STAFF].map(str::to_owned);
    let group = rig
        .network
        .create_group(CUSTOMER, "Toko", &members)
        .expect("made");
    rig.network
        .send_text(STAFF, &group, "in the group")
        .expect("sent");
    let mut shop = rig.curious_companion(SHOP).await;
    let seen = history(&mut shop).await;
    assert!(seen.nct_salt.is_some());
    let shown = texts(&seen);
    let customer = Jid::pn(CUSTOMER).to_string();
    let chat = shown.iter().find(|(chat, _)| *chat == customer);
    let of_customer = &chat.expect("the customer").1;
    assert_eq!(of_customer.len(), 50);
    let chat = shown.iter().find(|(chat, _)| *chat == group);
    assert_eq!(chat.expect("the group").1, ["in the group"]);

    let oldest = seen.conversations.iter().find(|chat| chat.id == customer);
    let oldest = oldest.expect("the customer").messages.last().expect("one");
    let oldest = oldest.message.as_option().expect("a message");
    let id = oldest.key.id.clone().expect("an id");
    let own = oldest.key.from_me.unwrap_or(false);
    let asked = shop
        .client
        .fetch_message_history(&Jid::pn(CUSTOMER), &id, own, 0, 4)
        .await
        .expect("asked");
    let more = shop
        .wait("older messages", |event| match event {
            Event::HistorySync(history) => {
                let answer = history.peer_data_request_session_id() == Some(asked.as_str());
                answer.then(|| history.get().cloned()).flatten()
            }
            _ => None,
        })
        .await;
    let more = texts(&more);
    assert_eq!((more.len(), more[0].1.len()), (1, 4));
    assert!(more[0].1.iter().all(|text| !of_customer.contains(text)));
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companion_gets_a_message_from_its_phone_that_it_could_not_read() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let id = rig
        .network
        .send_text(CUSTOMER, SHOP, "once more")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "once more");
    let info = MessageInfo {
        id: id.clone(),
        source: MessageSource {
            chat: Jid::pn(CUSTOMER),
            sender: Jid::pn(CUSTOMER),
            ..Default::default()
        },
        ..Default::default()
    };
    let asked = shop
        .client
        .send_pdo_placeholder_resend_request(&Arc::new(info))
        .await;
    asked.expect("asked");
    let again = shop.message().await;
    assert_eq!((said(&again).as_str(), &again.info.id), ("once more", &id));
    rig.finish();
}
