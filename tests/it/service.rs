//! The program under a supervisor, and on hosts where something is wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, UnixDatagram};
use tokio::process::{Child, Command};

use warung::sandbox::Sandbox;

use crate::support::program;

/// What a supervisor is told, in the order of arrival.
struct Supervisor {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Supervisor {
    fn new(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        Self {
            socket,
            heard: Vec::new(),
        }
    }

    /// Waits for a line that begins like this, and answers it.
    async fn hears(&mut self, start: &str) -> String {
        loop {
            let mut buffer = [0; 1024];
            let got = tokio::time::timeout(Duration::from_secs(30), self.socket.recv(&mut buffer));
            let got = got
                .await
                .unwrap_or_else(|_| panic!("{start}: {:?}", self.heard));
            let text = String::from_utf8_lossy(&buffer[..got.expect("a datagram")]).into_owned();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            self.heard.extend(lines.clone());
            if let Some(line) = lines.into_iter().find(|line| line.starts_with(start)) {
                return line;
            }
        }
    }
}

fn sandbox(folder: &Path) -> Child {
    Command::new(program())
        .args(["sandbox", "--listen"])
        .arg(format!("unix:{}", folder.join("socket").display()))
        .arg("--data")
        .arg(folder.join("data"))
        .env("NOTIFY_SOCKET", folder.join("notify"))
        .env("WATCHDOG_USEC", "600000")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_it_serves_that_it_lives_and_that_it_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut supervisor = Supervisor::new(folder.path());
    let mut child = sandbox(folder.path());
    supervisor.hears("READY=1").await;
    let (works, _) = run(
        folder.path(),
        &[
            "healthcheck",
            "--data",
            "data",
            "--listen",
            &format!("unix:{}", folder.path().join("socket").display()),
        ],
    )
    .await;
    assert!(works, "ready means that it serves");
    let status = supervisor.hears("STATUS=").await;
    assert_eq!(status, "STATUS=0 of 0 sessions connected");
    for _ in 0..3 {
        supervisor.hears("WATCHDOG=1").await;
    }
    terminate(&child).await;
    supervisor.hears("STOPPING=1").await;
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert!(ended.expect("in time").expect("it ends").success());
}

/// Runs a command in a folder; answers success and what it printed.
async fn run(folder: &Path, words: &[&str]) -> (bool, String) {
    let output = Command::new(program())
        .args(words)
        .current_dir(folder)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await;
    let output = output.expect("in time").expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// The line of a self-check about something.
fn about<'a>(text: &'a str, what: &str) -> &'a str {
    let line = text
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(what));
    line.unwrap_or_else(|| panic!("{what} in {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_check_of_a_good_host_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let (works, text) = run(folder.path(), &["self-check", "--listen", "127.0.0.1:0"]).await;
    assert!(works, "{text}");
    for what in ["data", "disk", "clock", "listen"] {
        assert!(about(&text, what).starts_with("ok "), "{text}");
    }
    let left = std::fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 0, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_check_names_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let taken = other.local_addr().expect("an address").to_string();
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").expect("written");
    let under_file = file.join("data").display().to_string();
    let (works, text) = run(
        folder.path(),
        &[
            "self-check",
            "http://127.0.0.1:9/",
            "--listen",
            &taken,
            "--data",
            &under_file,
        ],
    )
    .await;
    assert!(!works, "{text}");
    assert!(about(&text, "data").contains("FAIL"), "{text}");
    let listen = about(&text, "listen");
    assert!(
        listen.contains("FAIL") && listen.contains("--listen"),
        "{text}"
    );
    let url = about(&text, "url");
    assert!(url.contains("FAIL") && url.contains("private"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_check_sees_a_store_without_its_key_and_a_gateway_that_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut supervisor = Supervisor::new(folder.path());
    let child = sandbox(folder.path());
    supervisor.hears("READY=1").await;
    let (data, socket) = (folder.path().join("data"), folder.path().join("socket"));
    let words = [
        "self-check",
        "--listen",
        &format!("unix:{}", socket.display()),
        "--data",
        &data.display().to_string(),
    ];
    let (works, text) = run(folder.path(), &words).await;
    assert!(works, "{text}");
    assert!(
        about(&text, "data").contains("a gateway that runs"),
        "{text}"
    );
    assert!(about(&text, "listen").contains("already"), "{text}");
    drop(child);
    crate::support::eventually("the gateway is gone", || async {
        let in_use = warung::store::is_in_use(&data.join("warung.redb"));
        (!in_use.expect("readable")).then_some(())
    })
    .await;
    std::fs::remove_file(data.join("secret.key")).expect("removed");
    let (works, text) = run(folder.path(), &words).await;
    assert!(!works, "{text}");
    assert!(about(&text, "data").contains("secret.key"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_operators_own_are_trusted_when_they_are_readable() {
    let folder = tempfile::tempdir().expect("a folder");
    let roots = folder.path().join("roots.pem");
    let words = [
        "self-check",
        "--listen",
        "127.0.0.1:0",
        "--trusted-roots",
        &roots.display().to_string(),
    ];
    let (works, text) = run(folder.path(), &words).await;
    assert!(!works && text.contains("trusted_roots"), "{text}");
    std::fs::write(&roots, "no certificate").expect("written");
    let (works, text) = run(folder.path(), &words).await;
    assert!(!works && text.contains("certificate"), "{text}");
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("made");
    std::fs::write(&roots, made.cert.pem()).expect("written");
    let readable = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&roots, readable).expect("set");
    let (works, text) = run(folder.path(), &words).await;
    assert!(works, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_at_once_while_whatsapp_does_not_answer() {
    let network = Sandbox::open(Default::default()).await.expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let running = crate::kill::Running::start(&data, &network).await;
    crate::kill::pair_with(&running, &network, "6281200000911").await;
    running.kill().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}/ws/chat", silent.local_addr().expect("an address"));
    let mut child = Command::new(program())
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--whatsapp-url",
            &url,
            "--data",
        ])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let called = tokio::time::timeout(Duration::from_secs(30), silent.accept()).await;
    let _held = called.expect("in time").expect("it connects");
    terminate(&child).await;
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("piped");
    let reading = tokio::io::AsyncReadExt::read_to_string(stderr, &mut said);
    tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .expect("it ends")
        .expect("text");
    assert!(child.wait().await.expect("it ends").success());
    // Each step that has to be cut off says so.
    assert!(
        said.contains("stopping") && !said.contains("in time"),
        "{said}"
    );
}

async fn terminate(child: &Child) {
    let id = child.id().expect("it runs").to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status().await;
    assert!(told.expect("kill runs").success());
}
