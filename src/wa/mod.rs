//! The WhatsApp boundary: the only place, besides the sandbox, that names the library.

pub mod account;
mod arriving;
pub mod backend;
pub mod connection;
mod convert;
pub mod direct_path;
mod http;
pub mod inbox;
mod location;
pub mod media;
mod media_hosts;
mod media_places;
pub mod message;
pub mod special;
mod transport;

pub use arriving::IsStored;
#[cfg(feature = "sandbox")]
pub use convert::parse_content;
pub use convert::{VoteParties, open_vote};
pub use transport::Endpoint;
