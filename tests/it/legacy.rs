//! The legacy sends: open on loopback as documented, and closed wherever strangers may reach them.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use warung::config::{Legacy, PublicSessions};

use crate::support::{Call, Rig};

fn form(rig: &Rig, fields: &[(&str, &str)]) -> Call {
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += "--B--\r\n";
    Call::new(rig.addr(), "POST", "/api/message")
        .header("content-type", "multipart/form-data; boundary=B")
        .body(body)
}

/// A legacy send that is refused, and says why and what to do.
async fn needs_a_token(call: Call, why: &str) {
    let said = call.send().await.expect(401)["message"].clone();
    let words = said.as_str().expect("words");
    assert!(words.starts_with("No token provided: "), "{words}");
    for part in [why, "Bearer", "legacy = open"] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sends_work_in_every_form_and_under_both_names() {
    let rig = Rig::new().await;
    rig.pair("putra", "6281200000401").await;
    let to = "6281299999601";
    let json = json!({ "sessionId": "putra", "number": to, "message": "json & more" });
    let first = rig
        .post("/api/send-message", &json)
        .send()
        .await
        .expect(200);
    assert_eq!(
        first["message"],
        format!("Message sent to {to}@s.whatsapp.net")
    );
    assert!(first["messageId"].is_string());
    rig.post("/api/v1/legacy/send-message", &json)
        .send()
        .await
        .expect(200);
    let multipart = form(&rig, &[("phone", to), ("message", "from a form")]);
    assert_eq!(multipart.send().await.expect(200)["status"], "success");
    let urlencoded = Call::new(rig.addr(), "POST", "/api/v1/legacy/message")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("phone=%2B{to}&message=dari+form&sessionId=putra"));
    assert_eq!(urlencoded.send().await.expect(200)["status"], "success");
    let as_json = json!({ "phone": to, "message": "form as json" });
    assert_eq!(
        rig.post("/api/message", &as_json).send().await.expect(200)["status"],
        "success"
    );
    let got = rig.wait_for_received(to, 5).await;
    let texts: Vec<_> = got.iter().filter_map(|m| m["text"].as_str()).collect();
    assert_eq!(
        texts,
        [
            "json & more",
            "json & more",
            "from a form",
            "dari form",
            "form as json"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_wrong_fields_have_the_originals_words() {
    let rig = Rig::new().await;
    rig.pair("putra", "6281200000402").await;
    let words = |answer: crate::support::Answer, status| answer.expect(status)["message"].clone();
    let send = |body| rig.post("/api/send-message", body).send();
    let missing = json!({ "sessionId": "putra" });
    assert_eq!(
        words(send(&missing).await, 400),
        "sessionId, number, and message are required."
    );
    let number = json!({ "sessionId": "putra", "number": "12", "message": "x" });
    assert_eq!(
        words(send(&number).await, 400),
        "Invalid phone number format. Use 8-15 digits."
    );
    let unknown = json!({ "sessionId": "nobody", "number": "6281299999602", "message": "x" });
    assert_eq!(
        words(send(&unknown).await, 404),
        "Session nobody not found or not connected."
    );
    let long =
        json!({ "sessionId": "putra", "number": "6281299999602", "message": "x".repeat(4097) });
    assert_eq!(words(send(&long).await, 400), "Invalid message content.");
    assert_eq!(
        words(form(&rig, &[("phone", "6281299999602")]).send().await, 400),
        "phone and message are required."
    );
    let file = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nx\r\n--B--\r\n";
    let call = Call::new(rig.addr(), "POST", "/api/message")
        .header("content-type", "multipart/form-data; boundary=B")
        .body(file);
    assert_eq!(words(call.send().await, 400), "Unexpected file field");
    assert!(rig.received("6281299999602").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_came_through_a_proxy_needs_a_token() {
    let rig = Rig::new().await;
    let token = rig.pair("putra", "6281200000403").await;
    let body = json!({ "sessionId": "putra", "number": "6281299999603", "message": "x" });
    for header in [
        "x-forwarded-for",
        "forwarded",
        "via",
        "x-real-ip",
        "cf-connecting-ip",
        "true-client-ip",
        "x-client-ip",
        "x-original-host",
        "x-amzn-trace-id",
        "tailscale-user-login",
    ] {
        let call = rig
            .post("/api/send-message", &body)
            .header(header, "10.0.0.9");
        needs_a_token(call, "through a proxy").await;
    }
    // As a proxy asks that was told nothing but where to go.
    let text = body.to_string();
    let head =
        "POST /api/send-message HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length:";
    let request = format!("{head} {}\r\n\r\n{text}", text.len());
    let mut stream = TcpStream::connect(rig.addr()).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.0 401"), "{answer}");
    let call = rig
        .post("/api/send-message", &body)
        .header("x-forwarded-for", "10.0.0.9")
        .bearer(&token);
    assert_eq!(call.send().await.expect(200)["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_proxies_are_trusted_a_token_is_always_needed() {
    let rig = Rig::with(|config| config.trusted_proxies = vec!["10.0.0.9".into()]).await;
    rig.pair("putra", "6281200000412").await;
    let body = json!({ "sessionId": "putra", "number": "6281299999612", "message": "x" });
    let call = rig.post("/api/send-message", &body);
    needs_a_token(call, "trusted_proxies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_sent_is_checked_even_where_none_is_needed() {
    let rig = Rig::new().await;
    rig.pair("putra", "6281200000404").await;
    let other = rig.create("other").await;
    let body = json!({ "sessionId": "putra", "number": "6281299999604", "message": "x" });
    rig.post("/api/send-message", &body)
        .bearer("nonsense")
        .send()
        .await
        .expect(403);
    rig.post("/api/send-message", &body)
        .bearer(&other)
        .send()
        .await
        .expect(403);
    let two = rig
        .post("/api/send-message?sessionId=other", &body)
        .bearer(&other)
        .send()
        .await;
    two.expect(400);
    assert!(rig.received("6281299999604").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setting_can_close_it_or_switch_it_off() {
    let body = json!({ "sessionId": "putra", "number": "6281299999605", "message": "x" });
    let token = Rig::with(|config| config.legacy = Legacy::Token).await;
    token
        .post("/api/send-message", &body)
        .send()
        .await
        .expect(401);
    let off = Rig::with(|config| config.legacy = Legacy::Off).await;
    off.post("/api/send-message", &body)
        .send()
        .await
        .expect(404);
    let open = Rig::with(|config| config.legacy = Legacy::Open).await;
    let call = open
        .post("/api/send-message", &body)
        .header("via", "1.1 proxy");
    assert_eq!(
        call.send().await.expect(404)["message"],
        "Session putra not found or not connected."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_cannot_send_through_the_browser_of_the_owner() {
    let rig = Rig::new().await;
    let token = rig.pair("putra", "6281200000406").await;
    let phone = "6281299999606";
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("referer", "https://evil.example/page"),
    ] {
        let call = form(&rig, &[("phone", phone), ("message", "from a page")]).header(name, value);
        needs_a_token(call, "from a web page").await;
    }
    assert!(rig.received(phone).await.is_empty());
    let own = form(
        &rig,
        &[("phone", phone), ("message", "a page with a token")],
    );
    let own = own.header("origin", "https://shop.example").bearer(&token);
    assert_eq!(own.send().await.expect(200)["status"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_again_under_its_key_sends_once() {
    let rig = Rig::new().await;
    rig.pair("putra", "6281200000407").await;
    let phone = "6281299999607";
    let body = |boundary: &str| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"phone\"\r\n\r\n{phone}\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nonce\r\n--{boundary}--\r\n"
        )
    };
    let mut ids = Vec::new();
    for boundary in ["first", "second"] {
        let call = Call::new(rig.addr(), "POST", "/api/message")
            .header(
                "content-type",
                &format!("multipart/form-data; boundary={boundary}"),
            )
            .header("idempotency-key", "form-1")
            .body(body(boundary));
        ids.push(call.send().await.expect(200)["messageId"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(rig.wait_for_received(phone, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_name_in_the_request_is_no_program_of_this_machine() {
    let rig = Rig::new().await;
    let token = rig.pair("putra", "6281200000408").await;
    let phone = "6281299999608";
    let body = json!({ "sessionId": "putra", "number": phone, "message": "x" });
    // As HAProxy passes it on that was told nothing, and as a page does whose name leads here.
    for host in [
        "wa.shop.example",
        "rebound.evil.example:3000",
        "0.0.0.0:3000",
    ] {
        let send = rig.post("/api/send-message", &body).header("host", host);
        needs_a_token(send, "another host").await;
        let list = rig.get("/api/v1/sessions").header("host", host);
        assert_eq!(
            list.clone().send().await.expect(401)["message"],
            "No token provided",
            "{host}"
        );
        let own = list.bearer(&token).send().await.expect(200);
        assert_eq!(own[0]["sessionId"], "putra");
    }
    assert!(rig.received(phone).await.is_empty());
    for host in [
        "localhost",
        "localhost:3000",
        "127.0.0.1:3000",
        "[::1]:3000",
    ] {
        let list = rig.get("/api/v1/sessions").header("host", host);
        list.send().await.expect(200);
    }
    let proxied = rig
        .get("/api/v1/sessions")
        .header("x-forwarded-for", "10.0.0.9");
    proxied.send().await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_open_listener_the_list_stays_public_and_says_no_names() {
    let rig = Rig::with(|config| config.listen = "0.0.0.0:0".into()).await;
    let token = rig.pair("putra", "6281200000409").await;
    let call = rig
        .get("/api/v1/sessions")
        .header("host", "wa.shop.example");
    let stranger = call.clone().send().await.expect(200);
    assert_eq!(stranger[0]["status"], "CONNECTED");
    assert_eq!(stranger[0]["detail"], "Connected");
    let own = call.bearer(&token).send().await.expect(200);
    assert_eq!(own[0]["detail"], "Connected as User 6281200000409");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_needs_a_token_by_the_settings_is_told_so() {
    let body = json!({ "sessionId": "putra", "number": "6281299999699", "message": "x" });
    let rig = Rig::with(|config| config.legacy = Legacy::Token).await;
    needs_a_token(rig.post("/api/send-message", &body), "legacy = token").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_national_number_is_refused_by_the_setting_that_would_take_it() {
    let rig = Rig::new().await;
    rig.pair("putra", "6281200000409").await;
    let body = json!({ "sessionId": "putra", "number": "081234567890", "message": "x" });
    let said = rig
        .post("/api/send-message", &body)
        .send()
        .await
        .expect(400);
    let words = said["message"].as_str().expect("words");
    assert!(words.contains("default_country_code"), "{words}");
    let v1 = json!({ "to": "081234567890", "type": "text", "text": { "body": "x" } });
    let rows = rig.post("/api/v1/messages?sessionId=putra", &v1).master();
    let rows = rows.send().await.expect(200);
    let words = rows[0]["message"].as_str().expect("words");
    assert!(words.contains("default_country_code"), "{words}");
    let code = json!({ "phone": "081234567890" });
    rig.create("other").await;
    let said = rig
        .post("/api/v1/sessions/other/pairing-code", &code)
        .master();
    let said = said.send().await.expect(400);
    let words = said["message"].as_str().expect("words");
    assert!(words.contains("default_country_code"), "{words}");
    let delete =
        json!({ "sessionId": "putra", "messageId": "3EB0AA", "remoteJid": "081234567890" });
    let said = Call::new(rig.addr(), "DELETE", "/api/v1/message").json(&delete);
    let said = said.master().send().await.expect(400);
    let words = said["message"].as_str().expect("words");
    assert!(words.contains("default_country_code"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_list_of_sessions_is_shown_where_that_is_chosen() {
    let rig = Rig::with(|config| config.public_sessions = PublicSessions::Open).await;
    let token = rig.create("putra").await;
    rig.pair("shop", "6281200000410").await;
    rig.get("/api/v1/sessions/putra/qr")
        .master()
        .send()
        .await
        .expect(200);
    let list = rig
        .get("/api/v1/sessions")
        .header("x-forwarded-for", "192.0.2.1");
    let list = list.send().await.expect(200);
    let row = list
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["sessionId"] == "putra");
    let row = row.expect("a row");
    assert_eq!(row["token"], token.as_str());
    assert!(row["qr"].is_string(), "{row}");
    let keys: Vec<_> = row.as_object().expect("an object").keys().collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
    // By default it shows neither.
    let rig = Rig::new().await;
    rig.create("putra").await;
    let list = rig.get("/api/v1/sessions").send().await.expect(200);
    assert_eq!(list[0]["token"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_to_everybody_is_not_open_to_pages_of_other_sites() {
    let rig = Rig::with(|config| {
        config.listen = "0.0.0.0:0".into();
        config.legacy = Legacy::Open;
        config.public_sessions = PublicSessions::Open;
        config.public_url = Some("https://wa.shop.example/wa".into());
    })
    .await;
    let token = rig.pair("putra", "6281200000413").await;
    let phone = "6281299999613";
    let body = json!({ "sessionId": "putra", "number": phone, "message": "x" });
    let calls = || {
        let send = rig.post("/api/send-message", &body);
        let form = form(&rig, &[("phone", phone), ("message", "x")]);
        [rig.get("/api/v1/sessions"), send, form]
    };
    for (name, value, why) in [
        ("host", "rebound.evil.example:3000", "public_url"),
        ("origin", "https://evil.example", "web page of another site"),
        ("sec-fetch-site", "cross-site", "web page of another site"),
        (
            "referer",
            "https://evil.example/",
            "web page of another site",
        ),
    ] {
        for call in calls() {
            let refused = call.clone().header(name, value).send().await.expect(401);
            let said = refused["message"].as_str().expect("words");
            assert!(said.contains(why) && said.contains("Bearer"), "{said}");
            let known = call.header(name, value).bearer(&token).send().await;
            known.expect(200);
        }
    }
    // Programs, and the gateway's own pages.
    let before = rig.wait_for_received(phone, 8).await.len();
    for (name, value) in [
        ("user-agent", "n8n"),
        ("host", "warung:3000"),
        ("host", "192.168.1.5:3000"),
        ("host", "wa.shop.example"),
        ("origin", "https://wa.shop.example"),
        ("x-forwarded-for", "192.0.2.1"),
    ] {
        for call in calls() {
            call.header(name, value).send().await.expect(200);
        }
    }
    let got = rig.wait_for_received(phone, 20).await;
    assert_eq!((before, got.len()), (8, 20));
}
