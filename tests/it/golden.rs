//! Transcripts: conversations with a dialect, replayed to the byte.
//!
//! Each folder of `tests/golden` is a dialect, each file a conversation with a gateway of its own. A file
//! holds exchanges, which begin with a line `### TITLE`. An exchange is a request as it goes over the
//! wire, an empty line, `=> STATUS`, and the headers and the body that must come back. In place of
//! requests there are
//!
//! - `WAIT SESSION STATUS`: waits for a session.
//! - `DELIVERY`: waits for what the webhook at `{receiver}` gets next; what follows `=>` is that request.
//!
//! A header `keep: NAME` of a request is not sent: the `id` of its answer is `{NAME}` from there on. It
//! is for what the network makes up; all else repeats, since time stands still and identifiers are seeded.
//! A header `pack: NAME = FILE` puts a file of `tests/files/import` into a tar archive, which is the body.
//! `{master}` is the master key, `{version}` the program's version, `{right}` a signature that is right and
//! other each time.
//!
//! JSON is shown with its keys in their order, and with line breaks that are not on the wire, where it
//! must be compact, and end with one in answers; other bodies are shown as they are, with `␍` for a carriage return and `␊` for a
//! line break at the end.
//! Where the words before the first exchange say that a setting is another, it is.
//! `UPDATE_GOLDEN=1 cargo test --features sandbox golden` writes the answers anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use warung::config::{Config, PublicSessions};
use warung::ids::IdSource;
use warung::sandbox::{NetworkOptions, Sandbox};
use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::support::{Call, Delivered, MASTER, Rig, Sink, eventually, hmac, option};

/// The secret of every webhook of a transcript.
const SECRET: &str = "a secret of ours";

/// Headers that say nothing, or what follows from the rest.
const LEFT_OUT: &[&str] = &["content-length", "date", "host", "x-content-type-options"];

/// One exchange of a transcript.
struct Exchange {
    title: String,
    request: String,
    /// What comes back, as it is written in the file; empty for a `WAIT`.
    answer: String,
}

fn parse(text: &str) -> (String, Vec<Exchange>) {
    let text = format!("\n{text}");
    let mut blocks = text.split("\n### ");
    let intro = blocks.next().unwrap_or_default()[1..].to_owned();
    let exchanges = blocks.map(|block| {
        let (title, rest) = block.split_once('\n').expect("a title");
        let (request, answer) = rest.split_once("\n=> ").unwrap_or((rest, ""));
        Exchange {
            title: title.to_owned(),
            request: request.trim_end().to_owned(),
            answer: answer.trim_end().to_owned(),
        }
    });
    (intro, exchanges.collect())
}

fn write(intro: &str, exchanges: &[Exchange]) -> String {
    let mut blocks = vec![intro.to_owned()];
    for exchange in exchanges {
        let mut block = format!("### {}\n{}\n", exchange.title, exchange.request);
        if !exchange.answer.is_empty() {
            block += &format!("\n=> {}\n", exchange.answer);
        }
        blocks.push(block);
    }
    blocks.join("\n")
}

/// What a conversation has so far.
struct Talk {
    rig: Rig,
    sink: Sink,
    /// How many deliveries were shown.
    delivered: usize,
    /// What the network made up, by the name that stands for it.
    kept: BTreeMap<String, String>,
}

impl Talk {
    async fn begin(intro: &str) -> Self {
        let clock = Clock::manual(Timestamp::from_secs(1_700_000_000));
        let options = NetworkOptions {
            clock: clock.clone(),
            seed: Some([7; 32]),
            ..NetworkOptions::default()
        };
        let network = Sandbox::open(options).await.expect("a network");
        let guard = Config::default().guard;
        let open = intro.contains("where `public_sessions` is open");
        let deps = Deps {
            clock,
            ids: IdSource::seeded(1),
            ..Deps::default()
        };
        Self {
            rig: Rig::on_network(network, deps, |config| {
                config.guard = guard;
                if open {
                    config.public_sessions = PublicSessions::Open;
                }
            })
            .await,
            sink: Sink::new().await,
            delivered: 0,
            kept: BTreeMap::new(),
        }
    }

