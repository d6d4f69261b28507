//! Backups that break off, stores that come back from one, and the copies that upgrades leave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warung::at_rest::{self, Lost};
use warung::commands;
use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::campaigns::{create, people, person, show, step, wait_for};
use crate::files::{sha256, uploaded};
use crate::support::{Rig, eventually, read_events};

const COPY: &str = "copy.redb";

/// Backs the running gateway up; answers the status.
async fn back_up(rig: &Rig) -> u16 {
    let call = rig.post("/admin/backup", &json!({ "name": COPY })).master();
    call.send().await.status
}

fn backup_of(rig: &Rig) -> PathBuf {
    rig.folder.path().join("data/backups").join(COPY)
}

/// Stops the gateway and makes a data folder of its backup, which the next start is on.
async fn restore(rig: &mut Rig, name: &str) -> Lost {
    rig.stop().await;
    let backup = backup_of(rig);
    let key = rig.folder.path().join("data/secret.key");
    rig.config.data = rig.folder.path().join(name);
    std::fs::create_dir(&rig.config.data).expect("a folder");
    std::fs::copy(key, rig.config.data.join("secret.key")).expect("copied");
    at_rest::restore(&rig.config, &backup).expect("restored")
}

/// All files of a folder and of those below it.
fn files_in(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            files.insert(path, bytes);
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_of_a_restored_store_wait_until_somebody_resumes_them() {
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000861").await;
    let campaign = |block: u32, more: Value| {
        let mut body = json!({ "name": "Promo", "sessionId": "shop", "recipients": people(block, 3),
            "message": { "type": "text", "content": "hello" },
            "settings": { "delayBetweenMessages": 60_000, "jitter": 0 } });
        let more = more.as_object().expect("fields").clone();
        body.as_object_mut().expect("fields").extend(more);
        body
    };
    let id = |made: Value| made["id"].as_str().expect("an id").to_owned();
    let runs = id(create(&rig, &token, &campaign(861, json!({}))).await);
    let soon = json!({ "scheduledAt": "2199-01-01T00:00:00Z" });
    let waits = id(create(&rig, &token, &campaign(862, soon)).await);
    let draft = id(create(&rig, &token, &campaign(863, json!({}))).await);
    let begun = step(&rig, &token, &runs, "start").await;
    begun.expect(200);
    eventually("one was written to", || async {
        let now = show(&rig, &token, &runs).await;
        (now["statistics"]["sent"] == 1).then_some(())
    })
    .await;
    assert_eq!(back_up(&rig).await, 200);

    let lost = restore(&mut rig, "restored").await;
    assert!(lost.missing.is_empty() && lost.damaged.is_empty());
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    for id in [&runs, &waits] {
        let now = show(&rig, &token, id).await;
        assert_eq!(now["status"], "paused", "{now}");
        let why = now["detail"].as_str().expect("a reason");
        assert!(why.starts_with("restored from a backup"), "{why}");
    }
    assert_eq!(show(&rig, &token, &draft).await["status"], "draft");

    // They go on where they were, and the next start leaves them alone.
    step(&rig, &token, &runs, "resume").await.expect(200);
    step(&rig, &token, &waits, "resume").await.expect(200);
    wait_for(&rig, &token, &waits, "ready").await;
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    let now = show(&rig, &token, &runs).await;
    assert_eq!(
        (&now["status"], &now["detail"]),
        (&json!("sending"), &Value::Null)
    );
    assert_eq!(show(&rig, &token, &waits).await["status"], "ready");
    assert_eq!(rig.received(&person(861, 0)).await.len(), 1);
    assert!(rig.received(&person(862, 0)).await.is_empty());
}

/// The numbers of the events after `last`, when there are some.
async fn numbers_after(rig: &Rig, last: u64) -> BTreeSet<u64> {
    let numbers = |events: &[Value]| -> BTreeSet<u64> {
        let numbers = events
            .iter()
            .map(|event| event["id"].as_u64().expect("a number"));
        numbers.filter(|number| *number > last).collect()
    };
    let all = rig.get("/api/v1/events?lastEventId=0").master();
    numbers(&read_events(all, |events| !numbers(events).is_empty()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_lives_of_a_store_give_their_events_the_same_numbers() {
    let mut rig = Rig::new().await;
    rig.pair("shop", "6281200000864").await;
    rig.wait_for_status("shop", "CONNECTED").await;
    assert_eq!(back_up(&rig).await, 200);
    let last = numbers_after(&rig, 0).await.last().copied();
    let last = last.expect("events") + 1000;
    let mut seen = BTreeSet::new();
    for life in ["first", "second", "third"] {
        restore(&mut rig, life).await;
        rig.restart().await;
        let numbers = numbers_after(&rig, last).await;
        assert!(
            seen.is_disjoint(&numbers),
            "{life}: {numbers:?} in {seen:?}"
        );
        seen.extend(numbers);
    }
    assert!(
        seen.iter().all(|number| *number < 1 << 53),
        "JavaScript keeps them"
    );

    // A reader who saw events of which this store knows nothing is not left without any.
    let far = rig
        .get("/api/v1/events?lastEventId=9007199254740991")
        .master();
    let events = read_events(far, |events| !events.is_empty()).await;
    assert!(events[0]["id"].as_u64() < Some(last), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_breaks_off_leaves_the_older_one_as_it_was() {
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000865").await;
    uploaded(&rig, &token, "a.pdf", b"%PDF-1.4 one").await;
    assert_eq!(back_up(&rig).await, 200);
    let backups = rig.config.data.join("backups");
    let before = files_in(&backups);
    assert_eq!(before.len(), 2);

    uploaded(&rig, &token, "b.pdf", b"%PDF-1.4 two").await;
    // What cannot be copied stands for a disk that fills up.
    let stone = rig.config.data.join("media").join("ab".repeat(32));
    std::fs::create_dir(&stone).expect("a folder");
    assert_eq!(back_up(&rig).await, 503);
    assert!(
        files_in(&backups) == before,
        "{:?}",
        files_in(&backups).keys()
    );
    rig.stop().await;
    std::fs::create_dir_all(&stone).expect("a folder");
    let copy = backup_of(&rig);
    commands::backup(&rig.config, &copy)
        .await
        .expect_err("broken off");
    assert!(
        files_in(&backups) == before,
        "{:?}",
        files_in(&backups).keys()
    );
    std::fs::remove_dir(&stone).expect("removed");

    // Not even when there is no place for the files only.
    let elsewhere = rig.folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    let (store, files) = (elsewhere.join("b"), elsewhere.join("b.media"));
    std::fs::write(&store, "an older backup").expect("written");
    std::fs::write(&files, "no folder").expect("written");
    let before = files_in(&elsewhere);
    commands::backup(&rig.config, &store)
        .await
        .expect_err("no place");
    assert!(
        files_in(&elsewhere) == before,
        "{:?}",
        files_in(&elsewhere).keys()
    );
    let left: Vec<_> = std::fs::read_dir(&elsewhere).expect("a folder").collect();
    assert_eq!(left.len(), 2, "{left:?}");

    commands::backup(&rig.config, &copy).await.expect("written");
    let after = files_in(&backups);
    assert_eq!(after.len(), 3, "{:?}", after.keys());
    let left: Vec<_> = std::fs::read_dir(&backups).expect("a folder").collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_names_the_files_it_cannot_bring_back_and_brings_all_others() {
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000866").await;
    let (good, gone, broken) = (b"%PDF-1.4 good", b"%PDF-1.4 gone", b"%PDF-1.4 broken");
    let kept = uploaded(&rig, &token, "a.pdf", good).await;
    uploaded(&rig, &token, "b.pdf", gone).await;
    uploaded(&rig, &token, "c.pdf", broken).await;
    assert_eq!(back_up(&rig).await, 200);
    let files = rig.config.data.join("backups/copy.redb.media");
    std::fs::remove_file(files.join(sha256(gone))).expect("removed");
    let damaged = files.join(sha256(broken));
    let mut bytes = std::fs::read(&damaged).expect("a file");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&damaged, bytes).expect("written");

    let lost = restore(&mut rig, "restored").await;
    let names = |hashes: &[_]| -> Vec<String> { hashes.iter().map(ToString::to_string).collect() };
    assert_eq!(names(&lost.missing), [sha256(gone)]);
    assert_eq!(names(&lost.damaged), [sha256(broken)]);
    let media = rig.config.data.join("media");
    assert!(!media.join(sha256(broken)).exists());
    rig.restart().await;
    let file = rig
        .get(&format!("/media/{kept}"))
        .bearer(&token)
        .send()
        .await;
    assert_eq!(file.body.as_ref(), good.as_slice());

    // A backup of another gateway writes no file.
    rig.stop().await;
    let backup = backup_of(&rig);
    rig.config.data = rig.folder.path().join("other");
    std::fs::create_dir(&rig.config.data).expect("a folder");
    std::fs::write(rig.config.data.join("secret.key"), "ab".repeat(32)).expect("written");
    assert!(at_rest::restore(&rig.config, &backup).is_err());
    let left = files_in(&rig.config.data);
    assert_eq!(left.len(), 1, "{:?}", left.keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_older_store_goes_after_thirty_days() {
    let clock = Clock::manual(Timestamp::from_secs(1_700_000_000));
    let deps = || Deps {
        clock: clock.clone(),
        ..Deps::default()
    };
    let mut rig = Rig::made_of(deps(), |_| {}).await;
    let copy = rig.config.data.join("warung.redb.schema-3");
    let other = rig.config.data.join("warung.redb.schema-3.by-hand");
    std::fs::write(&other, "not ours").expect("written");
    let days = |count: u64| Duration::from_secs(count * 24 * 3600);
    for _ in 0..2 {
        std::fs::write(&copy, "a store of an older version").expect("written");
        rig.restart_made_of(deps()).await;
        for (passed, stays) in [(0, true), (29, true), (2, false)] {
            clock.advance(days(passed));
            let gateway = rig.server.as_ref().expect("running").gateway();
            let swept = gateway.forget_old(&CancellationToken::new()).await;
            swept.expect("swept");
            assert_eq!(copy.exists(), stays, "{passed} days later");
        }
        // The next start believes the clock.
        let gateway = rig.server.as_ref().expect("running").gateway();
        gateway.note_time().await.expect("noted");
    }
    assert!(other.exists());
    // A clock that jumped ages nothing.
    std::fs::write(&copy, "a store of an older version").expect("written");
    rig.restart_made_of(deps()).await;
    clock.set(clock.now().after(days(400)));
    let gateway = rig.server.as_ref().expect("running").gateway();
    gateway
        .forget_old(&CancellationToken::new())
        .await
        .expect("swept");
    assert!(copy.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_older_store_that_cannot_be_sealed_holds_up_no_start() {
    let mut rig = Rig::new().await;
    rig.stop().await;
    // What cannot be read stands for a disk without room.
    let copy = rig.config.data.join("warung.redb.schema-1");
    std::fs::create_dir(&copy).expect("a folder");
    rig.restart().await;
    rig.wait_until_ready().await;
}
