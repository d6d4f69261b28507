//! Deleting much: it goes at once for clients, and by and by from the store.

use serde_json::json;
use warung::domain::event::publish::append;
use warung::store::{Durability, Read, check, tables};

use crate::support::{Rig, eventually, opt_out};

/// More rows than one transaction may change.
const MANY: u32 = 4000;

/// The most that one operation may change.
const MOST: u64 = 1200;

fn rows(rig: &Rig, table: tables::Table) -> usize {
    let gateway = rig.server.as_ref().expect("running").gateway();
    let rows = gateway
        .store()
        .read(|read| read.prefix(table, b"", None, 100_000));
    rows.expect("read").len()
}

fn largest(rig: &Rig) -> u64 {
    let gateway = rig.server.as_ref().expect("running").gateway();
    gateway.store().stats().largest_operation
}

/// Gives session number 1 many events, messages and delivery rows, a few at a time.
async fn fill(rig: &Rig) {
    let gateway = rig.server.as_ref().expect("running").gateway();
    for page in 0..MANY / 100 {
        let at = gateway.clock().now();
        let write = gateway.store().write(Durability::Lazy, move |tx| {
            let session = warung::ids::SessionNumber(1);
            for n in page * 100..page * 100 + 100 {
                append(tx, session, &opt_out("shop", at))?;
                let key = [&1u32.to_be_bytes()[..], format!("M{n}\0c\0").as_bytes()].concat();
                tx.put(tables::MESSAGES, key, *b"\x01{\"at\":0}");
            }
            Ok(())
        });
        write.await.expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_many_rows_goes_page_by_page_also_after_a_restart() {
    let mut rig = Rig::new().await;
    let token = rig.create("shop").await;
    rig.create("other").await;
    // Nobody listens there: the deliveries wait.
    rig.hook("shop", "http://127.0.0.1:9/", &[]).await;
    fill(&rig).await;
    assert!(rows(&rig, tables::QUEUE_ROWS) >= MANY as usize);
    let gone = rig.delete("/api/v1/sessions/shop").master();
    gone.send().await.expect(200);
    let answer = rig.get("/api/v1/events?sessionId=shop").bearer(&token);
    assert_eq!(answer.send().await.status, 403);
    let anew = rig.create("shop").await;
    assert_ne!(anew, token);
    rig.restart().await;
    eventually("all rows of the session are gone", || async {
        let left = rows(&rig, tables::REMOVALS)
            + rows(&rig, tables::MESSAGES)
            + rows(&rig, tables::QUEUE_ROWS);
        (left == 0).then_some(())
    })
    .await;
    assert!(rows(&rig, tables::EVENTS) < 100);
    assert!(largest(&rig) <= MOST, "{} rows at once", largest(&rig));
    rig.stop().await;
    let problems = check(&rig.folder.path().join("data/warung.redb"));
    assert_eq!(problems.expect("checked"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_writes_few_rows_at_a_time_and_others_in_between() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    rig.hook("shop", "http://127.0.0.1:9/", &[]).await;
    fill(&rig).await;
    let gone = rig.delete("/api/v1/sessions/shop").master();
    gone.send().await.expect(200);
    eventually("all rows are gone", || async {
        (rows(&rig, tables::REMOVALS) + rows(&rig, tables::EVENTS) == 0).then_some(())
    })
    .await;
    assert_eq!(rows(&rig, tables::MESSAGES), 0);
    assert_eq!(rows(&rig, tables::QUEUE_ROWS), 0);
    assert!(largest(&rig) <= MOST, "{} rows at once", largest(&rig));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_with_many_deliveries_goes_page_by_page() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    rig.hook("shop", "http://127.0.0.1:9/", &[]).await;
    fill(&rig).await;
    let call = rig.delete("/api/v1/webhook?sessionId=shop").bearer(&token);
    call.send().await.expect(200);
    assert_eq!(rows(&rig, tables::QUEUE_ROWS), 0);
    assert!(largest(&rig) <= MOST, "{} rows at once", largest(&rig));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_deleted_session_is_left_in_any_table() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000861").await;
    let set = json!({ "sessionId": "shop", "url": "http://127.0.0.1:9/", "events": [] });
    let list = json!({ "sessionId": "shop", "name": "Langganan",
        "recipients": [{ "number": "6281200000862", "name": "Ani" }] });
    let send = json!({ "to": "6281200000862", "type": "text", "text": { "body": "hai" } });
    for (path, body, status) in [
        ("/api/v1/webhook", &set, 200),
        ("/api/v1/recipient-lists", &list, 201),
        ("/api/v1/messages?sessionId=shop", &send, 200),
    ] {
        let call = rig.post(path, body).bearer(&token);
        let call = call.header("idempotency-key", path);
        call.send().await.expect(status);
    }
    let stop = json!({ "to": "6281200000861", "text": "STOP" });
    rig.sandbox("POST", "/sandbox/phones/6281200000862/messages", &stop)
        .await;
    let used = || {
        let tables = tables::Table::all().filter(|table| table.is_of_session());
        let used: Vec<_> = tables.filter(|table| rows(&rig, *table) > 0).collect();
        used
    };
    eventually("the session has rows in many tables", || async {
        let used = used();
        let wanted = [
            tables::EVENTS,
            tables::IDEMPOTENCY,
            tables::LISTS,
            tables::MESSAGES,
            tables::SUPPRESSED,
            tables::WA,
            tables::WEBHOOKS,
        ];
        wanted
            .iter()
            .all(|table| used.contains(table))
            .then_some(())
    })
    .await;
    let gone = rig.delete("/api/v1/sessions/shop").master();
    gone.send().await.expect(200);
    eventually("no table has a row of it", || async {
        (used().is_empty() && rows(&rig, tables::REMOVALS) == 0).then_some(())
    })
    .await;
    let rosters = tables::Table::all().filter(|table| table.is_of_roster());
    for table in rosters {
        assert_eq!(rows(&rig, table), 0, "{table:?}");
    }
}
