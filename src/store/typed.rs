//! Tables by the types of their keys and values, so that nobody makes a key by hand, takes one apart,
//! or reads a value as what it is not.
//!
//! A table is declared once, beside the type of its values:
//!
//! ```ignore
//! const LISTS: Typed<(SessionNumber, RowId), List> = Typed::new(tables::LISTS);
//! ```
//!
//! Whatever begins a key is a prefix of it, and rows below a prefix are known by what follows:
//! `LISTS.rows(session)` are lists by their [`RowId`].
//!
//! Invariant: [`Typed::new`] compares parts and version with `tables.rs` when the program is compiled, so
//! that no type can leave its layout.

use std::marker::PhantomData;
use std::ops::{Bound, ControlFlow};

use super::key::{Key, KeyParts};
use super::layout::{LayoutPart, Values};
use super::read::{Read, Visit, prefix_end};
use super::record::{self, Record};
use super::tables::Table;
use super::tx::Tx;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::ids::{Hash, MediaId, MessageId, RowId, SessionNumber};
use crate::jid::Jid;
use crate::time::Timestamp;

/// What can be written as one part of a key: a [`KeyPart`], or what stands for it, as `&str` does for
/// `String`.
pub trait ToPart {
    /// What it is read back as.
    type Of: KeyPart;

    /// Adds it to a key. Text ends with a NUL unless it is the `last` part.
    fn write(&self, key: Key, last: bool) -> Key;
}

/// A type that is one part of a key.
pub trait KeyPart: ToPart<Of = Self> + Sized {
    /// Its layout.
    const PART: LayoutPart;

    /// Its layout where nothing follows.
    const LAST: LayoutPart = Self::PART;

    /// Reads it; anything else is damage, hence an internal error.
    fn read(parts: &mut KeyParts<'_>, last: bool) -> Result<Self>;
}

impl<T: ToPart + ?Sized> ToPart for &T {
    type Of = T::Of;

