//! The media host over HTTP, and how a real client takes its refusals.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use whatsapp_rust::UploadOptions;
use whatsapp_rust::wacore::download::MediaType;

use super::rig::Rig;
use crate::error::Result;
use crate::http::{Method, StatusCode};
use crate::net::client::{Client, OutgoingRequest, Policy, Response};
use crate::sandbox::{NetworkOptions, Sandbox, base64, random};

const SHOP: &str = "6281234567890";

struct Host {
    sandbox: Sandbox,
    client: Client,
    base: String,
}

impl Host {
    async fn new() -> Self {
        Self::with(
            Sandbox::open(NetworkOptions::default())
                .await
                .expect("listens"),
        )
        .await
    }

    async fn with(sandbox: Sandbox) -> Self {
        let policy = Policy::new(&[], &[]).expect("legal").with_loopback(true);
        let overview = sandbox.control("GET", "/sandbox", &Value::Null).await;
        let host = overview.expect("answers")["mediaHost"].clone();
        Self {
            sandbox,
            client: Client::new(policy).expect("a client"),
            base: format!("http://{}", host.as_str().expect("an address")),
        }
    }

    async fn ask(&self, method: Method, path: &str, range: Option<&str>, body: Bytes) -> Response {
        let answer = self.try_ask(method, path, range, body).await;
        answer.expect("an answer")
    }

    async fn try_ask(
        &self,
        method: Method,
        path: &str,
        range: Option<&str>,
        body: Bytes,
    ) -> Result<Response> {
        let range = range.map(|range| ("range".to_owned(), range.to_owned()));
        let request = OutgoingRequest {
            method,
            url: format!("{}{path}", self.base),
            headers: range.into_iter().collect(),
            body: body.into(),
        };
        self.client.send(request).await
    }

    async fn leave(&self, file: &Bytes, query: &str) -> Response {
        self.try_leave(file, query).await.expect("an answer")
    }

    async fn try_leave(&self, file: &Bytes, query: &str) -> Result<Response> {
        let token = base64::encode(&Sha256::digest(file)).replace('/', "_");
        let token = token.replace('+', "-");
        let token = token.trim_end_matches('=');
        let path = format!("/mms/image/{token}?auth=sandbox-0{query}");
        let body = match query.contains("resume") {
            true => Bytes::new(),
            false => file.clone(),
        };
        self.try_ask(Method::POST, &path, None, body).await
    }

