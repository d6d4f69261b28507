//! What is known of campaigns: the list, one with its recipients, pages of states.

use std::ops::ControlFlow;

use super::{CAMPAIGNS, Campaign, REFUSED, RecipientState, SendProgress, rows};
use crate::domain::Gateway;
use crate::domain::recipient::Recipient;
use crate::domain::roster::{self, Position};
use crate::domain::session::Session;
use crate::error::Result;
use crate::ids::RowId;

/// How many states are read beside their recipients at a time.
const PAGE: usize = 512;

/// How many bytes of recipients are answered at a time, whatever number was asked for.
const PAGE_BYTES: usize = 4 << 20;

/// One row of a campaign: a recipient or a refused row, and what became of it.
pub struct ReportRow {
    /// Where it is, for the next page.
    pub position: Position,
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

    /// One campaign and how far it has come.
    pub fn campaign(&self, session: &Session, id: &RowId) -> Result<(Campaign, SendProgress)> {
        self.store.read(|read| {
            let campaign = rows::get(read, session.number, id)?;
            let progress = rows::progress(read, campaign.roster)?;
            Ok((campaign, progress))
        })
    }

    /// Up to `limit` rows of a campaign that `wanted` picks, from a position on: recipients in their
    /// order, then refused rows; fewer when they are large. And whether there may be more.
    pub async fn campaign_rows(
        &self,
        session: &Session,
        campaign: &Campaign,
        first: Position,
        limit: usize,
        wanted: impl Fn(&RecipientState) -> bool + Send + 'static,
    ) -> Result<(Vec<ReportRow>, bool)> {
        let roster = campaign.roster;
        self.scan(session.number, move |read| {
            let (mut found, mut bytes) = (Vec::new(), 0);
            if first < REFUSED {
                let mut states = StateReader::default();
                roster::visit(read, roster, first, |position, recipient| {
                    if found.len() == limit || bytes > PAGE_BYTES {
                        return Ok(ControlFlow::Break(()));
                    }
                    let state =
                        states.of(position, |from| rows::states(read, roster, from, PAGE))?;
                    if wanted(&state) {
                        bytes += recipient.size();
                        found.push(ReportRow {
                            position,
                            recipient: Some(recipient),
                            state,
                        });
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            if found.len() == limit || bytes > PAGE_BYTES {
                return Ok((found, true));
            }
            let left = limit - found.len();
            let refused = rows::states(read, roster, first.max(REFUSED), left)?;
            found.extend(refused.into_iter().filter(|(_, s)| wanted(s)).map(
                |(position, state)| ReportRow {
                    position,
                    recipient: None,
                    state,
                },
            ));
            let more = found.len() == limit;
            Ok((found, more))
        })
        .await
    }
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
