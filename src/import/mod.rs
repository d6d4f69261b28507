//! Moving in: what other programs left on the disk, read into our types.

pub mod baileys;
