//! Real clients on the simulated network.

mod cdn;
mod channels;
mod communities;
mod companions;
mod control;
mod deeds;
mod direct;
mod drafts;
mod faults;
mod groups;
mod history;
mod media;
mod offline;
mod pairing;
mod people;
mod polls;
mod prekeys;
mod refusals;
mod retries;
mod reupload;
mod rig;
mod settings;
mod state;
mod tokens;
