//! What an import says: line by line what comes, what does not, and why. It holds no secrets and nothing that
//! people wrote to each other.

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
