//! Files: what they are ([`file_type`], [`kind`], [`images`], [`sticker`], [`audio`], [`video`]), where they come
//! from ([`source`], [`upload`], [`arriving`]), what of them is told (`metadata`), where they lie ([`files`],
//! [`blobs`], `keeping`, `verify`), how they get to WhatsApp ([`wa_upload`], [`uploaded`]) and how they
//! come from there ([`received`]).
//!
//! What reads a format is synchronous and may take long: callers run it where blocking is allowed,
//! images in turn ([`turns`]) and not for ever ([`effort`]). Each reader also takes bytes, so that
//! hostile ones can be tried.

pub mod arriving;
pub mod audio;
mod backup_room;
pub mod blobs;
mod decode;
pub mod effort;
pub mod file_type;
pub mod files;
pub mod images;
pub(super) mod imported;
pub mod keeping;
pub mod kind;
mod metadata;
mod mp4_boxes;
mod ogg;
mod ole;
pub mod reader;
pub mod received;
mod shrink;
pub mod source;
pub mod staged;
pub mod sticker;
pub mod turns;
pub mod upload;
pub mod uploaded;
mod verify;
pub mod video;
pub mod wa_upload;
mod webp;
mod zip;

#[cfg(test)]
mod tests;

pub use source::FileSource;
pub(super) use source::LocalFile;
pub(super) use uploaded::WaUpload;
pub use wa_upload::KeepOptions;
