//! The commands of seed 001 as printed, with the real curl, in the printed order: each answer has the keys
//! of the document's example in their order, and its texts.

use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::files::Shelf;
use crate::support::{MASTER, Rig, Sink};

const COMMANDS: &str = include_str!("../files/seed001.txt");

/// JSON that keeps the order of its keys.
#[derive(Debug)]
enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    Leaf(Value),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Leaf(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Leaf(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Leaf(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Leaf(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Json::Object(members))
            }
        }
        from.deserialize_any(Any)
    }
}

/// Whether an answer is what the example shows: its keys in their order, its values; further keys may stand
/// anywhere.
fn matches(answer: &Json, example: &Json) -> Result<(), String> {
    let differs = || Err(format!("{answer:?}\nis not\n{example:?}"));
    match (answer, example) {
        (Json::Object(answer), Json::Object(example)) => {
            let mut rest = answer.iter();
            for (name, value) in example {
                let found = rest.find(|(other, _)| other == name);
                let found = found.ok_or(format!("no {name}, or not in its place: {answer:?}"))?;
                matches(&found.1, value).map_err(|why| format!("{name}: {why}"))?;
            }
            Ok(())
        }
        (Json::Array(answer), Json::Array(example)) if answer.len() == example.len() => {
            let mut pairs = answer.iter().zip(example);
            pairs.try_for_each(|(answer, example)| matches(answer, example))
        }
        (Json::Leaf(Value::String(text)), Json::Leaf(Value::String(example))) => {
            if is_like(text, example) {
                Ok(())
            } else {
                differs()
            }
        }
        (Json::Leaf(answer), Json::Leaf(example)) if answer == example => Ok(()),
        _ => differs(),
    }
}

/// Whether a text is the example's, or what the word in its angle brackets stands for.
fn is_like(text: &str, example: &str) -> bool {
    let Some((begin, rest)) = example.split_once('<') else {
        return text == example;
    };
    let (word, end) = rest.split_once('>').expect("a word");
    let inner = text
        .strip_prefix(begin)
        .and_then(|rest| rest.strip_suffix(end));
    let Some(inner) = inner else { return false };
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_uuid = |text: &str| {
        let parts: Vec<usize> = text.split('-').map(str::len).collect();
        parts == [8, 4, 4, 4, 12] && text.split('-').all(is_hex)
    };
    let is_id = |kind: &str| {
        let parts: Vec<&str> = inner.split('_').collect();
        matches!(parts[..], [first, time, more] if first == kind && time.parse::<u64>().is_ok() && !more.is_empty())
    };
    match word {
        "token" => is_uuid(inner),
        "file" => inner.strip_suffix(".jpg").is_some_and(is_uuid),
        "message" => inner.starts_with("3EB0") && is_hex(inner),
        "campaign" | "list" => is_id(word),
        "time" => inner.len() == 24 && inner.ends_with('Z') && inner.as_bytes()[10] == b'T',
        _ => panic!("an unknown word: {word}"),
    }
}

/// What the commands name that only the test knows.
struct Names {
    rig: Rig,
    token: String,
    campaign: String,
    list: String,
    receiver: String,
    link: String,
}

impl Names {
    /// A text of the document with our names in place of its.
    fn filled(&self, text: &str) -> String {
        let host = format!("http://{}", self.rig.addr());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/turned.jpg");
        text.replace("http://localhost:3000", &host)
            .replace("https://yourdomain.com", &host)
            .replace("your-master-api-key-from-env", MASTER)
            .replace("your_api_token", &self.token)
            .replace("campaign_1234567890_abc123", &self.campaign)
            .replace("list_1234567890_abc123", &self.list)
            .replace("https://your-webhook-receiver.com/events", &self.receiver)
            .replace("{receiver}", &self.receiver)
            .replace("https://picsum.photos/200", &self.link)
            .replace("/path/to/your/file.jpg", file.to_str().expect("a path"))
    }

    /// Makes what the next command presupposes.
    async fn prepare(&mut self, word: &str) {
        let people = json!([
            { "number": "6281234567890", "name": "John Doe" },
            { "number": "6289876543210", "name": "Jane Smith" }
        ]);
        let post = async |path: &str, body: Value| {
            let call = self.rig.post(path, &body).bearer(&self.token);
            let id = call.send().await.expect(201)["id"].clone();
            id.as_str().expect("an id").to_owned()
        };
        match word {
            "PAIR" => self.token = self.rig.pair("mySession", "6281200002999").await,
            "SLOW" => {
                let body = json!({ "name": "Slow", "message": { "content": "x" }, "recipients": people,
                    "settings": { "delayBetweenMessages": 600_000 } });
                let id = post("/api/v1/campaigns", body).await;
                let start = format!("/api/v1/campaigns/{id}/start");
                let start = self.rig.post(&start, &json!({})).bearer(&self.token);
                start.send().await.expect(200);
                self.campaign = id;
            }
            "VIP" => {
                let body = json!({ "name": "VIP Customers", "description": "High-value customers",
                    "tags": ["VIP", "Premium"], "recipients": people });
                post("/api/v1/recipient-lists", body).await;
            }
            "LIST" => {
                let body = json!({ "name": "Again", "recipients": ["6281234567890"] });
                self.list = post("/api/v1/recipient-lists", body).await;
            }
            _ => panic!("an unknown word: {word}"),
        }
    }

