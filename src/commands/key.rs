//! `warung key`: the keys of callers.

use serde_json::{Value, json};

use super::running::Running;
use super::{print, say};
use crate::config::{Config, KeysCommand};
use crate::error::{Code, Result};
use crate::http::Method;

/// Makes, lists or revokes keys of the running gateway.
pub async fn key(config: &Config, what: KeysCommand) -> Result<()> {
    let running = Running::of(config)?;
    match what {
        KeysCommand::Create {
            name,
            scopes,
            session,
            dialect,
        } => {
            let new = json!({
                "name": name, "scopes": scopes, "sessionId": session, "dialect": dialect,
            });
            let made = running.ask(Method::POST, "/admin/keys", Some(new)).await?;
            let field = |name: &str| made[name].as_str().unwrap_or_default();
            print(&format!("{} was made; it is shown only now:", field("id")))?;
            print(field("key"))?;
        }
        KeysCommand::List => {
            let answer = running.ask(Method::GET, "/admin/keys", None).await?;
            let keys = answer["keys"].as_array();
            keys.into_iter()
                .flatten()
                .for_each(|key| say(&line_of(key)));
        }
        KeysCommand::Revoke { id } => {
            // What is no id must not become another path.
            let id = crate::ids::RowId::parse(&id);
            let id = id.ok_or(Code::KeyNotFound)?;
            let path = format!("/admin/keys/{id}");
            let answer = running.ask(Method::DELETE, &path, None).await?;
            say(answer["message"].as_str().unwrap_or_default());
        }
    }
    Ok(())
}

/// A key as a line of the list.
fn line_of(key: &Value) -> String {
    let text = |name: &str| key[name].as_str().unwrap_or("-").to_owned();
    let scopes = key["scopes"].as_array().into_iter().flatten();
    let scopes: Vec<&str> = scopes.filter_map(Value::as_str).collect();
    let state = match key["revokedAt"].as_str() {
        Some(at) => format!("revoked {at}"),
        None => format!("used {} times, last {}", key["usage"], text("lastUsedAt")),
    };
    format!(
        "{}  {}  ...{}  {}  session {}  {state}  {}",
        text("id"),
        text("dialect"),
        text("preview"),
        scopes.join(","),
        text("sessionId"),
        text("name")
    )
}