    /// Says how large a file is that it will leave; answers the status. A host that refuses does
    /// not read what follows.
    async fn announce(&self, path: &str, length: u64) -> String {
        let address = self.base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = format!(
            "POST {path}?auth=sandbox-0 HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("an answer");
        String::from_utf8_lossy(&status[9..]).into_owned()
    }

    async fn fetch(&self, path: &str, range: Option<&str>) -> Response {
        self.ask(Method::GET, path, range, Bytes::new()).await
    }

    async fn order(&self, fault: Value) {
        let done = self
            .sandbox
            .control("POST", "/sandbox/faults", &fault)
            .await;
        done.expect("ordered");
    }

    async fn stats(&self) -> Value {
        let stats = self.sandbox.control("GET", "/sandbox/stats", &Value::Null);
        stats.await.expect("counted")
    }
}

async fn read(response: Response) -> Value {
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.collect(1 << 20).await.expect("a body");
    serde_json::from_slice(&body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_whole_and_in_parts() {
    let host = Host::new().await;
    let file = Bytes::from(random::bytes::<10_000>().to_vec());
    assert_eq!(
        read(host.leave(&file, "&resume=1").await).await["resume"],
        "0"
    );
    let left = read(host.leave(&file, "").await).await;
    let again = read(host.leave(&file, "").await).await;
    assert_eq!(left, again);
    let known = read(host.leave(&file, "&resume=1").await).await;
    assert_eq!(known["resume"], "complete");
    assert_eq!(known["direct_path"], left["direct_path"]);
    let path = left["direct_path"].as_str().expect("a path");
    // As clients write it: a second question mark.
    let path = format!("{path}?auth=sandbox-0&token=x");
    for (range, status, said, body) in [
        (None, 200, None, Some(0..10_000)),
        (Some("bytes=0-9"), 206, Some("bytes 0-9/10000"), Some(0..10)),
        (
            Some("bytes=9990-"),
            206,
            Some("bytes 9990-9999/10000"),
            Some(9990..10_000),
        ),
        (
            Some("bytes=-5"),
            206,
            Some("bytes 9995-9999/10000"),
            Some(9995..10_000),
        ),
        (Some("bytes=10000-"), 416, Some("bytes */10000"), None),
    ] {
        let answer = host.fetch(&path, range).await;
        assert_eq!(answer.status().as_u16(), status, "{range:?}");
        assert_eq!(answer.header("content-range"), said, "{range:?}");
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        if let Some(part) = body {
            assert_eq!(answer.length(), Some(part.len() as u64));
            assert_eq!(
                answer.collect(1 << 20).await.expect("a body"),
                file.slice(part)
            );
        }
    }
    let head = host.ask(Method::HEAD, &path, None, Bytes::new()).await;
    assert_eq!(head.header("content-length"), Some("10000"));
    assert_eq!(
        host.fetch("/v/image/00.enc", None).await.status().as_u16(),
        404
    );
    let stats = host.stats().await;
    assert_eq!(stats["mediaUploads"], 1);
    assert_eq!(stats["mediaUploadsAgain"], 1);
    assert_eq!(stats["mediaDownloads"], 4);
    assert_eq!(stats["mediaBytesIn"], 20_000);
    assert_eq!(stats["mediaBytesOut"], 10_025);
    host.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused() {
    let host = Host::new().await;
    let token = base64::encode(&[7; 32]).replace('=', "");
    let post = async |path: &str, body: Bytes| {
        let answer = host.ask(Method::POST, path, None, body).await;
        answer.status().as_u16()
    };
    let body = || Bytes::from("file");
    let image = format!("/mms/image/{token}");
    assert_eq!(post(&format!("{image}?auth=sandbox-0"), body()).await, 400);
    assert_eq!(post(&format!("{image}?auth=old"), body()).await, 401);
    assert_eq!(post(&image, body()).await, 401);
    let odd = format!("/mms/..%2F..%2Fetc/{token}?auth=sandbox-0");
    assert_eq!(post(&odd, body()).await, 400);
    assert_eq!(host.announce(&image, (100 << 20) + 2048).await, "413");
    assert_eq!(host.stats().await["mediaUploads"], 0);
    host.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misfortunes_are_as_ordered() {
    let host = Host::new().await;
    let file = Bytes::from(random::bytes::<10_000>().to_vec());
    host.order(json!({ "failUploads": { "status": 507 }, "count": 1 }))
        .await;
    assert_eq!(host.leave(&file, "").await.status().as_u16(), 507);
    host.order(json!({ "cutUploads": { "afterBytes": 4000 }, "count": 1 }))
        .await;
    assert!(host.try_leave(&file, "").await.is_err());
    let part = read(host.leave(&file, "&resume=1").await).await;
    assert_eq!(part["resume"], "4000");
    let token = base64::encode(&Sha256::digest(&file)).replace('/', "%2F");
    let token = token.replace('+', "%2B").replace('=', "%3D");
    let path = format!("/mms/image/{token}?auth=sandbox-0&file_offset=4000");
    let left = read(
        host.ask(Method::POST, &path, None, file.slice(4000..))
            .await,
    )
    .await;
    let path = left["direct_path"].as_str().expect("a path");
    let whole = async || host.fetch(path, None).await.collect(1 << 20).await;
    assert_eq!(whole().await.expect("a body"), file);
    host.order(json!({ "failDownloads": { "status": 503 }, "count": 1 }))
        .await;
    assert_eq!(host.fetch(path, None).await.status().as_u16(), 503);
    host.order(json!({ "cutDownloads": { "afterBytes": 100 }, "count": 1 }))
        .await;
    let mut cut = host.fetch(path, None).await;
    let first = cut.chunk().await.expect("the beginning");
    assert_eq!(first, Some(file.slice(..100)));
    assert!(cut.chunk().await.is_err());
    host.order(json!({ "slowMedia": { "bytesPerSecond": 50_000 }, "count": 1 }))
        .await;
    let start = std::time::Instant::now();
    assert_eq!(whole().await.expect("a body"), file);
    assert!(start.elapsed().as_millis() >= 200);
    host.order(json!({ "mediaLife": 0 })).await;
    assert_eq!(host.fetch(path, None).await.status().as_u16(), 410);
    let done = host
        .sandbox
        .control("DELETE", "/sandbox/faults", &Value::Null);
    done.await.expect("cleared");
    host.order(json!({ "expireMedia": { "directPath": path, "status": 404 } }))
        .await;
    assert_eq!(host.fetch(path, None).await.status().as_u16(), 404);
    let again = read(host.leave(&file, "").await).await;
    assert_ne!(again["direct_path"], left["direct_path"]);
    let refused = json!({ "failUploads": { "status": 503 }, "phone": SHOP });
    let refused = host.sandbox.control("POST", "/sandbox/faults", &refused);
    assert!(refused.await.is_err());
    host.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_asks_for_another_key_when_its_own_is_refused() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let upload = async |n: u8| {
        let file = vec![n; 1000];
        let left = shop
            .client
            .upload(file, MediaType::Image, UploadOptions::new());
        left.await
    };
    upload(1).await.expect("left");
    for fault in [
        json!({ "rejectMediaAuth": { "status": 403 } }),
        json!({ "rejectMediaAuth": { "status": 401 }, "count": 1 }),
    ] {
        rig.order(fault).await;
        upload(2).await.expect("left with another key");
    }
    let stats = rig.network.stats();
    assert_eq!((stats.media_uploads, stats.media_uploads_again), (3, 0));
    rig.order(json!({ "rejectMediaAuth": { "status": 401 }, "count": 2 }))
        .await;
    assert!(upload(3).await.is_err());
    assert!(rig.network.faults().is_empty());
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_resumes_an_upload_that_broke_off() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let file = vec![9; 6 << 20];
    let upload = async || {
        let options = UploadOptions::new().with_media_key([5; 32]);
        shop.client
            .upload(file.clone(), MediaType::Document, options)
            .await
    };
    rig.order(json!({ "cutUploads": { "afterBytes": 4 << 20 }, "count": 1 }))
        .await;
    assert!(upload().await.is_err());
    let before = rig.network.stats().media_bytes_in;
    upload().await.expect("left");
    let rest = rig.network.stats().media_bytes_in - before;
    assert!(rest < 3 << 20, "{rest} bytes");
    upload().await.expect("known");
    let stats = rig.network.stats();
    assert_eq!((stats.media_uploads, stats.media_uploads_again), (1, 0));
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_is_there_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let (state, copy) = (folder.path().join("state"), folder.path().join("copy"));
    let sandbox = Sandbox::open(NetworkOptions::kept_in(&state))
        .await
        .expect("listens");
    let host = Host::with(sandbox).await;
    // As a kill leaves it before anything is written of the file.
    std::fs::copy(&state, &copy).expect("copied");
    let file = Bytes::from(vec![3; 99 << 20]);
    let left = read(host.leave(&file, "").await).await;
    let path = left["direct_path"].as_str().expect("a path");
    host.sandbox.stop().await;
    let media = copy.with_extension("media");
    std::fs::rename(state.with_extension("media"), &media).expect("moved");
    for _ in 0..2 {
        let sandbox = Sandbox::open(NetworkOptions::kept_in(&copy))
            .await
            .expect("listens");
        let host = Host::with(sandbox).await;
        let part = host.fetch(path, Some("bytes=100-163")).await;
        assert_eq!(part.collect(64).await.expect("a part"), file.slice(..64));
        let whole = host.fetch(path, None).await;
        assert_eq!(whole.length(), Some(99 << 20));
        assert!(whole.collect(100 << 20).await.expect("a file") == file);
        let again = read(host.leave(&file, "&resume=1").await).await;
        assert_eq!(again["resume"], "complete");
        host.sandbox.stop().await;
    }
}
