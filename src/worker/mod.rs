//! Loops that run without a request. Each drives `domain`; `server` starts and stops them.

pub mod download;
pub mod keys;
pub mod removal;
pub mod retention;
mod slots;
pub mod unreadable;
pub mod verify;
pub mod webhook;
