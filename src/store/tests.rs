//! Opening, writing, reading, copying and checking a store.

mod crashes;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::faults::SimulatedDisk;
use super::migrations::Stretch;
use super::tables::{IDEMPOTENCY, MESSAGES, META, OUTBOX, WA, WA_EXPIRY};
use super::*;
use crate::error::ErrorKind;

fn simulated() -> (Store, Arc<SimulatedDisk>) {
    let disk = SimulatedDisk::new();
    (open(&disk), disk)
}

fn open(disk: &Arc<SimulatedDisk>) -> Store {
    Store::open(Disk::Simulated(Arc::clone(disk)), StoreOptions::default()).unwrap()
}

async fn put(store: &Store, durability: Durability, key: &str, value: &str) -> Result<()> {
    let (key, value) = (key.to_owned(), value.to_owned());
    store
        .write(durability, move |tx| {
            tx.put(META, key, value);
            Ok(())
        })
        .await
}

fn value(store: &Store, key: &str) -> Option<String> {
    let found = store.read(|r| r.get(META, key.as_bytes())).unwrap();
    found.map(|v| String::from_utf8(v).unwrap())
}

#[tokio::test]
async fn an_operation_sees_its_own_changes_merged_with_the_stored_rows() {
    let (store, _) = simulated();
    for key in ["x/1", "x/3", "x/5"] {
        put(&store, Durability::Lazy, key, "stored").await.unwrap();
    }
    let (forward, backward, after) = store
        .write(Durability::Lazy, |tx| {
            tx.put(META, "x/0", "new");
            tx.put(META, "x/3", "changed");
            tx.put(META, "x/4", "new");
            tx.delete(META, b"x/5");
            assert!(tx.exists(META, b"x/4")? && !tx.exists(META, b"x/5")?);
            let keys = |rows: Vec<super::read::Row>| {
                let text = |(k, v): super::read::Row| {
                    format!(
                        "{}={}",
                        String::from_utf8(k).unwrap(),
                        String::from_utf8(v).unwrap()
                    )
                };
                rows.into_iter().map(text).collect::<Vec<_>>().join(" ")
            };
            let range = || b"x/".to_vec()..b"x0".to_vec();
            Ok((
                keys(tx.range(META, range(), 9, false)?),
                keys(tx.range(META, range(), 3, true)?),
                keys(tx.prefix(META, b"x/", Some(b"x/1"), 1)?),
            ))
        })
        .await
        .unwrap();
    assert_eq!(forward, "x/0=new x/1=stored x/3=changed x/4=new");
    assert_eq!(backward, "x/4=new x/3=changed x/1=stored");
    assert_eq!(after, "x/3=changed");
}

/// Holds the writer in a batch of its own until the gate is opened: what is submitted meanwhile
/// becomes one batch.
async fn held(store: &Store) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<()>>) {
    let (open_gate, gate) = mpsc::channel::<()>();
    let (entered, inside) = oneshot::channel();
    let store = store.clone();
    let first = tokio::spawn(async move {
        let gated = move |_: &mut Tx| {
            entered.send(()).unwrap();
            gate.recv().unwrap();
            Ok(())
        };
        store.write(Durability::Lazy, gated).await
    });
    inside.await.unwrap();
    (open_gate, first)
}

