//! Bodies: sizes, forms, and what is left unread.

use std::marker::PhantomData;

use super::*;

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
        let (wire, _) = request.json_by(PhantomData::<Wire>).await?;
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
        (
            "{\"secret\": 1}",
            "The JSON does not have the expected form: line 1 column 13",
        ),
    ] {
        assert_eq!(ask(body).await, format!("[refused] {text}"), "{body}");
    }
}

/// Answers with the fields, sorted as they came.
async fn list_fields(mut request: Request) -> Result<Reply> {
    let fields = request.fields().await?;
    let text: Vec<String> = fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
    Ok(Reply::text(StatusCode::OK, text.join("&")))
}

async fn ask(handler: Route, content_type: &str, body: impl Into<bytes::Bytes>) -> String {
    let app = App::new(vec![mount("", vec![handler])]).expect("a table");
    let headers = [("content-type", content_type)];
    let headers = if content_type.is_empty() {
        &[][..]
    } else {
        &headers[..]
    };
    let request = Request::for_test(Method::POST, "/", headers, body);
    let reply = soon(app.answer(request)).await;
    String::from_utf8(reply.into_bytes().await.expect("a body").into()).expect("text")
}

const FORM: &str = "multipart/form-data; boundary=B";

fn part(head: &str, body: &str) -> String {
    format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n")
}

#[tokio::test]
async fn fields_are_the_same_in_every_kind_of_body() {
    let fields = async |content_type, body: &str| {
        ask(Route::post("/", list_fields), content_type, body.to_owned()).await
    };
    let parts = part("name=\"a\"", "1 & 2") + &part("name=\"b\"", "") + "--B--\r\n";
    assert_eq!(fields(FORM, &parts).await, "a=1 & 2&b=");
    let json = "{\"a\": \"1 & 2\", \"b\": \"\", \"c\": null}";
    assert_eq!(fields("application/json", json).await, "a=1 & 2&b=");
    assert_eq!(
        fields("Application/JSON; charset=utf-8", json).await,
        "a=1 & 2&b="
    );
    let encoded = "a=1+%26+2&b=";
    assert_eq!(
        fields("application/x-www-form-urlencoded", encoded).await,
        "a=1 & 2&b="
    );
    assert_eq!(
        fields("application/json", "{\"n\": 628, \"y\": true}").await,
        "n=628&y=true"
    );
    assert_eq!(fields("", "").await, "");
}

#[tokio::test]
async fn a_form_that_is_no_plain_form_is_refused() {
    let fields = async |content_type, body: &str| {
        ask(Route::post("/", list_fields), content_type, body.to_owned()).await
    };
    for (content_type, body, text) in [
        (
            "application/json",
            "{\"a\":1,\"a\":2}",
            "The field a is there twice",
        ),
        (
            "application/x-www-form-urlencoded",
            "a=1&a=2",
            "The field a is there twice",
        ),
        ("application/json", "{\"a\":[]}", "The field a must be text"),
        (
            "application/json",
            "[]",
            "The JSON does not have the expected form: line 1 column 0",
        ),
        (
            "multipart/form-data",
            "x",
            "multipart/form-data has no boundary",
        ),
        (FORM, "x", "Malformed multipart body"),
        (FORM, "--B\r\n", "Malformed multipart body"),
        (FORM, "--B\r\nContent-Disp", "Malformed multipart body"),
    ] {
        let answer = fields(content_type, body).await;
        assert_eq!(answer, format!("[refused] {text}"), "{content_type} {body}");
    }
    let twice = part("name=\"a\"", "1") + &part("name=\"a\"", "2") + "--B--\r\n";
    assert_eq!(
        fields(FORM, &twice).await,
        "[refused] The field a is there twice"
    );
    let file = part("name=\"a\"; filename=\"x.txt\"", "1") + "--B--\r\n";
    assert_eq!(fields(FORM, &file).await, "[refused] Unexpected file field");
    let cut = part("name=\"a\"", "1");
    assert_eq!(
        fields(FORM, &cut).await,
        "[refused] Malformed multipart body"
    );
    let many: Vec<String> = (0..300).map(|i| format!("f{i}=1")).collect();
    let answer = fields("application/x-www-form-urlencoded", &many.join("&")).await;
    assert_eq!(answer, "[refused] The form has too many fields");
    assert!(
        fields("text/plain", "a")
            .await
            .contains("Content-Type must be")
    );
    assert!(fields("", "a").await.contains("Content-Type must be"));
}

/// Answers with the names and sizes of the parts, of which it skips every second one.
async fn measure(request: Request) -> Result<Reply> {
    let mut form = request.multipart()?;
    let mut text = String::new();
    let mut skip = false;
    while let Some(mut part) = form.next().await? {
        let mut size = 0;
        while let (false, Some(chunk)) = (skip, part.chunk().await?) {
            size += chunk.len();
        }
        skip = !skip;
        let [name, file, kind] = [part.name(), part.filename(), part.content_type()]
            .map(|word| word.unwrap_or("-").to_owned());
        text += &format!("{name} {file} {kind} {size}\n");
    }
    Ok(Reply::text(StatusCode::OK, text))
}

