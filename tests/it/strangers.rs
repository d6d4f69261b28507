//! Strangers and neighbours: whoever holds connections, streams and requests holds up nobody else.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Rig, eventually};

/// Few connections, so that a test needs no thousands.
const ROOM: usize = 32;

/// Asks for this and keeps the connection; what comes back is not read.
async fn ask(rig: &Rig, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(rig.addr()).await.expect("connected");
    socket.write_all(request.as_bytes()).await.expect("sent");
    socket
}

/// Health, its command, and a text of this session: what strangers must not stop.
async fn all_is_well(rig: &Rig, token: &str, to: &str) {
    rig.get("/health").send().await.expect(200);
    warung::commands::healthcheck(&rig.config)
        .await
        .expect("the health check passes");
    let sent = rig.send_text("shop", token, to, "in spite of them").await;
    assert_eq!(sent["status"], "success", "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_only_held_hold_up_nobody() {
    let rig = Rig::with(|config| config.max_connections = ROOM).await;
    let token = rig.pair("shop", "6281200001301").await;
    let mut held = Vec::new();
    let health = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for request in ["", "GET /hea", health] {
        for _ in 0..4 * ROOM {
            held.push(ask(&rig, request).await);
        }
        all_is_well(&rig, &token, "6281299991301").await;
    }
    rig.wait_for_received("6281299991301", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_that_never_read_leave_room_for_others() {
    let rig = Rig::with(|config| config.max_connections = ROOM).await;
    let greedy = rig.create("greedy").await;
    let token = rig.pair("shop", "6281200001302").await;
    let events = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {greedy}\r\n\r\n"
    );
    let mut held = Vec::new();
    for _ in 0..4 * ROOM {
        held.push(ask(&rig, &events).await);
    }
    let refused = eventually("one too many", || async {
        let call = rig.get("/api/v1/events").bearer(&greedy);
        let answer = call.open().await;
        (answer.status() == 429).then_some(answer)
    })
    .await;
    assert!(refused.headers().contains_key("retry-after"));
    all_is_well(&rig, &token, "6281299991302").await;
    // Another tenant listens, and so may this one when its streams are gone.
    let other = rig.get("/api/v1/events").bearer(&token).open().await;
    assert_eq!(other.status(), 200);
    drop(held);
    eventually("a stream again", || async {
        let call = rig.get("/api/v1/events").bearer(&greedy);
        (call.open().await.status() == 200).then_some(())
    })
    .await;
}

/// A server that accepts and says nothing; it tells how many wait for it.
struct Silent {
    link: String,
    waiting: tokio::sync::watch::Receiver<(usize, usize)>,
}

impl Silent {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let link = format!(
            "http://{}/x.jpg",
            listener.local_addr().expect("an address")
        );
        let (count, waiting) = tokio::sync::watch::channel((0, 0));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.send_modify(|(now, ever)| (*now, *ever) = (*now + 1, *ever + 1));
                let count = count.clone();
                tokio::spawn(async move {
                    let mut scratch = [0; 1024];
                    while socket.read(&mut scratch).await.is_ok_and(|n| n > 0) {}
                    count.send_modify(|(now, _)| *now -= 1);
                });
            }
        });
        Self { link, waiting }
    }

    fn message(&self) -> Value {
        json!({ "to": "6281299991399", "type": "image", "image": { "link": self.link } })
    }
}

