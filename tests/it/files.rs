//! Files to send: real ones of each type, odd ones, and a server that gives them out by link.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Answer, Call, Rig};

/// A real file; `tests/files/make.sh` made it.
pub fn file(name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name);
    std::fs::read(path)
        .expect("the file is beside the tests")
        .into()
}

/// SHA-256 in hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Base64, standard.
pub fn base64(bytes: &[u8]) -> String {
    warung::bytes64::Bytes64(bytes.to_vec()).text()
}

/// The content type that belongs to the name.
pub fn mime(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "jpg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "mp4" => "video/mp4",
        "ogg" => "audio/ogg; codecs=opus",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        _ => "application/octet-stream",
    }
}

/// One part of a form.
pub struct Field<'a> {
    pub name: &'a str,
    pub file_name: Option<&'a str>,
    pub mime: Option<&'a str>,
    pub bytes: &'a [u8],
}

/// A file as a browser or curl would upload it.
pub fn upload_field<'a>(name: &'a str, bytes: &'a [u8]) -> Field<'a> {
    Field {
        name: "file",
        file_name: Some(name),
        mime: Some(mime(name)),
        bytes,
    }
}

const BOUNDARY: &str = "a-boundary-of-the-tests";

/// The content type of [`form`].
pub const FORM: &str = "multipart/form-data; boundary=a-boundary-of-the-tests";

/// The bytes of a form.
pub fn form(fields: &[Field<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for field in fields {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
        let mut head = format!("Content-Disposition: form-data; name=\"{}\"", field.name);
        if let Some(name) = field.file_name {
            head += &format!("; filename=\"{name}\"");
        }
        if let Some(mime) = field.mime {
            head += &format!("\r\nContent-Type: {mime}");
        }
        body.extend_from_slice(format!("{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(field.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

/// A call that posts a form.
pub fn form_call(rig: &Rig, path: &str, token: &str, body: Vec<u8>) -> Call {
    Call::new(rig.addr(), "POST", path)
        .bearer(token)
        .header("content-type", FORM)
        .body(body)
}

/// Uploads a file; answers whatever comes.
pub async fn upload(rig: &Rig, token: &str, name: &str, bytes: &[u8]) -> Answer {
    let body = form(&[upload_field(name, bytes)]);
    form_call(rig, "/api/v1/media", token, body).send().await
}

/// Uploads a file; answers its id.
pub async fn uploaded(rig: &Rig, token: &str, name: &str, bytes: &[u8]) -> String {
    let answer = upload(rig, token, name, bytes).await.expect(201);
    answer["mediaId"].as_str().expect("an id").to_owned()
}

/// The names of the files below the media folder: kept ones and arriving ones.
pub fn on_disk(rig: &Rig) -> (Vec<String>, usize) {
    let folder = rig.config.data.join("media");
    let names = |path: &Path| {
        let entries = std::fs::read_dir(path).expect("the media folder");
        let names = entries
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let mut kept = names(&folder);
    kept.retain(|name| name != "arriving");
    (kept, names(&folder.join("arriving")).len())
}

/// A server of files; the path chooses how it behaves.
#[derive(Clone)]
pub struct Shelf {
    pub url: String,
    asked: Arc<AtomicUsize>,
}

impl Shelf {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let shelf = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            asked: Arc::default(),
        };
        let served = shelf.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                served.asked.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        shelf
    }

    /// The link to a file.
    pub fn link(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// How often it was asked for anything.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let answer = |status: &str, mime: &str, body: &[u8]| {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {mime}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let bytes = match path {
        "/page.jpg" => answer("200 OK", "text/html", b"<html>log in first</html>"),
        "/liar.jpg" => answer("200 OK", "image/jpeg", &file("prices.pdf")),
        "/empty.jpg" => answer("200 OK", "image/jpeg", b""),
        "/gone.jpg" => answer("404 Not Found", "text/plain", b"gone"),
        "/inside.jpg" => {
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        }
        "/cut.jpg" => {
            let whole = answer("200 OK", "image/jpeg", &file("turned.jpg"));
            whole[..whole.len() - 100].to_vec()
        }
        "/endless.jpg" => {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
                .await;
            let piece = vec![0xff; 64 * 1024];
            while stream.write_all(&piece).await.is_ok() {}
            return;
        }
        "/stops.jpg" => {
            let whole = answer("200 OK", "image/jpeg", &file("turned.jpg"));
            let _ = stream.write_all(&whole[..whole.len() - 100]).await;
            // Open and silent, until the other side has had enough.
            let _ = stream.read(&mut byte).await;
            return;
        }
        name => {
            let name = name.trim_start_matches('/');
            answer("200 OK", mime(name), &file(name))
        }
    };
    let _ = stream.write_all(&bytes).await;
}
