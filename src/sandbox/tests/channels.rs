//! Channels: who follows them, and what is written in them.

use serde_json::{Value, json};
use whatsapp_rust::media::ImageOptions;
use whatsapp_rust::prelude::*;
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::{
    Jid, MexRequest, NewsletterMessage, NewsletterMessageType, NewsletterMetadata, UploadOptions,
};

use super::rig::{Device, Rig, said};
use crate::sandbox::NetworkOptions;

const SHOP: &str = "6281234567890";
const STAFF: &str = "6285550001111";

async fn make(shop: &Device, name: &str) -> NewsletterMetadata {
    let made = shop.client.newsletter().create(name, Some("Promo")).await;
    made.expect("made")
}

/// Writes to a channel; the server's refusal, if it refused.
async fn write(from: &mut Device, channel: &Jid, text: &str) -> Option<String> {
    let sent = from.client.send_text(channel, text).await;
    let id = sent.expect("sent").message_id;
    from.verdict(&id).await
}

async fn read(
    by: &Device,
    channel: &Jid,
    count: u32,
    before: Option<u64>,
) -> Vec<NewsletterMessage> {
    let channels = by.client.newsletter();
    let read = channels.get_messages(channel, count, before).await;
    read.expect("read")
}

fn words(posts: &[NewsletterMessage]) -> Vec<&str> {
    let words = posts
        .iter()
        .map(|post| post.message.as_ref()?.text_content());
    words.map(Option::unwrap_or_default).collect()
}