fn links_inside(config: &mut warung::config::Config) {
    config.max_connections = ROOM;
    config.allow_private = vec!["127.0.0.0/8".into()];
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_any_more_is_not_done() {
    let rig = Rig::with(links_inside).await;
    let greedy = rig.pair("greedy", "6281200001303").await;
    let token = rig.pair("shop", "6281200001304").await;
    let silent = Silent::new().await;
    let body = silent.message().to_string();
    let request = format!(
        "POST /api/v1/messages?sessionId=greedy HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {greedy}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut waiting = silent.waiting.clone();
    let first = ask(&rig, &request).await;
    waiting
        .wait_for(|(now, _)| *now > 0)
        .await
        .expect("it is fetched");
    for _ in 0..4 * ROOM {
        drop(ask(&rig, &request).await);
    }
    drop(first);
    eventually("nothing is fetched any more", || async {
        (silent.waiting.borrow().0 == 0).then_some(())
    })
    .await;
    all_is_well(&rig, &token, "6281299991304").await;
    // Its places are free again: it may send.
    let sent = rig
        .send_text("greedy", &greedy, "6281299991304", "after all")
        .await;
    assert_eq!(sent["status"], "success", "{sent}");
    rig.wait_for_received("6281299991304", 2).await;
    assert!(rig.received("6281299991399").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_requests_leave_room_for_the_others() {
    let rig = Rig::with(links_inside).await;
    let greedy = rig.pair("greedy", "6281200001305").await;
    let token = rig.pair("shop", "6281200001306").await;
    let silent = Silent::new().await;
    let path = "/api/v1/messages?sessionId=greedy";
    // As many as one tenant may have at a time, and one: only that one is answered soon.
    let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let calls: Vec<_> = (0..=ROOM / 4)
        .map(|n| {
            // However it is spelled, it is one tenant's.
            let spelled = ["Bearer ", "bearer ", "BEARER  "][n % 3];
            let call = rig.post(path, &silent.message());
            let call = call.header("authorization", &format!("{spelled}{greedy}"));
            let answered = answered.clone();
            tokio::spawn(async move { answered.send(call.send().await) })
        })
        .collect();
    let refused = answers.recv().await.expect("one too many");
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(refused.json()["message"], "Too many requests are under way");
    all_is_well(&rig, &token, "6281299991306").await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_is_counted_and_locks_nobody_out() {
    let rig = Rig::with(|config| config.trusted_proxies = vec!["127.0.0.1".into()]).await;
    let token = rig.create("shop").await;
    let call = |token: &str, from: &str| {
        let call = rig.get("/api/v1/sessions/shop").bearer(token);
        call.header("x-forwarded-for", from).send()
    };
    let guesser = "203.0.113.7";
    for _ in 0..20 {
        let answer = call("a-guess", guesser).await.expect(403);
        assert_eq!(answer["message"], "Invalid token");
    }
    // What stands before the address that the proxy saw is the client's own claim.
    let answer = call("a-guess", "198.51.100.1, 203.0.113.7").await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(answer.json()["status"], "error");
    // Somebody else behind the same address, and somebody who errs elsewhere.
    call(&token, guesser).await.expect(200);
    call("a-mistake", "203.0.113.8").await.expect(403);
    // Behind a proxy that is not trusted nobody is told from the others.
    let plain = Rig::new().await;
    for _ in 0..30 {
        let call = plain.get("/api/v1/sessions/shop").bearer("a-guess");
        call.send().await.expect(403);
    }
    let figures = rig.get("/metrics").master().send().await;
    let figures = String::from_utf8(figures.body.to_vec()).expect("text");
    for line in [
        "# TYPE warung_http_failed_logins counter",
        "warung_http_failed_logins_total 22",
        "warung_http_panics_total 0",
    ] {
        assert!(figures.lines().any(|l| l == line), "{line}: {figures}");
    }
    assert!(
        figures.contains("warung_http_responses_total{class=\"4xx\"} 22"),
        "{figures}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_behind_the_proxy_has_only_its_share_of_it() {
    let rig = Rig::with(|config| {
        config.trusted_proxies = vec!["127.0.0.1".into()];
        config.max_connections_per_address = Some(3);
    })
    .await;
    let open = |from: &'static str| {
        let call = rig.get("/api/v1/events").master();
        call.header("x-forwarded-for", from).open()
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        let stream = open("2001:db8:1:2::1").await;
        assert_eq!(stream.status(), 200);
        held.push(stream);
    }
    let refused = open("2001:db8:1:2:3::9").await;
    assert_eq!(refused.status(), 429, "the same customer");
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(open("2001:db8:1:3::1").await.status(), 200);
    drop(held);
    eventually("its share again", || async {
        (open("2001:db8:1:2::1").await.status() == 200).then_some(())
    })
    .await;
}
