//! What the first recipients would read, before anything is sent.

use std::collections::BTreeSet;

use super::create::Audience;
use super::message::NewMessage;
use crate::domain::Gateway;
use crate::domain::list;
use crate::domain::recipient::Recipient;
use crate::domain::roster;
use crate::domain::template;
use crate::error::Result;

/// How many recipients a preview shows when nobody says how many, and at most.
const SAMPLES: u64 = 5;
const MAX_SAMPLES: u64 = 50;

/// What one recipient would read.
pub struct Sample {
    /// Who.
    pub recipient: Recipient,
    /// The text. Variants may be chosen differently when the campaign is made.
    pub text: String,
    /// Placeholders that have no value.
    pub missing: BTreeSet<String>,
}

impl Gateway {
    /// What the first `limit` of these people would read: 5 where it is not said, and at most 50.
    pub fn preview(
        &self,
        message: &NewMessage,
        variants: bool,
        audience: Audience,
        limit: Option<u64>,
    ) -> Result<Vec<Sample>> {
        let limit = limit.unwrap_or(SAMPLES).min(MAX_SAMPLES) as usize;
        let people: Vec<Recipient> = match audience {
            Audience::These(parsed) | Audience::Restored(parsed, _) => {
                let first = parsed.recipients.iter().take(limit);
                first.collect::<Result<_>>()?
            }
            Audience::List(owner, id) => {
                let page = self.store.read(|read| {
                    let list = list::get(read, owner, &id)?;
                    roster::from(read, list.roster, 0, limit)
                })?;
                page.into_iter().map(|(_, recipient)| recipient).collect()
            }
        };
        let template = message.words().template(variants);
        Ok((0u64..)
            .zip(people)
            .map(|(position, recipient)| {
                let seed = template::seed(0, position);
                let rendered = template.render(|name| recipient.field(name), seed);
                Sample {
                    recipient,
                    text: rendered.text,
                    missing: rendered.missing,
                }
            })
            .collect())
    }
}
