//! Sending a campaign's next messages.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::create::media_exists;
use super::live::{CampaignWork, LiveCampaign};
use super::{Campaign, CampaignRef, CampaignState, RecipientState, RecipientStatus, rows, steps};
use crate::domain::Gateway;
use crate::domain::media::FileSource;
use crate::domain::message::draft::{Draft, DraftContent, DraftMedia, FileName, Sources, Text};
use crate::domain::message::outbox::{Item, SendJob};
use crate::domain::pacing::{DayCount, NextSend, Pacing};
use crate::domain::queues::RETRY_WAIT;
use crate::domain::recipient::Recipient;
use crate::domain::roster::{self, Position};
use crate::domain::session::{Session, ensure_session_exists};
use crate::domain::suppression;
use crate::domain::template;
use crate::error::{Code, Error, Result};
use crate::ids::SessionNumber;
use crate::jid::Jid;
use crate::store::queue::{self, Claim};
use crate::store::record::Record;
use crate::store::{Durability, Read, Tx, Typed, parts_of, tables};
use crate::time::Timestamp;

/// How many messages go together when there is no delay between them: one fsync for all.
const AT_ONCE: usize = 50;

/// How long ordinary sends may hold up a campaign's turn, at least and at most. In between, they have
/// as long as its last turn took: a session that is never idle is shared by halves.
const INTERACTIVE_FIRST: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(2));

/// The longest time that somebody seems to type.
const TYPING: Duration = Duration::from_secs(3);

impl Record for DayCount {
    const VERSION: u8 = 1;
}

const DAY_COUNTS: Typed<SessionNumber, DayCount> = Typed::new(tables::DAY_COUNTS);

/// One recipient whose turn it is.
struct RecipientTurn {
    position: Position,
    recipient: Recipient,
    state: RecipientState,
    /// Its row in the queue, when it is tried again.
    claim: Option<Claim>,
    /// Why it is not written to.
    refused: Option<&'static str>,
}

fn day_count(read: &impl Read, session: &Session) -> Result<DayCount> {
    Ok(DAY_COUNTS.get(read, session.number)?.unwrap_or_default())
}

/// The campaign's pacing within the session's: the smaller cap, and its own quiet hours or the
/// session's.
fn pacing(session: &Session, campaign: &Campaign) -> Pacing {
    let mut pacing = campaign.settings.pacing.clone();
    let limits = session.settings().limits;
    pacing.daily_cap = match (pacing.daily_cap, limits.daily_cap) {
        (Some(own), Some(other)) => Some(own.min(other)),
        (own, other) => own.or(other),
    };
    if pacing.quiet.is_none() && limits.quiet.is_some() {
        pacing.quiet = limits.quiet;
        pacing.zone = limits.zone;
    }
    pacing
}

impl Gateway {
    /// What can be done for a running campaign now.
    pub(super) fn next_work(
        &self,
        session: &Session,
        live: &LiveCampaign,
        now: Timestamp,
    ) -> Result<CampaignWork> {
        let (campaign, progress) = (&live.campaign, &live.progress);
        let counted = self.store.read(|read| day_count(read, session))?;
        let pacing = pacing(session, campaign);
        let due = self.retries.due_in(&rows::lane(campaign.roster))?;
        // No retry waits longer than that, unless the clock went back since.
        let latest = now.after(RETRY_WAIT);
        let again = due.is_some_and(|at| at <= now || at > latest);
        if !again && progress.next >= progress.end {
            return Ok(due.map_or(CampaignWork::Nothing, CampaignWork::Later));
        }
        let slowed = |at: &Timestamp| *at > now && *at <= latest;
        if let Some(at) = progress.not_before.filter(slowed) {
            return Ok(CampaignWork::Later(at));
        }
        let random = template::seed(u64::from(campaign.roster.0), u64::from(progress.next));
        if let NextSend::At(at, _) = pacing.next_slot(progress.last_sent, counted, now, random) {
            return Ok(CampaignWork::Later(at));
        }
        let mut count = if pacing.delay.is_zero() { AT_ONCE } else { 1 };
        if let Some(cap) = pacing.daily_cap {
            let left = cap.get().saturating_sub(counted.on(pacing.zone.day(now)));
            count = count.min(left as usize);
        }
        if !again {
            return Ok(CampaignWork::New(count));
        }
        let until = due.filter(|at| *at > latest).unwrap_or(now);
        let lane = rows::lane(campaign.roster);
        let claims = self.retries.claim_in(&lane, until, count)?;
        // Somebody else holds them: asking again at once would only keep a processor busy.
        Ok(if claims.is_empty() {
            CampaignWork::Later(now.after(Duration::from_secs(1)))
        } else {
            CampaignWork::Again(claims)
        })
    }

