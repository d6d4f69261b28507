//! Linking and logging in.

use std::time::{Duration, Instant};

use serde_json::json;
use whatsapp_rust::prelude::Event;

use super::rig::Rig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_by_qr_code_in_well_under_a_second() {
    let rig = Rig::new().await;
    let mut device = rig.stranger().await;
    let qr = device.qr().await;
    let start = Instant::now();
    let linked = rig
        .network
        .scan(&qr, Some("6281234567890"))
        .await
        .expect("linked");
    assert_eq!((linked.phone.as_str(), linked.device), ("6281234567890", 1));
    device.connected().await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "took {:?}",
        start.elapsed()
    );
    let overview = rig.network.overview();
    assert_eq!(overview.accounts.len(), 1);
    assert!(overview.accounts[0].companions[0].connected);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumes_without_a_full_handshake() {
    let rig = Rig::new().await;
    let device = rig.companion("6281234567890").await;
    let backend = device.backend.clone();
    device.handle.shutdown().await;
    let before = rig.network.stats().handshakes_ik;
    let mut device = rig.restart(backend).await;
    let start = Instant::now();
    device.connected().await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "took {:?}",
        start.elapsed()
    );
    assert_eq!(rig.network.stats().handshakes_ik, before + 1);
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_a_code_that_nobody_shows() {
    let rig = Rig::new().await;
    let mut device = rig.stranger().await;
    let qr = device.qr().await;
    let (_, rest) = qr.split_once(',').expect("a QR code");
    assert!(
        rig.network
            .scan(&format!("2@OTHER,{rest}"), None)
            .await
            .is_err()
    );
    assert!(rig.network.scan("hello", None).await.is_err());
    // What a client says of itself, and what the rig gave it.
    let seen = rig.ask("POST", "/sandbox/look", json!({ "qr": qr })).await;
    assert_eq!(seen["name"], "Tester");
    assert!(seen["platform"].is_string());
    let url = format!("https://wa.me/settings/linked_devices#{qr}");
    let linked = rig.network.scan(&url, None).await.expect("linked");
    assert!(linked.phone.len() >= 8);
    device.connected().await;
    rig.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_by_code() {
    let rig = Rig::new().await;
    let mut device = rig.stranger_with_code("6281234567890").await;
    let code = device
        .wait("a code", |event| match event {
            Event::PairingCode(code) => Some(code.code.clone()),
            _ => None,
        })
        .await;
    assert!(rig.network.pair_code("6281111111111", &code).await.is_err());
    let wrong = rig.network.pair_code("6281234567890", "WRNGC0DE").await;
    assert_eq!(wrong.expect_err("refused").detail(), "wrong code");
    let linked = rig
        .network
        .pair_code("6281234567890", &code)
        .await
        .expect("linked");
    assert_eq!((linked.phone.as_str(), linked.device), ("6281234567890", 1));
    device.connected().await;
    rig.finish();
}
