//! The outbox: messages on their way, and the one place that settles them.
//!
//! A message lies in it from before its frame is written until it is settled. What a crash leaves there
//! the next run takes up: it is sent again with the same id, or given back to its campaign.

use std::sync::Arc;
use std::time::Duration;

use super::draft::ComposedMessage;
use super::idempotency;
use super::settlement::{SendOutcome, Settlement};
use super::{Key, MESSAGES, Message, own, put, put_encoded};
use crate::domain::Gateway;
use crate::domain::campaign::{CampaignRef, steps};
use crate::domain::event::publish;
use crate::domain::event::{EventData, MessageStatus};
use crate::domain::guard;
use crate::domain::media::WaUpload;
use crate::domain::session::Session;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::ids::{MessageId, RowId, SessionNumber};
use crate::jid::Jid;
use crate::store::typed::Value;
use crate::store::{self, Durability, KeyParts, Read, Tx, Typed, bytes_of, tables, unless_damaged};
use crate::time::Timestamp;
use crate::wa::message::{MessageState, OutgoingContent, Receipt};

/// How old an interrupted send may be to be sent after a crash; an older one would only surprise.
const RESEND_WITHIN: Duration = Duration::from_secs(3600);

/// The note of a message whose outcome could not be stored.
const UNSTORED: &str = "this result could not be stored, and may be told otherwise later";

/// A message that is being sent. Stored.
struct OutboxRow {
    /// When that began.
    at: Timestamp,
    /// A number that grows with each; older versions wrote none.
    seq: Option<u64>,
}

impl Value for OutboxRow {
    const VERSION: Option<u8> = None;

    fn encode(&self) -> Result<Vec<u8>> {
        let began = store::Key::new().u64(self.at.as_ms() as u64);
        let seq = self.seq.map_or_else(Vec::new, bytes_of);
        Ok(began.tail(seq).into_bytes())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut parts = KeyParts::new(bytes);
        let at = Timestamp::from_ms(parts.u64()? as i64);
        let seq = match parts.is_done() {
            true => None,
            false => Some(parts.u64()?),
        };
        if !parts.is_done() {
            return Err(Error::internal("damaged value: too long"));
        }
        Ok(Self { at, seq })
    }
}

const OUTBOX: Typed<(SessionNumber, MessageId), OutboxRow> = Typed::new(tables::OUTBOX);

/// Whether the message with this key is being sent.
pub(in crate::domain) fn holds(read: &impl Read, (session, id, ..): &Key) -> Result<bool> {
    OUTBOX.exists(read, (session, id))
}

/// The messages of a session that are being sent, or were when the last run ended, in the order in
/// which they were asked for.
pub(in crate::domain) fn in_outbox(
    read: &impl Read,
    session: SessionNumber,
) -> Result<Vec<MessageId>> {
    let mut rows = Vec::new();
    OUTBOX.rows(session).each(read, |row| {
        let (id, asked) = (row.key(), row.value());
        let damage = [id.as_ref().err(), asked.as_ref().err()];
        for error in damage.into_iter().flatten() {
            tracing::error!(?error, "a row of the outbox is damaged");
        }
        // One whose value is damaged still names its message, which must be settled.
        rows.extend(id.ok().map(|id| (id, asked.ok())));
        Ok(())
    })?;
    // By the number alone where there is one: the clock may have been set back in between.
    rows.sort_by_key(|(_, asked)| {
        let seq = asked.as_ref().and_then(|asked| asked.seq);
        let at = asked.as_ref().map(|asked| asked.at);
        (seq, at.filter(|_| seq.is_none()))
    });
    Ok(rows.into_iter().map(|(id, _)| id).collect())
}

/// A message on its way.
pub(in crate::domain) struct SendJob {
    pub(in crate::domain) id: MessageId,
    pub(in crate::domain) to: Jid,
    pub(in crate::domain) what: OutgoingContent,
    /// The uploaded file that it shows.
    pub(super) file: Option<Arc<WaUpload>>,
    note: Option<String>,
    /// The campaign that it is part of.
    pub(in crate::domain) campaign: Option<CampaignRef>,
    /// Which album of its request it belongs to.
    pub(super) album: Option<usize>,
    /// Whether the client asked for it; the head of an album was not.
    pub(super) asked: bool,
    /// Whether its frame may have left, in this run or before.
    pub(super) was_written: bool,
    /// What became of it; `None` while it is on its way.
    pub(super) settled: Option<Settlement>,
}

