//! The program as a person uses it: its commands, and what they print.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use warung::sandbox::Sandbox;

use crate::support::{Call, eventually, program};

struct Running {
    child: Child,
    listen: String,
    said: Vec<String>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Reads on until a line begins like this; answers it.
    async fn says(&mut self, start: &str) -> String {
        loop {
            let line = tokio::time::timeout(Duration::from_secs(30), self.lines.next_line()).await;
            let line = line.expect("in time").expect("readable");
            let line = line.unwrap_or_else(|| panic!("{start}: {:?}", self.said));
            self.said.push(line.clone());
            if line.starts_with(start) {
                return line;
            }
        }
    }
}

/// Starts the gateway on the network; its key is made by itself.
async fn serve(data: &Path, network: &Sandbox) -> Running {
    let mut child = Command::new(program())
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--whatsapp-url",
            &network.url(),
        ])
        .arg("--data")
        .arg(data)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut running = Running {
        child,
        listen: String::new(),
        said: Vec::new(),
        lines,
    };
    let line = running.says("listening on ").await;
    running.listen = line.replace("listening on http://", "");
    running
}

/// Runs a command on the same data folder; answers success and what it printed.
async fn run(data: &Path, listen: &str, words: &[&str]) -> (bool, String) {
    let output = Command::new(program())
        .args(words)
        .args(["--listen", listen])
        .arg("--data")
        .arg(data)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), output)
        .await
        .expect("in time");
    let output = output.expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_pairs_in_the_terminal_checks_and_keeps_a_copy() {
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut running = serve(&data, &network).await;
    // What is said here may end in a journal: it names the file, and keeps the key to itself.
    let file = data.join("master.key");
    let key = std::fs::read_to_string(&file).expect("a key");
    let said = running.said.join("\n");
    assert!(said.contains(file.to_str().expect("a path")), "{said}");
    assert!(!said.contains(key.trim()), "{said}");
    let key = key.trim().to_owned();
    assert!(run(&data, &running.listen, &["healthcheck"]).await.0);
    let pairing = tokio::spawn({
        let (data, listen) = (data.clone(), running.listen.clone());
        async move { run(&data, &listen, &["pair", "shop"]).await }
    });
    let addr = running.listen.parse().expect("an address");
    let code = eventually("a QR code", || async {
        let row = Call::new(addr, "GET", "/api/v1/sessions/shop").header("x-master-key", &key);
        row.send().await.json()["qr"].as_str().map(str::to_owned)
    })
    .await;
    let scan = json!({ "qr": code, "phone": "6281200000801" });
    network
        .control("POST", "/sandbox/scan", &scan)
        .await
        .expect("scanned");
    let (paired, shown) = pairing.await.expect("it ends");
    assert!(paired && shown.contains("Connected as"), "{shown}");
    let (checked, words) = run(&data, &running.listen, &["check"]).await;
    assert!(!checked && words.contains("in use"), "{words}");
    makes_and_revokes_a_key(&data, &running.listen).await;
    let upload = Call::new(
        running.listen.parse().expect("an address"),
        "POST",
        "/api/v1/media?sessionId=shop",
    );
    let form = crate::files::form(&[crate::files::upload_field("a.pdf", b"%PDF-1.4")]);
    let upload = upload
        .header("x-master-key", &key)
        .header("content-type", crate::files::FORM);
    upload.body(form).send().await.expect(201);
    let copy = folder.path().join("copy.redb");
    let file = folder
        .path()
        .join("copy.redb.media")
        .join(crate::files::sha256(b"%PDF-1.4"));
    let name = copy.to_str().expect("a path");
    let (copied, words) = run(&data, &running.listen, &["backup", name]).await;
    assert!(copied, "{words}");
    assert!(file.exists(), "the file is copied too");
    let restored = folder.path().join("restored");
    std::fs::create_dir(&restored).expect("a folder");
    std::fs::copy(data.join("secret.key"), restored.join("secret.key")).expect("copied");
    let (good, words) = run(&restored, "127.0.0.1:1", &["restore", name]).await;
    assert!(good, "{words}");
    let store = restored.join("warung.redb");
    assert!(warung::store::check(&store).expect("a store").is_empty());
    let sent = restored
        .join("media")
        .join(crate::files::sha256(b"%PDF-1.4"));
    assert_eq!(std::fs::read(sent).expect("the file"), b"%PDF-1.4");
    assert_eq!(
        std::fs::read_dir(data.join("backups"))
            .expect("a folder")
            .count(),
        0
    );
    std::fs::remove_file(&file).expect("removed");
    running.child.kill().await.expect("killed");
    let (checked, words) = run(&data, &running.listen, &["check"]).await;
    assert!(checked && words.contains("in order"), "{words}");
    assert!(!run(&data, &running.listen, &["healthcheck"]).await.0);
    let (copied, words) = run(&data, &running.listen, &["backup", name]).await;
    assert!(copied, "also without a running gateway: {words}");
    assert!(file.exists());
}

