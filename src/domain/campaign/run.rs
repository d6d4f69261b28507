//! Running campaigns: one loop per session that has any, which shares the session fairly among them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::live::{CampaignWork, LiveCampaign};
use super::{CampaignState, LIVE, rows};
use crate::domain::Gateway;
use crate::domain::session::Session;
use crate::error::Result;
use crate::ids::{RowId, SessionNumber};
use crate::time::Timestamp;

/// The longest sleep: after it the clock is read again, which may have been set meanwhile.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// How often a clock that is probably wrong is read again.
const DOUBT_CHECK: Duration = Duration::from_secs(5);

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
}

impl Gateway {
    /// Sessions that have a live campaign.
    fn sessions_with_campaigns(&self) -> Result<Vec<Arc<Session>>> {
        let live = self
            .store
            .read(|read| LIVE.rows(()).keys(read, usize::MAX))?;
        let numbers: HashSet<_> = live.into_iter().map(|(number, _)| number).collect();
        Ok(numbers
            .into_iter()
            .filter_map(|number| self.sessions.by_number(number))
            .collect())
    }

    fn live_campaigns(&self, session: &Session) -> Result<Vec<LiveCampaign>> {
        self.store.read(|read| {
            let mut live = Vec::new();
            for id in LIVE.rows(session.number).keys(read, usize::MAX)? {
                let campaign = rows::get(read, session.number, &id)?;
                let progress = rows::progress(read, campaign.roster)?;
                live.push(LiveCampaign {
                    id,
                    campaign,
                    progress,
                });
            }
            Ok(live)
        })
    }

    /// Does the next thing that can be done for a session's campaigns.
    async fn run_once(
        self: &Arc<Self>,
        session: &Arc<Session>,
        turns: &mut CampaignTurns,
    ) -> Result<RunOutcome> {
        let mut live = self.live_campaigns(session)?;
        if live.is_empty() || self.sessions.by_number(session.number).is_none() {
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
            if one.campaign.status == CampaignState::Ready {
                match one.campaign.scheduled_at {
                    Some(at) if at > now => wait_until(at),
                    _ => return self.start_scheduled(session, &one).await,
                }
                continue;
            }
            if self.is_over(&one) {
                self.complete(session, &one).await?;
                return Ok(RunOutcome::Done);
            }
            if !session.is_connected() {
                continue;
            }
            // What this loop hands over it waits for. Whoever is in between now was left there by a
            // crash, or by a disk on which the outcome could not be stored.
            let left = one.progress.counts.sending > 0;
            if left && self.return_unsettled(session, &one.id).await? {
                return Ok(RunOutcome::Done);
            }
            match self.next_work(session, &one, now)? {
                CampaignWork::Nothing => {}
                CampaignWork::Later(at) => wait_until(at),
                work => {
                    turns.last = Some(one.id.clone());
                    self.work(session, &one, work, &mut turns.took).await?;
                    return Ok(RunOutcome::Done);
                }
            }
        }
        Ok(RunOutcome::Wait(earliest))
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
