//! The docs page: static, embedded, readable without network and without JavaScript.

use std::sync::Arc;

use rust_embed::RustEmbed;

use super::route;
use crate::domain::Gateway;
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode, assets};
use crate::licences;

/// `packaging/pages.sh` packs them.
#[derive(RustEmbed)]
#[folder = "assets/packed/"]
struct Assets;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    vec![
        route(gateway, Method::GET, "/", page),
        route(gateway, Method::GET, "/docs", page),
        route(gateway, Method::GET, "/favicon.ico", icon),
        route(gateway, Method::GET, "/source", source),
    ]
}

async fn page(_: Arc<Gateway>, request: Request) -> Result<Reply> {
    file("docs.html", &request)
}

async fn icon(_: Arc<Gateway>, request: Request) -> Result<Reply> {
    file("favicon.svg", &request)
}

/// The licence, and where the source is: the offer that section 13 of the AGPL asks for. `/` links to it.
async fn source(gateway: Arc<Gateway>, _: Request) -> Result<Reply> {
    let offer = licences::source_offer(gateway.config().source_url.as_deref());
    Ok(Reply::text(StatusCode::OK, offer))
}

fn file(name: &str, request: &Request) -> Result<Reply> {
    assets::file::<Assets>(name, request).ok_or_else(|| Error::new(Code::NotFound, "No such page"))
}
