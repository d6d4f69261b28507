//! The guard of plain sends: how many new contacts a session may write to.

use std::time::Duration;

use serde_json::{Value, json};
use warung::domain::guard::Guard;
use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::campaigns::{step, text_campaign, wait_for};
use crate::support::{Answer, Call, Rig, Sink, eventually};

/// A rig whose sessions may write to so many new contacts, `MINUTE,DAY`.
async fn guarded(limits: &str, clock: &Clock) -> Rig {
    let guard = limits.parse::<Guard>().expect("a guard");
    Rig::made_of(deps(clock), |config| config.guard = guard).await
}

fn deps(clock: &Clock) -> Deps {
    Deps {
        clock: clock.clone(),
        ..Deps::default()
    }
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_secs(1_800_000_000))
}

fn text(to: &str, body: &str) -> Value {
    json!({ "to": to, "type": "text", "text": { "body": body } })
}

/// Sends one text, which is no array.
async fn send(rig: &Rig, token: &str, to: &str) -> Answer {
    let call = rig.post("/api/v1/messages?sessionId=shop", &text(to, "Halo"));
    call.bearer(token).send().await
}

/// Sends one text that goes.
async fn goes(rig: &Rig, token: &str, to: &str) {
    let answer = send(rig, token, to).await.expect(200);
    assert_eq!(answer[0]["status"], "success", "{answer}");
}

/// Sends one text that the guard holds back; answers after how many seconds it may go.
async fn held_back(rig: &Rig, token: &str, to: &str) -> u64 {
    let answer = send(rig, token, to).await;
    let wait = answer.headers.get("retry-after").cloned();
    let words = answer.expect(429)["message"].as_str().map(str::to_owned);
    let words = words.expect("words");
    assert!(words.contains("setting guard"), "{words}");
    let wait = wait.expect("a time").parse().expect("seconds");
    assert!(words.contains(&format!("in {wait} seconds")), "{words}");
    wait
}

