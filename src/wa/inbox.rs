//! Stores decrypted messages before WhatsApp is told that they arrived.
//!
//! With each message goes the secret that it brings for what is said of it later (edits, comments,
//! votes). The library writes that down too, in its own time: after a crash in between, the message would
//! be stored and acknowledged, and its edit could not be read. Left to the library are the secrets that
//! an edit brings anew for its original, and the second name of a bot's chat.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use whatsapp_rust::types::durability_hook::InboundDurabilityHook;
use whatsapp_rust::wacore::msg_secret::{self, MsgSecretPolicy, MsgSecretRetention};
use whatsapp_rust::wacore::proto_helpers::MessageExt as _;
use whatsapp_rust::wacore::store::traits::{MsgSecretEntry, MsgSecretStore as _};
use whatsapp_rust::wacore::types::events::InboundMessage;
use whatsapp_rust::wacore_binary::JidExt as _;
use whatsapp_rust::{Client as Library, anyhow, async_trait};

use super::arriving::ArrivingMessages;
use super::backend::Backend;
use super::convert;
use super::message::Incoming;
use crate::error::Result;
use crate::time::{Clock, Timestamp};

/// Stores messages before WhatsApp is told that they arrived.
pub type Inbox =
    Arc<dyn Fn(Vec<Incoming>) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + Sync>;

/// What the library asks to store before it acknowledges.
pub(super) struct Hook {
    pub(super) inbox: Inbox,
    pub(super) arriving: Arc<ArrivingMessages>,
    pub(super) backend: Backend,
    pub(super) clock: Clock,
}

impl Hook {
    async fn store(&self, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let resent = batch.iter().flat_map(convert::resent).collect::<Vec<_>>();
        let all = || batch.iter().chain(&resent);
        let messages: Vec<Incoming> = all().filter_map(convert::incoming).collect();
        if messages.len() < all().count() {
            tracing::warn!("a message without a legal id or address was left out");
        }
        let now = self.clock.now();
        let secrets: Vec<_> = all().filter_map(|one| message_secret(one, now)).collect();
        // The fsync of the messages, which are written after them, is theirs too. One that cannot be
        // kept costs an edit, and must not cost the message.
        if let Err(error) = self.backend.put_msg_secrets(secrets).await {
            if self.arriving.is_closing() {
                return Err(error.into());
            }
            tracing::error!(%error, "what messages bring for their edits could not be kept");
        }
        let mut persistence = self.arriving.persist();
        while let Err(error) = (self.inbox)(messages.clone()).await {
            persistence.wait(error).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(&self, _: Arc<Library>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        self.store(batch).await
    }
}

/// What the library would keep of a message's secret, by its own rules.
fn message_secret(received: &InboundMessage, now: Timestamp) -> Option<MsgSecretEntry> {
    let (message, info) = (&received.message, &received.info);
    let context = message.message_context_info.as_option()?;
    let secret = context.message_secret.as_deref()?.try_into().ok()?;
    if message.is_forwarded() {
        return None;
    }
    let class = msg_secret::classify(message, info.source.chat.is_bot());
    let at = info.timestamp.timestamp();
    let ends = msg_secret::expires_at(
        MsgSecretPolicy::default(),
        &MsgSecretRetention::default(),
        class,
        u64::try_from(at).ok(),
        now.as_secs(),
    );
    let (chat, sender) = (&info.source.chat, &info.source.sender);
    Some(MsgSecretEntry::new(
        chat,
        sender,
        &info.id,
        secret,
        ends,
        at.max(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Seal;
    use crate::store::faults::SimulatedDisk;
    use crate::store::{Disk, Durability, Store, StoreOptions};
    use whatsapp_rust::types::message::{MessageInfo, MessageSource};
    use whatsapp_rust::waproto::buffa::MessageField;
    use whatsapp_rust::waproto::whatsapp::{Message, MessageContextInfo};

    fn open(disk: Arc<SimulatedDisk>) -> (Store, Backend) {
        let store = Store::open(Disk::Simulated(disk), StoreOptions::default()).expect("it opens");
        let seal = Seal::new(&[7; 32]);
        let backend = Backend::new(store.clone(), 1, Clock::system(), seal);
        (store, backend)
    }

    #[tokio::test]
    async fn what_a_message_brings_for_its_edits_survives_a_crash_after_it_was_stored() {
        let disk = SimulatedDisk::new();
        let (store, backend) = open(disk.clone());
        let (ask, _asked) = tokio::sync::mpsc::unbounded_channel();
        let stored: crate::wa::IsStored = Arc::new(|_, _| Ok(true));
        // Stands for the write of the messages: with an fsync.
        let inbox: Inbox = Arc::new(move |_| {
            let store = store.clone();
            Box::pin(async move { store.write(Durability::Sync, |_| Ok(())).await })
        });
        let hook = Hook {
            inbox,
            arriving: Arc::new(ArrivingMessages::new(stored, ask, Default::default())),
            backend,
            clock: Clock::system(),
        };
        let writer = "6281200000009@s.whatsapp.net";
        let message = Message {
            conversation: Some("Total 50.000".into()),
            message_context_info: MessageField::some(MessageContextInfo {
                message_secret: Some(vec![9; 32]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let info = MessageInfo {
            id: "A1".into(),
            source: MessageSource {
                chat: writer.parse().expect("a JID"),
                sender: writer.parse().expect("a JID"),
                ..Default::default()
            },
            ..Default::default()
        };
        let received = InboundMessage::builder()
            .message(Arc::new(message))
            .info(Arc::new(info))
            .build();
        hook.store(&[received]).await.expect("stored");
        let (_, after) = open(disk.crash());
        let kept = after.get_msg_secret(writer, writer, "A1").await;
        assert_eq!(kept.expect("read").as_deref(), Some(&[9; 32][..]));
    }
}
