//! Bodies that are held in memory: room for all of them together, and reading one piece by piece.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::de::{DeserializeSeed, MapAccess};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Body;
use super::form;
use crate::error::{Error, ErrorKind, Result};
use crate::json::{Allowance, Bounded, Member, Members, Object};
use crate::memory;

/// What every request may hold without asking.
const FREE: usize = 16 * 1024;

/// One permit of the room, in bytes.
const UNIT: usize = 1024;

/// How long a request waits for room that others hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pieces of a body: small enough that it shrinks while it is read.
const PIECE: usize = 256 * 1024;

/// A body above this is read on a thread where it may take long.
const QUICK: usize = 64 * 1024;

/// What was held above this leaves memory that is worth giving back.
const LARGE: usize = 1024 * 1024;

/// How many large bodies are read at the same time.
const READ_AT_ONCE: usize = 2;

/// The room that the bodies of all requests under way take together.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    total: usize,
    left: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

impl BodyBudget {
    /// So many bytes.
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        let units = units.clamp(1024, Semaphore::MAX_PERMITS);
        Self {
            total: units * UNIT,
            left: Arc::new(Semaphore::new(units)),
            readers: Arc::new(Semaphore::new(READ_AT_ONCE)),
        }
    }

    /// A share of it, empty as yet.
    pub(super) fn share(&self) -> Held {
        Held {
            budget: self.clone(),
            bytes: 0,
            permit: None,
        }
    }
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

/// A request's share of the room; others have it again when it is dropped.
#[derive(Debug)]
pub struct Held {
    budget: BodyBudget,
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Makes it larger, waiting a moment for others that end.
    pub async fn grow(&mut self, by: usize) -> Result<()> {
        let bytes = self.bytes + by;
        if bytes > self.budget.total {
            let most = self.budget.total;
            let text = format!(
                "The request body is larger than the {most} bytes that this server holds at once (setting body_budget)"
            );
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let has = self.permit.as_ref().map_or(0, |p| p.num_permits());
        let needs = bytes
            .saturating_sub(FREE)
            .div_ceil(UNIT)
            .saturating_sub(has);
        if needs > 0 {
            let units = u32::try_from(needs).map_err(Error::internal)?;
            let more = self.budget.left.clone().acquire_many_owned(units);
            let busy = "The server is busy with other large requests; try again";
            let more = tokio::time::timeout(PATIENCE, more)
                .await
                .map_err(|_| Error::new(ErrorKind::RateLimited, busy))?
                .map_err(Error::internal)?;
            match &mut self.permit {
                Some(permit) => permit.merge(more),
                none => *none = Some(more),
            }
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Makes it smaller: the rest of the body is not held any more.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            return;
        }
        self.left_behind();
        self.bytes = bytes;
        let units = bytes.saturating_sub(FREE).div_ceil(UNIT);
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(units)));
        }
    }

    fn left_behind(&self) {
        if self.bytes > LARGE {
            memory::give_back();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.left_behind();
    }
}

/// A body that arrived whole, with its share of the room.
#[derive(Debug)]
pub struct Whole {
    pieces: VecDeque<Bytes>,
    length: usize,
    held: Held,
}

impl Whole {
    pub(super) async fn of(body: &mut Body, budget: &BodyBudget) -> Result<Self> {
        let mut whole = Self {
            pieces: VecDeque::new(),
            length: 0,
            held: budget.share(),
        };
        let mut piece = BytesMut::new();
        while let Some(mut chunk) = body.chunk().await? {
            whole.held.grow(chunk.len()).await?;
            whole.length += chunk.len();
            // Copied: a chunk may be one byte that keeps the whole buffer that it came in.
            while !chunk.is_empty() {
                let part = chunk.split_to(chunk.len().min(PIECE - piece.len()));
                piece.extend_from_slice(&part);
                if piece.len() == PIECE {
                    whole.pieces.push_back(piece.split().freeze());
                    piece = BytesMut::new();
                }
            }
        }
        if !piece.is_empty() {
            whole.pieces.push_back(piece.freeze());
        }
        Ok(whole)
    }

