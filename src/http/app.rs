//! The application: finds the handler of a request, runs it, and renders what fails.

use std::any::Any;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use super::concurrency::{ConcurrencyLimit, Permit};
use super::direct::check_host;
use super::logins::{self, Logins};
use super::metrics::HttpMetrics;
use super::route::{Handler, Mount};
use super::table::{RouteEntry, RouteMatch, RouteTable, allow};
use super::{Reply, Request};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::net::{Cidr, network};

/// All mounts, ready to answer.
#[derive(Clone)]
pub struct App {
    table: Arc<RouteTable>,
    trusted: Arc<[Cidr]>,
    metrics: Arc<HttpMetrics>,
    logins: Arc<Logins>,
    /// Who was refused without a credential.
    nameless: Arc<Logins>,
    under_way: Arc<ConcurrencyLimit<Holder>>,
    of_clients: Arc<ConcurrencyLimit<IpAddr>>,
    hasher: RandomState,
}

/// Whose request is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    /// Whoever has this credential, by its hash.
    Credential(u64),
    /// Whoever comes without one, from here; `None` where many people have one address.
    Client(Option<IpAddr>),
}

impl App {
    /// Builds the tables. Of the mounts that take a request, the one with the longest prefix that has
    /// path and method answers; among equal prefixes the first one given. Two routes of a mount that
    /// cannot be told apart are an error.
    pub fn new(mounts: Vec<Mount>) -> Result<Self> {
        Ok(Self {
            table: Arc::new(RouteTable::new(mounts)?),
            trusted: Arc::from([]),
            metrics: Arc::default(),
            logins: Arc::default(),
            nameless: Arc::default(),
            under_way: ConcurrencyLimit::new(usize::MAX, usize::MAX),
            of_clients: ConcurrencyLimit::new(usize::MAX, usize::MAX),
            hasher: RandomState::new(),
        })
    }

