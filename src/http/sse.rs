//! Server-sent events: a reply that stays open and brings an event whenever there is one.

use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Reply;

/// How often a silent stream shows that it lives; proxies close what is silent for a minute.
const PING: Duration = Duration::from_secs(15);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// What the client gives back as `Last-Event-ID`; none when empty.
    pub id: String,
    /// Its type; `message` when empty.
    pub name: String,
    /// Its text, of any number of lines.
    pub data: String,
}

/// Sends events as they come, until the sender, the client or the program ends.
pub fn reply(events: Receiver<SseEvent>) -> Reply {
    with_pings(events, PING)
}

fn with_pings(events: Receiver<SseEvent>, every: Duration) -> Reply {
    let mut pings = interval_at(Instant::now() + every, every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = Events {
        events,
        pings,
        greeted: false,
    };
    // nginx would hold events back until its buffer is full.
    Reply::endless("text/event-stream", stream)
        .header("x-accel-buffering", "no")
        .no_store()
}

struct Events {
    events: Receiver<SseEvent>,
    pings: Interval,
    greeted: bool,
}

impl Stream for Events {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        // Some clients call a stream open only when its first bytes are there.
        if !std::mem::replace(&mut this.greeted, true) {
            return Poll::Ready(Some(Bytes::from_static(b":\n\n")));
        }
        if let Poll::Ready(event) = this.events.poll_recv(cx) {
            this.pings.reset();
            return Poll::Ready(event.map(|event| written(&event).into()));
        }
        this.pings
            .poll_tick(cx)
            .map(|_| Some(Bytes::from_static(b":\n\n")))
    }
}

/// The event as its standard writes it. No line break in `id` or `name` begins a line.
fn written(event: &SseEvent) -> String {
    let mut text = String::with_capacity(event.data.len() + 64);
    for (field, value) in [("id", &event.id), ("event", &event.name)] {
        if !value.is_empty() {
            let value = value.replace(['\r', '\n', '\0'], " ");
            // Writing to a string does not fail.
            let _ = writeln!(text, "{field}: {value}");
        }
    }
    let data = event.data.replace("\r\n", "\n").replace('\r', "\n");
    for line in data.split('\n') {
        let _ = writeln!(text, "data: {line}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use hyper::body::Body;

    use super::*;

    #[test]
    fn a_line_break_cannot_forge_a_field() {
        let event = SseEvent {
            id: "7\ndata: x".into(),
            name: "a\rb".into(),
            data: "one\r\ntwo\rthree\n".into(),
        };
        assert_eq!(
            written(&event),
            "id: 7 data: x\nevent: a b\ndata: one\ndata: two\ndata: three\ndata: \n\n"
        );
    }

    #[tokio::test]
    async fn a_silent_stream_shows_that_it_lives() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let mut body = with_pings(receiver, Duration::from_millis(10))
            .0
            .into_body();
        let mut piece = async || {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            frame.map(|frame| frame.expect("no failure").into_data().expect("data"))
        };
        // The greeting and two pings, and then what there is.
        for _ in 0..3 {
            assert_eq!(piece().await.as_deref(), Some(&b":\n\n"[..]));
        }
        drop(sender);
        assert_eq!(piece().await, None);
    }
}
