//! Settings that the devices of an account share.

use std::time::Duration;

use whatsapp_rust::Jid;
use whatsapp_rust::prelude::*;

use super::rig::{Rig, eventually};
use crate::sandbox::Profile;

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_companion_changes_the_others_see() {
    let rig = Rig::new().await;
    let first = rig.companion(SHOP).await;
    let mut second = rig.companion(SHOP).await;
    let chat = Jid::pn(CUSTOMER);
    // The library skips what is announced while its first synchronisation runs, until the next
    // change is announced: the user archives again.
    let mut seen = false;
    for _ in 0..10 {
        let archived = first.client.chat_actions().archive_chat(&chat, None).await;
        archived.expect("archived");
        let update = second.wait("the archived chat", |event| {
            matches!(event, Event::ArchiveUpdate(_)).then_some(())
        });
        seen = tokio::time::timeout(Duration::from_secs(1), update)
            .await
            .is_ok();
        if seen {
            break;
        }
    }
    assert!(seen, "the other companion sees the archived chat");
    second
        .client
        .chat_actions()
        .pin_chat(&chat)
        .await
        .expect("pinned");
    let mut third = rig.companion(SHOP).await;
    third
        .wait("the archived chat", |event| {
            matches!(event, Event::ArchiveUpdate(_)).then_some(())
        })
        .await;
    third
        .wait("the pinned chat", |event| {
            matches!(event, Event::PinUpdate(_)).then_some(())
        })
        .await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn companions_learn_names_from_the_phone() {
    let rig = Rig::new().await;
    let named = |name: &str| Profile {
        name: Some(name.to_owned()),
        ..Profile::default()
    };
    rig.network
        .set_phone(SHOP, named("Warung Bu Sri"))
        .expect("set");
    let mut shop = rig.companion(SHOP).await;
    eventually("the name", || {
        (shop.client.push_name() == "Warung Bu Sri").then_some(())
    })
    .await;
    rig.network
        .set_phone(SHOP, named("Warung Pak Joko"))
        .expect("set");
    eventually("the new name", || {
        (shop.client.push_name() == "Warung Pak Joko").then_some(())
    })
    .await;
    rig.network
        .save_contact(SHOP, CUSTOMER, "Budi Santoso")
        .expect("saved");
    let contact = shop
        .wait("the contact", |event| match event {
            Event::ContactUpdate(update) => Some(update.clone()),
            _ => None,
        })
        .await;
    assert_eq!(contact.jid, Jid::pn(CUSTOMER));
    assert_eq!(contact.action.full_name.as_deref(), Some("Budi Santoso"));
    rig.finish();
}
