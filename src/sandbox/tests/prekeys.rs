//! One-time prekeys, which run out.

use whatsapp_rust::Jid;

use super::rig::{Rig, eventually};

const SHOP: &str = "6281234567890";

/// Somebody whom nobody has met before.
fn stranger(n: u32) -> String {
    format!("62877{n:07}")
}

/// By what was the companion told how many prekeys it has left.
fn told(rig: &Rig) -> Vec<String> {
    let number = super::super::number::Number::parse(SHOP).expect("a number");
    let account = rig.network.directory.known_account(number).expect("known");
    let state = account.lock();
    let companion = state.companions.values().next().expect("a companion");
    let counts = companion.outbox.iter().filter_map(|(_, node)| {
        let count = node.get_optional_child("count")?;
        count.attrs.get("value").map(|value| value.to_string())
    });
    counts.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companion_hears_it_until_it_publishes_more() {
    let rig = Rig::new().await;
    let shop = rig.companion(SHOP).await;
    let backend = shop.backend.clone();
    shop.handle.shutdown().await;
    for n in 0..40 {
        let sent = rig.network.send_text(&stranger(n), SHOP, "hello");
        sent.expect("sent");
    }
    let told = told(&rig);
    // One who does nothing before there are fewer than five is told so, and not at each key.
    assert_eq!(told, ["9", "4", "2", "1", "0"]);
    let mut shop = rig.restart(backend).await;
    assert_eq!(shop.texts(40).await.len(), 40);
    eventually("fresh prekeys", || {
        let accounts = rig.network.overview().accounts;
        (accounts[0].companions[0].prekeys >= 30).then_some(())
    })
    .await;
    let sent = shop.client.send_text(Jid::pn(stranger(0)), "yes?").await;
    sent.expect("sent");
    rig.received(&stranger(0), 1).await;
    rig.finish();
}
