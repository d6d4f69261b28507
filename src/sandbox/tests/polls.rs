//! Polls and votes, between clients and phones, in both directions.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use whatsapp_rust::features::PollVoteCiphertext;
use whatsapp_rust::prelude::InboundMessage;
use whatsapp_rust::wacore::poll::compute_option_hash;
use whatsapp_rust::{Jid, Server};

use super::rig::{Device, Rig, eventually};
use crate::sandbox::{Form, NetworkOptions};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";
const FRIEND: &str = "6285550001111";

fn options() -> Vec<String> {
    ["Nasi", "Mie", "Roti"].map(str::to_owned).to_vec()
}

/// What the client reads in a vote on its own poll.
async fn chosen(shop: &Device, secret: &[u8], poll: &str, vote: &InboundMessage) -> Vec<String> {
    let update = vote
        .message
        .poll_update_message
        .as_option()
        .expect("a vote");
    let key = update.poll_creation_message_key.as_option().expect("a key");
    assert_eq!(key.id.as_deref(), Some(poll));
    let sealed = update.vote.as_option().expect("a choice");
    let sealed = PollVoteCiphertext {
        enc_payload: sealed.enc_payload.as_deref().expect("a payload"),
        enc_iv: sealed.enc_iv.as_deref().expect("a nonce"),
    };
    let voter = vote.info.source.sender.clone();
    // Creator and voter are called by the same kind of name.
    let creator = match voter.server {
        Server::Lid => shop.client.lid().expect("a hidden id"),
        _ => Jid::pn(SHOP),
    };
    let hashes = shop
        .client
        .polls()
        .decrypt_vote(sealed, secret, poll, &creator, &voter)
        .await
        .expect("opened");
    let names = options().into_iter();
    names
        .filter(|name| hashes.contains(&compute_option_hash(name).to_vec()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_vote_in_the_poll_of_a_client_and_change_their_minds() {
    phones_vote(Form::Pn).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_vote_by_hidden_id() {
    phones_vote(Form::Lid).await;
}

async fn phones_vote(form: Form) {
    let rig = Rig::with(NetworkOptions {
        form,
        ..NetworkOptions::default()
    })
    .await;
    let mut shop = rig.companion(SHOP).await;
    let members = [SHOP, CUSTOMER, FRIEND].map(str::to_owned);
    let group = rig
        .network
        .create_group(CUSTOMER, "Toko", &members)
        .expect("made");
    for to in [Jid::pn(CUSTOMER), group.parse().expect("an address")] {
        let name = "Makan apa?";
        let sent = shop.client.polls().create(&to, name, &options(), 2).await;
        let (sent, secret) = sent.expect("sent");
        let id = sent.message_id.clone();
        let poll = async |phone: &str| {
            eventually("the poll", || {
                let messages = rig.network.messages(phone).expect("messages");
                messages.into_iter().find(|message| message.id == id)?.poll
            })
            .await
        };
        let seen = poll(CUSTOMER).await;
        assert_eq!((seen.name.as_str(), seen.selectable), (name, 2));
        assert_eq!((seen.options, seen.votes.len()), (options(), 0));
        let vote = async |names: &[&str]| {
            let path = format!("/sandbox/phones/{CUSTOMER}/vote");
            rig.ask("POST", &path, json!({ "messageId": id, "options": names }))
                .await;
        };
        vote(&["Mie"]).await;
        let first = shop.message().await;
        assert_eq!(chosen(&shop, &secret, &id, &first).await, ["Mie"]);
        vote(&["Nasi", "Roti"]).await;
        let second = shop.message().await;
        assert_eq!(chosen(&shop, &secret, &id, &second).await, ["Nasi", "Roti"]);
        let votes = poll(CUSTOMER).await.votes;
        let expected = vec!["Nasi".to_owned(), "Roti".to_owned()];
        assert_eq!(
            votes,
            BTreeMap::from([(CUSTOMER.to_owned(), expected.clone())])
        );
        // The shop's own phone follows; so does everybody in a group.
        eventually("the copy", || {
            let copies = rig.network.copies(SHOP).expect("copies");
            let poll = copies.into_iter().find(|copy| copy.id == id)?.poll?;
            (poll.votes.get(CUSTOMER) == Some(&expected)).then_some(())
        })
        .await;
        if to != Jid::pn(CUSTOMER) {
            eventually("the friend's view", || {
                let messages = rig.network.messages(FRIEND).expect("messages");
                let poll = messages.into_iter().find(|one| one.id == id)?.poll?;
                (poll.votes.get(CUSTOMER) == Some(&expected)).then_some(())
            })
            .await;
        }
        vote(&[]).await;
        let third = shop.message().await;
        assert!(chosen(&shop, &secret, &id, &third).await.is_empty());
        let wrong = rig.network.vote(CUSTOMER, &id, &["Bakso".to_owned()]);
        assert!(wrong.is_err());
        assert!(rig.network.vote(CUSTOMER, &id, &options()).is_err());
    }
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_phones_vote_in_the_poll_of_a_phone() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let members = [SHOP, CUSTOMER, FRIEND].map(str::to_owned);
    let group = rig
        .network
        .create_group(CUSTOMER, "Toko", &members)
        .expect("made");
    for to in [SHOP, group.as_str()] {
        let draft = json!({
            "to": to,
            "poll": { "name": "Kapan?", "options": options(), "selectable": 1 },
        });
        let path = format!("/sandbox/phones/{CUSTOMER}/messages");
        let id = rig.ask("POST", &path, draft).await["id"].clone();
        let id = id.as_str().expect("an id");
        let message = shop.message().await;
        let message = &message.message;
        assert!(message.poll_creation_message_v3.is_set());
        let secret = message.message_context_info.message_secret.clone();
        let chat: Jid = match to {
            SHOP => Jid::pn(CUSTOMER),
            group => group.parse().expect("an address"),
        };
        let choice = ["Roti".to_owned()];
        let secret = secret.expect("a secret");
        let vote = shop.client.polls();
        vote.vote(&chat, id, &Jid::pn(CUSTOMER), &secret, &choice)
            .await
            .expect("voted");
        let votes = || -> Value {
            let sent = rig.network.sent(CUSTOMER).expect("sent");
            let poll = sent.into_iter().find(|sent| sent.id == id);
            serde_json::to_value(poll.expect("sent").poll).expect("JSON")
        };
        eventually("the vote", || {
            (votes()["votes"][SHOP][0] == "Roti").then_some(())
        })
        .await;
        if to != SHOP {
            rig.network.vote(FRIEND, id, &choice).expect("voted");
            shop.message().await;
            assert_eq!(votes()["votes"][FRIEND][0], "Roti");
        }
    }
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_and_files_are_there_when_the_network_starts_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let rig = Rig::with(NetworkOptions::kept_in(&state)).await;
    let path = format!("/sandbox/phones/{CUSTOMER}/messages");
    let poll = json!({ "name": "Kapan?", "options": options(), "selectable": 1 });
    let id = rig
        .ask("POST", &path, json!({ "to": FRIEND, "poll": poll }))
        .await["id"]
        .clone();
    let vote = json!({ "messageId": id, "options": ["Mie"] });
    rig.ask("POST", &format!("/sandbox/phones/{FRIEND}/vote"), vote)
        .await;
    let image = json!({ "to": FRIEND, "image": { "data": "aGFsbw==" } });
    rig.ask("POST", &path, image).await;
    let seen = |rig: &Rig| {
        let received = serde_json::to_value(rig.network.messages(FRIEND).expect("messages"));
        let sent = serde_json::to_value(rig.network.sent(CUSTOMER).expect("sent"));
        (received.expect("JSON"), sent.expect("JSON"))
    };
    let before = seen(&rig);
    assert_eq!(before.0[0]["poll"]["votes"][FRIEND], json!(["Mie"]));
    assert_eq!(before.1[0]["poll"]["votes"][FRIEND], json!(["Mie"]));
    assert_eq!(before.0[1]["opened"], true);
    rig.order(json!({ "expireMedia": {} })).await;
    rig.network.save().expect("written");
    drop(rig);
    let rig = Rig::with(NetworkOptions::kept_in(&state)).await;
    assert_eq!(seen(&rig), before);
}
