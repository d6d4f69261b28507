//! Loops that run without a request. Each drives `domain`; `server` starts and stops them.

pub mod download;
pub mod retention;
pub mod verify;
pub mod webhook;
