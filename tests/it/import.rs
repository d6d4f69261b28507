//! Moving in from Super-Light: folders as its two layouts leave them (`tests/files/import/super_light/make.mjs` makes them), by
//! the command and over HTTP. What becomes of the accounts in them is `import_baileys.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Call, MASTER, Rig, program};

/// A folder of the fixtures, copied to where it may be changed.
pub fn copy(name: &str) -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files/import/super_light")
        .join(name);
    let folder = tempfile::tempdir().expect("a folder");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(folder.path())
        .status();
    assert!(copied.expect("cp runs").success());
    folder
}

/// Runs `warung import` on the data of a rig; answers whether it succeeded, and what it printed.
async fn import(rig: &Rig, folder: &Path, words: &[&str]) -> (bool, String) {
    let (data, folder) = (rig.config.data.clone(), folder.to_owned());
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let run = move || {
        let output = Command::new(program())
            .arg("import")
            .arg(folder)
            .args(words)
            .args(["--master-key", MASTER, "--log", "error"])
            .arg("--data")
            .arg(data)
            .output();
        let output = output.expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

/// A folder as a tar archive, as people make them.
pub fn tar(folder: &Path) -> Vec<u8> {
    let output = Command::new("tar")
        .arg("-C")
        .arg(folder)
        .args(["-cf", "-", "."])
        .output();
    let output = output.expect("tar runs");
    assert!(output.status.success());
    output.stdout
}

pub fn post(rig: &Rig, query: &str, archive: Vec<u8>) -> Call {
    let path = format!("/admin/import{query}");
    let call = Call::new(rig.addr(), "POST", &path).master();
    call.header("content-type", "application/x-tar")
        .body(archive)
}

async fn get(rig: &Rig, token: &str, path: &str) -> Value {
    rig.get(path).bearer(token).send().await.expect(200)
}

async fn sessions(rig: &Rig) -> Vec<Value> {
    let all = rig
        .get("/api/v1/sessions")
        .master()
        .send()
        .await
        .expect(200);
    all.as_array().expect("an array").clone()
}

/// What is stored, as far as an import could change it: without what changes by itself.
async fn everything(rig: &Rig) -> Value {
    let mut all = Vec::new();
    for session in sessions(rig).await {
        let token = session["token"].as_str().expect("a token").to_owned();
        let id = session["sessionId"].as_str().expect("a name").to_owned();
        let mut found = vec![json!(id), json!(token)];
        for path in [
            "/api/v1/campaigns",
            "/api/v1/recipient-lists",
            "/api/v1/media",
        ] {
            found.push(get(rig, &token, path).await);
        }
        found.push(get(rig, &token, &format!("/api/v1/webhook?sessionId={id}")).await);
        all.push(Value::from(found));
    }
    Value::from(all)
}

const KASIR: &str = "11111111-1111-4111-8111-111111111111";
const GUDANG: &str = "22222222-2222-4222-8222-222222222222";
const TOKO: &str = "55555555-5555-4555-8555-555555555555";
const RUNNING: &str = "campaign_1752480000000_aaaaaaaa";

/// What the older folder makes, wherever it was taken in.
async fn has_the_older_folder(rig: &Rig) {
    let names: Vec<_> = sessions(rig)
        .await
        .iter()
        .map(|s| s["sessionId"].clone())
        .collect();
    assert_eq!(names, ["gudang", "kasir"]);
    for token in [KASIR, GUDANG] {
        let files = get(rig, token, "/api/v1/media").await;
        assert_eq!(files["files"].as_array().expect("files").len(), 1);
        let id = "33333333-3333-4333-8333-333333333333.png";
        assert_eq!(files["files"][0]["mediaId"], id);
        let file = rig.get(&format!("/media/{id}")).bearer(token).send().await;
        let image = include_bytes!("../files/alpha.png");
        assert!(file.status == 200 && file.body[..] == image[..]);
    }
    let list = get(
        rig,
        KASIR,
        "/api/v1/recipient-lists/list_1752390000000_cccccccc",
    )
    .await;
    assert_eq!(list["name"], "Langganan");
    assert_eq!(
        (&list["usageCount"], &list["tags"]),
        (&json!(2), &json!(["vip"]))
    );
    assert_eq!(list["recipients"][0]["companyName"], "PT Maju");
    assert_eq!(list["recipients"][0]["customFields"]["kota"], "Bandung");
    let done = get(
        rig,
        KASIR,
        "/api/v1/campaigns/campaign_1752480000001_bbbbbbbb",
    )
    .await;
    assert_eq!(
        (&done["status"], &done["name"]),
        (&json!("completed"), &json!("Katalog"))
    );
    assert_eq!(
        done["message"]["mediaId"],
        "33333333-3333-4333-8333-333333333333.png"
    );
    assert_eq!(done["statistics"]["sent"], 1);
    assert_eq!(done["statistics"]["failed"], 1);
    assert_eq!(done["completedAt"], "2025-07-14T08:10:00.000Z");
    let stopped = get(rig, GUDANG, &format!("/api/v1/campaigns/{RUNNING}")).await;
    assert_eq!(stopped["status"], "paused");
    assert_eq!(
        stopped["message"]["content"],
        "<p>Halo {{Name}} &amp; keluarga</p>"
    );
    assert_eq!(stopped["createdAt"], "2025-07-14T08:00:00.000Z");
    let said = stopped["detail"].as_str().expect("why");
    assert!(
        said.contains("resume it when the other program is stopped"),
        "{said}"
    );
    let statistics = &stopped["statistics"];
    // The number that was there twice counts once; the row that is none has failed.
    assert_eq!(
        (&statistics["total"], &statistics["sent"]),
        (&json!(5), &json!(2))
    );
    assert_eq!(
        (&statistics["pending"], &statistics["failed"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_layout_comes_as_a_whole_and_a_second_time_changes_nothing() {
    let mut rig = Rig::new().await;
    rig.stop().await;
    let folder = copy("older");
    let (good, dry) = import(&rig, folder.path(), &["--dry-run"]).await;
    assert!(good && dry.contains("this was a dry run"), "{dry}");
    rig.restart().await;
    assert_eq!(sessions(&rig).await.len(), 0);
    rig.stop().await;
    let (good, said) = import(&rig, folder.path(), &[]).await;
    assert!(good, "{said}");
    // The report of a dry run is that of the import.
    let lines = |text: &str| -> Vec<String> {
        let line = |line: &&str| {
            ["taken", "left out", "note"]
                .iter()
                .any(|word| line.starts_with(word))
        };
        text.lines().filter(line).map(str::to_owned).collect()
    };
    assert_eq!(lines(&dry), lines(&said));
    for word in [
        "taken     session gudang: has no linked phone: pair it here; keeps its token",
        "taken     session kasir: goes on without a new QR code; keeps its token",
        "note      MASTER_API_KEY: not taken over",
        "note      WEBHOOK_URL: not taken over",
        "sending there, so it is paused",
        "rows that are no phone numbers and count as failed: 1",
        "list list_1752390000000_cccccccc (Langganan): people: 2; for session kasir",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    for secret in [
        KASIR,
        GUDANG,
        "rahasia-toko",
        "Halo",
        "hooks.example.org",
        "6285777000001",
    ] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    rig.restart().await;
    has_the_older_folder(&rig).await;
    let before = everything(&rig).await;
    rig.stop().await;
    let (good, again) = import(&rig, folder.path(), &[]).await;
    assert!(good && again.contains("nothing was changed"), "{again}");
    assert!(
        again.contains("left out  session kasir: is here already"),
        "{again}"
    );
    rig.restart().await;
    assert_eq!(everything(&rig).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_written_to_is_not_written_to_again() {
    let rig = Rig::new().await;
    let folder = copy("older");
    post(&rig, "", tar(folder.path())).send().await.expect(200);
    has_the_older_folder(&rig).await;
    let scan = json!({ "sessionId": "gudang", "phone": "6281200000779" });
    let again = rig
        .post("/api/v1/sessions", &json!({ "sessionId": "gudang" }))
        .master();
    assert_eq!(again.send().await.expect(201)["token"], GUDANG);
    rig.sandbox("POST", "/sandbox/scan", &scan).await;
    rig.wait_for_status("gudang", "CONNECTED").await;
    let path = format!("/api/v1/campaigns/{RUNNING}/resume");
    rig.post(&path, &json!({}))
        .bearer(GUDANG)
        .send()
        .await
        .expect(200);
    let done = crate::campaigns::wait_for(&rig, GUDANG, RUNNING, "completed").await;
    assert_eq!(done["statistics"]["sent"], 4, "{done}");
    // Ani and Dedi were written to there; Budi had failed once, Cici was waiting.
    for (number, many) in [
        ("6285777000001", 0),
        ("6285777000002", 1),
        ("6285777000003", 1),
        ("6285777000004", 0),
    ] {
        let texts = rig.received(number).await;
        assert_eq!(texts.len(), many, "{number}: {texts:?}");
    }
    rig.assert_all_understood().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_layout_comes_into_a_running_gateway_by_the_command() {
    let mut rig = Rig::new().await;
    let folder = copy("newer");
    let (good, said) = import(&rig, folder.path(), &[]).await;
    assert!(good, "{said}");
    for word in [
        "taken     webhook of session toko",
        "left out  webhook of session gudang: Webhook URL must be a valid HTTPS URL",
        "left out  database: messages of its inbox (90)",
        "left out  database: people of the dashboard (1)",
        "left out  received files: files of its inbox (1)",
        "its file comes from a link",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // The token is that of the log, not the one in the database itself.
    let hook = get(&rig, TOKO, "/api/v1/webhook?sessionId=toko").await;
    assert_eq!(hook["url"], "https://hooks.example.org/toko");
    assert_eq!(
        hook["events"],
        json!(["session.update", "message.received"])
    );
    let files = get(&rig, TOKO, "/api/v1/media").await;
    assert_eq!(
        files["files"][0]["mediaId"],
        "44444444-4444-4444-8444-444444444444.upload.png"
    );
    let planned = get(
        &rig,
        TOKO,
        "/api/v1/campaigns/campaign_1766000000001_eeeeeeee",
    )
    .await;
    assert_eq!(planned["status"], "paused");
    assert_eq!(planned["scheduledAt"], "2030-01-01T02:00:00.000Z");
    let list = get(
        &rig,
        TOKO,
        "/api/v1/recipient-lists/list_1766000000002_ffffffff",
    )
    .await;
    assert_eq!(list["recipientCount"], 1);
    // The linked phone is there, and its connection is tried.
    let toko = sessions(&rig)
        .await
        .into_iter()
        .find(|s| s["sessionId"] == "toko");
    assert_eq!(toko.expect("there")["token"], TOKO);
    let arriving = rig.config.data.join("media/arriving");
    assert_eq!(std::fs::read_dir(arriving).expect("a folder").count(), 0);
    let before = everything(&rig).await;
    let (good, again) = import(&rig, folder.path(), &[]).await;
    assert!(good && again.contains("nothing was changed"), "{again}");
    assert_eq!(everything(&rig).await, before);
    // It is all stored.
    rig.restart().await;
    assert_eq!(everything(&rig).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_gives_way_only_when_that_is_asked_for() {
    let mut rig = Rig::new().await;
    let old = rig.pair("kasir", "6281200000778").await;
    let folder = copy("older");
    let answer = post(&rig, "", tar(folder.path())).send().await.expect(200);
    assert_eq!(answer["changed"], true, "gudang came: {answer}");
    let kasir = get(&rig, &old, "/api/v1/sessions/kasir").await;
    assert_eq!(kasir["status"], "CONNECTED");
    let lists = get(&rig, &old, "/api/v1/recipient-lists").await;
    assert_eq!(lists, json!([]));
    let answer = post(&rig, "?replace=true&dryRun=1", tar(folder.path()));
    let answer = answer.send().await.expect(200);
    assert_eq!(
        (&answer["changed"], &answer["dryRun"]),
        (&json!(false), &json!(true))
    );
    // The phone is not told, and somebody must be.
    let notes = answer["lines"].as_array().expect("lines").iter();
    let notes: Vec<_> = notes
        .filter(|line| line["outcome"] == "note" && line["about"] == "session kasir")
        .map(|line| line["detail"].as_str().expect("a sentence"))
        .filter(|said| !said.starts_with("what the folder does not have"))
        .collect();
    let said = notes[0];
    let words = "stays in its phone's list of linked devices until it is removed there";
    assert!(notes.len() == 1 && said.contains(words), "{answer}");
    get(&rig, &old, "/api/v1/sessions/kasir").await;
    let answer = post(&rig, "?replace=true", tar(folder.path()))
        .send()
        .await
        .expect(200);
    assert_eq!(answer["changed"], true);
    let gone = rig.get("/api/v1/sessions/kasir").bearer(&old).send().await;
    assert_eq!(gone.status, 403);
    has_the_older_folder(&rig).await;
    rig.restart().await;
    has_the_older_folder(&rig).await;
}

/// What is damaged, and what is said of it.
type Damage = (&'static str, fn(&Path), &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_folder_gives_its_report_and_changes_nothing() {
    let rig = Rig::new().await;
    fn write(root: &Path, name: &str, bytes: &[u8]) {
        std::fs::write(root.join(name), bytes).expect("written");
    }
    fn cut(path: PathBuf) {
        let bytes = std::fs::read(&path).expect("there");
        std::fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
    }
    let damages: [Damage; 10] = [
        (
            "older",
            |root| cut(root.join("auth_info_baileys/kasir/creds.json")),
            "account of session kasir",
        ),
        (
            "older",
            |root| cut(root.join("session_tokens.enc")),
            "session_tokens.enc",
        ),
        (
            "older",
            |root| cut(root.join("campaigns/campaign_1752480000000_aaaaaaaa.json")),
            "campaign ",
        ),
        (
            "older",
            |root| {
                write(
                    root,
                    ".env",
                    format!("TOKEN_ENCRYPTION_KEY={}", "ab".repeat(32)).as_bytes(),
                )
            },
            "another TOKEN_ENCRYPTION_KEY",
        ),
        (
            "older",
            |root| write(root, ".env", b"PORT=1"),
            "has no TOKEN_ENCRYPTION_KEY",
        ),
        (
            "older",
            |root| {
                write(
                    root,
                    "recipient_lists/list_1.json",
                    b"{\"id\":\"list_1\",\"recipients\":true}",
                )
            },
            "list list_1",
        ),
        (
            "older",
            |root| write(root, "campaigns/foreign.json", b"{\"id\":\"x\"}"),
            "campaign foreign",
        ),
        (
            "newer",
            |root| {
                // In its log the tables that are taken would still be whole.
                write(root, "data/whatsapp.db-wal", b"");
                write(root, "data/whatsapp.db", b"SQLite format 3\0");
            },
            "database",
        ),
        (
            "newer",
            |root| {
                write(root, "data/whatsapp.db-wal", b"");
                let path = root.join("data/whatsapp.db");
                let mut bytes = std::fs::read(&path).expect("there");
                bytes[4096..].fill(0xff);
                std::fs::write(path, bytes).expect("written");
            },
            "database",
        ),
        (
            "newer",
            |root| {
                write(
                    root,
                    ".env",
                    b"DATABASE_PATH=../../../../../../etc/hostname\n",
                )
            },
            "leads out of the folder",
        ),
    ];
    for (at, (fixture, damage, about)) in damages.into_iter().enumerate() {
        let folder = copy(fixture);
        damage(folder.path());
        let answer = post(&rig, "", tar(folder.path())).send().await.expect(409);
        assert_eq!(
            (&answer["changed"], &answer["status"]),
            (&json!(false), &json!("error"))
        );
        let lines = answer["lines"].as_array().expect("lines");
        let problem = |line: &&Value| {
            let words = format!("{} {}", line["about"], line["detail"]);
            line["outcome"] == "problem" && words.contains(about)
        };
        assert!(lines.iter().any(|line| problem(&line)), "{at}: {answer:#}");
        assert_eq!(sessions(&rig).await.len(), 0, "{at}");
    }
    // The rest comes when it is asked for.
    let folder = copy("older");
    damages_one_campaign(folder.path());
    let answer = post(&rig, "?skipProblems=true", tar(folder.path()))
        .send()
        .await
        .expect(200);
    assert_eq!(answer["changed"], true);
    let left: Vec<_> = get(&rig, GUDANG, "/api/v1/campaigns")
        .await
        .as_array()
        .expect("some")
        .clone();
    assert!(left.is_empty(), "{left:?}");
    let arriving = rig.config.data.join("media/arriving");
    assert_eq!(std::fs::read_dir(arriving).expect("a folder").count(), 0);
}

fn damages_one_campaign(root: &Path) {
    std::fs::write(root.join(format!("campaigns/{RUNNING}.json")), "?").expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_archives_are_refused_with_a_sentence_and_leave_nothing() {
    let rig = Rig::new().await;
    let folder = copy("older");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("media/x.png")).expect("a link");
    for (archive, said) in [
        (b"no tar".to_vec(), "no tar archive"),
        (Vec::new(), "no tar archive"),
        (vec![0; 1024], "nothing that is known"),
        (tar(folder.path()), "a link or a device"),
    ] {
        let answer = post(&rig, "", archive).send().await.expect(400);
        let message = answer["message"].as_str().expect("a message");
        assert!(message.contains(said), "{message}");
        let path = rig.config.data.to_str().expect("a path");
        assert!(!message.contains(path), "no path of the server: {message}");
    }
    for query in ["?dryRun=maybe", "?session=a%20b"] {
        let answer = post(&rig, query, Vec::new()).send().await;
        assert_eq!(answer.status, 400);
    }
    let stranger = Call::new(rig.addr(), "POST", "/admin/import").body(vec![0; 1024]);
    assert_eq!(stranger.send().await.status, 401);
    let arriving = rig.config.data.join("media/arriving");
    assert_eq!(std::fs::read_dir(arriving).expect("a folder").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_still_runs_is_noticed() {
    let mut rig = Rig::new().await;
    rig.stop().await;
    let folder = copy("newer");
    // Held as SQLite holds it while somebody has the database open.
    let database = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(folder.path().join("data/whatsapp.db"))
        .expect("a database");
    let shared = rustix::fs::FlockOperation::NonBlockingLockShared;
    rustix::fs::fcntl_lock(&database, shared).expect("locked");
    let (good, said) = import(&rig, folder.path(), &[]).await;
    assert!(!good && said.contains("holds its database open"), "{said}");
    assert!(said.contains("--even-if-running"), "{said}");
    let (good, said) = import(&rig, folder.path(), &["--dry-run"]).await;
    assert!(good && said.contains("holds its database open"), "{said}");
    let (good, said) = import(&rig, folder.path(), &["--even-if-running"]).await;
    assert!(good, "{said}");
    drop(database);
    rig.restart().await;
    assert_eq!(sessions(&rig).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_at_work_in_the_project_around_the_keys_holds_the_import_up() {
    let mut rig = Rig::new().await;
    rig.stop().await;
    let project = copy("older");
    let keys = project.path().join("auth_info_baileys/kasir");
    // Any program of that name, at work for as long as its input is open.
    let node = project.path().join("node");
    std::fs::copy("/bin/cat", &node).expect("copied");
    let mut running = Command::new(&node)
        .current_dir(project.path())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let note = "note      the other program may run: process ";
    let (good, said) = import(&rig, &keys, &["--dry-run"]).await;
    assert!(good && said.contains(note), "{said}");
    std::fs::write(project.path().join("package.json"), "{}").expect("written");
    let (good, said) = import(&rig, &keys, &["--dry-run"]).await;
    assert!(good && said.contains(note), "{said}");
    let (good, said) = import(&rig, &keys, &[]).await;
    assert!(
        !good && said.contains("the other program runs: process"),
        "{said}"
    );
    assert!(said.contains("--even-if-running"), "{said}");
    let (good, said) = import(&rig, &keys, &["--even-if-running"]).await;
    assert!(good && said.contains(note), "{said}");
    drop(running.stdin.take());
    running.wait().expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_baileys_alone_come_under_their_names() {
    let rig = Rig::new().await;
    let folder = copy("older");
    let accounts = folder.path().join("auth_info_baileys");
    let answer = post(&rig, "", tar(&accounts)).send().await.expect(200);
    let about: Vec<_> = answer["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|l| l["about"].clone())
        .collect();
    // Nobody ever scanned the code of the other.
    assert!(about.contains(&json!("session kasir")), "{answer}");
    let names: Vec<_> = sessions(&rig)
        .await
        .iter()
        .map(|s| s["sessionId"].clone())
        .collect();
    assert_eq!(names, ["kasir"]);
    let gone = rig.delete("/api/v1/sessions/kasir").master().send().await;
    gone.expect(200);
    let (good, said) = import(&rig, &accounts.join("kasir"), &["--session", "cabang"]).await;
    assert!(good, "{said}");
    assert_eq!(sessions(&rig).await.len(), 1);
    let (good, said) = import(&rig, folder.path(), &["--session", "x"]).await;
    assert!(!good && said.contains("keep their names"), "{said}");
    let (good, said) = import(&rig, &folder.path().join("media"), &[]).await;
    assert!(!good && said.contains("nothing that is known"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_comes_once() {
    let mut rig = Rig::new().await;
    // Nothing connects: the network would log out devices that it does not know.
    rig.stop().await;
    let (older, newer) = (copy("older"), copy("newer"));
    let accounts = tempfile::tempdir().expect("a folder");
    let account = older.path().join("auth_info_baileys/kasir");
    let other = newer.path().join("auth_info_baileys/toko");
    for (from, name) in [(&account, "kasir"), (&account, "salinan"), (&other, "toko")] {
        let to = accounts.path().join(name);
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(copied.expect("cp runs").success());
    }
    let (good, said) = import(&rig, accounts.path(), &[]).await;
    let problem =
        "problem   session salinan: its linked device is that of session kasir, and two clients";
    assert!(!good && said.contains(problem), "{said}");
    let (good, said) = import(&rig, accounts.path(), &["--skip-problems"]).await;
    assert!(good && said.contains(problem), "{said}");
    // It is here now, under one name: another gets it only in its place.
    let cabang = ["--session", "cabang"];
    let problem =
        "problem   session cabang: its linked device is that of session kasir, and two clients";
    let (good, said) = import(&rig, &account, &cabang).await;
    assert!(!good && said.contains(problem), "{said}");
    let replace = ["--session", "cabang", "--replace"];
    let (good, said) = import(&rig, &account, &replace).await;
    assert!(!good && said.contains(problem), "{said}");
    let (good, said) = import(&rig, &account, &["--replace"]).await;
    assert!(
        good && said.contains("taken     session kasir: replaces"),
        "{said}"
    );
    // Its phone knows the same device as before, and nothing is left there.
    assert!(!said.contains("is not logged out"), "{said}");
    // With its old device gone from there, the name is free for another, and so is that one for others.
    let (good, said) = import(&rig, &other, &["--session", "kasir", "--replace"]).await;
    let problem =
        "problem   session kasir: its linked device is that of session toko, and two clients";
    assert!(!good && said.contains(problem), "{said}");
    rig.restart().await;
    let names: Vec<_> = sessions(&rig)
        .await
        .iter()
        .map(|s| s["sessionId"].clone())
        .collect();
    assert_eq!(names, ["kasir", "toko"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_settings_hold() {
    let rig = Rig::with(|config| config.max_sessions = 1).await;
    let folder = copy("older");
    let answer = post(&rig, "", tar(folder.path())).send().await.expect(409);
    let lines = answer["lines"].to_string();
    assert!(lines.contains("raise max_sessions"), "{lines}");
    assert_eq!(sessions(&rig).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_a_problem_stops_leaves_no_new_data_folder() {
    let folder = copy("older");
    damages_one_campaign(folder.path());
    let place = tempfile::tempdir().expect("a folder");
    let data = place.path().join("new/data");
    let import = |words: &[&str]| {
        let mut command = Command::new(program());
        command.arg("import").arg(folder.path()).args(words);
        command.args(["--log", "error", "--data"]).arg(&data);
        let output = command.output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&text).into_owned();
        (output.status.success(), said)
    };
    let (good, said) = import(&[]);
    assert!(!good && said.contains("problem"), "{said}");
    assert!(!said.contains("master key"), "{said}");
    let left = std::fs::read_dir(place.path()).expect("a folder");
    assert_eq!(left.count(), 0, "{said}");
    let (good, said) = import(&["--skip-problems"]);
    assert!(good && data.join("warung.redb").exists(), "{said}");
    // One that was there stays.
    let (good, said) = import(&["--replace"]);
    assert!(!good && data.join("warung.redb").exists(), "{said}");
}

/// The lines of a report, in the order of the alphabet: what is known before it is sent comes first.
fn lines_of(text: &str) -> Vec<String> {
    let is_line = |line: &&str| {
        let outcomes = ["taken", "left out", "problem", "note"];
        outcomes.iter().any(|word| line.starts_with(word))
    };
    let mut lines: Vec<_> = text.lines().filter(is_line).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The same of an answer.
fn lines_in(answer: &Value) -> Vec<String> {
    let line = |line: &Value| {
        let word = |name: &str| line[name].as_str().expect("words").to_owned();
        format!(
            "{:<8}  {}: {}\n",
            word("outcome"),
            word("about"),
            word("detail")
        )
    };
    let lines: String = answer["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(line)
        .collect();
    lines_of(&lines)
}

fn copied(from: &Path, to: &Path) {
    let around = to.parent().expect("a folder");
    std::fs::create_dir_all(around).expect("made");
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_the_same_by_every_way() {
    let (mut stopped, running) = (Rig::new().await, Rig::new().await);
    stopped.stop().await;
    let all = tempfile::tempdir().expect("a folder");
    let at = |name: &str| all.path().join(name);
    let (older, newer) = (copy("older"), copy("newer"));
    let account = older.path().join("auth_info_baileys/kasir");
    let other = newer.path().join("auth_info_baileys/toko");
    copied(&account, &at("one/kasir"));
    copied(&account, &at("several/kasir"));
    copied(&other, &at("several/admin"));
    copied(&other, &at("several/not a name"));
    copied(newer.path(), &at("newer"));
    std::fs::write(at("newer/data/whatsapp.db-shm"), "").expect("written");
    let large = std::fs::File::create(at("newer/media/large.mp4")).expect("a file");
    large.set_len((25 << 20) + 1).expect("long");
    copied(older.path(), &at("wrapped/app/super-light"));
    copied(&account, &at("bot/auth_info_baileys"));
    std::fs::write(at("bot/index.js"), "").expect("written");
    copied(&account, &at("damaged/kasir"));
    for (name, words) in [("session-1.0.json", ""), ("notes.txt", "call Ani")] {
        std::fs::write(at("damaged/kasir").join(name), words).expect("written");
    }
    for (folder, session) in [
        (at("one/kasir"), Some("kasir")),
        (at("one"), None),
        (at("several"), None),
        (at("newer"), None),
        (at("wrapped"), None),
        // The name that guides give to the folder of one account.
        (at("bot"), None),
        (at("bot/auth_info_baileys"), Some("auth_info_baileys")),
        (at("damaged/kasir"), Some("kasir")),
    ] {
        let (good, offline) = import(&stopped, &folder, &["--dry-run"]).await;
        assert!(good, "{folder:?}: {offline}");
        let (good, command) = import(&running, &folder, &["--dry-run"]).await;
        assert!(good, "{folder:?}: {command}");
        let named = session.map(|name| format!("&session={name}"));
        let query = format!("?dryRun=true{}", named.unwrap_or_default());
        let answer = post(&running, &query, tar(&folder))
            .send()
            .await
            .expect(200);
        let lines = lines_of(&offline);
        assert!(
            lines.iter().any(|line| line.starts_with("taken")),
            "{offline}"
        );
        assert_eq!(lines, lines_of(&command), "{folder:?}");
        assert_eq!(lines, lines_in(&answer), "{folder:?}");
        for line in lines {
            let (_, detail) = line.split_once(": ").expect("a sentence");
            let is_bare = !detail.ends_with('.') && !detail.to_lowercase().contains("left out");
            assert!(is_bare, "{line}");
        }
    }
    // A name for the session, where there is none.
    copied(&account, &at("my.bot"));
    let asked =
        "the account needs the name of a session: give it one (--session NAME, session=NAME)";
    for rig in [&stopped, &running] {
        let (good, said) = import(rig, &at("my.bot"), &[]).await;
        assert!(!good && said.contains(asked), "{said}");
    }
    let answer = post(&running, "", tar(&at("my.bot"))).send().await;
    let message = answer.expect(400)["message"].to_string();
    assert!(message.contains(asked), "{message}");
    assert_eq!(sessions(&running).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_user_may_not_read_holds_the_import_up() {
    use std::os::unix::fs::PermissionsExt as _;
    fn close(path: &Path) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).expect("closed");
    }
    fn open(path: &Path) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("opened");
    }
    let data = tempfile::tempdir().expect("a folder");
    open(data.path());
    for (closed, about) in [
        (
            "auth_info_baileys/kasir/creds.json",
            "account of session kasir: its file creds.json",
        ),
        (
            "auth_info_baileys/kasir/session-1.0.json",
            "account of session kasir: its file session-1.0.json",
        ),
        ("auth_info_baileys/kasir", "account of session kasir"),
        ("auth_info_baileys", "folder auth_info_baileys"),
        (".env", ".env"),
        ("session_tokens.enc", "session_tokens.enc"),
        ("campaigns", "folder campaigns"),
        (
            "campaigns/campaign_1752480000000_aaaaaaaa.json",
            "campaign campaign_1752480000000_aaaaaaaa.json",
        ),
        ("media", "folder media"),
        ("data", "database"),
    ] {
        let folder = copy("older");
        open(folder.path());
        for (name, words) in [
            ("auth_info_baileys/kasir/session-1.0.json", "{}"),
            ("data/x", ""),
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, words).expect("written");
        }
        close(&folder.path().join(closed));
        let mut command = Command::new(program());
        // Root may read everything: somebody else asks then.
        if rustix::process::geteuid().is_root() {
            std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        }
        let command =
            command
                .arg("import")
                .arg(folder.path())
                .args(["--dry-run", "--log", "error"]);
        let command = command
            .args(["--master-key", MASTER, "--data"])
            .arg(data.path().join("data"));
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        open(&folder.path().join(closed));
        assert!(!output.status.success(), "{closed}: {said}");
        let start = format!("problem   {about}");
        let line = said.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{closed}: {said}"));
        assert!(line.contains("permission denied"), "{closed}: {line}");
        // Whether the key is in it nobody knows.
        assert!(!said.contains("has no TOKEN_ENCRYPTION_KEY"), "{said}");
        let needs_env = said.contains("and .env, which has its key, cannot be read");
        assert_eq!(needs_env, closed == ".env", "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_that_is_none_does_not_spoil_the_others() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = json!({ "a": KASIR, "b": null, "c": "short", "d": "", "e": 7 });
    let file = folder.path().join("session_tokens.json");
    std::fs::write(file, tokens.to_string()).expect("written");
    let answer = post(&rig, "", tar(folder.path())).send().await.expect(200);
    let said = lines_in(&answer);
    for line in [
        "left out  session_tokens.json: what it has for session b is no token",
        "left out  session_tokens.json: what it has for session e is no token",
        "taken     session a: has no linked phone: pair it here; keeps its token",
        "taken     session b: has no linked phone: pair it here; its token is not known, so it has a new one",
    ] {
        assert!(said.iter().any(|said| said == line), "{line}: {said:#?}");
    }
    let all = sessions(&rig).await;
    assert_eq!(all.len(), 5);
    assert_eq!(all[0]["token"], KASIR);
    let new = all[1]["token"].as_str().expect("a token");
    assert!(new.len() >= 32, "{new}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_that_both_would_use_is_watched_while_no_gateway_runs() {
    let mut rig = Rig::new().await;
    rig.stop().await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("an address").port();
    let folder = copy("newer");
    let env = folder.path().join(".env");
    let settings = std::fs::read_to_string(&env).expect("readable");
    std::fs::write(&env, format!("{settings}\nPORT={port}\n")).expect("written");
    let address = format!("127.0.0.1:{port}");
    let (good, said) = import(&rig, folder.path(), &["--dry-run", "--listen", &address]).await;
    let sign = format!("something listens on port {port}, the PORT of its .env");
    assert!(good && said.contains(&sign), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_in_an_archive_are_passed_over_and_nothing_else() {
    let rig = Rig::new().await;
    let folder = copy("older");
    let accounts = folder.path().join("auth_info_baileys");
    std::fs::rename(accounts.join("kasir"), accounts.join("admin")).expect("renamed");
    std::fs::create_dir_all(folder.path().join("node_modules/baileys")).expect("made");
    std::fs::write(folder.path().join("node_modules/baileys/index.js"), "").expect("written");
    let answer = post(&rig, "?dryRun=true", tar(folder.path()))
        .send()
        .await
        .expect(200);
    let lines = lines_in(&answer);
    let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
    assert!(
        has("taken     session admin: goes on without a new QR code"),
        "{lines:#?}"
    );
    assert!(
        has("note      archive: files in node_modules and .git were skipped: 1"),
        "{lines:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_imports_into_the_data_folder_of_another_user() {
    let folder = copy("older");
    let data = tempfile::tempdir().expect("a folder");
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(data.path(), Some(65_534), None).expect("root may");
    }
    let path = match is_root {
        true => data.path(),
        false => Path::new("/"),
    };
    let mut command = Command::new(program());
    command.arg("import").arg(folder.path()).arg("--data");
    let output = command.arg(path).output().expect("it runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        !output.status.success() && said.contains("belongs to user"),
        "{said}"
    );
    let left = std::fs::read_dir(data.path()).expect("a folder").count();
    assert_eq!(left, 0, "{said}");
}
