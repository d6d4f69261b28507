//! Files that are embedded in the program, packed by gzip or as they are.

use std::borrow::Cow;
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use rust_embed::{EmbeddedFile, RustEmbed};

use super::conditions::is_known;
use super::{Reply, Request, StatusCode};

/// The embedded file as an answer, or 304 when the client has it already. One that is embedded as
/// `PATH.gz` goes out packed to whoever takes the encoding `gzip`.
pub fn file<E: RustEmbed>(path: &str, request: &Request) -> Option<Reply> {
    let reply = match E::get(&format!("{path}.gz")) {
        Some(file) if request.header("accept-encoding").is_some_and(takes_gzip) => {
            answer(path, &file, "-gz", request, |bytes| bytes)
                .header("content-encoding", "gzip")
                .header("vary", "accept-encoding")
        }
        Some(file) => answer(path, &file, "", request, |bytes| unpacked(&bytes))
            .header("vary", "accept-encoding"),
        None => answer(path, &E::get(path)?, "", request, |bytes| bytes),
    };
    Some(reply)
}

/// What is encoded otherwise has another tag (RFC 9110, 8.8.3.3): `kind` ends it.
fn answer(
    path: &str,
    file: &EmbeddedFile,
    kind: &str,
    request: &Request,
    encode: impl FnOnce(Bytes) -> Bytes,
) -> Reply {
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{}{kind}\"", hex::encode(&hash[..16]));
    let reply = if is_known(request.header("if-none-match"), &tag) {
        Reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        let bytes = match &file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::copy_from_slice(bytes),
        };
        Reply::bytes(content_type(path), encode(bytes))
    };
    // A browser may keep the file and must ask whether it still holds: the name does not change
    // with the content.
    reply
        .header("etag", tag)
        .header("cache-control", "no-cache")
}

/// For the few who do not take it packed.
fn unpacked(packed: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    // Our own bytes; a test unpacks them.
    let _ = GzDecoder::new(packed).read_to_end(&mut plain);
    plain.into()
}

/// Whether `Accept-Encoding` names `gzip`, and not with the weight 0 (RFC 9110, 12.5.3).
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|part| {
        let (coding, weight) = part.split_once(';').unwrap_or((part, "q=1"));
        coding.trim().eq_ignore_ascii_case("gzip") && weight.contains(|c| matches!(c, '1'..='9'))
    })
}

/// The content type that a file's name stands for.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "xml" => "application/xml",
        "yaml" | "yml" => "application/yaml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_who_takes_a_packed_file() {
        for takes in [
            "gzip",
            "gzip, deflate, br",
            "br;q=1.0, GZip ; q=0.5",
            "gzip;q=0.001",
        ] {
            assert!(takes_gzip(takes), "{takes}");
        }
        for refuses in [
            "",
            "deflate",
            "*",
            "identity",
            "gzip;q=0",
            "gzip; q=0.000, br",
        ] {
            assert!(!takes_gzip(refuses), "{refuses}");
        }
    }
}
