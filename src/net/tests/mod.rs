//! What goes out, against servers that answer as they should and servers that do not.

mod name_server;
mod outgoing;
mod resolver;
