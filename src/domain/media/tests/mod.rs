//! Tests with files that the tests make themselves; [`samples`] makes them.

mod kinds;
mod metadata;
mod pictures;
mod samples;
mod sounds;
mod stickers;