    /// Counts into these metrics.
    #[must_use]
    pub fn counting(mut self, metrics: Arc<HttpMetrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Works on no more requests with an effect at a time than `most`, and on `each` of one
    /// credential; a client behind a trusted proxy has no more than `per_address` requests of any
    /// kind. They are counted until their work is done, whether the client waits for it or not.
    #[must_use]
    pub fn at_most(mut self, most: usize, each: usize, per_address: usize) -> Self {
        self.under_way = ConcurrencyLimit::new(most, each);
        self.of_clients = ConcurrencyLimit::new(usize::MAX, per_address);
        self
    }

    /// Believes `X-Forwarded-For` when it comes from these proxies (addresses or ranges).
    pub fn trusting(mut self, proxies: &[String]) -> Result<Self> {
        let ranges = proxies.iter().map(|range| range.parse());
        self.trusted = ranges.collect::<Result<_>>()?;
        Ok(self)
    }

    /// What is counted while it answers.
    pub fn metrics(&self) -> Arc<HttpMetrics> {
        self.metrics.clone()
    }

    pub(super) fn trusted(&self) -> &Arc<[Cidr]> {
        &self.trusted
    }

    pub(super) fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|range| range.contains(ip))
    }

    /// Tells the log of failed logins that were not told yet.
    pub(super) fn report_failed_logins(&self) {
        for (client, failures) in self.logins.unreported(Instant::now()) {
            logins::log_failures(client, failures);
        }
        for (client, requests) in self.nameless.unreported(Instant::now()) {
            logins::log_nameless(client, requests);
        }
    }

    /// Answers a request that came over a connection: its head is judged first.
    pub(super) async fn answer_client(&self, request: Request) -> Reply {
        let fault = match check_host(request.head.version(), request.head.headers()) {
            Ok(()) => self.place_of_client(&request).err(),
            Err(error) => Some(error),
        };
        self.respond(request, fault).await
    }

    /// Answers a request; every failure is an answer too.
    #[cfg(test)]
    pub async fn answer(&self, request: Request) -> Reply {
        self.respond(request, None).await
    }

    /// Counts a request of a client behind a trusted proxy until its answer was sent. Other clients
    /// have their connections counted.
    fn place_of_client(&self, request: &Request) -> Result<()> {
        if request.peer().ip.is_some_and(|ip| !self.trusts(ip)) {
            return Ok(());
        }
        let Some(ip) = request.own_ip() else {
            return Ok(());
        };
        let place = self.of_clients.take(network(ip)).ok_or_else(|| {
            self.metrics.note_refused_request();
            Error::new(
                Code::TooManyRequests,
                "Too many requests from this address are under way",
            )
        })?;
        request.connection.hold(place);
        Ok(())
    }

    /// A place among the requests with an effect.
    fn permit(&self, request: &Request) -> Result<Permit<Holder>> {
        // However it is spelled, its owner is one holder.
        let holder = match request.credentials().next() {
            Some(credential) => Holder::Credential(self.hasher.hash_one(credential)),
            None => Holder::Client(request.own_ip().map(network)),
        };
        self.under_way.take(holder).ok_or_else(|| {
            self.metrics.note_refused_request();
            Error::from(Code::TooManyRequests)
        })
    }

    /// Counts a failed login. Whoever guesses is not told any more whether a guess was wrong.
    ///
    /// A right credential never comes here, also one that may not do what was asked, so that nobody is
    /// locked out by a neighbour who shares the address; where many people have one address, nobody is
    /// taken for somebody who guesses.
    fn failed_login(&self, error: Error, client: Option<IpAddr>, sole: bool) -> Error {
        self.metrics.note_failed_login();
        let failed = self.logins.failed(client, Instant::now());
        if failed.is_first {
            logins::log_failures(client, 1);
        }
        if failed.is_guessing && sole {
            return Code::TooManyLogins.into();
        }
        error
    }

    /// Tells the log of who was refused because no credential was sent: a client that moved behind a
    /// proxy, say, does not tell its owner.
    fn note_nameless(&self, client: Option<IpAddr>) {
        if self.nameless.failed(client, Instant::now()).is_first {
            logins::log_nameless(client, 1);
        }
    }

    async fn respond(&self, request: Request, fault: Option<Error>) -> Reply {
        let under_way = self.metrics.under_way();
        let connection = request.connection.clone();
        let has_body = !request.body.is_over();
        let head_only = request.method() == Method::HEAD;
        let logged = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), Instant::now()));

        let is_faulty = fault.is_some();
        let (mut reply, entry) = self.run(request, fault).await;

        if head_only {
            reply.without_body();
        }
        reply.until(&connection.stop);
        let headers = reply.0.headers_mut();
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        if is_faulty || has_body && !connection.is_reusable().await {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let status = reply.status();
        self.metrics.note_answer(status);
        drop(under_way);
        if let Some((method, began)) = logged {
            // The pattern and never the path itself, which may hold a secret.
            let (prefix, path) = entry.map_or(("", "-"), |e| (e.prefix, e.route.path));
            let admits = entry.and_then(|e| e.route.admission());
            let (status, ms) = (status.as_u16(), began.elapsed().as_millis());
            tracing::debug!(%method, prefix, path, admits, status, ms, "answered");
        }
        reply
    }

    /// The reply, and the route that it came from.
    async fn run(
        &self,
        mut request: Request,
        fault: Option<Error>,
    ) -> (Reply, Option<&RouteEntry>) {
        let (method, uri) = (request.method().clone(), request.head.uri().clone());
        let found = self.table.find(&request);
        if let Some(fault) = fault {
            return (found.render()(&fault), None);
        }
        let (entry, render, params) = match found {
            RouteMatch::Handler(entry, render, params) => (entry, render, params),
            RouteMatch::Methods(methods, render) => {
                let reply = if method == Method::OPTIONS {
                    Reply::empty(StatusCode::NO_CONTENT)
                } else {
                    let text = format!("Method {method} not allowed");
                    render(&Error::new(Code::MethodNotAllowed, text))
                };
                return (reply.header("allow", allow(&methods)), None);
            }
            RouteMatch::BadParameter(render) => {
                let error = Error::invalid("The path is not valid UTF-8");
                return (render(&error), None);
            }
            RouteMatch::Nothing(_) if method == Method::OPTIONS && uri.path() == "*" => {
                return (Reply::empty(StatusCode::NO_CONTENT), None);
            }
            RouteMatch::Nothing(render) => {
                let text = format!("Route {method} {} not found", uri.path());
                return (render(&Error::not_found(text)), None);
            }
        };
        if let Some(limit) = entry.route.body_limit {
            request.body.set_limit(limit);
        }
        if !params.is_empty() {
            request.param_names = entry.param_names.clone();
            request.param_values = params;
        }
        let is_named = request.credentials().next().is_some();
        let (client, own_ip) = (request.client_ip(), request.own_ip());
        let outcome = if entry.route.detached {
            self.run_detached(entry, request).await
        } else {
            let handler = entry.route.handler.clone();
            caught(handler, request, self.metrics.clone()).await
        };
        let reply = outcome.unwrap_or_else(|error| {
            if is_named && error.code().is_wrong_credential() {
                return render(&self.failed_login(error, client, own_ip.is_some()));
            }
            if !is_named && error.kind() == ErrorKind::Unauthorized {
                self.note_nameless(client);
            }
            render(&error)
        });
        (reply, Some(entry))
    }

    /// Runs a handler in a task of its own, which learns when nobody waits for it any more.
    async fn run_detached(&self, entry: &RouteEntry, request: Request) -> Result<Reply> {
        let place = self.permit(&request)?;
        let handler = entry.route.handler.clone();
        let tasks = request.connection.tasks.clone();
        let waiting = request.hung_up.clone().drop_guard();
        let metrics = self.metrics.clone();
        let task = tasks.spawn(async move {
            let _place = place;
            caught(handler, request, metrics).await
        });
        // The task cannot panic and nobody aborts it: an error means that the runtime ends.
        let outcome = task
            .await
            .unwrap_or_else(|error| Err(Error::internal(error)));
        waiting.disarm();
        outcome
    }
}

/// Runs a handler; its panic becomes an error, and the process lives.
async fn caught(handler: Handler, request: Request, metrics: Arc<HttpMetrics>) -> Result<Reply> {
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
