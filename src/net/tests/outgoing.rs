//! The outgoing client: what it refuses, and what others may do to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use super::name_server::NameServer;
use crate::error::{ErrorKind, Result};
use crate::http::tests::{addr, get, mount, ok, serve, soon};
use crate::http::{App, HttpServer, Limits, Listen, Method, Reply, Request, Route, StatusCode};
use crate::net::client::{Client, Dialer, OutgoingRequest, Policy, Response, Timeouts};

fn policy(allow: &[&str]) -> Policy {
    let allow: Vec<String> = allow.iter().map(|&range| range.to_owned()).collect();
    let patience = Timeouts {
        connect: Duration::from_secs(2),
        head: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        total: Duration::from_secs(3),
    };
    Policy::new(&allow, &[])
        .expect("ranges")
        .with_timeouts(patience)
}

fn client(policy: Policy) -> Client {
    Client::new(policy).expect("a client")
}

/// A client that asks the test's name server.
fn asking(dns: &NameServer, policy: Policy) -> Client {
    Client::over(Dialer::with_resolver(policy, dns.resolver()).expect("a dialer"))
}

fn request(method: Method, url: impl Into<String>) -> OutgoingRequest {
    OutgoingRequest {
        method,
        url: url.into(),
        headers: Vec::new(),
        body: Bytes::new().into(),
    }
}

/// Judges a URL in both steps.
async fn judge(client: &Client, url: &str) -> Result<()> {
    let target = client.check_url(url)?;
    soon(client.check_resolved(&target)).await
}

async fn refusal(client: &Client, url: &str) -> String {
    let error = judge(client, url).await.expect_err(url);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{url}: {error:?}");
    let sent = soon(client.send(request(Method::GET, url))).await;
    assert!(sent.is_err(), "{url} was judged and yet reached");
    error.to_string()
}

const VALID: &str = "URL must be a valid http(s) URL";
const FREE: &str = "URL must be a credential-free http(s) URL";
const PRIVATE: &str = "URL must not point to a private or reserved address";
const LOCAL: &str = "URL must not point to a local address";
const RESOLVES: &str = "URL must not resolve to a private or reserved address";

#[tokio::test]
async fn addresses_of_no_stranger_are_refused_however_they_are_written() {
    let client = client(policy(&[]));
    for (url, text) in [
        ("", VALID),
        ("example.org", VALID),
        ("ftp://example.org/", VALID),
        ("file:///etc/passwd", VALID),
        ("/etc/passwd", VALID),
        ("javascript:alert(1)", VALID),
        ("http://", VALID),
        ("http://a b/", VALID),
        ("http://example.org:99999/", VALID),
        ("http://user@example.org/", FREE),
        ("http://user:secret@example.org/", FREE),
        ("http://:secret@127.0.0.1/", FREE),
        ("http://127.0.0.1/", PRIVATE),
        ("http://127.0.0.1:8080/", PRIVATE),
        ("https://127.1/", PRIVATE),
        ("http://2130706433/", PRIVATE),
        ("http://0x7f000001/", PRIVATE),
        ("http://0177.0.0.1/", PRIVATE),
        ("http://0/", PRIVATE),
        ("http://127.0.0.1./", PRIVATE),
        ("http://%31%32%37.0.0.1/", PRIVATE),
        ("http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", PRIVATE),
        ("ht\ntp://127.0.0.1/", PRIVATE),
        ("http:\\\\127.0.0.1\\", PRIVATE),
        ("http://10.1.2.3/", PRIVATE),
        ("http://169.254.169.254/latest/meta-data/", PRIVATE),
        ("http://100.100.100.200/", PRIVATE),
        ("http://255.255.255.255/", PRIVATE),
        ("http://[::1]/", PRIVATE),
        ("http://[::]/", PRIVATE),
        ("http://[::ffff:127.0.0.1]/", PRIVATE),
        ("http://[::ffff:169.254.169.254]/", PRIVATE),
        ("http://[::7f00:1]/", PRIVATE),
        ("http://[64:ff9b::7f00:1]/", PRIVATE),
        ("http://[64:ff9b:1::a00:1]/", PRIVATE),
        ("http://[2002:7f00:1::]/", PRIVATE),
        ("http://[2001::1]/", PRIVATE),
        ("http://[fd00::1]/", PRIVATE),
        ("http://[fe80::1]/", PRIVATE),
        ("http://[fec0::1]/", PRIVATE),
        ("http://[ff02::1]/", PRIVATE),
        ("http://localhost/", LOCAL),
        ("http://LOCALHOST./", LOCAL),
        ("http://a.localhost:3000/", LOCAL),
        ("http://printer.local/", LOCAL),
        ("http://metadata.google.internal/", LOCAL),
        ("http://nas.lan/", LOCAL),
        ("http://x.home.arpa/", LOCAL),
        ("http://n8n:5678/", LOCAL),
    ] {
        assert_eq!(refusal(&client, url).await, text, "{url:?}");
    }
    let long = format!("http://example.org/{}", "a".repeat(9000));
    assert_eq!(refusal(&client, &long).await, VALID);
    for url in [
        "https://1.1.1.1/",
        "http://[2606:4700::1111]:8080/x?y#z",
        "HTTPS://Example.ORG",
    ] {
        client.check_url(url).expect(url);
    }
}

