//! What an import says: line by line what comes, what does not, and why. It holds no secrets and nothing that
//! people wrote to each other.

use crate::ids::SessionId;
use crate::wa::account::LeftOut;

/// What becomes of one thing that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It comes.
    Taken,
    /// It does not come, and nothing is lost that would work here.
    LeftOut,
    /// It cannot come as it is: the import as a whole waits until somebody has seen to it.
    Problem,
    /// Worth knowing.
    Note,
}

impl Outcome {
    /// Its words in a report.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::LeftOut => "left out",
            Self::Problem => "problem",
            Self::Note => "note",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportLine {
    /// What becomes of it.
    pub outcome: Outcome,
    /// What it is about: `session toko`.
    pub about: String,
    /// Why, or what of it comes: a sentence without its end.
    pub detail: String,
}

/// How many files of a linked device are named one by one.
const MAX_NAMED: usize = 200;

/// What lines about the linked device of a session are about.
pub fn account_of(session: &SessionId) -> String {
    format!("account of session {session}")
}

/// All lines, in the order in which things were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report(Vec<ReportLine>);

impl Report {
    /// Adds a line.
    pub fn add(&mut self, outcome: Outcome, about: impl Into<String>, detail: impl Into<String>) {
        self.0.push(ReportLine {
            outcome,
            about: about.into(),
            detail: detail.into(),
        });
    }

    /// Adds what of a linked device is not taken over: line by line, as long as somebody would read it.
    pub fn add_left_out(&mut self, session: &SessionId, files: Vec<LeftOut>) {
        let about = account_of(session);
        let more = files.len().saturating_sub(MAX_NAMED);
        for LeftOut { file, why } in files.into_iter().take(MAX_NAMED) {
            self.add(Outcome::LeftOut, format!("{about}, {file}"), why);
        }
        if more > 0 {
            self.add(Outcome::LeftOut, about, format!("and {more} more"));
        }
    }

    /// They, one by one.
    pub fn lines(&self) -> &[ReportLine] {
        &self.0
    }

    /// How many lines have this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.0.iter().filter(|line| line.outcome == outcome).count()
    }

    /// As text for people, a line each.
    pub fn text(&self) -> String {
        let line = |line: &ReportLine| {
            let outcome = line.outcome.as_str();
            format!("{outcome:<8}  {}: {}\n", line.about, line.detail)
        };
        self.0.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_account_fills_the_report_alone() {
        let session = SessionId::parse("toko").expect("a name");
        let file = |at| LeftOut {
            file: format!("pre-key-{at}.json"),
            why: "it is empty".to_owned(),
        };
        let mut report = Report::default();
        report.add_left_out(&session, (0..250).map(file).collect());
        let lines = report.lines();
        assert_eq!(lines.len(), MAX_NAMED + 1);
        assert_eq!(lines[0].about, "account of session toko, pre-key-0.json");
        let last = &lines[MAX_NAMED];
        let expected = ("account of session toko", "and 50 more");
        assert_eq!((last.about.as_str(), last.detail.as_str()), expected);
    }
}
