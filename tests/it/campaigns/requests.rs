//! What is asked of campaigns wrongly: told by the field's name, and nothing is made of it.

use serde_json::{Value, json};

use super::{create, people, post, show, step};
use crate::files::{Field, form, form_call};
use crate::support::{Call, Rig};

fn good() -> Value {
    json!({ "name": "Promo", "message": { "type": "text", "content": "Hi {{Name}}" },
        "recipients": [{ "number": "6285030000001", "name": "Ani" }] })
}

async fn count(rig: &Rig, token: &str) -> usize {
    let all = rig
        .get("/api/v1/campaigns")
        .bearer(token)
        .send()
        .await
        .expect(200);
    all.as_array().expect("campaigns").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_field_is_named_and_nothing_is_made() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let with = |field: &str, value: Value| {
        let mut body = good();
        body[field] = value;
        body
    };
    let setting = |name: &str, value: Value| with("settings", json!({ name: value }));
    let message = |value: Value| with("message", value);
    for (body, status, words) in [
        (with("name", json!(7)), 400, "name must be a string"),
        (with("name", json!("")), 400, "name is required"),
        (with("name", Value::Null), 400, "name is required"),
        (
            with("name", json!("x".repeat(201))),
            400,
            "name: at most 200",
        ),
        (
            with("sessionId", json!("other")),
            403,
            "Invalid token for session other",
        ),
        (
            with("sessionId", json!(7)),
            400,
            "sessionId must be a string",
        ),
        (message(Value::Null), 400, "message is required"),
        (message(json!("hi")), 400, "message must be an object"),
        (
            message(json!({ "content": 5 })),
            400,
            "message: content must be a string",
        ),
        (
            message(json!({ "content": "" })),
            400,
            "message.content is required",
        ),
        (
            message(json!({ "content": "x".repeat(4097) })),
            400,
            "message.content: at most 4096",
        ),
        (
            message(json!({ "type": "hologram", "content": "x" })),
            400,
            "message.type must be",
        ),
        (
            message(json!({ "type": "image", "content": "x" })),
            400,
            "message.mediaId or message.mediaUrl",
        ),
        (
            message(json!({ "type": "image", "mediaId": "nothing.jpg" })),
            404,
            "Media not found",
        ),
        (
            message(json!({ "type": "image", "mediaId": "nothing.jpg", "fileName": "../.." })),
            400,
            "message.fileName: ",
        ),
        (
            message(json!({ "type": "image", "mediaId": "../x" })),
            400,
            "message.mediaId is not valid",
        ),
        (
            message(json!({ "type": "image", "mediaUrl": "http://127.0.0.1/x.jpg" })),
            400,
            "message.mediaUrl: URL must not point",
        ),
        (
            with("recipients", Value::Null),
            400,
            "recipients or recipientListId is required",
        ),
        (
            with("recipients", json!([])),
            400,
            "recipients: at least one",
        ),
        (
            with("recipients", json!(true)),
            400,
            "recipients: must be an array",
        ),
        (
            with("recipients", json!(["abc", "1"])),
            400,
            "recipients: row 1 (abc)",
        ),
        (
            with("recipientListId", json!("list_1_a")),
            400,
            "Only one of recipients",
        ),
        (
            with("scheduledAt", json!("tomorrow")),
            400,
            "scheduledAt: not a date",
        ),
        (
            with("scheduledAt", json!("2026-02-30T10:00:00Z")),
            400,
            "scheduledAt",
        ),
        (with("scheduledAt", json!(5)), 400, "scheduledAt"),
        (
            with("settings", json!([])),
            400,
            "settings must be an object",
        ),
        (
            setting("delayBetweenMessages", json!(-1)),
            400,
            "settings.delayBetweenMessages",
        ),
        (
            setting("delayBetweenMessages", json!(1.5)),
            400,
            "settings.delayBetweenMessages",
        ),
        (
            setting("delayBetweenMessages", json!(3_600_001)),
            400,
            "settings.delayBetweenMessages",
        ),
        (setting("jitter", json!(101)), 400, "settings.jitter"),
        (
            setting("maxRetries", json!("many")),
            400,
            "settings.maxRetries",
        ),
        (setting("dailyCap", json!(0)), 400, "settings.dailyCap"),
        (
            setting("quietHours", json!({ "from": "25:00", "to": "08:00" })),
            400,
            "settings.quietHours",
        ),
        (
            setting("timezone", json!("Mars/Olympus")),
            400,
            "settings.timezone: unknown time zone: Mars/Olympus",
        ),
        (
            setting("checkNumbers", json!("yes")),
            400,
            "checkNumbers must be true or false",
        ),
    ] {
        let answer = post(&rig, &token, "/api/v1/campaigns", &body).await;
        let said = answer.json();
        assert_eq!(answer.status, status, "{said} for {words}");
        assert_eq!(said["status"], "error");
        let why = said["message"].as_str().expect("words");
        assert!(why.contains(words), "{why} for {words}");
    }
    let mut strict = with("recipients", json!(["6285030000001", "abc"]));
    strict["strict"] = json!(true);
    let refused = post(&rig, &token, "/api/v1/campaigns", &strict)
        .await
        .expect(400);
    assert!(
        refused["message"]
            .as_str()
            .expect("words")
            .contains("row 2 (abc)"),
        "{refused}"
    );
    let mut list = good();
    list["recipients"] = Value::Null;
    list["recipientListId"] = json!("list_1_a");
    let none = post(&rig, &token, "/api/v1/campaigns", &list)
        .await
        .expect(404);
    assert_eq!(none["message"], "Recipient list not found");
    for raw in ["", "{", "[]", "null", "\"x\""] {
        let call = Call::new(rig.addr(), "POST", "/api/v1/campaigns").bearer(&token);
        let answer = call
            .header("content-type", "application/json")
            .body(raw)
            .send()
            .await;
        assert_eq!(answer.expect(400)["status"], "error", "{raw}");
    }
    assert_eq!(count(&rig, &token).await, 0);
    let usage = rig
        .get("/api/v1/media")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(usage["usage"]["files"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_told_and_kept_as_failed_recipients() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let mut body = good();
    body["recipients"] = json!("6285030000001, abc\n+62 850-3000-0001;6285030000002");
    let made = create(&rig, &token, &body).await;
    assert_eq!(
        made["rejected"],
        json!([{ "row": 2, "input": "abc", "reason": made["rejected"][0]["reason"] }])
    );
    assert_eq!(made["duplicates"][0]["row"], 3);
    assert_eq!(
        made["statistics"],
        json!({ "total": 3, "sent": 0, "failed": 1, "pending": 2, "sending": 0, "delivered": 0, "read": 0 })
    );
    let id = made["id"].as_str().expect("an id");
    let now = show(&rig, &token, id).await;
    let bad = &now["recipients"][2];
    assert_eq!(
        (&bad["number"], &bad["status"]),
        (&json!("abc"), &json!("failed")),
        "{now}"
    );
    assert!(bad["error"].is_string());
    let failed = rig
        .get(&format!("/api/v1/campaigns/{id}?status=failed"))
        .bearer(&token);
    assert_eq!(
        failed.send().await.expect(200)["recipients"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let sheet = rig
        .get(&format!("/api/v1/campaigns/{id}/export"))
        .bearer(&token)
        .send()
        .await;
    let text = String::from_utf8_lossy(&sheet.body).into_owned();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some(
            "\"Number\",\"Name\",\"Job Title\",\"Company\",\"Status\",\"Sent At\",\"Error\",\"Delivered At\",\"Read At\""
        )
    );
    assert_eq!(lines.count(), 3, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sheet_makes_a_campaign_too() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let campaign = json!({ "name": "Sheet", "message": { "content": "{{kota}}" } }).to_string();
    let body = form(&[
        Field {
            name: "campaign",
            file_name: None,
            mime: None,
            bytes: campaign.as_bytes(),
        },
        Field {
            name: "file",
            file_name: Some("p.csv"),
            mime: Some("text/csv"),
            bytes: b"nomor,nama,kota\n6285030000001,Ani,Solo\n",
        },
    ]);
    let made = form_call(&rig, "/api/v1/campaigns", &token, body)
        .send()
        .await
        .expect(201);
    assert_eq!(made["recipients"][0]["customFields"]["kota"], "Solo");
    let workbook = form(&[
        Field {
            name: "campaign",
            file_name: None,
            mime: None,
            bytes: campaign.as_bytes(),
        },
        Field {
            name: "file",
            file_name: Some("p.xlsx"),
            mime: None,
            bytes: &crate::files::file("prices.xlsx"),
        },
    ]);
    let refused = form_call(&rig, "/api/v1/campaigns", &token, workbook)
        .send()
        .await
        .expect(415);
    assert!(
        refused["message"]
            .as_str()
            .expect("words")
            .contains("save it as CSV"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_belong_to_their_session_and_the_master_key_sees_all() {
    let rig = Rig::new().await;
    let (shop, other) = (rig.create("shop").await, rig.create("other").await);
    let made = create(&rig, &shop, &good()).await;
    let id = made["id"].as_str().expect("an id");
    let path = format!("/api/v1/campaigns/{id}");
    assert_eq!(
        rig.get(&path).bearer(&other).send().await.expect(404)["message"],
        "Campaign not found"
    );
    for what in ["start", "pause", "resume", "retry", "clone"] {
        assert_eq!(step(&rig, &other, id, what).await.status, 404, "{what}");
    }
    assert_eq!(rig.delete(&path).bearer(&other).send().await.status, 404);
    assert_eq!(count(&rig, &other).await, 0);
    let all = rig
        .get("/api/v1/campaigns")
        .master()
        .send()
        .await
        .expect(200);
    assert_eq!(
        (all.as_array().map(Vec::len), &all[0]["sessionId"]),
        (Some(1), &json!("shop"))
    );
    assert_eq!(rig.get(&path).master().send().await.status, 200);
    let nameless = rig
        .post("/api/v1/campaigns", &good())
        .master()
        .send()
        .await
        .expect(400);
    assert_eq!(nameless["message"], "sessionId is required");
    assert_eq!(
        rig.get("/api/v1/campaigns/a%20b")
            .bearer(&shop)
            .send()
            .await
            .expect(400)["message"],
        "Invalid campaign ID format"
    );
    assert_eq!(rig.get("/api/v1/campaigns").send().await.status, 401);
    // With its session everything of it goes.
    rig.delete("/api/v1/sessions/shop")
        .bearer(&shop)
        .send()
        .await
        .expect(200);
    assert_eq!(rig.get(&path).master().send().await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_can_be_changed_until_it_is_started_and_previewed_before() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let made = create(&rig, &token, &good()).await;
    let id = made["id"].as_str().expect("an id");
    let path = format!("/api/v1/campaigns/{id}");
    let put = |body: Value| {
        Call::new(rig.addr(), "PUT", &path)
            .json(&body)
            .bearer(&token)
            .send()
    };
    let new = put(
        json!({ "name": "New", "message": { "content": "Bye" }, "recipients": people(31, 3),
        "settings": { "dailyCap": 10, "timezone": "Asia/Jakarta" } }),
    )
    .await
    .expect(200);
    assert_eq!(
        (
            &new["name"],
            &new["recipientCount"],
            &new["message"]["content"]
        ),
        (&json!("New"), &json!(3), &json!("Bye"))
    );
    assert_eq!(
        (&new["settings"]["dailyCap"], &new["settings"]["maxRetries"]),
        (&json!(10), &json!(3))
    );
    let later = put(json!({ "scheduledAt": "2030-01-01 09:00" }))
        .await
        .expect(200);
    assert_eq!(
        (&later["status"], &later["scheduledAt"]),
        (&json!("ready"), &json!("2030-01-01T02:00:00.000Z"))
    );
    let never = put(json!({ "scheduledAt": null })).await.expect(200);
    assert_eq!(never["status"], "draft");
    step(&rig, &token, id, "start").await.expect(200);
    assert_eq!(put(json!({ "name": "x" })).await.status, 409, "it runs");
    step(&rig, &token, id, "pause").await.expect(200);
    assert_eq!(
        put(json!({ "name": "Renamed" })).await.expect(200)["name"],
        "Renamed"
    );
    assert_eq!(
        put(json!({ "recipients": ["6285030000001"] })).await.status,
        409,
        "it was started"
    );
    let look = json!({ "message": { "content": "{{Name}} {{Company}} {{kode}}" }, "recipients": people(31, 8) });
    let look = post(&rig, &token, "/api/v1/campaigns/preview", &look)
        .await
        .expect(200);
    assert_eq!(look["previews"].as_array().map(Vec::len), Some(5));
    assert_eq!(look["previews"][1]["text"], "Ani 1  K1");
    assert_eq!(look["missing"], json!(["Company"]));
    let gone = rig.delete(&path).bearer(&token).send().await.expect(200);
    assert_eq!(gone["message"], "Campaign deleted");
    assert_eq!(rig.delete(&path).bearer(&token).send().await.status, 404);
    let template = rig
        .get("/api/v1/campaigns/csv-template")
        .bearer(&token)
        .send()
        .await;
    assert_eq!(String::from_utf8_lossy(&template.body).lines().count(), 6);
    let overdue = rig
        .get("/api/v1/campaigns/overdue")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(overdue["overdueCampaigns"], 0);
}