/// What WhatsApp says of a channel in the documents that 0.5 of the library names.
async fn described(by: &Device, channel: &Jid) -> Value {
    let variables = json!({
        "input": { "key": channel.to_string(), "type": "JID", "view_role": "GUEST" },
        "fetch_viewer_metadata": true,
    });
    let asked = MexRequest::new("Channel", "25383075034668475", variables);
    let answer = by.client.mex().query(asked).await.expect("answered");
    answer.data.expect("data")["xwa2_newsletter"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_made_found_followed_and_left() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let staff = rig.companion(STAFF).await;
    let made = make(&shop, "Kabar Warung").await;
    assert_eq!(made.name, "Kabar Warung");
    assert_eq!(made.description.as_deref(), Some("Promo"));
    let mine = shop.client.newsletter().list_subscribed().await;
    let mine = mine.expect("a list");
    assert_eq!((mine.len(), &mine[0].jid), (1, &made.jid));
    let old = MexRequest::new("Followed", "33101596156151910", json!({}));
    let old = shop.client.mex().query(old).await.expect("answered");
    let old = old.data.expect("data");
    assert_eq!(
        old["xwa2_newsletter_subscribed"][0]["id"],
        made.jid.to_string()
    );

    let theirs = staff.client.newsletter();
    assert!(theirs.list_subscribed().await.expect("a list").is_empty());
    let found = theirs.get_metadata(&made.jid).await.expect("found");
    let invite = found.invite_code.as_deref().expect("an invite");
    let invited = theirs.get_metadata_by_invite(invite).await;
    assert_eq!(invited.expect("found"), found);
    assert_eq!(
        (found.name.as_str(), found.subscriber_count),
        ("Kabar Warung", 1)
    );
    let role =
        async |of: &Device| described(of, &made.jid).await["viewer_metadata"]["role"].clone();
    assert_eq!(
        (role(&shop).await, role(&staff).await),
        (json!("OWNER"), json!("GUEST"))
    );

    for _ in 0..2 {
        let joined = theirs.join(&made.jid).await.expect("joined");
        assert_eq!((joined.jid, joined.subscriber_count), (made.jid.clone(), 2));
    }
    assert_eq!(role(&staff).await, "SUBSCRIBER");
    theirs
        .set_follower_mute(&made.jid, true)
        .await
        .expect("set");
    let settings = &described(&staff, &made.jid).await["viewer_metadata"]["settings"];
    let muted = json!({ "type": "MUTE_FOLLOWER_ACTIVITY", "value": "ON" });
    assert!(settings.as_array().expect("a list").contains(&muted));
    assert_eq!(theirs.list_subscribed().await.expect("a list").len(), 1);
    theirs.leave(&made.jid).await.expect("left");
    assert!(theirs.list_subscribed().await.expect("a list").is_empty());
    assert!(theirs.set_follower_mute(&made.jid, true).await.is_err());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_its_owner_changes_a_channel_and_takes_it_away() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let staff = rig.companion(STAFF).await;
    let channel = make(&shop, "Kabar").await.jid;
    let (mine, theirs) = (shop.client.newsletter(), staff.client.newsletter());
    theirs.join(&channel).await.expect("joined");
    let refused = theirs.update(&channel, Some("Punyaku"), None).await;
    let words = format!("{:?}", refused.expect_err("refused"));
    assert!(words.contains("Forbidden"), "{words}");
    let changed = mine.update(&channel, Some("Kabar Baru"), None).await;
    let changed = changed.expect("changed");
    let is = |of: NewsletterMetadata| (of.name, of.description);
    let expected = ("Kabar Baru".to_owned(), Some("Promo".to_owned()));
    assert_eq!(is(changed), expected);
    assert_eq!(
        is(theirs.get_metadata(&channel).await.expect("found")),
        expected
    );
    let emptied = mine.update(&channel, None, Some("")).await;
    assert_eq!(emptied.expect("changed").description, None);
    assert!(mine.update(&channel, Some(""), None).await.is_err());

    let take_away = || {
        let variables = json!({ "newsletter_id": channel.to_string() });
        MexRequest::new("Delete", "30062808666639665", variables)
    };
    assert!(staff.client.mex().mutate(take_away()).await.is_err());
    let gone = shop.client.mex().mutate(take_away()).await;
    let gone = gone.expect("deleted").data.expect("data");
    assert_eq!(
        gone["xwa2_newsletter_delete_v2"]["state"]["type"],
        "DELETED"
    );
    assert_eq!(
        described(&staff, &channel).await["state"]["type"],
        "NON_EXISTING"
    );
    assert!(theirs.list_subscribed().await.expect("a list").is_empty());
    assert!(theirs.join(&channel).await.is_err());
    assert!(theirs.get_messages(&channel, 1, None).await.is_err());
    assert_eq!(
        write(&mut shop, &channel, "masih?").await.as_deref(),
        Some("404")
    );
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_numbered_shown_and_read_in_pages() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let second = rig.companion(SHOP).await;
    let mut staff = rig.companion(STAFF).await;
    let channel = make(&shop, "Kabar").await.jid;
    assert_eq!(write(&mut shop, &channel, "0").await, None);
    staff
        .client
        .newsletter()
        .join(&channel)
        .await
        .expect("joined");
    for n in 1..5 {
        assert_eq!(write(&mut shop, &channel, &n.to_string()).await, None);
    }
    for n in 1..5 {
        let shown = staff.message().await;
        assert_eq!(
            (said(&shown), &shown.info.source.chat),
            (n.to_string(), &channel)
        );
        assert_eq!(shown.info.server_id, 100 + n, "the number is told");
    }
    let all = read(&staff, &channel, 50, None).await;
    assert_eq!(words(&all), ["0", "1", "2", "3", "4"]);
    let numbers: Vec<_> = all.iter().map(|post| post.server_id).collect();
    assert_eq!(numbers, [100, 101, 102, 103, 104]);
    assert!(all.iter().all(|post| !post.is_sender && post.timestamp > 0));
    assert!(read(&second, &channel, 1, None).await[0].is_sender);
    assert_eq!(words(&read(&staff, &channel, 2, None).await), ["3", "4"]);
    let older = read(&staff, &channel, 2, Some(103)).await;
    assert_eq!(words(&older), ["1", "2"]);
    assert!(read(&staff, &channel, 2, Some(100)).await.is_empty());

    let mine = shop.client.newsletter();
    let new = wa::Message {
        conversation: Some("empat".to_owned()),
        ..Default::default()
    };
    let edit = mine.edit_message(&channel, &all[4].message_id, new);
    edit.await.expect("sent");
    let revoke = mine.revoke_message(&channel, &all[3].message_id);
    revoke.await.expect("sent");
    assert_eq!(said(&staff.message().await), "empat");
    let left = read(&shop, &channel, 3, None).await;
    assert_eq!(words(&left), ["2", "", "empat"]);
    assert_eq!(left[2].message_id, all[4].message_id);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_kept_as_it_was_sent() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let channel = make(&shop, "Kabar").await.jid;
    let left = shop
        .client
        .upload(vec![7; 500], MediaType::Image, UploadOptions::new())
        .await
        .expect("left");
    let options = ImageOptions {
        caption: Some("Menu".to_owned()),
        ..ImageOptions::default()
    };
    let message = whatsapp_rust::media::image_message(left, options);
    let sent = shop.client.send_message(&channel, message.clone()).await;
    assert_eq!(shop.verdict(&sent.expect("sent").message_id).await, None);
    let post = read(&shop, &channel, 1, None).await.remove(0);
    assert_eq!(post.message_type, NewsletterMessageType::Media);
    assert_eq!(post.message, Some(message));
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_is_told_of_reactions() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let staff = rig.companion(STAFF).await;
    let channel = make(&shop, "Kabar").await.jid;
    assert_eq!(write(&mut shop, &channel, "Buka!").await, None);
    let theirs = staff.client.newsletter();
    theirs.join(&channel).await.expect("joined");
    let mine = shop.client.newsletter();
    let time = mine.subscribe_live_updates(&channel).await;
    assert_eq!(time.expect("watching"), 90);
    let client = shop.client.clone();
    for (by, code, expected) in [
        (&client, "👍", vec![("👍", 1)]),
        (&staff.client, "👍", vec![("👍", 2)]),
        (&staff.client, "🔥", vec![("👍", 1), ("🔥", 1)]),
        (&client, "", vec![("🔥", 1)]),
        (&staff.client, "", vec![]),
    ] {
        let sent = by.newsletter().send_reaction(&channel, 100, code).await;
        sent.expect("sent");
        let told = shop
            .wait("a live update", |event| match event {
                Event::NewsletterLiveUpdate(update) => Some(update.clone()),
                _ => None,
            })
            .await;
        assert_eq!(told.newsletter_jid, channel);
        let post = &told.messages[0];
        let counts = post.reactions.iter();
        let counts: Vec<_> = counts.map(|of| (of.code.as_str(), of.count)).collect();
        assert_eq!((post.server_id, counts), (100, expected.clone()));
        let read = read(&staff, &channel, 1, None).await;
        let kept = read[0].reactions.iter();
        let kept: Vec<_> = kept.map(|of| (of.code.as_str(), of.count)).collect();
        assert_eq!(kept, expected);
    }
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_write_is_refused() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let mut staff = rig.companion(STAFF).await;
    let channel = make(&shop, "Kabar").await.jid;
    let nowhere: Jid = "120363000000000009@newsletter".parse().expect("an address");
    assert_eq!(
        write(&mut shop, &nowhere, "ada?").await.as_deref(),
        Some("404")
    );
    assert_eq!(
        write(&mut staff, &channel, "halo").await.as_deref(),
        Some("401")
    );
    staff
        .client
        .newsletter()
        .join(&channel)
        .await
        .expect("joined");
    assert_eq!(
        write(&mut staff, &channel, "halo").await.as_deref(),
        Some("401")
    );
    assert!(read(&shop, &channel, 10, None).await.is_empty());
    assert_eq!(rig.network.stats().refused, 3);
    let mine = shop.client.newsletter();
    assert!(mine.get_metadata(&nowhere).await.is_err());
    assert!(mine.subscribe_live_updates(&nowhere).await.is_err());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_is_written_once() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let channel = make(&shop, "Kabar").await.jid;
    rig.order(json!({ "loseAcks": true, "count": 1 })).await;
    let message = wa::Message {
        conversation: Some("sekali".to_owned()),
        ..Default::default()
    };
    for _ in 0..2 {
        let options = SendOptions::default().with_message_id("ONCE1".to_owned());
        let sent = shop
            .client
            .send_message_with_options(&channel, message.clone(), options);
        sent.await.expect("sent");
    }
    assert_eq!(shop.verdict("ONCE1").await, None);
    assert_eq!(words(&read(&shop, &channel, 10, None).await), ["sekali"]);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_there_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let rig = Rig::with(NetworkOptions::kept_in(&path)).await;
    let mut shop = rig.companion(SHOP).await;
    let staff = rig.companion(STAFF).await;
    let made = make(&shop, "Kabar").await;
    let gone = make(&shop, "Percobaan").await.jid;
    let channel = made.jid.clone();
    assert_eq!(write(&mut shop, &gone, "x").await, None);
    let variables = json!({ "newsletter_id": gone.to_string() });
    let take_away = MexRequest::new("Delete", "30062808666639665", variables);
    shop.client.mex().mutate(take_away).await.expect("deleted");
    let theirs = staff.client.newsletter();
    theirs.join(&channel).await.expect("joined");
    assert_eq!(write(&mut shop, &channel, "satu").await, None);
    assert_eq!(write(&mut shop, &channel, "dua").await, None);
    let mine = shop.client.newsletter();
    let reacted = mine.send_reaction(&channel, 101, "👍").await;
    reacted.expect("sent");
    let before = read(&shop, &channel, 10, None).await;
    // The file as a kill at this moment leaves it: nobody has asked for it to be written.
    std::fs::copy(&path, &copy).expect("copied");

    let second = Rig::with(NetworkOptions::kept_in(&copy)).await;
    let backend = shop.backend.clone();
    shop.handle.shutdown().await;
    let mut shop = second.restart(backend).await;
    shop.connected().await;
    let mine = shop.client.newsletter();
    let listed = mine.list_subscribed().await.expect("a list");
    assert_eq!((listed.len(), &listed[0].jid), (1, &channel));
    let known = mine.get_metadata(&channel).await.expect("found");
    assert_eq!(
        (known.subscriber_count, known.invite_code),
        (2, made.invite_code)
    );
    let after = read(&shop, &channel, 10, None).await;
    assert_eq!(words(&after), ["satu", "dua"]);
    let ids = |posts: &[NewsletterMessage]| -> Vec<_> {
        let posts = posts.iter();
        posts
            .map(|post| (post.message_id.clone(), post.server_id, post.timestamp))
            .collect()
    };
    assert_eq!(ids(&after), ids(&before));
    assert_eq!(
        (after[1].reactions[0].code.as_str(), after[1].is_sender),
        ("👍", true)
    );
    assert_eq!(write(&mut shop, &channel, "tiga").await, None);
    assert_eq!(read(&shop, &channel, 1, None).await[0].server_id, 102);
    second.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_nobody_knows_is_refused_in_its_own_way() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let asked = MexRequest::new("Unknown", "123", json!({}));
    let refused = shop.client.mex().query(asked).await;
    // The library says the server's words only when it is asked for all it knows.
    let words = format!("{:?}", refused.expect_err("refused"));
    assert!(words.contains("Unknown persisted query"), "{words}");
    assert!(rig.network.stats().unknown_names.contains_key("mex 123"));
    let picture = json!({ "input": { "name": "Kabar", "picture": "AAAA" } });
    let asked = MexRequest::new("Create", "25149874324715067", picture);
    assert!(shop.client.mex().mutate(asked).await.is_err());
}
