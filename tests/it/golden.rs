//! Transcripts: conversations with a dialect, replayed to the byte of their JSON.
//!
//! A file holds exchanges separated by lines of `###`. An exchange is a request as it goes over the
//! wire, an empty line, `=> STATUS`, and the JSON that must come back. `WAIT SESSION STATUS` waits
//! for a session. Time stands still and identifiers are seeded, so that answers repeat;
//! `UPDATE_GOLDEN=1 cargo test --features sandbox golden` writes the answers anew.

use std::path::{Path, PathBuf};

use serde_json::Value;
use warung::ids::IdSource;
use warung::server::Deps;
use warung::time::{Clock, Timestamp};

use crate::support::{Call, MASTER, Rig, option};

/// One exchange of a transcript.
struct Exchange {
    title: String,
    request: String,
    status: u16,
    answer: Value,
}

fn parse(text: &str, file: &Path) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    for block in text.split("###").skip(1) {
        let (title, rest) = block.split_once('\n').expect("a title");
        let (request, answer) = rest.split_once("\n=> ").unwrap_or((rest, "0"));
        let (status, body) = answer.split_once('\n').unwrap_or((answer, ""));
        exchanges.push(Exchange {
            title: title.trim().to_owned(),
            request: request.trim().to_owned(),
            status: status
                .trim()
                .parse()
                .unwrap_or_else(|_| panic!("{}: {title}", file.display())),
            answer: serde_json::from_str(body.trim()).unwrap_or(Value::Null),
        });
    }
    exchanges
}

fn write(exchanges: &[Exchange], intro: &str) -> String {
    let mut text = intro.to_owned();
    for exchange in exchanges {
        text += &format!("### {}\n{}\n", exchange.title, exchange.request);
        if exchange.status > 0 {
            let answer = serde_json::to_string_pretty(&exchange.answer).expect("JSON");
            text += &format!("\n=> {}\n{answer}\n", exchange.status);
        }
        text.push('\n');
    }
    text
}

fn call(rig: &Rig, request: &str) -> Call {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let (method, path) = lines
        .next()
        .expect("a request line")
        .split_once(' ')
        .expect("two words");
    let mut call = Call::new(rig.addr(), method, path);
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header");
        call = call.header(name, &value.replace("{master}", MASTER));
    }
    // A form's lines end as its standard says.
    let form = head.contains("multipart/form-data");
    call.body(if form {
        body.replace('\n', "\r\n")
    } else {
        body.to_owned()
    })
}

async fn replay(file: PathBuf) {
    let text = std::fs::read_to_string(&file).expect("a transcript");
    let intro = text.split("###").next().unwrap_or_default().to_owned();
    let mut exchanges = parse(&text, &file);
    let deps = Deps {
        clock: Clock::manual(Timestamp::from_secs(1_700_000_000)),
        ids: IdSource::seeded(1),
        ..Deps::default()
    };
    let rig = Rig::made_of(deps, |_| {}).await;
    let update = option("UPDATE_GOLDEN").is_some();
    for exchange in &mut exchanges {
        if let Some(wait) = exchange.request.strip_prefix("WAIT ") {
            let (session, status) = wait.split_once(' ').expect("two words");
            rig.wait_for_status(session, status).await;
            continue;
        }
        let answer = call(&rig, &exchange.request).send().await;
        let body = if answer.body.is_empty() {
            Value::Null
        } else {
            answer.json()
        };
        if update {
            (exchange.status, exchange.answer) = (answer.status, body);
            continue;
        }
        let place = format!("{}: {}", file.display(), exchange.title);
        assert_eq!(
            (answer.status, &body),
            (exchange.status, &exchange.answer),
            "{place}"
        );
    }
    if update {
        std::fs::write(&file, write(&exchanges, &intro)).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transcript_replays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files = Vec::new();
    for dialect in ["v1", "legacy", "admin"] {
        let entries = std::fs::read_dir(folder.join(dialect)).expect("transcripts");
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        replay(file).await;
    }
}
