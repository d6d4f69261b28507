//! Pairing, the life of a session, and who may see what of it.

use serde_json::json;

use crate::support::{Rig, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_scanned_qr_connects_the_session_at_once() {
    let rig = Rig::new().await;
    let started = tokio::time::Instant::now();
    let token = rig.pair("shop", "6281200000001").await;
    assert!(
        started.elapsed().as_secs() < 8,
        "nothing waited for a time-out"
    );
    let row = rig
        .get("/api/v1/sessions/shop")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(row["isConnected"], true);
    assert_eq!(row["number"], "6281200000001");
    assert!(row["lid"].as_str().expect("a LID").ends_with("@lid"));
    rig.assert_all_understood().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_code_connects_the_session() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let ask = json!({ "phone": "+62 812-0000-0002" });
    let answer = rig
        .post("/api/v1/sessions/shop/pairing-code", &ask)
        .bearer(&token);
    let code = answer.send().await.expect(200)["code"]
        .as_str()
        .expect("a code")
        .to_owned();
    assert_eq!(code.replace('-', "").len(), 8);
    let typed = json!({ "phone": "6281200000002", "code": code });
    rig.sandbox("POST", "/sandbox/pair-code", &typed).await;
    let row = rig.wait_for_status("shop", "CONNECTED").await;
    assert_eq!(row["number"], "6281200000002");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_brings_the_session_back_without_a_new_qr() {
    let mut rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000003").await;
    rig.restart().await;
    rig.wait_for_status("shop", "CONNECTED").await;
    let sent = rig
        .send_text("shop", &token, "6281299999903", "still here")
        .await;
    assert_eq!(sent["status"], "success", "{sent}");
    let stats = rig.stats().await;
    assert!(
        stats["handshakesIk"].as_u64().expect("a count") >= 1,
        "{stats}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_from_the_phone_is_told_and_a_new_qr_can_be_had() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000004").await;
    rig.sandbox("POST", "/sandbox/phones/6281200000004/logout", &json!({}))
        .await;
    let row = rig.wait_for_status("shop", "DISCONNECTED").await;
    assert_eq!(row["loggedOut"], true);
    assert!(
        row["detail"]
            .as_str()
            .expect("a detail")
            .contains("Logged out"),
        "{row}"
    );
    let qr = rig
        .get("/api/v1/sessions/shop/qr")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert!(qr["qr"].as_str().expect("a code").contains(','));
    assert!(
        qr["image"]
            .as_str()
            .expect("a picture")
            .starts_with("data:image/png;base64,")
    );
    rig.sandbox("POST", "/sandbox/scan", &json!({ "sessionId": "shop" }))
        .await;
    rig.wait_for_status("shop", "CONNECTED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_sessions_pair_at_once_and_each_sends() {
    let rig = std::sync::Arc::new(Rig::new().await);
    let mut pairing = tokio::task::JoinSet::new();
    for n in 10..30 {
        let rig = rig.clone();
        pairing.spawn(async move {
            let session = format!("s{n}");
            let token = rig.pair(&session, &format!("62812000000{n}")).await;
            let sent = rig
                .send_text(&session, &token, "6281277777777", &session)
                .await;
            assert_eq!(sent["status"], "success", "{sent}");
        });
    }
    while let Some(done) = pairing.join_next().await {
        done.expect("a session");
    }
    let got = rig.wait_for_received("6281277777777", 20).await;
    let mut texts: Vec<_> = got.iter().filter_map(|m| m["text"].as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_public_but_tokens_and_codes_are_not() {
    let rig = Rig::new().await;
    let mine = rig.create("mine").await;
    let other = rig.create("other").await;
    eventually("both QR codes", || async {
        let rows = rig
            .get("/api/v1/sessions")
            .master()
            .send()
            .await
            .expect(200);
        rows.as_array()?
            .iter()
            .all(|r| r["qr"].is_string())
            .then_some(())
    })
    .await;
    let anonymous = rig.get("/api/v1/sessions").send().await.expect(200);
    for row in anonymous.as_array().expect("an array") {
        assert!(row["token"].is_null() && row["qr"].is_null(), "{row}");
        assert_eq!(row["status"], "GENERATING_QR");
    }
    let seen = rig
        .get("/api/v1/sessions")
        .bearer(&mine)
        .send()
        .await
        .expect(200);
    assert_eq!(seen[0]["token"], mine.as_str());
    assert!(seen[0]["qr"].is_string());
    assert!(seen[1]["token"].is_null() && seen[1]["qr"].is_null());
    let all = rig
        .get("/api/v1/sessions")
        .master()
        .send()
        .await
        .expect(200);
    assert_eq!(all[1]["token"], other.as_str());
    rig.get("/api/v1/sessions/other")
        .bearer(&mine)
        .send()
        .await
        .expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_leaves_nothing_and_its_token_ends() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000005").await;
    rig.send_text("shop", &token, "6281299999905", "hello")
        .await;
    let answer = rig
        .delete("/api/v1/sessions/shop")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(answer["message"], "Session shop deleted.");
    rig.get("/api/v1/sessions/shop")
        .bearer(&token)
        .send()
        .await
        .expect(403);
    rig.get("/api/v1/sessions/shop")
        .master()
        .send()
        .await
        .expect(404);
    let again = rig.create("shop").await;
    assert_ne!(again, token);
    let row = rig
        .get("/api/v1/sessions/shop")
        .bearer(&again)
        .send()
        .await
        .expect(200);
    assert_eq!(row["isConnected"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_why_whatsapp_refuses_and_what_to_do() {
    for (n, fault, words) in [
        (
            1,
            json!({ "connectFailure": { "reason": 402, "expire": 3600 } }),
            "banned this account until",
        ),
        (
            2,
            json!({ "connectFailure": { "reason": 405 } }),
            "update Warung",
        ),
        (
            3,
            json!({ "connectFailure": { "reason": 401 } }),
            "Logged out",
        ),
    ] {
        let rig = Rig::new().await;
        let token = rig.pair("shop", &format!("628120000090{n}")).await;
        rig.sandbox("POST", "/sandbox/faults", &fault).await;
        rig.sandbox(
            "POST",
            "/sandbox/faults",
            &json!({ "drop": { "now": true } }),
        )
        .await;
        let path = "/api/v1/sessions/shop";
        eventually(words, || async {
            let row = rig.get(path).bearer(&token).send().await.expect(200);
            let said = row["detail"].as_str().is_some_and(|d| d.contains(words));
            (said && row["status"] == "DISCONNECTED").then_some(())
        })
        .await;
        let refused = rig.post(
            "/api/v1/messages?sessionId=shop",
            &json!({ "to": "6281299999999", "type": "text", "text": { "body": "x" } }),
        );
        assert_eq!(
            refused.bearer(&token).send().await.expect(404)["status"],
            "error"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_comes_back_by_itself() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000006").await;
    for fault in [
        json!({ "streamError": { "code": 515 } }),
        json!({ "streamError": { "code": 503 } }),
        json!({ "drop": { "now": true } }),
    ] {
        rig.sandbox("POST", "/sandbox/faults", &fault).await;
        eventually("a message goes through again", || async {
            let path = "/api/v1/messages?sessionId=shop";
            let body =
                json!({ "to": "6281299999906", "type": "text", "text": { "body": "again" } });
            let answer = rig.post(path, &body).bearer(&token).send().await;
            (answer.status == 200 && answer.json()[0]["status"] == "success").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_replaces_the_old_one_also_after_a_restart() {
    let mut rig = Rig::new().await;
    let old = rig.create("shop").await;
    let answer = rig
        .post("/api/v1/sessions/shop/token", &json!({}))
        .bearer(&old)
        .send()
        .await;
    let new = answer.expect(200)["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    rig.get("/api/v1/sessions/shop")
        .bearer(&old)
        .send()
        .await
        .expect(403);
    rig.restart().await;
    rig.get("/api/v1/sessions/shop")
        .bearer(&old)
        .send()
        .await
        .expect(403);
    rig.get("/api/v1/sessions/shop")
        .bearer(&new)
        .send()
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_do_not_lie_in_the_store_in_clear() {
    let mut rig = Rig::new().await;
    let token = rig.create("shop").await;
    let hook = json!({ "sessionId": "shop", "url": "http://127.0.0.1:9/x", "secret": "very-secret-indeed" });
    rig.post("/api/v1/webhook", &hook)
        .bearer(&token)
        .send()
        .await
        .expect(200);
    rig.stop().await;
    let bytes = std::fs::read(rig.config.data.join("warung.redb")).expect("the store");
    for secret in [token.as_str(), "very-secret-indeed"] {
        assert!(
            !bytes.windows(secret.len()).any(|w| w == secret.as_bytes()),
            "{secret}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_qr_comes_as_the_client_wants_it_and_says_the_same() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let qr = |accept: &'static str| {
        rig.get("/api/v1/sessions/shop/qr")
            .bearer(&token)
            .header("accept", accept)
            .send()
    };
    let text = qr("application/json").await.expect(200);
    assert!(text["expiresAt"].is_string());
    let png = qr("image/png").await;
    assert_eq!(png.headers["content-type"], "image/png");
    assert_eq!(png.headers["cache-control"], "no-store");
    assert!(png.body.starts_with(b"\x89PNG"));
    let svg = qr("image/svg+xml").await;
    assert_eq!(svg.headers["content-type"], "image/svg+xml");
    assert!(svg.body.windows(4).any(|w| w == b"<svg"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_makes_the_connection_anew_and_keeps_the_pairing() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000007").await;
    let before = rig.stats().await["connections"].as_u64().expect("a count");
    let answer = rig
        .post("/api/v1/sessions/shop/reconnect", &json!({}))
        .bearer(&token)
        .send()
        .await;
    answer.expect(200);
    eventually("a new connection", || async {
        (rig.stats().await["connections"].as_u64()? > before).then_some(())
    })
    .await;
    rig.wait_for_status("shop", "CONNECTED").await;
    let sent = rig.send_text("shop", &token, "6281299999907", "anew").await;
    assert_eq!(sent["status"], "success", "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sessions_than_allowed_are_refused() {
    let rig = Rig::with(|config| config.max_sessions = 1).await;
    rig.create("one").await;
    let two = rig
        .post("/api/v1/sessions", &json!({ "sessionId": "two" }))
        .master();
    let answer = two.send().await.expect(400);
    assert_eq!(
        answer["message"],
        "Maximum active session limit reached (1)"
    );
    rig.create("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_of_the_settings_at_once_neither_undoes_the_other() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let path = "/api/v1/sessions/shop/settings";
    let change = |settings| {
        let call = crate::support::Call::new(rig.addr(), "PUT", path).json(&settings);
        call.bearer(&token).send()
    };
    for round in 1..20 {
        let even = round % 2 == 0;
        let (cap, auto, words) = tokio::join!(
            change(json!({ "dailyCap": round })),
            change(json!({ "autoDownload": even })),
            change(json!({ "optOutWords": [format!("w{round}")] })),
        );
        for changed in [cap, auto, words] {
            changed.expect(200);
        }
        let now = rig.get(path).bearer(&token).send().await.expect(200);
        assert_eq!(now["dailyCap"], round, "{now}");
        assert_eq!(now["autoDownload"], even, "{now}");
        assert_eq!(now["optOutWords"], json!([format!("w{round}")]), "{now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_want_the_last_place_one_gets_it() {
    let rig = Rig::with(|config| config.max_sessions = 2).await;
    rig.create("first").await;
    let names = (0..8).map(|number| json!({ "sessionId": format!("s{number}") }));
    let create = names.map(|body| rig.post("/api/v1/sessions", &body).master().send());
    let answers = futures_util::future::join_all(create).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        let why = refused.expect(400)["message"].clone();
        assert_eq!(why, "Maximum active session limit reached (2)");
    }
}