#[tokio::test]
async fn uploads_are_read_part_by_part() {
    let server = serve(vec![Route::post("/", measure).body_limit(8 << 20)], hasty()).await;
    let big = "x".repeat(3 << 20);
    let body = part(
        "name=\"f\"; filename=\"../a.bin\"\r\nContent-Type: image/png",
        &big,
    ) + &part("name=\"skipped\"", &big)
        + &part("name=\"c\"", "text")
        + "--B--\r\n";
    let request = post("/", &body).replace("host: x", &format!("host: x\r\ncontent-type: {FORM}"));
    let answer = talk(&server, request).await;
    let size = big.len();
    let expected = format!("f ../a.bin image/png {size}\nskipped - - 0\nc - - 4\n");
    assert!(answer.ends_with(&expected), "{answer}");
}

#[tokio::test]
async fn an_endless_head_of_a_part_is_cut_off() {
    let server = serve(
        vec![Route::post("/", measure).body_limit(64 << 20)],
        Limits::default(),
    )
    .await;
    let mut socket = connect(&server).await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: {}\r\n\r\n--B\r\nx: ",
        60 << 20
    );
    socket.write_all(head.as_bytes()).await.expect("to send");
    // The server answers long before all of it was sent.
    let junk = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while sent < 32 << 20 && socket.write_all(&junk).await.is_ok() {
        sent += junk.len();
    }
    assert!(
        sent < 16 << 20,
        "the server took {sent} bytes of one header"
    );
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_reads_the_answer() {
    let refuse = |_: Request| async { Err(Error::invalid("no")) };
    let routes = vec![Route::post("/", refuse).body_limit(64 << 20)];
    let server = serve(routes, Limits::default()).await;
    let mut socket = connect(&server).await;
    let size = 700 * 1024;
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("to send");
    // Like a simple client: it sends everything before it reads. Here the answer is there already.
    soon(socket.readable()).await.expect("an answer");
    for _ in 0..size / 1024 {
        let more = soon(socket.write_all(&[b'x'; 1024])).await;
        more.expect("the server listens a while longer");
        tokio::task::yield_now().await;
    }
    let answer = rest(&mut socket).await;
    assert_eq!(status(&answer), "400");
    assert_eq!(field(&answer, "connection"), Some("close"));
}

#[tokio::test]
async fn a_small_body_that_nobody_read_does_not_end_the_connection() {
    let server = serve(vec![Route::post("/", ok)], Limits::default()).await;
    let mut socket = connect(&server).await;
    for _ in 0..3 {
        let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
        socket.write_all(head.as_bytes()).await.expect("to send");
        socket.write_all(b"{\"a\": 1}\n").await.expect("to send");
        let (head, body) = one(&mut socket).await;
        assert_eq!((status(&head), body.as_str()), ("200", "\"ok\"\n"));
        assert_eq!(field(&head, "connection"), None);
    }
}

#[tokio::test]
async fn a_client_may_wait_for_leave_to_send() {
    let refuse = |_: Request| async { Err(Error::invalid("no")) };
    let routes = vec![Route::post("/read", echo), Route::post("/refuse", refuse)];
    let server = serve(routes, Limits::default()).await;
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
    };
    let mut socket = connect(&server).await;
    socket
        .write_all(head("/read").as_bytes())
        .await
        .expect("to send");
    let (leave, _) = one(&mut socket).await;
    assert_eq!(status(&leave), "100");
    socket.write_all(b"hi").await.expect("to send");
    assert_eq!(one(&mut socket).await.1, "hi");
    // Refused before the body was wanted: no leave, and the connection ends.
    socket
        .write_all(head("/refuse").as_bytes())
        .await
        .expect("to send");
    let answer = rest(&mut socket).await;
    assert_eq!(status(&answer), "400");
    assert!(!answer.contains("100 Continue"), "{answer}");
    assert_eq!(field(&answer, "connection"), Some("close"));
}

/// A stream of these pieces.
struct Pieces(std::vec::IntoIter<Result<bytes::Bytes>>);

impl futures_util::Stream for Pieces {
    type Item = Result<bytes::Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn a_streamed_answer_that_breaks_off_is_seen_to_do_so() {
    let handler = |request: Request| async move {
        let length = request.query("length").and_then(|n| n.parse().ok());
        let mut pieces = vec![Ok("one ".into()), Ok("two".into())];
        if request.query("fail").is_some() {
            pieces.push(Err(Error::internal("the disk is gone")));
        }
        Ok(Reply::try_stream("x/y", length, Pieces(pieces.into_iter())))
    };
    let server = serve(vec![Route::get("/", handler)], Limits::default()).await;
    let answer = talk(&server, get("/?length=7")).await;
    assert_eq!(field(&answer, "content-length"), Some("7"));
    assert!(answer.ends_with("one two"), "{answer}");
    let answer = talk(&server, get("/")).await;
    assert_eq!(field(&answer, "transfer-encoding"), Some("chunked"));
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    let answer = talk(&server, get("/?fail")).await;
    assert!(
        !answer.ends_with("0\r\n\r\n") && !answer.contains("disk"),
        "{answer}"
    );
    // Less than was promised is a failure too: the connection ends before the body does.
    let answer = talk(&server, get("/?length=9")).await;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    assert!(body.len() < 9, "{answer}");
    assert_eq!(
        status(&talk(&server, get("/").replace("GET", "HEAD")).await),
        "200"
    );
}
