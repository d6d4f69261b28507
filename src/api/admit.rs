//! Admission: who sent a request, what they may do, and which session they mean. All dialects ask here.

use std::future::Future;
use std::sync::Arc;

use crate::domain::Gateway;
use crate::domain::access::{Dialect, Principal, Scope};
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{Method, MountClaim, Reply, Request, Route};
use crate::ids::SessionId;

/// A route whose handler gets its caller, who was admitted and has the scope.
pub(super) fn admitted<F, Out>(
    gateway: &Arc<Gateway>,
    scope: Scope,
    method: Method,
    path: &'static str,
    handler: F,
) -> Route
where
    F: Fn(Caller, Request) -> Out + Clone + Send + Sync + 'static,
    Out: Future<Output = Result<Reply>> + Send + 'static,
{
    let gateway = gateway.clone();
    Route::new(method, path, move |request| {
        let caller = Caller::of(&gateway, &request);
        let caller = caller.and_then(|caller| caller.requiring(scope));
        let handler = handler.clone();
        async move { handler(caller?, request).await }
    })
}

/// A caller whose credential is good.
pub(super) struct Caller {
    pub(super) gateway: Arc<Gateway>,
    pub(super) principal: Principal,
}

impl Caller {
    /// The caller of a v1 request, by `X-Master-Key` or `Authorization: Bearer`.
    pub(super) fn of(gateway: &Arc<Gateway>, request: &Request) -> Result<Self> {
        let (master, token) = (request.header("x-master-key"), request.bearer());
        let principal = gateway.principal(master, token)?;
        // The master key is of none.
        let is_of_v1 = !matches!(principal, Principal::Master);
        if is_of_v1 && other_dialect(gateway, request).is_some() {
            return Err(Code::CredentialsOfTwoDialects.into());
        }
        Ok(Self {
            gateway: gateway.clone(),
            principal,
        })
    }

    /// The same; `None` where no credential is shown.
    pub(super) fn if_any(gateway: &Arc<Gateway>, request: &Request) -> Result<Option<Self>> {
        match (request.header("x-master-key"), request.bearer()) {
            (None, None) => Ok(None),
            _ => Self::of(gateway, request).map(Some),
        }
    }

    /// This caller, unless it is a key that lacks the scope.
    pub(super) fn requiring(self, scope: Scope) -> Result<Self> {
        self.principal.require_scope(scope)?;
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

    /// The sessions whose rows this caller may see, or the one of them that the query names.
    pub(super) fn sessions(&self, request: &Request) -> Result<Vec<Arc<Session>>> {
        match named(&[request.query("sessionId")])? {
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
    /// The path; the query may repeat it.
    pub(super) fn path(request: &'a Request) -> Self {
        let names = [Some(request.param("sessionId")), request.query("sessionId")];
        Self::one_of(names, "sessionId is required")
    }

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
        let keys = KEY_HEADERS.iter().filter_map(|name| request.header(name));
        let mut shown = request.bearer().into_iter().chain(keys);
        let recorded = shown.find_map(|secret| gateway.dialect_of(secret));
        recorded.unwrap_or(Dialect::V1) == dialect
    })
}

/// The headers in which other dialects than v1 show their keys.
const KEY_HEADERS: [&str; 2] = ["x-api-key", "apikey"];

/// The dialect of a stored key that is shown as v1 does not, if that is another. What is no stored key
/// may be anything, such as the key of a proxy on the way.
fn other_dialect(gateway: &Gateway, request: &Request) -> Option<Dialect> {
    let shown = KEY_HEADERS.iter().filter_map(|name| request.header(name));
    let mut dialects = shown.filter_map(|secret| gateway.dialect_of(secret));
    dialects.find(|dialect| *dialect != Dialect::V1)
}

/// Refuses everybody but the holder of the master key, which is shown as `X-Master-Key` or bearer.
pub(super) fn master_only(gateway: &Gateway, request: &Request) -> Result<()> {
    let key = request.header("x-master-key").or_else(|| request.bearer());
    if key.is_some_and(|key| gateway.is_master_key(key)) {
        return Ok(());
    }
    Err(Code::MasterKeyMissing.into())
}

/// Whether a program of this machine asks by itself, on a listener that only this machine reaches.
/// Where proxies are trusted there is one, also when it adds no header of its own.
pub(super) fn is_from_here(gateway: &Gateway, request: &Request) -> bool {
    request.peer().listener_loopback
        && gateway.config().trusted_proxies.is_empty()
        && request.is_direct()
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