    fn write(&self, key: Key, last: bool) -> Key {
        (**self).write(key, last)
    }
}

/// Parts that always have the same length.
macro_rules! fixed_parts {
    ($($type:ty = $part:expr, $write:expr, $read:expr;)*) => { $(
        impl ToPart for $type {
            type Of = Self;

            fn write(&self, key: Key, _: bool) -> Key {
                let write: fn(Key, &Self) -> Key = $write;
                write(key, self)
            }
        }

        impl KeyPart for $type {
            const PART: LayoutPart = $part;

            fn read(parts: &mut KeyParts<'_>, _: bool) -> Result<Self> {
                let read: fn(&mut KeyParts<'_>) -> Result<Self> = $read;
                read(parts)
            }
        }
    )* };
}

fixed_parts! {
    u8 = LayoutPart::U8, |key, value| key.u8(*value), |parts| parts.u8();
    u32 = LayoutPart::U32, |key, value| key.u32(*value), |parts| parts.u32();
    u64 = LayoutPart::U64, |key, value| key.u64(*value), |parts| parts.u64();
    Timestamp = LayoutPart::U64, |key, value| key.time(*value), |parts| parts.time();
    SessionNumber = LayoutPart::Session, |key, value| key.u32(value.0),
        |parts| parts.u32().map(SessionNumber);
    Hash = LayoutPart::Fixed(32), |key, value| key.fixed(&value.0), |parts| parts.array().map(Hash);
}

/// A type that is text in a key. It holds no NUL.
pub trait TextPart: KeyPart {}

macro_rules! text_parts {
    ($($type:ty = $text:expr, $parse:expr;)*) => { $(
        impl ToPart for $type {
            type Of = Self;

            fn write(&self, key: Key, last: bool) -> Key {
                let text = $text;
                write_text(key, text(self).as_ref(), last)
            }
        }

        impl KeyPart for $type {
            const PART: LayoutPart = LayoutPart::Text;
            const LAST: LayoutPart = LayoutPart::Tail;

            fn read(parts: &mut KeyParts<'_>, last: bool) -> Result<Self> {
                let parse: fn(&str) -> Option<Self> = $parse;
                read_text(parts, last, parse)
            }
        }

        impl TextPart for $type {}
    )* };
}

text_parts! {
    String = String::as_str, |text| Some(text.to_owned());
    MessageId = MessageId::as_str, |text| MessageId::parse(text).ok();
    MediaId = MediaId::as_str, |text| MediaId::parse(text).ok();
    RowId = RowId::as_str, RowId::parse;
    Jid = Jid::to_string, Jid::parse;
}

impl ToPart for str {
    type Of = String;

    fn write(&self, key: Key, last: bool) -> Key {
        write_text(key, self, last)
    }
}

/// `None` is empty text.
impl<T: ToPart<Of: TextPart>> ToPart for Option<T> {
    type Of = Option<T::Of>;

    fn write(&self, key: Key, last: bool) -> Key {
        match self {
            Some(text) => text.write(key, last),
            None => write_text(key, "", last),
        }
    }
}

impl<T: TextPart> KeyPart for Option<T> {
    const PART: LayoutPart = T::PART;
    const LAST: LayoutPart = T::LAST;

    fn read(parts: &mut KeyParts<'_>, last: bool) -> Result<Self> {
        let text = read_text(parts, last, |text| Some(text.to_owned()))?;
        if text.is_empty() {
            return Ok(None);
        }
        let key = Key::new().tail(text);
        T::read(&mut KeyParts::new(&key), true).map(Some)
    }
}

/// Invariant: only the end of a part is a NUL. No text of ours holds one, and what stands for one in
/// a stranger's text begins no other part.
fn write_text(key: Key, text: &str, last: bool) -> Key {
    if last {
        return key.tail(text);
    }
    let mut pieces = text.split('\0');
    let key = key.tail(pieces.next().unwrap_or_default());
    let key = pieces.fold(key, |key, piece| key.tail("\u{fffd}").tail(piece));
    key.u8(0)
}

fn read_text<T>(
    parts: &mut KeyParts<'_>,
    last: bool,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T> {
    let text = if last {
        std::str::from_utf8(parts.tail()).map_err(|_| Error::internal("damaged key: not UTF-8"))?
    } else {
        parts.text()?
    };
    parse(text).ok_or_else(|| Error::internal("damaged key: a text of another form"))
}

/// What can be written as a whole key: a part, or a tuple of them.
pub trait ToParts {
    /// What it is read back as.
    type Of: Parts;

    /// Adds all parts to a key.
    fn write_all(&self, key: Key) -> Key;
}

/// A type that is a whole key: a part, or a tuple of them.
pub trait Parts: Sized {
    /// The layout.
    const LAYOUT: &'static [LayoutPart];

    /// Reads all parts.
    fn read(parts: &mut KeyParts<'_>) -> Result<Self>;
}

/// What a key of this type may begin with: `()`, or its first parts.
pub trait Prefix<K> {
    /// The parts that follow.
    type Rest: Parts;

    /// The first bytes of the key.
    fn begin(&self) -> Key;
}

impl<X: ToPart> ToParts for X {
    type Of = X::Of;

    fn write_all(&self, key: Key) -> Key {
        self.write(key, true)
    }
}

impl<A: KeyPart> Parts for A {
    const LAYOUT: &'static [LayoutPart] = &[A::LAST];

    fn read(parts: &mut KeyParts<'_>) -> Result<Self> {
        A::read(parts, true)
    }
}

impl<K: Parts> Prefix<K> for () {
    type Rest = K;

    fn begin(&self) -> Key {
        Key::new()
    }
}

macro_rules! tuples {
    ($($($part:ident)* , $last:ident;)*) => { $(
        #[allow(non_snake_case, reason = "each part is named after its type")]
        impl<$($part: ToPart,)* $last: ToPart> ToParts for ($($part,)* $last) {
            type Of = ($($part::Of,)* $last::Of);

            fn write_all(&self, key: Key) -> Key {
                let ($($part,)* $last) = self;
                $(let key = $part.write(key, false);)*
                $last.write(key, true)
            }
        }

        impl<$($part: ToPart,)* $last: ToPart> ToParts for &($($part,)* $last) {
            type Of = ($($part::Of,)* $last::Of);

            fn write_all(&self, key: Key) -> Key {
                (**self).write_all(key)
            }
        }

        impl<$($part: KeyPart,)* $last: KeyPart> Parts for ($($part,)* $last) {
            const LAYOUT: &'static [LayoutPart] = &[$($part::PART,)* $last::LAST];

            fn read(parts: &mut KeyParts<'_>) -> Result<Self> {
                Ok(($($part::read(parts, false)?,)* $last::read(parts, true)?))
            }
        }
    )* };
}

tuples! {
    A, B;
    A B, C;
    A B C, D;
}

macro_rules! prefixes {
    ($($given:ty [$($x:ident: $a:ident),*] begins ($($all:ident),*), then $rest:ty;)*) => { $(
        #[allow(non_snake_case, unused_parens, reason = "one part is no tuple")]
        impl<$($x: ToPart<Of = $a>,)* $($all: KeyPart),*> Prefix<($($all),*)> for $given {
            type Rest = $rest;

            fn begin(&self) -> Key {
                let ($($x),*) = self;
                let key = Key::new();
                $(let key = $x.write(key, false);)*
                key
            }
        }
    )* };
}

prefixes! {
    X [X: A] begins (A, B), then B;
    X [X: A] begins (A, B, C), then (B, C);
    (X, Y) [X: A, Y: B] begins (A, B, C), then C;
    X [X: A] begins (A, B, C, D), then (B, C, D);
    (X, Y) [X: A, Y: B] begins (A, B, C, D), then (C, D);
    (X, Y, Z) [X: A, Y: B, Z: C] begins (A, B, C, D), then D;
}

/// The bytes of these parts: a key, or what names a row elsewhere, as the lane of a queue does.
pub fn bytes_of(parts: impl ToParts) -> Vec<u8> {
    parts.write_all(Key::new()).into_bytes()
}

/// The parts that these bytes are; an internal error when they are none.
pub fn parts_of<K: Parts>(bytes: &[u8]) -> Result<K> {
    let mut parts = KeyParts::new(bytes);
    let read = K::read(&mut parts)?;
    match parts.is_done() {
        true => Ok(read),
        false => Err(Error::internal("damaged key: too long")),
    }
}

/// A type that is the value of a row: a [`Record`], or one of the few that have no version.
pub trait Value: Sized {
    /// Its newest version; `None` for bytes without one.
    const VERSION: Option<u8>;

    /// Writes it.
    fn encode(&self) -> Result<Vec<u8>>;

    /// Reads it; anything else is damage, hence an internal error.
    fn decode(bytes: &[u8]) -> Result<Self>;
}

impl<T: Record> Value for T {
    const VERSION: Option<u8> = Some(T::VERSION);

    fn encode(&self) -> Result<Vec<u8>> {
        record::encode(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        record::decode(bytes)
    }
}

/// The row says all by being there.
impl Value for () {
    const VERSION: Option<u8> = None;

    fn encode(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn decode(_: &[u8]) -> Result<Self> {
        Ok(())
    }
}

/// Written as it is in keys.
impl Value for SessionNumber {
    const VERSION: Option<u8> = None;

    fn encode(&self) -> Result<Vec<u8>> {
        Ok(bytes_of(self))
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        parts_of(bytes)
    }
}

/// A table whose keys are `K` and whose values are `V`.
pub struct Typed<K, V> {
    table: Table,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Parts, V: Value> Typed<K, V> {
    /// The table with its types. It does not compile when `tables.rs` says otherwise.
    pub const fn new(table: Table) -> Self {
        assert!(
            same(table.key(), K::LAYOUT),
            "the key's parts are not those of the table's layout"
        );
        let newest = match table.values() {
            Values::Versioned(newest) | Values::Dated(newest) => Some(newest),
            Values::Raw => None,
        };
        match (newest, V::VERSION) {
            (Some(newest), Some(version)) => assert!(
                newest == version,
                "the value's version is not the table's newest"
            ),
            (None, None) => {}
            _ => panic!("either the value or the table has a version"),
        }
        Self {
            table,
            types: PhantomData,
        }
    }

    /// The value of `key`.
    pub fn get(&self, read: &impl Read, key: impl ToParts<Of = K>) -> Result<Option<V>> {
        read.view(self.table, &bytes_of(key), V::decode)?
            .transpose()
    }

    /// The value of `key` if it can be read: a damaged one is logged, and is as good as none.
    pub fn readable(&self, read: &impl Read, key: impl ToParts<Of = K>) -> Result<Option<V>> {
        let value = read.view(self.table, &bytes_of(key), V::decode)?;
        Ok(value.and_then(|value| undamaged(self.table, value)))
    }

    /// Whether there is a row `key`.
    pub fn exists(&self, read: &impl Read, key: impl ToParts<Of = K>) -> Result<bool> {
        read.exists(self.table, &bytes_of(key))
    }

    /// Shows the stored bytes of the value of `key` to `f`.
    pub fn view<T>(
        &self,
        read: &impl Read,
        key: impl ToParts<Of = K>,
        f: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>> {
        read.view(self.table, &bytes_of(key), f)
    }

    /// Inserts a row, or replaces its value.
    pub fn put(&self, tx: &mut Tx, key: impl ToParts<Of = K>, value: &V) -> Result<()> {
        self.put_encoded(tx, key, value.encode()?);
        Ok(())
    }

    /// The same with a value that [`Value::encode`] made before, where the writer does not wait for it.
    pub fn put_encoded(&self, tx: &mut Tx, key: impl ToParts<Of = K>, value: Vec<u8>) {
        tx.put(self.table, bytes_of(key), value);
    }

    /// Deletes a row if it is there.
    pub fn delete(&self, tx: &mut Tx, key: impl ToParts<Of = K>) {
        tx.delete(self.table, &bytes_of(key));
    }

    /// A row that was read by its bytes.
    pub fn row<'a>(&self, key: &'a [u8], value: &'a [u8]) -> Row<'a, K, V> {
        Row {
            rest: key,
            value,
            types: PhantomData,
        }
    }

    /// The rows whose keys begin with `prefix`, in their order.
    pub fn rows<P: Prefix<K>>(&self, prefix: P) -> Rows<P::Rest, V> {
        let prefix = prefix.begin();
        Rows {
            table: self.table,
            lower: Bound::Included(prefix.to_vec()),
            upper: prefix_end(&prefix).map_or(Bound::Unbounded, Bound::Excluded),
            prefix,
            back: false,
            types: PhantomData,
        }
    }
}

/// Rows of a table whose keys begin alike; `R` is what follows.
pub struct Rows<R, V> {
    table: Table,
    prefix: Key,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    back: bool,
    types: PhantomData<fn() -> (R, V)>,
}

impl<R: Parts, V: Value> Rows<R, V> {
    /// Only those from this one on.
    #[must_use]
    pub fn from(mut self, first: impl ToParts<Of = R>) -> Self {
        self.lower = Bound::Included(self.whole(first));
        self
    }

    /// Only those after this one, if one is given.
    #[must_use]
    pub fn after(mut self, last: Option<impl ToParts<Of = R>>) -> Self {
        if let Some(last) = last {
            self.lower = Bound::Excluded(self.whole(last));
        }
        self
    }

    /// Only those before this one.
    #[must_use]
    pub fn before(mut self, end: impl ToParts<Of = R>) -> Self {
        self.upper = Bound::Excluded(self.whole(end));
        self
    }

    /// The last one first.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.back = true;
        self
    }

    fn whole(&self, rest: impl ToParts<Of = R>) -> Vec<u8> {
        rest.write_all(self.prefix.clone()).into_bytes()
    }

    fn walk(&self, read: &impl Read, visit: &mut Visit<'_>) -> Result<()> {
        let (lower, upper) = (&self.lower, &self.upper);
        let (lower, upper) = (
            lower.as_ref().map(Vec::as_slice),
            upper.as_ref().map(Vec::as_slice),
        );
        read.walk(self.table, lower, upper, self.back, visit)
    }

    /// Shows the rows to `visit` until it finds something.
    pub fn find<T>(
        &self,
        read: &impl Read,
        mut visit: impl FnMut(Row<'_, R, V>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut found = None;
        self.walk(read, &mut |key, value| {
            found = visit(Row {
                rest: &key[self.prefix.len()..],
                value,
                types: PhantomData,
            })?;
            Ok(match found {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            })
        })?;
        Ok(found)
    }

    /// The same with those rows alone that can be read: a damaged one is logged, and does not keep the
    /// others.
    pub fn find_readable<T>(
        &self,
        read: &impl Read,
        mut visit: impl FnMut(R, V) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        self.find(read, |row| {
            let whole = row.key().and_then(|key| Ok((key, row.value()?)));
            match undamaged(self.table, whole) {
                Some((key, value)) => visit(key, value),
                None => Ok(None),
            }
        })
    }

    /// Shows all rows to `visit`.
    pub fn each(
        &self,
        read: &impl Read,
        mut visit: impl FnMut(Row<'_, R, V>) -> Result<()>,
    ) -> Result<()> {
        self.find(read, |row| visit(row).map(|()| None::<()>))
            .map(|_| ())
    }

    /// Shows all rows that can be read to `visit`.
    pub fn each_readable(
        &self,
        read: &impl Read,
        mut visit: impl FnMut(R, V) -> Result<()>,
    ) -> Result<()> {
        self.find_readable(read, |key, value| visit(key, value).map(|()| None::<()>))
            .map(|_| ())
    }

    /// Up to `limit` of what `read` makes of the rows.
    fn up_to<T>(
        &self,
        read: &impl Read,
        limit: usize,
        of: impl Fn(Row<'_, R, V>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        if limit > 0 {
            self.find(read, |row| {
                rows.push(of(row)?);
                Ok((rows.len() == limit).then_some(()))
            })?;
        }
        Ok(rows)
    }

    /// Up to `limit` rows.
    pub fn page(&self, read: &impl Read, limit: usize) -> Result<Vec<(R, V)>> {
        self.up_to(read, limit, |row| Ok((row.key()?, row.value()?)))
    }

    /// Up to `limit` of the rows that can be read: a damaged one is logged, and does not keep the others.
    pub fn readable(&self, read: &impl Read, limit: usize) -> Result<Vec<(R, V)>> {
        let mut rows = Vec::new();
        if limit > 0 {
            self.find_readable(read, |key, value| {
                rows.push((key, value));
                Ok((rows.len() == limit).then_some(()))
            })?;
        }
        Ok(rows)
    }

    /// What follows in the keys of up to `limit` rows.
    pub fn keys(&self, read: &impl Read, limit: usize) -> Result<Vec<R>> {
        self.up_to(read, limit, |row| row.key())
    }

    /// The values of up to `limit` rows, each for itself: a damaged one does not keep the others.
    pub fn values(&self, read: &impl Read, limit: usize) -> Result<Vec<Result<V>>> {
        self.up_to(read, limit, |row| Ok(row.value()))
    }

    /// The first row.
    pub fn first(&self, read: &impl Read) -> Result<Option<(R, V)>> {
        Ok(self.page(read, 1)?.pop())
    }

    /// Whether there are fewer rows than `count`.
    pub fn are_fewer_than(&self, read: &impl Read, count: usize) -> Result<bool> {
        Ok(self.up_to(read, count, |_| Ok(()))?.len() < count)
    }
}

/// One row. What of it is damaged is an error only for whoever asks for it.
pub struct Row<'a, R, V> {
    rest: &'a [u8],
    value: &'a [u8],
    types: PhantomData<fn() -> (R, V)>,
}

impl<'a, R: Parts, V: Value> Row<'a, R, V> {
    /// What follows the prefix in its key.
    pub fn key(&self) -> Result<R> {
        parts_of(self.rest)
    }

    /// Its value.
    pub fn value(&self) -> Result<V> {
        V::decode(self.value)
    }

    /// Its value as it is stored.
    pub fn bytes(&self) -> &'a [u8] {
        self.value
    }
}

/// What was read, where several rows tell it together: damage is logged, and is as good as none. While the
/// store cannot be read nothing is known of its rows, so that remains an error.
pub fn unless_damaged<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(error) if error.kind() == ErrorKind::Internal => {
            tracing::error!(?error, "what is damaged in the store is passed over");
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// What was read of the one thing that is asked for. Damage is logged, and is the error of this code.
pub fn refused_if_damaged<T>(read: Result<T>, code: Code) -> Result<T> {
    unless_damaged(read)?.ok_or_else(|| code.into())
}

/// What was read of a row; damage is logged.
fn undamaged<T>(table: Table, read: Result<T>) -> Option<T> {
    let table = table.name();
    read.inspect_err(|error| tracing::error!(table, ?error, "a damaged row is passed over"))
        .ok()
}

const fn same(layout: &[LayoutPart], parts: &[LayoutPart]) -> bool {
    let mut at = 0;
    while at < layout.len() && at < parts.len() {
        if !layout[at].is(parts[at]) {
            return false;
        }
        at += 1;
    }
    layout.len() == parts.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::faults::SimulatedDisk;
    use crate::store::tables;
    use crate::store::{Disk, Durability, Store, StoreOptions};

    type Whole = (SessionNumber, String, Timestamp, Option<RowId>);

    // Few distinct values, so that equal prefixes are common and order is decided late.
    fn whole() -> impl Strategy<Value = Whole> {
        let id = "[a-b_-]{0,3}".prop_map(|id| RowId::parse(&id));
        let time = prop_oneof![Just(0), Just(-1), any::<i64>()].prop_map(Timestamp::from_ms);
        let number = prop_oneof![Just(0), Just(255), any::<u32>()].prop_map(SessionNumber);
        (number, "[a-b\u{1}\u{ff}]{0,3}", time, id)
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_types_do(a in whole(), b in whole()) {
            let (one, other) = (bytes_of(a.clone()), bytes_of(b.clone()));
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
        }

        #[test]
        fn keys_read_back(a in whole()) {
            prop_assert_eq!(parts_of::<Whole>(&bytes_of(a.clone())).expect("a key"), a);
        }

        #[test]
        fn a_key_is_its_prefix_and_what_follows(a in whole()) {
            let (number, text, time, id) = &a;
            let whole = bytes_of((number, text, time, id));
            let one = Prefix::<Whole>::begin(number);
            let two = Prefix::<Whole>::begin(&(number, text));
            let three = Prefix::<Whole>::begin(&(number, text.as_str(), time));
            let rests = [
                (text, time, id).write_all(one),
                (time, id).write_all(two),
                id.as_ref().write_all(three),
            ];
            for rest in rests {
                prop_assert_eq!(&rest.into_bytes(), &whole);
            }
        }

        #[test]
        fn strangers_bytes_are_a_key_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..24),
        ) {
            let _ = parts_of::<Whole>(&bytes);
            let _ = parts_of::<(SessionNumber, MessageId, Jid, Option<Jid>)>(&bytes);
            let _ = parts_of::<(u8, u32)>(&bytes);
            let _ = parts_of::<(SessionNumber, Hash, MediaId)>(&bytes);
        }
    }

    #[test]
    fn keys_are_the_bytes_that_the_files_of_users_hold() {
        let (one, jid) = (SessionNumber(1), |text| Jid::parse(text).expect("a JID"));
        let (chat, sender) = (jid("12036@g.us"), jid("62@lid"));
        let id = MessageId::parse("3EB0").expect("an id");
        let ours = bytes_of((one, &id, &chat, None::<Jid>));
        assert_eq!(ours, b"\0\0\0\x013EB0\x0012036@g.us\0");
        let theirs = bytes_of((one, &id, &chat, Some(&sender)));
        assert_eq!(theirs, b"\0\0\0\x013EB0\x0012036@g.us\x0062@lid");
        assert_eq!(bytes_of((one, &id)), b"\0\0\0\x013EB0");
        let log = bytes_of((one, 258_u64, "v1"));
        assert_eq!(log, b"\0\0\0\x01\0\0\0\0\0\0\x01\x02v1");
        assert_eq!(bytes_of((2_u8, 7_u32)), b"\x02\0\0\0\x07");
        let upload = bytes_of((one, Hash([9; 32]), "image"));
        assert_eq!(upload, [b"\0\0\0\x01", &[9; 32][..], b"image"].concat());
    }

    #[test]
    fn a_key_has_no_more_parts_than_its_type() {
        assert!(parts_of::<SessionNumber>(&[0, 0, 0, 7]).is_ok());
        for damaged in [&[0, 0, 7][..], &[0, 0, 0, 0, 7]] {
            assert!(parts_of::<SessionNumber>(damaged).is_err());
        }
        assert!(parts_of::<(SessionNumber, RowId)>(&[0, 0, 0, 7]).is_err());
    }

    #[test]
    fn a_nul_in_a_text_ends_no_part() {
        let key = bytes_of((SessionNumber(1), "a\0b", Timestamp::from_ms(7)));
        let (number, text, at) =
            parts_of::<(SessionNumber, String, Timestamp)>(&key).expect("a key");
        assert_eq!((number, at), (SessionNumber(1), Timestamp::from_ms(7)));
        assert_eq!(text, "a\u{fffd}b");
        // The last part has no end, and is kept as it is.
        let last = bytes_of((SessionNumber(1), "a\0b"));
        assert_eq!(last, b"\0\0\0\x01a\0b");
    }

    #[test]
    fn text_that_is_not_utf_8_is_damage_also_in_the_last_part() {
        assert!(parts_of::<(SessionNumber, String)>(b"\0\0\0\x01a\xff").is_err());
        assert!(parts_of::<(String, SessionNumber)>(b"a\xff\0\0\0\0\x01").is_err());
    }

    fn is_refused<K: Parts, V: Value>(table: Table) -> bool {
        std::panic::catch_unwind(|| Typed::<K, V>::new(table)).is_err()
    }

    #[test]
    fn a_type_that_is_not_the_tables_is_refused() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Second(u8);
        impl Record for Second {
            const VERSION: u8 = 2;
        }
        let (live, order) = (tables::LIVE_CAMPAIGNS, tables::EVENT_ORDER);
        assert!(!is_refused::<(SessionNumber, RowId), ()>(live));
        assert!(is_refused::<(u32, RowId), ()>(live));
        assert!(is_refused::<(SessionNumber, RowId, RowId), ()>(live));
        assert!(is_refused::<SessionNumber, ()>(live));
        assert!(is_refused::<(SessionNumber, RowId), Second>(live));
        assert!(!is_refused::<u64, SessionNumber>(order));
        assert!(!is_refused::<(SessionNumber, u64), Second>(tables::EVENTS));
        assert!(is_refused::<(SessionNumber, u64), ()>(tables::EVENTS));
        assert!(is_refused::<(SessionNumber, RowId), Second>(tables::LISTS));
        assert!(is_refused::<(SessionNumber, Hash), ()>(tables::IDEMPOTENCY));
        assert!(is_refused::<(Hash, Hash), Second>(tables::BLOBS));
    }

    #[tokio::test]
    async fn rows_are_found_by_what_their_keys_begin_with() {
        const LIVE: Typed<(SessionNumber, RowId), ()> = Typed::new(tables::LIVE_CAMPAIGNS);
        const ORDER: Typed<u64, SessionNumber> = Typed::new(tables::EVENT_ORDER);
        let id = |text| RowId::parse(text).expect("an id");
        let (one, other) = (SessionNumber(1), SessionNumber(u32::MAX));
        let store = Store::open(
            Disk::Simulated(SimulatedDisk::new()),
            StoreOptions::default(),
        )
        .expect("a store");
        let written = store.write(Durability::Lazy, move |tx| {
            for name in ["a", "b", "c"] {
                LIVE.put(tx, (one, id(name)), &())?;
            }
            LIVE.put(tx, (other, &id("a")), &())?;
            LIVE.put(tx, (SessionNumber(2), id("gone")), &())?;
            LIVE.delete(tx, (SessionNumber(2), id("gone")));
            ORDER.put(tx, 7_u64, &other)
        });
        written.await.expect("written");
        let ids = |rows: Rows<RowId, ()>, limit| {
            let keys = store.read(|read| rows.keys(read, limit)).expect("keys");
            keys.iter().map(RowId::to_string).collect::<String>()
        };
        assert_eq!(ids(LIVE.rows(one), 9), "abc");
        assert_eq!(ids(LIVE.rows(one), 2), "ab");
        assert_eq!(ids(LIVE.rows(one), 0), "");
        assert_eq!(ids(LIVE.rows(one).backwards(), 2), "cb");
        assert_eq!(ids(LIVE.rows(one).from(id("b")), 9), "bc");
        assert_eq!(ids(LIVE.rows(one).after(Some(&id("b"))), 9), "c");
        assert_eq!(ids(LIVE.rows(one).after(None::<RowId>), 9), "abc");
        assert_eq!(ids(LIVE.rows(one).before(id("b")), 9), "a");
        assert_eq!(ids(LIVE.rows(other), 9), "a");
        assert_eq!(ids(LIVE.rows(SessionNumber(2)), 9), "");
        let read = store.read(|read| {
            assert_eq!(LIVE.rows(()).page(read, usize::MAX)?.len(), 4);
            assert_eq!(
                LIVE.rows(()).backwards().first(read)?,
                Some(((other, id("a")), ()))
            );
            assert!(LIVE.rows(one).are_fewer_than(read, 4)?);
            assert!(!LIVE.rows(one).are_fewer_than(read, 3)?);
            assert!(LIVE.exists(read, (one, id("a")))? && !LIVE.exists(read, (one, id("x")))?);
            assert_eq!(
                (ORDER.get(read, 7_u64)?, ORDER.get(read, 8_u64)?),
                (Some(other), None)
            );
            assert_eq!(ORDER.view(read, 7_u64, <[u8]>::len)?, Some(4));
            ORDER
                .rows(())
                .find(read, |row| Ok(Some((row.key()?, row.bytes().len()))))
        });
        assert_eq!(read.expect("read"), Some((7, 4)));
    }
}
