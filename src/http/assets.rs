//! Files that are embedded in the program, packed (`name.zz`, by `build.rs`) or as they are. Whoever
//! takes the encoding `deflate` gets a packed file as it lies there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rust_embed::RustEmbed;

use super::conditions::is_known;
use super::{Reply, Request, StatusCode};
use crate::embedded::unpack;

/// The embedded file as an answer, or 304 when the client has it already.
pub fn file<E: RustEmbed>(path: &str, request: &Request) -> Option<Reply> {
    let packed = E::get(&format!("{path}.zz"));
    let is_packed = packed.is_some();
    let file = packed.or_else(|| E::get(path))?;
    let sent_packed = is_packed && request.header("accept-encoding").is_some_and(takes_deflate);
    let hash = file.metadata.sha256_hash();
    let mut tag = String::with_capacity(36);
    tag.push('"');
    for byte in &hash[..16] {
        // Writing to a string does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    // What is encoded otherwise has another tag (RFC 9110, 8.8.3.3).
    tag.push_str(if sent_packed { "-z\"" } else { "\"" });
    let reply = if is_known(request.header("if-none-match"), &tag) {
        Reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        let typed = |bytes| Reply::bytes(content_type(path), bytes);
        match (is_packed, sent_packed) {
            (true, false) => typed(unpacked(hash, &bytes)),
            (true, true) => typed(bytes).header("content-encoding", "deflate"),
            (false, _) => typed(bytes),
        }
    };
    let reply = match is_packed {
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

/// A packed file for those who do not take it packed. It is kept, or each of many slow readers would
/// hold memory of its own; browsers do not ask for it.
fn unpacked(hash: [u8; 32], packed: &[u8]) -> Bytes {
    static KEPT: Mutex<BTreeMap<[u8; 32], Bytes>> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let plain = kept
        .entry(hash)
        .or_insert_with(|| unpack(packed).into_boxed_slice().into());
    plain.clone()
}

/// Whether `Accept-Encoding` names `deflate`, and not with the weight 0 (RFC 9110, 12.5.3).
fn takes_deflate(accepted: &str) -> bool {
    accepted.split(',').any(|part| {
        let (coding, weight) = part.split_once(';').unwrap_or((part, "q=1"));
        coding.trim().eq_ignore_ascii_case("deflate") && weight.contains(|c| matches!(c, '1'..='9'))
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
            "deflate",
            "gzip, deflate, br",
            "br;q=1.0, Deflate ; q=0.5",
            "deflate;q=0.001",
        ] {
            assert!(takes_deflate(takes), "{takes}");
        }
        for refuses in [
            "",
            "gzip",
            "*",
            "identity",
            "deflate;q=0",
            "deflate; q=0.000, gzip",
        ] {
            assert!(!takes_deflate(refuses), "{refuses}");
        }
    }
}
