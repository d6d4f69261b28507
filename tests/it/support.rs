//! The rig: a simulated network and any number of gateways in this process, and a plain HTTP client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use warung::config::{Config, LogFormat};
use warung::domain::event::{ContactOptOut, Event, EventData};
use warung::domain::guard::Guard;
use warung::sandbox::Sandbox;
use warung::server::{Deps, Server};
use warung::store::Disk;
use warung::time::Timestamp;

/// How long a test waits for a condition before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The master key of every rig.
pub const MASTER: &str = "master-key-of-the-tests";

/// A network, a gateway on it, and a folder for both.
pub struct Rig {
    pub network: Sandbox,
    pub server: Option<Server>,
    pub folder: tempfile::TempDir,
    pub config: Config,
    addr: SocketAddr,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; a body that is none is a failure of the test.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The JSON, after the status was checked.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }
}

/// One request, sent on a connection of its own.
#[derive(Clone)]
pub struct Call {
    addr: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Call {
    pub fn new(addr: SocketAddr, method: &str, path: &str) -> Self {
        Self {
            addr,
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn master(self) -> Self {
        self.header("x-master-key", MASTER)
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Answer {
        let response = self.open().await;
        let status = response.status().as_u16();
        let headers = texts(response.headers());
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a whole answer")
            .to_bytes();
        note(|| format!("{status} {}", String::from_utf8_lossy(&body)));
        Answer {
            status,
            headers,
            body,
        }
    }

    /// The same, or `None` when the server is gone before the answer is whole.
    pub async fn try_send(self) -> Option<Answer> {
        let stream = TcpStream::connect(self.addr).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let response = sender.send_request(self.request()).await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some(Answer {
            status,
            headers: BTreeMap::new(),
            body,
        })
    }

    fn request(&self) -> hyper::Request<Full<Bytes>> {
        let mut request = hyper::Request::builder()
            .method(self.method.as_str())
            .uri(&self.path);
        // As the client of a program on this machine; a test may ask for another host.
        if !self.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", self.addr.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
            .body(Full::new(self.body.clone()))
            .expect("a legal request")
    }

    /// Sends it and answers with the head and an unread body.
    pub async fn open(self) -> hyper::Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.addr)
            .await
            .expect("the server listens");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("a connection");
        tokio::spawn(connection);
        sender
            .send_request(self.request())
            .await
            .expect("an answer")
    }
}

impl Rig {
    /// A network and a gateway with default settings.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, with changed settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(None, change).await
    }

    /// The same, with its store on another disk.
    pub async fn on(disk: Option<Disk>, change: impl FnOnce(&mut Config)) -> Self {
        Self::made_of(
            Deps {
                disk,
                ..Deps::default()
            },
            change,
        )
        .await
    }

    /// The same, with other parts.
    pub async fn made_of(deps: Deps, change: impl FnOnce(&mut Config)) -> Self {
        let network = Sandbox::open(Default::default()).await.expect("a network");
        Self::on_network(network, deps, change).await
    }

    /// The same, on a network that is there.
    pub async fn on_network(
        network: Sandbox,
        deps: Deps,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config {
            listen: "127.0.0.1:0".into(),
            data: folder.path().join("data"),
            master_key: Some(MASTER.into()),
            whatsapp_url: Some(network.url()),
            webhooks_to_loopback: true,
            // Tests write to many people at once; those of the guard switch it on.
            guard: Guard::Off,
            ..Config::default()
        };
        change(&mut config);
        let server = start(&config, &network, deps).await;
        let addr = server.local_addr().expect("a TCP address");
        Self {
            network,
            server: Some(server),
            folder,
            config,
            addr,
        }
    }

    /// Stops the gateway and starts it on the same store; the network goes on.
    pub async fn restart(&mut self) {
        self.restart_on(None).await;
    }

    /// The same, with its store on another disk.
    pub async fn restart_on(&mut self, disk: Option<Disk>) {
        self.restart_made_of(Deps {
            disk,
            ..Deps::default()
        })
        .await;
    }

    /// The same, with other parts.
    pub async fn restart_made_of(&mut self, deps: Deps) {
        self.stop().await;
        let server = start(&self.config, &self.network, deps).await;
        self.addr = server.local_addr().expect("a TCP address");
        self.server = Some(server);
    }

    /// Stops the gateway in good order.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn get(&self, path: &str) -> Call {
        Call::new(self.addr, "GET", path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Call {
        Call::new(self.addr, "POST", path).json(body)
    }

    pub fn delete(&self, path: &str) -> Call {
        Call::new(self.addr, "DELETE", path)
    }

    /// Asks the sandbox's control API.
    pub async fn sandbox(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = Call::new(self.addr, method, path).json(body).send().await;
        assert!(
            answer.status < 300,
            "{path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    /// Makes a session; answers its token.
    pub async fn create(&self, session: &str) -> String {
        let answer = self
            .post("/api/v1/sessions", &json!({ "sessionId": session }))
            .master();
        let answer = answer.send().await.expect(201);
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// Makes a session and has a phone scan its QR; answers its token when it is connected.
    pub async fn pair(&self, session: &str, phone: &str) -> String {
        let token = self.create(session).await;
        let scan = json!({ "sessionId": session, "phone": phone });
        self.sandbox("POST", "/sandbox/scan", &scan).await;
        self.wait_for_status(session, "CONNECTED").await;
        token
    }

    /// Waits until the store works again: while it is being opened anew, reads are answered 503 too.
    pub async fn wait_until_ready(&self) {
        eventually("ready again", || async {
            (self.get("/ready").send().await.status == 200).then_some(())
        })
        .await;
    }

    /// Waits until the session has this status; answers its row.
    pub async fn wait_for_status(&self, session: &str, status: &str) -> Value {
        let path = format!("/api/v1/sessions/{session}");
        eventually(&format!("session {session} {status}"), || async {
            let row = self.get(&path).master().send().await.expect(200);
            (row["status"] == status).then_some(row)
        })
        .await
    }

    /// Has all the session's events sent to this address, or only those that are named; answers what is
    /// said to that.
    pub async fn hook(&self, session: &str, url: &str, events: &[&str]) -> Value {
        let events = if events.is_empty() { &["*"] } else { events };
        let hook = json!({ "sessionId": session, "url": url, "events": events });
        let answer = self.post("/api/v1/webhook", &hook).master().send().await;
        answer.expect(200)
    }

    /// Sends one text; answers its result.
    pub async fn send_text(&self, session: &str, token: &str, to: &str, body: &str) -> Value {
        let message = json!({ "to": to, "type": "text", "text": { "body": body } });
        let results = self.send(session, token, &message).await;
        results.as_array().expect("an array")[0].clone()
    }

    /// Sends what a client would post; answers the array of results.
    pub async fn send(&self, session: &str, token: &str, body: &Value) -> Value {
        let path = format!("/api/v1/messages?sessionId={session}");
        self.post(&path, body)
            .bearer(token)
            .send()
            .await
            .expect(200)
    }

    /// What a virtual phone has received, decrypted.
    pub async fn received(&self, phone: &str) -> Vec<Value> {
        let path = format!("/sandbox/phones/{phone}/messages");
        let list = self.sandbox("GET", &path, &Value::Null).await;
        list.as_array().expect("an array").clone()
    }

    /// Waits until a phone has received at least `count` messages.
    pub async fn wait_for_received(&self, phone: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} messages at {phone}"), || async {
            let list = self.received(phone).await;
            (list.len() >= count).then_some(list)
        })
        .await
    }

    /// The network knew every stanza that it was sent.
    pub async fn assert_all_understood(&self) {
        let stats = self.stats().await;
        assert_eq!(stats["unknownStanzas"], 0, "{stats}");
    }

    /// The network's counters.
    pub async fn stats(&self) -> Value {
        self.sandbox("GET", "/sandbox/stats", &Value::Null).await
    }
}

/// The log of a test, for whoever looks for the cause of a failure: `WARUNG_TEST_LOG=trace`.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the tests, no setting of the program"
)]
fn start_log() {
    if let Ok(level) = std::env::var("WARUNG_TEST_LOG") {
        let level = level.parse().expect("a level");
        warung::logging::start(level, LogFormat::Text, None);
    }
}

