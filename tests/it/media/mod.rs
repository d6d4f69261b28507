//! Files: uploaded, sent in every way, received, and what is wrong with some of them.

mod kill;
mod kinds;
mod links;
mod pictures;
mod received;
mod uploads;