impl SendJob {
    pub(in crate::domain) fn new(id: MessageId, to: Jid, composed: ComposedMessage) -> Self {
        Self {
            id,
            to,
            what: composed.what,
            file: composed.file,
            note: composed.note,
            campaign: None,
            album: None,
            asked: true,
            was_written: false,
            settled: None,
        }
    }

    /// What must be durable before it is written to WhatsApp.
    pub(in crate::domain) fn rows(
        &self,
        session: SessionNumber,
        now: Timestamp,
    ) -> Result<SendRows> {
        let message = Message {
            chat: self.to.clone(),
            sender: None,
            at: now,
            text: self.what.text().map(str::to_owned),
            sent: Some(self.what.clone()),
            progress: Some(MessageState::Sending),
            refusal: None,
            enclosed: None,
            unreadable: false,
            campaign: self.campaign.clone().map(Box::new),
        };
        Ok(SendRows {
            key: (session, self.id.clone(), self.to.clone(), None),
            message: message.encode()?,
            is_to_person: self.is_to_person(),
            at: now,
        })
    }

    /// Whether it surely reached nobody: WhatsApp refused it, or its number is not on WhatsApp and it was never
    /// written. That the account sends too much says nothing about this message: then it stays counted.
    fn reached_nobody(&self) -> bool {
        match &self.settled {
            Some(Settlement::Refused { code, .. }) => match code {
                Code::MessageRefused => true,
                Code::NumberNotOnWhatsapp => !self.was_written,
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether it writes to a person, so that the guard looks at it. What deletes a message does not.
    pub(super) fn is_to_person(&self) -> bool {
        self.to.is_person() && !matches!(self.what, OutgoingContent::Revoke { .. })
    }

    /// What became of it, as far as that is known.
    fn settlement(&self) -> Settlement {
        let settled = self.settled.clone();
        settled.unwrap_or(Settlement::Unacknowledged {
            connection_held: false,
        })
    }
}

/// One message of a request.
pub(in crate::domain) enum Item {
    /// It is on its way.
    Ready(Box<SendJob>),
    /// It could not even be made.
    Refused(SendOutcome),
}

impl From<SendJob> for Item {
    fn from(job: SendJob) -> Self {
        Self::Ready(Box::new(job))
    }
}

impl Item {
    /// Its id, if it has one; `None` for what the client did not ask for.
    pub(super) fn asked(&self) -> Option<Option<MessageId>> {
        match self {
            Self::Ready(job) => job.asked.then(|| Some(job.id.clone())),
            Self::Refused(_) => Some(None),
        }
    }

    /// The message, when it is on its way.
    pub(super) fn ready(&self) -> Option<&SendJob> {
        match self {
            Self::Ready(job) => Some(job),
            Self::Refused(_) => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn ready_mut(&mut self) -> Option<&mut SendJob> {
        match self {
            Self::Ready(job) => Some(job),
            Self::Refused(_) => None,
        }
    }
}

/// The rows of a message that is about to be sent.
pub(in crate::domain) struct SendRows {
    key: Key,
    message: Vec<u8>,
    is_to_person: bool,
    at: Timestamp,
}

impl SendRows {
    /// The message's id.
    pub(in crate::domain) fn id(&self) -> &MessageId {
        &self.key.1
    }

    /// Writes them.
    pub(in crate::domain) fn put(self, tx: &mut Tx) -> Result<()> {
        // A receipt may have come since it was seen that it is to go once more: it has arrived.
        let there = MESSAGES.readable(tx, &self.key)?;
        if there.is_some_and(|there| there.progress >= Some(MessageState::Sent)) {
            return Ok(());
        }
        // What a crash interrupted keeps its place when the client asks for it again.
        let (session, id, to, _) = &self.key;
        if self.is_to_person {
            guard::note_written(tx, *session, to)?;
        }
        if !OUTBOX.exists(tx, (session, id))? {
            let asked = OutboxRow {
                at: self.at,
                seq: Some(tx.next_seq("outbox")?),
            };
            OUTBOX.put(tx, (session, id), &asked)?;
        }
        put_encoded(tx, &self.key, self.message)
    }
}

/// What became of messages that went together, until it is stored.
struct SettledBatch {
    messages: Vec<(MessageId, Settlement)>,
    /// Those that clients sent to people, for the guard: with whether they surely reached nobody.
    to_people: Vec<(Jid, MessageId, bool)>,
    /// The row of the request's idempotency key, and what it is to remember.
    key: Option<(idempotency::Row, Option<Vec<SendOutcome>>)>,
    at: Timestamp,
}

/// Settles messages: their rows, their campaigns and their events. Answers the newest event's number.
fn settle_rows(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    settled: &[(MessageId, Settlement)],
    now: Timestamp,
) -> Result<Option<u64>> {
    let mut newest = None;
    for (id, settlement) in settled {
        let failed = settlement.progress() == MessageState::Failed;
        if failed && !OUTBOX.exists(tx, (session.number, id))? {
            // Somebody else settled it, and may have put it back to be tried again.
            continue;
        }
        OUTBOX.delete(tx, (session.number, id));
        let message = unless_damaged(own(tx, session.number, id))?.flatten();
        if failed
            && let Some((_, row)) = message
            && let Some(part) = &row.campaign
            && let again = steps::retry_or_fail(tx, session.number, part, settlement, now)
            && unless_damaged(again)? == Some(true)
        {
            continue;
        }
        newest = advance(tx, gateway, session, id, settlement, now)?.or(newest);
    }
    Ok(newest)
}

/// Moves a message of ours forward, never back, and records the event. Answers its number. What is
/// damaged of this one must not keep the others that are settled with it.
fn advance(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    id: &MessageId,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<Option<u64>> {
    let message = unless_damaged(own(tx, session.number, id))?.flatten();
    let Some((key, mut message)) = message else {
        return Ok(None);
    };
    let progress = settlement.progress();
    if message.progress.is_some_and(|now| now >= progress) {
        return Ok(None);
    }
    let refusal = settlement.failure(id).map(|(_, why)| why);
    message.progress = Some(progress);
    message.refusal.clone_from(&refusal);
    put(tx, &key, &message)?;
    if let Some(part) = &message.campaign {
        unless_damaged(steps::update_recipient(
            tx,
            gateway,
            session,
            part,
            progress,
            now,
            refusal.as_deref(),
        ))?;
    }
    let (by, at) = match settlement {
        Settlement::Received { by, at, .. } => (Some(by.clone()), *at),
        _ => (None, now),
    };
    let data = EventData::MessageStatus(MessageStatus {
        id: id.clone(),
        chat: message.chat,
        progress,
        by,
        at,
        refusal,
    });
    let entry = gateway.event(session, data);
    publish::append(tx, session.number, &entry)
}

impl Gateway {
    /// Records what became of each message and answers it, also when it cannot be recorded: a
    /// message that went must not be answered as an error, or its client would send it once more.
    ///
    /// `key_row` is the row of the request's idempotency key.
    pub(in crate::domain) async fn settle(
        self: &Arc<Self>,
        session: &Arc<Session>,
        items: Vec<Item>,
        key_row: Option<idempotency::Row>,
    ) -> Vec<SendOutcome> {
        let mut outcomes = Vec::with_capacity(items.len());
        let (mut settled, mut to_people) = (Vec::new(), Vec::new());
        let mut campaigns = false;
        let mut failed = 0;
        for item in items {
            let job = match item {
                Item::Ready(job) => job,
                Item::Refused(outcome) => {
                    failed += usize::from(!outcome.is_held_back());
                    outcomes.push(outcome);
                    continue;
                }
            };
            let settlement = job.settlement();
            campaigns |= job.campaign.is_some();
            failed += usize::from(settlement.progress() == MessageState::Failed);
            if job.campaign.is_none() && job.is_to_person() {
                to_people.push((job.to.clone(), job.id.clone(), job.reached_nobody()));
            }
            if job.asked {
                let (to, id) = (job.to, job.id.clone());
                outcomes.push(SendOutcome::of(&settlement, to, id, job.note));
            }
            settled.push((job.id, settlement));
        }
        self.metrics.note_failed(failed);
        // What nobody acknowledged is not decided: whoever repeats the request has it sent again under
        // the same id, which WhatsApp shows once. Nor is what the guard held back.
        let decided = !settled.iter().any(|(_, what)| what.is_undecided())
            && !outcomes.iter().any(SendOutcome::is_held_back);
        let settled = SettledBatch {
            messages: settled,
            to_people,
            key: key_row.map(|row| (row, decided.then(|| outcomes.clone()))),
            at: self.clock.now(),
        };
        let settled = Arc::new(settled);
        if let Err(error) = self
            .record_settled(session, &settled, Durability::Lazy)
            .await
        {
            tracing::error!(session = %session.id, ?error, "what became of messages could not be stored");
            self.record_later(session, settled);
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.id.is_some()) {
                let told = outcome.note.take().map(|note| note + "; ");
                outcome.note = Some(told.unwrap_or_default() + UNSTORED);
            }
        }
        if campaigns {
            self.campaigns.wake();
        }
        outcomes
    }

    /// Writes down what became of messages.
    async fn record_settled(
        self: &Arc<Self>,
        session: &Arc<Session>,
        settled: &Arc<SettledBatch>,
        durability: Durability,
    ) -> Result<()> {
        let (gateway, session, settled) = (self.clone(), session.clone(), settled.clone());
        self.record(durability, move |tx| {
            let (messages, now) = (&settled.messages, settled.at);
            let newest = settle_rows(tx, &gateway, &session, messages, now)?;
            for (person, id, _) in &settled.to_people {
                // Of several to one person, one that may have arrived is enough.
                let mut to_them = settled.to_people.iter().filter(|(to, ..)| to == person);
                let reached_nobody = to_them.all(|(.., reached_nobody)| *reached_nobody);
                guard::settle(tx, session.number, person, id, reached_nobody)?;
            }
            if let Some((row, outcomes)) = &settled.key {
                idempotency::note(tx, *row, outcomes.clone())?;
            }
            Ok(((), newest))
        })
        .await
    }

    /// Writes it down when the store works again: nobody else looks at these messages before the next
    /// start, and the client waits no longer. Those of a campaign may have gone back to it by then,
    /// which a message that arrived ends.
    fn record_later(self: &Arc<Self>, session: &Arc<Session>, settled: Arc<SettledBatch>) {
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks.spawn(async move {
            let write = || gateway.record_settled(&session, &settled, Durability::Lazy);
            if let Err(error) = gateway.while_store_fails(write).await {
                tracing::error!(session = %session.id, ?error, "messages are left to the next start");
            }
        });
    }

    /// Moves messages of ours forward by the receipts that came for them.
    pub(in crate::domain) async fn note_receipts(
        self: &Arc<Self>,
        session: &Arc<Session>,
        receipts: Vec<Receipt>,
    ) {
        let receipts: Arc<[Receipt]> = receipts.into();
        let write = || {
            let (gateway, inner, receipts) = (self.clone(), session.clone(), receipts.clone());
            self.record(Durability::Lazy, move |tx| {
                let (mut newest, now) = (None, gateway.clock.now());
                for receipt in receipts.iter() {
                    let received = Settlement::Received {
                        progress: receipt.progress,
                        by: receipt.by.clone(),
                        at: receipt.at,
                    };
                    for id in &receipt.ids {
                        newest = advance(tx, &gateway, &inner, id, &received, now)?.or(newest);
                    }
                }
                Ok(((), newest))
            })
        };
        if let Err(error) = self.while_store_fails(write).await {
            tracing::error!(session = %session.id, ?error, "receipts could not be recorded");
        }
    }

    /// Gives up whatever the session has not finished sending: a crash interrupted it, or its outcome
    /// could not be stored.
    pub(in crate::domain) async fn fail_interrupted(self: &Arc<Self>, session: &Arc<Session>) {
        let (_, _under_way) = session.take_interrupted();
        let ids = self.unfinished(session).await;
        self.give_up(session, ids, Settlement::LoggedOut).await;
    }

    /// What lies in the outbox of a session; nothing only when the program ends before the store can
    /// be read.
    async fn unfinished(&self, session: &Session) -> Vec<MessageId> {
        let read = || async { self.store.read(|read| in_outbox(read, session.number)) };
        let unfinished = self.while_store_fails(read).await;
        unfinished.unwrap_or_else(|error| {
            tracing::error!(session = %session.id, ?error, "interrupted messages cannot be read");
            Vec::new()
        })
    }

    /// Settles messages that are not sent again.
    async fn give_up(
        self: &Arc<Self>,
        session: &Arc<Session>,
        ids: Vec<MessageId>,
        settlement: Settlement,
    ) {
        if ids.is_empty() {
            return;
        }
        let each = |id| (id, settlement.clone());
        let settled = Arc::new(SettledBatch {
            messages: ids.into_iter().map(each).collect(),
            to_people: Vec::new(),
            key: None,
            at: self.clock.now(),
        });
        let write = || self.record_settled(session, &settled, Durability::Sync);
        if let Err(error) = self.while_store_fails(write).await {
            tracing::error!(session = %session.id, ?error, "interrupted messages could not be settled");
        }
    }

    /// Sends what a crash interrupted, with the same ids: WhatsApp shows one message per id. What
    /// belongs to a campaign goes back to it.
    pub(in crate::domain) async fn resend_interrupted(self: &Arc<Self>, session: &Arc<Session>) {
        let (ids, _under_way) = session.take_interrupted();
        if ids.is_empty() {
            return;
        }
        tracing::info!(session = %session.id, count = ids.len(), "taking up what a restart interrupted");
        let read = || async { self.interrupted_jobs(session, &ids) };
        match self.while_store_fails(read).await {
            Ok((mut jobs, of_campaigns, unsendable)) => {
                if !unsendable.is_empty() {
                    let settlement = Settlement::Unacknowledged {
                        connection_held: false,
                    };
                    self.give_up(session, unsendable, settlement).await;
                }
                // The campaign sends them, if it still runs, when it may, to those who still want it.
                let of_campaigns = of_campaigns.into_iter().map(Item::from).collect();
                self.settle(session, of_campaigns, None).await;
                self.deliver(session, jobs.iter_mut().collect()).await;
                let jobs = jobs.into_iter().map(Item::from).collect();
                self.settle(session, jobs, None).await;
            }
            Err(error) => {
                tracing::error!(session = %session.id, ?error, "interrupted messages cannot be read");
            }
        }
    }

    /// Gives what nobody settled back to its campaign. Answers whether there was anything.
    ///
    /// Hazard: for the loop that sends the campaign only, between its messages.
    pub(in crate::domain) async fn return_unsettled(
        self: &Arc<Self>,
        session: &Arc<Session>,
        campaign: &RowId,
    ) -> Result<bool> {
        let ids = self.store.read(|read| in_outbox(read, session.number))?;
        let (_, of_campaigns, _) = self.interrupted_jobs(session, &ids)?;
        let is_part = |job: &SendJob| {
            let part = job.campaign.as_ref();
            part.is_some_and(|part| part.campaign == *campaign)
        };
        let parts = of_campaigns.into_iter().filter(is_part);
        let settled: Vec<_> = parts
            .map(|job| (job.id.clone(), job.settlement()))
            .collect();
        if settled.is_empty() {
            return Ok(false);
        }
        let (gateway, inner, now) = (self.clone(), session.clone(), self.clock.now());
        self.record(Durability::Lazy, move |tx| {
            Ok((true, settle_rows(tx, &gateway, &inner, &settled, now)?))
        })
        .await
    }

    /// What is to be sent again after a crash, the messages of campaigns, and those of which nothing
    /// is kept that could be sent.
    fn interrupted_jobs(
        &self,
        session: &Session,
        ids: &[MessageId],
    ) -> Result<(Vec<SendJob>, Vec<SendJob>, Vec<MessageId>)> {
        self.store.read(|read| {
            let (mut jobs, mut of_campaigns) = (Vec::new(), Vec::new());
            let mut unsendable = Vec::new();
            for id in ids {
                let row = match own(read, session.number, id) {
                    Err(error) if error.kind() == ErrorKind::Internal => {
                        // It must not keep the others. A version that reads it may send it.
                        tracing::error!(?error, "an interrupted message cannot be read");
                        continue;
                    }
                    row => row?.map(|(_, row)| row),
                };
                let kept = row.and_then(|mut row| Some((row.sent.take()?, row)));
                let Some((what, row)) = kept else {
                    unsendable.push(id.clone());
                    continue;
                };
                let mut job = SendJob::new(id.clone(), row.chat, what.into());
                job.was_written = true;
                if let Some(part) = row.campaign {
                    job.campaign = Some(*part);
                    of_campaigns.push(job);
                    continue;
                }
                let given_up = |code, why: &str| {
                    let why = why.to_owned();
                    Some(Settlement::Refused { code, why })
                };
                if let OutgoingContent::Media { file, .. } = &job.what {
                    job.file = self.known_upload(session, file)?.map(Arc::new);
                    if job.file.is_none() {
                        let why = "interrupted by a restart, and its file is not kept any more";
                        job.settled = given_up(Code::FileGone, why);
                    }
                }
                if self.clock.age_of(row.at) > RESEND_WITHIN {
                    job.settled = given_up(Code::MessageTooOld, Code::MessageTooOld.text());
                }
                jobs.push(job);
            }
            Ok((jobs, of_campaigns, unsendable))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faults::SimulatedDisk;
    use crate::store::{Disk, Store, StoreOptions};

    #[tokio::test]
    async fn a_message_that_arrived_meanwhile_is_not_put_back_to_be_sent() {
        let disk = Disk::Simulated(SimulatedDisk::new());
        let store = Store::open(disk, StoreOptions::default()).expect("opened");
        let (session, now) = (SessionNumber(1), Timestamp::from_secs(1_700_000_000));
        let id = MessageId::parse("3EB0AA").expect("an id");
        let to = Jid::parse("6281200000001@s.whatsapp.net").expect("a JID");
        let text = OutgoingContent::Text {
            body: "hai".to_owned(),
            mentions: Vec::new(),
            quote: None,
        };
        let job = SendJob::new(id.clone(), to, text.into());
        for (known, stored, waits) in [
            (None, MessageState::Sending, true),
            (Some(MessageState::Failed), MessageState::Sending, true),
            (Some(MessageState::Sent), MessageState::Sent, false),
            (Some(MessageState::Read), MessageState::Read, false),
        ] {
            let rows = job.rows(session, now).expect("rows");
            let key = rows.key.clone();
            let id = id.clone();
            let write = store.write(Durability::Sync, move |tx| {
                OUTBOX.delete(tx, (session, &id));
                if let Some(known) = known {
                    let mut message = Message::decode(&rows.message)?;
                    message.progress = Some(known);
                    put(tx, &rows.key, &message)?;
                }
                rows.put(tx)
            });
            write.await.expect("written");
            let (message, holds) = store
                .read(|read| Ok((MESSAGES.get(read, &key)?, holds(read, &key)?)))
                .expect("read");
            let progress = message.and_then(|message| message.progress);
            assert_eq!((progress, holds), (Some(stored), waits), "{known:?}");
        }
    }

    #[test]
    fn when_a_message_was_asked_for_is_read_as_every_version_wrote_it() {
        let at = Timestamp::from_ms(0x0102_0304);
        let now = OutboxRow { at, seq: Some(5) }.encode().expect("bytes");
        assert_eq!(now, [0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5]);
        for (bytes, seq) in [(&now[..], Some(5)), (&now[..8], None)] {
            let asked = OutboxRow::decode(bytes).expect("read");
            assert_eq!((asked.at, asked.seq), (at, seq));
        }
        for damaged in [
            &now[..0],
            &now[..7],
            &now[..12],
            &[now.clone(), vec![0]].concat(),
        ] {
            assert!(OutboxRow::decode(damaged).is_err(), "{damaged:?}");
        }
    }
}