    /// Writes to the recipients whose turn it is.
    ///
    /// `took` is how long the last turn took, and then how long this one did.
    pub(super) async fn work(
        self: &Arc<Self>,
        session: &Arc<Session>,
        live: &LiveCampaign,
        work: CampaignWork,
        took: &mut Duration,
    ) -> Result<()> {
        let (least, most) = INTERACTIVE_FIRST;
        session
            .interactive_sends_done((*took).clamp(least, most))
            .await;
        let began = Instant::now();
        let done = self.take_turn(session, live, work).await;
        *took = began.elapsed();
        done
    }

    async fn take_turn(
        self: &Arc<Self>,
        session: &Arc<Session>,
        live: &LiveCampaign,
        work: CampaignWork,
    ) -> Result<()> {
        let turns = self.turns(session, live, work)?;
        let turns = self.checked(session, live, turns).await?;
        let mut jobs = match self.compose_turns(session, live, &turns).await {
            Ok(jobs) => jobs,
            Err(error) if error.kind().is_passing() => return Err(error),
            Err(error) => return self.halt(session, live, error.detail().to_owned()).await,
        };
        if live.campaign.settings.typing && !live.campaign.settings.pacing.delay.is_zero() {
            self.type_first(session, &jobs).await;
        }
        if !self.begin(session, live, turns, &mut jobs).await? {
            return Ok(());
        }
        self.deliver(session, jobs.iter_mut().collect()).await;
        let jobs = jobs.into_iter().map(Item::from).collect();
        self.settle(session, jobs, None).await;
        Ok(())
    }

    /// Reads the recipients whose turn it is, with what is known of them.
    fn turns(
        &self,
        session: &Session,
        live: &LiveCampaign,
        work: CampaignWork,
    ) -> Result<Vec<RecipientTurn>> {
        let roster = live.campaign.roster;
        self.store.read(|read| {
            let mut turns = Vec::new();
            match work {
                CampaignWork::New(count) => {
                    for (position, recipient) in
                        roster::from(read, roster, live.progress.next, count)?
                    {
                        turns.push((position, Some(recipient), None));
                    }
                }
                CampaignWork::Again(claims) => {
                    for claim in claims {
                        let position = parts_of(&claim.payload)?;
                        turns.push((position, roster::at(read, roster, position)?, Some(claim)));
                    }
                }
                CampaignWork::Nothing | CampaignWork::Later(_) => {}
            }
            turns
                .into_iter()
                .filter_map(|(position, recipient, claim)| Some((position, recipient?, claim)))
                .map(|(position, recipient, claim)| {
                    let out = match recipient.number.phone() {
                        Some(number) => suppression::is_suppressed(read, session, number)?,
                        None => false,
                    };
                    let state = rows::readable_state(read, roster, position)?;
                    Ok(RecipientTurn {
                        state: state.unwrap_or_else(rows::damaged),
                        position,
                        recipient,
                        claim,
                        refused: out.then_some("the number asked for no more campaigns"),
                    })
                })
                .collect()
        })
    }

    /// Asks WhatsApp which of the numbers it knows, where the campaign wants that.
    async fn checked(
        &self,
        session: &Session,
        live: &LiveCampaign,
        mut turns: Vec<RecipientTurn>,
    ) -> Result<Vec<RecipientTurn>> {
        if !live.campaign.settings.check_numbers {
            return Ok(turns);
        }
        let Some(connection) = session.paired_connection() else {
            return Ok(turns);
        };
        let people: Vec<Jid> = turns
            .iter()
            .filter(|turn| turn.refused.is_none())
            .filter_map(|turn| turn.recipient.number.phone())
            .map(Jid::user)
            .collect();
        let known = connection.on_whatsapp(&people).await?;
        for turn in &mut turns {
            let jid = turn.recipient.number.jid();
            if turn.refused.is_none() && known.get(&jid) == Some(&false) {
                turn.refused = Some("the number is not on WhatsApp");
            }
        }
        Ok(turns)
    }

