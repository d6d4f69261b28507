//! Stored keys: what they open, how they end, and what is kept of them.

use http_body_util::BodyExt;
use serde_json::{Value, json};
use warung::store::{Read, tables};

use crate::support::{Answer, PATIENCE, Rig, eventually};

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
            let message = "The request shows credentials of two dialects";
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
