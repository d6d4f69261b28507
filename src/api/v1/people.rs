//! Answers that hold people: a page of them, or all, written while they are read.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::api::read::number;
use crate::error::{Code, Error, Result};
use crate::http::{Reply, Request};
use crate::json::Object;

/// How many people a page shows when nothing else is asked for, and at most.
pub(super) const SHOWN: usize = 1000;
const SHOWN_AT_MOST: usize = 10_000;

/// The page that a client asks for.
pub(super) struct AskedPage {
    /// Where it begins.
    pub(super) from: u32,
    /// How many it shows at most.
    pub(super) rows: usize,
}

/// The page that the query asks for; `None` when all people are wanted.
pub(super) fn asked_page(request: &Request) -> Result<Option<AskedPage>> {
    const LAST: usize = u32::MAX as usize;
    let names = ["after", "offset", "limit"];
    if names.iter().all(|name| request.query(name).is_none()) {
        return Ok(None);
    }
    let offset = number(request, "offset", 0, LAST)?;
    Ok(Some(AskedPage {
        from: number(request, "after", offset, LAST)? as u32,
        rows: number(request, "limit", SHOWN, SHOWN_AT_MOST)?,
    }))
}

/// What an answer says that does not show everybody, so that nobody takes it for the whole.
#[derive(Serialize)]
pub(super) struct PageNote {
    shown: usize,
    of: u32,
}

impl PageNote {
    /// `None` when everybody is shown.
    pub(super) fn of(shown: usize, all: u32) -> Option<Self> {
        (shown < all as usize).then_some(Self { shown, of: all })
    }
}

/// Refuses people that are a page of those whose place they would take: the others would be lost
/// without a word.
pub(super) fn refuse_page(body: &Object) -> Result<()> {
    let says = |name: &str| body.get(name).is_some_and(|value| *value != Value::Null);
    if says("page") || says("next") {
        return Err(Code::RecipientsArePage.into());
    }
    Ok(())
}

/// Rows as JSON, with commas between them, and where the next begin.
pub(super) struct JsonRows {
    /// The rows.
    pub(super) text: String,
    /// How many there are.
    count: usize,
    /// Where the next begin; `None` at the end.
    pub(super) next: Option<u32>,
}

impl JsonRows {
    /// Writes them.
    pub(super) fn of<T: Serialize>(rows: &[T], next: Option<u32>) -> Result<Self> {
        let mut text = serde_json::to_string(rows).map_err(Error::internal)?;
        text.pop();
        text.remove(0);
        Ok(Self {
            text,
            count: rows.len(),
            next,
        })
    }
}

/// An object that is left open at its `recipients`.
pub(super) fn opened(head: &impl Serialize) -> Result<String> {
    let mut text = serde_json::to_string(head).map_err(Error::internal)?;
    text.pop();
    text.push_str(",\"recipients\":[");
    Ok(text)
}

/// An object with all its people, or with those of a status: they are a page `of` so many, unless they are
/// everybody. What does not fit into the first rows is read while it is sent, one page after the other; when that
/// fails the connection is cut, so that no part passes for the whole.
pub(super) fn with_everybody<F, Out>(
    head: &impl Serialize,
    first: JsonRows,
    of: Option<u32>,
    more: F,
) -> Result<Reply>
where
    F: Fn(u32) -> Out + Send + 'static,
    Out: Future<Output = Result<JsonRows>> + Send + 'static,
{
    let text = opened(head)? + &first.text;
    let Some(next) = first.next else {
        return Ok(Reply::bytes(
            "application/json",
            text + &end(first.count, of)?,
        ));
    };
    // So many were sent, and what stands before the next.
    let sent = Arc::new(AtomicUsize::new(first.count));
    let more = move |at| {
        let (rows, sent) = (more(at), sent.clone());
        async move {
            let JsonRows { text, count, next } = rows.await?;
            let before = sent.fetch_add(count, Ordering::Relaxed);
            let comma = match before == 0 || count == 0 {
                true => "",
                false => ",",
            };
            let end = match next {
                None => end(before + count, of)?,
                Some(_) => String::new(),
            };
            Ok((format!("{comma}{text}{end}").into(), next))
        }
    };
    let pages = pages(text.into(), next, more);
    Ok(Reply::try_stream("application/json", None, pages))
}

