//! Admission: who sent a request, what they may do, and which session they mean. All dialects ask here,
//! each with its [`Admission`].

use std::future::{Future, ready};
use std::sync::Arc;

use crate::domain::Gateway;
use crate::domain::access::{Principal, Scope};
use crate::domain::dialect::Dialect;
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{
    HandlerFuture, Method, MountClaim, OtherSite, Reply, Request, Route, host_of_url,
};
use crate::ids::SessionId;

/// How a dialect admits its callers.
pub(super) struct Admission {
    /// Whose keys it takes.
    pub(super) dialect: Dialect,
    /// What a request shows.
    pub(super) shown: fn(&Request) -> Shown<'_>,
    /// What it calls the id of a session, in paths and queries.
    pub(super) session_name: &'static str,
}

/// What a request shows to be admitted.
pub(super) enum Shown<'a> {
    /// Nothing.
    Nothing,
    /// The master key, where the dialect has a place of its own for it.
    Master(&'a str),
    /// A token or a key.
    Secret(&'a str),
}

/// What answers the requests of an admitted caller.
pub(super) trait Handler: Send + Sync + 'static {
    /// What it answers with, when it is done.
    type Answer: Future<Output = Result<Reply>> + Send + 'static;

    /// Answers a request.
    fn answer(&self, caller: Caller, request: Request) -> Self::Answer;
}

impl<F, Out> Handler for F
where
    F: Fn(Caller, Request) -> Out + Send + Sync + 'static,
    Out: Future<Output = Result<Reply>> + Send + 'static,
{
    type Answer = Out;

    fn answer(&self, caller: Caller, request: Request) -> Out {
        self(caller, request)
    }
}

/// A route whose handler gets its caller, who was admitted and has all these scopes.
pub(super) fn admitted(
    gateway: &Arc<Gateway>,
    admission: &'static Admission,
    scopes: &'static [Scope],
    method: Method,
    path: &'static str,
    handler: impl Handler,
) -> Route {
    let answer =
        move |caller, request| -> HandlerFuture { Box::pin(handler.answer(caller, request)) };
    admitting(gateway, admission, scopes, (method, path), Box::new(answer))
}

/// What answers a caller who was admitted. Boxed: what is done for each route is in the program once.
type Answer<C> = Box<dyn Fn(C, Request) -> HandlerFuture + Send + Sync>;

