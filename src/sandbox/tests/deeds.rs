//! Answers, mentions, reactions, edits, revocations, in both directions.

use whatsapp_rust::prelude::*;
use whatsapp_rust::waproto::whatsapp::{ContextInfo, Message, MessageKey};
use whatsapp_rust::{Jid, RevokeType};

use super::rig::{Rig, eventually, said};
use crate::sandbox::{PhoneDraft, Reaction};

const SHOP: &str = "6281234567890";
const CUSTOMER: &str = "6289876543210";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_sees_what_a_client_does_to_messages() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let to = Jid::pn(CUSTOMER);
    let asked = rig
        .network
        .send_text(CUSTOMER, SHOP, "Berapa harganya?")
        .expect("sent");
    let question = shop.message().await;
    let context = ContextInfo {
        stanza_id: Some(asked.clone()),
        participant: Some(to.to_string()),
        quoted_message: MessageField::some((*question.message).clone()),
        mentioned_jid: vec![to.to_string()],
        ..Default::default()
    };
    let answer = Message::text_with_context("@6289876543210 Lima ribu", context);
    let sent = shop.client.send_message(&to, answer).await.expect("sent");
    let id = sent.message_id.clone();
    let seen = rig.received(CUSTOMER, 1).await.remove(0);
    assert_eq!(seen.quoted_id.as_deref(), Some(asked.as_str()));
    assert_eq!(seen.mentions, [to.to_string()]);
    let changed = Message {
        conversation: Some("Enam ribu".to_owned()),
        ..Default::default()
    };
    shop.client
        .edit_message(&to, &id, changed)
        .await
        .expect("edited");
    let messages = || rig.network.messages(CUSTOMER).expect("messages");
    eventually("the edit", || messages()[0].edited.then_some(())).await;
    assert_eq!(messages()[0].text.as_deref(), Some("Enam ribu"));
    let key = MessageKey {
        remote_jid: Some(to.to_string()),
        from_me: Some(false),
        id: Some(asked.clone()),
        participant: None,
    };
    shop.client
        .send_reaction(&to, key, "\u{1f44d}")
        .await
        .expect("reacted");
    eventually("the reaction", || (messages().len() == 2).then_some(())).await;
    assert_eq!(
        (messages()[1].kind, messages()[1].quoted_id.as_deref()),
        ("reaction", Some(asked.as_str()))
    );
    let reactions = rig
        .network
        .sent(CUSTOMER)
        .expect("sent")
        .remove(0)
        .reactions;
    assert_eq!(
        reactions,
        [Reaction {
            from: SHOP.to_owned(),
            text: "\u{1f44d}".to_owned()
        }]
    );
    shop.client
        .revoke_message(&to, &id, RevokeType::Sender)
        .await
        .expect("revoked");
    eventually("the revocation", || messages()[0].revoked.then_some(())).await;
    assert_eq!(messages().len(), 2);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_what_a_phone_does_to_messages() {
    let rig = Rig::new().await;
    let mut shop = rig.companion(SHOP).await;
    let sent = shop
        .client
        .send_text(Jid::pn(CUSTOMER), "Promo!")
        .await
        .expect("sent");
    rig.received(CUSTOMER, 1).await;
    let draft = PhoneDraft {
        text: Some("Promo apa?".to_owned()),
        quoted_id: Some(sent.message_id.clone()),
        mentions: vec![SHOP.to_owned()],
        ..PhoneDraft::default()
    };
    let id = rig.network.send(CUSTOMER, SHOP, &draft).expect("sent");
    let answer = shop.message().await;
    assert_eq!(said(&answer), "Promo apa?");
    let context = &answer.message.extended_text_message.context_info;
    assert_eq!(context.stanza_id.as_deref(), Some(sent.message_id.as_str()));
    assert_eq!(context.mentioned_jid.len(), 1);
    rig.network
        .react(CUSTOMER, &sent.message_id, "\u{2764}")
        .expect("reacted");
    let reaction = shop.message().await;
    let reaction = reaction
        .message
        .reaction_message
        .as_option()
        .expect("a reaction");
    assert_eq!(reaction.key.id.as_deref(), Some(sent.message_id.as_str()));
    rig.network
        .edit(CUSTOMER, &id, "Promo yang mana?")
        .expect("edited");
    let edit = shop.message().await;
    let edit = edit.message.protocol_message.as_option().expect("an edit");
    assert_eq!(edit.key.id.as_deref(), Some(id.as_str()));
    assert_eq!(
        edit.edited_message.conversation.as_deref(),
        Some("Promo yang mana?")
    );
    rig.network.revoke(CUSTOMER, &id).expect("revoked");
    let revoked = shop.message().await;
    let revoked = revoked
        .message
        .protocol_message
        .as_option()
        .expect("a revocation");
    assert_eq!(revoked.key.id.as_deref(), Some(id.as_str()));
    rig.finish();
}
