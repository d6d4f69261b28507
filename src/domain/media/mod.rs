//! Files: what they are ([`kind`], [`picture`], [`sticker`], [`sound`], [`film`]), where they come
//! from ([`source`]), where they lie ([`files`], [`folder`]), how they get to WhatsApp ([`attachment`])
//! and how they come from there ([`received`]).

pub mod attachment;
pub mod files;
pub mod film;
pub mod folder;
pub mod kind;
pub mod picture;
pub mod received;
pub mod sound;
pub mod source;
pub mod sticker;
pub mod upload;

pub(super) use attachment::Uploaded;
pub use source::Source;
pub(super) use source::Found;
