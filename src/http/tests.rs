//! The transport against real sockets: what hyper leaves to us, hazard by hazard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::*;
use crate::error::{Error, ErrorKind, Result};

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(10);

fn render(error: &Error, refused: &Refused) -> Reply {
    let status = match error.kind() {
        ErrorKind::Invalid => 400,
        ErrorKind::NotFound => 404,
        ErrorKind::MethodNotAllowed => 405,
        ErrorKind::RequestTimeout => 408,
        ErrorKind::TooLarge => 413,
        ErrorKind::UnsupportedMedia => 415,
        _ => 500,
    };
    let status = StatusCode::from_u16(status).expect("a status");
    Reply::text(
        status,
        format!("[{} {}] {error}", refused.method, refused.path),
    )
}

fn mount(prefix: &'static str, routes: Vec<Route>) -> Mount {
    Mount {
        prefix,
        routes,
        render,
    }
}

/// Small limits, so that a test need not wait long.
fn hasty() -> Limits {
    Limits {
        head_timeout: Duration::from_millis(150),
        body_idle: Duration::from_millis(150),
        body_total: Duration::from_millis(400),
        write_idle: Duration::from_millis(200),
        max_json: 1000,
        drain: Duration::from_millis(200),
        ..Limits::default()
    }
}

async fn serve(routes: Vec<Route>, limits: Limits) -> Server {
    let app = App::new(vec![mount("", routes)]).expect("a table");
    let listen = "127.0.0.1:0".parse().expect("an address");
    Server::bind(&listen, app, limits)
        .await
        .expect("a free port")
}

fn addr(server: &Server) -> SocketAddr {
    server.local_addr().expect("a TCP listener")
}

/// Fails the test rather than hanging it.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work)
        .await
        .expect("this takes far too long")
}

async fn connect(server: &Server) -> TcpStream {
    soon(TcpStream::connect(addr(server)))
        .await
        .expect("a connection")
}

