//! Polls of ours: what people answered.

use serde::{Deserialize, Serialize};

use super::own;
use crate::domain::Gateway;
use crate::domain::event::{Heading, PollVote};
use crate::domain::session::Session;
use crate::error::Result;
use crate::ids::{MessageId, SessionNumber};
use crate::jid::Jid;
use crate::store::record::{self, Record};
use crate::store::{Read, Tx, tables};
use crate::time::Timestamp;
use crate::wa::message::{Incoming, Outgoing, SealedVote};
use crate::wa::{Voting, open_vote};

/// One person's answer to a poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Vote {
    /// The chosen options, by their place.
    options: Vec<usize>,
    at: Timestamp,
}

impl Record for Vote {
    const VERSION: u8 = 1;
}

/// How often an option was chosen, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The option.
    pub option: String,
    /// Who chose it.
    pub voters: Vec<Jid>,
}

fn poll_key(session: SessionNumber, poll: &MessageId) -> Vec<u8> {
    let mut key = session.0.to_be_bytes().to_vec();
    key.extend_from_slice(poll.as_str().as_bytes());
    key.push(0);
    key
}

/// Opens a vote for a poll of ours and stores it. Answers what it says; `None` when it is for somebody
/// else's poll or cannot be opened.
pub(super) fn take_vote(
    tx: &mut Tx,
    session: &Session,
    incoming: &Incoming,
    vote: &SealedVote,
) -> Result<Option<PollVote>> {
    let Some((_, poll)) = own(tx, session.number, &vote.poll)? else {
        return Ok(None);
    };
    let Some(Outgoing::Poll {
        options, secret, ..
    }) = &poll.sent
    else {
        return Ok(None);
    };
    let status = session.status();
    let own_number = status.number.as_deref().and_then(Jid::of_number);
    let voter_number = incoming.person.number.as_deref().and_then(Jid::of_number);
    let voting = Voting {
        asked: [own_number.as_ref(), status.lid.as_ref()],
        answered: [voter_number.as_ref(), incoming.person.lid.as_ref()],
    };
    let Some(chosen) = open_vote(vote, &secret.0, options, &voting) else {
        tracing::warn!(session = %session.id, "a vote for a poll cannot be opened");
        return Ok(None);
    };
    let voter = voter_number.as_ref().unwrap_or(&incoming.sender);
    let mut key = poll_key(session.number, &vote.poll);
    key.extend_from_slice(voter.to_string().as_bytes());
    let stored = tx.get(tables::POLL_VOTES, &key)?;
    let later = match stored {
        Some(row) => record::decode::<Vote>(&row)?.at > incoming.at,
        None => false,
    };
    if !later {
        let row = Vote {
            options: chosen.clone(),
            at: incoming.at,
        };
        tx.put(tables::POLL_VOTES, key, record::encode(&row)?);
    }
    let names = chosen.iter().filter_map(|i| options.get(*i)).cloned();
    Ok(Some(PollVote {
        heading: Heading::of(incoming),
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
            let Some(Outgoing::Poll { options, .. }) = poll.sent else {
                return Ok(None);
            };
            let mut tallies: Vec<Tally> = options
                .into_iter()
                .map(|option| Tally {
                    option,
                    voters: Vec::new(),
                })
                .collect();
            let prefix = poll_key(session.number, id);
            for (key, value) in read.prefix(tables::POLL_VOTES, &prefix, None, usize::MAX)? {
                let vote: Vote = record::decode(&value)?;
                let voter = Jid::parse(&String::from_utf8_lossy(&key[prefix.len()..]));
                for option in vote.options {
                    if let (Some(tally), Some(voter)) = (tallies.get_mut(option), &voter) {
                        tally.voters.push(voter.clone());
                    }
                }
            }
            Ok(Some(tallies))
        })
    }
}