#[tokio::test]
async fn a_failing_and_a_panicking_operation_leave_nothing_and_harm_nobody() {
    let (store, _) = simulated();
    let (open_gate, first) = held(&store).await;
    let good = put(&store, Durability::Sync, "good", "1");
    let bad = store.write(Durability::Sync, |tx| {
        tx.put(META, "bad", "1");
        tx.delete(META, b"good");
        Err::<(), _>(Error::invalid("no"))
    });
    let worse = store.write(Durability::Sync, |tx| -> Result<()> {
        tx.put(META, "worse", "1");
        panic!("boom");
    });
    let last = store.write(Durability::Sync, |tx| tx.get(META, b"good"));
    let gatekeeper = async {
        while store.stats().queue_depth < 4 {
            tokio::task::yield_now().await;
        }
        open_gate.send(()).unwrap();
    };
    let (first, good, bad, worse, last, ()) =
        tokio::join!(first, good, bad, worse, last, gatekeeper);
    first.unwrap().unwrap();
    good.unwrap();
    assert_eq!(bad.unwrap_err().detail(), "no");
    assert_eq!(worse.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(last.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(value(&store, "good").as_deref(), Some("1"));
    assert_eq!((value(&store, "bad"), value(&store, "worse")), (None, None));
    assert!(store.stats().largest_batch >= 4, "{:?}", store.stats());
}

#[tokio::test]
async fn operations_that_wait_share_one_fsync() {
    let (store, disk) = simulated();
    let before = disk.syncs();
    let (open_gate, first) = held(&store).await;
    let writes = (0..100).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { put(&store, Durability::Sync, &format!("k{n}"), "v").await })
    });
    let writes: Vec<_> = writes.collect();
    while store.stats().queue_depth < 100 {
        tokio::task::yield_now().await;
    }
    open_gate.send(()).unwrap();
    first.await.unwrap().unwrap();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(disk.syncs() - before, 1);
}

#[tokio::test]
async fn a_lazy_write_is_visible_at_once_and_on_the_disk_after_the_interval() {
    let (store, disk) = simulated();
    let before = disk.syncs();
    put(&store, Durability::Lazy, "k", "v").await.unwrap();
    assert_eq!(value(&store, "k").as_deref(), Some("v"));
    assert_eq!(
        disk.syncs(),
        before,
        "a lazy write needs no fsync of its own"
    );
    while disk.syncs() == before {
        tokio::task::yield_now().await;
    }
    assert_eq!(value(&open(&disk.crash()), "k").as_deref(), Some("v"));
}

#[tokio::test]
async fn closing_writes_what_waits_and_refuses_the_rest() {
    let (store, disk) = simulated();
    for n in 0..50 {
        store
            .write_later(move |tx| {
                tx.put(META, format!("k{n}"), "v");
                Ok(())
            })
            .await
            .unwrap();
    }
    store.close().await;
    let error = put(&store, Durability::Sync, "late", "v")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let again = open(&disk.crash());
    assert!((0..50).all(|n| value(&again, &format!("k{n}")).is_some()));
    assert_eq!(value(&again, "late"), None);
}

#[tokio::test]
async fn an_operation_that_changes_nothing_costs_no_fsync() {
    let (store, disk) = simulated();
    put(&store, Durability::Sync, "k", "v").await.unwrap();
    let before = disk.syncs();
    store
        .write(Durability::Sync, |tx| {
            tx.delete(META, b"absent");
            tx.get(META, b"k")
        })
        .await
        .unwrap();
    assert_eq!(disk.syncs(), before);
}

#[tokio::test]
async fn numbers_of_a_counter_are_never_given_twice() {
    let (store, disk) = simulated();
    let next = |s: Store| async move {
        s.write(Durability::Sync, |tx| {
            Ok((tx.next_seq("a")?, tx.next_seq("a")?))
        })
        .await
        .unwrap()
    };
    assert_eq!(next(store.clone()).await, (1, 2));
    assert_eq!(next(open(&disk.crash())).await, (3, 4));
    assert_eq!(
        store
            .write(Durability::Sync, |tx| tx.next_seq("b"))
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_prefix_is_deleted_with_the_rows_of_the_same_operation() {
    let (store, _) = simulated();
    put(&store, Durability::Lazy, "p/1", "v").await.unwrap();
    put(&store, Durability::Lazy, "q/1", "v").await.unwrap();
    let count = store
        .write(Durability::Lazy, |tx| {
            tx.put(META, "p/2", "v");
            tx.delete_prefix(META, b"p/")
        })
        .await
        .unwrap();
    assert_eq!(count, 2);
    assert_eq!((value(&store, "p/1"), value(&store, "p/2")), (None, None));
    assert!(value(&store, "q/1").is_some());
}

#[tokio::test]
async fn a_second_process_is_told_which_file_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.redb");
    let store = Store::open(Disk::File(path.clone()), StoreOptions::default()).unwrap();
    let error = Store::open(Disk::File(path.clone()), StoreOptions::default())
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.detail().contains("w.redb is in use"), "{error}");
    assert_eq!(check(&path).unwrap_err().kind(), ErrorKind::Conflict);
    store.close().await;
    Store::open(Disk::File(path), StoreOptions::default()).unwrap();
}

