//! Names to addresses, by the machine's name servers and never by the C library, whose way of
//! looking up names is not safe in a static program.
//!
//! It is a stub: it asks servers that do the work (RFC 1034, section 5.3.1), and believes of their
//! answers only what was asked.

mod ask;
mod cache;
mod machine;
mod message;
mod names;
#[cfg(test)]
mod tests;

pub use message::{Answer, Family, Question};
pub(super) use names::Names;
