//! Recipient lists: kept, searched, used, never losing a row without a word.

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::{at_once, create, people, person, post};
use crate::files::{Field, form, form_call};
use crate::support::{Call, Rig};

async fn make(rig: &Rig, token: &str, body: Value) -> Value {
    post(rig, token, "/api/v1/recipient-lists", &body)
        .await
        .expect(201)
}

async fn get(rig: &Rig, token: &str, path: &str) -> Value {
    rig.get(path).bearer(token).send().await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_lives_from_its_making_to_its_end() {
    let rig = Rig::new().await;
    let (token, other) = (rig.create("shop").await, rig.create("other").await);
    let made = make(&rig, &token, json!({ "name": "VIP Customers", "description": "the best", "tags": ["VIP", "Premium"],
        "recipients": [{ "number": "+62 850-2100-0000", "name": "John", "jobTitle": "CEO", "companyName": "Tech" },
            { "number": "6285021000001" }, "628502100000", { "number": "abc" }, { "number": "6285021000000", "kota": "Solo" }] })).await;
    let id = made["id"].as_str().expect("an id");
    assert!(id.starts_with("list_"), "{id}");
    assert_eq!(made["recipientCount"], 3);
    assert_eq!(made["recipients"][0]["companyName"], "Tech");
    assert_eq!(
        made["recipients"][0]["customFields"]["kota"], "Solo",
        "the duplicate was merged"
    );
    assert_eq!(made["duplicates"][0]["row"], 5);
    assert_eq!(made["rejected"][0]["row"], 4);
    assert_eq!(made["rejected"][0]["input"], "abc");
    let path = format!("/api/v1/recipient-lists/{id}");
    assert_eq!(rig.get(&path).bearer(&other).send().await.status, 404);
    let all = get(
        &rig,
        &token,
        "/api/v1/recipient-lists?search=vip&tag=premium",
    )
    .await;
    assert_eq!(all.as_array().expect("lists").len(), 1);
    assert_eq!(all[0]["recipients"], Value::Null);
    for none in ["search=nothing", "tag=VI"] {
        let found = get(&rig, &token, &format!("/api/v1/recipient-lists?{none}")).await;
        assert_eq!(found, json!([]), "{none}");
    }
    let put = |path: String, body: Value| {
        Call::new(rig.addr(), "PUT", &path)
            .json(&body)
            .bearer(&token)
            .send()
    };
    let changed = put(path.clone(), json!({ "name": "Better" }))
        .await
        .expect(200);
    assert_eq!(
        (
            &changed["name"],
            &changed["recipientCount"],
            &changed["description"]
        ),
        (&json!("Better"), &json!(3), &json!("the best"))
    );
    // Single people come, change and go.
    let added = post(
        &rig,
        &token,
        &format!("{path}/recipients"),
        &json!({ "number": "6285021000009", "name": "Edo" }),
    )
    .await;
    assert_eq!(added.expect(201)["recipientCount"], 4);
    let twice = post(
        &rig,
        &token,
        &format!("{path}/recipients"),
        &json!({ "number": "6285021000009" }),
    )
    .await;
    assert_eq!(
        twice.expect(409)["message"],
        "Recipient with this number already exists in the list"
    );
    assert_eq!(
        post(
            &rig,
            &token,
            &format!("{path}/recipients"),
            &json!({ "number": "1" })
        )
        .await
        .status,
        400
    );
    let one = put(
        format!("{path}/recipients/6285021000000"),
        json!({ "name": "Johnny" }),
    )
    .await
    .expect(200);
    assert_eq!(
        (
            &one["recipients"][0]["name"],
            &one["recipients"][0]["companyName"]
        ),
        (&json!("Johnny"), &json!("Tech"))
    );
    assert_eq!(
        put(
            format!("{path}/recipients/6285021999999"),
            json!({ "name": "x" })
        )
        .await
        .expect(404)["message"],
        "Recipient not found in list"
    );
    let clash = put(
        format!("{path}/recipients/6285021000001"),
        json!({ "number": "6285021000009" }),
    )
    .await;
    assert_eq!(clash.status, 409);
    let removed = rig
        .delete(&format!("{path}/recipients/6285021000001"))
        .bearer(&token)
        .send()
        .await
        .expect(200);
    assert_eq!(removed["recipientCount"], 3);
    let found = get(&rig, &token, "/api/v1/recipient-lists/search/johnny").await;
    assert_eq!(
        (&found[0]["listId"], &found[0]["listName"]),
        (&json!(id), &json!("Better"))
    );
    // A copy is independent.
    let copy = post(
        &rig,
        &token,
        &format!("{path}/clone"),
        &json!({ "newName": "Copy" }),
    )
    .await
    .expect(201);
    assert_eq!(
        (&copy["name"], &copy["recipientCount"], &copy["usageCount"]),
        (&json!("Copy"), &json!(3), &json!(0))
    );
    rig.delete(&path).bearer(&token).send().await.expect(200);
    assert_eq!(
        rig.get(&path).bearer(&token).send().await.expect(404)["message"],
        "Recipient list not found"
    );
    let copy_path = format!(
        "/api/v1/recipient-lists/{}",
        copy["id"].as_str().expect("an id")
    );
    assert_eq!(
        get(&rig, &token, &copy_path).await["recipients"]
            .as_array()
            .expect("people")
            .len(),
        3
    );
    let stats = get(&rig, &token, "/api/v1/recipient-lists-stats").await;
    assert_eq!(
        (&stats["totalLists"], &stats["totalRecipients"]),
        (&json!(1), &json!(3))
    );
    post(&rig, &token, &format!("{copy_path}/mark-used"), &json!({}))
        .await
        .expect(200);
    assert_eq!(get(&rig, &token, &copy_path).await["usageCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_use_lists_and_keep_what_they_took() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let list = make(
        &rig,
        &token,
        json!({ "name": "All", "recipients": people(22, 200) }),
    )
    .await;
    let id = list["id"].as_str().expect("an id");
    let path = format!("/api/v1/recipient-lists/{id}");
    for gone in [0, 63, 64, 199] {
        rig.delete(&format!("{path}/recipients/{}", person(22, gone)))
            .bearer(&token)
            .send()
            .await
            .expect(200);
    }
    let body = json!({ "name": "From a list", "recipientListId": id, "settings": at_once(), "message": { "content": "x" } });
    let made = create(&rig, &token, &body).await;
    assert_eq!(made["recipientCount"], 196);
    assert_eq!(made["recipientListId"], id);
    assert_eq!(made["recipients"].as_array().expect("people").len(), 196);
    assert_eq!(get(&rig, &token, &path).await["usageCount"], 1);
    assert!(get(&rig, &token, &path).await["lastUsed"].is_string());
    rig.delete(&path).bearer(&token).send().await.expect(200);
    let kept = get(
        &rig,
        &token,
        &format!("/api/v1/campaigns/{}", made["id"].as_str().expect("an id")),
    )
    .await;
    assert_eq!(kept["recipients"].as_array().expect("people").len(), 196);
    let gone = post(&rig, &token, "/api/v1/campaigns", &body)
        .await
        .expect(404);
    assert_eq!(gone["message"], "Recipient list not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn sheets_come_in_with_a_word_on_every_refused_line_and_go_out_harmless() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let sheet = "\u{feff}Nama;No HP;Kota\r\n=cmd();0812-3456-7890;Solo\r\nBudi;12;Solo\r\nAni;6,28123E+12;x\r\nAni;6285023000001;Yogya\r\n";
    let field = |name| Field {
        name,
        file_name: Some("people.csv"),
        mime: Some("text/csv"),
        bytes: sheet.as_bytes(),
    };
    let body = form(&[
        field("file"),
        Field {
            name: "name",
            file_name: None,
            mime: None,
            bytes: b"Sheet",
        },
    ]);
    let made = form_call(&rig, "/api/v1/recipient-lists", &token, body)
        .send()
        .await
        .expect(201);
    assert_eq!(made["name"], "Sheet");
    let lines: Vec<_> = made["rejected"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| r["row"].as_u64())
        .collect();
    assert_eq!(lines, [Some(2), Some(3), Some(4)], "{made}");
    assert_eq!(made["recipients"][0]["name"], "Ani");
    let path = format!(
        "/api/v1/recipient-lists/{}",
        made["id"].as_str().expect("an id")
    );
    let more = form(&[Field {
        name: "file",
        file_name: Some("b.csv"),
        mime: None,
        bytes: b"number,name\n6285023000001,again\n6285023000002,=1+1\n",
    }]);
    let imported = form_call(&rig, &format!("{path}/import"), &token, more)
        .send()
        .await
        .expect(200);
    assert_eq!(
        (&imported["imported"], &imported["alreadyThere"]),
        (&json!(1), &json!(["6285023000001"]))
    );
    let out = rig
        .get(&format!("{path}/export"))
        .bearer(&token)
        .send()
        .await;
    let text = String::from_utf8_lossy(&out.body).into_owned();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("\"'=1+1\""), "{text}");
    assert!(out.headers["content-disposition"].contains("Sheet.csv"));
    let look = Call::new(rig.addr(), "POST", "/api/v1/campaigns/preview-csv").bearer(&token);
    let look = look
        .header("content-type", "text/csv")
        .body(sheet)
        .send()
        .await
        .expect(200);
    assert_eq!(
        (
            &look["recipientCount"],
            look["errors"].as_array().map(Vec::len)
        ),
        (&json!(1), Some(3))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_list_is_imported_with_all_that_it_had() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let people = json!([
        { "number": "6285023000101", "name": "Budi", "jobTitle": "Owner", "companyName": "PT \"A\"",
          "customFields": { "Kota; Asal": "Solo, Jawa", "=saldo": "=1+1", "Phone": "rumah" } },
        { "number": "6285023000102", "name": "Ani" },
        { "number": "6285023000103", "name": "Edo",
          "customFields": { "catatan": "dua\nbaris", "Kota; Asal": "Yogya" } },
    ]);
    let create = async |name: &str, recipients: &Value| {
        let body = json!({ "sessionId": "shop", "name": name, "recipients": recipients });
        let call = rig.post("/api/v1/recipient-lists", &body).bearer(&token);
        call.send().await.expect(201)
    };
    let path = |list: &Value| {
        let id = list["id"].as_str().expect("an id");
        format!("/api/v1/recipient-lists/{id}")
    };
    let list = create("Out", &people).await;
    let out = rig.get(&format!("{}/export", path(&list)));
    let out = out.bearer(&token).send().await;
    let text = String::from_utf8_lossy(&out.body).into_owned();
    let header = text.lines().next().expect("a header");
    assert_eq!(
        header,
        "\"Number\",\"Name\",\"Job Title\",\"Company\",\"'=saldo\",\"Kota; Asal\",\"Phone\",\"catatan\""
    );
    let again = create("In", &json!([{ "number": "6285023000199" }])).await;
    let field = Field {
        name: "file",
        file_name: Some("out.csv"),
        mime: Some("text/csv"),
        bytes: &out.body,
    };
    let import = format!("{}/import", path(&again));
    let imported = form_call(&rig, &import, &token, form(&[field]))
        .send()
        .await;
    assert_eq!(imported.expect(200)["imported"], 3);
    let read = async |list: &Value| {
        let shown = rig.get(&path(list)).bearer(&token).send().await;
        shown.expect(200)["recipients"].clone()
    };
    let (was, is) = (read(&list).await, read(&again).await);
    assert_eq!(
        was.as_array().expect("people")[..],
        is.as_array().expect("people")[1..]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_people_fit() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let many: Vec<Value> = (0..100_000)
        .map(|n| json!({ "number": format!("62860{n:07}"), "name": format!("N{n}") }))
        .collect();
    let made = make(&rig, &token, json!({ "name": "Many", "recipients": many })).await;
    assert_eq!(made["recipientCount"], 100_000);
    assert_eq!(made["recipients"].as_array().expect("a page").len(), 1000);
    assert_eq!(made["next"], 1000);
    assert_eq!(made["page"], json!({ "shown": 1000, "of": 100_000 }));
    let id = made["id"].as_str().expect("an id");
    let page = get(
        &rig,
        &token,
        &format!("/api/v1/recipient-lists/{id}?offset=99990&limit=100"),
    )
    .await;
    assert_eq!(page["recipients"].as_array().expect("a page").len(), 10);
    assert_eq!(
        (&page["recipients"][9]["name"], &page["next"]),
        (&json!("N99999"), &Value::Null)
    );
    let body = json!({ "name": "Many", "recipientListId": id, "message": { "content": "x" } });
    assert_eq!(create(&rig, &token, &body).await["recipientCount"], 100_000);
    let added = post(
        &rig,
        &token,
        &format!("/api/v1/recipient-lists/{id}/recipients"),
        &json!({ "number": "6281111111111" }),
    )
    .await;
    assert!(
        added.expect(400)["message"]
            .as_str()
            .expect("words")
            .contains("100000")
    );
    let more: Vec<String> = (0..100_001).map(|n| format!("62860{n:07}")).collect();
    let refused = post(
        &rig,
        &token,
        "/api/v1/recipient-lists",
        &json!({ "name": "More", "recipients": more }),
    )
    .await;
    assert_eq!(
        refused.expect(400)["message"],
        "recipients: at most 100000 recipients"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_1501_survives_being_read_extended_and_written_back() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let body = json!({ "name": "VIP", "recipients": people(27, 1501) });
    let made = make(&rig, &token, body).await;
    let path = format!(
        "/api/v1/recipient-lists/{}",
        made["id"].as_str().expect("an id")
    );
    let put = |body: &Value| {
        let call = Call::new(rig.addr(), "PUT", &path).json(body);
        call.bearer(&token).send()
    };
    let mut all = get(&rig, &token, &path).await;
    let count = |list: &Value| list["recipients"].as_array().expect("people").len();
    assert_eq!(
        (count(&all), &all["page"], &all["next"]),
        (1501, &Value::Null, &Value::Null)
    );
    let rows = all["recipients"].as_array_mut().expect("people");
    rows.push(json!({ "number": person(27, 1501) }));
    assert_eq!(put(&all).await.expect(200)["recipientCount"], 1502);
    // A page is no list: not the first, not the last, not what a change answers.
    for page in [
        get(&rig, &token, &format!("{path}?limit=1000")).await,
        get(&rig, &token, &format!("{path}?offset=1000&limit=1000")).await,
        get(&rig, &token, &format!("{path}?after=1000")).await,
        put(&json!({ "name": "Better" })).await.expect(200),
    ] {
        assert!(count(&page) < 1502, "a page");
        let refused = put(&page).await.expect(400);
        let words = refused["message"].as_str().expect("words");
        assert!(
            words.contains("only one page") && words.contains("leave out page"),
            "{words}"
        );
    }
    assert_eq!(count(&get(&rig, &token, &path).await), 1502);
    // One who holds everybody is the list, and who says so keeps a part of it.
    let whole = get(&rig, &token, &format!("{path}?limit=5000")).await;
    assert_eq!(put(&whole).await.expect(200)["recipientCount"], 1502);
    let mut page = get(&rig, &token, &format!("{path}?limit=3")).await;
    let fields = page.as_object_mut().expect("an object");
    fields.retain(|name, _| name != "page" && name != "next");
    assert_eq!(put(&page).await.expect(200)["recipientCount"], 3);
    // Campaigns are held to the same.
    let body =
        json!({ "name": "x", "message": { "content": "x" }, "recipients": people(27, 1501) });
    let made = create(&rig, &token, &body).await;
    let path = format!("/api/v1/campaigns/{}", made["id"].as_str().expect("an id"));
    let put = |body: &Value| {
        let call = Call::new(rig.addr(), "PUT", &path).json(body);
        call.bearer(&token).send()
    };
    let all = get(&rig, &token, &path).await;
    assert_eq!((count(&all), &all["page"]), (1501, &Value::Null));
    assert_eq!(put(&all).await.expect(200)["recipientCount"], 1501);
    for part in ["limit=10", "after=1000", "status=failed"] {
        let page = get(&rig, &token, &format!("{path}?{part}")).await;
        put(&page).await.expect(400);
    }
    let of_status = get(&rig, &token, &format!("{path}?status=pending")).await;
    assert_eq!(count(&of_status), 1501);
    // They are everybody.
    assert_eq!(of_status["page"], Value::Null);
    let of_status = get(&rig, &token, &format!("{path}?status=failed")).await;
    assert_eq!(of_status["page"], json!({ "shown": 0, "of": 1501 }));
    let unknown = rig
        .get(&format!("{path}?status=gone"))
        .bearer(&token)
        .send();
    unknown.await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_while_it_is_read_is_cut_off_and_not_short() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    // More than the sockets between the two hold.
    let long = "x".repeat(500);
    let rows =
        (0..40_000).map(|n| json!({ "number": person(28, n), "customFields": { "a": long } }));
    let body = json!({ "name": "Long", "recipients": rows.collect::<Vec<_>>() });
    let made = make(&rig, &token, body).await;
    let id = made["id"].as_str().expect("an id");
    let path = format!("/api/v1/recipient-lists/{id}");
    let body = json!({ "name": "x", "message": { "content": "x" }, "recipientListId": id });
    let campaign = create(&rig, &token, &body).await;
    let campaign = format!(
        "/api/v1/campaigns/{}",
        campaign["id"].as_str().expect("an id")
    );
    let read_and = async |path: &str, other: Call| {
        let mut body = rig.get(path).bearer(&token).open().await.into_body();
        let first = body.frame().await.expect("a piece").expect("whole");
        assert!(
            first.data_ref().is_some_and(|data| data.len() < 2 << 20),
            "one page"
        );
        other.bearer(&token).send().await.expect(200);
        let mut bytes = 0;
        loop {
            match body.frame().await {
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| data.len()),
                Some(Err(_)) => return bytes,
                None => panic!("it ended as if it were whole, after {bytes} bytes"),
            }
        }
    };
    let none = json!({ "recipients": ["6281200000001"] });
    let emptied = Call::new(rig.addr(), "PUT", &path).json(&none);
    let bytes = read_and(&path, emptied).await;
    assert!(bytes < 20_000_000, "{bytes}");
    read_and(&campaign, rig.delete(&campaign)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_into_one_document_and_comes_back_elsewhere() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002301").await;
    make(
        &rig,
        &token,
        json!({ "name": "VIP", "tags": ["a"], "recipients": people(24, 3) }),
    )
    .await;
    let done = super::text_campaign(&rig, &token, "{{name}}", &people(24, 2)).await;
    super::step(&rig, &token, &done, "start").await.expect(200);
    super::wait_for(&rig, &token, &done, "completed").await;
    let slow = json!({ "name": "Half", "message": { "content": "{{name}}" }, "recipients": people(25, 3),
        "settings": { "delayBetweenMessages": 3_000_000, "jitter": 0 } });
    let half = create(&rig, &token, &slow).await;
    let half = half["id"].as_str().expect("an id");
    super::step(&rig, &token, half, "start").await.expect(200);
    crate::support::eventually("one is sent", || async {
        let now = super::show(&rig, &token, half).await;
        (now["statistics"]["sent"] == 1).then_some(())
    })
    .await;
    let numbers = json!({ "numbers": [person(24, 9)] });
    post(&rig, &token, "/api/v1/suppressions", &numbers)
        .await
        .expect(200);
    let document = get(&rig, &token, "/api/v1/backup").await;
    let other = rig.pair("other", "6281200002302").await;
    let mut wrong = document.clone();
    wrong["campaigns"][0]["status"] = json!("flying");
    assert_eq!(
        post(&rig, &other, "/api/v1/restore", &wrong).await.status,
        400
    );
    assert_eq!(
        post(&rig, &other, "/api/v1/restore", &json!({}))
            .await
            .status,
        400
    );
    assert_eq!(
        get(&rig, &other, "/api/v1/recipient-lists").await,
        json!([]),
        "nothing was made"
    );
    let made = post(&rig, &other, "/api/v1/restore", &document)
        .await
        .expect(201);
    assert_eq!(
        (
            made["lists"].as_array().map(Vec::len),
            &made["suppressions"]
        ),
        (Some(1), &json!(1))
    );
    let campaigns = get(&rig, &other, "/api/v1/campaigns").await;
    let find = |name: &str| {
        let all = campaigns.as_array().expect("campaigns").iter();
        all.clone()
            .find(|c| c["name"] == name)
            .expect("it came")
            .clone()
    };
    let promo = find("Promo");
    assert_eq!(
        (&promo["status"], &promo["statistics"]["sent"]),
        (&json!("completed"), &json!(2))
    );
    let restored = find("Half");
    assert_eq!(
        (&restored["status"], &restored["statistics"]["pending"]),
        (&json!("paused"), &json!(2))
    );
    // It goes on with those who are left, and with nobody else.
    let id = restored["id"].as_str().expect("an id");
    let faster = json!({ "settings": { "delayBetweenMessages": 0 } });
    Call::new(rig.addr(), "PUT", &format!("/api/v1/campaigns/{id}"))
        .json(&faster)
        .bearer(&other)
        .send()
        .await
        .expect(200);
    super::step(&rig, &other, id, "resume").await.expect(200);
    let end = super::wait_for(&rig, &other, id, "completed").await;
    super::assert_sums(&end);
    super::assert_each_once(&rig, 25, 3, |n| format!("Ani {n}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_under_a_long_name_comes_back_too() {
    let rig = Rig::new().await;
    let token = rig.create("shop").await;
    let name = "x".repeat(200);
    let list = make(
        &rig,
        &token,
        json!({ "name": name, "recipients": people(26, 1) }),
    )
    .await;
    let campaign =
        json!({ "name": name, "message": { "content": "hai" }, "recipients": people(26, 1) });
    let campaign = create(&rig, &token, &campaign).await;
    for (kind, made) in [("recipient-lists", &list), ("campaigns", &campaign)] {
        let id = made["id"].as_str().expect("an id");
        let path = format!("/api/v1/{kind}/{id}/clone");
        let copy = post(&rig, &token, &path, &json!({})).await.expect(201);
        let copied = copy["name"].as_str().expect("a name");
        assert_eq!((copied.len(), copied.ends_with("x (Copy)")), (200, true));
    }
    let document = get(&rig, &token, "/api/v1/backup").await;
    let other = rig.create("other").await;
    let made = post(&rig, &other, "/api/v1/restore", &document).await;
    let made = made.expect(201);
    for kind in ["lists", "campaigns"] {
        assert_eq!(made[kind].as_array().map(Vec::len), Some(2), "{made}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_breaks_off_leaves_nothing_behind() {
    let rig = Rig::with(|config| config.store_quota = 4000).await;
    let token = rig.create("shop").await;
    let mut known = json!(people(27, 2));
    for person in known.as_array_mut().expect("people") {
        person["status"] = json!("pending");
    }
    // What does not fit comes last.
    let document = format!(
        r#"{{"version":1,"campaigns":[{{"name":"Promo","status":"draft","message":{{"content":"hai"}},"recipients":{few}}}],
            "lists":[{{"name":"Few","recipients":{few}}},{{"name":"Many","recipients":{many}}}]}}"#,
        few = known,
        many = json!(people(28, 900)),
    );
    for _ in 0..2 {
        let call = Call::new(rig.addr(), "POST", "/api/v1/restore").bearer(&token);
        let call = call.header("content-type", "application/json");
        let refused = call.body(document.clone()).send().await.expect(413);
        assert!(
            refused["message"].to_string().contains("store_quota"),
            "{refused}"
        );
        for path in ["/api/v1/recipient-lists", "/api/v1/campaigns"] {
            assert_eq!(get(&rig, &token, path).await, json!([]), "{path}");
        }
    }
    // Without it the same document is taken.
    let mut fits: Value = serde_json::from_str(&document).expect("JSON");
    fits["lists"].as_array_mut().expect("lists").pop();
    let made = post(&rig, &token, "/api/v1/restore", &fits).await;
    made.expect(201);
}
