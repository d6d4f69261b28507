//! The WhatsApp boundary: the only place, besides the sandbox, that names the library.

pub mod backend;
mod convert;
mod http;
pub mod link;
pub mod message;
mod transport;

pub use convert::said_by;
pub use transport::Endpoint;
