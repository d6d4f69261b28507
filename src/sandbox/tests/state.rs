//! A network that is started again from its state file.

use std::path::Path;

use whatsapp_rust::Jid;

use super::rig::{Rig, said};
use crate::sandbox::{Network, NetworkOptions, PhoneDraft, Profile};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";
const OFF: &str = "6285550001111";

/// The network as a kill at this moment would leave it.
async fn killed(rig: &Rig, from: &Path, to: &Path) -> Rig {
    rig.network.save().expect("written");
    std::fs::copy(from, to).expect("copied");
    Rig::with(NetworkOptions::kept_in(to)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_where_he_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let rig = Rig::with(NetworkOptions::kept_in(&path)).await;
    let mut shop = rig.companion(SHOP).await;
    let to = Jid::pn(CUSTOMER);
    shop.client.send_text(&to, "one").await.expect("sent");
    rig.received(CUSTOMER, 1).await;
    let question = rig.network.send_text(CUSTOMER, SHOP, "two").expect("sent");
    assert_eq!(said(&shop.message().await), "two");
    let members = [SHOP, OFF].map(str::to_owned);
    let group = rig
        .network
        .create_group(CUSTOMER, "Toko", &members)
        .expect("made");
    rig.network
        .send_text(CUSTOMER, &group, "three")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "three");
    let off = Profile {
        online: false,
        name: Some("Off".to_owned()),
        ..Profile::default()
    };
    rig.network.set_phone(OFF, off).expect("set");
    shop.client
        .send_text(Jid::pn(OFF), "four")
        .await
        .expect("sent");
    rig.taken(4).await;
    rig.finish();
    let backend = shop.backend.clone();
    shop.handle.shutdown().await;
    rig.network
        .send_text(CUSTOMER, SHOP, "while away")
        .expect("sent");

    let second = killed(&rig, &path, &copy).await;
    assert_eq!(
        second.network.root_public_key(),
        rig.network.root_public_key()
    );
    let mut shop = second.restart(backend).await;
    assert_eq!(said(&shop.message().await), "while away");
    assert_eq!(
        second.network.stats().handshakes_ik,
        1,
        "the server's key is the same"
    );
    assert_eq!(
        second.network.messages(CUSTOMER).expect("messages").len(),
        1
    );
    assert_eq!(second.network.groups()[0].subject, "Toko");
    shop.client.send_text(&to, "five").await.expect("sent");
    assert_eq!(
        second.received(CUSTOMER, 2).await[1].text.as_deref(),
        Some("five")
    );
    let draft = PhoneDraft {
        text: Some("again".to_owned()),
        quoted_id: Some(question),
        ..PhoneDraft::default()
    };
    second.network.send(CUSTOMER, SHOP, &draft).expect("sent");
    assert_eq!(said(&shop.message().await), "again");
    second
        .network
        .send_text(CUSTOMER, &group, "six")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "six");
    second
        .network
        .set_phone(OFF, Profile::default())
        .expect("set");
    second.received(OFF, 2).await;
    second.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let rig = Rig::with(NetworkOptions::kept_in(&path)).await;
    let mut shop = rig.companion(SHOP).await;
    let off = Profile {
        online: false,
        ..Profile::default()
    };
    rig.network.set_phone(OFF, off).expect("set");
    for n in 1..=10 {
        for to in [CUSTOMER, OFF] {
            let sent = shop.client.send_text(Jid::pn(to), format!("{n}")).await;
            let id = sent.expect("sent").message_id;
            assert_eq!(shop.verdict(&id).await, None);
        }
        // The file as a kill at this moment leaves it: nobody has asked for it to be written.
        std::fs::copy(&path, &copy).expect("copied");
        let second = Network::open(NetworkOptions::kept_in(&copy)).expect("opens");
        assert_eq!(second.messages(CUSTOMER).expect("messages").len(), n);
        second.set_phone(OFF, Profile::default()).expect("set");
        assert_eq!(second.messages(OFF).expect("messages").len(), n);
    }
    let set = shop.client.profile();
    let set = set.set_profile_picture(vec![1, 2, 3]).await;
    set.expect("set");
    std::fs::copy(&path, &copy).expect("copied");
    let second = Rig::with(NetworkOptions::kept_in(&copy)).await;
    let backend = shop.backend.clone();
    shop.handle.shutdown().await;
    let mut shop = second.restart(backend).await;
    shop.connected().await;
    let own = shop
        .client
        .contacts()
        .get_profile_picture(&Jid::pn(SHOP), false)
        .await;
    let path = own.expect("answered").expect("a picture").direct_path;
    let file = second.network.file(&path.expect("a path"));
    assert_eq!(file.as_deref(), Some(&[1, 2, 3][..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_was_set_back_asks_for_what_it_cannot_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let rig = Rig::with(NetworkOptions::kept_in(&path)).await;
    let mut shop = rig.companion(SHOP).await;
    let to = Jid::pn(CUSTOMER);
    rig.network.save().expect("written");
    std::fs::copy(&path, &copy).expect("copied");
    for n in 0..3 {
        shop.client
            .send_text(&to, format!("{n}"))
            .await
            .expect("sent");
        rig.received(CUSTOMER, n + 1).await;
        rig.network
            .send_text(CUSTOMER, SHOP, "answer")
            .expect("sent");
        assert_eq!(said(&shop.message().await), "answer");
    }
    let backend = shop.backend.clone();
    shop.handle.shutdown().await;

    let second = Rig::with(NetworkOptions::kept_in(&copy)).await;
    let mut shop = second.restart(backend).await;
    shop.connected().await;
    shop.client
        .send_text(&to, "unreadable at first")
        .await
        .expect("sent");
    let messages = second.received(CUSTOMER, 1).await;
    assert_eq!(messages[0].text.as_deref(), Some("unreadable at first"));
    second
        .network
        .send_text(CUSTOMER, SHOP, "fresh")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "fresh");
}