async fn makes_and_revokes_a_key(data: &Path, listen: &str) {
    let create = ["key", "create", "the till", "--scope", "send,read"];
    let pinned = [&create[..], &["--session", "shop"]].concat();
    let (made, words) = run(data, listen, &pinned).await;
    assert!(made, "{words}");
    let (id, _) = words.split_once(" was made").expect("an id");
    let key = words.trim_end().lines().last().expect("a key");
    let own = Call::new(
        listen.parse().expect("an address"),
        "GET",
        "/api/v1/sessions/shop",
    );
    own.clone().bearer(key).send().await.expect(200);
    let (_, words) = run(data, listen, &["key", "list"]).await;
    for part in [id, "send,read", "session shop", "used 1 times", "the till"] {
        assert!(words.contains(part), "{part} in {words}");
    }
    assert!(!words.contains(key), "{words}");
    let (revoked, words) = run(data, listen, &["key", "revoke", id]).await;
    assert!(revoked && words.contains("revoked"), "{words}");
    assert_eq!(own.bearer(key).send().await.status, 403);
    for (wrong, part) in [
        (&["key", "revoke", "key_1_a"][..], "Key not found"),
        (&["key", "revoke", "a/../b"], "Key not found"),
        (
            &["key", "create", "x", "--scope", "fly"],
            "There is no scope fly",
        ),
    ] {
        let (good, words) = run(data, listen, wrong).await;
        assert!(!good && words.contains(part), "{wrong:?}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_end_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    for (words, part) in [
        (&["fly"][..], "unknown command"),
        (&["serve", "--ack-timeout", "0"], "from 1 to 300"),
        (&["serve"], "sandbox build"),
        (
            &["serve", "--whatsapp-url", "wss://web.whatsapp.com/ws/chat"],
            "127.0.0.1",
        ),
        (&["pair", "shop"], "no gateway runs on"),
        (&["pair", "shop"], "which does not exist"),
        (&["send", "6281200000001", "Hello"], "--data"),
        (
            &["send", "6281200000001"],
            "the TEXT is missing; write it like this: warung send 6281234567890 'Hello'",
        ),
        (&["send"], "TO and TEXT are missing"),
        (&["backup", "copy"], "data does not exist"),
        (&["key", "list"], "no gateway runs on"),
        (&["key"], "key needs create, list or revoke"),
        (&["key", "create", "x"], "--scope"),
        (&["config"], "config needs check or show"),
        (&["check"], "warung.redb"),
        (
            &[
                "serve",
                "--whatsapp-url",
                "ws://127.0.0.1:1/ws/chat",
                "--webhook-url",
                "http://10.0.0.1/",
            ],
            "setting webhook_url (--webhook-url)",
        ),
    ] {
        let (good, said) = run(&data, "127.0.0.1:1", words).await;
        assert!(!good && said.contains(part), "{words:?}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (good, said) = run(&data, &address, &["sandbox"]).await;
    assert!(!good && said.contains(&address), "{said}");
    assert!(said.contains("--listen chooses another"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_finds_its_accounts_paired_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let start = || async {
        let mut child = Command::new(program())
            .args([
                "sandbox",
                "--listen",
                "127.0.0.1:0",
                "--master-key",
                crate::support::MASTER,
            ])
            .arg("--data")
            .arg(&data)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = lines.next_line().await.expect("readable").expect("a line");
        let addr = line
            .strip_prefix("listening on http://")
            .expect("it says where")
            .parse();
        let second = lines.next_line().await.expect("readable").expect("a line");
        assert!(
            second.starts_with("sandbox whatsapp at ws://127.0.0.1:"),
            "{second}"
        );
        (child, addr.expect("an address"))
    };
    let connected = |addr| async move {
        eventually("connected", || async {
            let row = Call::new(addr, "GET", "/api/v1/sessions/shop")
                .master()
                .send()
                .await;
            (row.status == 200 && row.json()["status"] == "CONNECTED").then_some(())
        })
        .await;
    };
    let (mut child, addr) = start().await;
    let made = Call::new(addr, "POST", "/api/v1/sessions")
        .master()
        .json(&json!({ "sessionId": "shop" }));
    made.send().await.expect(201);
    let scan = Call::new(addr, "POST", "/sandbox/scan").json(&json!({ "sessionId": "shop" }));
    assert_eq!(scan.send().await.status, 200);
    connected(addr).await;
    child.kill().await.expect("killed");
    let (_child, addr) = start().await;
    connected(addr).await;
    let message =
        json!({ "to": "6281299999801", "type": "text", "text": { "body": "after the kill" } });
    let sent = Call::new(addr, "POST", "/api/v1/messages?sessionId=shop")
        .master()
        .json(&message);
    assert_eq!(sent.send().await.expect(200)[0]["status"], "success");
    eventually("the phone has it", || async {
        let got = Call::new(addr, "GET", "/sandbox/phones/6281299999801/messages")
            .send()
            .await
            .json();
        got.as_array()?
            .iter()
            .any(|m| m["text"] == "after the kill")
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_its_key_is_not_given_a_new_one() {
    let rig = crate::support::Rig::new().await;
    let (data, url) = (rig.config.data.clone(), rig.network.url());
    let mut rig = rig;
    rig.stop().await;
    std::fs::remove_file(data.join("secret.key")).expect("removed");
    let (good, said) = run(&data, "127.0.0.1:0", &["serve", "--whatsapp-url", &url]).await;
    assert!(!good && said.contains("secret.key is missing"), "{said}");
    assert!(!data.join("secret.key").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_the_gateway_are_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| {
        let there = std::fs::metadata(path).expect("it is there");
        there.permissions().mode() & 0o777
    };
    let open = |path: &Path| {
        std::fs::create_dir_all(path).expect("made");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("opened");
    };
    let rig = crate::support::Rig::with(|config| {
        open(&config.data);
        open(&config.data.join("backups"));
    })
    .await;
    let data = &rig.config.data;
    assert_eq!(mode(data), 0o700);
    let made = rig.post("/admin/backup", &json!({})).master().send().await;
    made.expect(200);
    assert_eq!(mode(&data.join("backups")), 0o700);
    assert_eq!(mode(&data.join("own.sock")), 0o600);
}

/// Runs a command; answers success, what it printed, and what it complained of.
async fn asked(command: &mut Command) -> (bool, String, String) {
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    let output = output.expect("in time").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_and_shown_without_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(place(name), text).expect("written");
    let (file, data) = (place("warung.toml"), place("data"));
    let config = |word: &'static str| {
        let mut command = Command::new(program());
        command.args(["config", word, "--config", &file, "--data", &data]);
        command.env("WARUNG_PORT", "tcp://10.0.0.1:3000");
        command
    };
    write("key", "0123456789abcdef\n");
    write("warung.toml", "max_sessions = 7\n");
    let mut check = config("check");
    let (good, said, _) = asked(check.env("WARUNG_MASTER_KEY_FILE", place("key"))).await;
    assert!(good && said.contains("in order"), "{said}");
    assert!(
        said.contains("WARUNG_PORT ") && !said.contains("tcp"),
        "{said}"
    );
    let mut show = config("show");
    let (good, said, _) = asked(show.env("WARUNG_MASTER_KEY_FILE", place("key"))).await;
    assert!(good && !said.contains("0123456789abcdef"), "{said}");
    for line in [
        format!("max_sessions = 7  # {file}:1"),
        format!("data = {data:?}  # --data"),
        "# master_key is hidden  # WARUNG_MASTER_KEY_FILE".into(),
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    // What only a start would find is found too, and its place.
    for (text, words) in [
        ("ack_timeout = 0", "setting ack_timeout ("),
        ("# roots\ntrusted_roots = \"none.pem\"", ":2): none.pem"),
        (
            "webhook_url = \"http://10.0.0.1/\"",
            "setting webhook_url (",
        ),
    ] {
        write("warung.toml", text);
        let (good, _, complaint) = asked(&mut config("check")).await;
        assert!(!good, "{text}");
        assert!(
            complaint.contains(words) && complaint.contains(&file),
            "{complaint}"
        );
    }
    assert!(!Path::new(&data).exists(), "nothing was made");
    write("warung.toml", "");
    for (there, words) in [(place("key"), "no folder"), (place("key/data"), "(--data)")] {
        let mut check = Command::new(program());
        check.args(["config", "check", "--data", &there]);
        let (good, _, complaint) = asked(&mut check).await;
        assert!(!good, "{there}");
        assert!(
            complaint.contains("setting data") && complaint.contains(words),
            "{complaint}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_told_and_a_reader_that_left_is_not() {
    for words in [
        &["licenses"][..],
        &["version"],
        &["version", "--json"],
        &["config", "show"],
        &["--help"],
        &["--version"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = Command::new(program());
        command.args(words).stdout(full.expect("a device"));
        command.stderr(Stdio::piped());
        let output = command.spawn().expect("it runs").wait_with_output();
        let output = output.await.expect("it ends");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(complaint.contains("standard output"), "{complaint}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(program());
        command.args(words).stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().expect("it runs").wait_with_output();
        let output = output.await.expect("it ends");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {complaint}");
        assert!(complaint.is_empty(), "{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_the_master_key_says_where_it_is() {
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let running = serve(&data, &network).await;
    let copy = folder.path().join("copy").display().to_string();
    for (key, words) in [("another key of sixteen", "another"), ("", "needed")] {
        std::fs::remove_file(data.join("master.key")).expect("it was there");
        if !key.is_empty() {
            std::fs::write(data.join("master.key"), key).expect("written");
        }
        let (copied, said) = run(&data, &running.listen, &["backup", &copy]).await;
        assert!(!copied, "{said}");
        for words in [words, "WARUNG_MASTER_KEY", "master.key"] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_what_it_is_whatever_the_settings_are() {
    let ask = |words: &'static [&'static str]| async move {
        let mut command = Command::new(program());
        asked(command.args(words).env("WARUNG_ACK_TIMEOUT", "0")).await
    };
    let (good, line, _) = ask(&["--version"]).await;
    let version = env!("CARGO_PKG_VERSION");
    assert!(good, "{line}");
    assert_eq!(line, format!("warung {version} (sandbox build)\n"));
    let (good, json, _) = ask(&["version", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(good && json["version"] == version, "{json}");
    assert_eq!(json["features"], json!(["sandbox"]));
    assert!(json.get("commit").is_some() && json["libc"].is_string() && json["target"].is_string());
    let (good, details, _) = ask(&["version"]).await;
    assert!(good && details.contains("libc: "), "{details}");
    assert!(details.contains("AGPL-3.0-only"), "{details}");
    let mut licenses = Command::new(program());
    let place = "https://example.org/changed";
    let (good, notices, _) = asked(licenses.args(["licenses", "--source-url", place])).await;
    assert!(good && notices.contains(place), "the offer of the source");
    assert!(notices.contains("GNU AFFERO GENERAL PUBLIC LICENSE"));
    assert!(ask(&["serve", "--help"]).await.1.contains("--ack-timeout"));
    assert!(!ask(&["check"]).await.0, "the settings are wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_tells_of_a_release() {
    let folder = tempfile::tempdir().expect("a folder");
    let manual = folder.path().join("manual");
    let (good, _, complaint) = asked(Command::new(program()).arg("manual").arg(&manual)).await;
    assert!(good, "{complaint}");
    let page = |name: &str| std::fs::read_to_string(manual.join(name)).expect(name);
    let serve = page("warung-serve.1").replace("\\-", "-");
    for setting in warung::config::Config::settings().get_arguments() {
        let flag = format!("--{}", setting.get_long().expect("a flag"));
        let there = serve.contains(&flag);
        assert_eq!(there, flag != "--whatsapp-url", "{flag}");
        assert!(!there || page("warung.bash").contains(&flag), "{flag}");
    }
    for name in ["warung.1", "warung.bash", "_warung", "warung.fish"] {
        let text = page(name);
        assert!(text.contains("healthcheck"), "{name}");
        for foreign in ["sandbox", "network ", "manual", "whatsapp-url"] {
            assert!(!text.contains(foreign), "{name}: {foreign}");
        }
    }
    assert!(!manual.join("warung-sandbox.1").exists());
}

/// Runs the sandbox with a log in a file until a message was sent; answers the log.
async fn log_of_a_message(format: &str, journal: bool) -> String {
    use std::os::unix::fs::MetadataExt;
    const NUMBER: &str = "6281299999802";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log");
    let log = std::fs::File::create(&file).expect("a file");
    let mut command = Command::new(program());
    command
        .args(["sandbox", "--listen", "127.0.0.1:0", "--log", "debug"])
        .args(["--log-format", format, "--data"])
        .arg(folder.path().join("data"))
        .env("WARUNG_MASTER_KEY", crate::support::MASTER)
        .env("WARUNG_WEBHOOK_SECRET", "a secret of the webhook")
        .env("WARUNG_SERVICE_HOST", "10.1.2.3")
        .env_remove("JOURNAL_STREAM");
    let known = log.metadata().expect("a file");
    // The number of another file says nothing of ours.
    let inode = known.ino() + u64::from(!journal);
    command.env("JOURNAL_STREAM", format!("{}:{inode}", known.dev()));
    let child = command
        .stderr(log)
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = child.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = lines.next_line().await.expect("readable").expect("a line");
    let addr = line.strip_prefix("listening on http://").expect("where");
    let addr = addr.parse().expect("an address");
    let made = Call::new(addr, "POST", "/api/v1/sessions").master();
    let made = made.json(&json!({ "sessionId": "shop" })).send().await;
    let token = made.expect(201)["token"].as_str().map(str::to_owned);
    let scan = Call::new(addr, "POST", "/sandbox/scan").json(&json!({ "sessionId": "shop" }));
    assert_eq!(scan.send().await.status, 200);
    let message = json!({ "to": NUMBER, "type": "text", "text": { "body": "words of people" } });
    eventually("it is sent", || async {
        let sent = Call::new(addr, "POST", "/api/v1/messages?sessionId=shop");
        let sent = sent.master().json(&message).send().await;
        (sent.status == 200 && sent.json()[0]["status"] == "success").then_some(())
    })
    .await;
    child.kill().await.expect("killed");
    let log = std::fs::read_to_string(&file).expect("text");
    let token = token.expect("a token");
    for secret in [
        crate::support::MASTER,
        "a secret of the webhook",
        "10.1.2.3",
        "words of people",
        NUMBER,
        &token,
    ] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_text_keeps_secrets_and_names_strange_variables_once() {
    let log = log_of_a_message("text", false).await;
    let warned: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WARUNG_SERVICE_HOST"))
        .collect();
    assert_eq!(warned.len(), 1, "{log}");
    assert!(warned[0].contains(" WARN "), "{log}");
    assert!(log.lines().all(|line| !line.starts_with('<')), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_json_keeps_secrets_and_is_json() {
    let log = log_of_a_message("json", false).await;
    let mut levels = std::collections::BTreeSet::new();
    for line in log.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(
            row["timestamp"].is_string() && row["message"].is_string(),
            "{row}"
        );
        levels.insert(row["level"].as_str().expect("a level").to_owned());
    }
    assert!(levels.contains("INFO") && levels.contains("WARN"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_the_journal_tells_priorities() {
    for format in ["text", "json"] {
        let log = log_of_a_message(format, true).await;
        for line in log.lines() {
            assert!(
                line.starts_with('<') && line[2..].starts_with('>'),
                "{line}"
            );
        }
        let warned = log
            .lines()
            .find(|line| line.contains("WARUNG_SERVICE_HOST"));
        assert!(warned.is_some_and(|line| line.starts_with("<4>")), "{log}");
    }
}

/// Has a phone scan the QR code that a session shows.
async fn scan(network: &Sandbox, addr: std::net::SocketAddr, key: &str, phone: &str) {
    let code = eventually("a QR code", || async {
        let row = Call::new(addr, "GET", "/api/v1/sessions/shop").header("x-master-key", key);
        row.send().await.json()["qr"].as_str().map(str::to_owned)
    })
    .await;
    let scan = json!({ "qr": code, "phone": phone });
    let scanned = network.control("POST", "/sandbox/scan", &scan).await;
    scanned.expect("scanned");
}

/// Runs a line of a shell; answers success and what it printed.
async fn shell(line: &str) -> (bool, String) {
    let mut shell = Command::new("sh");
    let (good, said, complaint) = asked(shell.args(["-c", line])).await;
    (good, said + &complaint)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_pairing_a_first_message_goes_as_it_is_printed() {
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut running = serve(&data, &network).await;
    // The start says where everything is.
    let docs = running.says("docs at ").await;
    assert_eq!(docs, format!("docs at http://{}/docs", running.listen));
    let place = running.says("data in ").await;
    assert_eq!(place, format!("data in {}", data.display()));
    let addr = running.listen.parse().expect("an address");
    let key = std::fs::read_to_string(data.join("master.key")).expect("a key");
    let none = run(&data, &running.listen, &["send", "6281200000803", "x"]).await;
    assert!(!none.0 && none.1.contains("warung pair NAME"), "{}", none.1);
    // Another port than the gateway's is no matter.
    let pairing = tokio::spawn({
        let data = data.clone();
        async move { run(&data, "127.0.0.1:1", &["pair", "shop"]).await }
    });
    scan(&network, addr, key.trim(), "6281200000802").await;
    let (paired, shown) = pairing.await.expect("it ends");
    assert!(paired, "{shown}");
    let token = shown.lines().find_map(|line| line.split_once("programs: "));
    let (_, token) = token.unwrap_or_else(|| panic!("a token: {shown}"));
    let own = Call::new(addr, "GET", "/api/v1/sessions/shop").bearer(token);
    own.send().await.expect(200);
    let printed = |start: &str| {
        let line = shown.lines().find(|line| line.trim().starts_with(start));
        line.unwrap_or_else(|| panic!("{start}: {shown}"))
            .to_owned()
    };
    let (good, said) = shell(&printed("curl ")).await;
    assert!(
        good && said.contains("Message sent to 6281200000802@"),
        "{said}"
    );
    let line = printed("warung send shop 6281200000802");
    let program = program();
    let line = line.replace(
        "warung",
        &format!("{} --data {}", program.display(), data.display()),
    );
    let (good, said) = shell(&line).await;
    assert!(
        good && said.contains("Message sent to 6281200000802@"),
        "{said}"
    );
    let (good, said) = shell(&line.replace("send shop 6281200000802", "send 6281299999803")).await;
    assert!(good && said.contains("from session shop"), "{said}");
    sends_say_what_became_of_them(&data, &network, addr, key.trim()).await;
}

/// The exit codes of a send: 1 when it was not sent, 2 when nobody knows.
async fn sends_say_what_became_of_them(
    data: &Path,
    network: &Sandbox,
    addr: std::net::SocketAddr,
    key: &str,
) {
    let send = |words: &'static [&'static str]| async move {
        let mut command = Command::new(program());
        command.arg("send").args(words).arg("--data").arg(data);
        let output = command.output().await.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    for (words, code, part) in [
        (&["nobody", "x"][..], 1, "Invalid recipient"),
        (&["081234567890", "x"], 1, "default_country_code"),
        (
            &["till", "6281299999803", "x"],
            1,
            "`warung pair till` makes it",
        ),
        (&["s 2", "6281299999803", "x"], 1, "session ID"),
    ] {
        let (exit, said) = send(words).await;
        assert_eq!(exit, Some(code), "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
    }
    let faults = json!({ "loseAcks": true });
    let lost = network.control("POST", "/sandbox/faults", &faults).await;
    lost.expect("ordered");
    let (exit, said) = send(&["6281299999803", "into the void"]).await;
    assert_eq!(exit, Some(2), "{said}");
    assert!(said.contains("may still arrive"), "{said}");
    let other = Call::new(addr, "POST", "/api/v1/sessions").header("x-master-key", key);
    let other = other.json(&json!({ "sessionId": "till" })).send().await;
    other.expect(201);
    let (exit, said) = send(&["6281299999803", "x"]).await;
    assert_eq!(exit, Some(1), "{said}");
    for part in ["shop", "till", "SESSION"] {
        assert!(said.contains(part), "{said}");
    }
    sends_say_why_a_session_cannot(network, addr, key, send).await;
}

/// What is said of a session that is there and not connected: each time something else is to be done.
async fn sends_say_why_a_session_cannot(
    network: &Sandbox,
    addr: std::net::SocketAddr,
    key: &str,
    send: impl AsyncFn(&'static [&'static str]) -> (Option<i32>, String),
) {
    let (exit, said) = send(&["till", "6281299999803", "x"]).await;
    assert_eq!(exit, Some(1), "{said}");
    for part in [
        "not linked to a phone yet",
        "`warung pair till` shows a QR code",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let becomes = |word: &'static str| async move {
        eventually(word, || async {
            let row = Call::new(addr, "GET", "/api/v1/sessions/shop").header("x-master-key", key);
            let row = row.send().await.json().to_string();
            row.contains(word).then_some(())
        })
        .await;
    };
    let order = |path: &'static str, faults: serde_json::Value| async move {
        let done = network.control("POST", path, &faults).await;
        done.expect("ordered");
    };
    let faults = json!({ "connectFailure": { "reason": 503 }, "drop": { "now": true } });
    order("/sandbox/faults", faults).await;
    becomes("\"isConnected\":false").await;
    let (exit, said) = send(&["shop", "6281299999803", "x"]).await;
    assert_eq!(exit, Some(1), "{said}");
    for part in ["session shop cannot send right now", "wait a minute"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("warung pair"), "{said}");
    let done = network
        .control("DELETE", "/sandbox/faults", &json!({}))
        .await;
    done.expect("ordered");
    let again = Call::new(addr, "POST", "/api/v1/sessions/shop/reconnect");
    again.header("x-master-key", key).send().await.expect(200);
    becomes("\"isConnected\":true").await;
    order("/sandbox/phones/6281200000802/logout", json!({})).await;
    becomes("\"loggedOut\":true").await;
    let (exit, said) = send(&["shop", "6281299999803", "x"]).await;
    assert_eq!(exit, Some(1), "{said}");
    for part in ["shop was logged out", "`warung pair shop` shows a QR code"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains(".;") && !said.contains(".:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_the_gateway_by_its_data_folder() {
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut running = serve(&data, &network).await;
    let elsewhere = "127.0.0.1:1";
    // Also where the file system has no sockets.
    std::fs::remove_file(data.join("own.sock")).expect("it was there");
    let noted = std::fs::read_to_string(data.join("address")).expect("an address");
    assert_eq!(noted.trim(), running.listen);
    let (works, said) = run(&data, elsewhere, &["healthcheck"]).await;
    assert!(works, "{said}");
    let copy = folder.path().join("copy");
    let name = copy.display().to_string();
    let (copied, said) = run(&data, elsewhere, &["backup", &name]).await;
    assert!(copied, "{said}");
    // Neither the gateway's own files nor what is no plain file is replaced.
    let (key, link) = (data.join("secret.key"), folder.path().join("link"));
    let before = std::fs::read(&key).expect("a key");
    std::os::unix::fs::symlink(&copy, &link).expect("a link");
    let other = folder.path().join("precious");
    std::fs::write(&other, "mine").expect("written");
    for (place, why) in [
        (&key, "lies in the data folder"),
        (&link, "no plain file"),
        (&other, "no backup"),
    ] {
        let place = place.display().to_string();
        let (copied, said) = run(&data, elsewhere, &["backup", &place]).await;
        assert!(!copied && said.contains(why), "{said}");
    }
    assert_eq!(std::fs::read(&key).expect("a key"), before);
    assert_eq!(std::fs::read(&other).expect("a file"), b"mine");
    // An older backup is.
    let (copied, said) = run(&data, elsewhere, &["backup", &name]).await;
    assert!(copied, "{said}");
    // Where it is not found nobody is told to stop it, and nothing is left behind.
    std::fs::remove_file(data.join("address")).expect("it was there");
    let lost = folder.path().join("lost");
    for (words, path) in [
        (&["backup", lost.to_str().expect("a path")][..], &lost),
        (&["backup", "/nonexistent/copy"], &lost),
    ] {
        let (copied, said) = run(&data, elsewhere, words).await;
        assert!(!copied && !said.contains("stop that one"), "{said}");
        assert!(!path.exists() && !path.with_extension("unfinished").exists());
    }
    let (works, said) = run(&data, elsewhere, &["healthcheck"]).await;
    assert!(!works && said.contains("no gateway answers at"), "{said}");
    let left = std::fs::read_dir(data.join("backups")).expect("a folder");
    assert_eq!(left.count(), 0);
    // What a killed gateway leaves is not believed.
    std::fs::write(data.join("address"), &running.listen).expect("written");
    let stranger = running.listen.clone();
    running.child.kill().await.expect("killed");
    let _stranger = std::net::TcpListener::bind(&stranger).expect("its port");
    let (works, said) = run(&data, elsewhere, &["healthcheck"]).await;
    let place = format!("no gateway runs on the data folder {}", data.display());
    assert!(!works && said.contains(&place), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_folder_of_another_user_is_said_to_be_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    std::fs::write(data.join("warung.redb"), "a store").expect("written");
    let mut command = std::process::Command::new(program());
    command.args(["healthcheck", "--data"]).arg(&data);
    // Root may read everything: somebody else asks then.
    use std::os::unix::fs::PermissionsExt as _;
    let closed = if rustix::process::geteuid().is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        (data.clone(), 0o700)
    } else {
        (data.join("warung.redb"), 0o000)
    };
    let mode = std::fs::Permissions::from_mode(closed.1);
    std::fs::set_permissions(closed.0, mode).expect("closed");
    let (good, _, said) = asked(&mut Command::from(command)).await;
    assert!(!good && said.contains("permission denied"), "{said}");
    assert!(said.contains(&data.display().to_string()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_variables_start_it_and_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(program());
    command
        .args(["sandbox", "--data"])
        .arg(folder.path().join("data"))
        .env("PORT", "0")
        .env("MASTER_API_KEY", "secret12")
        .env("SESSION_SECRET", "hush77")
        .env("WARUNG_PORT", "tcp://10.0.0.1:3000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut said = Vec::new();
    while !said
        .last()
        .is_some_and(|line: &String| line.contains("master key"))
    {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        let line = line.expect("in time").expect("readable");
        said.push(line.unwrap_or_else(|| panic!("{said:?}")));
    }
    let begins = |start: &str| said.iter().any(|line| line.starts_with(start));
    for start in [
        "listening on http://0.0.0.0:",
        "docs at http://127.0.0.1:",
        "PORT alone opens it",
        "not needed here, and ignored: SESSION_SECRET",
        "the master key is the one of MASTER_API_KEY",
    ] {
        assert!(begins(start), "{start}: {said:?}");
    }
    child.kill().await.expect("killed");
    let mut log = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut log)
        .await
        .expect("text");
    assert!(log.contains("fewer than 16 characters"), "{log}");
    assert!(
        !log.contains("secret12") && !log.contains("hush77"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_why_nothing_can_be_sent() {
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let log = folder.path().join("log");
    let mut command = Command::new(program());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .args(["--whatsapp-url", &network.url()])
        .stderr(std::fs::File::create(&log).expect("a file"))
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let addr = loop {
        let line = lines.next_line().await.expect("readable").expect("a line");
        if let Some(addr) = line.strip_prefix("listening on http://") {
            break addr.parse().expect("an address");
        }
    };
    let key = std::fs::read_to_string(data.join("master.key")).expect("a key");
    let made = Call::new(addr, "POST", "/api/v1/sessions").header("x-master-key", key.trim());
    let made = made.json(&json!({ "sessionId": "shop" }));
    made.send().await.expect(201);
    scan(&network, addr, key.trim(), "6281200000809").await;
    eventually("connected", || async {
        let row = Call::new(addr, "GET", "/api/v1/sessions/shop");
        let row = row.header("x-master-key", key.trim()).send().await;
        (row.json()["status"] == "CONNECTED").then_some(())
    })
    .await;
    let logout = "/sandbox/phones/6281200000809/logout";
    let ended = network.control("POST", logout, &json!({})).await;
    ended.expect("logged out");
    let line = eventually("the reason", || async {
        let log = std::fs::read_to_string(&log).expect("text");
        let line = log
            .lines()
            .find(|line| line.contains("nothing can be sent"));
        line.map(str::to_owned)
    })
    .await;
    for part in [" WARN ", "session=shop", "Logged out"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_nothing_is_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    std::fs::create_dir(&data).expect("a folder");
    let name = copy.display().to_string();
    let (made, said) = run(&data, "127.0.0.1:1", &["backup", &name]).await;
    let place = format!("the data folder {} holds no store", data.display());
    assert!(!made && said.contains(&place), "{said}");
    assert!(said.contains("--data"), "{said}");
    let none = folder.path().join("none");
    let (made, said) = run(&none, "127.0.0.1:1", &["backup", &name]).await;
    assert!(!made && said.contains("none does not exist"), "{said}");
    assert_eq!(std::fs::read_dir(&data).expect("a folder").count(), 0);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_room_names_the_folder_and_writes_nothing() {
    // More than any disk has that is written to in a test; it takes no room itself.
    const LARGE: u64 = 8 << 40;
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut running = serve(&data, &network).await;
    let name = crate::files::sha256(b"large");
    let large = std::fs::File::create(data.join("media").join(name)).expect("a file");
    large.set_len(LARGE).expect("a long file");
    let copy = folder.path().join("copy");
    let place = copy.display().to_string();
    let refused = || async {
        let (made, said) = run(&data, &running.listen, &["backup", &place]).await;
        let (_, figure) = said.split_once("it needs ").expect("how much");
        let figure: Option<u64> = figure.split(' ').next().and_then(|n| n.parse().ok());
        assert!(
            !made && figure.is_some_and(|mib| mib > LARGE >> 20),
            "{said}"
        );
        for part in ["no room", "MiB are free", "Nothing was written"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            1
        );
        said
    };
    // The gateway makes the copy in its data folder first.
    let said = refused().await;
    assert!(said.contains(data.to_str().expect("a path")), "{said}");
    let left = std::fs::read_dir(data.join("backups")).expect("a folder");
    assert_eq!(left.count(), 0);
    running.child.kill().await.expect("killed");
    refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_looks_at_the_key_of_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut rig = crate::support::Rig::new().await;
    rig.create("shop").await;
    rig.stop().await;
    let data = rig.config.data.clone();
    let key = data.join("secret.key");
    let own = std::fs::read_to_string(&key).expect("a key");
    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&key, mode).expect("set");
    };
    let check = || run(&data, "127.0.0.1:1", &["check"]);
    let (good, said) = check().await;
    assert!(good && !said.contains("does not know"), "{said}");
    // What a crash left is said, and is no fault.
    let left = hex::encode(Sha256::digest(b"left"));
    std::fs::write(data.join("media").join(left), b"left").expect("written");
    let (good, said) = check().await;
    let words =
        "files that the store does not know, left by a crash: 1; the next start removes them";
    assert!(good && said.contains(words), "{said}");
    mode(0o644);
    let (good, said) = check().await;
    assert!(
        !good && said.contains("can be read by others (mode 644)"),
        "{said}"
    );
    mode(0o600);
    for (text, words) in [
        ("ab".repeat(32), "another store"),
        ("no key".into(), "damaged"),
    ] {
        std::fs::write(&key, text).expect("written");
        let (good, said) = check().await;
        assert!(!good && said.contains(words), "{said}");
        assert!(said.contains(&key.display().to_string()), "{said}");
    }
    std::fs::remove_file(&key).expect("removed");
    let (good, said) = check().await;
    assert!(!good && said.contains("is missing"), "{said}");
    assert!(!key.exists(), "no key is made");
    std::fs::write(&key, own).expect("written");
    mode(0o600);
    let (good, said) = check().await;
    assert!(good, "{said}");
}