    /// Writes the messages of those who are written to; the file is uploaded once for all.
    async fn compose_turns(
        self: &Arc<Self>,
        session: &Session,
        live: &LiveCampaign,
        turns: &[RecipientTurn],
    ) -> Result<Vec<SendJob>> {
        let message = &live.campaign.message;
        let template = message.template(live.campaign.settings.variants);
        let sources = Sources::default();
        if let Some(media) = &message.media {
            let kept = self
                .store
                .read(|read| media_exists(read, session, &media.id))?;
            if !kept {
                return Err(Error::new(
                    Code::FileGone,
                    "the campaign's file is not kept any more",
                ));
            }
        }
        let mut jobs = Vec::with_capacity(turns.len());
        for turn in turns.iter().filter(|turn| turn.refused.is_none()) {
            let seed = template::seed(u64::from(live.campaign.roster.0), u64::from(turn.position));
            let text = template
                .render(|name| turn.recipient.field(name), seed)
                .text;
            let text = Text::shortened(text);
            let content = match &message.media {
                None => DraftContent::Text(text),
                Some(media) => {
                    let source = FileSource::Stored {
                        id: media.id.clone(),
                        owner: None,
                    };
                    let mut file = DraftMedia::new(media.kind, source);
                    let named = media.file_name.as_deref().map(FileName::new);
                    file.file_name = named.and_then(Result::ok);
                    file.caption = Some(text).filter(|text| !text.is_empty());
                    DraftContent::Media(Box::new(file))
                }
            };
            let to = turn.recipient.number.jid();
            let draft = Draft::new(to.clone(), content);
            let composed = self.compose(session, draft, &sources).await?;
            let id = turn.state.message.clone();
            let id = id.unwrap_or_else(|| self.ids.message_id());
            let mut job = SendJob::new(id, to, composed);
            job.campaign = Some(CampaignRef {
                campaign: live.id.clone(),
                roster: live.campaign.roster,
                position: turn.position,
            });
            jobs.push(job);
        }
        Ok(jobs)
    }

    async fn type_first(&self, session: &Session, jobs: &[SendJob]) {
        let (Some(connection), Some(job)) = (session.paired_connection(), jobs.first()) else {
            return;
        };
        if connection.typing(&job.to).await.is_ok() {
            let letters = job
                .what
                .text()
                .map_or(0, |text| text.chars().count() as u64);
            tokio::time::sleep(Duration::from_millis(40 * letters).min(TYPING)).await;
        }
    }

    /// Makes it durable that these are written to now, and with which ids. False when the campaign
    /// does not run any more; nothing is written then.
    async fn begin(
        self: &Arc<Self>,
        session: &Arc<Session>,
        live: &LiveCampaign,
        turns: Vec<RecipientTurn>,
        jobs: &mut Vec<SendJob>,
    ) -> Result<bool> {
        let now = self.clock.now();
        let mut rows_of_jobs = Vec::new();
        for job in jobs.iter() {
            rows_of_jobs.push(job.rows(session.number, now)?);
        }
        let ids: Vec<_> = jobs.iter().map(|job| job.id.clone()).collect();
        let (gateway, session, id) = (self.clone(), session.clone(), live.id.clone());
        let expected = live.progress.next;
        let begun = self
            .record(Durability::Sync, move |tx| {
                ensure_session_exists(tx, session.id.as_str(), session.number)?;
                let Some(campaign) = rows::find(tx, session.number, &id)? else {
                    return Ok((None, None));
                };
                let fresh = rows::progress(tx, campaign.roster)?.next == expected;
                if campaign.status != CampaignState::Sending || !fresh {
                    return Ok((None, None));
                }
                let (gone, event_seq) =
                    mark(tx, &gateway, &session, &id, &campaign, turns, ids, now)?;
                for rows in rows_of_jobs {
                    if !gone.contains(rows.id()) {
                        rows.put(tx)?;
                    }
                }
                Ok((Some(gone), event_seq))
            })
            .await?;
        let Some(gone) = begun else { return Ok(false) };
        jobs.retain(|job| !gone.contains(&job.id));
        Ok(true)
    }

