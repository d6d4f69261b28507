//! What `warung check` asks of the due-queue.

use std::ops::ControlFlow;

use super::super::key::Key;
use super::super::problems::Problems;
use super::super::read::{Read as _, Reader};
use super::super::tables::{QUEUE_DUE, QUEUE_LANES, QUEUE_ROWS};
use super::lane::{Lane, LaneKey, QueueRow};
use crate::error::Result;

/// A lane counts its rows and is in the index at the time of its first row.
pub(in crate::store) fn check(reader: &Reader, problems: &mut Problems) -> Result<()> {
    reader.for_each_prefix(QUEUE_LANES, b"", |key, value| {
        let Ok(lane) = Lane::decode(value) else {
            problems.add(QUEUE_LANES, key, "it cannot be read");
            return Ok(ControlFlow::Continue(()));
        };
        let at = LaneKey(Key::new().tail(key));
        let (mut len, mut due) = (0, None);
        reader.for_each_prefix(QUEUE_ROWS, key, |row, value| {
            len += 1;
            match QueueRow::decode(value) {
                Ok(entry) => due = due.or(Some(entry.due)),
                Err(_) => problems.add(QUEUE_ROWS, row, "it cannot be read"),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if len != lane.len {
            problems.add(QUEUE_LANES, key, "the lane miscounts its rows");
        }
        if due != Some(lane.due) || !reader.exists(QUEUE_DUE, &at.due(lane.due))? {
            problems.add(QUEUE_LANES, key, "the lane has no schedule");
        }
        Ok(ControlFlow::Continue(()))
    })?;
    reader.for_each_prefix(QUEUE_DUE, b"", |key, _| {
        if key.len() > 9 {
            let lane = LaneKey(Key::new().u8(key[0]).tail(&key[9..]));
            if !matches!(lane.load(reader), Ok(Some(l)) if *lane.due(l.due) == *key) {
                problems.add(QUEUE_DUE, key, "no lane is due then");
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut lane = None;
    reader.for_each_prefix(QUEUE_ROWS, b"", |key, _| {
        let at = key.len().saturating_sub(16);
        if lane.as_deref() != Some(&key[..at]) {
            if !reader.exists(QUEUE_LANES, &key[..at])? {
                problems.add(QUEUE_ROWS, key, "its lane is missing");
            }
            lane = Some(key[..at].to_vec());
        }
        Ok(ControlFlow::Continue(()))
    })
}
