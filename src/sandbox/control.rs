//! temporary
use super::Network;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;
pub(super) const ROUTES: &[(&str, &str)] = &[
    ("GET", "/sandbox"),
    ("GET", "/sandbox/stats"),
    ("POST", "/sandbox/scan"),
    ("GET", "/sandbox/phones/{phone}/messages"),
    ("POST", "/sandbox/phones/{phone}/messages"),
];
pub(super) async fn handle(
    network: &Arc<Network>,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<(u16, Value)> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let v = match (method, &parts[..]) {
        ("GET", ["sandbox"]) => serde_json::to_value(network.overview()).unwrap(),
        ("GET", ["sandbox", "stats"]) => serde_json::to_value(network.stats()).unwrap(),
        ("POST", ["sandbox", "scan"]) => {
            let l = network
                .scan(
                    body["qr"].as_str().unwrap_or_default(),
                    body["phone"].as_str(),
                )
                .await?;
            serde_json::to_value(l).unwrap()
        }
        ("GET", ["sandbox", "phones", p, "messages"]) => {
            serde_json::to_value(network.messages(p)?).unwrap()
        }
        ("POST", ["sandbox", "phones", p, "messages"]) => {
            json!({"id": network.send_text(p, body["to"].as_str().unwrap_or_default(), body["text"].as_str().unwrap_or_default())?})
        }
        _ => return Err(Error::not_found("no")),
    };
    Ok((200, v))
}