    /// What stands for what: the name in a transcript, and the value on the wire.
    fn names(&self) -> Vec<(String, &str)> {
        let kept = self.kept.iter();
        let kept = kept.map(|(name, value)| (format!("{{{name}}}"), value.as_str()));
        let fixed = [("{master}", MASTER), ("{receiver}", &*self.sink.url)];
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value));
        fixed.into_iter().chain(kept).collect()
    }

    /// A text of a transcript as it goes over the wire.
    fn filled_in(&self, text: &str) -> String {
        let names = self.names();
        let filled = |text: String, (name, value): &(String, &str)| text.replace(name, value);
        names.iter().fold(text.to_owned(), filled)
    }

    /// A text from the wire as a transcript shows it.
    fn named(&self, text: &str) -> String {
        let names = self.names();
        let named = |text: String, (name, value): &(String, &str)| text.replace(value, name);
        names.iter().fold(text.to_owned(), named)
    }

    /// Has an exchange; answers what came back, as a transcript shows it.
    async fn have(&mut self, request: &str) -> String {
        if let Some(wait) = request.strip_prefix("WAIT ") {
            let (session, status) = wait.split_once(' ').expect("two words");
            self.rig.wait_for_status(session, status).await;
            return String::new();
        }
        if request == "DELIVERY" {
            let delivery = eventually("another delivery", || async {
                self.sink.got().await.get(self.delivered).cloned()
            })
            .await;
            self.delivered += 1;
            return self.shown_delivery(delivery);
        }
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut lines = head.lines();
        let line = lines.next().expect("a request line");
        let line = self.filled_in(line);
        let (method, path) = line.split_once(' ').expect("two words");
        let mut call = Call::new(self.rig.addr(), method, path);
        let (mut keep, mut archive) = (None, Vec::new());
        for line in lines {
            match line.split_once(": ").expect("a header") {
                ("keep", name) => keep = Some(name.to_owned()),
                ("pack", file) => archive.extend(packed(file)),
                (name, value) => call = call.header(name, &self.filled_in(value)),
            }
        }
        let body = self.filled_in(body);
        // A form's lines end as its standard says.
        let form = head.contains("multipart/form-data");
        let body = if form {
            body.replace('\n', "\r\n")
        } else {
            body
        };
        let body = match archive.is_empty() {
            true => body.into_bytes(),
            false => [archive, vec![0; 1024]].concat(),
        };
        let answer = call.body(body).send().await;
        if let Some(name) = keep {
            let json = answer.json();
            let id = json["id"]
                .as_str()
                .unwrap_or_else(|| panic!("no id: {json}"));
            self.kept.insert(name, id.to_owned());
        }
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let head = format!("{}\n", answer.status);
        let is_json = answer.headers.get("content-type");
        let is_json = is_json.is_some_and(|kind| kind.starts_with("application/json"));
        let body = match is_json {
            true if !answer.body.is_empty() => {
                let line = answer.body.strip_suffix(b"\n");
                line.unwrap_or_else(|| panic!("no line break after the JSON of {request}"))
            }
            _ => &answer.body[..],
        };
        self.named(&shown(head, &answer.headers, body))
    }

    fn shown_delivery(&self, mut delivery: Delivered) -> String {
        // The signatures of what the network made up are others each time.
        let text = String::from_utf8_lossy(&delivery.body);
        if self.named(&text) != text {
            let timestamp = delivery.headers["x-webhook-timestamp"].clone();
            let dated = [timestamp.as_bytes(), b".", &delivery.body];
            for (name, parts) in [
                ("x-webhook-signature", &dated[2..]),
                ("x-webhook-signature-v2", &dated),
            ] {
                let right = hmac(SECRET, parts);
                let header = delivery.headers.get_mut(name).expect("it is signed");
                assert!(header.ends_with(&right), "{name}: {header}");
                *header = header.replace(&right, "{right}");
            }
        }
        let head = format!("{} {}\n", delivery.method, delivery.path);
        self.named(&shown(head, &delivery.headers, &delivery.body))
    }
}

