//! The docs page: static, embedded, readable without network and without JavaScript.

use std::sync::Arc;

use rust_embed::RustEmbed;

use super::route;
use crate::domain::Gateway;
use crate::error::{Error, Result};
use crate::http::{Method, Reply, Request, Route, assets};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    vec![
        route(gateway, Method::GET, "/", page),
        route(gateway, Method::GET, "/docs", page),
        route(gateway, Method::GET, "/favicon.ico", icon),
    ]
}

async fn page(_: Arc<Gateway>, request: Request) -> Result<Reply> {
    file("docs.html", &request)
}

async fn icon(_: Arc<Gateway>, request: Request) -> Result<Reply> {
    file("favicon.svg", &request)
}

fn file(name: &str, request: &Request) -> Result<Reply> {
    assets::file::<Assets>(name, request).ok_or_else(|| Error::not_found("No such page"))
}
