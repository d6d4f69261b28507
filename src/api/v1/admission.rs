//! How v1 admits its callers.

use std::sync::Arc;

use crate::api::admit::{self, Admission, Handler, Shown};
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::dialect::Dialect;
use crate::http::{Method, Request, Route};

/// What it takes: the legacy sends take the same.
pub(in crate::api) const ADMISSION: Admission = Admission {
    dialect: Dialect::V1,
    shown,
    session_name: "sessionId",
};

/// `X-Master-Key`, which wins over `Authorization: Bearer` with a token or a key.
fn shown(request: &Request) -> Shown<'_> {
    match (request.header("x-master-key"), request.bearer()) {
        (Some(key), _) => Shown::Master(key),
        (None, Some(secret)) => Shown::Secret(secret),
        (None, None) => Shown::Nothing,
    }
}

/// A route of v1 for callers with all these scopes.
pub(super) fn admitted(
    gateway: &Arc<Gateway>,
    scopes: &'static [Scope],
    method: Method,
    path: &'static str,
    handler: impl Handler,
) -> Route {
    admit::admitted(gateway, &ADMISSION, scopes, method, path, handler)
}