#[tokio::test]
async fn a_name_is_judged_by_every_address_it_has() {
    let dns = NameServer::start().await;
    for (name, addresses) in [
        ("good.example", &["93.184.216.34", "2606:4700::1111"][..]),
        ("loop.example", &["127.0.0.1"]),
        ("mixed.example", &["93.184.216.34", "10.0.0.1"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
        ("nat.example", &["64:ff9b::a00:1"]),
        ("empty.example", &[]),
        ("box.lan", &["10.9.9.9"]),
        ("fake.lan", &["93.184.216.34"]),
        ("n8n", &["10.9.9.9"]),
    ] {
        dns.set(name, addresses);
    }
    let strict = asking(&dns, policy(&[]));
    judge(&strict, "https://good.example/")
        .await
        .expect("public");
    for name in ["loop", "mixed", "mapped", "nat"] {
        assert_eq!(
            refusal(&strict, &format!("https://{name}.example/")).await,
            RESOLVES
        );
    }
    for name in ["empty", "unknown"] {
        let url = format!("https://{name}.example/");
        assert_eq!(
            refusal(&strict, &url).await,
            "URL host name cannot be resolved"
        );
    }
    // What the configuration opens, and no more.
    let opened = asking(&dns, policy(&["10.9.0.0/16"]));
    judge(&opened, "http://10.9.9.9/").await.expect("opened");
    judge(&opened, "http://box.lan/").await.expect("opened");
    judge(&opened, "http://n8n:5678/").await.expect("opened");
    assert_eq!(refusal(&opened, "http://10.8.9.9/").await, PRIVATE);
    assert_eq!(refusal(&opened, "http://mixed.example/").await, RESOLVES);
    // A local name is meant locally: that it has a public address is somebody's trick.
    assert_eq!(refusal(&opened, "http://fake.lan/").await, RESOLVES);
    assert_eq!(refusal(&opened, "http://localhost/").await, LOCAL);
    let is_opened = |url| opened.is_opened(&opened.check_url(url).expect(url));
    assert!(is_opened("http://10.9.9.9/") && is_opened("http://box.lan/"));
    assert!(!is_opened("http://1.1.1.1/") && !is_opened("http://good.example/"));
}

#[tokio::test]
async fn strangers_are_reached_on_the_ports_of_the_web_only() {
    let dns = NameServer::start().await;
    dns.set("good.example", &["93.184.216.34", "2606:4700::1111"]);
    dns.set("box.lan", &["10.9.9.9"]);
    let strict = asking(&dns, policy(&[]));
    let opened = asking(&dns, policy(&["10.9.0.0/16"]));
    for port in [80, 443, 8080, 8443] {
        for client in [&strict, &opened] {
            let url = format!("http://good.example:{port}/");
            judge(client, &url).await.expect("a web server");
        }
    }
    for url in [
        "http://good.example:22/",
        "https://good.example:25/",
        "http://1.1.1.1:3306/",
        "http://[2606:4700::1111]:0/",
    ] {
        for client in [&strict, &opened] {
            assert!(refusal(client, url).await.contains("allow_ports"), "{url}");
        }
    }
    judge(&opened, "http://box.lan:25/").await.expect("opened");
    let more = asking(&dns, policy(&[]).with_ports(&[3001]));
    let url = "https://good.example:3001/";
    judge(&more, url)
        .await
        .expect("a port of the configuration");
    assert!(refusal(&strict, url).await.contains("80, 443, 8080, 8443"));
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_not_followed() {
    let dns = NameServer::start().await;
    let server = serve(vec![Route::get("/", ok)], Limits::default()).await;
    dns.set("rebind.example", &["93.184.216.34"]);
    let port = addr(&server).port();
    let client = asking(&dns, policy(&[]).with_ports(&[port]));
    let url = format!("http://rebind.example:{port}/");
    judge(&client, &url)
        .await
        .expect("public when it is registered");
    dns.set("rebind.example", &["127.0.0.1"]);
    let error = soon(client.send(request(Method::GET, url)))
        .await
        .err()
        .expect("refused");
    assert_eq!(
        (error.kind(), error.detail()),
        (ErrorKind::Invalid, RESOLVES)
    );
    assert_eq!(server.metrics().accepted(), 0);
}

/// Answers with the request as it arrived.
async fn mirror(mut request: Request) -> Result<Reply> {
    let body = request.bytes().await?;
    let text = format!(
        "{} {} c={} host={} type={} agent={} body={}",
        request.method(),
        request.path(),
        request.query("c").unwrap_or("-"),
        request.header("host").unwrap_or_default(),
        request.header("content-type").unwrap_or("-"),
        request
            .header("user-agent")
            .unwrap_or("-")
            .split('/')
            .next()
            .unwrap_or_default(),
        String::from_utf8_lossy(&body),
    );
    Ok(Reply::text(StatusCode::OK, text))
}

async fn text(response: Response) -> String {
    let body = soon(response.collect(1 << 20)).await.expect("a body");
    String::from_utf8(body.into()).expect("text")
}

#[tokio::test]
async fn requests_arrive_as_they_were_meant_over_one_kept_connection() {
    let routes = vec![Route::get("/{*x}", mirror), Route::post("/{*x}", mirror)];
    let server = serve(routes, Limits::default()).await;
    let client = client(policy(&["127.0.0.0/8"]));
    let host = addr(&server);
    let get = request(Method::GET, format!("http://{host}/a%20b?c=%26#d"));
    let response = soon(client.send(get)).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    let seen = text(response).await;
    assert_eq!(
        seen,
        format!("GET /a%20b c=& host={host} type=- agent=Warung body=")
    );
    let post = OutgoingRequest {
        headers: vec![
            ("Content-Type".into(), "text/x".into()),
            ("User-Agent".into(), "Own/1".into()),
            ("Host".into(), "forged".into()),
            ("Content-Length".into(), "1".into()),
        ],
        body: Bytes::from_static(b"hello").into(),
        ..request(Method::POST, format!("http://{host}/p"))
    };
    let seen = text(soon(client.send(post)).await.expect("an answer")).await;
    assert_eq!(
        seen,
        format!("POST /p c=- host={host} type=text/x agent=Own body=hello")
    );
    assert_eq!(server.metrics().accepted(), 1);
    let forged = OutgoingRequest {
        headers: vec![("x".into(), "a\r\nb: c".into())],
        ..request(Method::GET, format!("http://{host}/"))
    };
    assert!(client.send(forged).await.is_err());
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let limits = Limits {
        head_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = serve(vec![Route::get("/", ok)], limits).await;
    let client = client(policy(&["127.0.0.0/8"]));
    for turn in 1..=3 {
        let get = request(Method::GET, server.url());
        assert_eq!(
            text(soon(client.send(get)).await.expect("an answer")).await,
            "\"ok\"\n"
        );
        // The server lets the idle connection go.
        soon(async {
            while server.metrics().open() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(server.metrics().accepted(), turn);
    }
}

#[tokio::test]
async fn every_redirect_is_judged() {
    let redirect = |request: Request| async move {
        let to = request.query("to").unwrap_or_default().to_owned();
        Ok(Reply::empty(StatusCode::FOUND).header("location", to))
    };
    let routes = vec![
        Route::get("/", ok),
        Route::get("/to", redirect),
        Route::post("/to", redirect),
    ];
    let server = serve(routes, Limits::default()).await;
    let base = server.url();
    let client = client(policy(&["127.0.0.1"]));
    let follow = async |url: String| soon(client.get_following(&url, 3)).await;
    assert_eq!(
        text(follow(format!("{base}/to?to=/")).await.expect("followed")).await,
        "\"ok\"\n"
    );
    assert_eq!(
        text(
            follow(format!("{base}/to?to=/to%3Fto=/"))
                .await
                .expect("followed")
        )
        .await,
        "\"ok\"\n"
    );
    for (to, text) in [
        ("http://127.0.0.2/", PRIVATE),
        ("http://169.254.169.254/", PRIVATE),
        ("//[::1]/", PRIVATE),
        ("file:///etc/passwd", VALID),
        ("http://u:p@127.0.0.1/", FREE),
        ("/to?to=http://10.0.0.1/", PRIVATE),
    ] {
        let to: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
        let error = follow(format!("{base}/to?to={to}")).await.err().expect(&to);
        assert_eq!(
            (error.kind(), error.detail()),
            (ErrorKind::Invalid, text),
            "{to}"
        );
    }
    // Round and round.
    let round = format!("{base}/to?to=");
    let error = follow(round.clone()).await.err().expect("too often");
    assert_eq!(error.kind(), ErrorKind::Upstream);
    // A send does not follow.
    let response = soon(client.send(request(Method::POST, round)))
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::FOUND);
}

/// A server that says `words` to whoever connects, and then nothing.
async fn saying(words: &'static str, then: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(words.as_bytes()).await;
                while !then.is_empty() && socket.write_all(then.as_bytes()).await.is_ok() {}
                // Holds the connection until the client ends it.
                while socket.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    url
}

#[tokio::test]
async fn an_answer_is_cut_at_its_bounds() {
    let client = client(policy(&["127.0.0.1"]));
    let get = async |url: String| soon(client.send(request(Method::GET, url))).await;
    let head = "HTTP/1.1 200 OK\r\n";
    let endless = saying("HTTP/1.1 200 OK\r\n\r\n", "0123456789").await;
    let body = get(endless).await.expect("a head").collect(100_000);
    assert_eq!(
        soon(body).await.expect_err("endless").kind(),
        ErrorKind::TooLarge
    );
    let large = saying("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", "").await;
    let body = get(large).await.expect("a head").collect(100_000);
    assert_eq!(
        soon(body).await.expect_err("large").kind(),
        ErrorKind::TooLarge
    );
    let stalled = saying("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "").await;
    let body = get(stalled).await.expect("a head").collect(100_000);
    assert_eq!(
        soon(body).await.expect_err("stalled").kind(),
        ErrorKind::UpstreamTimeout
    );
    let silent = saying("", "").await;
    assert_eq!(
        get(silent).await.err().expect("silent").kind(),
        ErrorKind::UpstreamTimeout
    );
    let half = saying(head, "").await;
    assert_eq!(
        get(half).await.err().expect("half").kind(),
        ErrorKind::UpstreamTimeout
    );
    let headers = saying(head, "x-more: 0123456789\r\n").await;
    assert_eq!(
        get(headers).await.err().expect("headers").kind(),
        ErrorKind::Upstream
    );
    let nonsense = saying("SSH-2.0-x\r\n", "").await;
    assert_eq!(
        get(nonsense).await.err().expect("nonsense").kind(),
        ErrorKind::Upstream
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let closed = format!("http://{}/", listener.local_addr().expect("bound"));
    drop(listener);
    assert_eq!(
        get(closed).await.err().expect("closed").kind(),
        ErrorKind::Upstream
    );
}

#[tokio::test]
async fn a_body_that_drips_runs_out_of_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let _ = socket.read(&mut [0; 4096]).await;
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while socket.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let patience = Timeouts {
        total: Duration::from_millis(500),
        idle: Duration::from_millis(300),
        ..Timeouts::default()
    };
    let client = client(policy(&["127.0.0.1"]).with_timeouts(patience));
    let response = soon(client.send(request(Method::GET, url)))
        .await
        .expect("a head");
    let error = soon(response.collect(1 << 20)).await.expect_err("late");
    assert_eq!(error.kind(), ErrorKind::UpstreamTimeout);
}

/// An HTTPS server for `secure.example`, and the root that vouches for it.
async fn secure() -> (u16, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let root_key = KeyPair::generate().expect("a key");
    let mut root = CertificateParams::new(Vec::new()).expect("parameters");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).expect("a root").pem();
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["secure.example".to_owned()]).expect("parameters");
    let issuer = Issuer::from_params(&root, &root_key);
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            key.serialize_der().try_into().expect("a key"),
        )
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(socket).await else {
                continue;
            };
            let _ = socket.read(&mut [0; 4096]).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret";
            let _ = socket.write_all(answer).await;
            let _ = socket.shutdown().await;
        }
    });
    (port, root_pem)
}