async fn start(config: &Config, network: &Sandbox, mut deps: Deps) -> Server {
    start_log();
    deps.mounts = network.mounts();
    let server = Server::start(config.clone(), deps)
        .await
        .expect("the server starts");
    network.attach(server.qr_finder());
    server
}

tokio::task_local! {
    /// What a wait has seen last.
    static SEEN: Arc<std::sync::Mutex<String>>;
}

/// Notes what was seen, for the wait that asked for it, should it end in vain.
fn note(seen: impl FnOnce() -> String) {
    let _ = SEEN.try_with(|last| *last.lock().expect("no panic") = seen());
}

/// Asks until there is an answer; fails after [`PATIENCE`], with the last answer of a server or the
/// last deliveries of a webhook that were looked at.
pub async fn eventually<T, F, Out>(what: &str, ask: F) -> T
where
    F: Fn() -> Out,
    Out: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let seen = Arc::default();
    loop {
        if let Some(found) = SEEN.scope(Arc::clone(&seen), ask()).await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain for: {what}; seen last: {}",
            seen.lock().expect("no panic")
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Names and values of headers; the values of one that comes more than once with commas between.
fn texts(headers: &hyper::HeaderMap) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let text = texts.entry(name.to_string()).or_default();
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    texts
}

/// One delivery that a webhook received.
#[derive(Debug, Clone)]
pub struct Delivered {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
}

