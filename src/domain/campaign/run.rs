//! Running campaigns: one loop per session that has any, which shares the session fairly among them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::live::{CampaignWork, LiveCampaign};
use super::{CampaignRef, CampaignState, LIVE, RecipientStatus, rows, steps};
use crate::domain::Gateway;
use crate::domain::message::settlement::Settlement;
use crate::domain::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{RowId, SessionNumber};
use crate::store::{Durability, Read, Reader, unless_damaged};
use crate::time::Timestamp;

/// The longest sleep: after it the clock is read again, which may have been set meanwhile.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// How often a clock that is probably wrong is read again.
const DOUBT_CHECK: Duration = Duration::from_secs(5);

/// What a campaign says that was paused because something in the store that belongs to it is damaged.
const DAMAGED: &str =
    "what is stored of this campaign is damaged; the log says more, and `warung check` which row";

/// What a look at a session's campaigns led to.
enum RunOutcome {
    /// None of them is live.
    Over,
    /// Something was done; there may be more.
    Done,
    /// Nothing can be done before this moment, or before something changes.
    Wait(Option<Timestamp>),
}

/// Runs all campaigns until `stop`; messages that are being handed over are waited for.
pub async fn run(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut changes = gateway.campaigns.watch();
    let mut loops: JoinSet<SessionNumber> = JoinSet::new();
    let mut running: HashSet<SessionNumber> = HashSet::new();
    loop {
        changes.borrow_and_update();
        match gateway.sessions_with_campaigns() {
            Ok(sessions) => {
                for session in sessions {
                    if running.insert(session.number) {
                        loops.spawn(run_session(gateway.clone(), session, stop.clone()));
                    }
                }
            }
            Err(error) => tracing::error!(?error, "campaigns cannot be read"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = changes.changed() => if changed.is_err() { break },
            Some(ended) = loops.join_next() => {
                if let Ok(number) = ended {
                    running.remove(&number);
                }
            }
        }
    }
    while loops.join_next().await.is_some() {}
}

/// Runs the campaigns of one session as long as any is live.
async fn run_session(
    gateway: Arc<Gateway>,
    session: Arc<Session>,
    stop: CancellationToken,
) -> SessionNumber {
    let mut changes = gateway.campaigns.watch();
    let mut status = session.watch();
    let mut turns = CampaignTurns::default();
    let mut doubted = false;
    while !stop.is_cancelled() {
        changes.borrow_and_update();
        status.borrow_and_update();
        // A schedule, quiet hours and daily limits mean nothing by a clock that is wrong.
        if let Some(why) = gateway.clock.doubt() {
            if !doubted {
                tracing::warn!(session = %session.id, clock = %gateway.clock.now(), why,
                    "campaigns wait until the clock is right");
            }
            doubted = true;
            tokio::select! {
                () = stop.cancelled() => break,
                _ = changes.changed() => {}
                () = tokio::time::sleep(DOUBT_CHECK) => {}
            }
            continue;
        }
        doubted = false;
        let until = match gateway.run_once(&session, &mut turns).await {
            Ok(RunOutcome::Over) => break,
            Ok(RunOutcome::Done) => continue,
            Ok(RunOutcome::Wait(until)) => until,
            Err(error) => {
                tracing::error!(session = %session.id, ?error, "a campaign could not go on");
                Some(gateway.clock.now().after(Duration::from_secs(1)))
            }
        };
        let wait = until.map_or(CLOCK_CHECK, |at| at.since(gateway.clock.now()));
        tokio::select! {
            () = stop.cancelled() => break,
            _ = changes.changed() => {}
            _ = status.changed() => {}
            () = tokio::time::sleep(wait.min(CLOCK_CHECK)) => {}
        }
    }
    session.number
}

/// Who sent last.
#[derive(Default)]
struct CampaignTurns {
    /// The campaign whose turn was the last: the others come first now.
    last: Option<RowId>,
    /// How long that turn took.
    took: Duration,
    /// Campaigns that are damaged and do not run: each is told once.
    broken: HashSet<RowId>,
}

impl Gateway {
    /// Sessions that have a live campaign.
    fn sessions_with_campaigns(&self) -> Result<Vec<Arc<Session>>> {
        let live = self
            .store
            .read(|read| LIVE.rows(()).readable(read, usize::MAX))?;
        let numbers: HashSet<_> = live.into_iter().map(|((number, _), ())| number).collect();
        Ok(numbers
            .into_iter()
            .filter_map(|number| self.sessions.by_number(number))
            .collect())
    }

    /// The session's live campaigns. Which of them cannot be read is noted in `broken`, and told once.
    fn live_campaigns(
        &self,
        session: &Session,
        broken: &mut HashSet<RowId>,
    ) -> Result<Vec<LiveCampaign>> {
        let found = self.store.read(|read| {
            let ids = LIVE.rows(session.number).readable(read, usize::MAX)?;
            let found = ids.into_iter().map(|(id, ())| {
                let whole = !broken.contains(&id);
                let one = whole.then(|| live(read, session, &id)).transpose();
                Ok((id, unless_damaged(one)?.flatten()))
            });
            found.collect::<Result<Vec<_>>>()
        })?;
        broken.retain(|id| found.iter().any(|(live, _)| live == id));
        let mut all = Vec::new();
        for (id, one) in found {
            match one {
                Some(one) => all.push(one),
                None if broken.contains(&id) => {}
                None => {
                    tracing::error!(session = %session.id, campaign = %id, "a campaign is damaged and does not run");
                    broken.insert(id);
                }
            }
        }
        Ok(all)
    }

    /// Does the next thing that can be done for a session's campaigns.
    async fn run_once(
        self: &Arc<Self>,
        session: &Arc<Session>,
        turns: &mut CampaignTurns,
    ) -> Result<RunOutcome> {
        let mut live = self.live_campaigns(session, &mut turns.broken)?;
        let none = live.is_empty() && turns.broken.is_empty();
        if none || self.sessions.by_number(session.number).is_none() {
            return Ok(RunOutcome::Over);
        }
        let turn = live
            .iter()
            .position(|one| turns.last.as_ref() < Some(&one.id));
        live.rotate_left(turn.unwrap_or(0));
        let now = self.clock.now();
        let mut earliest: Option<Timestamp> = None;
        let mut wait_until = |at: Timestamp| {
            earliest = Some(earliest.map_or(at, |other| other.min(at)));
        };
        for one in live {
            match self.run_campaign(session, &one, now, turns).await {
                Ok(RunOutcome::Over) => {}
                Ok(RunOutcome::Wait(until)) => until.into_iter().for_each(&mut wait_until),
                // It must not keep the session's others.
                Err(error) if error.kind() == ErrorKind::Internal => {
                    tracing::error!(session = %session.id, campaign = %one.id, ?error, "a campaign is damaged");
                    let halted = self.halt(session, &one, DAMAGED.to_owned()).await;
                    if unless_damaged(halted)?.is_none() {
                        turns.broken.insert(one.id);
                    }
                    return Ok(RunOutcome::Done);
                }
                done => return done,
            }
        }
        Ok(RunOutcome::Wait(earliest))
    }

    /// Does the next thing that can be done for one campaign; `Over` when there is nothing before
    /// something changes.
    async fn run_campaign(
        self: &Arc<Self>,
        session: &Arc<Session>,
        one: &LiveCampaign,
        now: Timestamp,
        turns: &mut CampaignTurns,
    ) -> Result<RunOutcome> {
        if one.campaign.status == CampaignState::Ready {
            return match one.campaign.scheduled_at {
                Some(at) if at > now => Ok(RunOutcome::Wait(Some(at))),
                _ => self.start_scheduled(session, one).await,
            };
        }
        if self.is_over(one) {
            self.complete(session, one).await?;
            return Ok(RunOutcome::Done);
        }
        if !session.is_connected() {
            return Ok(RunOutcome::Over);
        }
        // What this loop hands over it waits for. Whoever is in between now was left there by a
        // crash, or by a disk on which the outcome could not be stored.
        if one.progress.counts.sending > 0 {
            if !self.return_unsettled(session, &one.id).await? {
                self.return_lost(session, one).await?;
            }
            return Ok(RunOutcome::Done);
        }
        match self.next_work(session, one, now)? {
            CampaignWork::Nothing => Ok(RunOutcome::Over),
            CampaignWork::Later(at) => Ok(RunOutcome::Wait(Some(at))),
            work => {
                turns.last = Some(one.id.clone());
                self.work(session, one, work, &mut turns.took).await?;
                Ok(RunOutcome::Done)
            }
        }
    }

    /// Gives those back to be tried again who are in between without a message that says so: its row is
    /// damaged. It is made anew under the same id, which WhatsApp shows once. Who is still counted then
    /// has a damaged row of his own, and is shown as failed.
    async fn return_lost(self: &Arc<Self>, session: &Session, live: &LiveCampaign) -> Result<()> {
        let roster = live.campaign.roster;
        let in_between = move |read: &Reader| rows::in_between(read, roster);
        let lost = self.store.read_slow(in_between).await?;
        tracing::error!(session = %session.id, campaign = %live.id, count = lost.len(),
            "messages of a campaign are damaged and made anew");
        let (number, campaign) = (session.number, live.id.clone());
        let now = self.clock.now();
        self.store
            .write(Durability::Lazy, move |tx| {
                if rows::find(tx, number, &campaign)?.is_none() {
                    return Ok(());
                }
                let unknown = Settlement::Unacknowledged {
                    connection_held: false,
                };
                for position in lost {
                    let part = CampaignRef {
                        campaign: campaign.clone(),
                        roster,
                        position,
                    };
                    steps::retry_or_fail(tx, number, &part, &unknown, now)?;
                }
                let mut progress = rows::progress(tx, roster)?;
                for _ in 0..progress.counts.sending {
                    let (from, to) = (RecipientStatus::Sending, RecipientStatus::Failed);
                    progress.counts.shift(from, to);
                }
                rows::put_progress(tx, roster, &progress)
            })
            .await
    }

    async fn start_scheduled(
        self: &Arc<Self>,
        session: &Session,
        live: &LiveCampaign,
    ) -> Result<RunOutcome> {
        match self.start_campaign(session, &live.id).await {
            // Somebody was faster.
            Err(error) if error.kind() != crate::error::ErrorKind::Conflict => Err(error),
            _ => Ok(RunOutcome::Done),
        }
    }

    /// Whether there is nobody left to write to or to wait for.
    fn is_over(&self, live: &LiveCampaign) -> bool {
        let progress = &live.progress;
        progress.next >= progress.end && progress.waiting == 0 && progress.counts.sending == 0
    }

    async fn complete(self: &Arc<Self>, session: &Arc<Session>, live: &LiveCampaign) -> Result<()> {
        let now = self.clock.now();
        let (name, id) = (session.id.clone(), live.id.clone());
        self.move_live(session, live, move |tx, campaign| {
            let progress = rows::progress(tx, campaign.roster)?;
            let over = progress.next >= progress.end
                && progress.waiting == 0
                && progress.counts.sending == 0;
            if campaign.status != CampaignState::Sending || !over {
                return Ok(None);
            }
            campaign.completed_at = Some(now);
            tracing::info!(session = %name, campaign = %id, total = campaign.total, "a campaign is completed");
            Ok(Some(CampaignState::Completed))
        })
        .await
    }
}

/// What is stored of a live campaign.
fn live(read: &impl Read, session: &Session, id: &RowId) -> Result<LiveCampaign> {
    let campaign = rows::find(read, session.number, id)?;
    let campaign = campaign.ok_or_else(|| Error::internal("a live campaign without a row"))?;
    Ok(LiveCampaign {
        id: id.clone(),
        progress: rows::progress(read, campaign.roster)?,
        campaign,
    })
}
