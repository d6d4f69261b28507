//! What a dialect hands to the transport: routes under a prefix, and how it words a refusal.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Method;

use super::{Reply, Request};
use crate::error::{Error, Result};

/// The answer of a handler, boxed so that handlers of any type share a table.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

/// A handler as the table holds it.
pub(super) type Handler = Arc<dyn Fn(Request) -> HandlerFuture + Send + Sync>;

/// One method of one path, and what runs.
pub struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) body_limit: Option<u64>,
    pub(super) detached: bool,
    admission: Option<String>,
    pub(super) handler: Handler,
}

impl Route {
    /// Makes a route. The path is relative to the mount's prefix; `{name}` is a parameter of one
    /// segment and `{*name}` is the rest of the path.
    pub fn new<F, Out>(method: Method, path: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> Out + Send + Sync + 'static,
        Out: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self::boxed(
            method,
            path,
            Arc::new(move |request| Box::pin(handler(request))),
        )
    }

    /// The same of a handler that boxes its answers itself.
    pub fn boxed(
        method: Method,
        path: &'static str,
        handler: Arc<dyn Fn(Request) -> HandlerFuture + Send + Sync>,
    ) -> Self {
        let inline = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
        Self {
            method,
            path,
            body_limit: None,
            detached: !inline,
            admission: None,
            handler,
        }
    }

    /// A GET, which also answers HEAD.
    #[cfg(feature = "sandbox")]
    pub fn get<F, Out>(path: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> Out + Send + Sync + 'static,
        Out: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self::new(Method::GET, path, handler)
    }

    /// A POST.
    #[cfg(feature = "sandbox")]
    pub fn post<F, Out>(path: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> Out + Send + Sync + 'static,
        Out: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self::new(Method::POST, path, handler)
    }

    /// Method and path, as a table of routes shows them.
    #[cfg(feature = "sandbox")]
    pub fn name(&self) -> (&Method, &'static str) {
        (&self.method, self.path)
    }

    /// Says in words who is admitted: its handler does it.
    #[must_use]
    pub fn admitting(mut self, who: String) -> Self {
        self.admission = Some(who);
        self
    }

    /// Who is admitted; `None` where the handler does not say.
    pub fn admission(&self) -> Option<&str> {
        self.admission.as_deref()
    }

    /// Takes bodies of up to `bytes`, where the listener's limit for JSON does not fit.
    #[must_use]
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    /// Runs the handler to its end even when the client hangs up (a GET with an effect).
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }
}

/// The routes of a dialect under a prefix such as `/api/v1`; `""` is the whole tree.
pub struct Mount {
    /// Where the routes begin: empty, or `/` and segments without a `/` at the end.
    pub prefix: &'static str,
    /// Which requests below the prefix it takes.
    pub claim: MountClaim,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Words every refusal of a request that it takes.
    pub render: fn(&Error) -> Reply,
}

/// Which requests a mount takes, so that several can share paths: judged by the head, since the body
/// was not read yet.
#[derive(Clone)]
pub struct MountClaim(Arc<dyn Fn(&Request) -> bool + Send + Sync>);

impl MountClaim {
    /// Takes every request: nobody else has these paths.
    pub fn everything() -> Self {
        Self::when(|_| true)
    }

    /// Takes the requests of which this is true.
    pub fn when(takes: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(takes))
    }

    pub(super) fn takes(&self, request: &Request) -> bool {
        (self.0)(request)
    }
}
