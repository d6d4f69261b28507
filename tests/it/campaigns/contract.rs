//! What the program whose API this is does with campaigns, and clients count on: whose files and lists
//! may be used, what is said below a picture, who is written to.

use serde_json::{Value, json};

use super::{at_once, create, people, person, post, show, step, wait_for};
use crate::files::{Shelf, file, on_disk, uploaded};
use crate::support::{Call, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_uses_lists_and_files_of_one_session_for_another() {
    let rig = Rig::new().await;
    let own = rig.pair("own", "6281200002901").await;
    let other = rig.pair("other", "6281200002902").await;
    let list = json!({ "name": "All", "recipients": people(60, 2) });
    let list = post(&rig, &own, "/api/v1/recipient-lists", &list).await;
    let list = list.expect(201)["id"].clone();
    let id = uploaded(&rig, &own, "prices.pdf", &file("prices.pdf")).await;
    let campaign = json!({ "name": "Shared", "sessionId": "other", "recipientListId": list, "settings": at_once(),
        "message": { "type": "document", "mediaId": id, "fileName": "a.pdf" } });
    let message = json!({ "to": person(61, 0), "type": "document", "document": { "id": id } });
    let master = |path: &str, body: &Value| rig.post(path, body).master().send();
    let send = "/api/v1/messages?sessionId=other";
    // Whoever has one session has its own only.
    let refused = post(&rig, &other, "/api/v1/campaigns", &campaign).await;
    assert_eq!(refused.expect(404)["message"], "Recipient list not found");
    let mut with_people = campaign.clone();
    with_people["recipients"] = json!(people(60, 1));
    with_people
        .as_object_mut()
        .expect("an object")
        .remove("recipientListId");
    let refused = post(&rig, &other, "/api/v1/campaigns", &with_people).await;
    assert_eq!(refused.expect(404)["message"], "Media not found");
    let refused = post(&rig, &other, send, &message).await.expect(200);
    assert_eq!(refused[0]["code"], 404, "{refused}");
    let preview = json!({ "message": { "content": "x" }, "recipientListId": list });
    let refused = post(&rig, &other, "/api/v1/campaigns/preview", &preview).await;
    refused.expect(404);
    // The holder of the master key has both.
    let sent = master(send, &message).await.expect(200);
    assert_eq!(sent[0]["status"], "success", "{sent}");
    rig.wait_for_received(&person(61, 0), 1).await;
    let album = json!({ "to": person(61, 1), "type": "album", "album": { "media": [
        { "type": "document", "id": id }, { "type": "document", "id": id } ] } });
    let sent = master(send, &album).await.expect(200);
    assert_eq!(sent[0]["status"], "success", "{sent}");
    let preview = master("/api/v1/campaigns/preview?sessionId=other", &preview).await;
    assert_eq!(
        preview.expect(200)["previews"].as_array().map(Vec::len),
        Some(2)
    );
    let made = master("/api/v1/campaigns", &campaign).await.expect(201);
    assert_eq!(
        (&made["sessionId"], &made["recipientCount"]),
        (&json!("other"), &json!(2))
    );
    let path = format!("/api/v1/recipient-lists/{}", list.as_str().expect("an id"));
    let used = rig.get(&path).bearer(&own).send().await.expect(200);
    assert_eq!(used["usageCount"], 1);
    // It keeps what it uses, whatever becomes of the first owner.
    assert_eq!(on_disk(&rig).0.len(), 1, "one content, whoever names it");
    rig.delete("/api/v1/sessions/own")
        .master()
        .send()
        .await
        .expect(200);
    let id = made["id"].as_str().expect("an id");
    step(&rig, &other, id, "start").await.expect(200);
    let done = wait_for(&rig, &other, id, "completed").await;
    assert_eq!(done["statistics"]["sent"], 2, "{done}");
    for n in 0..2 {
        assert_eq!(rig.received(&person(60, n)).await.len(), 1);
    }
    let copied = rig.get(&format!(
        "/media/{}",
        done["message"]["mediaId"].as_str().expect("an id")
    ));
    assert_eq!(copied.bearer(&other).send().await.body, file("prices.pdf"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caption_wins_and_html_becomes_what_it_shows() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281200002903").await;
    let id = uploaded(&rig, &token, "prices.pdf", &file("prices.pdf")).await;
    let html = "<p>Halo&nbsp;<strong>{{Name}}</strong>,</p><p>5 < 6 &amp; {a|b}<br>{{kode}}</p>";
    let said = "Halo Ani 0,\n\n5 < 6 & {a|b}\n<b>&amp;";
    let mut who = people(62, 1);
    who[0]["kode"] = json!("<b>&amp;");
    let body = |message: Value| json!({ "name": "x", "settings": at_once(), "message": message, "recipients": who });
    for (number, (message, text)) in [
        (json!({ "content": html }), said),
        (
            json!({ "type": "document", "mediaId": id, "content": html }),
            said,
        ),
        (
            json!({ "type": "document", "mediaId": id, "content": "loses", "mediaCaption": html }),
            said,
        ),
        (
            json!({ "type": "document", "mediaId": id, "mediaCaption": "{{name}}" }),
            "Ani 0",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let made = create(&rig, &token, &body(message.clone())).await;
        let none = json!("");
        for field in ["content", "mediaCaption"] {
            // What the client wrote is what it reads, or its editor would lose the form.
            let read = &made["message"][field];
            let wrote = message.get(field);
            assert!(wrote == Some(read) || (wrote.is_none() && (read.is_null() || *read == none)));
        }
        assert_eq!(made["createdBy"], "shop");
        let campaign = made["id"].as_str().expect("an id");
        let preview = post(&rig, &token, "/api/v1/campaigns/preview", &body(message)).await;
        assert_eq!(preview.expect(200)["previews"][0]["text"], text);
        step(&rig, &token, campaign, "start").await.expect(200);
        wait_for(&rig, &token, campaign, "completed").await;
        let got = rig.wait_for_received(&person(62, 0), number + 1).await;
        let got = &got[number];
        assert_eq!(
            got["text"].as_str().or(got["caption"].as_str()),
            Some(text),
            "{got}"
        );
    }
    // Variants are a choice, and a copy makes the same one.
    let settings = json!({ "delayBetweenMessages": 0, "variants": true });
    let body = json!({ "name": "x", "settings": settings, "message": { "content": "{a|a}" }, "recipients": who });
    let made = create(&rig, &token, &body).await;
    let path = format!(
        "/api/v1/campaigns/{}/clone",
        made["id"].as_str().expect("an id")
    );
    let copy = post(&rig, &token, &path, &json!({})).await.expect(201);
    assert_eq!(copy["settings"]["variants"], true);
    let preview = post(&rig, &token, "/api/v1/campaigns/preview", &body).await;
    assert_eq!(preview.expect(200)["previews"][0]["text"], "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_may_be_recipients() {
    let account = "6281200002904";
    let rig = Rig::new().await;
    let token = rig.pair("shop", account).await;
    let phone = person(63, 0);
    let body = json!({ "subject": "Shop", "participants": [account, phone] });
    let group = rig.sandbox("POST", "/sandbox/groups", &body).await;
    let group = group["id"].as_str().expect("an id");
    let settings = json!({ "delayBetweenMessages": 0, "checkNumbers": true });
    let list = json!({ "name": "x", "recipients": [group, { "number": person(63, 1) }, { "number": group, "name": "Toko" }] });
    let list = post(&rig, &token, "/api/v1/recipient-lists", &list)
        .await
        .expect(201);
    assert_eq!(list["duplicates"][0]["number"], group);
    let path = format!(
        "/api/v1/recipient-lists/{}/recipients/{group}",
        list["id"].as_str().expect("an id")
    );
    let change = Call::new(rig.addr(), "PUT", &path).json(&json!({ "jobTitle": "x" }));
    let changed = change.bearer(&token).send().await.expect(200);
    assert_eq!(
        (
            &changed["recipients"][0]["name"],
            &changed["recipients"][0]["jobTitle"]
        ),
        (&json!("Toko"), &json!("x"))
    );
    let body = json!({ "name": "x", "settings": settings, "message": { "content": "{{name}} {{number}}" },
        "recipientListId": list["id"] });
    let made = create(&rig, &token, &body).await;
    let id = made["id"].as_str().expect("an id");
    step(&rig, &token, id, "start").await.expect(200);
    wait_for(&rig, &token, id, "completed").await;
    let done = show(&rig, &token, id).await;
    assert_eq!(
        (
            &done["recipients"][0]["number"],
            &done["recipients"][0]["status"]
        ),
        (&json!(group), &json!("sent")),
        "{done}"
    );
    let got = rig.wait_for_received(&phone, 1).await;
    assert_eq!(got[0]["text"], format!("Toko {group}"));
    // A group asks for nothing, so none is suppressed.
    let refused = json!({ "numbers": [group] });
    post(&rig, &token, "/api/v1/suppressions", &refused)
        .await
        .expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_can_be_written_back_as_it_was_read() {
    let shelf = Shelf::new().await;
    let rig = Rig::with(|config| config.allow_private = vec!["127.0.0.0/8".into()]).await;
    let token = rig.create("shop").await;
    let list = json!({ "name": "All", "recipients": people(62, 2) });
    let list = post(&rig, &token, "/api/v1/recipient-lists", &list).await;
    let list = list.expect(201)["id"].clone();
    let link = shelf.link("turned.jpg");
    let body = json!({ "name": "Linked", "recipientListId": list, "scheduledAt": "2030-01-01T00:00:00Z",
        "message": { "type": "image", "mediaUrl": link, "mediaCaption": "Halo" } });
    let made = create(&rig, &token, &body).await;
    let id = made["id"].as_str().expect("an id");
    let path = format!("/api/v1/campaigns/{id}");
    let before = show(&rig, &token, id).await;
    assert_eq!(
        (&before["recipientListId"], &before["message"]["mediaUrl"]),
        (&list, &json!(link))
    );
    let asked = shelf.asked();
    let put = |body: &Value| {
        let call = Call::new(rig.addr(), "PUT", &path).json(body);
        call.bearer(&token).send()
    };
    put(&before).await.expect(200);
    let mut after = show(&rig, &token, id).await;
    // Nobody has a status for a name; the file is the one that is there.
    assert_eq!(after["recipients"], before["recipients"]);
    assert_eq!(after["message"]["mediaId"], before["message"]["mediaId"]);
    assert_eq!(shelf.asked(), asked);
    // Who extends it writes to all of them.
    let rows = after["recipients"].as_array_mut().expect("rows");
    rows.push(json!({ "number": person(62, 7), "customFields": { "status": "gold" } }));
    assert_eq!(put(&after).await.expect(200)["recipientCount"], 3);
    let extended = show(&rig, &token, id).await;
    let fields = &extended["recipients"][2]["customFields"];
    assert_eq!(fields, &json!({ "status": "gold" }));
    // Another list, and another link, are other sources.
    let other = json!({ "recipients": people(62, 1), "recipientListId": "00000000-0000-4000-8000-000000000000" });
    put(&other).await.expect(400);
    let other = json!({ "message": { "type": "image", "mediaUrl": shelf.link("alpha.png"),
        "mediaId": before["message"]["mediaId"] } });
    put(&other).await.expect(400);
}
