//! What failing disks and power cuts may do to a store, and what they may not.

use std::sync::Mutex;

use super::*;
use crate::error::ErrorKind;

/// A small generator, so that a round can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// What one client knows about its two rows, which it always writes together.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    tried: u64,
    acknowledged: u64,
    fsynced: u64,
}

const CLIENTS: usize = 4;
type Knowledge = Arc<[Mutex<Known>; CLIENTS]>;

fn all(knowledge: &Knowledge) -> [Known; CLIENTS] {
    std::array::from_fn(|n| *knowledge[n].lock().unwrap())
}

/// The number in the client's rows; both must hold the same.
fn stored(store: &Store, client: usize) -> u64 {
    let number = |row: &str| {
        let found = store
            .read(|r| r.get(META, format!("{client}/{row}").as_bytes()))
            .unwrap();
        found.map_or(0, |v| u64::from_be_bytes(v[..8].try_into().unwrap()))
    };
    let (first, second) = (number("first"), number("second"));
    assert_eq!(first, second, "client {client}: half of an operation");
    first
}

/// Writes an increasing number into both rows, again and again.
async fn client(store: Store, knowledge: Knowledge, client: usize, mut dice: Dice) {
    for _ in 0..12 {
        let number = {
            let mut known = knowledge[client].lock().unwrap();
            known.tried += 1;
            known.tried
        };
        // The size varies, so that pages split and the file grows.
        let mut value = number.to_be_bytes().to_vec();
        value.resize(8 + dice.roll(3000) as usize, 7);
        let fails = dice.roll(8) == 0;
        let durability = if dice.roll(2) == 0 {
            Durability::Sync
        } else {
            Durability::Lazy
        };
        let outcome = store.write(durability, move |tx| {
            tx.put(META, format!("{client}/first"), value.clone());
            if fails {
                return Err(Error::invalid("refused"));
            }
            tx.put(META, format!("{client}/second"), value);
            Ok(())
        });
        let outcome = outcome.await;
        let mut known = knowledge[client].lock().unwrap();
        match outcome {
            Ok(()) => {
                known.acknowledged = number;
                if durability == Durability::Sync {
                    known.fsynced = number;
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::Invalid => assert!(fails),
                // Of this one nobody knows whether it happened.
                kind => assert_eq!(kind, ErrorKind::Unavailable),
            },
        }
    }
}

async fn working_again(store: &Store) {
    while put(store, Durability::Sync, "sign of life", "x")
        .await
        .is_err()
    {
        tokio::task::yield_now().await;
    }
}

/// Starts on `disk`, works, meets trouble, loses power; returns what is left.
async fn round(
    disk: Arc<SimulatedDisk>,
    knowledge: &Knowledge,
    dice: &mut Dice,
) -> Arc<SimulatedDisk> {
    let store = open(&disk);
    for n in 0..CLIENTS {
        let known = knowledge[n].lock().unwrap();
        let found = stored(&store, n);
        assert!(
            (known.fsynced..=known.tried).contains(&found),
            "client {n}: {found} of {known:?}"
        );
    }
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let dice = Dice(dice.roll(u64::MAX >> 33));
            tokio::spawn(client(store.clone(), Arc::clone(knowledge), n, dice))
        })
        .collect();
    match dice.roll(4) {
        0 => disk.fail_after(dice.roll(80)),
        1 => disk.fill_up_at(disk.size() + dice.roll(20_000) as usize),
        _ => {}
    }
    for _ in 0..dice.roll(60) {
        tokio::task::yield_now().await;
    }
    if dice.roll(2) == 0 {
        for client in clients.drain(..) {
            client.await.unwrap();
        }
        disk.heal();
        working_again(&store).await;
        for (n, known) in all(knowledge).iter().enumerate() {
            let found = stored(&store, n);
            let allowed = known.acknowledged..=known.tried;
            assert!(
                allowed.contains(&found),
                "client {n}, no power cut: {found} of {known:?}"
            );
        }
    }
    let before = all(knowledge);
    let left = match dice.roll(3) {
        0 => disk.crash(),
        _ => {
            let mut dice = Dice(dice.roll(u64::MAX >> 33));
            disk.crash_keeping(|_| dice.roll(2) == 0)
        }
    };
    let after = all(knowledge);
    disk.heal();
    store.close().await;
    for client in clients {
        client.await.unwrap();
    }
    let left_store = open(&left);
    for n in 0..CLIENTS {
        let found = stored(&left_store, n);
        let allowed = before[n].fsynced..=after[n].tried;
        assert!(
            allowed.contains(&found),
            "client {n}, power cut: {found} not in {allowed:?}"
        );
        *knowledge[n].lock().unwrap() = Known {
            tried: after[n].tried,
            acknowledged: found,
            fsynced: found,
        };
    }
    left_store.close().await;
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_and_no_operation_is_halved_in_300_rounds_of_trouble() {
    for seed in 0..30 {
        let mut dice = Dice(seed);
        let mut disk = SimulatedDisk::new();
        let knowledge: Knowledge = Arc::default();
        for _ in 0..10 {
            disk = round(disk, &knowledge, &mut dice).await;
            assert_eq!(
                check_simulated(&disk).unwrap(),
                Vec::<String>::new(),
                "seed {seed}"
            );
        }
    }
}

