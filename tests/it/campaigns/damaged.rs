//! Campaigns of which something in the store is damaged: only that is lost.

use warung::store::tables;

use super::{assert_sums, people, person, show, step, text_campaign, wait_for};
use crate::damage::{DAMAGED, damage_all, key, put};
use crate::support::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_live_campaign_that_is_damaged_or_not_there_stops_no_other() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002701").await;
    for id in [&b"damaged_1_a"[..], b"missing_1_a"] {
        put(&rig, tables::LIVE_CAMPAIGNS, key(1, id), b"").await;
    }
    put(&rig, tables::CAMPAIGNS, key(1, b"damaged_1_a"), DAMAGED).await;
    let id = text_campaign(&rig, &token, "{{name}}", &people(87, 2)).await;
    step(&rig, &token, &id, "start").await.expect(200);
    let done = wait_for(&rig, &token, &id, "completed").await;
    assert_eq!(done["statistics"]["sent"], 2, "{}", done["statistics"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_whose_recipients_are_damaged_is_paused_and_says_so() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002702").await;
    let damaged = text_campaign(&rig, &token, "{{name}}", &people(88, 2)).await;
    damage_all(&rig, tables::RECIPIENTS).await;
    let whole = text_campaign(&rig, &token, "{{name}}", &people(89, 2)).await;
    for id in [&damaged, &whole] {
        step(&rig, &token, id, "start").await.expect(200);
    }
    wait_for(&rig, &token, &whole, "completed").await;
    let path = "/api/v1/campaigns";
    let paused = crate::support::eventually("it is paused", || async {
        let all = rig.get(path).bearer(&token).send().await.expect(200);
        let all = all.as_array().expect("campaigns").clone();
        all.into_iter().find(|one| one["status"] == "paused")
    })
    .await;
    let said = paused["detail"].as_str().expect("a detail");
    assert!(said.contains("damaged"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_whose_row_is_damaged_is_not_written_to_and_the_others_are() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002703").await;
    let id = text_campaign(&rig, &token, "{{name}}", &people(90, 2)).await;
    // The first roster, its first place.
    let first = [1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    put(&rig, tables::CAMPAIGN_STATES, first, DAMAGED).await;
    let shown = show(&rig, &token, &id).await;
    assert_eq!(shown["recipients"][0]["status"], "failed", "{shown}");
    step(&rig, &token, &id, "start").await.expect(200);
    let done = wait_for(&rig, &token, &id, "completed").await;
    assert_sums(&done);
    assert_eq!(done["statistics"]["sent"], 1, "{}", done["statistics"]);
    assert!(rig.received(&person(90, 0)).await.is_empty());
}
