//! The integration tests: the real server over HTTP against the simulated WhatsApp network.
#![allow(unreachable_pub, reason = "a test binary has no readers but itself")]

mod support;

mod bad_input;
mod baileys;
mod fences;
mod golden;
mod inbound;
mod kill;
mod legacy;
mod messages;
mod pairing;
mod power;
