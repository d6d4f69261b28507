//! Figures, not assertions: `cargo test --lib store::tests::speed -- --ignored --nocapture`.

use std::time::Instant;

use super::*;
use crate::store::queue::{Order, Queue, done, enqueue_all};
use crate::time::{Clock, Timestamp};

async fn measure(store: &Store, what: &str, ops: u64, work: impl Future<Output = ()>) {
    let (before, start) = (store.stats(), Instant::now());
    work.await;
    let (took, after) = (start.elapsed(), store.stats());
    println!(
        "{what:<44} {:>9.0}/s  {:>6} fsyncs  {:>6} bytes/op  batch {:>5.1}",
        ops as f64 / took.as_secs_f64(),
        after.fsyncs - before.fsyncs,
        (after.bytes_written - before.bytes_written) / ops,
        (after.ops - before.ops) as f64 / (after.batches - before.batches).max(1) as f64,
    );
}

/// `ops` writes of one small row by `tasks` tasks, random keys.
async fn writes(store: &Store, durability: Durability, tasks: u64, ops: u64) {
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..ops / tasks {
                    let id = (task << 32 | n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    let key = Key::new().u32(task as u32).u8(3).u64(id);
                    let write = move |tx: &mut Tx| {
                        tx.put(WA, key, vec![1; 100]);
                        Ok(())
                    };
                    store.write(durability, write).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn figures() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::File(folder.path().join("w.redb"));
    let store = Store::open(disk, Options::default()).unwrap();
    let s = &store;
    measure(
        s,
        "sync, one task",
        2_000,
        writes(s, Durability::Sync, 1, 2_000),
    )
    .await;
    measure(
        s,
        "sync, 32 tasks",
        32_000,
        writes(s, Durability::Sync, 32, 32_000),
    )
    .await;
    measure(
        s,
        "sync, 256 tasks",
        64_000,
        writes(s, Durability::Sync, 256, 64_000),
    )
    .await;
    measure(
        s,
        "lazy, one task",
        10_000,
        writes(s, Durability::Lazy, 1, 10_000),
    )
    .await;
    measure(
        s,
        "lazy, 256 tasks",
        64_000,
        writes(s, Durability::Lazy, 256, 64_000),
    )
    .await;
    measure(s, "write_later, one task", 50_000, async {
        for n in 0..50_000u64 {
            let key = Key::new()
                .u32(9)
                .u8(3)
                .u64(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let write = move |tx: &mut Tx| {
                tx.put(WA, key, vec![1; 100]);
                Ok(())
            };
            s.write_later(write).await.unwrap();
        }
    })
    .await;
    measure(s, "reads of one row", 100_000, async {
        for n in 0..100_000u64 {
            let key = Key::new()
                .u32(9)
                .u8(3)
                .u64((n % 1000).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            assert!(s.read(|r| r.exists(WA, &key)).unwrap());
        }
    })
    .await;
    measure(s, "queue: rows enqueued in one operation", 100_000, async {
        let rows: Vec<_> = (0..100_000)
            .map(|n| (Timestamp::from_ms(n), [7; 60]))
            .collect();
        let add = |tx: &mut Tx| enqueue_all(tx, 1, b"campaign", Order::ByDue, rows);
        s.write(Durability::Sync, add).await.unwrap();
    })
    .await;
    let queue = Queue::new(s, 1, Clock::manual(Timestamp::from_ms(i64::MAX)));
    measure(
        s,
        "queue: rows claimed and done, 20 together",
        20_000,
        async {
            for _ in 0..1_000 {
                let claims = queue.claim(20).unwrap();
                let settled = claims.clone();
                let settle = move |tx: &mut Tx| {
                    for claim in &settled {
                        assert!(done(tx, claim)?);
                    }
                    Ok(())
                };
                s.write(Durability::Lazy, settle).await.unwrap();
            }
        },
    )
    .await;
    s.close().await;
}
