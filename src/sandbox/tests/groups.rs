//! Groups and status posts.

use serde_json::json;
use whatsapp_rust::features::GroupCreateOptions;
use whatsapp_rust::prelude::*;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::waproto::whatsapp::message::extended_text_message::FontType;
use whatsapp_rust::{GroupParticipantOptions, Jid, StatusSendOptions};

use super::rig::{Rig, eventually, said};
use crate::sandbox::{Form, NetworkOptions, Profile};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";
const STAFF: &str = "6285550001111";

async fn talk_in_a_group(form: Form) {
    let rig = Rig::with(NetworkOptions {
        form,
        groups: Some(form),
        ..NetworkOptions::default()
    })
    .await;
    let mut shop = rig.companion(SHOP).await;
    let mut staff = rig.companion(STAFF).await;
    let members = [SHOP, STAFF].map(str::to_owned);
    let group = rig
        .network
        .create_group(CUSTOMER, "Warung", &members)
        .expect("made");
    let jid: Jid = group.parse().expect("an address");
    let known = shop
        .client
        .groups()
        .get_participating()
        .await
        .expect("groups");
    assert_eq!(known.len(), 1);
    assert_eq!(known[&jid].subject, "Warung");
    assert_eq!(known[&jid].participants.len(), 3);
    shop.client
        .send_text(&jid, "Rapat jam 3")
        .await
        .expect("sent");
    let seen = staff.message().await;
    assert_eq!(said(&seen), "Rapat jam 3");
    assert_eq!(seen.info.source.chat, jid);
    let messages = rig.received(CUSTOMER, 1).await;
    assert_eq!(
        (messages[0].chat.as_str(), messages[0].from.as_str()),
        (group.as_str(), SHOP)
    );
    staff.client.send_text(&jid, "Siap").await.expect("sent");
    assert_eq!(said(&shop.message().await), "Siap");
    rig.network
        .send_text(CUSTOMER, &group, "Saya terlambat")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "Saya terlambat");
    assert_eq!(said(&staff.message().await), "Saya terlambat");
    for n in 0..5 {
        shop.client
            .send_text(&jid, format!("{n}"))
            .await
            .expect("sent");
        assert_eq!(said(&staff.message().await), n.to_string());
        rig.network
            .send_text(CUSTOMER, &group, &format!("phone {n}"))
            .expect("sent");
        assert_eq!(said(&shop.message().await), format!("phone {n}"));
        assert_eq!(said(&staff.message().await), format!("phone {n}"));
    }
    rig.received(CUSTOMER, 7).await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_talk_to_each_other_by_number() {
    talk_in_a_group(Form::Pn).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_talk_to_each_other_by_hidden_id() {
    talk_in_a_group(Form::Lid).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_makes_and_changes_a_group() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let mut staff = rig.companion(STAFF).await;
    let customer = Jid::pn(CUSTOMER);
    let groups = shop.client.groups();
    let options = GroupCreateOptions::builder()
        .subject("Toko")
        .participants(vec![GroupParticipantOptions::new(Jid::pn(STAFF))])
        .build();
    let made = groups.create_group(options).await.expect("made");
    let group = made.metadata.id.clone();
    // As WhatsApp makes them today.
    let people = &made.metadata.participants;
    assert!(people.iter().all(|who| who.jid.is_lid()));
    assert!(people.iter().all(|who| who.phone_number.is_some()));
    staff
        .wait("the new group", |event| {
            matches!(event, Event::GroupUpdate(_)).then_some(())
        })
        .await;
    let added = groups
        .add_participants(&group, std::slice::from_ref(&customer))
        .await;
    let added = added.expect("answered");
    assert!(added[0].is_ok());
    assert_eq!(added[0].status.as_deref(), Some("200"));
    staff
        .wait("the new member", |event| {
            matches!(event, Event::GroupUpdate(_)).then_some(())
        })
        .await;
    let promoted = groups.promote_participants(&group, &[Jid::pn(STAFF)]).await;
    promoted.expect("promoted");
    groups
        .set_subject(
            &group,
            whatsapp_rust::GroupSubject::new("Toko Baru").expect("a subject"),
        )
        .await
        .expect("renamed");
    groups.set_announce(&group, true).await.expect("announced");
    let link = groups.get_invite_link(&group, false).await.expect("a link");
    let seen = rig.network.groups().remove(0);
    assert_eq!(seen.subject, "Toko Baru");
    assert!(seen.announcement && link.ends_with(&seen.invite));
    assert_eq!(seen.members[STAFF], "admin");
    assert_eq!(seen.members[CUSTOMER], "member");
    assert!(
        rig.network.send_text(CUSTOMER, &seen.id, "may I?").is_err(),
        "only admins may write"
    );
    groups.set_announce(&group, false).await.expect("opened");
    let removed = groups.remove_participants(&group, &[customer]).await;
    removed.expect("removed");
    assert_eq!(rig.network.groups()[0].members.len(), 2);
    let stranger = rig.companion(CUSTOMER).await;
    let info = stranger
        .client
        .groups()
        .get_invite_info(&link)
        .await
        .expect("the group");
    assert_eq!(info.subject, "Toko Baru");
    stranger
        .client
        .groups()
        .join_with_invite_code(&link)
        .await
        .expect("joined");
    assert_eq!(rig.network.groups()[0].members.len(), 3);
    stranger.client.groups().leave(&group).await.expect("left");
    assert_eq!(rig.network.groups()[0].members.len(), 2);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_does_not_hear_more() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let members = [SHOP, STAFF].map(str::to_owned);
    let group = rig
        .network
        .create_group(CUSTOMER, "Warung", &members)
        .expect("made");
    let jid: Jid = group.parse().expect("an address");
    rig.network
        .send_text(CUSTOMER, &group, "one")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "one");
    shop.client.groups().leave(&jid).await.expect("left");
    rig.network
        .send_text(CUSTOMER, &group, "two")
        .expect("sent");
    rig.received(STAFF, 2).await;
    let sent = shop.client.send_text(&jid, "still there?").await;
    if let Ok(sent) = sent {
        assert_eq!(shop.verdict(&sent.message_id).await.as_deref(), Some("403"));
    }
    assert_eq!(rig.network.messages(STAFF).expect("messages").len(), 2);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_post_reaches_those_it_is_for() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let mut staff = rig.companion(STAFF).await;
    let people = [Jid::pn(CUSTOMER), Jid::pn(STAFF)];
    // Whom a client never met has no hidden id that it knows of.
    shop.client
        .contacts()
        .is_on_whatsapp(&people)
        .await
        .expect("known");
    shop.client
        .status()
        .send_text(
            "Buka!",
            0xff00_0000,
            FontType::SYSTEM,
            &people,
            StatusSendOptions::default(),
        )
        .await
        .expect("posted");
    let messages = rig.received(CUSTOMER, 1).await;
    assert_eq!(
        (messages[0].chat.as_str(), messages[0].from.as_str()),
        ("status@broadcast", SHOP)
    );
    assert_eq!(messages[0].text.as_deref(), Some("Buka!"));
    assert_eq!(said(&staff.message().await), "Buka!");
    eventually("the own phone", || {
        (rig.network.copies(SHOP).expect("copies").len() == 1).then_some(())
    })
    .await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_group_calls_its_members_by_hidden_id_and_another_by_number() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let mut staff = rig.companion(STAFF).await;
    for (addressing, hidden) in [("lid", true), ("pn", false)] {
        let body = json!({ "subject": addressing, "by": CUSTOMER,
            "participants": [SHOP, STAFF], "addressing": addressing });
        let made = rig.ask("POST", "/sandbox/groups", body).await;
        let group = made["id"].as_str().expect("an id");
        let jid: Jid = group.parse().expect("an address");
        let known = shop
            .client
            .groups()
            .get_metadata(&jid)
            .await
            .expect("known");
        assert!(
            known
                .participants
                .iter()
                .all(|who| who.jid.is_lid() == hidden)
        );
        rig.network
            .send_text(CUSTOMER, group, "hello")
            .expect("sent");
        let heard = shop.message().await;
        assert_eq!(said(&heard), "hello");
        assert_eq!(heard.info.source.sender.is_lid(), hidden);
        assert_eq!(said(&staff.message().await), "hello");
        shop.client.send_text(&jid, "good day").await.expect("sent");
        let heard = staff.message().await;
        assert_eq!(said(&heard), "good day");
        assert_eq!(heard.info.source.sender.is_lid(), hidden);
    }
    let messages = rig.received(CUSTOMER, 2).await;
    assert!(messages.iter().all(|message| message.from == SHOP));
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_of_a_phone_reaches_those_it_talks_with() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    rig.network
        .send_text(CUSTOMER, SHOP, "hello")
        .expect("sent");
    assert_eq!(said(&shop.message().await), "hello");
    let posted = rig
        .network
        .send_text(CUSTOMER, "status@broadcast", "my lunch");
    posted.expect("posted");
    let story = shop.message().await;
    assert_eq!(said(&story), "my lunch");
    assert_eq!(story.info.source.chat, Jid::status_broadcast());
    assert_eq!(story.info.source.sender.user, CUSTOMER);
    let strangers = rig.network.messages(STAFF).expect("messages");
    assert!(strangers.is_empty());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_is_not_handed_to_a_writer_who_does_not_name_himself() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let off = Profile {
        online: false,
        ..Profile::default()
    };
    rig.network.set_phone(CUSTOMER, off).expect("set");
    let sealed = |kind: &'static str| {
        let enc = NodeBuilder::new("enc").attr("v", 2).attr("type", kind);
        enc.bytes(vec![0x33, 1, 2, 3]).build()
    };
    let to = NodeBuilder::new("to")
        .attr("jid", Jid::pn(CUSTOMER))
        .children([sealed("pkmsg")]);
    let story = NodeBuilder::new("message")
        .attr("id", "STORY1")
        .attr("to", Jid::status_broadcast())
        .attr("type", "text")
        .children([
            NodeBuilder::new("participants")
                .children([to.build()])
                .build(),
            sealed("skmsg"),
        ]);
    shop.client.send_node(story.build()).await.expect("sent");
    assert_eq!(shop.verdict("STORY1").await, None);
    // The writer's own phone would have nothing to read it with.
    assert_eq!(rig.network.stats().undecryptable, 0);
    rig.finish();
}
