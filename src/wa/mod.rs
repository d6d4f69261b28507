//! The WhatsApp boundary: the only place, besides the sandbox, that names the library.

pub mod backend;
mod convert;
pub mod direct_path;
mod http;
pub mod link;
pub mod media;
mod media_hosts;
pub mod message;
mod transport;

pub use convert::{Voting, open_vote, said_by};
pub use transport::Endpoint;
