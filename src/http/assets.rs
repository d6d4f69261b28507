//! Files that are embedded in the program.

use std::borrow::Cow;
use std::fmt::Write;

use bytes::Bytes;
use rust_embed::RustEmbed;

use super::{Reply, Request, StatusCode};

/// The embedded file as an answer, or 304 when the client has it already.
pub fn file<E: RustEmbed>(path: &str, request: &Request) -> Option<Reply> {
    let file = E::get(path)?;
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in &file.metadata.sha256_hash()[..16] {
        // Writing to a string does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    let known = request
        .header("if-none-match")
        .is_some_and(|tags| is_named(tags, &tag));
    let reply = if known {
        Reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        Reply::bytes(content_type(path), bytes)
    };
    // A browser may keep the file and must ask whether it still holds: the name does not change
    // with the content.
    Some(
        reply
            .header("etag", tag)
            .header("cache-control", "no-cache"),
    )
}

/// Whether `If-None-Match` names the tag. The comparison is the weak one (RFC 9110, 13.1.2).
fn is_named(tags: &str, tag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag)
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
    fn knows_a_tag_among_others() {
        assert!(is_named("\"a\"", "\"a\""));
        assert!(is_named("\"b\", W/\"a\"", "\"a\""));
        assert!(is_named("*", "\"a\""));
        assert!(!is_named("\"b\"", "\"a\""));
        assert!(!is_named("", "\"a\""));
    }
}