/// A file of `tests/files/import` as a tar archive holds it: `NAME IN THE ARCHIVE = FILE`.
fn packed(named: &str) -> Vec<u8> {
    let (name, file) = named.split_once(" = ").expect("a name and a file");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/import");
    let bytes = std::fs::read(folder.join(file)).expect(file);
    let mut head = vec![0; 512];
    for (at, text) in [
        (0, name),
        (100, "0000600"),
        (124, &format!("{:011o}", bytes.len())),
        (148, "        "),
        (156, "0"),
        (257, "ustar\x0000"),
    ] {
        head[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let fill = vec![0; bytes.len().next_multiple_of(512) - bytes.len()];
    [head, bytes, fill].concat()
}

/// The first line, headers and a body, as a transcript shows them.
fn shown(mut text: String, headers: &BTreeMap<String, String>, body: &[u8]) -> String {
    let version = concat!("Warung/", env!("CARGO_PKG_VERSION"));
    for (name, value) in headers {
        let value = value.replace(version, "Warung/{version}");
        if !LEFT_OUT.contains(&name.as_str()) {
            text += &format!("{name}: {value}\n");
        }
    }
    if !body.is_empty() {
        let kind = headers.get("content-type").map_or("", String::as_str);
        text += &format!("\n{}", shown_body(kind, body));
    }
    text.trim_end_matches('\n').to_owned()
}

fn shown_body(kind: &str, body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        let digest = Sha256::digest(body);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        return format!("({} bytes, SHA-256 {digest})", body.len());
    };
    if !kind.starts_with("application/json") {
        let text = text.replace('\r', "␍");
        // What ends a file, or the exchange, is not seen there.
        let last = text.strip_suffix('\n').map(|rest| format!("{rest}␊"));
        return last.unwrap_or(text);
    }
    let spread = spread(text);
    assert_eq!(compact(&spread), text, "JSON on the wire is compact");
    spread
}

/// JSON with a line for each value; the order of its keys and how values are written stay.
fn spread(json: &str) -> String {
    let (mut text, mut depth) = (String::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        if quoted {
            text.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        let line = |depth: usize| format!("\n{}", "  ".repeat(depth));
        match c {
            '{' | '[' if matches!(rest.peek(), Some('}' | ']')) => {
                text.extend([c].into_iter().chain(rest.next()));
            }
            '{' | '[' => {
                depth += 1;
                text += &format!("{c}{}", line(depth));
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                text += &format!("{}{c}", line(depth));
            }
            ',' => text += &format!(",{}", line(depth)),
            ':' => text += ": ",
            _ => {
                quoted = c == '"';
                text.push(c);
            }
        }
    }
    text
}

/// JSON without the spaces between its parts.
fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let part = |c: &char| {
        if quoted {
            quoted = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        quoted = *c == '"';
        !c.is_ascii_whitespace()
    };
    json.chars().filter(part).collect()
}

async fn replay(file: PathBuf) {
    let text = std::fs::read_to_string(&file).expect("a transcript");
    let (intro, mut exchanges) = parse(&text);
    assert!(!exchanges.is_empty(), "{}", file.display());
    let update = option("UPDATE_GOLDEN").is_some();
    let mut talk = Talk::begin(&intro).await;
    for exchange in &mut exchanges {
        let answer = talk.have(&exchange.request).await;
        if update {
            exchange.answer = answer;
            continue;
        }
        let place = format!("{}: {}", file.display(), exchange.title);
        assert!(
            answer == exchange.answer,
            "{place}\n=> {}\n\nand not\n\n=> {answer}",
            exchange.answer
        );
    }
    if update {
        std::fs::write(&file, write(&intro, &exchanges)).expect("written");
    } else {
        assert_eq!(write(&intro, &exchanges), text, "{}", file.display());
    }
}

/// The transcripts of all dialects.
pub fn transcripts() -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path())
    };
    let dialects = entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    let mut files: Vec<_> = dialects.flat_map(|dialect| entries(&dialect)).collect();
    files.sort();
    files
}

/// The bodies of what webhooks get in the transcripts.
pub fn deliveries() -> Vec<serde_json::Value> {
    let mut bodies = Vec::new();
    for file in transcripts() {
        let text = std::fs::read_to_string(&file).expect("a transcript");
        let (_, exchanges) = parse(&text);
        for exchange in exchanges.iter().filter(|e| e.request == "DELIVERY") {
            let (_, body) = exchange.answer.split_once("\n\n").expect("a body");
            bodies.push(serde_json::from_str(body).expect("JSON"));
        }
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transcript_replays() {
    let files = transcripts();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        replay(file).await;
    }
}

#[test]
fn json_is_shown_so_that_its_bytes_can_be_told() {
    for json in [
        r#"{"b":1.50,"a":[],"c":{},"d":[1,{"e":null}]}"#,
        r#"{"a \" , {":"\\","b":": [ ","c":"\\\""}"#,
        "null",
        "[]",
    ] {
        assert_eq!(compact(&spread(json)), json);
    }
    assert_eq!(
        spread(r#"{"b":[1,2],"a":{}}"#),
        "{\n  \"b\": [\n    1,\n    2\n  ],\n  \"a\": {}\n}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transcripts_hold_a_delivery_of_every_event() {
    let told = deliveries();
    for name in warung::domain::event::EventKind::ALL.map(|kind| kind.as_str()) {
        assert!(told.iter().any(|body| body["event"] == *name), "{name}");
    }
}