#[tokio::test]
async fn a_commit_that_fails_at_any_point_happened_whole_or_not_at_all() {
    let (mut happened, mut not) = (0, 0);
    for point in 0..60 {
        let (store, disk) = simulated();
        put(&store, Durability::Sync, "k", "0").await.unwrap();
        put(&store, Durability::Lazy, "k", "1").await.unwrap();
        disk.fail_after(point);
        let outcome = store
            .write(Durability::Sync, |tx| {
                tx.put(META, "k", "2");
                tx.put(META, "j", "2");
                Ok(())
            })
            .await;
        disk.heal();
        working_again(&store).await;
        let found = (value(&store, "k").unwrap(), value(&store, "j"));
        match (outcome.is_ok(), found.0.as_str(), found.1.as_deref()) {
            (_, "2", Some("2")) => happened += 1,
            (false, "1", None) => not += 1,
            (acknowledged, ..) => panic!("point {point}, acknowledged {acknowledged}: {found:?}"),
        }
        store.close().await;
    }
    assert!(
        happened > 0 && not > 0,
        "the points cover both: {happened} and {not}"
    );
}

#[tokio::test]
async fn a_commit_that_was_refused_and_landed_all_the_same_stays_whole() {
    // The last thing a commit does is the sync; when only that fails, the file shows the commit.
    let mut landed = 0;
    for point in 0..60 {
        let (store, disk) = simulated();
        put(&store, Durability::Lazy, "k", "1").await.unwrap();
        disk.fail_after(point);
        let outcome = store
            .write(Durability::Sync, |tx| {
                tx.put(META, "k", "2");
                tx.put(META, "j", "2");
                Ok(())
            })
            .await;
        disk.heal();
        working_again(&store).await;
        match (value(&store, "k").as_deref(), value(&store, "j").as_deref()) {
            (Some("2"), Some("2")) => landed += u32::from(outcome.is_err()),
            (Some("1"), None) => assert!(outcome.is_err()),
            other => panic!("point {point}: {other:?}"),
        }
        store.close().await;
    }
    assert!(landed > 0);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_reads_until_there_is_room() {
    let (store, disk) = simulated();
    put(&store, Durability::Sync, "k", "before").await.unwrap();
    disk.fill_up_at(disk.size() + 100_000);
    let mut written = 0;
    let error = loop {
        let key = format!("big/{written}");
        let write = store.write(Durability::Sync, move |tx| {
            tx.put(META, key, vec![0; 50_000]);
            Ok(())
        });
        match write.await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.detail().contains("disk full"), "{error}");
    while !store.is_degraded() {
        tokio::task::yield_now().await;
    }
    assert_eq!(value(&store, "k").as_deref(), Some("before"));
    assert!(
        put(&store, Durability::Lazy, "k", "during").await.is_err(),
        "no write is taken"
    );
    disk.heal();
    working_again(&store).await;
    assert_eq!(value(&store, "k").as_deref(), Some("before"));
    assert!((0..written).all(|n| value(&store, &format!("big/{n}")).is_some()));
    let stats = store.stats();
    assert!(
        !stats.degraded && stats.recoveries >= 1 && stats.failed_batches >= 1,
        "{stats:?}"
    );
}

#[tokio::test]
async fn a_store_whose_reads_failed_works_again_without_a_write() {
    let disk = SimulatedDisk::new();
    let options = StoreOptions {
        cache_bytes: 64 << 10,
        ..StoreOptions::default()
    };
    let store = Store::open(Disk::Simulated(Arc::clone(&disk)), options).unwrap();
    store
        .write(Durability::Sync, |tx| {
            for n in 0..500 {
                tx.put(META, format!("row/{n}"), vec![1; 1000]);
            }
            Ok(())
        })
        .await
        .unwrap();
    let scan = || store.read(|r| Ok(r.prefix(META, b"row/", None, usize::MAX)?.len()));
    disk.fail_after(0);
    assert_eq!(scan().unwrap_err().kind(), ErrorKind::Unavailable);
    disk.heal();
    while scan().is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(scan().unwrap(), 500);
}

#[tokio::test]
async fn a_store_whose_making_was_cut_short_is_made_again() {
    for point in 0..80 {
        let disk = SimulatedDisk::new();
        disk.fail_after(point);
        let opened = Store::open(Disk::Simulated(Arc::clone(&disk)), StoreOptions::default());
        disk.heal();
        let mut dice = Dice(point);
        for left in [disk.crash(), disk.crash_keeping(|_| dice.roll(2) == 0)] {
            let store = open(&left);
            put(&store, Durability::Sync, "k", "v").await.unwrap();
            store.close().await;
            assert_eq!(
                check_simulated(&left).unwrap(),
                Vec::<String>::new(),
                "point {point}"
            );
        }
        if let Ok(store) = opened {
            store.close().await;
        }
    }
}

#[tokio::test]
async fn closing_a_store_on_a_dead_disk_ends() {
    let (store, disk) = simulated();
    put(&store, Durability::Lazy, "k", "v").await.unwrap();
    disk.fail_after(0);
    store.close().await;
    let (store, disk) = simulated();
    disk.fail_after(0);
    assert!(put(&store, Durability::Sync, "k", "v").await.is_err());
    store.close().await;
}
