//! What becomes of a session that gives way to one that moves in: what is its owner's and other people's word
//! stays, and nobody is written to a second time.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::campaigns::step;
use crate::import::{copy, post, tar};
use crate::support::{Rig, Sink, eventually};

const TOKEN: &str = "a-token-of-toko";
const PROMO: &str = "campaign_1752480000000_aaaaaaaa";
const PHONE: &str = "6281200004001";

/// Longer than a campaign waits between two messages.
const PACE: Duration = Duration::from_secs(2);

fn person(n: u32) -> String {
    format!("62857770004{n:02}")
}

fn write(root: &Path, name: &str, value: &Value) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, value.to_string()).expect("written");
}

/// A folder of the original: a session without a phone, and a campaign that ran, in which the first of five was
/// written to.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(
        folder.path(),
        "session_tokens.json",
        &json!({ "toko": TOKEN }),
    );
    let recipients: Vec<_> = (1..=5)
        .map(|n| {
            let status = if n == 1 { "sent" } else { "pending" };
            json!({ "number": person(n), "name": format!("Ani {n}"), "status": status })
        })
        .collect();
    let campaign = json!({ "id": PROMO, "name": "Promo", "sessionId": "toko", "status": "sending",
        "message": { "type": "text", "content": "Halo" }, "recipients": recipients,
        "settings": { "delayBetweenMessages": 0 } });
    write(folder.path(), &format!("campaigns/{PROMO}.json"), &campaign);
    folder
}

async fn replace(rig: &Rig, folder: &Path) -> Value {
    let dry = post(rig, "?replace=true&dryRun=true", tar(folder))
        .send()
        .await;
    let dry = dry.expect(200);
    let done = post(rig, "?replace=true", tar(folder)).send().await;
    let done = done.expect(200);
    assert_eq!(done["changed"], true, "{done:#}");
    assert_eq!(done["lines"], dry["lines"]);
    done
}

/// What a report says of something, line by line.
fn said<'r>(report: &'r Value, outcome: &str, about: &str) -> Vec<&'r str> {
    let lines = report["lines"].as_array().expect("lines").iter();
    let lines = lines.filter(|line| {
        let named = line["about"].as_str().expect("a text");
        line["outcome"] == outcome && named.starts_with(about)
    });
    lines
        .map(|line| line["detail"].as_str().expect("a text"))
        .collect()
}

async fn link(rig: &Rig, session: &str) {
    let made = rig
        .post("/api/v1/sessions", &json!({ "sessionId": session }))
        .master();
    made.send().await.expect(201);
    let scan = json!({ "sessionId": session, "phone": PHONE });
    rig.sandbox("POST", "/sandbox/scan", &scan).await;
    rig.wait_for_status(session, "CONNECTED").await;
}

async fn get(rig: &Rig, path: &str) -> Value {
    rig.get(path).bearer(TOKEN).send().await.expect(200)
}

/// How many texts each person has.
async fn texts(rig: &Rig) -> Vec<usize> {
    let mut texts = Vec::new();
    for n in 1..=5 {
        texts.push(rig.received(&person(n)).await.len());
    }
    texts
}

async fn set(rig: &Rig, settings: &Value) {
    let path = "/api/v1/sessions/toko/settings";
    let call = crate::support::Call::new(rig.addr(), "PUT", path).json(settings);
    call.bearer(TOKEN).send().await.expect(200);
}

