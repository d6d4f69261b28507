//! The integration tests: the real server over HTTP against the simulated WhatsApp network.

mod support;

mod fences;
mod messages;
mod pairing;
