//! Stored keys: what they open, how they end, and what is kept of them.

use std::sync::Arc;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use warung::domain::access::{NewKey, Scope};
use warung::domain::dialect::Dialect;
use warung::domain::event::publish::append;
use warung::domain::event::{Event, EventData, SessionUpdate};
use warung::domain::session::{Session, SessionState};
use warung::ids::SessionId;
use warung::store::{Durability, Read, tables};

use crate::support::{Answer, Call, PATIENCE, Rig, eventually};

/// Makes a key; answers its row and the key itself.
async fn make(rig: &Rig, new: Value) -> (Value, String) {
    let row = rig.post("/admin/keys", &new).master();
    let row = row.send().await.expect(201);
    let secret = row["key"].as_str().expect("a key").to_owned();
    (row, secret)
}

async fn list(rig: &Rig) -> Vec<Value> {
    let all = rig.get("/admin/keys").master().send().await.expect(200);
    all["keys"].as_array().expect("a list").clone()
}

async fn revoke(rig: &Rig, row: &Value) -> Answer {
    let path = format!("/admin/keys/{}", row["id"].as_str().expect("an id"));
    rig.delete(&path).master().send().await
}

/// Asks one route of each scope; answers the scopes that were not refused.
async fn opened(rig: &Rig, key: &str) -> Vec<&'static str> {
    let nothing = json!({});
    let calls = [
        (
            "admin",
            rig.post("/api/v1/sessions/shop/pairing-code", &nothing),
        ),
        (
            "send",
            rig.post("/api/v1/messages?sessionId=shop", &nothing),
        ),
        ("broadcast", rig.get("/api/v1/campaigns")),
        ("config", rig.get("/api/v1/sessions/shop/settings")),
        ("media", rig.get("/api/v1/media?sessionId=shop")),
        ("webhook", rig.get("/api/v1/webhook?sessionId=shop")),
        ("read", rig.get("/api/v1/sessions/shop")),
    ];
    let mut opened = Vec::new();
    for (scope, call) in calls {
        let answer = call.bearer(key).send().await;
        match answer.status {
            403 => {
                let message = answer.json()["message"].clone();
                assert_eq!(message, format!("The key lacks the scope {scope}"));
            }
            // What was asked is nonsense in some, which is found later, or the session not connected.
            200 | 400 | 404 => opened.push(scope),
            other => panic!("{scope}: {other}"),
        }
    }
    opened
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_its_scopes_say_and_nothing_else() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    for scope in [
        "admin",
        "send",
        "broadcast",
        "config",
        "media",
        "webhook",
        "read",
    ] {
        for session in [Value::Null, json!("shop")] {
            let new = json!({ "name": "one", "scopes": [scope], "sessionId": session });
            let (_, key) = make(&rig, new).await;
            assert_eq!(opened(&rig, &key).await, [scope], "{session}");
        }
    }
    let (_, key) = make(&rig, json!({ "name": "none of these", "scopes": ["ai"] })).await;
    assert_eq!(opened(&rig, &key).await, [""; 0]);
    for path in ["/admin/keys", "/metrics"] {
        let answer = rig.get(path).bearer(&key).send().await;
        assert_eq!(answer.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_session_knows_no_other() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    rig.create("clinic").await;
    let all = json!([
        "admin",
        "send",
        "broadcast",
        "config",
        "media",
        "webhook",
        "read"
    ]);
    let new = json!({ "name": "shop's", "scopes": all, "sessionId": "shop" });
    let (_, pinned) = make(&rig, new).await;
    let (_, tenant) = make(&rig, json!({ "name": "all", "scopes": all })).await;
    for other in ["clinic", "nowhere"] {
        for path in [
            format!("/api/v1/sessions/{other}"),
            format!("/api/v1/webhook?sessionId={other}"),
            format!("/api/v1/media?sessionId={other}"),
            format!("/api/v1/campaigns?sessionId={other}"),
            format!("/api/v1/events?sessionId={other}"),
        ] {
            let of_key = rig.get(&path).bearer(&pinned).send().await;
            let of_token = rig.get(&path).bearer(&token).send().await;
            assert_eq!(of_key.status, 403, "{path}");
            assert_eq!(of_key.body, of_token.body, "{path}");
        }
    }
    // Its own is meant where a token's is.
    let media = rig.get("/api/v1/media").bearer(&pinned).send().await;
    media.expect(200);
    let media = rig.get("/api/v1/media").bearer(&tenant).send().await;
    assert_eq!(media.status, 400);
    let call = rig.get("/api/v1/sessions/clinic").bearer(&tenant);
    call.send().await.expect(200);
    // A session's token does more than a key, and is shown to none.
    for key in [&pinned, &tenant] {
        let rows = rig.get("/api/v1/sessions").bearer(key).send().await;
        let rows = rows.expect(200);
        let rows = rows.as_array().expect("rows");
        assert!(rows.iter().all(|row| row["token"].is_null()), "{rows:?}");
        let one = rig.get("/api/v1/sessions/shop").bearer(key).send().await;
        assert!(one.expect(200)["token"].is_null());
        let rotate = rig.post("/api/v1/sessions/shop/token", &json!({}));
        assert_eq!(rotate.bearer(key).send().await.status, 403);
    }
    let third = rig.post("/api/v1/sessions", &json!({ "sessionId": "third" }));
    let refused = third.clone().bearer(&pinned).send().await;
    assert_eq!(
        refused.expect(403)["message"],
        "The key is for one session only"
    );
    assert!(third.bearer(&tenant).send().await.expect(201)["token"].is_null());
    let own = rig.get("/api/v1/sessions/shop").bearer(&token).send().await;
    assert_eq!(own.expect(200)["token"], token.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_when_it_is_revoked_and_with_its_session() {
    let mut rig = Rig::new().await;
    rig.create("shop").await;
    let new = |name: &str, session: Value| json!({ "name": name, "scopes": ["read"], "sessionId": session });
    let (revoked, first) = make(&rig, new("first", Value::Null)).await;
    let (_, second) = make(&rig, new("second", json!("shop"))).await;
    let (_, third) = make(&rig, new("third", Value::Null)).await;
    let status = async |rig: &Rig, key: &str| {
        let call = rig.get("/api/v1/campaigns/csv-template").bearer(key);
        let answer = call.send().await;
        // It has no scope for that, or is no key.
        let message = answer.json()["message"]
            .as_str()
            .expect("a text")
            .to_owned();
        (answer.status, message)
    };
    let good = (403, "The key lacks the scope broadcast".to_owned());
    let ended = (403, "Invalid token".to_owned());
    for key in [&first, &second, &third] {
        assert_eq!(status(&rig, key).await, good);
    }
    // Streams that it opened end, too.
    let stream = rig.get("/api/v1/events").bearer(&first).open().await;
    assert_eq!(stream.status(), 200);
    assert_eq!(revoke(&rig, &revoked).await.status, 200);
    tokio::time::timeout(PATIENCE, stream.into_body().collect())
        .await
        .expect("the stream ends")
        .expect("it was read");
    let gone = rig.delete("/api/v1/sessions/shop").master();
    gone.send().await.expect(200);
    // Another of the name is another session.
    rig.create("shop").await;
    for _ in 0..2 {
        assert_eq!(status(&rig, &first).await, ended);
        assert_eq!(status(&rig, &second).await, ended);
        assert_eq!(status(&rig, &third).await, good);
        let listed = list(&rig).await;
        let of = |name: &str| listed.iter().find(|key| key["name"] == name);
        assert!(of("first").is_some_and(|key| key["revokedAt"].is_string()));
        assert!(of("third").is_some_and(|key| key["revokedAt"].is_null()));
        assert_eq!(listed.len(), 2);
        rig.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_are_counted_across_a_restart_and_the_key_itself_is_kept_nowhere() {
    let mut rig = Rig::new().await;
    rig.create("shop").await;
    let new = json!({ "name": "counted", "scopes": ["read"] });
    let (row, key) = make(&rig, new).await;
    assert_eq!(
        (&row["usage"], &row["lastUsedAt"]),
        (&json!(0), &Value::Null)
    );
    let ask = async |rig: &Rig| {
        let call = rig.get("/api/v1/sessions/shop").bearer(&key);
        call.send().await.expect(200);
    };
    for _ in 0..3 {
        ask(&rig).await;
    }
    // A refusal is a use: whoever has the key was there.
    let refused = rig.get("/api/v1/campaigns").bearer(&key).send().await;
    assert_eq!(refused.status, 403);
    assert_eq!(list(&rig).await[0]["usage"], 4);
    let fsyncs = || {
        rig.server
            .as_ref()
            .expect("running")
            .gateway()
            .store_stats()
            .fsyncs
    };
    let before = fsyncs();
    for _ in 0..50 {
        ask(&rig).await;
    }
    assert!(fsyncs() - before < 50, "not each use waits for the disk");
    rig.restart().await;
    let kept = list(&rig).await.remove(0);
    assert_eq!(kept["usage"], 54);
    assert!(kept["lastUsedAt"].is_string());
    ask(&rig).await;
    assert_eq!(list(&rig).await[0]["usage"], 55);
    let preview = kept["preview"].as_str().expect("a preview");
    assert!(preview.len() == 6 && key.ends_with(preview), "{preview}");
    let listed = rig.get("/admin/keys").master().send().await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(&key));
    rig.stop().await;
    let digits = key.trim_start_matches("v1_").as_bytes();
    for file in std::fs::read_dir(rig.folder.path().join("data")).expect("a folder") {
        let path = file.expect("an entry").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("a file");
            let is_there = bytes.windows(digits.len()).any(|part| part == digits);
            assert!(!is_there, "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialect_keeps_the_last_key_that_administers_it() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    let admin = |dialect: &str, session: Value| json!({ "name": dialect, "scopes": ["admin"], "dialect": dialect, "sessionId": session });
    let (first, _) = make(&rig, admin("openwa", Value::Null)).await;
    // Neither one of another dialect nor one for a session alone stands in for it.
    make(&rig, admin("kirana", Value::Null)).await;
    let (pinned, _) = make(&rig, admin("openwa", json!("shop"))).await;
    let refused = revoke(&rig, &first).await;
    assert_eq!(refused.status, 409, "{}", refused.json());
    assert_eq!(revoke(&rig, &pinned).await.status, 200);
    let (second, _) = make(&rig, admin("openwa", Value::Null)).await;
    let both = tokio::join!(revoke(&rig, &first), revoke(&rig, &second));
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "one of two is left");
    let left = list(&rig).await;
    let live = |key: &&Value| key["dialect"] == "openwa" && key["revokedAt"].is_null();
    assert_eq!(left.iter().filter(live).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_have_the_shape_of_their_dialect_and_open_no_other() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    for (dialect, prefix) in [
        ("openwa", "owa_"),
        ("kirana", "kirana_"),
        ("serverwa", ""),
        ("wafa", "wafa_"),
    ] {
        let new = json!({ "name": dialect, "scopes": ["read", "send"], "dialect": dialect });
        let (_, key) = make(&rig, new).await;
        let digits = key.strip_prefix(prefix).expect("its prefix");
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(digits.len() == 64 && is_hex, "{key}");
        let answer = rig.get("/api/v1/sessions/shop").bearer(&key).send().await;
        assert_eq!(answer.status, 403);
        for header in ["x-api-key", "apikey"] {
            let alone = rig.get("/api/v1/sessions/shop").header(header, &key);
            assert_eq!(alone.send().await.status, 401);
            let call = rig.get("/api/v1/sessions/shop").header(header, &key);
            let answer = call.bearer(&token).send().await;
            let message = "The request has credentials for two dialects";
            assert_eq!(answer.expect(400)["message"], message);
            // The master key is of every dialect.
            let call = rig.get("/api/v1/sessions/shop").header(header, &key);
            call.master().send().await.expect(200);
        }
        // On paths that dialects share, the key says whose request it is, and v1 leaves it alone.
        let send = json!({ "sessionId": "shop", "number": "6281234567890", "message": "hai" });
        let call = rig
            .post("/api/send-message", &send)
            .header("x-api-key", &key);
        let answer = call.send().await;
        let message = "Route POST /api/send-message not found";
        assert_eq!(answer.expect(404)["message"], message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_session_that_goes_leaves_no_row() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    for session in [json!("shop"), Value::Null] {
        let new = json!({ "name": "a key", "scopes": ["send"], "sessionId": session });
        make(&rig, new).await;
    }
    let rows = || {
        let gateway = rig.server.as_ref().expect("running").gateway();
        let rows = gateway
            .store()
            .read(|read| read.prefix(tables::KEYS, b"", None, 100));
        rows.expect("read").len()
    };
    assert_eq!(rows(), 2);
    let gone = rig.delete("/api/v1/sessions/shop").master();
    gone.send().await.expect(200);
    eventually("the row of the key is gone", || async {
        (rows() == 1).then_some(())
    })
    .await;
}

/// What everybody may ask, and the sends and the list of sessions, which admit their callers themselves.
const OPEN: [&str; 13] = [
    "GET /",
    "GET /api/v1/sessions",
    "GET /docs",
    "GET /favicon.ico",
    "GET /health",
    "GET /ping",
    "GET /ready",
    "GET /source",
    "POST /api/message",
    "POST /api/send-message",
    "POST /api/v1/legacy/message",
    "POST /api/v1/legacy/send-message",
    "POST /api/v1/sessions",
];

#[tokio::test(flavor = "multi_thread")]
async fn each_route_admits_whom_the_table_says() {
    let rig = Rig::new().await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    let (mut table, mut open) = (Vec::new(), Vec::new());
    for mount in warung::api::mounts(gateway, &Default::default()) {
        for route in &mount.routes {
            let (method, path) = route.name();
            let name = format!("{method} {}{path}", mount.prefix);
            match route.admission() {
                Some(who) => table.push(format!("{name}: {who}")),
                None => open.push(name),
            }
        }
    }
    table.sort_unstable();
    open.sort_unstable();
    assert_eq!(open, OPEN);
    let told: Vec<_> = include_str!("admission.txt").lines().collect();
    assert_eq!(table, told, "{}", table.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_key_that_may_not_do_it_is_no_guess() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    rig.create("clinic").await;
    let new = |scope: &str, dialect: &str, session: Value| json!({ "name": "one", "scopes": [scope], "dialect": dialect, "sessionId": session });
    let (_, reading) = make(&rig, new("read", "v1", Value::Null)).await;
    let (_, pinned) = make(&rig, new("admin", "v1", json!("shop"))).await;
    let (_, other) = make(&rig, new("read", "openwa", Value::Null)).await;
    let third = json!({ "sessionId": "third" });
    let rotate = rig.post("/api/v1/sessions/shop/token", &json!({}));
    let create = rig.post("/api/v1/sessions", &third);
    for (call, status) in [
        (rig.get("/api/v1/campaigns").bearer(&reading), 403),
        (rig.get("/api/v1/campaigns").bearer(&other), 403),
        (rig.get("/api/v1/sessions/clinic").bearer(&token), 403),
        (rotate.bearer(&pinned), 403),
        (create.clone().bearer(&pinned), 403),
        (create.clone().bearer(&token), 401),
        (create.clone().header("x-master-key", &token), 401),
        (
            rig.get("/api/v1/campaigns").header("x-master-key", &token),
            401,
        ),
        (rig.get("/metrics").bearer(&token), 401),
        (rig.get("/admin/keys").bearer(&reading), 401),
        (
            rig.get("/api/v1/sessions/shop").header("x-api-key", &other),
            401,
        ),
    ] {
        // Wrong ones would be answered with 429 before.
        for _ in 0..25 {
            assert_eq!(call.clone().send().await.status, status);
        }
    }
    let failed = async || {
        let figures = rig.get("/metrics").master().send().await;
        let figures = String::from_utf8_lossy(&figures.body).into_owned();
        let line = figures
            .lines()
            .find(|line| line.starts_with("warung_http_failed_logins_total"));
        line.expect("a figure").to_owned()
    };
    assert_eq!(failed().await, "warung_http_failed_logins_total 0");
    for (call, status) in [
        (rig.get("/api/v1/campaigns").bearer("a-guess"), 403),
        (
            rig.get("/api/v1/campaigns")
                .header("x-master-key", "a-guess"),
            401,
        ),
        (rig.get("/metrics").bearer("a-guess"), 401),
        (create.clone().bearer("a-guess"), 401),
        (create.header("x-master-key", "a-guess"), 401),
    ] {
        assert_eq!(call.send().await.status, status);
    }
    assert_eq!(failed().await, "warung_http_failed_logins_total 5");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_make_sessions_is_told_what_is_wrong_with_the_credential() {
    let rig = Rig::new().await;
    let new = |dialect: &str| json!({ "name": dialect, "scopes": ["admin"], "dialect": dialect });
    let (_, own) = make(&rig, new("v1")).await;
    let (_, other) = make(&rig, new("openwa")).await;
    let create = rig.post("/api/v1/sessions", &json!({ "sessionId": "shop" }));
    let refused = create.clone().bearer(&other).send().await;
    let message = "This key is for the dialect openwa";
    assert_eq!(refused.expect(403)["message"], message);
    let refused = create.clone().bearer(&own).header("x-api-key", &other);
    let message = "The request has credentials for two dialects";
    assert_eq!(refused.send().await.expect(400)["message"], message);
    create.bearer(&own).send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_list_is_not_public_a_key_sees_its_own_sessions_and_needs_the_scope() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    rig.create("clinic").await;
    let new = |scope: &str, session: Value| json!({ "name": "one", "scopes": [scope], "sessionId": session });
    let (_, pinned) = make(&rig, new("read", json!("shop"))).await;
    let (_, all) = make(&rig, new("read", Value::Null)).await;
    let (_, sending) = make(&rig, new("send", json!("shop"))).await;
    // What came through a proxy is no program of this machine.
    let list = |key: &str| {
        let call = rig.get("/api/v1/sessions").bearer(key);
        call.header("x-forwarded-for", "203.0.113.7").send()
    };
    let seen = async |key: &str| {
        let rows = list(key).await.expect(200);
        let rows = rows.as_array().expect("rows").iter();
        let mut names: Vec<_> = rows.map(|row| row["sessionId"].to_string()).collect();
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(seen(&pinned).await, r#""shop""#);
    assert_eq!(seen(&all).await, r#""clinic" "shop""#);
    let refused = list(&sending).await;
    let message = "The key lacks the scope read";
    assert_eq!(refused.expect(403)["message"], message);
    // Where everybody sees it, so does a key.
    let public = rig.get("/api/v1/sessions").bearer(&sending).send().await;
    assert_eq!(public.expect(200).as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_read_points_no_webhook_at_itself() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    let new = |scopes: Value| json!({ "name": "one", "scopes": scopes });
    let (_, alone) = make(&rig, new(json!(["webhook"]))).await;
    let (_, reading) = make(&rig, new(json!(["webhook", "read"]))).await;
    let hook = json!({ "sessionId": "shop", "url": "not an address" });
    let set = rig.post("/api/v1/webhook", &hook);
    let again = "/api/v1/webhook/deliveries/1-v1/replay?sessionId=shop";
    let replay = rig.post(again, &json!({}));
    for call in [&set, &replay] {
        let refused = call.clone().bearer(&alone).send().await;
        let message = "The key lacks the scope read";
        assert_eq!(refused.expect(403)["message"], message);
    }
    assert_eq!(set.bearer(&reading).send().await.status, 400);
    assert_eq!(replay.bearer(&reading).send().await.status, 404);
}

/// A key that is to be made by the gateway itself.
fn new_key(session: Option<Arc<Session>>) -> NewKey {
    NewKey {
        name: "one".to_owned(),
        dialect: Dialect::Wafa,
        scopes: [Scope::Admin].into(),
        pinned: session,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_keys_than_there_may_be() {
    let rig = Rig::new().await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    let made = (0..1010).map(|_| gateway.create_key(new_key(None)));
    let made = futures_util::future::join_all(made).await;
    let refused = made.iter().filter(|made| made.is_err()).count();
    assert_eq!((refused, gateway.list_keys().len()), (10, 1000));
    // Two want the place of the one that was revoked.
    let first = gateway.list_keys().remove(0);
    gateway.revoke_key(&first.id).await.expect("revoked");
    let both = tokio::join!(
        gateway.create_key(new_key(None)),
        gateway.create_key(new_key(None))
    );
    assert_ne!(both.0.is_ok(), both.1.is_ok());
    assert_eq!(gateway.list_keys().len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_made_while_its_session_goes_is_of_no_session_and_not_of_all() {
    let rig = Rig::new().await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    for round in 0..20 {
        let name = format!("shop{round}");
        rig.create(&name).await;
        let id = SessionId::parse(&name).expect("a name");
        let session = gateway.sessions().get(&id).expect("it");
        let (deleting, making) = (session.clone(), new_key(Some(session)));
        let (deleted, _) = tokio::join!(
            gateway.delete_session(&deleting),
            gateway.create_key(making)
        );
        deleted.expect("deleted");
        assert_eq!(list(&rig).await, Vec::<Value>::new());
        assert_eq!(gateway.list_keys().len(), 0, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_needs_no_key_that_administers_it() {
    let rig = Rig::new().await;
    let (only, _) = make(&rig, json!({ "name": "one", "scopes": ["admin"] })).await;
    assert_eq!(revoke(&rig, &only).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_key_keeps_no_other_from_being_revoked() {
    let rig = Rig::new().await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    let damage = gateway.store().write(Durability::Sync, |tx| {
        tx.put(
            tables::KEYS,
            b"\0\0\0\0key_0".to_vec(),
            b"\x01damaged".to_vec(),
        );
        Ok(())
    });
    damage.await.expect("written");
    let new = json!({ "name": "one", "scopes": ["admin"], "dialect": "wafa" });
    let (first, _) = make(&rig, new.clone()).await;
    assert_eq!(revoke(&rig, &first).await.status, 409);
    make(&rig, new).await;
    assert_eq!(revoke(&rig, &first).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_names_another_session_than_its_list_is_refused() {
    let rig = Rig::new().await;
    rig.create("shop").await;
    rig.create("clinic").await;
    let people = json!([{ "number": "6281200000001", "name": "Ani" }]);
    let new = json!({ "sessionId": "shop", "name": "a list", "recipients": people });
    let list = rig.post("/api/v1/recipient-lists", &new).master();
    let list = list.send().await.expect(201);
    let id = list["id"].as_str().expect("an id");
    let of = |rest: &str| format!("/api/v1/recipient-lists/{id}{rest}");
    let put = |rest: &str, body: &Value| Call::new(rig.addr(), "PUT", &of(rest)).json(body);
    let import = |session: &str| json!({ "sessionId": session, "recipients": people });
    let person =
        |session: &str| json!({ "sessionId": session, "name": "Budi", "number": "6281200000002" });
    let calls = |session: &str| {
        let one = json!({ "sessionId": session, "name": "Ana" });
        [
            put("", &json!({ "sessionId": session, "name": "b" })),
            rig.post(&of("/import"), &import(session)),
            rig.post(&of("/recipients"), &person(session)),
            put("/recipients/6281200000001", &one),
            rig.post(&of("/clone"), &one),
        ]
    };
    for (call, own) in calls("clinic").into_iter().zip(calls("shop")) {
        let refused = call.master().send().await.expect(400);
        let message = "Two different session IDs were given";
        assert_eq!(refused["message"], message);
        let done = own.master().send().await;
        assert!(matches!(done.status, 200 | 201), "{}", done.json());
    }
    let text = json!({ "type": "text", "content": "hai" });
    let new = json!({ "sessionId": "shop", "name": "one", "recipients": people, "message": text });
    let campaign = rig.post("/api/v1/campaigns", &new).master();
    let campaign = campaign.send().await.expect(201);
    let path = format!(
        "/api/v1/campaigns/{}/clone",
        campaign["id"].as_str().expect("an id")
    );
    for (session, status) in [("clinic", 400), ("shop", 201)] {
        let call = rig.post(&path, &json!({ "sessionId": session })).master();
        assert_eq!(call.send().await.status, status, "{session}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_key_also_while_it_catches_up() {
    const EVENTS: usize = 700;
    let rig = Rig::new().await;
    rig.create("shop").await;
    let (row, key) = make(&rig, json!({ "name": "one", "scopes": ["read"] })).await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    let id = SessionId::parse("shop").expect("a name");
    let session = gateway.sessions().get(&id).expect("it").number;
    // More than the buffers on the way hold.
    let update = SessionUpdate {
        state: SessionState::Connecting,
        detail: "x".repeat(40_000),
    };
    let event = Event {
        session: "shop".to_owned(),
        at: gateway.clock().now(),
        data: EventData::SessionUpdate(update),
    };
    let written = gateway.store().write(Durability::Lazy, move |tx| {
        (0..EVENTS).try_for_each(|_| append(tx, session, &event).map(drop))
    });
    written.await.expect("written");
    let stream = rig.get("/api/v1/events").bearer(&key);
    let stream = stream.header("last-event-id", "0").open().await;
    assert_eq!(stream.status(), 200);
    assert_eq!(revoke(&rig, &row).await.status, 200);
    let read = tokio::time::timeout(PATIENCE, stream.into_body().collect());
    let read = read.await.expect("the stream ends").expect("it was read");
    let length = read.to_bytes().len();
    assert!(length < EVENTS * 40_000, "{length}");
}