#[tokio::test]
async fn certificates_are_checked() {
    let dns = NameServer::start().await;
    dns.set("secure.example", &["127.0.0.1"]);
    dns.set("other.example", &["127.0.0.1"]);
    let (port, root) = secure().await;
    let trusting = policy(&["127.0.0.1"])
        .with_roots(root.as_bytes())
        .expect("a root");
    let client = asking(&dns, trusting);
    let get = |name: &str| request(Method::GET, format!("https://{name}:{port}/"));
    let response = soon(client.send(get("secure.example")))
        .await
        .expect("an answer");
    assert_eq!(text(response).await, "secret");
    let error = soon(client.send(get("other.example")))
        .await
        .err()
        .expect("another's name");
    assert_eq!(error.kind(), ErrorKind::Upstream);
    let stranger = asking(&dns, policy(&["127.0.0.1"]));
    let error = soon(stranger.send(get("secure.example")))
        .await
        .err()
        .expect("no such root");
    assert_eq!(error.kind(), ErrorKind::Upstream);
    assert!(policy(&[]).with_roots(b"nothing").is_err());
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let dns = NameServer::start().await;
    let server = serve(vec![Route::get("/", ok)], Limits::default()).await;
    // Nobody listens on the first ones.
    dns.set("many.example", &["::1", "127.0.0.2", "127.0.0.1"]);
    let client = asking(&dns, policy(&[]).with_loopback(true));
    let url = format!("http://many.example:{}/", addr(&server).port());
    let response = soon(client.send(request(Method::GET, url)))
        .await
        .expect("an answer");
    assert_eq!(text(response).await, "\"ok\"\n");
    let url = format!("http://localhost:{}/", addr(&server).port());
    let response = soon(client.send(request(Method::GET, url)))
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_unix_socket_is_reached_by_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w.sock");
    let listen: Listen = format!("unix:{}", path.display()).parse().expect("a place");
    let app = App::new(vec![mount("", vec![Route::get("/x", ok)])]).expect("a table");
    let _server = HttpServer::bind(&listen, app, Limits::default())
        .await
        .expect("a socket");
    let client = Client::over_unix(policy(&[]), &path).expect("a client");
    let get = request(Method::GET, "http://localhost/x");
    let response = soon(client.send(get)).await.expect("an answer");
    assert_eq!(text(response).await, "\"ok\"\n");
}

#[tokio::test]
async fn the_dialer_reaches_what_the_policy_permits() {
    let server = serve(vec![Route::get("/", ok)], Limits::default()).await;
    let port = addr(&server).port();
    let strict = Dialer::new(policy(&[])).expect("a dialer");
    for host in ["127.0.0.1", "[::1]", "::1", "localhost", "127.1"] {
        let error = soon(strict.connect(host, port, false))
            .await
            .err()
            .expect(host);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{host}");
    }
    let open = Dialer::new(policy(&[]).with_loopback(true)).expect("a dialer");
    let mut stream = soon(open.connect("127.0.0.1", port, false))
        .await
        .expect("a connection");
    stream
        .write_all(get("/").as_bytes())
        .await
        .expect("to send");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer))
        .await
        .expect("an answer");
    assert!(answer.ends_with("\"ok\"\n"));
}
