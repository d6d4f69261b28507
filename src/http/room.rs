//! The room for connections: who has a seat, and who gives it up when all are taken.
//!
//! A connection that waits for its client (between requests, within a head, before an answer that
//! the client does not take) gives way to who comes; one that is being worked for does not. So a
//! stranger who holds connections holds up nobody, and an idle client keeps its own while there is
//! room.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How long a client must have stopped within a request or an answer before its connection gives
/// way: a line that stutters is no reason.
const STALLED: u64 = 1000;

/// How often it is looked again for a seat while all are busy.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// No time: the connection is not in that state.
const NOT: u64 = u64::MAX;
/// In the place of a time: the connection was told to give way.
const LEAVING: u64 = u64::MAX - 1;

/// All seats of a listener.
pub(super) struct Room {
    most: usize,
    per_address: usize,
    began: Instant,
    seats: Mutex<Seats>,
    left: Notify,
}

#[derive(Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, Arc<Seat>>,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's seat, as the connection itself tells of it.
///
/// Times are milliseconds since the room began. A request costs two stores and no lock.
pub(super) struct Seat {
    began: Instant,
    address: Option<IpAddr>,
    /// Since when no request is under way.
    idle: AtomicU64,
    /// Since when its client neither sends nor takes what is due.
    stalled: AtomicU64,
    upgraded: AtomicBool,
    leave: Notify,
}

impl Seat {
    pub(super) fn new(began: Instant, address: Option<IpAddr>) -> Self {
        let seat = Self {
            began,
            address,
            idle: AtomicU64::new(NOT),
            stalled: AtomicU64::new(NOT),
            upgraded: AtomicBool::new(false),
            leave: Notify::new(),
        };
        seat.is_idle();
        seat
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(0)
    }

    /// A request is under way from here on.
    pub(super) fn works(&self) {
        self.idle.store(NOT, Ordering::Relaxed);
    }

    /// The answer was sent: it waits for another request.
    pub(super) fn is_idle(&self) {
        self.idle.store(self.now(), Ordering::Relaxed);
    }

