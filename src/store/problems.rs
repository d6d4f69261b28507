//! What a check of the store found wrong.

use super::tables::Table;

/// How many problems are told; a broken file would have one per row.
const TOLD: usize = 100;

/// What is wrong, in sentences.
#[derive(Default)]
pub(super) struct Problems {
    told: Vec<String>,
    more: u64,
}

impl Problems {
    pub(super) fn add(&mut self, table: Table, key: &[u8], what: &str) {
        if self.told.len() < TOLD {
            self.told.push(format!(
                "{}: row {}: {what}",
                table.name(),
                hex::encode(key)
            ));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_sentences(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more", self.more));
        }
        self.told
    }
}
