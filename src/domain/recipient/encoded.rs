//! Recipients in the form in which they are stored.

use std::collections::BTreeMap;

use super::Recipient;
use crate::error::{Error, Result};

/// Recipients in the form in which they are stored, one after the other: a hundred thousand take
/// about the room of the request that named them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedRecipients {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Those that later rows filled.
    filled: BTreeMap<usize, Vec<u8>>,
}

impl EncodedRecipients {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds one at the end.
    pub fn push(&mut self, recipient: &Recipient) -> Result<()> {
        serde_json::to_writer(&mut self.bytes, recipient).map_err(Error::internal)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// The stored form of the one at this place; empty beyond the end.
    pub(in crate::domain) fn stored(&self, at: usize) -> &[u8] {
        if let Some(filled) = self.filled.get(&at) {
            return filled;
        }
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ends
            .get(at)
            .map_or(&[], |end| &self.bytes[begin..*end])
    }

    /// They, one by one.
    pub fn iter(&self) -> impl Iterator<Item = Result<Recipient>> {
        (0..self.len()).map(|at| serde_json::from_slice(self.stored(at)).map_err(Error::internal))
    }

    /// Fills the one at this place from a later row.
    pub(super) fn fill(&mut self, at: usize, later: Recipient) -> Result<()> {
        let texts = [&later.name, &later.job_title, &later.company];
        if later.fields.is_empty() && texts.iter().all(|text| text.is_empty()) {
            return Ok(());
        }
        let before: Recipient = serde_json::from_slice(self.stored(at)).map_err(Error::internal)?;
        let mut after = before.clone();
        after.fill(later);
        if after != before {
            let stored = serde_json::to_vec(&after).map_err(Error::internal)?;
            self.filled.insert(at, stored);
        }
        Ok(())
    }
}
