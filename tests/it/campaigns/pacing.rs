//! Campaigns on a clock that the tests move: times, delays, caps, quiet hours.

use std::time::Duration;

use serde_json::{Value, json};

use super::{assert_each_once, create, people, person, show, step, wait_for};
use crate::support::{Call, Rig, eventually};
use warung::config::Config;
use warung::server::Deps;
use warung::time::{Clock, Timestamp};

/// 2026-11-21 08:00 in Jakarta.
pub(super) const MORNING: Timestamp = Timestamp::from_secs(1_795_222_800);

struct Paced {
    rig: Rig,
    clock: Clock,
    token: String,
}

impl Paced {
    async fn new(account: &str, start: Timestamp) -> Self {
        Self::with(account, start, |_| {}).await
    }

    async fn with(account: &str, start: Timestamp, change: impl FnOnce(&mut Config)) -> Self {
        let clock = Clock::manual(start);
        let deps = Deps {
            clock: clock.clone(),
            ..Deps::default()
        };
        let rig = Rig::made_of(deps, change).await;
        let token = rig.pair("shop", account).await;
        Self { rig, clock, token }
    }

    async fn campaign(&self, block: u32, count: u32, settings: Value, scheduled: Value) -> String {
        let body = json!({ "name": "Paced", "settings": settings, "scheduledAt": scheduled,
            "message": { "content": "{{name}}" }, "recipients": people(block, count) });
        let made = create(&self.rig, &self.token, &body).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.rig
            .server
            .as_ref()
            .expect("running")
            .gateway()
            .wake_campaigns();
    }

    async fn sent(&self, id: &str) -> u64 {
        let now = show(&self.rig, &self.token, id).await;
        now["statistics"]["sent"].as_u64().expect("a number")
    }