    /// It speaks another protocol now, whose silence means nothing.
    pub(super) fn is_upgraded(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    /// The client lets it wait in the midst of something.
    pub(super) fn stalls(&self) {
        let now = self.now();
        let stalled = &self.stalled;
        let _ = stalled.compare_exchange(NOT, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The client moved again.
    pub(super) fn moves(&self) {
        self.stalled.store(NOT, Ordering::Relaxed);
    }

    /// Comes back when somebody needs the seat.
    pub(super) async fn wanted(&self) {
        self.leave.notified().await;
    }

    /// Whether it has to go, by whoever serves it: a request may have come in the meantime.
    pub(super) fn must_leave(&self) -> bool {
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled == LEAVING {
            return true;
        }
        if self.idle.load(Ordering::Relaxed) != LEAVING {
            return false;
        }
        if stalled == NOT {
            return true;
        }
        // The last of its answer is still being sent.
        self.is_idle();
        false
    }

    /// Tells it to give way, if it is still in the state that was seen.
    fn tell(&self, state: &AtomicU64, seen: u64) -> bool {
        let told = state.compare_exchange(seen, LEAVING, Ordering::Relaxed, Ordering::Relaxed);
        if told.is_ok() {
            self.leave.notify_one();
        }
        told.is_ok()
    }
}

/// A seat that is taken for as long as this lives.
pub(super) struct TakenSeat {
    room: Arc<Room>,
    number: u64,
    pub(super) seat: Arc<Seat>,
}

impl Room {
    /// A room of so many seats; at most `per_address` of them for one address.
    pub(super) fn new(most: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            per_address,
            began: Instant::now(),
            seats: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// Takes a seat as soon as there is one. `None` when the address has as many as it may, and
    /// all of them are busy. No `address` means that many people may stand behind it.
    pub(super) async fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<TakenSeat> {
        loop {
            {
                let mut seats = self.seats();
                let own = address.map_or(0, |ip| seats.by_address.get(&ip).copied().unwrap_or(0));
                if own >= self.per_address && !self.make_room(&seats, address) {
                    return None;
                }
                if seats.taken.len() < self.most {
                    return Some(self.seated(&mut seats, address));
                }
                self.make_room(&seats, None);
            }
            // Whoever becomes idle does not say so.
            let _ = timeout(LOOK_AGAIN, self.left.notified()).await;
        }
    }

    /// Has one connection give way, because something is short that they all need.
    pub(super) fn yield_one(&self) {
        self.make_room(&self.seats(), None);
    }

    fn seated(self: &Arc<Self>, seats: &mut Seats, address: Option<IpAddr>) -> TakenSeat {
        let number = seats.next;
        seats.next += 1;
        let seat = Arc::new(Seat::new(self.began, address));
        seats.taken.insert(number, seat.clone());
        if let Some(ip) = address {
            *seats.by_address.entry(ip).or_default() += 1;
        }
        TakenSeat {
            room: self.clone(),
            number,
            seat,
        }
    }

    /// Tells the one that has been idle longest to leave, or else the one whose client has stopped
    /// longest; of all, or of one address. Answers whether there is one.
    fn make_room(&self, seats: &Seats, address: Option<IpAddr>) -> bool {
        let candidates = || {
            seats.taken.values().filter(move |seat| {
                !seat.upgraded.load(Ordering::Relaxed)
                    && (address.is_none() || seat.address == address)
            })
        };
        let stalled = |seat: &Seat| seat.stalled.load(Ordering::Relaxed);
        let idle = candidates()
            .filter(|seat| stalled(seat) == NOT)
            .map(|seat| (seat.idle.load(Ordering::Relaxed), seat))
            .filter(|(since, _)| *since < LEAVING)
            .min_by_key(|(since, _)| *since);
        if let Some((since, seat)) = idle
            && seat.tell(&seat.idle, since)
        {
            return true;
        }
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(0);
        candidates()
            .map(|seat| (stalled(seat), seat))
            .filter(|(since, _)| *since < LEAVING && now.saturating_sub(*since) >= STALLED)
            .min_by_key(|(since, _)| *since)
            .is_some_and(|(since, seat)| seat.tell(&seat.stalled, since))
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TakenSeat {
    fn drop(&mut self) {
        let mut seats = self.room.seats();
        seats.taken.remove(&self.number);
        if let Some(ip) = self.seat.address
            && let Some(count) = seats.by_address.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                seats.by_address.remove(&ip);
            }
        }
        drop(seats);
        self.room.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    /// A room that has been open for a minute.
    fn room(most: usize, per_address: usize) -> Arc<Room> {
        let mut room = Room::new(most, per_address);
        Arc::get_mut(&mut room).expect("nobody else").began -= Duration::from_secs(60);
        room
    }

    fn idle_since(taken: &TakenSeat, ms: u64) {
        taken.seat.idle.store(ms, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn the_longest_idle_gives_way_and_the_busy_does_not() {
        let room = room(3, 3);
        let mut taken = Vec::new();
        for last in 1..=3 {
            taken.push(room.take(ip(last)).await.expect("room"));
        }
        taken[0].seat.works();
        idle_since(&taken[1], 20);
        idle_since(&taken[2], 10);
        room.yield_one();
        let told = |n: usize| taken[n].seat.must_leave();
        assert!(!told(0) && !told(1) && told(2));
        // A request that came in the same moment is answered.
        taken[2].seat.works();
        assert!(!told(2));
    }

    #[tokio::test]
    async fn an_answer_that_is_still_being_sent_is_sent() {
        let room = room(1, 1);
        let only = room.take(None).await.expect("room");
        idle_since(&only, 10);
        room.yield_one();
        only.seat.stalls();
        assert!(!only.seat.must_leave());
        only.seat.moves();
        room.yield_one();
        assert!(only.seat.must_leave());
    }

    #[tokio::test]
    async fn a_client_that_stopped_gives_way_when_nobody_is_idle() {
        let room = room(2, 2);
        let first = room.take(None).await.expect("room");
        let second = room.take(None).await.expect("room");
        first.seat.works();
        second.seat.works();
        first.seat.stalls();
        room.yield_one();
        assert!(!first.seat.must_leave(), "for a moment only");
        first.seat.stalled.store(10, Ordering::Relaxed);
        room.yield_one();
        assert!(first.seat.must_leave() && !second.seat.must_leave());
    }

    #[tokio::test]
    async fn an_address_displaces_itself_first_and_is_refused_when_all_its_own_are_busy() {
        let room = room(10, 2);
        let other = room.take(ip(9)).await.expect("room");
        let first = room.take(ip(1)).await.expect("room");
        let second = room.take(ip(1)).await.expect("room");
        idle_since(&other, 1);
        idle_since(&first, 2);
        let third = room.take(ip(1)).await.expect("the first gives way");
        assert!(first.seat.must_leave() && !other.seat.must_leave());
        drop(first);
        second.seat.works();
        third.seat.works();
        assert!(room.take(ip(1)).await.is_none());
        assert!(room.take(ip(2)).await.is_some(), "another is not refused");
        drop(second);
        assert!(room.take(ip(1)).await.is_some());
    }

    #[tokio::test]
    async fn who_waits_gets_the_first_seat_that_is_free() {
        let room = room(1, 1);
        let only = room.take(None).await.expect("room");
        only.seat.works();
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { room.take(None).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(only);
        assert!(waiting.await.expect("no panic"));
    }

    #[tokio::test]
    async fn another_protocol_is_never_idle() {
        let room = room(1, 1);
        let only = room.take(None).await.expect("room");
        only.seat.is_upgraded();
        idle_since(&only, 1);
        room.yield_one();
        assert!(!only.seat.must_leave());
    }
}
