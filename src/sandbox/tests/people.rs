//! Who is registered, who is there, who types, who calls.

use whatsapp_rust::Jid;
use whatsapp_rust::prelude::*;
use whatsapp_rust::wacore::types::call::CallAction;

use super::rig::{Rig, eventually};
use crate::sandbox::{Profile, Typing};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";
const NOBODY: &str = "6280000000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tells_who_is_registered() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let gone = Profile {
        registered: false,
        ..Profile::default()
    };
    rig.network.set_phone(NOBODY, gone).expect("set");
    let answers = shop
        .client
        .contacts()
        .is_on_whatsapp(&[Jid::pn(CUSTOMER), Jid::pn(NOBODY)])
        .await
        .expect("answered");
    let of = |phone: &str| answers.iter().find(|answer| answer.jid.user == phone);
    assert!(of(CUSTOMER).expect("answered").is_registered);
    assert!(of(NOBODY).is_none_or(|answer| !answer.is_registered));
    assert!(rig.network.send_text(CUSTOMER, NOBODY, "hello?").is_err());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shows_who_is_there_and_who_types() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    shop.client
        .presence()
        .subscribe(&Jid::pn(CUSTOMER))
        .await
        .expect("subscribed");
    let there = |event: &Event| match event {
        Event::Presence(update) => Some(!update.unavailable),
        _ => None,
    };
    assert!(shop.wait("the presence", there).await);
    rig.network
        .set_phone(
            CUSTOMER,
            Profile {
                online: false,
                ..Profile::default()
            },
        )
        .expect("set");
    assert!(!shop.wait("the absence", there).await);
    rig.network
        .typing(CUSTOMER, SHOP, Typing::Composing)
        .expect("typed");
    shop.wait("the typing", |event| {
        matches!(event, Event::ChatPresence(_)).then_some(())
    })
    .await;
    shop.client
        .chatstate()
        .send_composing(&Jid::pn(CUSTOMER))
        .await
        .expect("typed");
    let notices = eventually("the typing", || {
        let notices = rig.network.notices(CUSTOMER).expect("notices");
        (!notices.is_empty()).then_some(notices)
    })
    .await;
    assert_eq!(
        (notices[0].kind, notices[0].what.as_str()),
        ("typing", "composing")
    );
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_rings_and_is_declined() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let id = rig.network.call(CUSTOMER, SHOP, false).expect("rang");
    let call = shop
        .wait("the call", |event| match event {
            Event::IncomingCall(call) => Some(call.clone()),
            _ => None,
        })
        .await;
    assert_eq!(call.action.call_id(), id);
    shop.client.voip().reject(&call).await.expect("declined");
    let notices = eventually("the answer", || {
        let notices = rig.network.notices(CUSTOMER).expect("notices");
        (!notices.is_empty()).then_some(notices)
    })
    .await;
    assert_eq!(
        (notices[0].what.as_str(), notices[0].id.as_deref()),
        ("reject", Some(id.as_str()))
    );
    let id = rig.network.call(CUSTOMER, SHOP, true).expect("rang");
    rig.network.hang_up(CUSTOMER, SHOP, &id).expect("hung up");
    shop.wait("the end", |event| match event {
        Event::IncomingCall(call) if matches!(call.action, CallAction::Terminate { .. }) => {
            Some(())
        }
        Event::MissedCall(_) => Some(()),
        _ => None,
    })
    .await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_what_an_account_chooses() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let customer = Jid::pn(CUSTOMER);
    let picture = shop
        .client
        .contacts()
        .get_profile_picture(&customer, true)
        .await;
    assert!(!matches!(picture, Ok(Some(_))));
    shop.client
        .profile()
        .set_status_text("Buka 24 jam")
        .await
        .expect("set");
    shop.client
        .profile()
        .set_profile_picture(vec![1, 2, 3])
        .await
        .expect("set");
    let own = shop
        .client
        .contacts()
        .get_profile_picture(&Jid::pn(SHOP), false)
        .await;
    let own = own.expect("answered").expect("a picture");
    let path = own.direct_path.expect("a path");
    assert_eq!(rig.network.file(&path).as_deref(), Some(&[1, 2, 3][..]));
    shop.client
        .contacts()
        .is_on_whatsapp(std::slice::from_ref(&customer))
        .await
        .expect("known");
    shop.client
        .blocking()
        .block(&customer)
        .await
        .expect("blocked");
    assert_eq!(
        shop.client
            .blocking()
            .get_blocklist()
            .await
            .expect("list")
            .len(),
        1
    );
    shop.client
        .blocking()
        .unblock(&customer)
        .await
        .expect("unblocked");
    assert!(
        shop.client
            .blocking()
            .get_blocklist()
            .await
            .expect("list")
            .is_empty()
    );
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_hear_what_somebody_writes_about_himself() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let mut customer = rig.companion(CUSTOMER).await;
    let words = "Buka 24 jam";
    let set = shop.client.profile().set_status_text(words).await;
    set.expect("set");
    let heard = customer
        .wait("the words", |event| match event {
            Event::UserAboutUpdate(about) => Some((about.jid.clone(), about.status.clone())),
            _ => None,
        })
        .await;
    assert_eq!(heard, (Jid::pn(SHOP), words.to_owned()));
    let set = shop.client.profile().set_profile_picture(vec![1]).await;
    set.expect("set");
    // The device that set it waits for that word, too.
    shop.wait("the new picture", |event| {
        matches!(event, Event::PictureUpdate(_)).then_some(())
    })
    .await;
    rig.finish();
}
