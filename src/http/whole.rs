//! A body that is held in memory whole, piece by piece.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::de::{DeserializeSeed, MapAccess};

use super::body::Body;
use super::budget::{BodyBudget, BudgetShare};
use super::form;
use super::nested;
use crate::error::{Code, Error, Result};
use crate::json::{Allowance, Bounded, Member, Members, Object};
use crate::tasks::blocking;

/// Pieces of a body: small enough that it shrinks while it is read.
const PIECE: usize = 256 * 1024;

/// The mark of the byte order that some programs begin UTF-8 with.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A body above this is read on a thread where it may take long.
const QUICK: usize = 64 * 1024;

/// The largest form: the most that the program whose API v1 is takes. It is read at once, and what is made
/// of it may be six times as large.
const MAX_FORM: usize = 2 << 20;

/// A body that arrived whole, with its share of the room.
#[derive(Debug)]
pub struct Whole {
    pieces: VecDeque<Bytes>,
    length: usize,
    held: BudgetShare,
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

    /// This body as JSON: what is named a form becomes the object that it stands for. A mark of the byte
    /// order is no part of it. What begins as JSON is JSON, whatever it is named: curl names everything a form.
    pub(super) async fn into_document(mut self, is_form: bool) -> Result<Self> {
        if let Some(first) = self.pieces.front_mut()
            && first.starts_with(MARK)
        {
            first.advance(MARK.len());
            self.length -= MARK.len();
        }
        let is_json = || {
            let mut bytes = self.pieces.iter().flatten();
            let first = bytes.find(|byte| !byte.is_ascii_whitespace());
            matches!(first, Some(b'{' | b'[') | None)
        };
        if !is_form || is_json() {
            return Ok(self);
        }
        if self.length > MAX_FORM {
            let text = format!("A form may have at most {MAX_FORM} bytes: send more as JSON");
            return Err(Error::new(Code::BodyTooLarge, text));
        }
        let (form, mut held) = self.into_bytes();
        let json = Bytes::from(nested::to_json(&form)?);
        held.grow(json.len()).await?;
        Ok(Self {
            length: json.len(),
            pieces: VecDeque::from([json]),
            held,
        })
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
    pub fn into_bytes(mut self) -> (Bytes, BudgetShare) {
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
            return Err(Error::new(Code::BodyTooLarge, text));
        }
        Ok(Some(small.members))
    }

    /// Reads it as JSON, and lets go of it meanwhile. The share is for what was made of it.
    pub async fn json<S, T>(self, seed: S) -> Result<(T, BudgetShare)>
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
        let turn = held.turn_to_read().await?;
        let work = move || {
            let read = read(pieces, seed);
            drop(turn);
            read
        };
        Ok((blocking(work).await??, held))
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
