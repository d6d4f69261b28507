//! Real clients on the simulated network.

mod direct;
mod pairing;
mod rig;
