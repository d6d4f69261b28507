//! The event stream.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::admission::admitted;
use super::event_json::{body, linked};
use crate::api::admit::{Caller, Where};
use crate::domain::Gateway;
use crate::domain::access::{Principal, Scope};
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{ConcurrencyLimit, Method, Reply, Request, Route, sse};
use crate::ids::{RowId, SessionNumber};

/// How many events are read from the log at a time.
const PAGE: usize = 100;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    let open = gateway.config().max_connections;
    let places = ConcurrencyLimit::new((open * 3 / 8).max(2), (open / 8).max(2));
    let stream = move |caller, request| stream(caller, request, places.clone());
    let read = &[Scope::Read];
    vec![admitted(gateway, read, Method::GET, "/events", stream)]
}

/// Whose stream it is.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Holder {
    Master,
    Session(SessionNumber),
    Key(RowId),
}

impl Holder {
    fn of(principal: &Principal) -> Self {
        match principal {
            Principal::Master => Self::Master,
            Principal::Session(own) => Self::Session(own.number),
            Principal::Key(key) => Self::Key(key.id.clone()),
        }
    }
}

/// Open streams by credential. Each holds a connection for as long as it likes, so that they may not
/// take all of them.
type Open = ConcurrencyLimit<Holder>;

/// Server-sent events from the durable log: from after `Last-Event-ID`, or from now on. One that the
/// log has not come to begins with all that is kept.
async fn stream(caller: Caller, request: Request, open: Arc<Open>) -> Result<Reply> {
    let only = of_one(&caller, &request)?;
    let gateway = caller.gateway;
    let after = place(&gateway, &request)?;
    let place = open.take(Holder::of(&caller.principal)).ok_or_else(|| {
        let text = "Too many event streams are open; one can carry all events of a session";
        Error::new(Code::TooManyStreams, text)
    })?;
    let (sender, receiver) = mpsc::channel(PAGE);
    let secret = request.bearer().map(str::to_owned);
    // Ends when the client hangs up, the session or its credential goes, or the program stops.
    gateway.clone().tasks().spawn(async move {
        let _place = place;
        let credential = Credential(caller.principal, secret);
        let _ = feed(&gateway, only, credential, after, sender).await;
    });
    Ok(sse::reply(receiver))
}

/// Behind which event the client goes on; the newest where it names none.
fn place(gateway: &Gateway, request: &Request) -> Result<u64> {
    let named = request.header("last-event-id");
    match named.or_else(|| request.query("lastEventId")) {
        None => Ok(*gateway.newest_event().borrow()),
        Some(id) => {
            let wrong = |_| Error::invalid("Last-Event-ID must be a number");
            gateway.place_after(id.parse().map_err(wrong)?)
        }
    }
}

/// The session whose events are wanted; `None` for those of all.
fn of_one(caller: &Caller, request: &Request) -> Result<Option<Arc<Session>>> {
    let name = request.query("sessionId");
    if name.is_none() && caller.principal.only_session().is_none() {
        return Ok(None);
    }
    let place = Where::one_of_or_own([name, None], "sessionId is required");
    caller.session(place).map(Some)
}

/// What a stream was opened with: who that was, and the token or key that was shown.
struct Credential(Principal, Option<String>);

impl Credential {
    /// Whether it would open the stream again.
    fn is_good(&self, gateway: &Gateway) -> bool {
        let shown = self.1.as_deref().unwrap_or_default();
        match &self.0 {
            Principal::Master => true,
            Principal::Session(_) => gateway.session_by_token(shown).is_some(),
            Principal::Key(_) => gateway.key_by_secret(shown).is_some(),
        }
    }
}

/// Reads the log whenever it grows and passes it on, until nobody listens.
async fn feed(
    gateway: &Arc<Gateway>,
    only: Option<Arc<Session>>,
    credential: Credential,
    mut after: u64,
    sender: mpsc::Sender<sse::SseEvent>,
) -> Option<()> {
    let (mut newest, mut ended) = (gateway.newest_event(), gateway.ended_keys());
    let mut session = only.as_ref().map(|session| session.watch());
    loop {
        newest.borrow_and_update();
        let gone = only
            .as_ref()
            .is_some_and(|s| gateway.sessions().by_number(s.number).is_none());
        if gone {
            return None;
        }
        loop {
            // A log that is read from its beginning takes long, and the credential may end meanwhile.
            if !credential.is_good(gateway) {
                return None;
            }
            let page = gateway.events_after(only.as_deref(), after, PAGE);
            let page = page.inspect_err(|error| {
                tracing::error!(?error, "the event log cannot be read");
            });
            let page = page.ok()?;
            // A short page is not the last: some events are passed over.
            if page.is_empty() {
                break;
            }
            for (number, event) in page {
                after = number;
                // What the owner writes on the phone is no event in v1, as in the original program.
                if event.is_own_message() {
                    continue;
                }
                let event = sse::SseEvent {
                    id: number.to_string(),
                    name: event.kind().as_str().to_owned(),
                    data: linked(body(number, &event), gateway.config().links()).to_string(),
                };
                sender.send(event).await.ok()?;
            }
        }
        tokio::select! {
            changed = newest.changed() => changed.ok()?,
            () = changed(&mut session) => {}
            ended = ended.changed() => ended.ok()?,
            () = sender.closed() => return None,
        }
    }
}

/// Ends with the next change of the session; never when there is none to watch.
async fn changed(session: &mut Option<watch::Receiver<u64>>) {
    let told = match session {
        Some(watch) => watch.changed().await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending().await
    }
}
