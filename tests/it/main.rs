//! The integration tests: the real server over HTTP against the simulated WhatsApp network.
#![allow(unreachable_pub, reason = "a test binary has no readers but itself")]

mod promises;
mod readme;
mod support;

mod bad_input;
mod baileys;
mod campaigns;
mod chats;
mod claims;
mod clocks;
mod commands;
mod damage;
mod deletion;
mod docs;
mod fairness;
mod fences;
mod files;
mod forms;
mod golden;
mod guard;
mod import;
mod import_baileys;
mod import_commit;
mod import_replace;
mod inbound;
mod keys;
mod kill;
mod kinds;
mod legacy;
mod licences;
mod media;
mod messages;
mod operation;
mod pairing;
mod power;
mod restored;
mod sealed;
mod seed001;
mod service;
mod strangers;
mod upgrade;
mod webhooks;
mod weight;
