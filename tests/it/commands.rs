//! The program as a person uses it: its commands, and what they print.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use warung::sandbox::Sandbox;

use crate::support::{Call, eventually, program};

struct Running {
    child: Child,
    listen: String,
    said: Vec<String>,
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
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut said = Vec::new();
    loop {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        let line = line
            .expect("in time")
            .expect("readable")
            .expect("it goes on");
        said.push(line.clone());
        if let Some(url) = line.strip_prefix("listening on http://") {
            let listen = url.to_owned();
            return Running {
                child,
                listen,
                said,
            };
        }
    }
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
    assert!(warung::store::check(&copy).expect("a store").is_empty());
    assert_eq!(
        std::fs::read(&file).expect("the file is copied too"),
        b"%PDF-1.4"
    );
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

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_end_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    for (words, part) in [
        (&["fly"][..], "unknown command"),
        (&["serve"], "sandbox build"),
        (
            &["serve", "--whatsapp-url", "wss://web.whatsapp.com/ws/chat"],
            "127.0.0.1",
        ),
        (&["pair", "shop"], "no gateway runs on"),
        (&["check"], "warung.redb"),
    ] {
        let (good, said) = run(&data, "127.0.0.1:1", words).await;
        assert!(!good && said.contains(part), "{words:?}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (good, said) = run(&data, &address, &["sandbox"]).await;
    assert!(!good && said.contains(&address), "{said}");
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