    /// Pauses a campaign that cannot go on by itself, and says why.
    pub(super) async fn halt(
        self: &Arc<Self>,
        session: &Arc<Session>,
        live: &LiveCampaign,
        why: String,
    ) -> Result<()> {
        tracing::warn!(session = %session.id, campaign = %live.id, "a campaign is paused; its detail says why");
        self.move_live(session, live, |_, campaign| {
            campaign.detail = Some(why);
            Ok(Some(CampaignState::Paused))
        })
        .await
    }

    /// Moves a campaign that runs to the state that `decide` says, if it is still there.
    pub(super) async fn move_live(
        self: &Arc<Self>,
        session: &Arc<Session>,
        live: &LiveCampaign,
        decide: impl FnOnce(&Tx, &mut Campaign) -> Result<Option<CampaignState>> + Send + 'static,
    ) -> Result<()> {
        let (gateway, session, id) = (self.clone(), session.clone(), live.id.clone());
        self.record(Durability::Sync, move |tx| {
            let Some(mut campaign) = rows::find(tx, session.number, &id)? else {
                return Ok(((), None));
            };
            let Some(to) = decide(tx, &mut campaign)? else {
                return Ok(((), None));
            };
            let event_seq = steps::change_status(tx, &gateway, &session, &id, &mut campaign, to)?;
            Ok(((), event_seq))
        })
        .await
    }
}

/// Marks recipients as being written to, or as failed where they are not. Answers the ids of
/// messages that need not be sent after all.
#[expect(clippy::too_many_arguments, reason = "one step of one transaction")]
fn mark(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    id: &crate::ids::RowId,
    campaign: &Campaign,
    turns: Vec<RecipientTurn>,
    ids: Vec<crate::ids::MessageId>,
    now: Timestamp,
) -> Result<(Vec<crate::ids::MessageId>, Option<u64>)> {
    let mut progress = rows::progress(tx, campaign.roster)?;
    let today = pacing(session, campaign).zone.day(now);
    let mut counted = day_count(tx, session)?;
    let mut ids = ids.into_iter();
    let mut gone = Vec::new();
    for turn in turns {
        if let Some(claim) = &turn.claim {
            queue::done(tx, claim)?;
            progress.waiting = progress.waiting.saturating_sub(1);
        } else {
            progress.next = turn.position + 1;
        }
        let message = turn.refused.is_none().then(|| ids.next()).flatten();
        // It may have arrived since: a late receipt ends the wait for another try.
        let state = rows::readable_state(tx, campaign.roster, turn.position)?;
        let Some(mut state) = state else {
            let (from, to) = (RecipientStatus::Pending, RecipientStatus::Failed);
            progress.counts.shift(from, to);
            rows::put_state(tx, campaign.roster, turn.position, &rows::damaged())?;
            gone.extend(message);
            continue;
        };
        if state.status != RecipientStatus::Pending {
            gone.extend(message);
            continue;
        }
        match (message, turn.refused) {
            (Some(message), _) => {
                progress
                    .counts
                    .shift(RecipientStatus::Pending, RecipientStatus::Sending);
                progress.last_sent = Some(now);
                // Tried again, it is still one message of the day.
                if state.counted != Some(today) {
                    counted = counted.plus_one(today);
                    state.counted = Some(today);
                }
                state.status = RecipientStatus::Sending;
                state.message = Some(message);
                state.tries += 1;
                state.error = None;
            }
            (None, why) => {
                progress
                    .counts
                    .shift(RecipientStatus::Pending, RecipientStatus::Failed);
                state.status = RecipientStatus::Failed;
                state.at = Some(now);
                state.error = why.map(str::to_owned);
            }
        }
        rows::put_state(tx, campaign.roster, turn.position, &state)?;
    }
    // Gaps that removed recipients left at the end are passed over.
    if roster::from(tx, campaign.roster, progress.next, 1)?.is_empty() {
        progress.next = progress.end;
    }
    DAY_COUNTS.put(tx, session.number, &counted)?;
    let event_seq =
        steps::publish_progress(tx, gateway, session, id, campaign, &mut progress, now)?;
    Ok((gone, event_seq))
}
