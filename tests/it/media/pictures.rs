//! Pictures cost work: those of one session do not hold up those of another.

use serde_json::json;
use warung::ids::SessionId;

use crate::files::{base64, file};
use crate::support::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_busy_with_a_picture_holds_up_nobody_else() {
    let rig = Rig::new().await;
    let busy = rig.pair("busy", "6281200000831").await;
    let other = rig.pair("other", "6281200000832").await;
    let gateway = rig.server.as_ref().expect("running").gateway().clone();
    let id = SessionId::parse("busy").expect("an id");
    let number = gateway.sessions().get(&id).expect("a session").number;
    // As if one picture of the session took for ever.
    let turn = gateway.image_turns().of(number).await;
    let message = json!({ "to": "6281200000833", "type": "image",
        "image": { "base64": base64(&file("alpha.png")) } });
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let call = rig.post("/api/v1/messages?sessionId=busy", &message);
        waiting.push(tokio::spawn(call.bearer(&busy).send()));
    }
    let document = json!({ "to": "6281200000833", "type": "document",
        "document": { "base64": base64(&file("alpha.png")), "filename": "a.png" } });
    let sent = rig.send("busy", &busy, &document).await;
    assert_eq!(sent[0]["status"], "success", "nothing is decoded: {sent}");
    let sent = rig.send("other", &other, &message).await;
    assert_eq!(sent[0]["status"], "success", "{sent}");
    assert!(waiting.iter().all(|call| !call.is_finished()));
    drop(turn);
    for call in waiting {
        let sent = call.await.expect("no panic").expect(200);
        assert_eq!(sent[0]["status"], "success", "{sent}");
    }
}