/// How many new contacts the session's status shows, of the last minute and the last day.
async fn shown(rig: &Rig) -> (Value, Value) {
    let row = rig.get("/api/v1/sessions/shop").master().send().await;
    let guard = &row.expect(200)["guard"];
    let part = |name: &str| guard[name].clone();
    (part("newContactsLastMinute"), part("newContactsLastDay"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_over_strangers_is_stopped_and_goes_on_when_told() {
    let clock = clock();
    let mut rig = guarded("3,5", &clock).await;
    let token = rig.pair("shop", "6281200003001").await;
    let stranger = |n: u32| format!("628129999{n:04}");
    for n in 0..3 {
        goes(&rig, &token, &stranger(n)).await;
    }
    assert_eq!(held_back(&rig, &token, &stranger(3)).await, 61);
    // Who is known is written to as ever.
    goes(&rig, &token, &stranger(0)).await;
    assert_eq!(shown(&rig).await, (json!(3), json!(3)));
    // Neither a start nor a second try forgets.
    rig.restart_made_of(deps(&clock)).await;
    rig.wait_for_status("shop", "CONNECTED").await;
    assert_eq!(held_back(&rig, &token, &stranger(3)).await, 61);
    goes(&rig, &token, &stranger(2)).await;
    let legacy = json!({ "sessionId": "shop", "number": stranger(3), "message": "Halo" });
    let refused = rig.post("/api/send-message", &legacy).send().await;
    assert_eq!(refused.headers["retry-after"], "61");
    refused.expect(429);
    clock.advance(Duration::from_secs(61));
    goes(&rig, &token, &stranger(3)).await;
    goes(&rig, &token, &stranger(4)).await;
    assert_eq!(shown(&rig).await, (json!(2), json!(5)));
    // The day is full: what a minute would let go waits for the first quarter of an hour to leave.
    let wait = held_back(&rig, &token, &stranger(5)).await;
    assert_eq!(wait, 24 * 3600 + 900 - 61);
    let metrics = rig.get("/metrics").master().send().await;
    let metrics = String::from_utf8(metrics.body.to_vec()).expect("text");
    for line in [
        "warung_new_contacts_last_day{session=\"shop\"} 5",
        "warung_guard_held_back_total 3",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}: {metrics}");
    }
    assert!(rig.received(&stranger(5)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_groups_campaigns_and_oneself_are_free() {
    let clock = clock();
    let rig = guarded("1,1", &clock).await;
    let token = rig.pair("shop", "6281200003002").await;
    goes(&rig, &token, "6281299993101").await;
    held_back(&rig, &token, "6281299993102").await;
    // Who writes first is answered, also by a program that is told of it and answers at once.
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    let hello = json!({ "to": "6281200003002", "text": "Ada beras?" });
    rig.sandbox("POST", "/sandbox/phones/6281299993102/messages", &hello)
        .await;
    eventually("the question", || async {
        (!sink.got().await.is_empty()).then_some(())
    })
    .await;
    goes(&rig, &token, "6281299993102").await;
    let group = json!({ "subject": "Tim", "participants": ["6281200003002", "6281299993103"] });
    let group = rig.sandbox("POST", "/sandbox/groups", &group).await["id"].clone();
    goes(&rig, &token, group.as_str().expect("an id")).await;
    goes(&rig, &token, "6281200003002").await;
    let people: Vec<_> = (4..8)
        .map(|n| json!({ "number": format!("628129999310{n}") }))
        .collect();
    let id = text_campaign(&rig, &token, "Promo", &people).await;
    step(&rig, &token, &id, "start").await.expect(200);
    let done = wait_for(&rig, &token, &id, "completed").await;
    assert_eq!(done["statistics"]["sent"], 4, "{done}");
    assert_eq!(shown(&rig).await, (json!(1), json!(1)));
    // Whom a campaign wrote to is no stranger any more.
    goes(&rig, &token, "6281299993104").await;
    held_back(&rig, &token, "6281299993108").await;
}

/// Makes a group of these people; answers its id.
async fn group_of(rig: &Rig, people: &[&str]) -> String {
    let group = json!({ "subject": "Tim", "participants": people });
    let group = rig.sandbox("POST", "/sandbox/groups", &group).await;
    group["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_a_group_is_not_known_by_that() {
    let clock = clock();
    let rig = guarded("1,1", &clock).await;
    let token = rig.pair("shop", "6281200003011").await;
    let members: Vec<_> = (0..4).map(|n| format!("628129999361{n}")).collect();
    let mut all: Vec<_> = members.iter().map(String::as_str).collect();
    all.push("6281200003011");
    let group = group_of(&rig, &all).await;
    // A text in either direction agrees keys with them.
    goes(&rig, &token, &group).await;
    for member in &members {
        rig.wait_for_received(member, 1).await;
    }
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    let hello = json!({ "to": group, "text": "Halo semua" });
    let path = format!("/sandbox/phones/{}/messages", members[1]);
    rig.sandbox("POST", &path, &hello).await;
    sink.wait_for("message.received", 1).await;
    goes(&rig, &token, &members[0]).await;
    for member in &members[1..] {
        held_back(&rig, &token, member).await;
    }
    assert_eq!(shown(&rig).await, (json!(1), json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_known_before_the_guard_stays_known() {
    let clock = clock();
    let mut rig = guarded("1,1", &clock).await;
    let token = rig.pair("shop", "6281200003012").await;
    goes(&rig, &token, "6281299993621").await;
    rig.wait_for_received("6281299993621", 1).await;
    // A store of an older version knows of this person by what Signal has agreed, and of nothing else.
    forget_guard(&rig).await;
    rig.restart_made_of(deps(&clock)).await;
    rig.wait_for_status("shop", "CONNECTED").await;
    let group = group_of(&rig, &["6281200003012", "6281299993622", "6281299993623"]).await;
    goes(&rig, &token, &group).await;
    rig.wait_for_received("6281299993622", 1).await;
    // Those are from before; what a group agrees afterwards says nothing, after another start either.
    rig.restart_made_of(deps(&clock)).await;
    rig.wait_for_status("shop", "CONNECTED").await;
    goes(&rig, &token, "6281299993621").await;
    assert_eq!(shown(&rig).await, (json!(0), json!(0)));
    goes(&rig, &token, "6281299993622").await;
    held_back(&rig, &token, "6281299993623").await;
}

/// Takes away all that the guard has written down.
async fn forget_guard(rig: &Rig) {
    use warung::store::{Durability, tables};
    let gateway = rig.server.as_ref().expect("running").gateway();
    let forget = |tx: &mut warung::store::Tx| {
        for table in [tables::FIRST_CONTACTS, tables::NEW_CONTACTS] {
            tx.delete_prefix(table, b"")?;
        }
        Ok(())
    };
    let forgotten = gateway.store().write(Durability::Sync, forget).await;
    forgotten.expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_is_linked_again_knows_whom_it_knew_and_another_does_not() {
    let clock = clock();
    let rig = guarded("1,2", &clock).await;
    let token = rig.pair("shop", "6281200003013").await;
    goes(&rig, &token, "6281299993631").await;
    let link_again = async |phone: &str| {
        let path = "/api/v1/sessions/shop/logout";
        let out = rig.post(path, &Value::Null).bearer(&token).send().await;
        out.expect(200);
        // A code that is asked for at once is there, and stays.
        let qr = rig.get("/api/v1/sessions/shop/qr").bearer(&token);
        qr.send().await.expect(200);
        let scan = json!({ "sessionId": "shop", "phone": phone });
        rig.sandbox("POST", "/sandbox/scan", &scan).await;
        rig.wait_for_status("shop", "CONNECTED").await;
    };
    let (first, second) = ("6281200003013", "6281200003014");
    link_again(first).await;
    goes(&rig, &token, "6281299993631").await;
    held_back(&rig, &token, "6281299993632").await;
    assert_eq!(shown(&rig).await, (json!(1), json!(1)));
    link_again(second).await;
    held_back(&rig, &token, "6281299993631").await;
    clock.advance(Duration::from_secs(61));
    goes(&rig, &token, "6281299993631").await;
    // Nor does the first one know any more whom it knew then.
    link_again(first).await;
    held_back(&rig, &token, "6281299993631").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_without_whatsapp_gives_its_place_back() {
    let clock = clock();
    let rig = guarded("2,2", &clock).await;
    let token = rig.pair("shop", "6281200003015").await;
    let nobody = ["6281299993641", "6281299993642"];
    for phone in nobody {
        let path = format!("/sandbox/phones/{phone}");
        rig.sandbox("PUT", &path, &json!({ "registered": false }))
            .await;
        // Twice in one request it is one place.
        let twice = json!([text(phone, "one"), text(phone, "two")]);
        let answer = rig.send("shop", &token, &twice).await;
        for row in answer.as_array().expect("rows") {
            let said = row["message"].as_str().expect("words");
            assert!(said.contains("not on WhatsApp"), "{row}");
        }
        assert_eq!(shown(&rig).await, (json!(0), json!(0)));
    }
    goes(&rig, &token, "6281299993643").await;
    goes(&rig, &token, "6281299993644").await;
    held_back(&rig, &token, "6281299993645").await;
    // Whoever has WhatsApp later is as new as the others.
    let path = format!("/sandbox/phones/{}", nobody[0]);
    rig.sandbox("PUT", &path, &json!({ "registered": true }))
        .await;
    held_back(&rig, &token, nobody[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_whatsapp_refused_gives_its_place_back() {
    let clock = clock();
    let rig = guarded("2,2", &clock).await;
    let token = rig.pair("shop", "6281200003016").await;
    let refuse = async |code: u32| {
        let fault = json!({ "refuse": { "code": code }, "count": 1 });
        rig.sandbox("POST", "/sandbox/faults", &fault).await;
    };
    for _ in 0..3 {
        refuse(463).await;
        let refused = send(&rig, &token, "6281299993651").await.json();
        assert!(refused.to_string().contains("463"), "{refused}");
        assert_eq!(shown(&rig).await, (json!(0), json!(0)));
    }
    // Of two to the same person one arrives: that is a place, and the person is known.
    refuse(463).await;
    let two = json!([text("6281299993651", "one"), text("6281299993651", "two")]);
    rig.send("shop", &token, &two).await;
    rig.wait_for_received("6281299993651", 1).await;
    goes(&rig, &token, "6281299993651").await;
    assert_eq!(shown(&rig).await, (json!(1), json!(1)));
    // That the account sends too much is no place.
    refuse(429).await;
    send(&rig, &token, "6281299993652").await;
    assert_eq!(shown(&rig).await, (json!(2), json!(2)));
    goes(&rig, &token, "6281299993652").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_free_and_makes_nobody_known() {
    let clock = clock();
    let rig = guarded("1,1", &clock).await;
    let token = rig.pair("shop", "6281200003017").await;
    goes(&rig, &token, "6281299993661").await;
    let delete = json!({ "sessionId": "shop", "messageId": "3EB0AAAAAAAAAAAAAAAA",
        "remoteJid": "6281299993662@s.whatsapp.net" });
    let delete = Call::new(rig.addr(), "DELETE", "/api/v1/message").json(&delete);
    let answer = delete.bearer(&token).send().await;
    assert_ne!(answer.status, 429);
    held_back(&rig, &token, "6281299993662").await;
    assert_eq!(shown(&rig).await, (json!(1), json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_one_by_number_and_by_lid() {
    let clock = clock();
    let rig = guarded("2,9", &clock).await;
    let token = rig.pair("shop", "6281200003003").await;
    goes(&rig, &token, "6281299993201").await;
    let sink = Sink::new().await;
    rig.hook("shop", &sink.url, &["message.received"]).await;
    let lid = says_hello(&rig, &sink, "6281299993201").await;
    goes(&rig, &token, &lid).await;
    // Who wrote under a LID is known by the number too, and the other way round.
    let lid = says_hello(&rig, &sink, "6281299993202").await;
    goes(&rig, &token, "6281299993202").await;
    goes(&rig, &token, &lid).await;
    assert_eq!(shown(&rig).await.0, json!(1));
}

/// Has a phone write to the session; answers its LID when the message is stored.
async fn says_hello(rig: &Rig, sink: &Sink, phone: &str) -> String {
    let before = sink.got().await.len();
    let hello = json!({ "to": "6281200003003", "text": "Halo" });
    let path = format!("/sandbox/phones/{phone}/messages");
    rig.sandbox("POST", &path, &hello).await;
    eventually("the message", || async {
        (sink.got().await.len() > before).then_some(())
    })
    .await;
    eventually("its LID", || async { known_lid(rig, phone) }).await
}

/// The LID behind a number, once the gateway knows it.
fn known_lid(rig: &Rig, phone: &str) -> Option<String> {
    use warung::store::{Key, Read, tables};
    let gateway = rig.server.as_ref().expect("running").gateway();
    let number = gateway.sessions().all()[0].number.0;
    let key = Key::new().u32(number).u8(14).tail(phone);
    let row = gateway.store().read(|read| read.get(tables::WA, &key));
    let row = row.expect("readable")?;
    let digits = String::from_utf8(row[1..].to_vec()).expect("digits");
    Some(format!("{digits}@lid"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_answered_by_element_and_a_repeated_request_counts_once() {
    let clock = clock();
    let rig = guarded("2,9", &clock).await;
    let token = rig.pair("shop", "6281200003004").await;
    let batch = json!([
        text("6281299993301", "one"),
        text("6281299993302", "two"),
        text("6281299993301", "one again"),
        text("6281299993303", "three"),
    ]);
    let send = || async {
        let call = rig.post("/api/v1/messages?sessionId=shop", &batch);
        let call = call.bearer(&token).header("idempotency-key", "order-3");
        call.send().await.expect(200)
    };
    let states = |rows: &Value| -> Vec<String> {
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row["status"].as_str().expect("a word").to_owned())
            .collect()
    };
    let first = send().await;
    assert_eq!(states(&first), ["success", "success", "success", "error"]);
    assert_eq!(
        (&first[3]["code"], &first[3]["retryAfter"]),
        (&json!(429), &json!(61))
    );
    // Under the same key the rest may go later, and nothing goes or counts twice.
    let second = send().await;
    assert_eq!(second, first);
    assert_eq!(shown(&rig).await, (json!(2), json!(2)));
    clock.advance(Duration::from_secs(61));
    let third = send().await;
    assert_eq!(states(&third), ["success"; 4]);
    assert_eq!(third[0]["messageId"], first[0]["messageId"]);
    assert_eq!(send().await, third);
    assert_eq!(shown(&rig).await, (json!(1), json!(3)));
    for (phone, count) in [
        ("6281299993301", 2),
        ("6281299993302", 1),
        ("6281299993303", 1),
    ] {
        assert_eq!(
            rig.wait_for_received(phone, count).await.len(),
            count,
            "{phone}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_together_are_counted_one_by_one() {
    let clock = clock();
    let rig = guarded("4,9", &clock).await;
    let token = rig.pair("shop", "6281200003005").await;
    let numbers: Vec<_> = (0..10).map(|n| format!("628129999340{n}")).collect();
    let sends = numbers.iter().map(|number| send(&rig, &token, number));
    let answers = futures_util::future::join_all(sends).await;
    let with = |status| answers.iter().filter(|a| a.status == status).count();
    assert_eq!((with(200), with(429)), (4, 6));
    assert_eq!(shown(&rig).await, (json!(4), json!(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_a_guard_of_its_own() {
    let clock = clock();
    let rig = guarded("1,1", &clock).await;
    let token = rig.pair("shop", "6281200003006").await;
    let path = "/api/v1/sessions/shop/settings";
    let choose = |guard: Value| {
        let call = crate::support::Call::new(rig.addr(), "PUT", path);
        call.bearer(&token).json(&json!({ "guard": guard })).send()
    };
    goes(&rig, &token, "6281299993501").await;
    held_back(&rig, &token, "6281299993502").await;
    let own = json!({ "perMinute": 2, "perDay": 2 });
    assert_eq!(choose(own.clone()).await.expect(200)["guard"], own);
    goes(&rig, &token, "6281299993502").await;
    held_back(&rig, &token, "6281299993503").await;
    assert_eq!(choose(json!("off")).await.expect(200)["guard"], "off");
    goes(&rig, &token, "6281299993503").await;
    // What was not guarded is not counted.
    assert_eq!(shown(&rig).await, (json!(2), json!(2)));
    assert_eq!(choose(Value::Null).await.expect(200)["guard"], Value::Null);
    held_back(&rig, &token, "6281299993504").await;
    for wrong in [
        json!("on"),
        json!(5),
        json!({ "perMinute": 2 }),
        json!({ "perMinute": 0, "perDay": 5 }),
        json!({ "perMinute": 1, "perDay": 5, "perHour": 2 }),
        json!({ "perMinute": 1.5, "perDay": 5 }),
        json!({ "perMinute": 1, "perDay": 1_000_001 }),
    ] {
        let said = choose(wrong.clone()).await.expect(400);
        assert!(
            said["message"]
                .as_str()
                .expect("words")
                .contains("perMinute"),
            "{wrong}"
        );
    }
    assert_eq!(
        rig.get(path).bearer(&token).send().await.expect(200)["guard"],
        Value::Null
    );
}