/// What closes an object of so many people.
fn end(shown: usize, of: Option<u32>) -> Result<String> {
    let Some(note) = of.and_then(|all| PageNote::of(shown, all)) else {
        return Ok("]}\n".to_owned());
    };
    let note = serde_json::to_string(&note).map_err(Error::internal)?;
    Ok(format!("],\"page\":{note}}}\n"))
}

/// A sheet to save under a name, made while it is sent: its header, and then page by page what `more`
/// reads from a position on.
pub(super) fn sheet<F, Out>(name: &str, header: Vec<u8>, more: F) -> Reply
where
    F: Fn(u32) -> Out + Send + 'static,
    Out: Future<Output = Result<(Bytes, Option<u32>)>> + Send + 'static,
{
    let pages = pages(header.into(), 0, more);
    Reply::try_stream("text/csv; charset=utf-8", None, pages).attachment(&format!("{name}.csv"))
}

/// The beginning, and then each page when the one before was taken: never more than one is in memory.
fn pages<F, Out>(begin: Bytes, from: u32, more: F) -> impl Stream<Item = Result<Bytes>> + Send
where
    F: Fn(u32) -> Out + Send + 'static,
    Out: Future<Output = Result<(Bytes, Option<u32>)>> + Send + 'static,
{
    let rest = stream::try_unfold(Some(from), move |at| {
        let page = at.map(&more);
        async move {
            match page {
                Some(page) => page.await.map(Some),
                None => Ok(None),
            }
        }
    });
    stream::once(async move { Ok(begin) }).chain(rest)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_page_is_read_only_when_the_one_before_was_taken() {
        let read = Arc::new(AtomicU32::new(0));
        let counted = read.clone();
        let more = move |at: u32| {
            counted.store(at, Ordering::SeqCst);
            async move { Ok((Bytes::from(at.to_string()), (at < 3).then_some(at + 1))) }
        };
        let mut stream = std::pin::pin!(pages(Bytes::from("begin"), 1, more));
        for (taken, reads) in [("begin", 0), ("1", 1), ("2", 2), ("3", 3)] {
            let page = stream.next().await.expect("a page").expect("read");
            assert_eq!(page, taken);
            assert_eq!(read.load(Ordering::SeqCst), reads);
        }
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn the_pages_are_one_object_and_a_failure_is_no_end_of_it() {
        let head = json!({ "id": 1 });
        let first = || JsonRows::of(&[1, 2], Some(2)).expect("JSON");
        let more = |at: u32| async move {
            match at {
                2 => JsonRows::of(&[3], Some(3)),
                // The rest may turn out to be nothing.
                _ => JsonRows::of::<u32>(&[], None),
            }
        };
        for (of, page) in [
            (None, ""),
            (Some(3), ""),
            (Some(5), ",\"page\":{\"shown\":3,\"of\":5}"),
        ] {
            let reply = with_everybody(&head, first(), of, more).expect("a reply");
            let body = reply.into_bytes().await.expect("whole");
            assert_eq!(body, format!("{{\"id\":1,\"recipients\":[1,2,3]{page}}}\n"));
        }
        // Of those that are wanted there may be none at first.
        let nobody = JsonRows::of::<u32>(&[], Some(2)).expect("JSON");
        let reply = with_everybody(&head, nobody, Some(2), more).expect("a reply");
        let body = reply.into_bytes().await.expect("whole");
        assert_eq!(
            body,
            "{\"id\":1,\"recipients\":[3],\"page\":{\"shown\":1,\"of\":2}}\n"
        );
        let fails = |_| async { Err(Error::from(Code::ChangedWhileRead)) };
        let reply = with_everybody(&head, first(), None, fails).expect("a reply");
        assert!(reply.into_bytes().await.is_err());
        let none = JsonRows::of::<u32>(&[], None).expect("JSON");
        let reply = with_everybody(&head, none, None, fails).expect("a reply");
        let body = reply.into_bytes().await.expect("whole");
        assert_eq!(body, "{\"id\":1,\"recipients\":[]}\n");
    }

    #[test]
    fn people_of_a_page_are_refused() {
        let refused = |body: Value| match body {
            Value::Object(body) => refuse_page(&body).is_err(),
            _ => unreachable!("an object"),
        };
        assert!(refused(json!({ "page": { "shown": 1000, "of": 1501 } })));
        assert!(refused(json!({ "next": 1000 })));
        assert!(!refused(json!({ "next": null, "page": null })));
        assert!(!refused(json!({ "name": "x" })));
    }
}
