//! What the layouts of tables are made of: the parts of keys, and how values begin.

/// One part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutPart {
    /// One byte.
    U8,
    /// A session's number, four bytes, big-endian. Rows of a table whose keys begin with it go when the
    /// session is deleted (`domain/removal.rs`).
    Session,
    /// The number of a roster, four bytes, big-endian. Rows of a table whose keys begin with it go with
    /// the list or the campaign.
    Roster,
    /// Four bytes, big-endian.
    U32,
    /// Eight bytes, big-endian (also a point in time).
    U64,
    /// Exactly so many bytes.
    Fixed(usize),
    /// Text without NUL, ended by a NUL.
    Text,
    /// Any bytes, escaped so that no part can run into the next one.
    Escaped,
    /// Everything that is left, which may be nothing.
    Tail,
}

impl LayoutPart {
    /// Whether it is this part: what `==` says, at compile time.
    pub(super) const fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Fixed(len), Self::Fixed(other)) => len == other,
            (Self::U8, Self::U8)
            | (Self::Session, Self::Session)
            | (Self::Roster, Self::Roster)
            | (Self::U32, Self::U32)
            | (Self::U64, Self::U64)
            | (Self::Text, Self::Text)
            | (Self::Escaped, Self::Escaped)
            | (Self::Tail, Self::Tail) => true,
            _ => false,
        }
    }
}

/// How the values of a table begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// One version byte, from 1 up to this; then what the owner of the table writes.
    Versioned(u8),
    /// The same, of a JSON object that says when it was written in `at`, or when it ends in `ends`
    /// (milliseconds). Rows of such a table are forgotten in time (`domain/retention.rs`).
    Dated(u8),
    /// Bytes without a version: nothing, an integer, an id.
    Raw,
}