    /// Whether there was no body.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &piece[..])
    }

    /// All bytes in one.
    pub fn into_bytes(mut self) -> (Bytes, Held) {
        if self.pieces.len() == 1 {
            return (self.pieces.pop_front().unwrap_or_default(), self.held);
        }
        let mut all = Vec::with_capacity(self.length);
        while let Some(piece) = self.pieces.pop_front() {
            all.extend_from_slice(&piece);
        }
        (all.into(), self.held)
    }

    /// Reads it as a small JSON object; `None` when it is something else.
    pub async fn object(self) -> Result<Option<Object>> {
        let (object, _) = self.json(Members(Small::default())).await?;
        let Some(small) = object else {
            return Ok(None);
        };
        if small.allowance.is_exceeded() {
            let text = format!("The request body holds more than {SMALL_BODY} values");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        Ok(Some(small.members))
    }

    /// Reads it as JSON, and lets go of it meanwhile. The share is for what was made of it.
    pub async fn json<S, T>(self, seed: S) -> Result<(T, Held)>
    where
        S: for<'de> DeserializeSeed<'de, Value = T> + Send + 'static,
        T: Send + 'static,
    {
        let Self {
            pieces,
            length,
            held,
        } = self;
        if length <= QUICK {
            return Ok((read(pieces, seed)?, held));
        }
        let reading = held.budget.readers.clone();
        let turn = reading.acquire_owned().await.map_err(Error::internal)?;
        let work = move || {
            let read = read(pieces, seed);
            drop(turn);
            read
        };
        let read = tokio::task::spawn_blocking(work);
        Ok((read.await.map_err(Error::internal)??, held))
    }
}

/// How many values a small JSON body holds.
const SMALL_BODY: usize = 2000;

/// The members of a small JSON body.
struct Small {
    allowance: Allowance,
    members: Object,
}

impl Default for Small {
    fn default() -> Self {
        Self {
            allowance: Allowance::new(SMALL_BODY),
            members: Object::new(),
        }
    }
}

impl<'de> Member<'de> for Small {
    fn read<A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        let value = map.next_value_seed(Bounded(&self.allowance))?;
        if !self.allowance.is_exceeded() {
            self.members.insert(name, value);
        }
        Ok(())
    }
}

fn read<S, T>(mut pieces: VecDeque<Bytes>, seed: S) -> Result<T>
where
    S: for<'de> DeserializeSeed<'de, Value = T>,
{
    if pieces.len() <= 1 {
        let bytes = pieces.pop_front().unwrap_or_default();
        return form::read(&bytes, seed);
    }
    form::read_json(Pieces(pieces), seed)
}

/// The pieces as a stream, each let go of when it was read: a text of megabytes is in memory as it
/// was sent or as it was read, never both.
struct Pieces(VecDeque<Bytes>);

impl io::Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let Some(first) = self.0.front_mut() else {
            return Ok(0);
        };
        let many = first.len().min(to.len());
        first.copy_to_slice(&mut to[..many]);
        if first.is_empty() {
            self.0.pop_front();
        }
        Ok(many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn shares_are_given_back_as_they_shrink_and_go() {
        let budget = BodyBudget::new(2 << 20);
        let mut first = budget.share();
        first.grow(1 << 20).await.expect("room");
        first.grow(1 << 20).await.expect("room");
        let left = budget.left.available_permits();
        assert_eq!(left, FREE / UNIT);
        assert_eq!(
            first.grow(1).await.expect_err("too large").kind(),
            ErrorKind::TooLarge
        );
        first.shrink_to(1 << 20);
        assert_eq!(budget.left.available_permits(), 1024 + FREE / UNIT);
        drop(first);
        assert_eq!(budget.left.available_permits(), 2048);
    }

    #[tokio::test]
    async fn a_request_waits_for_room_that_others_hold() {
        let budget = BodyBudget::new(1 << 20);
        let mut first = budget.share();
        first.grow(1 << 20).await.expect("room");
        let mut second = budget.share();
        second.grow(FREE).await.expect("a little is free");
        assert!(second.grow(64 * 1024).now_or_never().is_none());
        drop(first);
        second.grow(64 * 1024).await.expect("room again");
    }
}
