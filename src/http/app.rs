//! The application: finds the handler of a request, runs it, and renders what fails.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use super::address::Cidr;
use super::metrics::Metrics;
use super::route::{Handler, Mount, Refused};
use super::table::{Entry, Found, Render, Table, allow};
use super::{Reply, Request};
use crate::error::{Error, ErrorKind, Result};

/// A request's head, as far as it decides whether a mount takes it.
pub struct Asked<'a>(&'a Request);

impl Asked<'_> {
    /// The method.
    pub fn method(&self) -> &Method {
        self.0.method()
    }

    /// The path as it was sent.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// A header, if it is there and plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    /// The token of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        self.0.bearer()
    }
}

/// Whether a mount takes a request at all.
pub type Claim = fn(&Asked<'_>) -> bool;

/// All mounts, ready to answer.
#[derive(Clone)]
pub struct App {
    table: Arc<Table>,
    trusted: Arc<[Cidr]>,
    metrics: Arc<Metrics>,
}

impl App {
    /// Builds the tables. The longest prefix that has path and method answers; among equal
    /// prefixes the first one given. Two routes that cannot be told apart are an error.
    pub fn new(mounts: Vec<Mount>) -> Result<Self> {
        let everything: Claim = |_| true;
        Self::choosing(mounts.into_iter().map(|m| (m, everything)).collect())
    }

    /// Builds the tables of mounts that share paths: each takes only the requests it claims.
    pub fn choosing(mounts: Vec<(Mount, Claim)>) -> Result<Self> {
        Ok(Self {
            table: Arc::new(Table::new(mounts)?),
            trusted: Arc::from([]),
            metrics: Arc::default(),
        })
    }

    /// Believes `X-Forwarded-For` when it comes from these proxies (addresses or ranges).
    pub fn trusting(mut self, proxies: &[String]) -> Result<Self> {
        let ranges = proxies.iter().map(|range| range.parse());
        self.trusted = ranges.collect::<Result<_>>()?;
        Ok(self)
    }

    /// What is counted while it answers.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    pub(super) fn trusted(&self) -> &Arc<[Cidr]> {
        &self.trusted
    }

    /// Answers a request; every failure is an answer too.
    pub async fn answer(&self, request: Request) -> Reply {
        let under_way = self.metrics.under_way();
        let connection = request.connection.clone();
        let has_body = !request.body.is_over();
        let head_only = request.method() == Method::HEAD;
        let logged = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), Instant::now()));

        let (mut reply, entry) = self.run(request).await;

        if head_only {
            reply.without_body();
        }
        reply.until(&connection.stop);
        let headers = reply.0.headers_mut();
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        if has_body && !connection.is_reusable().await {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let status = reply.status();
        self.metrics.note_answer(status);
        drop(under_way);
        if let Some((method, began)) = logged {
            // The pattern and never the path itself, which may hold a secret.
            let (prefix, path) = entry.map_or(("", "-"), |e| (e.prefix, e.route.path));
            let (status, ms) = (status.as_u16(), began.elapsed().as_millis());
            tracing::debug!(%method, prefix, path, status, ms, "answered");
        }
        reply
    }

    /// The reply, and the route that it came from.
    async fn run(&self, mut request: Request) -> (Reply, Option<&Entry>) {
        let (method, uri) = (request.method().clone(), request.head.uri().clone());
        let refuse = |render: Render, error: &Error| {
            let (method, path) = (method.clone(), uri.path().to_owned());
            render(error, &Refused { method, path })
        };
        let (entry, render, params) = match self.table.find(&Asked(&request)) {
            Found::Handler(entry, render, params) => (entry, render, params),
            Found::Methods(methods, render) => {
                let reply = if method == Method::OPTIONS {
                    Reply::empty(StatusCode::NO_CONTENT)
                } else {
                    let text = format!("Method {method} not allowed");
                    refuse(render, &Error::new(ErrorKind::MethodNotAllowed, text))
                };
                return (reply.header("allow", allow(&methods)), None);
            }
            Found::BadParameter(render) => {
                let error = Error::invalid("The path is not valid UTF-8");
                return (refuse(render, &error), None);
            }
            Found::Nothing(_) if method == Method::OPTIONS && uri.path() == "*" => {
                return (Reply::empty(StatusCode::NO_CONTENT), None);
            }
            Found::Nothing(render) => {
                let text = format!("Route {method} {} not found", uri.path());
                return (refuse(render, &Error::not_found(text)), None);
            }
        };
        if let Some(limit) = entry.route.body_limit {
            request.body.set_limit(limit);
        }
        if !params.is_empty() {
            request.param_names = entry.param_names.clone();
            request.param_values = params;
        }
        let handler = entry.route.handler.clone();
        // The client hangs up: this future is dropped, and a handler that runs on hears of it.
        let _waits = request.gone().drop_guard();
        let outcome = if entry.route.detached {
            let tasks = request.connection.tasks.clone();
            let task = tasks.spawn(caught(handler, request, self.metrics.clone()));
            // The task cannot panic and nobody aborts it: an error means that the runtime ends.
            task.await
                .unwrap_or_else(|error| Err(Error::internal(error)))
        } else {
            caught(handler, request, self.metrics.clone()).await
        };
        let reply = outcome.unwrap_or_else(|error| refuse(render, &error));
        (reply, Some(entry))
    }
}

/// Runs a handler; its panic becomes an error, and the process lives.
async fn caught(handler: Handler, request: Request, metrics: Arc<Metrics>) -> Result<Reply> {
    // The panic's text is on standard error already, and not for the client.
    let failed = |_: Box<dyn Any + Send>| {
        metrics.note_panic();
        Err(Error::internal("a handler panicked"))
    };
    let answer = match catch_unwind(AssertUnwindSafe(|| handler(request))) {
        Ok(answer) => answer,
        Err(panic) => return failed(panic),
    };
    let mut answer = pin!(answer);
    std::future::poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(failed(panic)),
        },
    )
    .await
}
