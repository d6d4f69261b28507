//! Bad input: the documented error for every field, never a 500, and nothing half-done.

use serde_json::{Value, json};

use crate::support::{Call, MASTER, Rig};

/// What no field may be.
fn wrong_values() -> Vec<Value> {
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    vec![
        Value::Null,
        json!(5),
        json!(-1.5),
        json!(true),
        json!([]),
        json!([1, 2]),
        json!({}),
        json!({ "a": { "b": 1 } }),
        json!(""),
        json!("x".repeat(70_000)),
        json!("../../etc/passwd"),
        json!("a\u{0}b"),
        deep,
    ]
}

/// A request that is right, as a set of fields of which each is then made wrong.
struct Case {
    method: &'static str,
    path: &'static str,
    body: Value,
}

fn cases() -> Vec<Case> {
    let case = |method, path, body| Case { method, path, body };
    vec![
        case("POST", "/api/v1/sessions", json!({ "sessionId": "made" })),
        case(
            "POST",
            "/api/v1/webhook",
            json!({ "sessionId": "shop", "url": "https://example.com/x", "secret": "12345678", "events": ["message.received"] }),
        ),
        case("DELETE", "/api/v1/webhook", json!({ "sessionId": "shop" })),
        case(
            "POST",
            "/api/v1/messages?sessionId=shop",
            json!({ "recipient_type": "individual", "to": "6281299999701", "type": "text", "text": { "body": "hi" }, "mentions": [], "context": { "message_id": "X" }, "quotedMessageId": "X" }),
        ),
        case(
            "POST",
            "/api/v1/messages?sessionId=shop",
            json!({ "to": "6281299999701", "type": "reaction", "reaction": { "messageId": "X", "emoji": "x" } }),
        ),
        case(
            "POST",
            "/api/v1/messages?sessionId=shop",
            json!({ "to": "6281299999701", "type": "edit", "edit": { "messageId": "X", "body": "x" } }),
        ),
        case(
            "DELETE",
            "/api/v1/message",
            json!({ "sessionId": "shop", "remoteJid": "6281299999701@s.whatsapp.net", "messageId": "3EB0X" }),
        ),
        case(
            "POST",
            "/api/v1/sessions/shop/pairing-code",
            json!({ "phone": "6281200000301" }),
        ),
        case(
            "POST",
            "/api/send-message",
            json!({ "sessionId": "shop", "number": "6281299999701", "message": "hi" }),
        ),
        case(
            "POST",
            "/api/message",
            json!({ "sessionId": "shop", "phone": "6281299999701", "message": "hi" }),
        ),
        case("POST", "/admin/backup", json!({ "name": "copy.redb" })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_every_request_may_be_wrong_and_nothing_breaks() {
    let rig = Rig::new().await;
    rig.pair("shop", "6281200000301").await;
    for case in cases() {
        let fields: Vec<String> = case
            .body
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        for field in &fields {
            for wrong in wrong_values() {
                let mut body = case.body.clone();
                body[field] = wrong.clone();
                check(&rig, &case, &body, &format!("{field} = {}", short(&wrong))).await;
            }
            let mut body = case.body.clone();
            body.as_object_mut().expect("an object").remove(field);
            check(&rig, &case, &body, &format!("{field} missing")).await;
        }
        for wrong in wrong_values() {
            check(&rig, &case, &wrong, &format!("body = {}", short(&wrong))).await;
        }
    }
    // Nothing of all that reached anybody with a text that was no text.
    for message in rig.received("6281299999701").await {
        let plain = message["text"].is_string();
        assert!(
            plain || message["revoked"] == true || message["type"] == "revoke",
            "{message}"
        );
    }
    rig.wait_for_status("shop", "CONNECTED").await;
}

async fn check(rig: &Rig, case: &Case, body: &Value, what: &str) {
    let call = crate::support::Call::new(rig.addr(), case.method, case.path);
    let answer = call.master().json(body).send().await;
    let name = format!("{} {} with {what}", case.method, case.path);
    assert!(
        matches!(
            answer.status,
            200 | 201 | 400 | 401 | 403 | 404 | 409 | 413 | 415 | 429 | 502 | 504
        ),
        "{name}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    let shown = answer.json();
    if answer.status >= 400 {
        assert_eq!(shown["status"], "error", "{name}: {shown}");
        assert!(
            shown["message"]
                .as_str()
                .is_some_and(|m| !m.is_empty() && m.len() < 400),
            "{name}: {shown}"
        );
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_are_400() {
    let rig = Rig::new().await;
    for path in ["/api/v1/sessions", "/api/v1/webhook"] {
        for body in [
            "",
            "{",
            "nonsense",
            "[1,",
            "{\"a\":}",
            "\u{feff}{}",
            "{\"sessionId\":\"a\"} trailing",
        ] {
            let call = crate::support::Call::new(rig.addr(), "POST", path);
            let answer = call
                .master()
                .header("content-type", "application/json")
                .body(body)
                .send()
                .await;
            assert_eq!(answer.status, 400, "{path} {body:?}: {:?}", answer.body);
            assert_eq!(answer.json()["status"], "error");
        }
    }
    let huge = format!("{{\"sessionId\":\"{}\"}}", "x".repeat(3 << 20));
    let call = crate::support::Call::new(rig.addr(), "POST", "/api/v1/sessions").master();
    let answer = call
        .header("content-type", "application/json")
        .body(huge)
        .send()
        .await;
    assert_eq!(answer.expect(413)["status"], "error");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_checked_before_anything_happens() {
    let rig = Rig::new().await;
    let one = rig.create("one").await;
    rig.create("two").await;
    let hello = json!({ "to": "6281299999702", "type": "text", "text": { "body": "x" } });
    let said = |answer: crate::support::Answer| {
        (
            answer.status,
            answer.json()["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let send = "/api/v1/messages?sessionId=";
    let cases = [
        (
            rig.post(&format!("{send}one"), &hello),
            401,
            "No token provided",
        ),
        (
            rig.post(&format!("{send}one"), &hello)
                .header("authorization", "Basic abc"),
            401,
            "No token provided",
        ),
        (
            rig.post(&format!("{send}one"), &hello).bearer("nonsense"),
            403,
            "Invalid token",
        ),
        (
            rig.post(&format!("{send}two"), &hello).bearer(&one),
            403,
            "Invalid token for session two",
        ),
        (
            rig.post(&format!("{send}none"), &hello).bearer(&one),
            403,
            "Invalid token for session none",
        ),
        (
            rig.post("/api/v1/messages", &hello).bearer(&one),
            400,
            "sessionId query parameter is required",
        ),
        (
            rig.post(&format!("{send}a%20b"), &hello).bearer(&one),
            400,
            "Invalid session ID format",
        ),
        (
            rig.post(&format!("{send}one"), &hello).bearer(&one),
            404,
            "Session one not found or not connected.",
        ),
        (
            rig.post(&format!("{send}none"), &hello)
                .header("x-master-key", MASTER),
            404,
            "Session none not found",
        ),
        (
            rig.post("/api/v1/sessions", &json!({ "sessionId": "x" })),
            401,
            "Master API key required for session creation",
        ),
        (
            rig.post("/api/v1/sessions", &json!({ "sessionId": "x" }))
                .header("x-master-key", "wrong"),
            401,
            "Master API key required for session creation",
        ),
        (
            rig.post(
                "/api/v1/webhook?sessionId=one",
                &json!({ "sessionId": "two", "url": "https://example.com" }),
            )
            .bearer(&one),
            400,
            "Two different session IDs were given",
        ),
        (
            rig.delete("/api/v1/sessions/two").bearer(&one),
            403,
            "Invalid token for session two",
        ),
        (
            rig.get("/api/v1/sessions/two/qr").bearer(&one),
            403,
            "Invalid token for session two",
        ),
        (rig.get("/api/v1/events"), 401, "No token provided"),
        (
            rig.get("/api/v1/nothing").bearer(&one),
            404,
            "Route GET /api/v1/nothing not found",
        ),
    ];
    for (call, status, message) in cases {
        assert_eq!(said(call.send().await), (status, message.to_owned()));
    }
    let wrong = crate::support::Call::new(rig.addr(), "PATCH", "/api/v1/sessions")
        .send()
        .await;
    assert_eq!(wrong.status, 405);
    assert!(
        wrong.headers["allow"].contains("POST"),
        "{:?}",
        wrong.headers
    );
    assert_eq!(wrong.json()["status"], "error");
    assert_eq!(
        rig.get("/api/v1/sessions")
            .send()
            .await
            .expect(200)
            .as_array()
            .expect("rows")
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_messages_and_too_long_a_text_are_refused() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200000302").await;
    let one = json!({ "to": "6281299999703", "type": "text", "text": { "body": "x" } });
    let batch = Value::Array(vec![one; 101]);
    let path = "/api/v1/messages?sessionId=shop";
    let answer = rig
        .post(path, &batch)
        .bearer(&token)
        .send()
        .await
        .expect(400);
    assert_eq!(answer["message"], "Maximum 100 messages per request");
    assert_eq!(rig.send("shop", &token, &json!([])).await, json!([]));
    let long = rig
        .send_text("shop", &token, "6281299999703", &"x".repeat(4097))
        .await;
    assert_eq!(long["message"], "Invalid text message content.");
    let just = rig
        .send_text("shop", &token, "6281299999703", &"x".repeat(4096))
        .await;
    assert_eq!(just["status"], "success", "{just}");
    assert_eq!(rig.wait_for_received("6281299999703", 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_go_only_where_they_may() {
    let rig = Rig::with(|config| config.webhooks_to_loopback = false).await;
    let token = rig.create("shop").await;
    for (url, message) in [
        ("nonsense", "Webhook URL must be a valid HTTPS URL"),
        (
            "http://example.com/x",
            "Webhook URL must be a valid HTTPS URL",
        ),
        (
            "ftp://example.com/x",
            "Webhook URL must be a valid HTTPS URL",
        ),
        (
            "https://user:pw@example.com/",
            "Webhook URL must be a credential-free HTTPS URL",
        ),
        (
            "https://127.0.0.1/x",
            "Webhook URL must not point to a private or reserved address",
        ),
        (
            "https://10.1.2.3/x",
            "Webhook URL must not point to a private or reserved address",
        ),
        (
            "https://169.254.169.254/latest",
            "Webhook URL must not point to a private or reserved address",
        ),
        (
            "https://[::1]/x",
            "Webhook URL must not point to a private or reserved address",
        ),
        (
            "https://[::ffff:10.0.0.1]/x",
            "Webhook URL must not point to a private or reserved address",
        ),
        (
            "https://[64:ff9b::7f00:1]/x",
            "Webhook URL must not point to a private or reserved address",
        ),
        (
            "https://localhost/x",
            "Webhook URL must not point to a local address",
        ),
        (
            "https://printer.local/x",
            "Webhook URL must not point to a local address",
        ),
    ] {
        let set = json!({ "sessionId": "shop", "url": url });
        let answer = rig
            .post("/api/v1/webhook", &set)
            .bearer(&token)
            .send()
            .await
            .expect(400);
        let said = answer["message"].as_str().expect("words");
        let (why, opened_by) = said.split_once(';').unwrap_or((said, ""));
        assert_eq!(why, message, "{url}");
        // What the operator could open is said with the name of the setting.
        let names_setting = opened_by.contains("allow_private");
        let could_open = message.contains("not point") || url.starts_with("http:");
        assert_eq!(names_setting, could_open, "{url}: {said}");
    }
    let shown = rig
        .get("/api/v1/webhook?sessionId=shop")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert!(shown["url"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_read_for_somebody_without_a_credential() {
    let rig = Rig::new().await;
    // What everybody may ask, and the legacy sends, which are open to this machine.
    let public = [
        "GET /",
        "GET /docs",
        "GET /favicon.ico",
        "GET /source",
        "GET /health",
        "GET /ping",
        "GET /ready",
        "GET /api/v1/sessions",
        "POST /api/send-message",
        "POST /api/message",
        "POST /api/v1/legacy/send-message",
        "POST /api/v1/legacy/message",
    ];
    let gateway = rig.server.as_ref().expect("running").gateway();
    let (mut tried, mut open) = (0, Vec::new());
    for mount in warung::api::mounts(gateway, &Default::default()) {
        for route in &mount.routes {
            let (method, path) = route.name();
            let path = format!("{}{path}", mount.prefix);
            let name = format!("{method} {path}");
            if public.contains(&name.as_str()) {
                continue;
            }
            let path = path.replace(['{', '}', '*'], "");
            let call = Call::new(rig.addr(), method.as_str(), &path)
                .header("content-type", "application/json")
                .body("this is no JSON");
            let status = call.send().await.status;
            if status != 401 {
                open.push(format!("{name}: {status}"));
            }
            tried += 1;
        }
    }
    assert_eq!(open, Vec::<String>::new());
    assert!(tried > 50, "{tried}");
}
