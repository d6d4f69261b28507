//! Urlencoded forms in place of JSON, as the program whose API this is takes them on each of its routes.

use serde_json::{Value, json};

use crate::support::{Answer, Call, Rig};

const FORM: &str = "application/x-www-form-urlencoded";

async fn send(rig: &Rig, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let call = Call::new(rig.addr(), method, path).header("content-type", FORM);
    call.bearer(token).body(body.to_owned()).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_says_what_json_says() {
    let rig = Rig::new().await;
    let made = Call::new(rig.addr(), "POST", "/api/v1/sessions").master();
    let made = made.header("content-type", FORM).body("sessionId=shop");
    assert_eq!(
        made.send().await.expect(201)["message"],
        "Session shop created."
    );
    let token = rig.pair("shop", "6281200003001").await;
    let send = |method: &'static str, path: &'static str, body: &'static str| {
        let (rig, token) = (&rig, &token);
        async move { send(rig, token, method, path, body).await }
    };
    let sent = send(
        "POST",
        "/api/v1/messages?sessionId=shop",
        "recipient_type=individual&to=6281299993001&type=text&text[body]=Halo+kamu",
    );
    assert_eq!(sent.await.expect(200)[0]["status"], "success");
    let got = rig.wait_for_received("6281299993001", 1).await;
    assert_eq!(got[0]["text"], "Halo kamu");
    let poll = "to=6281299993001&type=poll&poll[question]=Apa%3F&poll[options][]=a&poll[options][]=b&poll[selectableCount]=2";
    let sent = send("POST", "/api/v1/messages?sessionId=shop", poll).await;
    assert_eq!(sent.expect(200)[0]["status"], "success");
    let set = send(
        "POST",
        "/api/v1/webhook",
        "sessionId=shop&url=http%3A%2F%2F127.0.0.1%3A9%2Fx&events[]=message.received&events[]=call.offer",
    );
    set.await.expect(200);
    let hook = rig.get("/api/v1/webhook?sessionId=shop").bearer(&token);
    assert_eq!(
        hook.send().await.expect(200)["events"],
        json!(["message.received", "call.offer"])
    );
    // Whoever clears the list does not get what was asked for before.
    for (body, expected) in [
        (
            "sessionId=shop&url=http%3A%2F%2F127.0.0.1%3A9%2Fx",
            json!(["message.received", "call.offer"]),
        ),
        (
            "sessionId=shop&url=http%3A%2F%2F127.0.0.1%3A9%2Fx&events[]=",
            json!(["session.update", "message.received"]),
        ),
    ] {
        send("POST", "/api/v1/webhook", body).await.expect(200);
        let hook = rig.get("/api/v1/webhook?sessionId=shop").bearer(&token);
        assert_eq!(hook.send().await.expect(200)["events"], expected, "{body}");
    }
    let settings = send(
        "PUT",
        "/api/v1/sessions/shop/settings",
        "autoDownload=true&dailyCap=300",
    );
    let settings = settings.await.expect(200);
    assert_eq!(
        (&settings["autoDownload"], &settings["dailyCap"]),
        (&json!(true), &json!(300))
    );
    let path = "/api/v1/sessions/shop/settings";
    let guard = send(
        "PUT",
        path,
        "guard[perMinute]=5&guard[perDay]=10&autoDownload=false",
    );
    let settings = guard.await.expect(200);
    assert_eq!(
        (&settings["autoDownload"], &settings["guard"]),
        (&json!(false), &json!({ "perMinute": 5, "perDay": 10 }))
    );
    for (wrong, words) in [
        ("guard[perMinute]=5", "guard must be"),
        ("guard[perMinute]=5&guard[perDay]=many", "guard must be"),
        ("guard[perMinute]=5.5&guard[perDay]=10", "guard must be"),
        ("guard[perMinute]=0&guard[perDay]=10", "guard must be"),
        (
            "guard[perMinute]=5&guard[perMinute]=6&guard[perDay]=10",
            "guard must be",
        ),
        ("guard=5", "guard must be"),
        ("autoDownload=no", "autoDownload must be true or false"),
        ("dailyCap=0", "dailyCap must be at least 1"),
    ] {
        let refused = send("PUT", path, wrong).await.expect(400);
        let said = refused["message"].as_str().expect("words");
        assert!(said.contains(words), "{wrong}: {said}");
    }
    let settings = send("PUT", path, "guard=off").await.expect(200);
    assert_eq!(
        (&settings["autoDownload"], &settings["guard"]),
        (&json!(false), &json!("off"))
    );
    let list = send(
        "POST",
        "/api/v1/recipient-lists",
        "name=VIP&tags[]=a&recipients[0][number]=6281299993002&recipients[0][name]=Ani&recipients[1][number]=6281299993003",
    );
    let list = list.await.expect(201);
    assert_eq!(
        (&list["recipientCount"], &list["recipients"][0]["name"]),
        (&json!(2), &json!("Ani"))
    );
    let unnumbered = send(
        "POST",
        "/api/v1/recipient-lists",
        "name=Baru&recipients[][number]=6281299993002&recipients[][name]=Ani&recipients[][number]=6281299993003",
    );
    let unnumbered = unnumbered.await.expect(201);
    assert_eq!(unnumbered["recipientCount"], 2);
    assert_eq!(unnumbered["recipients"][0]["name"], "Ani");
    assert_eq!(unnumbered["rejected"], json!([]));
    let messages = "0[to]=6281299993002&0[type]=text&0[text][body]=hai";
    let list = send("POST", "/api/v1/messages?sessionId=shop", messages);
    let said = list.await.expect(400)["message"].to_string();
    assert!(said.contains("send the list as JSON"), "{said}");
    let campaign = send(
        "POST",
        "/api/v1/campaigns",
        "name=Promo&message[content]=Hai&recipients=6281299993002%2C6281299993003&settings[delayBetweenMessages]=1500&settings[checkNumbers]=true",
    );
    let campaign = campaign.await.expect(201);
    let settings = &campaign["settings"];
    assert_eq!(
        (&settings["delayBetweenMessages"], &settings["checkNumbers"]),
        (&json!(1500), &json!(true))
    );
    assert_eq!(campaign["recipientCount"], 2);
    let removed = send("DELETE", "/api/v1/webhook", "sessionId=shop");
    assert_eq!(
        removed.await.expect(200)["message"],
        "Webhook for session shop deleted."
    );
    // The session that is named twice is not one or the other.
    let twice = send(
        "POST",
        "/api/v1/recipient-lists",
        "name=x&sessionId=shop&sessionId=other",
    );
    twice.await.expect(400);
    for (wrong, words) in [
        ("name=x&name[y]=z", "both a value and a group"),
        ("name=x&recipients=abc", "row 1 (abc)"),
        ("name[]=x&name[]=y", "name must be a string"),
        (
            "name=x&recipients[][number]=6281299993002&recipients[][number]=6281299993003&recipients[][name]=A&recipients[][name]=B",
            "number the elements",
        ),
    ] {
        let refused = send("POST", "/api/v1/recipient-lists", wrong)
            .await
            .expect(400);
        let said = refused["message"].as_str().expect("words");
        assert!(said.contains(words), "{wrong}: {said}");
    }
    // Neither many values nor a large one: each byte may become six.
    let (many, large) = (
        "a=1&".repeat(20_000),
        format!("name={}", "\u{1}".repeat(3 << 20)),
    );
    for form in [many, large] {
        let refused = self::send(&rig, &token, "POST", "/api/v1/recipient-lists", &form).await;
        let refused = refused.expect(413);
        let said = refused["message"].as_str().expect("words");
        assert!(said.contains("form"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_told_what_it_looks_like() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let call = |kind: &'static str, body: &'static str| {
        let call = Call::new(rig.addr(), "POST", "/api/v1/recipient-lists");
        call.header("content-type", kind).bearer(&token).body(body)
    };
    // JSON that curl calls a form, and JSON with a mark of the byte order, are JSON.
    for (kind, body) in [
        (FORM, "{\"name\":\"x\"}"),
        ("application/json", "\u{feff}{\"name\":\"x\"}"),
        (FORM, "\u{feff} {\"name\":\"x\"}"),
    ] {
        assert_eq!(call(kind, body).send().await.expect(201)["name"], "x");
    }
    for (body, words) in [
        ("name=x", "it looks like a form"),
        ("{'name':'x'}", "JSON has double quotes"),
        ("", "The request body is empty; JSON is expected"),
        ("{\"name\":secret}", "Malformed JSON: line 1 column"),
    ] {
        let refused = call("application/json", body).send().await.expect(400);
        let said = refused["message"].as_str().expect("words");
        assert!(
            said.contains(words) && !said.contains("secret"),
            "{body}: {said}"
        );
    }
    let (rig, token) = (&rig, &token);
    let restored = |body: &'static str| {
        let call = Call::new(rig.addr(), "POST", "/api/v1/restore").bearer(token);
        call.body(body).send()
    };
    restored("\u{feff}{\"version\":1,\"lists\":[]}")
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_beyond_any_limit_is_too_large_in_the_same_words() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    for bytes in [(25 << 20) + 1, 40 << 20] {
        let file = vec![b'x'; bytes];
        let refused = crate::files::upload(&rig, &token, "a.pdf", &file).await;
        assert_eq!(refused.expect(413)["message"], "File too large", "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_without_events_get_those_of_the_original() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let set = async |body: Value| {
        let call = rig.post("/api/v1/webhook", &body).bearer(&token);
        let set = call.send().await.expect(200);
        let shown = rig.get("/api/v1/webhook?sessionId=shop").bearer(&token);
        (set, shown.send().await.expect(200)["events"].clone())
    };
    let hook = |events: Value| json!({ "sessionId": "shop", "url": "http://127.0.0.1:9/x", "events": events });
    let usual = json!(["session.update", "message.received"]);
    assert_eq!(set(hook(Value::Null)).await.1, usual);
    assert_eq!(set(hook(json!(["*"]))).await.1, json!(["*"]));
    // Not naming them leaves them as they are; an empty list is the usual ones again.
    let unnamed = json!({ "sessionId": "shop", "url": "http://127.0.0.1:9/x" });
    assert_eq!(set(unnamed).await.1, json!(["*"]));
    for empty in [json!([]), json!(""), Value::Null] {
        set(hook(json!(["*"]))).await;
        assert_eq!(set(hook(empty)).await.1, usual);
    }
    assert_eq!(
        set(hook(json!("call.offer, poll.vote"))).await.1,
        json!(["call.offer", "poll.vote"])
    );
    let call = rig
        .post("/api/v1/webhook", &hook(json!(["nothing"])))
        .bearer(&token);
    call.send().await.expect(400);
    // A name without an address may get one: it is stored, and said.
    let unknown = json!({ "sessionId": "shop", "url": "https://receiver.invalid/events" });
    let (answer, events) = set(unknown).await;
    let note = answer["note"].as_str().expect("a note");
    assert!(note.contains("cannot be resolved now"), "{note}");
    assert_eq!(events, json!(["call.offer", "poll.vote"]));
}
