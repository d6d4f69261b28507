//! Random histories: everything a worker, a crash and a clock can do, against a model that is slow
//! and obvious.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::store::check_simulated;

const LANES: [(&[u8], LaneOrder); 4] = [
    (b"", LaneOrder::Fifo),
    (b"\0", LaneOrder::Fifo),
    (b"a", LaneOrder::ByDue),
    (b"ab", LaneOrder::ByDue),
];

#[derive(Debug, Clone)]
enum Step {
    Enqueue {
        lane: usize,
        in_ms: i64,
        rows: usize,
    },
    Claim {
        limit: usize,
    },
    Done {
        nth: usize,
    },
    Retry {
        nth: usize,
        in_ms: i64,
    },
    Abandon {
        nth: usize,
    },
    DeleteLane {
        lane: usize,
    },
    Advance {
        ms: i64,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let nth = || 0..6usize;
    prop_oneof![
        4 => (0..4usize, -5..30i64, 1..4usize)
            .prop_map(|(lane, in_ms, rows)| Step::Enqueue { lane, in_ms, rows }),
        4 => (1..6usize).prop_map(|limit| Step::Claim { limit }),
        3 => nth().prop_map(|nth| Step::Done { nth }),
        2 => (nth(), 0..20i64).prop_map(|(nth, in_ms)| Step::Retry { nth, in_ms }),
        1 => nth().prop_map(|nth| Step::Abandon { nth }),
        1 => (0..4usize).prop_map(|lane| Step::DeleteLane { lane }),
        3 => (1..20i64).prop_map(|ms| Step::Advance { ms }),
        1 => Just(Step::Crash),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelRow {
    lane: usize,
    due: i64,
    attempts: u32,
    payload: Vec<u8>,
}

/// All rows by their number; numbers rise, so this is also the order of enqueueing.
#[derive(Default)]
struct Model {
    rows: BTreeMap<u64, ModelRow>,
    claimed: BTreeSet<u64>,
    now: i64,
}

impl Model {
    /// The rows that nobody works on and nothing is ahead of.
    fn free(&self) -> Vec<(u64, &ModelRow)> {
        let head = |lane| {
            self.rows
                .iter()
                .find(|(_, row)| row.lane == lane)
                .map(|(seq, _)| *seq)
        };
        self.rows
            .iter()
            .filter(|(seq, row)| {
                !self.claimed.contains(seq)
                    && (LANES[row.lane].1 == LaneOrder::ByDue || head(row.lane) == Some(**seq))
            })
            .map(|(seq, row)| (*seq, row))
            .collect()
    }

    fn len(&self, lane: usize) -> u64 {
        self.rows.values().filter(|row| row.lane == lane).count() as u64
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut disk = SimulatedDisk::new();
    let clock = Clock::manual(at(0));
    let start = |disk: &Arc<SimulatedDisk>| {
        let disk = Disk::Simulated(Arc::clone(disk));
        let store = Store::open(disk, StoreOptions::default()).unwrap();
        let queue = Queue::new(&store, Q, clock.clone(), Duration::from_secs(3600));
        Rig {
            store,
            clock: clock.clone(),
            queue,
        }
    };
    let mut rig = start(&disk);
    let mut model = Model::default();
    let mut claims: Vec<Claim> = Vec::new();
    for step in steps {
        let taken = |nth: usize, claims: &[Claim]| {
            (!claims.is_empty()).then(|| claims[nth % claims.len()].clone())
        };
        match step.clone() {
            Step::Enqueue { lane, in_ms, rows } => {
                let due = model.now + in_ms;
                let (name, order) = LANES[lane];
                let payloads: Vec<_> = (0..rows).map(|n| (at(due), vec![n as u8])).collect();
                let first = rig
                    .sync(move |tx| enqueue_all(tx, Q, name, order, payloads))
                    .await;
                for n in 0..rows {
                    let row = ModelRow {
                        lane,
                        due,
                        attempts: 0,
                        payload: vec![n as u8],
                    };
                    prop_assert!(model.rows.insert(first + n as u64, row).is_none());
                }
            }
            Step::Claim { limit } => {
                let due: BTreeMap<_, _> = model
                    .free()
                    .into_iter()
                    .filter(|(_, row)| row.due <= model.now)
                    .collect();
                let got = rig.claim(limit);
                prop_assert_eq!(got.len(), limit.min(due.len()), "{:?}", due);
                for claim in &got {
                    let expected = due.get(&claim.seq).expect("it may be claimed");
                    prop_assert_eq!(&claim.payload, &expected.payload);
                    prop_assert_eq!(claim.attempts, expected.attempts);
                    prop_assert_eq!(&claim.lane, LANES[expected.lane].0);
                }
                for claim in got {
                    prop_assert!(model.claimed.insert(claim.seq), "claimed twice");
                    claims.push(claim);
                }
            }
            Step::Done { nth } => {
                if let Some(claim) = taken(nth, &claims) {
                    let c = claim.clone();
                    let found = rig.sync(move |tx| done(tx, &c)).await;
                    prop_assert_eq!(found, model.rows.remove(&claim.seq).is_some());
                    release(&mut claims, &mut model, claim.seq);
                }
            }
            Step::Retry { nth, in_ms } => {
                if let Some(claim) = taken(nth, &claims) {
                    let (c, when) = (claim.clone(), model.now + in_ms);
                    let found = rig.sync(move |tx| retry_at(tx, &c, at(when))).await;
                    let row = model.rows.get_mut(&claim.seq);
                    prop_assert_eq!(found, row.is_some());
                    if let Some(row) = row {
                        row.due = when;
                        row.attempts += 1;
                    }
                    release(&mut claims, &mut model, claim.seq);
                }
            }
            Step::Abandon { nth } => {
                if let Some(claim) = taken(nth, &claims) {
                    release(&mut claims, &mut model, claim.seq);
                }
            }
            Step::DeleteLane { lane } => {
                rig.sync(move |tx| delete_page(tx, Q, LANES[lane].0, usize::MAX))
                    .await;
                model.rows.retain(|_, row| row.lane != lane);
                // A claim of an ordered lane holds the lane, also a new one of that name.
                if LANES[lane].1 == LaneOrder::Fifo {
                    claims.retain(|claim| claim.lane != LANES[lane].0);
                }
            }
            Step::Advance { ms } => {
                model.now += ms;
                clock.advance(Duration::from_millis(ms as u64));
            }
            Step::Crash => {
                disk = disk.crash();
                claims.clear();
                model.claimed.clear();
                rig.store.close().await;
                rig = start(&disk);
            }
        }
        let next = model.free().iter().map(|(_, row)| at(row.due)).min();
        prop_assert_eq!(rig.queue.next_due().unwrap(), next, "after {:?}", step);
        for (lane, (name, _)) in LANES.iter().enumerate() {
            let len = rig.store.read(|r| lane_len(r, Q, name)).unwrap();
            prop_assert_eq!(len, model.len(lane));
        }
    }
    rig.store.close().await;
    prop_assert_eq!(check_simulated(&disk).unwrap(), Vec::<String>::new());
    Ok(())
}

fn release(claims: &mut Vec<Claim>, model: &mut Model, seq: u64) {
    claims.retain(|claim| claim.seq != seq);
    model.claimed.remove(&seq);
}

impl Rig {
    async fn sync<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Tx) -> crate::error::Result<T> + Send + 'static,
    ) -> T {
        self.store.write(Durability::Sync, f).await.unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_history_goes_as_the_model_says(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps))?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_side_by_side_do_every_row_once_and_ordered_lanes_in_order() {
    const ROWS: u64 = 400;
    let rig = Rig::new();
    for n in 0..ROWS {
        let order = if n % 2 == 0 {
            LaneOrder::Fifo
        } else {
            LaneOrder::ByDue
        };
        let lane = [(n % 10) as u8];
        rig.write(move |tx| enqueue(tx, Q, &lane, order, at(0), &n.to_be_bytes()))
            .await;
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let workers = (0..6).map(|_| {
        let (queue, store, seen) = (rig.queue.clone(), rig.store.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            while seen.lock().unwrap().len() < ROWS as usize {
                for claim in queue.claim(5).unwrap() {
                    let number = u64::from_be_bytes(claim.payload[..].try_into().unwrap());
                    seen.lock().unwrap().push((claim.lane[0], number));
                    let settled = claim.clone();
                    let found = store
                        .write(Durability::Lazy, move |tx| done(tx, &settled))
                        .await;
                    assert!(found.unwrap());
                }
                tokio::task::yield_now().await;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let seen = seen.lock().unwrap().clone();
    let numbers: BTreeSet<_> = seen.iter().map(|(_, number)| *number).collect();
    assert_eq!((seen.len(), numbers.len()), (ROWS as usize, ROWS as usize));
    for lane in (0..10).step_by(2) {
        let numbers: Vec<_> = seen.iter().filter(|s| s.0 == lane).map(|s| s.1).collect();
        assert!(numbers.is_sorted(), "lane {lane}: {numbers:?}");
    }
    assert_eq!(rig.queue.next_due().unwrap(), None);
}
