//! Connections and the program: starting, hanging up, stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn a_task_with_an_effect_outlives_its_client() {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let done = Arc::new(AtomicUsize::new(0));
    let handler = {
        let (started, finish, done) = (started.clone(), finish.clone(), done.clone());
        move |_: Request| {
            let (started, finish, done) = (started.clone(), finish.clone(), done.clone());
            async move {
                started.notify_one();
                finish.notified().await;
                done.fetch_add(1, Ordering::SeqCst);
                Ok(Reply::empty(StatusCode::NO_CONTENT))
            }
        }
    };
    let server = serve(vec![Route::post("/x", handler)], Limits::default()).await;
    let mut socket = connect(&server).await;
    socket
        .write_all(post("/x", "").as_bytes())
        .await
        .expect("to send");
    soon(started.notified()).await;
    drop(socket);
    // The connection is gone before the handler goes on.
    soon(async {
        while server.metrics().open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    finish.notify_one();
    soon(server.shutdown()).await;
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn work_that_outlives_its_client_is_told_so_and_counted() {
    let (started, seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let finish = Arc::new(Notify::new());
    let handler = {
        let (started, seen, finish) = (started.clone(), seen.clone(), finish.clone());
        move |request: Request| {
            let (started, seen, finish) = (started.clone(), seen.clone(), finish.clone());
            async move {
                started.notify_one();
                request.hung_up().cancelled().await;
                seen.notify_one();
                finish.notified().await;
                ok(request).await
            }
        }
    };
    let routes = vec![Route::post("/x", handler), Route::post("/y", echo)];
    let app = App::new(vec![mount("", routes)]).expect("a table");
    let app = app.at_most(2, 1, usize::MAX);
    let listen = "127.0.0.1:0".parse().expect("an address");
    let server = HttpServer::bind(&listen, app, Limits::default())
        .await
        .expect("a free port");
    let with_token = |path: &str, token: &str| {
        post(path, "").replace(
            "host: x",
            &format!("host: x\r\nauthorization: Bearer {token}"),
        )
    };
    let mut socket = connect(&server).await;
    let request = with_token("/x", "a");
    socket.write_all(request.as_bytes()).await.expect("to send");
    soon(started.notified()).await;
    drop(socket);
    soon(seen.notified()).await;
    // The client is gone, its work is not.
    let ask = async |token| status(&talk(&server, with_token("/y", token)).await).to_owned();
    assert_eq!(ask("a").await, "429");
    assert_eq!(ask("b").await, "200");
    assert_eq!(server.metrics().refused_requests(), 1);
    finish.notify_one();
    soon(async {
        while ask("a").await != "200" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn events_are_streamed_until_the_server_stops() {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let handler = move |_: Request| {
        let receiver = receiver
            .lock()
            .expect("no panic")
            .take()
            .expect("one request");
        async move { Ok(sse::reply(receiver)) }
    };
    let server = serve(vec![Route::get("/events", handler)], Limits::default()).await;
    let mut socket = connect(&server).await;
    socket
        .write_all(get("/events").as_bytes())
        .await
        .expect("to send");
    let event = sse::SseEvent {
        id: "1".into(),
        name: "n".into(),
        data: "d".into(),
    };
    soon(sender.send(event)).await.expect("a listener");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("id: 1\nevent: n\ndata: d\n\n") {
        seen.push(soon(socket.read_u8()).await.expect("more"));
    }
    let head = String::from_utf8_lossy(&seen).into_owned();
    assert_eq!(field(&head, "content-type"), Some("text/event-stream"));
    assert_eq!(field(&head, "cache-control"), Some("no-store"));
    let began = Instant::now();
    soon(server.shutdown()).await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "an open stream holds shutdown up"
    );
    rest(&mut socket).await;
}

#[tokio::test]
async fn a_unix_socket_serves_its_owner_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w.sock");
    let listen: Listen = format!("unix:{}", path.display()).parse().expect("a place");
    let handler = |request: Request| async move {
        let peer = request.peer();
        assert!(peer.unix && peer.listener_loopback && peer.ip.is_none());
        Ok(Reply::text(StatusCode::OK, "over unix"))
    };
    let app = App::new(vec![mount("", vec![Route::get("/", handler)])]).expect("a table");
    let server = HttpServer::bind(&listen, app.clone(), Limits::default())
        .await
        .expect("a socket");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let taken = HttpServer::bind(&listen, app.clone(), Limits::default()).await;
    let text = taken.err().expect("the first one answers").to_string();
    assert!(
        text.contains("w.sock") && text.contains("another program"),
        "{text}"
    );

    let mut socket = UnixStream::connect(&path).await.expect("a connection");
    socket
        .write_all(get("/").as_bytes())
        .await
        .expect("to send");
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer))
        .await
        .expect("an answer");
    assert!(answer.ends_with("over unix"), "{answer}");
    server.shutdown().await;
    assert!(!path.exists());

    // What a killed program leaves behind is replaced; a file of another kind is not.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
    let server = HttpServer::bind(&listen, app.clone(), Limits::default())
        .await
        .expect("replaced");
    server.shutdown().await;
    std::fs::write(&path, "precious").expect("a file");
    assert!(
        HttpServer::bind(&listen, app, Limits::default())
            .await
            .is_err()
    );
    assert_eq!(
        std::fs::read_to_string(&path).expect("still there"),
        "precious"
    );
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let server = serve(vec![], Limits::default()).await;
    let app = App::new(vec![]).expect("a table");
    let listen = Listen::Tcp(addr(&server));
    let error = HttpServer::bind(&listen, app, Limits::default())
        .await
        .err()
        .expect("taken");
    let expected = format!(
        "cannot listen on {}: another program listens there",
        addr(&server)
    );
    assert_eq!(error.detail(), expected);
}

#[tokio::test]
async fn a_read_is_dropped_when_its_client_hangs_up() {
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (started, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (started, dropped) = (started.clone(), dropped.clone());
        move |_: Request| {
            let (started, guard) = (started.clone(), Dropped(dropped.clone()));
            async move {
                let _guard = guard;
                started.notify_one();
                std::future::pending().await
            }
        }
    };
    let server = serve(vec![Route::get("/", handler)], Limits::default()).await;
    let mut socket = connect(&server).await;
    socket
        .write_all(get("/").as_bytes())
        .await
        .expect("to send");
    soon(started.notified()).await;
    assert_eq!(server.metrics().in_flight(), 1);
    drop(socket);
    soon(dropped.notified()).await;
    soon(server.shutdown()).await;
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_server_ends() {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (started, finish) = (started.clone(), finish.clone());
        move |request: Request| {
            let (started, finish) = (started.clone(), finish.clone());
            async move {
                started.notify_one();
                finish.notified().await;
                ok(request).await
            }
        }
    };
    let server = serve(vec![Route::get("/", handler)], Limits::default()).await;
    let address = addr(&server);
    let mut idle = connect(&server).await;
    let mut socket = connect(&server).await;
    let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    socket.write_all(request.as_bytes()).await.expect("to send");
    soon(started.notified()).await;
    let stopping = tokio::spawn(server.shutdown());
    // The idle connection ends at once, and the port with it.
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(address).await.is_err());
    assert!(!stopping.is_finished());
    finish.notify_one();
    let answer = rest(&mut socket).await;
    assert!(answer.ends_with("\"ok\"\n"), "{answer}");
    soon(stopping).await.expect("no panic");
}

#[tokio::test]
async fn what_takes_too_long_is_cut() {
    let started = Arc::new(Notify::new());
    let handler = {
        let started = started.clone();
        move |_: Request| {
            started.notify_one();
            std::future::pending::<Result<Reply>>()
        }
    };
    let routes = vec![Route::get("/", handler.clone()), Route::post("/", handler)];
    // A full server is not deaf either.
    let limits = Limits {
        max_connections: 2,
        ..hasty()
    };
    let server = serve(routes, limits).await;
    let (mut one, mut two) = (connect(&server).await, connect(&server).await);
    one.write_all(get("/").as_bytes()).await.expect("to send");
    soon(started.notified()).await;
    two.write_all(post("/", "").as_bytes())
        .await
        .expect("to send");
    soon(started.notified()).await;
    let _waiting = connect(&server).await;
    let began = Instant::now();
    soon(server.shutdown()).await;
    let took = began.elapsed();
    assert!(
        took >= hasty().drain && took < hasty().drain * 10,
        "{took:?}"
    );
    assert_eq!(rest(&mut one).await, "");
    assert_eq!(rest(&mut two).await, "");
}

#[tokio::test]
async fn answers_and_panics_are_counted() {
    let panics = |_: Request| async { panic!("on purpose") };
    let server = serve(vec![Route::get("/", ok), Route::get("/p", panics)], hasty()).await;
    for path in ["/", "/", "/none", "/p"] {
        talk(&server, get(path)).await;
    }
    let metrics = server.metrics();
    assert_eq!([2, 4, 5].map(|class| metrics.answered(class)), [2, 1, 1]);
    assert_eq!(
        (metrics.panics(), metrics.accepted(), metrics.in_flight()),
        (1, 4, 0)
    );
}

#[derive(rust_embed::RustEmbed)]
#[folder = "src/http/tests"]
struct Embedded;

#[tokio::test]
async fn an_embedded_file_is_sent_once() {
    let handler = |request: Request| async move {
        let name = request.query("name").unwrap_or("mod.rs").to_owned();
        assets::file::<Embedded>(&name, &request).ok_or_else(|| Error::not_found("none"))
    };
    let server = serve(vec![Route::get("/", handler)], hasty()).await;
    let answer = talk(&server, get("/")).await;
    assert!(
        answer.contains("the transport against real sockets") || answer.contains("real sockets")
    );
    let tag = field(&answer, "etag").expect("a tag").to_owned();
    assert_eq!(field(&answer, "cache-control"), Some("no-cache"));
    let again = get("/").replace("host: x", &format!("host: x\r\nif-none-match: W/{tag}"));
    let answer = talk(&server, &again).await;
    assert_eq!(status(&answer), "304");
    assert!(answer.ends_with("\r\n\r\n"));
    assert_eq!(field(&answer, "etag"), Some(tag.as_str()));
    let head = talk(&server, get("/").replace("GET", "HEAD")).await;
    assert!(head.ends_with("\r\n\r\n") && field(&head, "content-length") != Some("0"));
    assert_eq!(status(&talk(&server, get("/?name=../mod.rs")).await), "404");
}
