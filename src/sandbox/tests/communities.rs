//! Communities and the groups below them.

use whatsapp_rust::features::{CreateCommunityOptions, GroupCreateOptions};
use whatsapp_rust::prelude::*;
use whatsapp_rust::wacore::stanza::groups::GroupNotificationAction as Action;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::{GroupParticipantOptions, GroupType, Jid, group_type};

use super::rig::{Rig, eventually};
use crate::sandbox::NetworkOptions;

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";
const STAFF: &str = "6285550001111";

async fn community(client: &Client, name: &str) -> Jid {
    let options = CreateCommunityOptions::new(name);
    let made = client.community().create(options).await;
    made.expect("made").metadata.id
}

async fn group(client: &Client, name: &str, with: &[&str]) -> Jid {
    let people = with.iter().map(|phone| Jid::pn(*phone));
    let options = GroupCreateOptions::builder()
        .subject(name)
        .participants(people.map(GroupParticipantOptions::new).collect())
        .build();
    let made = client.groups().create_group(options).await;
    made.expect("made").metadata.id
}

/// Who is in a group, by number.
fn members(rig: &Rig, subject: &str) -> Vec<String> {
    let mut groups = rig.network.groups().into_iter();
    let found = groups.rfind(|group| group.subject == subject);
    found
        .map(|group| group.members.into_keys().collect())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_community_has_a_group_for_announcements_and_a_general_one() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let client = &shop.client;
    let id = community(client, "Pasar").await;
    let known = client.groups().get_metadata(&id).await.expect("known");
    assert_eq!(group_type(&known), GroupType::Community);
    let below = client.community().get_subgroups(&id).await;
    let below = below.expect("answered");
    let marks = |group: &whatsapp_rust::features::CommunitySubgroup| {
        (group.is_default_sub_group, group.is_general_chat)
    };
    assert_eq!(
        below.iter().map(marks).collect::<Vec<_>>(),
        [(true, false), (false, true)]
    );
    let news = client.groups().get_metadata(&below[0].id).await;
    let news = news.expect("known");
    assert_eq!(group_type(&news), GroupType::LinkedAnnouncementGroup);
    assert_eq!(news.parent_group_jid, Some(id.clone()));
    assert!(news.is_announcement);
    // Who is no member is told nothing.
    let stranger = rig.companion(CUSTOMER).await;
    let asked = stranger.client.community().get_subgroups(&id).await;
    assert!(asked.is_err());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_comes_into_a_community_with_its_members_and_leaves_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let rig = Rig::with(NetworkOptions::kept_in(&path)).await;
    let shop = rig.companion(SHOP).await;
    let mut staff = rig.companion(STAFF).await;
    let client = shop.client.clone();
    let id = community(&client, "Pasar").await;
    let stall = group(&client, "Kios", &[STAFF]).await;
    let foreign = group(&staff.client, "Lain", &[]).await;
    let all = [stall.clone(), foreign.clone()];
    let linked = client.community().link_subgroups(&id, &all).await;
    let linked = linked.expect("answered");
    assert_eq!(linked.linked_jids, std::slice::from_ref(&stall));
    assert_eq!(linked.failed_groups, [(foreign, 403)]);
    let above = |event: &Event| match event {
        Event::GroupUpdate(update) => match &update.action {
            Action::Link { link_type, .. } => Some((update.group_jid.clone(), link_type.clone())),
            _ => None,
        },
        _ => None,
    };
    let mut news = vec![
        staff.wait("a link", above).await,
        staff.wait("a link", above).await,
    ];
    news.sort_unstable_by_key(|(_, kind)| kind.clone());
    let kinds = ["parent_group", "sub_group"].map(str::to_owned);
    let [under, over] = kinds;
    assert_eq!(news, [(stall.clone(), under), (id.clone(), over)]);
    assert_eq!(members(&rig, "Pasar"), [SHOP, STAFF]);

    let below = client.community().query_linked_group(&id, &stall).await;
    let below = below.expect("known");
    assert_eq!((below.id, &*below.subject), (stall.clone(), "Kios"));
    assert_eq!(below.parent_group_jid, Some(id.clone()));
    let market = client.community();
    let people = market.get_linked_groups_participants(&id).await;
    assert_eq!(people.expect("answered").len(), 2);
    let counts = market.get_subgroup_participant_counts(&id).await;
    assert!(counts.expect("answered").contains(&(stall.clone(), 2)));

    // A customer of the market goes to the stall by himself.
    let customer = rig.companion(CUSTOMER).await;
    let early = customer.client.community().join_subgroup(&id, &stall).await;
    assert!(early.is_err());
    let newcomer = [Jid::pn(CUSTOMER)];
    let added = client.groups().add_participants(&id, &newcomer).await;
    assert!(added.expect("answered")[0].is_ok());
    let joined = customer.client.community().join_subgroup(&id, &stall).await;
    assert_eq!(joined.expect("joined").participants.len(), 3);
    assert_eq!(members(&rig, "Kios"), [SHOP, STAFF, CUSTOMER]);

    // What stands where is there after a kill, too.
    let backend = shop.backend.clone();
    shop.handle.shutdown().await;
    rig.network.save().expect("saved");
    std::fs::copy(&path, &copy).expect("copied");
    let second = Rig::with(NetworkOptions::kept_in(&copy)).await;
    let mut shop = second.restart(backend).await;
    shop.connected().await;
    let client = &shop.client;
    let known = client.groups().get_metadata(&stall).await.expect("known");
    assert_eq!(known.parent_group_jid, Some(id.clone()));

    let market = client.community();
    let one = std::slice::from_ref(&stall);
    let gone = market.unlink_subgroups(&id, one, true).await;
    let gone = gone.expect("answered");
    assert_eq!(gone.unlinked_jids, std::slice::from_ref(&stall));
    assert_eq!(members(&second, "Kios"), [SHOP, STAFF, CUSTOMER]);
    eventually("the market without the stall's people", || {
        (members(&second, "Pasar") == [SHOP]).then_some(())
    })
    .await;
    let known = client.groups().get_metadata(&stall).await.expect("known");
    assert_eq!(group_type(&known), GroupType::Default);
    rig.finish();
    second.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_made_a_community_ends_it_and_its_groups_go_on() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let staff = rig.companion(STAFF).await;
    let id = community(&shop.client, "Pasar").await;
    let stall = group(&shop.client, "Kios", &[STAFF]).await;
    let market = shop.client.community();
    let one = std::slice::from_ref(&stall);
    market.link_subgroups(&id, one).await.expect("linked");
    assert!(staff.client.community().deactivate(&id).await.is_err());
    shop.client.community().deactivate(&id).await.expect("over");
    assert!(shop.client.groups().get_metadata(&id).await.is_err());
    let left: Vec<_> = rig
        .network
        .groups()
        .into_iter()
        .map(|g| g.subject)
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    let known = shop.client.groups().get_metadata(&stall).await;
    assert_eq!(group_type(&known.expect("known")), GroupType::Default);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_taken_out_of_a_community_is_in_none_of_its_groups() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let client = &shop.client;
    let id = community(client, "Pasar").await;
    let people = [Jid::pn(STAFF)];
    let market = client.community();
    let made = market.create_subgroup("Kios", &people, &id).await;
    let stall = made.expect("made").metadata;
    assert_eq!(stall.parent_group_jid, Some(id.clone()));
    assert_eq!(members(&rig, "Pasar"), [SHOP, STAFF]);
    let removed = market.remove_participants(&id, &people).await;
    assert!(removed.expect("answered")[0].is_ok());
    for subject in ["Pasar", "Kios"] {
        assert_eq!(members(&rig, subject), [SHOP], "{subject}");
    }
    // Nobody makes groups in a community that is none.
    let create = NodeBuilder::new("create")
        .attr("subject", "Lagi")
        .children([NodeBuilder::new("linked_parent")
            .attr("jid", stall.id.clone())
            .build()]);
    let iq = NodeBuilder::new("iq")
        .attr("id", "NOWHERE1")
        .attr("type", "set")
        .attr("xmlns", "w:g2")
        .attr("to", Jid::group(""))
        .children([create.build()]);
    shop.client.send_node(iq.build()).await.expect("sent");
    shop.client
        .groups()
        .get_participating()
        .await
        .expect("groups");
    assert!(members(&rig, "Lagi").is_empty());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_community_leaves_all_of_its_groups() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let staff = rig.companion(STAFF).await;
    let id = community(&shop.client, "Pasar").await;
    let stall = group(&shop.client, "Kios", &[STAFF]).await;
    let market = shop.client.community();
    let one = std::slice::from_ref(&stall);
    market.link_subgroups(&id, one).await.expect("linked");
    staff.client.groups().leave(&id).await.expect("left");
    for subject in ["Pasar", "Kios"] {
        assert_eq!(members(&rig, subject), [SHOP], "{subject}");
    }
    // The one who made it may, too; nothing is left then.
    shop.client.groups().leave(&id).await.expect("left");
    let left: Vec<_> = rig
        .network
        .groups()
        .into_iter()
        .map(|g| g.subject)
        .collect();
    assert!(left.is_empty(), "{left:?}");
    rig.finish();
}