/// Imports the folder, links a phone, sends so many messages of the campaign, and waits.
async fn goes_on(rig: &Rig, clock: &Clock, folder: &Path, cap: u32) {
    post(rig, "", tar(folder)).send().await.expect(200);
    link(rig, "toko").await;
    set(rig, &json!({ "dailyCap": cap })).await;
    step(rig, TOKEN, PROMO, "resume").await.expect(200);
    eventually("the day's messages", || async {
        clock.advance(PACE);
        let campaign = get(rig, &format!("/api/v1/campaigns/{PROMO}")).await;
        (campaign["statistics"]["sent"] == 1 + cap).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_written_to_again_and_who_said_stop_is_heard() {
    // No day ends while this runs.
    let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
    let deps = || Deps {
        clock: clock.clone(),
        ..Deps::default()
    };
    let mut rig = Rig::made_of(deps(), |_| {}).await;
    let folder = folder();
    goes_on(&rig, &clock, folder.path(), 2).await;
    for n in [2, 4] {
        let path = format!("/sandbox/phones/{}/messages", person(n));
        let stop = json!({ "to": PHONE, "text": "STOP" });
        rig.sandbox("POST", &path, &stop).await;
    }
    let before = eventually("both on the list", || async {
        let list = get(&rig, "/api/v1/suppressions").await;
        (list["numbers"].as_array().expect("numbers").len() == 2).then_some(list)
    })
    .await;
    let report = replace(&rig, folder.path()).await;
    let of_campaign = said(&report, "taken", &format!("campaign {PROMO}"));
    assert!(
        of_campaign[0]
            .contains("it went on here, where more were written to, and they are not again: 2"),
        "{report:#}"
    );
    assert_eq!(get(&rig, "/api/v1/suppressions").await, before);
    let path = format!("/api/v1/campaigns/{PROMO}");
    let campaign = get(&rig, &path).await;
    assert_eq!(campaign["status"], "paused");
    assert_eq!(
        (
            &campaign["statistics"]["sent"],
            &campaign["statistics"]["pending"]
        ),
        (&json!(3), &json!(2))
    );
    // Its settings hold, and what was sent on this day counts.
    link(&rig, "toko").await;
    let settings = get(&rig, "/api/v1/sessions/toko/settings").await;
    assert_eq!(settings["dailyCap"], 2, "{settings}");
    step(&rig, TOKEN, PROMO, "resume").await.expect(200);
    rig.restart_made_of(deps()).await;
    rig.wait_for_status("toko", "CONNECTED").await;
    assert_eq!(texts(&rig).await, [0, 1, 1, 0, 0]);
    set(&rig, &json!({ "dailyCap": null })).await;
    let done = eventually("the end of the campaign", || async {
        clock.advance(PACE);
        let campaign = get(&rig, &path).await;
        (campaign["status"] == "completed").then_some(campaign)
    })
    .await;
    assert_eq!(texts(&rig).await, [0, 1, 1, 0, 1]);
    assert_eq!(
        (&done["statistics"]["sent"], &done["statistics"]["failed"]),
        (&json!(4), &json!(1))
    );
    // One that has ended here stays ended.
    let report = replace(&rig, folder.path()).await;
    let of_campaign = said(&report, "taken", &format!("campaign {PROMO}"));
    assert!(of_campaign[0].contains("not again: 3"), "{report:#}");
    let campaign = get(&rig, &path).await;
    assert_eq!(
        (&campaign["status"], &campaign["statistics"]["failed"]),
        (&json!("completed"), &json!(1))
    );
    assert_eq!(campaign["completedAt"], done["completedAt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_settings_webhook_and_token_stay_and_the_rest_is_counted() {
    let mut rig = Rig::new().await;
    let folder = copy("older");
    post(&rig, "", tar(folder.path())).send().await.expect(200);
    let token = "11111111-1111-4111-8111-111111111111";
    let sink = Sink::new().await;
    let hook = json!({ "sessionId": "kasir", "url": sink.url, "secret": "a secret of theirs",
        "events": ["message.received"] });
    rig.post("/api/v1/webhook", &hook)
        .bearer(token)
        .send()
        .await
        .expect(200);
    let key = json!({ "name": "toko", "scopes": ["broadcast"], "sessionId": "kasir" });
    let key = rig
        .post("/admin/keys", &key)
        .master()
        .send()
        .await
        .expect(201);
    let secret = key["key"].as_str().expect("a key").to_owned();
    let stop = json!({ "numbers": ["6285777000009"] });
    rig.post("/api/v1/suppressions", &stop)
        .bearer(token)
        .send()
        .await
        .expect(200);
    let campaign = json!({ "name": "Baru", "sessionId": "kasir",
        "message": { "type": "text", "content": "Halo" }, "recipients": [{ "number": "6285777000008" }] });
    rig.post("/api/v1/campaigns", &campaign)
        .bearer(token)
        .send()
        .await
        .expect(201);

    // Only the keys of the linked devices are in this folder.
    let keys = folder.path().join("auth_info_baileys");
    let report = replace(&rig, &keys).await;
    let taken = said(&report, "taken", "session kasir");
    assert_eq!(
        taken,
        [
            "replaces the one that is here; its token is not known, so the one of the session that is here stays"
        ]
    );
    let notes = said(&report, "note", "session kasir");
    let expected = "what the folder does not have of the one that is here goes: campaigns (2), recipient lists (1), \
                    uploaded files (1), and all messages and events; its settings, webhooks (1), opt-outs (1) and \
                    keys (1) stay";
    assert!(notes.contains(&expected), "{report:#}");
    for restarted in [false, true] {
        if restarted {
            rig.restart().await;
        }
        let hook = rig
            .get("/api/v1/webhook?sessionId=kasir")
            .bearer(token)
            .send();
        let hook = hook.await.expect(200);
        assert_eq!(
            (&hook["url"], &hook["events"]),
            (&json!(sink.url), &json!(["message.received"]))
        );
        let by_key = rig.get("/api/v1/suppressions").bearer(&secret).send().await;
        assert_eq!(by_key.expect(200)["numbers"][0]["number"], "6285777000009");
        let campaigns = rig.get("/api/v1/campaigns").bearer(token).send().await;
        assert_eq!(campaigns.expect(200), json!([]));
        let keys = rig.get("/admin/keys").master().send().await.expect(200);
        let row = &keys["keys"][0];
        assert_eq!(
            (&row["id"], &row["sessionId"]),
            (&key["id"], &json!("kasir"))
        );
        assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1));
    }
    // The secret that the receiver knows signs on: no other was made when it is set again.
    let again = rig.hook("kasir", &sink.url, &["session.update"]).await;
    assert!(again["secret"].is_null(), "{again}");
    rig.stop().await;
}
