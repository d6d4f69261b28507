//! Files that are embedded in the program. Texts are packed for whoever takes the encoding `gzip`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;

use super::conditions::is_known;
use super::{Reply, Request, StatusCode};

/// What is smaller fits into one packet as it is.
const WORTH_PACKING: usize = 1400;

/// The embedded file as an answer, or 304 when the client has it already.
pub fn file<E: RustEmbed>(path: &str, request: &Request) -> Option<Reply> {
    let file = E::get(path)?;
    let media_type = content_type(path);
    let packable = is_text(media_type) && file.data.len() >= WORTH_PACKING;
    let packed = packable && request.header("accept-encoding").is_some_and(takes_gzip);
    let hash = file.metadata.sha256_hash();
    // What is encoded otherwise has another tag (RFC 9110, 8.8.3.3).
    let tag = format!(
        "\"{}{}\"",
        hex::encode(&hash[..16]),
        if packed { "-gz" } else { "" }
    );
    let reply = if is_known(request.header("if-none-match"), &tag) {
        Reply::empty(StatusCode::NOT_MODIFIED)
    } else if packed {
        Reply::bytes(media_type, gzip(hash, &file.data)).header("content-encoding", "gzip")
    } else {
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        Reply::bytes(media_type, bytes)
    };
    let reply = match packable {
        true => reply.header("vary", "accept-encoding"),
        false => reply,
    };
    // A browser may keep the file and must ask whether it still holds: the name does not change
    // with the content.
    Some(
        reply
            .header("etag", tag)
            .header("cache-control", "no-cache"),
    )
}

/// The packed file. It is kept: packing takes a thousand times as long as sending.
fn gzip(hash: [u8; 32], plain: &[u8]) -> Bytes {
    static KEPT: Mutex<BTreeMap<[u8; 32], Bytes>> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let packed = kept.entry(hash).or_insert_with(|| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory does not fail.
        let _ = encoder.write_all(plain);
        encoder.finish().unwrap_or_default().into()
    });
    packed.clone()
}

/// Whether `Accept-Encoding` names `gzip`, and not with the weight 0 (RFC 9110, 12.5.3).
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|part| {
        let (coding, weight) = part.split_once(';').unwrap_or((part, "q=1"));
        coding.trim().eq_ignore_ascii_case("gzip") && weight.contains(|c| matches!(c, '1'..='9'))
    })
}

/// Whether a content type stands for text, which packs well; images and fonts are packed already.
fn is_text(media_type: &str) -> bool {
    let (family, kind) = media_type.split_once('/').unwrap_or_default();
    family == "text" || kind.ends_with("xml") || kind.ends_with("json") || kind == "wasm"
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
