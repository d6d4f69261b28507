//! Lanes, claims and dead letters; then random histories against a small model.

use super::*;
use crate::store::faults::SimulatedDisk;
use crate::store::tables::QUEUE_LANES;
use crate::store::{Disk, Durability, StoreOptions, Table, Tx};

const Q: u8 = 5;

struct Rig {
    store: Store,
    clock: Clock,
    queue: Queue,
}

impl Rig {
    fn new() -> Self {
        let store = Store::open(
            Disk::Simulated(SimulatedDisk::new()),
            StoreOptions::default(),
        )
        .unwrap();
        let clock = Clock::manual(at(0));
        let queue = Queue::new(&store, Q, clock.clone(), Duration::from_secs(3600));
        Self {
            store,
            clock,
            queue,
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Tx) -> Result<T> + Send + 'static,
    ) -> T {
        self.store.write(Durability::Lazy, f).await.unwrap()
    }

    async fn enqueue(&self, lane: &'static str, order: LaneOrder, due: i64, payload: &'static str) {
        self.write(move |tx| enqueue(tx, Q, lane.as_bytes(), order, at(due), payload.as_bytes()))
            .await;
    }

    fn claim(&self, limit: usize) -> Vec<Claim> {
        self.queue.claim(limit).unwrap()
    }

