//! Connections that wait for another request to the same place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, sleep, timeout};

use super::outbody::Sending;
use super::target::{CheckedUrl, HostPart};

/// How long a connection waits. Most servers close theirs after 5 to 75 seconds.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// How many wait for each place, and how many in all.
const PER_PLACE: usize = 2;
const IN_ALL: usize = 64;
/// How long a connection may take to be ready again after its last answer.
const SETTLE: Duration = Duration::from_millis(100);

/// One end of a connection: requests go in here.
pub(super) type Sender = SendRequest<Sending>;

/// The place a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    https: bool,
    host: HostPart,
    port: u16,
}

impl PoolKey {
    pub(super) fn of(target: &CheckedUrl) -> Self {
        Self {
            https: target.is_https(),
            host: target.host.clone(),
            port: target.port,
        }
    }
}

/// Idle connections by place.
#[derive(Default)]
pub(super) struct Pool(Mutex<PoolWaiter>);

#[derive(Default)]
struct PoolWaiter {
    places: HashMap<PoolKey, Vec<(Instant, Sender)>>,
    /// A task will close what waits too long.
    is_swept: bool,
}

impl Pool {
    /// A connection that is open and ready.
    pub(super) async fn take(&self, key: &PoolKey) -> Option<Sender> {
        loop {
            let mut sender = self.newest(key)?;
            if let Ok(Ok(())) = timeout(SETTLE, sender.ready()).await {
                return Some(sender);
            }
        }
    }

    fn newest(&self, key: &PoolKey) -> Option<Sender> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = pool.places.get_mut(key)?;
        while let Some((since, sender)) = waiting.pop() {
            if is_fresh(since, &sender) {
                return Some(sender);
            }
        }
        pool.places.remove(key);
        None
    }

    /// Keeps a connection for the next request, if there is room.
    pub(super) fn keep(self: &Arc<Self>, key: PoolKey, sender: Sender) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = pool.places.values().map(Vec::len).sum();
        let waiting = pool.places.entry(key).or_default();
        if all < IN_ALL && waiting.len() < PER_PLACE {
            waiting.push((Instant::now(), sender));
        }
        if !std::mem::replace(&mut pool.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what is not fresh; false when nothing waits any more.
    fn close_stale(&self) -> bool {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.places.retain(|_, waiting| {
            waiting.retain(|(since, sender)| is_fresh(*since, sender));
            !waiting.is_empty()
        });
        pool.is_swept = !pool.places.is_empty();
        pool.is_swept
    }
}

fn is_fresh(since: Instant, sender: &Sender) -> bool {
    since.elapsed() < MAX_IDLE && !sender.is_closed()
}

/// Closes stale connections until none is left, or nobody has the pool.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(MAX_IDLE).await;
        match pool.upgrade() {
            Some(pool) if pool.close_stale() => {}
            _ => return,
        }
    }
}