#[tokio::test]
async fn a_new_file_is_for_its_owner_only_and_alone_in_its_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.redb");
    // As a run that was cut short while it laid out the file leaves it.
    std::fs::write(folder.path().join("w.redb.new"), vec![0; 5000]).unwrap();
    let store = Store::open(Disk::File(path.clone()), StoreOptions::default()).unwrap();
    put(&store, Durability::Sync, "k", "v").await.unwrap();
    store.close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(Disk::File(path.clone()), StoreOptions::default()).unwrap();
    assert_eq!(value(&store, "k").as_deref(), Some("v"));
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.redb");
    for foreign in [
        &b"hello"[..],
        &[0; 9000],
        b"SQLite format 3\0 and so on and on",
    ] {
        std::fs::write(&path, foreign).unwrap();
        let error = Store::open(Disk::File(path.clone()), StoreOptions::default())
            .err()
            .unwrap();
        assert!(error.detail().contains("w.redb is not a store"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), foreign);
    }
    let _ = std::fs::remove_file(&path);
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, u64>::new("theirs");
    transaction
        .open_table(table)
        .unwrap()
        .insert("a", 1)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Store::open(Disk::File(path), StoreOptions::default())
        .err()
        .unwrap();
    assert!(error.detail().contains("is not a store"), "{error}");
}