    async fn settle(
        &self,
        claim: &Claim,
        f: impl FnOnce(&mut Tx, &Claim) -> Result<bool> + Send + 'static,
    ) -> bool {
        let claim = claim.clone();
        self.write(move |tx| f(tx, &claim)).await
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn payloads(claims: &[Claim]) -> Vec<String> {
    claims
        .iter()
        .map(|c| String::from_utf8(c.payload.to_vec()).unwrap())
        .collect()
}

#[tokio::test]
async fn an_ordered_lane_waits_for_its_head_and_another_lane_does_not() {
    let rig = Rig::new();
    rig.enqueue("a", LaneOrder::Fifo, 0, "a1").await;
    rig.enqueue("a", LaneOrder::Fifo, 0, "a2").await;
    rig.enqueue("b", LaneOrder::Fifo, 0, "b1").await;
    let claims = rig.claim(10);
    assert_eq!(payloads(&claims), ["a1", "b1"]);
    assert!(
        rig.claim(10).is_empty(),
        "what is claimed is not claimed again"
    );
    assert!(
        rig.settle(&claims[0], |tx, c| retry_at(tx, c, at(50)))
            .await
    );
    drop(claims);
    assert_eq!(payloads(&rig.claim(10)), ["b1"], "a2 waits behind a1");
    rig.clock.advance(Duration::from_millis(50));
    let again = rig.claim(10);
    assert_eq!(payloads(&again), ["b1", "a1"]);
    assert_eq!(again[1].attempts, 1);
    assert!(rig.settle(&again[1], done).await);
    drop(again);
    assert_eq!(payloads(&rig.claim(10)), ["a2", "b1"]);
}

#[tokio::test]
async fn a_head_steps_aside_and_what_waits_is_found_hastened_and_removed() {
    let rig = Rig::new();
    for payload in ["a1", "a2", "a3"] {
        rig.enqueue("a", LaneOrder::Fifo, 0, payload).await;
    }
    let head = rig.claim(9).remove(0);
    let behind = rig.store.read(|read| behind(read, &head, 9)).unwrap();
    assert_eq!(payloads(&behind), ["a2", "a3"]);
    // One that was behind is done first; nobody else can claim meanwhile.
    assert!(rig.settle(&behind[1], done).await);
    drop(behind);
    assert!(rig.claim(9).is_empty());
    assert!(
        rig.settle(&head, |tx, c| move_to(tx, c, b"a aside", at(70)))
            .await
    );
    assert!(!rig.settle(&head, done).await, "it is elsewhere");
    drop(head);
    assert_eq!(payloads(&rig.claim(9)), ["a2"]);
    assert_eq!(rig.queue.next_due().unwrap(), Some(at(0)));
    let find = |lane: &'static [u8], payload: &'static [u8]| {
        rig.store.read(|read| find(read, Q, lane, payload)).unwrap()
    };
    assert!(find(b"a", b"a1").is_none());
    let aside = find(b"a aside", b"a1").expect("it is there");
    rig.write(move |tx| hasten_row(tx, &aside, at(0))).await;
    let claims = rig.claim(9);
    assert_eq!(payloads(&claims), ["a2", "a1"]);
    assert_eq!(claims[1].attempts, 1);
    assert!(
        rig.settle(&claims[0], |tx, c| retry_at(tx, c, at(500)))
            .await
    );
    drop(claims);
    let later = |rig: &Rig| rig.store.read(|read| later_lanes(read, Q, at(0))).unwrap();
    assert_eq!(later(&rig), [b"a".to_vec(), b"a aside".to_vec()]);
    assert_eq!(rig.write(|tx| hasten(tx, Q, b"a", at(0), 9)).await, 1);
    assert_eq!(later(&rig), [b"a aside".to_vec()]);
    let row = find(b"a", b"a2").expect("it is there");
    let claim = rig.claim(9);
    rig.write(move |tx| remove(tx, &row)).await;
    assert!(!rig.settle(&claim[0], done).await, "it was removed");
    drop(claim);
    assert_eq!(payloads(&rig.claim(9)), ["a1"]);
    let left = rig.store.read(|read| lane_len(read, Q, b"a")).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_row_that_waits_for_its_retry_holds_up_nobody_in_a_lane_by_due_time() {
    let rig = Rig::new();
    for payload in ["c1", "c2", "c3"] {
        rig.enqueue("c", LaneOrder::ByDue, 0, payload).await;
    }
    rig.enqueue("c", LaneOrder::ByDue, 90, "later").await;
    let claims = rig.claim(2);
    assert_eq!(payloads(&claims), ["c1", "c2"]);
    assert!(
        rig.settle(&claims[0], |tx, c| retry_at(tx, c, at(80)))
            .await
    );
    assert!(rig.settle(&claims[1], done).await);
    drop(claims);
    let next = rig.claim(9);
    assert_eq!(payloads(&next), ["c3"]);
    assert_eq!(rig.queue.next_due().unwrap(), Some(at(80)));
    rig.clock.advance(Duration::from_millis(100));
    assert_eq!(payloads(&rig.claim(9)), ["c1", "later"]);
    assert_eq!(rig.store.read(|r| lane_len(r, Q, b"c")).unwrap(), 3);
}

#[tokio::test]
async fn many_lanes_share_what_one_call_may_claim() {
    let rig = Rig::new();
    for lane in ["x", "y"] {
        for _ in 0..10 {
            rig.enqueue(lane, LaneOrder::ByDue, 0, lane).await;
        }
    }
    rig.enqueue("z", LaneOrder::Fifo, 0, "z").await;
    let mut got = payloads(&rig.claim(7));
    got.sort();
    assert_eq!(got, ["x", "x", "x", "y", "y", "y", "z"]);
}

#[tokio::test]
async fn a_claim_is_settled_once() {
    let rig = Rig::new();
    rig.enqueue("a", LaneOrder::Fifo, 0, "a1").await;
    let claim = rig.claim(1).pop().unwrap();
    assert!(rig.settle(&claim, done).await);
    assert!(!rig.settle(&claim, done).await, "it is settled already");
    drop(claim);
    assert!(rig.claim(1).is_empty());
}

#[tokio::test]
async fn a_deleted_lane_is_not_brought_back_by_its_claims() {
    let rig = Rig::new();
    rig.enqueue("a", LaneOrder::Fifo, 0, "a1").await;
    rig.enqueue("ab", LaneOrder::Fifo, 0, "other lane").await;
    let claims = rig.claim(2);
    rig.write(|tx| delete_page(tx, Q, b"a", 10)).await;
    assert!(!rig.settle(&claims[0], |tx, c| retry_at(tx, c, at(1))).await);
    assert!(rig.settle(&claims[1], done).await);
    assert_eq!(rig.queue.next_due().unwrap(), None);
}

#[tokio::test]
async fn a_worker_sleeps_until_there_is_work() {
    let rig = Rig::new();
    let ready = rig.queue.ready();
    let mut ready = pin!(ready);
    let soon = Duration::from_millis(20);
    assert!(tokio::time::timeout(soon, ready.as_mut()).await.is_err());
    rig.enqueue("a", LaneOrder::Fifo, 0, "a1").await;
    ready.await.unwrap();
    let claim = rig.claim(1);
    rig.enqueue("a", LaneOrder::Fifo, 0, "a2").await;
    let mut ready = pin!(rig.queue.ready());
    assert!(
        tokio::time::timeout(soon, ready.as_mut()).await.is_err(),
        "the lane is claimed"
    );
    drop(claim);
    ready.await.unwrap();
}

#[tokio::test]
async fn a_claim_is_held_until_its_settlement_is_committed() {
    let rig = Rig::new();
    rig.enqueue("a", LaneOrder::ByDue, 0, "a1").await;
    let claim = rig.claim(1).pop().unwrap();
    let queue = rig.queue.clone();
    // The operation takes the last clone along; the one behind it runs in the same batch.
    let (open_gate, gate) = std::sync::mpsc::channel::<()>();
    let first = rig.write(move |_| {
        gate.recv().unwrap();
        Ok(())
    });
    let settled = rig.write(move |tx| done(tx, &claim));
    let behind = rig.write(move |_| queue.claim(1));
    // Polled last: all three have been handed to the writer by then.
    let gatekeeper = async { open_gate.send(()).unwrap() };
    let (_, settled, behind, ()) = tokio::join!(first, settled, behind, gatekeeper);
    assert!(settled && behind.is_empty());
}

/// Damages the row of this place in a table of the queue.
async fn damage(rig: &Rig, table: Table, place: usize) {
    let rows = rig.store.read(|read| read.prefix(table, &[Q], None, 100));
    let key = rows.unwrap()[place].0.clone();
    rig.write(move |tx| {
        tx.put(table, key, b"\x01{");
        Ok(())
    })
    .await;
}

/// Does everything that is due, one after the other; answers what it was.
async fn do_all(rig: &Rig) -> Vec<String> {
    let mut did = Vec::new();
    while let Some(claim) = rig.claim(1).pop() {
        did.extend(payloads(std::slice::from_ref(&claim)));
        assert!(rig.settle(&claim, done).await);
    }
    did
}

fn nothing_is_left(rig: &Rig) {
    for table in [QUEUE_ROWS, QUEUE_LANES, QUEUE_DUE] {
        let left = rig.store.read(|read| read.prefix(table, &[Q], None, 9));
        assert!(left.unwrap().is_empty(), "{}", table.name());
    }
    assert_eq!(rig.queue.next_due().unwrap(), None);
}

#[tokio::test]
async fn a_damaged_row_loses_only_itself() {
    for order in [LaneOrder::Fifo, LaneOrder::ByDue] {
        for place in 0..3 {
            let rig = Rig::new();
            let mut left = vec!["a0", "a1", "a2"];
            for payload in &left {
                rig.enqueue("a", order, 0, payload).await;
            }
            damage(&rig, QUEUE_ROWS, place).await;
            left.remove(place);
            let head = rig.store.read(|read| head(read, Q, b"a")).unwrap();
            assert_eq!(head.as_deref(), Some(left[0].as_bytes()));
            let gone = left[1].as_bytes();
            let found = rig.store.read(|read| find(read, Q, b"a", gone)).unwrap();
            assert!(found.is_some(), "{order:?} {place}");
            rig.write(|tx| hasten(tx, Q, b"a", at(0), 9)).await;
            assert_eq!(do_all(&rig).await, left, "{order:?} {place}");
            nothing_is_left(&rig);
        }
    }
}

#[tokio::test]
async fn a_damaged_lane_is_what_its_rows_say() {
    for order in [LaneOrder::Fifo, LaneOrder::ByDue] {
        let rig = Rig::new();
        rig.enqueue("a", order, 0, "a1").await;
        rig.enqueue("b", order, 0, "b1").await;
        damage(&rig, QUEUE_LANES, 0).await;
        assert_eq!(rig.store.read(|read| len(read, Q)).unwrap(), 2);
        let later = rig.store.read(|read| later_lanes(read, Q, at(0)));
        later.unwrap();
        rig.enqueue("a", order, 0, "a2").await;
        assert_eq!(rig.store.read(|r| lane_len(r, Q, b"a")).unwrap(), 2);
        damage(&rig, QUEUE_LANES, 0).await;
        let mut did = do_all(&rig).await;
        did.sort();
        assert_eq!(did, ["a1", "a2", "b1"]);
        nothing_is_left(&rig);
    }
}

#[tokio::test]
async fn a_lane_of_damaged_rows_is_not_due_and_takes_others() {
    for order in [LaneOrder::Fifo, LaneOrder::ByDue] {
        let rig = Rig::new();
        rig.enqueue("a", order, 0, "a1").await;
        damage(&rig, QUEUE_ROWS, 0).await;
        damage(&rig, QUEUE_LANES, 0).await;
        // Or a worker would not sleep.
        assert_eq!(rig.queue.next_due().unwrap(), None);
        assert!(rig.claim(9).is_empty());
        rig.enqueue("a", order, 0, "a2").await;
        assert_eq!(do_all(&rig).await, ["a2"]);
        let rows = rig
            .store
            .read(|read| read.prefix(QUEUE_ROWS, &[Q], None, 9));
        assert!(rows.unwrap().is_empty());
        assert_eq!(rig.queue.next_due().unwrap(), None);
    }
}

#[tokio::test]
async fn a_damaged_entry_of_the_schedule_keeps_no_lane() {
    for order in [LaneOrder::Fifo, LaneOrder::ByDue] {
        let rig = Rig::new();
        rig.enqueue("a", order, 0, "a1").await;
        rig.enqueue("b", order, 0, "b1").await;
        damage(&rig, QUEUE_DUE, 0).await;
        assert_eq!(do_all(&rig).await, ["a1", "b1"]);
        nothing_is_left(&rig);
    }
}

#[tokio::test]
async fn a_row_that_is_damaged_while_it_is_worked_on_is_settled() {
    let rig = Rig::new();
    rig.enqueue("a", LaneOrder::Fifo, 0, "a1").await;
    let claim = rig.claim(1).pop().unwrap();
    damage(&rig, QUEUE_ROWS, 0).await;
    assert!(rig.settle(&claim, |tx, c| retry_at(tx, c, at(0))).await);
    drop(claim);
    assert_eq!(do_all(&rig).await, ["a1"]);
    nothing_is_left(&rig);
}

mod histories;
