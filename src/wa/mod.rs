//! The WhatsApp boundary: the only place, besides the sandbox, that names the library.

mod arriving;
pub mod backend;
mod convert;
pub mod direct_path;
mod http;
pub mod inbox;
pub mod link;
pub mod media;
mod media_hosts;
mod media_places;
pub mod message;
mod place;
pub mod special;
mod transport;

pub use arriving::Stored;
#[cfg(feature = "sandbox")]
pub use convert::said_by;
pub use convert::{Voting, open_vote};
pub use transport::Endpoint;
