//! Requests: bodies in every form that is read, whatever their content type says.
#![no_main]

use std::marker::PhantomData;

use libfuzzer_sys::fuzz_target;
use warung::http::{Method, Request};

/// The content types whose bodies are read.
const TYPES: &[&str] = &[
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=B",
    "multipart/form-data",
    "text/plain",
];

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, body) = input;
    let kind = TYPES[usize::from(kind) % TYPES.len()];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let headers = [("content-type", kind)];
        let make = || Request::for_test(Method::POST, "/", &headers, body.to_vec());
        let _ = make().json_by(PhantomData::<serde_json::Value>).await;
        let _ = make().fields().await;
        if let Ok(mut parts) = make().multipart() {
            while let Ok(Some(mut part)) = parts.next().await {
                if part.bytes(1 << 16).await.is_err() {
                    break;
                }
            }
        }
    });
});