/// Sends bytes as they are and reads until the server closes.
async fn talk(server: &Server, request: impl AsRef<[u8]>) -> String {
    let mut socket = connect(server).await;
    socket.write_all(request.as_ref()).await.expect("to send");
    rest(&mut socket).await
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer with a Content-Length off a connection that stays open.
async fn one(socket: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(socket.read_u8()).await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text");
    let length = field(&head, "content-length").map_or(0, |l| l.parse().expect("a length"));
    let mut body = vec![0; length];
    soon(socket.read_exact(&mut body)).await.expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

async fn ok(_: Request) -> Result<Reply> {
    Ok(Reply::json(StatusCode::OK, &"ok"))
}

async fn echo(mut request: Request) -> Result<Reply> {
    Ok(Reply::text(StatusCode::OK, request.bytes().await?))
}

async fn id(request: Request) -> Result<Reply> {
    Ok(Reply::text(StatusCode::OK, request.param("id").to_owned()))
}

#[tokio::test]
async fn a_path_is_matched_raw_and_its_parameters_are_decoded_once() {
    let routes = vec![
        Route::get("/", ok),
        Route::get("/x/{id}", id),
        Route::get("/x/{other}/y", ok),
        Route::get("/files/{*id}", id),
    ];
    let server = serve(routes, Limits::default()).await;
    for (path, expected) in [
        ("/", "200"),
        ("/x/a", "200"),
        ("/x/a/", "200"),
        ("/x/a?b=/c", "200"),
        ("/x/a/y", "200"),
        ("http://elsewhere/x/a", "200"),
        ("//", "404"),
        ("/x/", "404"),
        ("/x//", "404"),
        ("/x/a//", "404"),
        ("//x/a", "404"),
        ("/x//y", "404"),
        ("/x/%ff", "400"),
        ("/unknown", "404"),
    ] {
        assert_eq!(status(&talk(&server, get(path)).await), expected, "{path}");
    }
    for (path, decoded) in [
        ("/x/a%2Fb", "a/b"),
        ("/x/a%252Fb", "a%2Fb"),
        ("/x/628%40s.whatsapp.net", "628@s.whatsapp.net"),
        ("/x/a+b", "a+b"),
        ("/files/a/b%20c", "a/b c"),
    ] {
        let answer = talk(&server, get(path)).await;
        assert!(
            answer.ends_with(&format!("\r\n\r\n{decoded}")),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn refusals_are_worded_by_the_mount() {
    let routes = vec![
        Route::get("/x", ok),
        Route::post("/x", ok),
        Route::get("/p", |_| async { panic!("on purpose") }),
    ];
    let server = serve(routes, Limits::default()).await;
    let answer = talk(&server, get("/y?secret=1")).await;
    assert!(
        answer.ends_with("[GET /y] Route GET /y not found"),
        "{answer}"
    );
    assert_eq!(field(&answer, "x-content-type-options"), Some("nosniff"));

    let answer = talk(&server, get("/x").replace("GET", "PUT")).await;
    assert_eq!(status(&answer), "405");
    assert!(
        answer.ends_with("[PUT /x] Method PUT not allowed"),
        "{answer}"
    );
    assert_eq!(field(&answer, "allow"), Some("GET, HEAD, OPTIONS, POST"));

    let answer = talk(&server, get("/x").replace("GET", "OPTIONS")).await;
    assert_eq!(status(&answer), "204");
    assert_eq!(field(&answer, "allow"), Some("GET, HEAD, OPTIONS, POST"));

    let answer = talk(&server, get("/p")).await;
    assert_eq!(status(&answer), "500");
    assert!(
        answer.ends_with("[GET /p] Internal server error"),
        "{answer}"
    );
    assert_eq!(status(&talk(&server, get("/x")).await), "200");
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let server = serve(vec![Route::get("/x", ok)], Limits::default()).await;
    let answer = talk(&server, get("/x").replace("GET", "HEAD")).await;
    assert_eq!(status(&answer), "200");
    assert_eq!(field(&answer, "content-length"), Some("4"));
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn the_longest_prefix_that_has_the_route_answers() {
    fn word(error: &Error, _: &Refused) -> Reply {
        Reply::text(StatusCode::NOT_FOUND, format!("long: {error}"))
    }
    async fn long(_: Request) -> Result<Reply> {
        Ok(Reply::text(StatusCode::OK, "long"))
    }
    async fn short(_: Request) -> Result<Reply> {
        Ok(Reply::text(StatusCode::OK, "short"))
    }
    let keyed: Claim = |asked| asked.header("x-key").is_some();
    let every: Claim = |_| true;
    let under = vec![Route::get("/a", short), Route::get("/v1/b", short)];
    let app = App::choosing(vec![
        (mount("/api", under), every),
        (mount("", vec![]), every),
        (
            Mount {
                prefix: "/api/v1",
                routes: vec![Route::get("/a", long)],
                render: word,
            },
            every,
        ),
        (mount("/api/v1", vec![Route::get("/b", long)]), keyed),
    ])
    .expect("a table");
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let reply = app
            .answer(Request::for_test(Method::GET, path, headers, ""))
            .await;
        String::from_utf8(reply.into_bytes().await.expect("a body").into()).expect("text")
    };
    assert_eq!(ask("/api/v1/a", &[]).await, "long");
    assert_eq!(ask("/api/a", &[]).await, "short");
    assert_eq!(ask("/api/v1/b", &[]).await, "short");
    assert_eq!(ask("/api/v1/b", &[("x-key", "1")]).await, "long");
    assert_eq!(
        ask("/api/v1/c", &[]).await,
        "long: Route GET /api/v1/c not found"
    );
    assert_eq!(
        ask("/api/v10", &[]).await,
        "[GET /api/v10] Route GET /api/v10 not found"
    );
    assert_eq!(
        ask("/apis", &[]).await,
        "[GET /apis] Route GET /apis not found"
    );
}

#[test]
fn a_table_with_a_conflict_is_refused() {
    let twice = vec![Route::get("/{a}", ok), Route::get("/{b}", ok)];
    assert!(App::new(vec![mount("", twice)]).is_err());
    assert!(App::new(vec![mount("api", vec![])]).is_err());
    assert!(App::new(vec![mount("/api/", vec![])]).is_err());
    let fine = vec![
        Route::get("/{a}", ok),
        Route::put("/{b}", ok),
        Route::get("/c", ok),
    ];
    assert!(App::new(vec![mount("", fine)]).is_ok());
}

#[tokio::test]
async fn a_body_too_large_is_refused_before_it_is_read() {
    let server = serve(
        vec![
            Route::post("/x", echo),
            Route::post("/big", echo).body_limit(5000),
        ],
        hasty(),
    )
    .await;
    // Nothing of the body is sent: the length alone is refused.
    let head = "POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n";
    let answer = talk(&server, head).await;
    assert_eq!(status(&answer), "413");
    assert_eq!(field(&answer, "connection"), Some("close"));
    let chunk = format!("400\r\n{}\r\n", "a".repeat(0x400));
    let chunked =
        format!("POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
    assert_eq!(status(&talk(&server, chunked).await), "413");
    assert_eq!(
        status(&talk(&server, post("/x", &"a".repeat(1000))).await),
        "200"
    );
    assert_eq!(
        status(&talk(&server, post("/big", &"a".repeat(5000))).await),
        "200"
    );
    assert_eq!(
        status(&talk(&server, post("/big", &"a".repeat(5001))).await),
        "413"
    );
}

#[tokio::test]
async fn json_errors_name_the_place_and_not_the_content() {
    let handler = |mut request: Request| async move {
        #[derive(serde::Deserialize)]
        struct Wire {
            to: String,
        }
        let wire: Wire = request.json().await?;
        Ok(Reply::text(StatusCode::OK, wire.to))
    };
    let app = App::new(vec![mount("", vec![Route::post("/", handler)])]).expect("a table");
    let ask = async |body: &str| {
        let body = body.to_owned();
        let reply = app
            .answer(Request::for_test(Method::POST, "/", &[], body))
            .await;
        String::from_utf8(reply.into_bytes().await.expect("a body").into()).expect("text")
    };
    assert_eq!(ask("{\"to\":\"a\"}").await, "a");
    for (body, text) in [
        ("", "The request body is empty; JSON is expected"),
        ("{\"to\": secret}", "Malformed JSON: line 1 column 8"),
        (
            "{\"to\": \"secret",
            "Malformed JSON: it ends early, at line 1 column 14",
        ),
        (
            "{\"to\": {\"secret\": 1}}",
            "The JSON does not have the expected form: line 1 column 7",
        ),
        ("{\"secret\": 1}", "The field to is missing"),
    ] {
        assert_eq!(ask(body).await, format!("[POST /] {text}"), "{body}");
    }
}

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
    let event = sse::Event {
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
    let server = Server::bind(&listen, app.clone(), Limits::default())
        .await
        .expect("a socket");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let taken = Server::bind(&listen, app.clone(), Limits::default()).await;
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
    let server = Server::bind(&listen, app.clone(), Limits::default())
        .await
        .expect("replaced");
    server.shutdown().await;
    std::fs::write(&path, "precious").expect("a file");
    assert!(Server::bind(&listen, app, Limits::default()).await.is_err());
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
    let error = Server::bind(&listen, app, Limits::default())
        .await
        .err()
        .expect("taken");
    let expected = format!(
        "cannot listen on {}: another program listens there",
        addr(&server)
    );
    assert_eq!(error.detail(), expected);
}
