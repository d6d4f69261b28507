//! Polls of ours: what people answered.

use serde::{Deserialize, Serialize};

use super::own;
use crate::domain::Gateway;
use crate::domain::event::{MessageHeading, PollVote};
use crate::domain::session::Session;
use crate::error::Result;
use crate::ids::{MessageId, SessionNumber};
use crate::jid::Jid;
use crate::store::record::Record;
use crate::store::{Tx, Typed, tables, unless_damaged};
use crate::time::Timestamp;
use crate::wa::message::{Incoming, OutgoingContent, SealedVote};
use crate::wa::{VoteParties, open_vote};

/// One person's answer to a poll. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Vote {
    /// The chosen options, by their place.
    options: Vec<usize>,
    at: Timestamp,
}

impl Record for Vote {
    const VERSION: u8 = 1;
}

/// Session, poll, voter.
const POLL_VOTES: Typed<(SessionNumber, MessageId, Jid), Vote> = Typed::new(tables::POLL_VOTES);

/// How often an option was chosen, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The option.
    pub option: String,
    /// Who chose it.
    pub voters: Vec<Jid>,
}

/// Opens a vote for a poll of ours and stores it. Answers what it says; `None` when it is for somebody
/// else's poll or cannot be opened.
pub(super) fn take_vote(
    tx: &mut Tx,
    session: &Session,
    incoming: &Incoming,
    vote: &SealedVote,
) -> Result<Option<PollVote>> {
    let poll = unless_damaged(own(tx, session.number, &vote.poll))?.flatten();
    let Some((_, poll)) = poll else {
        return Ok(None);
    };
    let Some(OutgoingContent::Poll {
        options, secret, ..
    }) = &poll.sent
    else {
        return Ok(None);
    };
    let status = session.status();
    let own_number = status.number.as_deref().and_then(Jid::of_number);
    let voter_number = incoming.person.number.as_deref().and_then(Jid::of_number);
    let voting = VoteParties {
        asked: [own_number.as_ref(), status.lid.as_ref()],
        answered: [voter_number.as_ref(), incoming.person.lid.as_ref()],
    };
    let Some(chosen) = open_vote(vote, &secret.0, options, &voting) else {
        tracing::warn!(session = %session.id, "a vote for a poll cannot be opened");
        return Ok(None);
    };
    let voter = voter_number.as_ref().unwrap_or(&incoming.sender);
    let key = (session.number, &vote.poll, voter);
    let stored = POLL_VOTES.readable(tx, key)?;
    if stored.is_none_or(|vote| vote.at <= incoming.at) {
        let row = Vote {
            options: chosen.clone(),
            at: incoming.at,
        };
        POLL_VOTES.put(tx, key, &row)?;
    }
    let names = chosen.iter().filter_map(|i| options.get(*i)).cloned();
    Ok(Some(PollVote {
        heading: MessageHeading::of(incoming),
        poll: vote.poll.clone(),
        options: names.collect(),
    }))
}

impl Gateway {
    /// What people answered to a poll of ours; `None` when the message is none.
    pub fn poll_votes(&self, session: &Session, id: &MessageId) -> Result<Option<Vec<Tally>>> {
        self.store.read(|read| {
            let Some((_, poll)) = own(read, session.number, id)? else {
                return Ok(None);
            };
            let Some(OutgoingContent::Poll { options, .. }) = poll.sent else {
                return Ok(None);
            };
            let mut tallies: Vec<Tally> = options
                .into_iter()
                .map(|option| Tally {
                    option,
                    voters: Vec::new(),
                })
                .collect();
            let votes = POLL_VOTES.rows((session.number, id));
            votes.each_readable(read, |voter, vote| {
                for option in vote.options {
                    if let Some(tally) = tallies.get_mut(option) {
                        tally.voters.push(voter.clone());
                    }
                }
                Ok(())
            })?;
            Ok(Some(tallies))
        })
    }
}