    /// Runs a command; answers status and body.
    async fn run(&self, command: &str) -> (u16, String) {
        let command = self.filled(command);
        let output = tokio::process::Command::new("sh")
            .args(["-c", &command])
            .env("CURL_HOME", self.rig.folder.path())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("a shell");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{command}: {:?}", output.status);
        let (body, status) = text.rsplit_once('\n').expect("a status at the end");
        (status.parse().expect("a status"), body.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_commands_run_as_printed_and_answer_what_it_shows() {
    let shelf = Shelf::new().await;
    let rig = Rig::with(|config| config.allow_private = vec!["127.0.0.0/8".into()]).await;
    // So that the commands stay as they are printed.
    let options = "silent\nshow-error\nwrite-out = \"\\n%{http_code}\"\n";
    std::fs::write(rig.folder.path().join(".curlrc"), options).expect("written");
    let mut names = Names {
        rig,
        token: String::new(),
        campaign: String::new(),
        list: String::new(),
        receiver: Sink::new().await.url,
        link: shelf.link("turned.jpg"),
    };
    let mut run = 0;
    for block in COMMANDS.split("\n\n").skip(1) {
        let (command, answer) = block.split_once("\n=> ").expect("an answer");
        let command = match command.strip_prefix("@ ") {
            Some(rest) => {
                let (word, command) = rest.split_once('\n').expect("a command");
                names.prepare(word).await;
                command
            }
            None => command,
        };
        let (status, example) = answer.split_once('\n').expect("an example");
        let (got, body) = names.run(command).await;
        assert_eq!(got.to_string(), status, "{command}\n{body}");
        assert!(body.ends_with('\n'), "{command}: {body:?}");
        let answer: Json = serde_json::from_str(&body).expect("JSON");
        let example: Json = serde_json::from_str(&names.filled(example)).expect("JSON");
        if let Err(why) = matches(&answer, &example) {
            panic!("{command}\n{why}");
        }
        let id = serde_json::from_str::<Value>(&body).expect("JSON")["id"].clone();
        match id.as_str() {
            Some(id) if id.starts_with("campaign_") => names.campaign = id.to_owned(),
            Some(id) if id.starts_with("list_") => names.list = id.to_owned(),
            _ => {}
        }
        run += 1;
    }
    assert_eq!(run, 27, "all that it prints");
    // What was sent was read by somebody.
    for text in [
        "Hello from the API!",
        "First message",
        "Hello John!",
        "This is a legacy message.",
        "Hello from a form",
    ] {
        let got = names.rig.received("6281234567890").await;
        assert_eq!(
            got.iter().filter(|message| message["text"] == text).count(),
            1,
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_example_of_a_campaign_is_saved_and_not_sent() {
    let rig = Rig::new().await;
    let token = rig.pair("mySession", "6281200002998").await;
    let body = r#"{ "name": "Product Launch Campaign", "sessionId": "mySession", "scheduledAt": "2024-12-20T10:00:00.000Z", "message": { "type": "text", "content": "Hello {{Name}}, check out our new product at {{Company}}!" }, "recipients": [ { "number": "6281234567890", "name": "John Doe", "companyName": "Tech Corp" } ], "settings": { "delayBetweenMessages": 3000, "maxRetries": 3 } }"#;
    let made = rig.post(
        "/api/v1/campaigns",
        &serde_json::from_str(body).expect("JSON"),
    );
    let made = made.bearer(&token).send().await.expect(201);
    assert_eq!(
        (&made["status"], &made["scheduledAt"]),
        (&json!("draft"), &json!("2024-12-20T10:00:00.000Z"))
    );
    let note = made["note"].as_str().expect("a note");
    let start = format!(
        "/api/v1/campaigns/{}/start",
        made["id"].as_str().expect("an id")
    );
    assert!(note.contains(&start), "{note}");
    rig.post(&start, &json!({}))
        .bearer(&token)
        .send()
        .await
        .expect(200);
    let got = rig.wait_for_received("6281234567890", 1).await;
    assert_eq!(
        got[0]["text"],
        "Hello John Doe, check out our new product at Tech Corp!"
    );
}

#[test]
fn keys_out_of_order_and_other_texts_are_seen() {
    let json = |text: &str| serde_json::from_str::<Json>(text).expect("JSON");
    let example = json(r#"{ "a": "x", "b": [ { "c": null } ], "t": "<time>" }"#);
    let good =
        r#"{ "z": 1, "a": "x", "b": [ { "c": null, "d": 2 } ], "t": "2024-12-20T10:00:00.000Z" }"#;
    assert!(matches(&json(good), &example).is_ok());
    for (part, other) in [
        (r#""a": "x""#, r#""a": "y""#),
        (r#""c": null"#, r#""c": 1"#),
        ("2024-12-20T10", "soon"),
        (
            r#""a": "x", "b": [ { "c": null, "d": 2 } ]"#,
            r#""b": [ { "c": null } ], "a": "x""#,
        ),
        (r#"[ { "c": null, "d": 2 } ]"#, "[]"),
    ] {
        let wrong = good.replace(part, other);
        assert!(
            wrong != good && matches(&json(&wrong), &example).is_err(),
            "{wrong}"
        );
    }
}
