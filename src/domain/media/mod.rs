//! Files: what they are ([`file_type`], [`kind`], [`picture`], [`sticker`], [`sound`], [`film`]), where they come
//! from ([`source`], [`upload`], [`arriving`]), what of them is told (`metadata`), where they lie ([`files`], [`folder`], `keeping`, `verify`), how they get to WhatsApp
//! ([`attachment`], [`uploaded`]) and how they come from there ([`received`]).
//!
//! What reads a format is synchronous and may take long: callers run it where blocking is allowed,
//! pictures in turn ([`turns`]) and not for ever ([`effort`]). Each reader also takes bytes, so that
//! hostile ones can be tried.

pub mod arriving;
pub mod attachment;
mod boxes;
mod decode;
pub mod effort;
pub mod file_type;
pub mod files;
pub mod film;
pub mod folder;
mod keeping;
pub mod kind;
mod metadata;
mod ogg;
mod ole;
pub mod picture;
pub mod reader;
pub mod received;
mod shrink;
pub mod sound;
pub mod source;
pub mod sticker;
pub mod turns;
pub mod upload;
pub mod uploaded;
mod verify;
mod webp;
mod zip;

#[cfg(test)]
mod tests;

pub use attachment::Keep;
pub(super) use source::Found;
pub use source::Source;
pub(super) use uploaded::Uploaded;