    /// Waits for so many, and sees that it stays so while the clock stands.
    async fn sent_exactly(&self, id: &str, count: u64) {
        eventually(&format!("{count} are sent"), || async {
            let sent = self.sent(id).await;
            assert!(sent <= count, "{sent} are sent, not {count}");
            (sent == count).then_some(())
        })
        .await;
        // Another look finds nothing to do: the runner has been through since.
        self.pass(Duration::ZERO);
        let text = self
            .rig
            .send_text("shop", &self.token, "6281299993000", "in between")
            .await;
        assert_eq!(text["status"], "success");
        assert_eq!(self.sent(id).await, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_starts_at_its_time_and_one_in_the_past_at_once() {
    let paced = Paced::new("6281200002201", MORNING).await;
    let later = paced
        .campaign(
            41,
            3,
            json!({ "delayBetweenMessages": 0 }),
            json!("2026-11-21T10:00:00+07:00"),
        )
        .await;
    let past = paced
        .campaign(
            42,
            3,
            json!({ "delayBetweenMessages": 0 }),
            json!("2020-01-01T00:00:00Z"),
        )
        .await;
    // A time that has passed is rather a mistake than a wish: nobody is written to, which is said.
    let waits = show(&paced.rig, &paced.token, &past).await;
    assert_eq!(waits["status"], "draft");
    assert_eq!(waits["scheduledAt"], "2020-01-01T00:00:00.000Z");
    let note = waits["note"].as_str().expect("a note");
    assert!(
        note.contains(&format!("/api/v1/campaigns/{past}/start")),
        "{note}"
    );
    paced.sent_exactly(&past, 0).await;
    step(&paced.rig, &paced.token, &past, "start")
        .await
        .expect(200);
    let done = wait_for(&paced.rig, &paced.token, &past, "completed").await;
    assert_eq!(done["note"], Value::Null);
    assert_eq!(
        show(&paced.rig, &paced.token, &later).await["status"],
        "ready"
    );
    paced.pass(Duration::from_secs(7199));
    paced.sent_exactly(&later, 0).await;
    paced.pass(Duration::from_secs(1));
    let done = wait_for(&paced.rig, &paced.token, &later, "completed").await;
    assert_eq!(done["startedAt"], "2026-11-21T03:00:00.000Z");
    assert_each_once(&paced.rig, 41, 3, |n| format!("Ani {n}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_probably_wrong_holds_campaigns_back_and_nothing_else() {
    let paced = Paced::new("6281200002211", MORNING).await;
    paced.clock.set_doubted(true);
    let settings = json!({ "delayBetweenMessages": 0 });
    let id = paced.campaign(49, 3, settings, Value::Null).await;
    let started = step(&paced.rig, &paced.token, &id, "start").await;
    started.expect(200);
    paced.sent_exactly(&id, 0).await;
    paced.clock.set_doubted(false);
    paced.pass(Duration::ZERO);
    wait_for(&paced.rig, &paced.token, &id, "completed").await;
    assert_each_once(&paced.rig, 49, 3, |n| format!("Ani {n}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delay_is_kept_and_grows_by_its_jitter_at_most() {
    let paced = Paced::new("6281200002202", MORNING).await;
    let id = paced
        .campaign(
            43,
            4,
            json!({ "delayBetweenMessages": 60_000, "jitter": 50 }),
            Value::Null,
        )
        .await;
    step(&paced.rig, &paced.token, &id, "start")
        .await
        .expect(200);
    for sent in 1..4 {
        paced.sent_exactly(&id, sent).await;
        paced.pass(Duration::from_millis(59_999));
        paced.sent_exactly(&id, sent).await;
        paced.pass(Duration::from_millis(30_001));
    }
    wait_for(&paced.rig, &paced.token, &id, "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_counts_days_of_its_zone_and_all_campaigns_of_the_session() {
    // 23:30 in Jakarta, where the next day is half an hour away; in UTC it is seven and a half.
    let paced = Paced::new(
        "6281200002203",
        Timestamp::from_secs(MORNING.as_secs() + 15 * 3600 + 1800),
    )
    .await;
    let put = Call::new(paced.rig.addr(), "PUT", "/api/v1/sessions/shop/settings");
    let limits = json!({ "dailyCap": 5, "timezone": "Asia/Jakarta" });
    put.json(&limits)
        .bearer(&paced.token)
        .send()
        .await
        .expect(200);
    let zone = json!({ "delayBetweenMessages": 0, "timezone": "Asia/Jakarta" });
    let first = paced.campaign(44, 3, zone.clone(), Value::Null).await;
    step(&paced.rig, &paced.token, &first, "start")
        .await
        .expect(200);
    wait_for(&paced.rig, &paced.token, &first, "completed").await;
    let second = paced.campaign(45, 9, zone, Value::Null).await;
    step(&paced.rig, &paced.token, &second, "start")
        .await
        .expect(200);
    paced.sent_exactly(&second, 2).await;
    paced.pass(Duration::from_secs(1799));
    paced.sent_exactly(&second, 2).await;
    paced.pass(Duration::from_secs(1));
    paced.sent_exactly(&second, 7).await;
    paced.pass(Duration::from_secs(24 * 3600));
    wait_for(&paced.rig, &paced.token, &second, "completed").await;
    assert_each_once(&paced.rig, 45, 9, |n| format!("Ani {n}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_in_quiet_hours_also_when_summer_time_ends() {
    // 2026-10-25 is the night in which Berlin's clocks go back: 00:30 summer time.
    let paced = Paced::new("6281200002204", Timestamp::from_secs(1_792_881_000)).await;
    let settings = json!({ "delayBetweenMessages": 0, "timezone": "Europe/Berlin",
        "quietHours": { "from": "21:00", "to": "08:00" } });
    let id = paced.campaign(46, 3, settings, Value::Null).await;
    step(&paced.rig, &paced.token, &id, "start")
        .await
        .expect(200);
    paced.sent_exactly(&id, 0).await;
    // Eight o'clock is eight and a half hours away, not seven and a half.
    paced.pass(Duration::from_secs(8 * 3600 + 1799));
    paced.sent_exactly(&id, 0).await;
    paced.pass(Duration::from_secs(1));
    wait_for(&paced.rig, &paced.token, &id, "completed").await;
    assert_each_once(&paced.rig, 46, 3, |n| format!("Ani {n}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_stops_nothing_for_long() {
    let paced = Paced::new("6281200002205", MORNING).await;
    let id = paced
        .campaign(
            47,
            2,
            json!({ "delayBetweenMessages": 60_000, "jitter": 0 }),
            Value::Null,
        )
        .await;
    step(&paced.rig, &paced.token, &id, "start")
        .await
        .expect(200);
    paced.sent_exactly(&id, 1).await;
    paced
        .clock
        .set(Timestamp::from_secs(MORNING.as_secs() - 30 * 24 * 3600));
    paced.pass(Duration::from_secs(60));
    wait_for(&paced.rig, &paced.token, &id, "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_is_never_acknowledged_counts_once_a_day_and_is_given_up() {
    let impatient = |config: &mut Config| config.ack_timeout = Duration::from_millis(500);
    let paced = Paced::with("6281200002206", MORNING, impatient).await;
    let put = Call::new(paced.rig.addr(), "PUT", "/api/v1/sessions/shop/settings");
    let limits = json!({ "dailyCap": 2, "timezone": "Asia/Jakarta" });
    put.json(&limits)
        .bearer(&paced.token)
        .send()
        .await
        .expect(200);
    let path = format!("/sandbox/phones/{}", person(53, 0));
    let silent = json!({ "receipts": "none" });
    paced.rig.sandbox("PUT", &path, &silent).await;
    let lost = json!({ "loseAcks": true, "to": person(53, 0) });
    paced.rig.sandbox("POST", "/sandbox/faults", &lost).await;
    let settings = json!({ "delayBetweenMessages": 0, "timezone": "Asia/Jakarta" });
    let start = |block: u32| {
        let (paced, settings) = (&paced, settings.clone());
        async move {
            let id = paced.campaign(block, 1, settings, Value::Null).await;
            let started = step(&paced.rig, &paced.token, &id, "start").await;
            started.expect(200);
            id
        }
    };
    let ends = |id: String| {
        let paced = &paced;
        async move {
            eventually("the end", || async {
                paced.pass(Duration::from_secs(5));
                let now = show(&paced.rig, &paced.token, &id).await;
                (now["status"] == "completed").then_some(now)
            })
            .await
        }
    };
    let given_up = ends(start(53).await).await;
    let row = &given_up["recipients"][0];
    assert_eq!(row["status"], "failed", "{row}");
    let why = row["error"].as_str().expect("words");
    assert!(why.contains("may still arrive"), "{why}");
    assert!(
        paced.clock.now() < MORNING.after(Duration::from_secs(12 * 3600)),
        "it is still the same day"
    );
    // The first counts as one of the two of this day, however often it was tried.
    let second = ends(start(54).await).await;
    assert_eq!(second["statistics"]["sent"], 1, "{}", second["statistics"]);
    let third = start(55).await;
    paced.sent_exactly(&third, 0).await;
    paced.pass(Duration::from_secs(24 * 3600));
    ends(third).await;
    assert_each_once(&paced.rig, 55, 1, |n| format!("Ani {n}")).await;
}
