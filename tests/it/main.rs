//! The integration tests: the real server over HTTP against the simulated WhatsApp network.
#![allow(unreachable_pub, reason = "a test binary has no readers but itself")]

mod promises;
mod readme;
mod support;

mod bad_input;
mod baileys;
mod campaigns;
mod commands;
mod docs;
mod fences;
mod files;
mod golden;
mod inbound;
mod kill;
mod legacy;
mod media;
mod messages;
mod operation;
mod pairing;
mod power;
mod service;
mod upgrade;
mod weight;
