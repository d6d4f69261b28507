//! Paths, methods, prefixes, parameters.

use super::*;

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
        answer.ends_with("[refused] Route GET /y not found"),
        "{answer}"
    );
    assert_eq!(field(&answer, "x-content-type-options"), Some("nosniff"));

    let answer = talk(&server, get("/x").replace("GET", "PUT")).await;
    assert_eq!(status(&answer), "405");
    assert!(
        answer.ends_with("[refused] Method PUT not allowed"),
        "{answer}"
    );
    assert_eq!(field(&answer, "allow"), Some("GET, HEAD, OPTIONS, POST"));

    let answer = talk(&server, get("/x").replace("GET", "OPTIONS")).await;
    assert_eq!(status(&answer), "204");
    assert_eq!(field(&answer, "allow"), Some("GET, HEAD, OPTIONS, POST"));

    let answer = talk(&server, get("/p")).await;
    assert_eq!(status(&answer), "500");
    assert!(
        answer.ends_with("[refused] Internal server error"),
        "{answer}"
    );
    assert_eq!(status(&talk(&server, get("/x")).await), "200");
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let server = serve(vec![Route::get("/x", ok)], Limits::default()).await;
    let answer = talk(&server, get("/x").replace("GET", "HEAD")).await;
    assert_eq!(status(&answer), "200");
    assert_eq!(field(&answer, "content-length"), Some("5"));
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn the_longest_prefix_that_has_the_route_answers() {
    fn word(error: &Error) -> Reply {
        Reply::text(StatusCode::NOT_FOUND, format!("long: {error}"))
    }
    async fn long(_: Request) -> Result<Reply> {
        Ok(Reply::text(StatusCode::OK, "long"))
    }
    async fn short(_: Request) -> Result<Reply> {
        Ok(Reply::text(StatusCode::OK, "short"))
    }
    let under = vec![Route::get("/a", short), Route::get("/v1/b", short)];
    let app = App::new(vec![
        mount("/api", under),
        mount("", vec![]),
        Mount {
            render: word,
            ..mount("/api/v1", vec![Route::get("/a", long)])
        },
        Mount {
            claim: MountClaim::when(|request| request.header("x-key").is_some()),
            ..mount("/api/v1", vec![Route::get("/b", long)])
        },
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
        "[refused] Route GET /api/v10 not found"
    );
    assert_eq!(
        ask("/apis", &[]).await,
        "[refused] Route GET /apis not found"
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
        Route::new(Method::PUT, "/{b}", ok),
        Route::get("/c", ok),
    ];
    assert!(App::new(vec![mount("", fine)]).is_ok());
}
