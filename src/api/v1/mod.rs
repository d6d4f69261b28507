//! The v1 dialect: the REST API of seed 001, with a bearer token per session.

mod admission;
mod backup;
mod campaign_body;
mod campaigns;
mod elements;
pub mod event_json;
pub mod events;
mod lists;
mod media;
mod messages;
mod people;
mod sessions;
mod webhook;

pub(super) use admission::ADMISSION;
pub(super) use messages::result;
pub(super) use sessions::status_word;

use std::sync::Arc;

use super::reply::refuse;
use crate::domain::Gateway;
use crate::http::{Mount, MountClaim};

/// Where uploaded files are served, outside of its prefix.
pub fn files(gateway: &Arc<Gateway>) -> Mount {
    media::files(gateway)
}

/// Its routes.
pub fn mount(gateway: &Arc<Gateway>) -> Mount {
    Mount {
        prefix: "/api/v1",
        claim: MountClaim::everything(),
        routes: [
            sessions::routes(gateway),
            webhook::routes(gateway),
            messages::routes(gateway),
            media::routes(gateway),
            campaigns::routes(gateway),
            lists::routes(gateway),
            backup::routes(gateway),
            events::routes(gateway),
        ]
        .into_iter()
        .flatten()
        .collect(),
        render: refuse,
    }
}
