//! Clients that mean harm, or are merely broken.

use std::sync::Arc;

use tokio::sync::Notify;

use super::*;

/// Waits until the listener has `count` connections.
async fn until_open(server: &HttpServer, count: u64) {
    soon(async {
        while server.metrics().open() != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_says_too_little_is_let_go() {
    let server = serve(vec![Route::get("/", ok)], hasty()).await;
    for words in ["", "GE", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut socket = connect(&server).await;
        socket.write_all(words.as_bytes()).await.expect("to send");
        let answer = rest(&mut socket).await;
        assert!(answer.is_empty() || status(&answer) == "408", "{answer}");
    }
    // An idle connection after an answer.
    let mut socket = connect(&server).await;
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("to send");
    assert_eq!(one(&mut socket).await.1, "\"ok\"\n");
    assert_eq!(rest(&mut socket).await, "");
    until_open(&server, 0).await;
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off() {
    let server = serve(vec![Route::get("/", ok)], hasty()).await;
    let mut socket = connect(&server).await;
    let mut sent = 0;
    let drip = async {
        for byte in b"GET / HTTP/1.1\r\nx-slow: "
            .iter()
            .chain([b'a'; 1000].iter())
        {
            if socket.write_all(&[*byte]).await.is_err() {
                break;
            }
            sent += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(drip).await;
    assert!(sent < 500, "{sent} bytes were taken");
}

#[tokio::test]
async fn a_body_that_stalls_is_answered_with_408() {
    let server = serve(vec![Route::post("/", echo)], hasty()).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf";
    let answer = talk(&server, head).await;
    assert_eq!(status(&answer), "408");
    assert!(
        answer.ends_with("The request body did not arrive in time"),
        "{answer}"
    );
    assert_eq!(field(&answer, "connection"), Some("close"));
}

#[tokio::test]
async fn a_body_that_drips_is_answered_with_408() {
    let server = serve(vec![Route::post("/", echo)], hasty()).await;
    let socket = connect(&server).await;
    let (mut reading, mut writing) = socket.into_split();
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n";
    writing.write_all(head).await.expect("to send");
    let drip = tokio::spawn(async move {
        // Never silent for as long as a silence may last.
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    soon(reading.read_to_end(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(status(&String::from_utf8_lossy(&answer)), "408");
    drop(reading);
    soon(drip).await.expect("no panic");
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_the_handler() {
    let (ended, seen) = (
        Arc::new(Notify::new()),
        Arc::new(std::sync::Mutex::new(None)),
    );
    let handler = {
        let (ended, seen) = (ended.clone(), seen.clone());
        move |mut request: Request| {
            let (ended, seen) = (ended.clone(), seen.clone());
            async move {
                let read = request.bytes().await;
                *seen.lock().expect("no panic") = Some(read.is_err());
                ended.notify_one();
                ok(request).await
            }
        }
    };
    let server = serve(vec![Route::post("/", handler)], Limits::default()).await;
    let mut socket = connect(&server).await;
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf";
    socket.write_all(head).await.expect("to send");
    drop(socket);
    soon(ended.notified()).await;
    assert_eq!(*seen.lock().expect("no panic"), Some(true));
}

#[tokio::test]
async fn a_request_with_two_meanings_is_refused() {
    let server = serve(vec![Route::post("/", echo)], hasty()).await;
    let ask = async |headers: &str, body: &str| {
        talk(&server, format!("POST / {headers}\r\n\r\n{body}")).await
    };
    let lengths = "HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2";
    assert_eq!(status(&ask(lengths, "ab").await), "400");
    let old = "HTTP/1.0\r\ntransfer-encoding: chunked";
    assert_eq!(status(&ask(old, "1\r\na\r\n0\r\n\r\n").await), "400");
    let both = "HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: gzip";
    assert_eq!(status(&ask(both, "a").await), "400");
    // A length and chunks: the chunks count (RFC 9112, 6.3), and what follows them is junk, not a
    // second request.
    let smuggle = "HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nconnection: close";
    let answer = ask(smuggle, "1\r\na\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n").await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_head_has_bounds() {
    let server = serve(vec![Route::get("/", ok)], Limits::default()).await;
    let many: String = (0..101).map(|i| format!("x-{i}: 1\r\n")).collect();
    let answer = talk(&server, format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert_eq!(status(&answer), "431");
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(32 * 1024));
    assert_eq!(status(&talk(&server, long).await), "431");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(32 * 1024));
    assert!(["414", "431"].contains(&status(&talk(&server, long).await)));
    assert_eq!(
        status(&talk(&server, "\x16\x03\x01\x00\x05hello\r\n\r\n").await),
        "400"
    );
}

#[tokio::test]
async fn text_in_a_header_cannot_begin_another() {
    let handler = |request: Request| async move {
        let name = request.query("name").unwrap_or_default().to_owned();
        Ok(Reply::bytes(&name, "x")
            .header("x-name", &name)
            .attachment(&name))
    };
    let server = serve(vec![Route::get("/", handler)], Limits::default()).await;
    let answer = talk(&server, get("/?name=a%0d%0aset-cookie:%20b%00%22%c3%a9")).await;
    assert_eq!(status(&answer), "200");
    assert_eq!(field(&answer, "set-cookie"), None, "{answer}");
    assert_eq!(
        field(&answer, "content-disposition"),
        Some(
            "attachment; filename=\"a__set-cookie_ b___\"; filename*=UTF-8''a%0D%0Aset-cookie%3A%20b%00%22%C3%A9"
        )
    );
}

#[tokio::test]
async fn the_clients_address_is_believed_from_proxies_only() {
    let ip = |request: Request| async move {
        let via = request.via_proxy();
        let ip = request.client_ip().map(|ip| ip.to_string());
        Ok(Reply::text(
            StatusCode::OK,
            format!("{} {via}", ip.unwrap_or_default()),
        ))
    };
    let app = || App::new(vec![mount("", vec![Route::get("/", ip)])]).expect("a table");
    let listen: Listen = "127.0.0.1:0".parse().expect("an address");
    let trusted = ["127.0.0.1".to_owned(), "10.0.0.0/8".to_owned()];
    let trusting = app().trusting(&trusted).expect("ranges");
    let plain = HttpServer::bind(&listen, app(), Limits::default())
        .await
        .expect("a port");
    let behind = HttpServer::bind(&listen, trusting, Limits::default())
        .await
        .expect("a port");
    let ask = async |server: &HttpServer, value: &str| {
        let headers = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{value}\r\n\r\n");
        let answer = talk(server, headers).await;
        answer.rsplit("\r\n").next().expect("a body").to_owned()
    };
    assert_eq!(
        ask(&plain, "x-forwarded-for: 1.2.3.4").await,
        "127.0.0.1 true"
    );
    assert_eq!(ask(&plain, "x: y").await, "127.0.0.1 false");
    assert_eq!(ask(&plain, "via: 1.1 p").await, "127.0.0.1 true");
    assert_eq!(ask(&behind, "x: y").await, "127.0.0.1 false");
    assert_eq!(
        ask(&behind, "x-forwarded-for: 1.2.3.4").await,
        "1.2.3.4 true"
    );
    // The nearest address that is no proxy of ours: what stands before it is the client's claim.
    assert_eq!(
        ask(&behind, "x-forwarded-for: 6.6.6.6, 1.2.3.4, 10.1.1.1").await,
        "1.2.3.4 true"
    );
    let lines = "x-forwarded-for: 6.6.6.6\r\nx-forwarded-for: [2a00::1]:99";
    assert_eq!(ask(&behind, lines).await, "2a00::1 true");
    assert_eq!(
        ask(&behind, "x-forwarded-for: nonsense").await,
        "127.0.0.1 true"
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_let_go() {
    let big = |_: Request| async { Ok(Reply::bytes("x/y", vec![0; 32 << 20])) };
    let server = serve(vec![Route::get("/", big)], hasty()).await;
    let mut socket = connect(&server).await;
    socket
        .write_all(get("/").as_bytes())
        .await
        .expect("to send");
    soon(socket.readable()).await.expect("an answer begins");
    until_open(&server, 0).await;
    drop(socket);
}

#[tokio::test]
async fn a_slow_but_steady_reader_gets_everything() {
    let big = |_: Request| async { Ok(Reply::bytes("x/y", vec![7; 8 << 20])) };
    let server = serve(vec![Route::get("/", big)], hasty()).await;
    let mut socket = connect(&server).await;
    socket
        .write_all(get("/").as_bytes())
        .await
        .expect("to send");
    let (mut read, mut buffer) = (0, vec![0; 512 << 10]);
    loop {
        let n = soon(socket.read(&mut buffer)).await.expect("more");
        if n == 0 {
            break;
        }
        read += n;
        // All together take longer than one write may wait.
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    assert!(read > 8 << 20, "{read}");
}

#[tokio::test]
async fn connections_have_slots_and_the_idle_ones_give_theirs_back() {
    let limits = Limits {
        max_connections: 2,
        ..hasty()
    };
    let server = serve(vec![Route::get("/", ok)], limits).await;
    let mut idle = vec![connect(&server).await, connect(&server).await];
    until_open(&server, 2).await;
    // The third one waits until the silent ones are let go, and is then served.
    assert_eq!(status(&talk(&server, get("/")).await), "200");
    for socket in &mut idle {
        rest(socket).await;
    }
    assert!(server.metrics().accepted() == 3);
}

#[tokio::test]
async fn requests_in_one_packet_are_answered_in_order() {
    let server = serve(vec![Route::get("/{id}", id)], Limits::default()).await;
    let first = "GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = talk(&server, format!("{first}{}junk", get("/3"))).await;
    let bodies: Vec<&str> = answer.split("\r\n\r\n").skip(1).collect();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
    assert!(bodies[0].starts_with('1') && bodies[1].starts_with('2') && bodies[2] == "3");
}

#[tokio::test]
async fn an_idle_connection_gives_way_to_who_comes() {
    let limits = Limits {
        max_connections: 2,
        ..Limits::default()
    };
    let server = serve(vec![Route::get("/", ok)], limits).await;
    let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = connect(&server).await;
    first.write_all(request.as_bytes()).await.expect("to send");
    one(&mut first).await;
    // Another one says half of a head and then nothing.
    let mut second = connect(&server).await;
    second.write_all(b"GET / HT").await.expect("to send");
    until_open(&server, 2).await;
    for _ in 0..20 {
        assert_eq!(status(&talk(&server, get("/")).await), "200");
    }
    assert_eq!(rest(&mut first).await, "");
}

#[tokio::test]
async fn clients_that_do_not_read_give_way() {
    let big = |_: Request| async { Ok(Reply::bytes("x/y", vec![0; 32 << 20])) };
    let limits = Limits {
        max_connections: 2,
        ..Limits::default()
    };
    let server = serve(vec![Route::get("/big", big), Route::get("/", ok)], limits).await;
    let mut greedy = Vec::new();
    for _ in 0..2 {
        let mut socket = connect(&server).await;
        let request = get("/big");
        socket.write_all(request.as_bytes()).await.expect("to send");
        soon(socket.readable()).await.expect("an answer begins");
        greedy.push(socket);
    }
    assert_eq!(status(&talk(&server, get("/")).await), "200");
}

#[tokio::test]
async fn a_body_that_stops_gives_way() {
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let routes = vec![Route::post("/", echo), Route::get("/", ok)];
    let server = serve(routes, limits).await;
    let mut silent = connect(&server).await;
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf";
    silent.write_all(head).await.expect("to send");
    assert_eq!(status(&talk(&server, get("/")).await), "200");
}

#[tokio::test]
async fn a_head_names_its_host_once() {
    let server = serve(vec![Route::get("/", ok)], Limits::default()).await;
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nconnection: close", "400"),
        (
            "GET / HTTP/1.1\r\nconnection: close\r\nhost: a\r\nhost: a",
            "400",
        ),
        ("GET / HTTP/1.1\r\nconnection: close\r\nhost: a/b", "400"),
        ("GET / HTTP/1.1\r\nconnection: close\r\nhost: u@a", "400"),
        ("GET / HTTP/1.0\r\nhost: a\r\nhost: b", "400"),
        ("GET / HTTP/1.0", "200"),
        ("GET / HTTP/1.1\r\nconnection: close\r\nhost: a:80", "200"),
        (
            "GET / HTTP/1.1\r\nconnection: close\r\nhost: [::1]:80",
            "200",
        ),
    ] {
        let answer = talk(&server, format!("{head}\r\n\r\n")).await;
        assert_eq!(status(&answer), expected, "{head}: {answer}");
        assert!(
            expected == "200" || answer.contains("The header Host"),
            "{answer}"
        );
    }
}