#[tokio::test]
async fn an_older_file_is_migrated_step_by_step_and_copied_before() {
    fn done() -> Result<Stretch> {
        Ok(Stretch {
            rows: 1,
            last: None,
        })
    }
    let rename = || Migration {
        what: "renames",
        stretch: |tx, _| {
            let old = tx.get(META, b"old")?.unwrap();
            tx.delete(META, b"old");
            tx.put(META, "new", old);
            done()
        },
    };
    let double = || Migration {
        what: "doubles, in two stretches",
        stretch: |tx, after| {
            let value = tx.get(META, b"new")?.unwrap();
            if after.is_none() {
                tx.put(META, "half", value);
                let last = Some(b"half".to_vec());
                return Ok(Stretch { rows: 1, last });
            }
            let half = tx.get(META, b"half")?.unwrap();
            tx.delete(META, b"half");
            tx.put(META, "new", [half, value].concat());
            done()
        },
    };
    let fail = || Migration {
        what: "fails",
        stretch: |tx, _| {
            tx.put(META, "new", "spoiled");
            Err(Error::internal("no"))
        },
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.redb");
    let open = |migrations: &[Migration]| {
        Store::open_with(
            Disk::File(path.clone()),
            StoreOptions::default(),
            migrations,
        )
    };
    let store = open(&[]).unwrap();
    put(&store, Durability::Sync, "old", "v").await.unwrap();
    store.close().await;

    let store = open(&[rename(), double()]).unwrap();
    assert_eq!(
        (value(&store, "old"), value(&store, "new")),
        (None, Some("vv".into()))
    );
    store.close().await;

    assert!(open(&[rename(), double(), fail()]).is_err());
    let store = open(&[rename(), double()]).unwrap();
    assert_eq!(
        value(&store, "new").as_deref(),
        Some("vv"),
        "a failed migration changes nothing"
    );
    store.close().await;

    let error = open(&[rename()]).err().unwrap();
    assert!(error.detail().contains("newer version"), "{error}");

    let copy = folder.path().join("w.redb.schema-1");
    let store = Store::open(Disk::File(copy), StoreOptions::default()).unwrap();
    assert_eq!(value(&store, "old").as_deref(), Some("v"));
}

#[tokio::test]
async fn a_migration_that_would_fill_the_disk_up_is_not_begun() {
    let migration = || Migration {
        what: "marks",
        stretch: |tx, _| {
            tx.put(META, "new", "v");
            Ok(Stretch {
                rows: 1,
                last: None,
            })
        },
    };
    let disk = SimulatedDisk::new();
    let open = |migrations: &[Migration]| {
        let disk = Disk::Simulated(Arc::clone(&disk));
        Store::open_with(disk, StoreOptions::default(), migrations)
    };
    let store = open(&[]).unwrap();
    put(&store, Durability::Sync, "old", "v").await.unwrap();
    store.close().await;
    let full = disk.size();
    disk.fill_up_at(full + (1 << 20));
    let error = open(&[migration()]).err().unwrap();
    assert!(
        error
            .detail()
            .contains("MiB in the simulated disk, where 1 MiB are free"),
        "{error}"
    );
    let store = open(&[]).unwrap();
    assert_eq!(value(&store, "old").as_deref(), Some("v"));
    assert_eq!(value(&store, "new"), None);
    store.close().await;
    disk.fill_up_at(full + (8 << 20));
    let store = open(&[migration()]).unwrap();
    assert_eq!(value(&store, "new").as_deref(), Some("v"));
}

#[tokio::test]
async fn a_backup_is_what_the_store_was_at_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = simulated();
    store
        .write(Durability::Sync, |tx| {
            for n in 0..12_000u32 {
                tx.put(WA, Key::new().u32(n).u8(1).tail("k"), vec![1; 20]);
            }
            Ok(())
        })
        .await
        .unwrap();
    let to = folder.path().join("copy.redb");
    let size = store.backup(&to).await.unwrap();
    assert_eq!(size, std::fs::metadata(&to).unwrap().len());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(check(&to).unwrap(), Vec::<String>::new());
    let copy = Store::open(Disk::File(to), StoreOptions::default()).unwrap();
    let all = |s: &Store| s.read(|r| r.prefix(WA, b"", None, usize::MAX)).unwrap();
    assert_eq!(all(&copy), all(&store));
    assert!(
        store
            .backup(&folder.path().join("absent/copy.redb"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_check_finds_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.redb");
    let store = Store::open(Disk::File(path.clone()), StoreOptions::default()).unwrap();
    store
        .write(Durability::Sync, |tx| {
            let key = Key::new().u32(1).u8(2).u64(9).tail("row");
            tx.put(WA_EXPIRY, key, "");
            tx.put(WA, Key::new().u32(1).u8(2).tail("row"), [1]);
            tx.put(OUTBOX, Key::new().u32(1).tail("3EB0"), "");
            let message = Key::new().u32(1).text("3EB0")?.text("chat")?;
            tx.put(MESSAGES, message, *b"\x01{\"at\":0}");
            queue::enqueue(
                tx,
                3,
                b"lane",
                queue::LaneOrder::Fifo,
                Default::default(),
                b"x",
            )?;
            Ok(())
        })
        .await
        .unwrap();
    store.close().await;
    assert_eq!(check(&path).unwrap(), Vec::<String>::new());

    let store = Store::open(Disk::File(path.clone()), StoreOptions::default()).unwrap();
    store
        .write(Durability::Sync, |tx| {
            tx.delete(WA, &Key::new().u32(1).u8(2).tail("row"));
            tx.delete_prefix(MESSAGES, b"")?;
            let (key, _) = tx.first(tables::QUEUE_DUE, &[3])?.unwrap();
            tx.delete(tables::QUEUE_DUE, &key);
            Ok(())
        })
        .await
        .unwrap();
    store.close().await;
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut keys = transaction
        .open_table(read::definition(IDEMPOTENCY))
        .unwrap();
    keys.insert(&b"short"[..], &[1][..]).unwrap();
    keys.insert(&[7; 36][..], &[99][..]).unwrap();
    drop(keys);
    transaction.commit().unwrap();
    drop(database);

    let found = check(&path).unwrap().join("\n");
    for expected in [
        "idempotency_keys/1: row 73686f7274: the key has another layout",
        "the value has an unknown version",
        "wa_expiries/1: row 00000001020000000000000009726f77: the row that it names is missing",
        "outbox_messages/1: row 0000000133454230: the row that it names is missing",
        "queue_lanes/1: row 036c616e650001: the lane has no schedule",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in\n{found}");
    }
}

#[tokio::test]
async fn a_walk_can_read_other_tables_and_break_off() {
    let (store, _) = simulated();
    for n in 0..5 {
        put(&store, Durability::Lazy, &format!("w/{n}"), "v")
            .await
            .unwrap();
    }
    let mut seen = 0;
    store
        .read(|r| {
            r.for_each_prefix(META, b"w/", |key, _| {
                assert!(r.exists(META, key)? && !r.exists(WA, key)?);
                seen += 1;
                Ok(if seen == 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })
        })
        .unwrap();
    assert_eq!(seen, 3);
}

#[tokio::test]
async fn who_writes_when_the_queue_is_full_waits() {
    let disk = Disk::Simulated(SimulatedDisk::new());
    let store = Store::open(
        disk,
        StoreOptions {
            queue: 2,
            ..StoreOptions::default()
        },
    )
    .unwrap();
    let (open_gate, gate) = mpsc::channel::<()>();
    let (entered, inside) = oneshot::channel();
    let gated = move |_: &mut Tx| {
        entered.send(()).unwrap();
        gate.recv().unwrap();
        Ok(())
    };
    store.write_later(gated).await.unwrap();
    inside.await.unwrap();
    for _ in 0..2 {
        store.write_later(|_| Ok(())).await.unwrap();
    }
    let mut third = std::pin::pin!(store.write_later(|_| Ok(())));
    assert!(
        tokio::time::timeout(Duration::from_millis(20), third.as_mut())
            .await
            .is_err()
    );
    open_gate.send(()).unwrap();
    third.await.unwrap();
}

/// Puts rows of 4 KiB: `count` of them from `first` on.
async fn put_many(store: &Store, first: u32, count: u32) {
    let row = format!("\x01{{\"at\":0,\"text\":\"{}\"}}", "a".repeat(4096));
    for page in (first..first + count).step_by(200) {
        let row = row.clone().into_bytes();
        let write = store.write(Durability::Lazy, move |tx| {
            for n in page..(page + 200).min(first + count) {
                let key = Key::new().u32(1).text(&format!("{n:08}"))?.text("chat")?;
                tx.put(MESSAGES, key, row.clone());
            }
            Ok(())
        });
        write.await.unwrap();
    }
    put(store, Durability::Sync, "end", "v").await.unwrap();
}

#[tokio::test]
async fn an_open_after_a_crash_reads_little_of_a_large_file() {
    let disk = SimulatedDisk::new();
    let store = Store::open(Disk::Simulated(disk.clone()), StoreOptions::default()).unwrap();
    put_many(&store, 0, 6000).await;
    // The last commits are of every kind that there is.
    put(&store, Durability::Sync, "a", "v").await.unwrap();
    put(&store, Durability::Lazy, "b", "v").await.unwrap();
    assert!(disk.size() > 40 << 20);
    for keep in [false, true] {
        let crashed = disk.crash_keeping(|_| keep);
        let again = Store::open(Disk::Simulated(crashed), StoreOptions::default()).unwrap();
        let stats = again.stats();
        assert_eq!(stats.repairs, 0);
        // With its debug assertions on, redb reads everything at each open.
        let read = stats.bytes_read;
        assert!(
            cfg!(debug_assertions) || read < 1 << 20,
            "{read} bytes were read"
        );
        assert_eq!(value(&again, "a").as_deref(), Some("v"));
        // Also when that run crashes before it wrote anything.
        put(&again, Durability::Sync, "c", "v").await.unwrap();
        again.close().await;
    }
    // After a failure it is the same: nobody waits long for the disk that works again.
    disk.fail_after(0);
    while put(&store, Durability::Sync, "x", "v").await.is_ok() {}
    let before = store.stats().repairs;
    disk.heal();
    while store.is_degraded() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.stats().repairs, before);
}

#[tokio::test]
async fn a_file_that_was_large_gives_its_space_back() {
    let disk = SimulatedDisk::new();
    let store = Store::open(Disk::Simulated(disk.clone()), StoreOptions::default()).unwrap();
    put_many(&store, 0, 12_000).await;
    put_many(&store, 90_000_000, 100).await;
    let large = disk.size();
    for _ in 0..12 {
        let page = |tx: &mut Tx| tx.delete_some(MESSAGES, b"\0\0\0\x010", 1000);
        store.write(Durability::Lazy, page).await.unwrap();
    }
    put(&store, Durability::Sync, "end", "v").await.unwrap();
    let reader = store.shared.with_database(|d| Ok(d.begin_read()?)).ok();
    assert_eq!(store.compact().await.unwrap(), 0, "somebody reads");
    drop(reader);
    let given = store.give_space_back().await.unwrap();
    assert!(given > 64 << 20, "{given} bytes were given back");
    assert!(disk.size() < large / 4, "{} of {large}", disk.size());
    assert_eq!(store.stats().file_bytes, disk.size() as u64);
    put(&store, Durability::Sync, "after", "v").await.unwrap();
    let rows = store.read(|r| r.prefix(MESSAGES, b"", None, 1000)).unwrap();
    assert_eq!(rows.len(), 100);
    let crashed = disk.crash();
    assert_eq!(
        check::check_simulated(&crashed).unwrap(),
        Vec::<String>::new()
    );
    store.close().await;
    assert_eq!(store.give_space_back().await.ok(), None);
}

#[tokio::test]
async fn a_power_cut_in_the_middle_of_giving_space_back_loses_nothing() {
    for operations in [3, 30, 100, 300] {
        let disk = SimulatedDisk::new();
        let store = Store::open(Disk::Simulated(disk.clone()), StoreOptions::default()).unwrap();
        put_many(&store, 0, 4000).await;
        put_many(&store, 90_000_000, 300).await;
        for _ in 0..4 {
            let page = |tx: &mut Tx| tx.delete_some(MESSAGES, b"\0\0\0\x010", 1000);
            store.write(Durability::Sync, page).await.unwrap();
        }
        disk.fail_after(operations);
        // It succeeds when that was enough.
        let _ = store.compact().await;
        let crashed = disk.crash_keeping(|block| block % 3 == 0);
        let problems = check::check_simulated(&crashed).unwrap();
        assert!(
            problems.iter().all(|p| p.contains("has been repaired")),
            "{problems:?}"
        );
        let again = Store::open(Disk::Simulated(crashed), StoreOptions::default()).unwrap();
        let rows = again.read(|r| r.prefix(MESSAGES, b"", None, 1000)).unwrap();
        assert_eq!(rows.len(), 300);
        again.close().await;
    }
}

#[tokio::test]
async fn a_scan_that_nobody_waits_for_breaks_off() {
    let (store, _) = simulated();
    for key in ["x/1", "x/2", "x/3"] {
        put(&store, Durability::Lazy, key, "row").await.unwrap();
    }
    let (seen, mut rows) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let scanning = store.clone();
    let scan = tokio::spawn(async move {
        let walk = move |reader: &Reader| {
            let walked = reader.for_each_prefix(META, b"x/", |row, _| {
                seen.send(Some(row.to_vec())).unwrap();
                may_go_on.recv().unwrap();
                Ok(ControlFlow::Continue(()))
            });
            seen.send(None).unwrap();
            walked
        };
        scanning.read_slow(walk).await
    });
    assert_eq!(rows.recv().await, Some(Some(b"x/1".to_vec())));
    scan.abort();
    assert!(scan.await.unwrap_err().is_cancelled());
    go_on.send(()).unwrap();
    assert_eq!(rows.recv().await, Some(None), "no further row");
}
