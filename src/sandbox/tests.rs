//! Real clients on the simulated network.

mod companions;
mod control;
mod deeds;
mod direct;
mod faults;
mod groups;
mod media;
mod offline;
mod pairing;
mod people;
mod retries;
mod rig;
mod settings;
mod state;
