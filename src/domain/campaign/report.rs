//! What is known of campaigns: the list, one with its recipients, pages of states.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{CAMPAIGNS, Campaign, REFUSED, RecipientState, SendProgress, rows};
use crate::domain::Gateway;
use crate::domain::recipient::Recipient;
use crate::domain::roster::{self, PageSize, Position, Roster};
use crate::domain::session::{Session, first_that_has};
use crate::error::{Code, Result};
use crate::ids::RowId;
use crate::store::{Read, refused_if_damaged};

/// How many states are read beside their recipients at a time.
const PAGE: usize = 512;

/// One row of a campaign: a recipient or a refused row, and what became of it.
pub struct ReportRow {
    /// Who; `None` for a refused row.
    pub recipient: Option<Recipient>,
    /// What became of it.
    pub state: RecipientState,
}

impl Gateway {
    /// All campaigns of a session, the newest first.
    pub fn campaigns_of(&self, session: &Session) -> Result<Vec<(RowId, Campaign, SendProgress)>> {
        let mut found = self.store.read(|read| {
            let campaigns = CAMPAIGNS.rows(session.number);
            let campaigns = campaigns.readable(read, usize::MAX)?.into_iter();
            let found = campaigns.map(|(id, campaign)| {
                let progress = rows::readable_progress(read, campaign.roster)?;
                Ok((id, campaign, progress))
            });
            found.collect::<Result<Vec<_>>>()
        })?;
        found.sort_by_key(|(_, campaign, _)| std::cmp::Reverse(campaign.created_at));
        Ok(found)
    }

    /// The campaign of one of these sessions, how far it has come, and the session.
    pub fn find_campaign(
        &self,
        among: &[Arc<Session>],
        id: &RowId,
    ) -> Result<(Arc<Session>, (Campaign, SendProgress))> {
        let missing = Code::CampaignNotFound;
        first_that_has(among, missing, |session| self.campaign(session, id))
    }

    /// One campaign and how far it has come.
    pub fn campaign(&self, session: &Session, id: &RowId) -> Result<(Campaign, SendProgress)> {
        let campaign = self.store.read(|read| {
            let campaign = rows::get(read, session.number, id)?;
            let progress = rows::progress(read, campaign.roster)?;
            Ok((campaign, progress))
        });
        refused_if_damaged(campaign, Code::CampaignUnreadable)
    }

    /// The session, of these, that has the campaign; the campaign may be damaged.
    pub fn owner_of_campaign(&self, among: &[Arc<Session>], id: &RowId) -> Result<Arc<Session>> {
        let found = first_that_has(among, Code::CampaignNotFound, |session| {
            let place = (session.number, id);
            match self.store.read(|read| CAMPAIGNS.exists(read, place))? {
                true => Ok(()),
                false => Err(Code::CampaignNotFound.into()),
            }
        });
        Ok(found?.0)
    }

    /// Rows of a campaign that `wanted` picks, from a position on: recipients in their order, then refused
    /// rows. If the campaign has other recipients than `campaign` by now, or is gone, that is
    /// [`Code::ChangedWhileRead`].
    pub async fn campaign_rows(
        &self,
        session: &Session,
        (id, campaign): (&RowId, &Campaign),
        first: Position,
        size: PageSize,
        wanted: impl Fn(&RecipientState) -> bool + Send + 'static,
    ) -> Result<ReportPage> {
        let (number, id, roster) = (session.number, id.clone(), campaign.roster);
        let rows = self.scan(number, move |read| {
            let now = rows::find(read, number, &id)?;
            if now.is_none_or(|now| now.roster != roster) {
                return Err(Code::ChangedWhileRead.into());
            }
            page(read, roster, first, size, wanted)
        });
        refused_if_damaged(rows.await, Code::CampaignUnreadable)
    }
}

/// Some rows of a campaign.
pub struct ReportPage {
    /// They, in order.
    pub rows: Vec<ReportRow>,
    /// The position of the first that comes after them; `None` at the end.
    pub next: Option<Position>,
}

fn page(
    read: &impl Read,
    roster: Roster,
    first: Position,
    size: PageSize,
    wanted: impl Fn(&RecipientState) -> bool,
) -> Result<ReportPage> {
    let (mut found, mut next, mut bytes) = (Vec::new(), None, 0);
    let mut states = StateReader::default();
    if first < REFUSED {
        roster::visit(read, roster, first, |position, recipient| {
            let state = states.of(position, |from| rows::states(read, roster, from, PAGE))?;
            if !wanted(&state) {
                return Ok(ControlFlow::Continue(()));
            }
            if found.len() >= size.rows || bytes > size.bytes {
                next = Some(position);
                return Ok(ControlFlow::Break(()));
            }
            bytes += recipient.size();
            found.push(ReportRow {
                recipient: Some(recipient),
                state,
            });
            Ok(ControlFlow::Continue(()))
        })?;
    }
    if next.is_none() {
        // One more than fits: whether it is there decides whether there is a next page.
        let many = size.rows.saturating_sub(found.len()) + 1;
        let refused = rows::states(read, roster, first.max(REFUSED), many)?;
        for (position, state) in refused.into_iter().filter(|(_, state)| wanted(state)) {
            if found.len() >= size.rows {
                next = Some(position);
                break;
            }
            found.push(ReportRow {
                recipient: None,
                state,
            });
        }
    }
    Ok(ReportPage { rows: found, next })
}

/// State rows in the order of their positions, read a page at a time; most positions have none yet.
#[derive(Default)]
struct StateReader {
    page: std::collections::VecDeque<(Position, RecipientState)>,
    /// The position from which on nothing was read.
    from: Position,
    ended: bool,
}

impl StateReader {
    fn of(
        &mut self,
        position: Position,
        read: impl Fn(Position) -> Result<Vec<(Position, RecipientState)>>,
    ) -> Result<RecipientState> {
        self.from = self.from.max(position);
        while self.page.front().is_some_and(|(at, _)| *at < position) {
            self.page.pop_front();
        }
        if self.page.is_empty() && !self.ended {
            self.page = read(self.from)?.into();
            self.ended = self.page.len() < PAGE;
            self.from = self.page.back().map_or(self.from, |(last, _)| last + 1);
        }
        match self.page.front() {
            Some((at, _)) if *at == position => {
                Ok(self.page.pop_front().map(|(_, s)| s).unwrap_or_default())
            }
            _ => Ok(RecipientState::default()),
        }
    }
}
