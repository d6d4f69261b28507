//! Moving in: what another program left becomes ours, all of it in one transaction or nothing.
//!
//! A session that is here is not touched, unless it is to be replaced: so the same import again changes
//! nothing. What is its owner's and people's word outlasts even that (`replaced`). Whatever stands in the way
//! of one thing holds up the whole import until somebody has seen to it or said that it may be left out. All
//! of that is judged before anything is stopped or written, and the same way when nothing is to be changed.

mod arrival;
mod belongings;
mod commit;
mod devices;
mod files;
mod homes;
mod incoming;
mod options;
mod replaced;
mod report;
mod room;

pub use incoming::{Belongs, Incoming, IncomingFile, IncomingSession};
pub use options::ImportOptions;
pub use report::{Outcome, Report, ReportLine, account_of};

use std::sync::Arc;

use tokio::sync::Mutex;

use self::arrival::Arrival;
use self::homes::Homes;
use super::Gateway;
use crate::error::Result;

/// What came of an import.
#[derive(Debug)]
pub struct ImportResult {
    /// Line by line.
    pub report: Report,
    /// Whether anything is different now.
    pub changed: bool,
    /// Whether problems held it up.
    pub held_up: bool,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
}

impl ImportResult {
    /// What came of it, in a sentence.
    pub fn summary(&self) -> String {
        let problems = self.report.count(Outcome::Problem);
        if self.held_up {
            return format!(
                "nothing was changed, because of problems ({problems}): see to them, or import without what \
                 has them (--skip-problems, skipProblems=true)"
            );
        }
        let said = match (self.changed, self.report.count(Outcome::Taken)) {
            (true, _) => "imported; sessions with a linked phone connect when the gateway runs",
            (false, 1..) if self.dry_run => "nothing was changed: this was a dry run",
            _ => "nothing was changed: there is nothing to import",
        };
        said.to_owned()
    }
}

impl Gateway {
    /// Takes in what another program left. What did and what did not come is in the report.
    ///
    /// # Errors
    /// Nothing has changed. Only where the store fails may it be that it has, once the store works again: the
    /// same import then says that all is here already.
    pub async fn import(
        self: &Arc<Self>,
        incoming: Incoming,
        options: ImportOptions,
    ) -> Result<ImportResult> {
        static TURN: Mutex<()> = Mutex::const_new(());
        let _turn = TURN.lock().await;
        let Incoming {
            sessions,
            lists,
            campaigns,
            files,
            mut report,
            ..
        } = incoming;
        let homes = Homes::of(&sessions);
        let mut arrivals = self.arrivals(sessions, options, &mut report).await?;
        let staged = self
            .stage(
                &mut arrivals,
                &homes,
                &campaigns,
                files,
                options,
                &mut report,
            )
            .await?;
        self.hand_out_lists(lists, &homes, &mut arrivals, &mut report);
        self.hand_out_campaigns(campaigns, &homes, &mut arrivals, &mut report)
            .await?;
        self.say_what_gives_way(&arrivals, &mut report)?;
        let problems = report.count(Outcome::Problem);
        let held_up = !options.skip_problems && problems > 0;
        let changed = !(arrivals.is_empty() || options.dry_run || held_up);
        if held_up {
            tracing::warn!(problems, options.dry_run, "an import is held up");
        }
        if changed {
            let moved = Moved::of(&arrivals, staged.len());
            for id in self.take_in(arrivals, staged, options.connect).await? {
                let said =
                    "it is stored, and cannot be read at this moment: start the gateway again";
                report.add(Outcome::Note, format!("session {id}"), said);
            }
            moved.tell();
        }
        crate::memory::give_back();
        Ok(ImportResult {
            report,
            changed,
            held_up,
            dry_run: options.dry_run,
        })
    }
}

/// What the log says of an import: names of sessions and numbers.
struct Moved {
    sessions: Vec<String>,
    replaced: usize,
    lists: usize,
    campaigns: usize,
    files: usize,
}

impl Moved {
    fn of(arrivals: &[Arrival], files: usize) -> Self {
        Self {
            sessions: arrivals.iter().map(|one| one.id().to_string()).collect(),
            replaced: arrivals.iter().filter(|one| one.there.is_some()).count(),
            lists: arrivals.iter().map(|one| one.lists.len()).sum(),
            campaigns: arrivals.iter().map(|one| one.campaigns.len()).sum(),
            files,
        }
    }

    fn tell(&self) {
        tracing::info!(
            sessions = self.sessions.join(" "),
            replaced = self.replaced,
            lists = self.lists,
            campaigns = self.campaigns,
            files = self.files,
            "moved in"
        );
    }
}