fn admitting(
    gateway: &Arc<Gateway>,
    admission: &'static Admission,
    scopes: &'static [Scope],
    (method, path): (Method, &'static str),
    answer: Answer<Caller>,
) -> Route {
    let gateway = gateway.clone();
    let words: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    let handler = move |request| {
        let caller = Caller::of(&gateway, admission, &request);
        match caller.and_then(|caller| caller.requiring(scopes)) {
            Ok(caller) => answer(caller, request),
            Err(error) => Box::pin(ready(Err(error))),
        }
    };
    Route::boxed(method, path, Arc::new(handler)).admitting(words.join(" "))
}

/// A route for the holder of the master key alone, which is shown as `X-Master-Key` or bearer.
pub(super) fn master_only<F, Out>(
    gateway: &Arc<Gateway>,
    method: Method,
    path: &'static str,
    handler: F,
) -> Route
where
    F: Fn(Arc<Gateway>, Request) -> Out + Send + Sync + 'static,
    Out: Future<Output = Result<Reply>> + Send + 'static,
{
    let answer = move |gateway, request| -> HandlerFuture { Box::pin(handler(gateway, request)) };
    admitting_master(gateway, (method, path), Box::new(answer))
}

fn admitting_master(
    gateway: &Arc<Gateway>,
    (method, path): (Method, &'static str),
    answer: Answer<Arc<Gateway>>,
) -> Route {
    let gateway = gateway.clone();
    let handler = move |request| match require_master(&gateway, &request) {
        Ok(()) => answer(gateway.clone(), request),
        Err(error) => Box::pin(ready(Err(error))),
    };
    Route::boxed(method, path, Arc::new(handler)).admitting("master key".to_owned())
}

fn require_master(gateway: &Gateway, request: &Request) -> Result<()> {
    let key = request.header("x-master-key").or_else(|| request.bearer());
    let key = key.ok_or(Code::MasterKeyMissing)?;
    judge_master_key(gateway, key).map_err(|error| {
        let needed = Error::from(Code::MasterKeyMissing);
        Error::new(error.code(), needed.detail().to_owned())
    })
}

/// Refuses what is not the master key. A token or a key that is good elsewhere is no guess.
fn judge_master_key(gateway: &Gateway, key: &str) -> Result<()> {
    if gateway.is_master_key(key) {
        return Ok(());
    }
    let is_known = gateway.dialect_of(key).is_some();
    Err(Error::from(match is_known {
        true => Code::MasterKeyMissing,
        false => Code::MasterKeyInvalid,
    }))
}

/// A caller whose credential is good.
pub(super) struct Caller {
    admission: &'static Admission,
    pub(super) gateway: Arc<Gateway>,
    pub(super) principal: Principal,
}

impl Caller {
    /// The caller of a request, by what it shows to this dialect.
    pub(super) fn of(
        gateway: &Arc<Gateway>,
        admission: &'static Admission,
        request: &Request,
    ) -> Result<Self> {
        let principal = match (admission.shown)(request) {
            Shown::Nothing => return Err(Code::CredentialMissing.into()),
            Shown::Master(key) => {
                judge_master_key(gateway, key)?;
                Principal::Master
            }
            Shown::Secret(secret) => {
                let principal = gateway.admit(admission.dialect, secret)?;
                refuse_two_dialects(gateway, admission.dialect, request)?;
                principal
            }
        };
        Ok(Self {
            admission,
            gateway: gateway.clone(),
            principal,
        })
    }

    /// The same; `None` where no credential is shown.
    pub(super) fn if_any(
        gateway: &Arc<Gateway>,
        admission: &'static Admission,
        request: &Request,
    ) -> Result<Option<Self>> {
        match (admission.shown)(request) {
            Shown::Nothing => Ok(None),
            _ => Self::of(gateway, admission, request).map(Some),
        }
    }

    /// This caller, unless it is a key that lacks one of the scopes.
    pub(super) fn requiring(self, scopes: &[Scope]) -> Result<Self> {
        for scope in scopes {
            self.principal.require_scope(*scope)?;
        }
        Ok(self)
    }

    /// This caller, unless it may use one session only.
    pub(super) fn of_all_sessions(self) -> Result<Self> {
        match self.principal.only_session() {
            None => Ok(self),
            Some(_) => Err(Code::KeyForOneSession.into()),
        }
    }

    /// The session that a request means.
    ///
    /// Invariant: no handler gets a session from anywhere else, and two different names are refused,
    /// so that the name that is authorised is the name that is used.
    pub(super) fn session(&self, place: Where<'_>) -> Result<Arc<Session>> {
        match (named(&place.names)?, self.principal.only_session()) {
            (Some(id), _) => self.gateway.authorise(&self.principal, &id),
            (None, Some(_)) if place.or_own => {
                let own = self.gateway.sessions_of(&self.principal).pop();
                own.ok_or_else(|| Error::from(Code::SessionNotFound))
            }
            (None, _) => Err(Error::new(Code::SessionIdMissing, place.missing)),
        }
    }

    /// The session that the path names; the query may repeat it.
    pub(super) fn session_in_path(&self, request: &Request) -> Result<Arc<Session>> {
        let name = self.admission.session_name;
        let names = [Some(request.param(name)), request.query(name)];
        self.session(Where::one_of(names, Code::SessionIdMissing.text()))
    }

    /// The sessions whose rows this caller may see, or the one of them that the query names.
    pub(super) fn sessions(&self, request: &Request) -> Result<Vec<Arc<Session>>> {
        match named(&[request.query(self.admission.session_name)])? {
            Some(id) => Ok(vec![self.gateway.authorise(&self.principal, &id)?]),
            None => Ok(self.gateway.sessions_of(&self.principal)),
        }
    }

    /// Whether a session's token may be shown: it does more than a key may.
    pub(super) fn may_see_token(&self, session: &Session) -> bool {
        match &self.principal {
            Principal::Master => true,
            Principal::Session(own) => own.number == session.number,
            Principal::Key(_) => false,
        }
    }
}

/// Where a request may name its session, and what is meant when it does not.
pub(super) struct Where<'a> {
    names: [Option<&'a str>; 2],
    /// Whether it is the caller's own then: that of a token, or of a key that is pinned to one.
    or_own: bool,
    /// What is said when none is meant.
    missing: &'static str,
}

impl<'a> Where<'a> {
    /// One of these places, the query and a field of the body, say.
    pub(super) fn one_of(names: [Option<&'a str>; 2], missing: &'static str) -> Self {
        Self {
            names,
            or_own: false,
            missing,
        }
    }

    /// One of these places, or the caller's own.
    pub(super) fn one_of_or_own(names: [Option<&'a str>; 2], missing: &'static str) -> Self {
        Self {
            or_own: true,
            ..Self::one_of(names, missing)
        }
    }

    /// The session that is meant, where nobody needs a credential: only the legacy sends, if at all.
    pub(super) fn open_to_all(&self, gateway: &Gateway) -> Result<Arc<Session>> {
        let id = named(&self.names)?.ok_or(Code::SessionIdMissing)?;
        gateway.sessions().get(&id).ok_or_else(|| {
            Error::new(
                Code::SessionNotConnected,
                format!("Session {id} not found or not connected."),
            )
        })
    }
}

/// Refuses another name than the session's, wherever a request has one.
pub(super) fn only(session: &Session, name: Option<&str>) -> Result<()> {
    named(&[Some(session.id.as_str()), name]).map(drop)
}

/// The one session that a request names, wherever it names it.
fn named(names: &[Option<&str>]) -> Result<Option<SessionId>> {
    let mut found: Option<SessionId> = None;
    for name in names.iter().flatten() {
        let id = SessionId::parse(name)?;
        if found.as_ref().is_some_and(|other| *other != id) {
            return Err(Code::SessionIdAmbiguous.into());
        }
        found = Some(id);
    }
    Ok(found)
}

/// The requests that a dialect takes on paths that others may have too, by the record of the key that is
/// shown: below its own prefix it takes everything. What shows no stored key is of v1, the only dialect
/// that has sends without one.
pub(super) fn claim(gateway: &Arc<Gateway>, dialect: Dialect) -> MountClaim {
    let gateway = gateway.clone();
    MountClaim::when(move |request| {
        let mut shown = request.credentials();
        let recorded = shown.find_map(|secret| gateway.dialect_of(secret));
        recorded.unwrap_or(Dialect::V1) == dialect
    })
}

/// Refuses a request that shows a stored key of another dialect too. What is no stored key may be
/// anything, such as the key of a proxy on the way.
fn refuse_two_dialects(gateway: &Gateway, dialect: Dialect, request: &Request) -> Result<()> {
    let mut recorded = request
        .credentials()
        .filter_map(|secret| gateway.dialect_of(secret));
    match recorded.any(|other| other != dialect) {
        true => Err(Code::CredentialsOfTwoDialects.into()),
        false => Ok(()),
    }
}

/// Whether a program of this machine asks by itself, on a listener that only this machine reaches.
/// Where proxies are trusted there is one, also when it adds no header of its own.
pub(super) fn is_from_here(gateway: &Gateway, request: &Request) -> bool {
    request.peer().listener_loopback
        && gateway.config().trusted_proxies.is_empty()
        && request.is_direct()
}

/// Refuses what a browser may have sent for a page of another site. Whoever needs no credential, because
/// a setting opens a route to everybody, must pass this: the browser of the owner reaches the gateway
/// wherever it hides, and any page can make it ask.
pub(super) fn refuse_other_sites(gateway: &Gateway, request: &Request) -> Result<()> {
    let own = host_of_url(gateway.config().links());
    let why = match request.of_other_site(own.as_slice()) {
        None => return Ok(()),
        Some(OtherSite::Page) => "this request comes from a web page of another site",
        Some(OtherSite::Host) => {
            "this request names a host that the gateway does not know, as a web page can that makes a \
             name of its own lead here (if the name is yours, set public_url)"
        }
    };
    Err(Error::new(
        Code::CredentialMissing,
        format!("No token provided: {why}. Send the session's token (Authorization: Bearer TOKEN)"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_may_be_named_twice_but_not_two_once() {
        assert_eq!(named(&[None, None]).expect("none"), None);
        let id = named(&[Some("a"), Some("a"), None])
            .expect("one")
            .expect("named");
        assert_eq!(id.as_str(), "a");
        assert!(named(&[Some("a"), Some("b")]).is_err());
        assert!(named(&[Some("a b")]).is_err());
    }
}
