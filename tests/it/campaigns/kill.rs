//! The real program, killed at random moments of a campaign.
//!
//! The claims: each phone got its message exactly once, nobody was forgotten, the campaign ends by
//! itself, and its statistics are what the phones saw; the store is in order after every kill.

use std::time::Duration;

use serde_json::{Value, json};
use warung::sandbox::Sandbox;

use super::{assert_sums, people, person};
use crate::kill::{Running, pair_with, random};
use crate::support::{eventually, option};

/// Rounds in CI; `CAMPAIGN_KILL_ROUNDS` asks for more.
const ROUNDS: u32 = 20;

/// How many people each campaign writes to.
const PEOPLE: u32 = 500;

/// How many kills one campaign sees: more would find it at its end.
const KILLS: u32 = 20;

async fn create(running: &Running, block: u32) -> String {
    // Answers come late, so that kills find messages on their way; some batches, some one by one.
    let body = json!({ "name": "Killed", "sessionId": "shop", "message": { "content": "{{name}} {a|b|c}" },
        "recipients": people(block, PEOPLE),
        "settings": { "delayBetweenMessages": 0, "retryDelay": 20, "maxRetries": 5, "variants": true } });
    let made = running.call("POST", "/api/v1/campaigns").json(&body);
    let made = made.send().await.expect(201);
    let id = made["id"].as_str().expect("an id").to_owned();
    let start = running.call("POST", &format!("/api/v1/campaigns/{id}/start"));
    start.json(&json!({})).send().await.expect(200);
    id
}

async fn show(running: &Running, id: &str) -> Value {
    let path = format!("/api/v1/campaigns/{id}");
    running.call("GET", &path).send().await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_written_to_twice_or_forgotten_by_kills() {
    let rounds: u32 = option("CAMPAIGN_KILL_ROUNDS")
        .and_then(|n| n.parse().ok())
        .unwrap_or(ROUNDS);
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut running = Running::start(&data, &network).await;
    pair_with(&running, &network, "6281200002401").await;
    let fault = json!({ "delayAcks": 40 });
    network
        .control("POST", "/sandbox/faults", &fault)
        .await
        .expect("slow");
    let mut seed = std::process::id().into();
    println!("seed {seed}");
    let mut left = rounds;
    let mut block = 60;
    let mut found_at_work = 0;
    while left > 0 {
        let id = create(&running, block).await;
        for _ in 0..KILLS.min(left) {
            // From the moment of the login on, in which interrupted messages go again.
            tokio::time::sleep(Duration::from_millis(random(&mut seed) % 120)).await;
            running.kill().await;
            let problems =
                warung::store::check(&data.join("warung.redb")).expect("the store opens");
            assert!(problems.is_empty(), "{problems:?}");
            running = Running::start(&data, &network).await;
            running.wait_connected().await;
            found_at_work += u32::from(show(&running, &id).await["status"] == "sending");
            left -= 1;
        }
        ended_well(&running, &network, &id, block).await;
        block += 1;
    }
    assert!(
        found_at_work >= rounds / 4,
        "the kills came in the middle: {found_at_work}"
    );
    running.kill().await;
}

async fn ended_well(running: &Running, network: &Sandbox, id: &str, block: u32) {
    let done = eventually("the campaign ends", || async {
        let now = show(running, id).await;
        (now["status"] == "completed").then_some(now)
    })
    .await;
    assert_sums(&done);
    assert_eq!(done["statistics"]["sent"], PEOPLE, "{}", done["statistics"]);
    for n in 0..PEOPLE {
        let path = format!("/sandbox/phones/{}/messages", person(block, n));
        let got = network
            .control("GET", &path, &Value::Null)
            .await
            .expect("a phone");
        let got = got.as_array().expect("messages");
        assert_eq!(got.len(), 1, "{} got {got:?}", person(block, n));
        let text = got[0]["text"].as_str().expect("words");
        assert!(text.starts_with(&format!("Ani {n} ")), "{text}");
    }
}