impl Delivered {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON payload")
    }
}

/// A receiver of webhooks that answers what the test wants.
#[derive(Clone)]
pub struct Sink {
    pub url: String,
    got: Arc<Mutex<Vec<Delivered>>>,
    status: Arc<std::sync::atomic::AtomicU16>,
    /// What it answers to some, by what their bodies hold.
    to_some: Arc<std::sync::Mutex<BTreeMap<String, u16>>>,
}

impl Sink {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let sink = Self {
            url,
            got: Arc::default(),
            status: Arc::new(std::sync::atomic::AtomicU16::new(200)),
            to_some: Arc::default(),
        };
        tokio::spawn(sink.clone().serve(listener));
        sink
    }

    /// What it answers from now on.
    pub fn answer(&self, status: u16) {
        self.status
            .store(status, std::sync::atomic::Ordering::SeqCst);
    }

    /// What it answers from now on to those whose bodies hold this.
    pub fn answer_to(&self, held: &str, status: u16) {
        let mut to_some = self.to_some.lock().expect("no panic");
        to_some.insert(held.to_owned(), status);
    }

    /// What it accepted, in order of arrival (tries that it refused are not counted).
    pub async fn got(&self) -> Vec<Delivered> {
        let got = self.got.lock().await.clone();
        note(|| {
            let bodies = got.iter().map(|d| String::from_utf8_lossy(&d.body));
            bodies.collect::<Vec<_>>().join("\n")
        });
        got
    }

    /// Waits for at least `count` deliveries of this event.
    pub async fn wait_for(&self, event: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} x {event} at the webhook"), || async {
            let all: Vec<Value> = self.got().await.iter().map(Delivered::json).collect();
            let found: Vec<Value> = all.into_iter().filter(|d| d["event"] == event).collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let sink = self.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let sink = sink.clone();
                    async move { sink.take(request).await }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn take(
        &self,
        request: hyper::Request<hyper::body::Incoming>,
    ) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let headers = texts(&head.headers);
        let body = body.collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        let special = {
            let to_some = self.to_some.lock().expect("no panic");
            let special = to_some.iter().find(|(held, _)| text.contains(*held));
            special.map(|(_, status)| *status)
        };
        let all = self.status.load(std::sync::atomic::Ordering::SeqCst);
        let status = special.unwrap_or(all);
        if (200..300).contains(&status) {
            let (method, path) = (head.method.to_string(), head.uri.to_string());
            self.got.lock().await.push(Delivered {
                method,
                path,
                headers,
                body,
            });
        }
        let response = hyper::Response::builder()
            .status(status)
            .body(Full::new(Bytes::new()));
        Ok(response.expect("a legal answer"))
    }
}

/// The path of the program that the tests were built with.
pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_warung").into()
}

/// Reads an event stream until `done` says that these are enough.
pub async fn read_events(call: Call, done: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut body = call.open().await.into_body();
    let (mut text, mut events) = (String::new(), Vec::new());
    while !done(&events) {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        let frame = frame.unwrap_or_else(|_| panic!("more events: {events:?}"));
        let frame = frame.expect("the stream goes on").expect("no error");
        text.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
        while let Some((line, rest)) = text.split_once('\n') {
            if let Some(data) = line.strip_prefix("data: ") {
                events.push(serde_json::from_str(data).expect("JSON"));
            }
            text = rest.to_owned();
        }
    }
    events
}

/// What signs a webhook's delivery: the hex digits of HMAC-SHA256 over `parts`, made apart from the
/// program's own.
pub fn hmac(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    parts.iter().for_each(|part| mac.update(part));
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the person who runs the tests asked for.
#[expect(clippy::disallowed_methods, reason = "the rule is for the program")]
pub fn option(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// An event without a cause, for tests that need many.
pub fn opt_out(session: &str, at: Timestamp) -> Event {
    Event {
        session: session.to_owned(),
        at,
        data: EventData::ContactOptOut(ContactOptOut {
            number: "6281200000001".to_owned(),
            suppressed: true,
        }),
    }
}
