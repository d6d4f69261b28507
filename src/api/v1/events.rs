//! The event stream.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::event_json::body;
use super::route;
use super::rules::{caller, named};
use crate::domain::Gateway;
use crate::domain::key::Principal;
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{Method, Places, Reply, Request, Route, sse};
use crate::ids::SessionNumber;

/// How many events are read from the log at a time.
const PAGE: usize = 100;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    let open = gateway.config().max_connections;
    let places = Places::new((open * 3 / 8).max(2), (open / 8).max(2));
    let stream = move |gateway, request| stream(gateway, request, places.clone());
    vec![route(gateway, Method::GET, "/events", stream)]
}

/// Open streams by credential: a session's number, or the master key. Each holds a connection for as
/// long as it likes, so that they may not take all of them.
type Open = Places<Option<SessionNumber>>;

/// Server-sent events from the durable log: from after `Last-Event-ID`, or from now on.
async fn stream(gateway: Arc<Gateway>, request: Request, open: Arc<Open>) -> Result<Reply> {
    let who = caller(&gateway, &request)?;
    let only = match (&who, named(&[request.query("sessionId")])?) {
        (_, Some(id)) => Some(gateway.authorise(&who, &id)?),
        (Principal::Session(own), None) => Some(own.clone()),
        (Principal::Master, None) => None,
    };
    let after = match request
        .header("last-event-id")
        .or_else(|| request.query("lastEventId"))
    {
        None => *gateway.newest_event().borrow(),
        Some(id) => id
            .parse()
            .map_err(|_| Error::invalid("Last-Event-ID must be a number"))?,
    };
    let holder = match &who {
        Principal::Session(own) => Some(own.number),
        Principal::Master => None,
    };
    let place = open.take(holder).ok_or_else(|| {
        let text = "Too many event streams are open; one can carry all events of a session";
        Error::new(Code::TooManyStreams, text)
    })?;
    let (sender, receiver) = mpsc::channel(PAGE);
    let token = match who {
        Principal::Session(_) => request.bearer().map(str::to_owned),
        Principal::Master => None,
    };
    // Ends when the client hangs up, the session or its token goes, or the program stops.
    gateway.clone().tasks().spawn(async move {
        let _place = place;
        let _ = feed(&gateway, only, token, after, sender).await;
    });
    Ok(sse::reply(receiver))
}

/// Reads the log whenever it grows and passes it on, until nobody listens.
async fn feed(
    gateway: &Arc<Gateway>,
    only: Option<Arc<Session>>,
    token: Option<String>,
    mut after: u64,
    sender: mpsc::Sender<sse::Event>,
) -> Option<()> {
    let mut newest = gateway.newest_event();
    let mut session = only.as_ref().map(|session| session.watch());
    loop {
        newest.borrow_and_update();
        loop {
            let page = gateway.events_after(only.as_deref(), after, PAGE);
            let page = page.inspect_err(|error| {
                tracing::error!(?error, "the event log cannot be read");
            });
            let page = page.ok()?;
            let full = page.len() >= PAGE;
            for (number, event) in page {
                after = number;
                // What the owner writes on the phone is no event in v1, as in the original program.
                if event.is_own_message() {
                    continue;
                }
                let event = sse::Event {
                    id: number.to_string(),
                    name: event.kind().as_str().to_owned(),
                    data: body(number, &event).to_string(),
                };
                sender.send(event).await.ok()?;
            }
            if !full {
                break;
            }
        }
        tokio::select! {
            changed = newest.changed() => changed.ok()?,
            () = changed(&mut session) => {}
            () = sender.closed() => return None,
        }
        let gone = only
            .as_ref()
            .is_some_and(|s| gateway.sessions().by_number(s.number).is_none());
        let revoked = token
            .as_ref()
            .is_some_and(|token| gateway.session_by_token(token).is_none());
        if gone || revoked {
            return None;
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
