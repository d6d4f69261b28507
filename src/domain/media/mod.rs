//! Files that people send: what they are, and how they must look for WhatsApp.
//!
//! Everything here is about the formats alone: no HTTP, no store. The functions are synchronous and
//! may take long, so callers run them where blocking is allowed; one picture or sticker at a time
//! keeps memory bounded.
//!
//! - [`kind`] tells a file's type by its content.
//! - [`picture`] prepares pictures, [`sticker`] stickers.
//! - [`sound`] and [`film`] read durations and dimensions.
//!
//! Each reader also takes bytes, so that hostile ones can be tried.

mod boxes;
mod decode;
pub mod film;
pub mod kind;
mod ogg;
mod ole;
pub mod picture;
pub mod reader;
mod shrink;
pub mod sound;
pub mod sticker;
mod webp;
mod zip;

#[cfg(test)]
mod tests;
