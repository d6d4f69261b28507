//! Servers on loopback that say what a test tells them to.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::*;
use crate::error::{ErrorKind, Result};
use crate::http::dns::ask::ask;
use crate::http::dns::{Answer, Family, Names, Question};

const SERVFAIL: u16 = 2;
const REFUSED: u16 = 5;

/// A question as a server got it.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    /// Which of the servers.
    server: u8,
    tcp: bool,
    name: String,
    v6: bool,
    bytes: Vec<u8>,
}

impl Asked {
    fn new(server: u8, tcp: bool, bytes: &[u8]) -> Self {
        let (mut at, mut labels) = (12, Vec::new());
        while bytes[at] != 0 {
            let end = at + 1 + usize::from(bytes[at]);
            labels.push(String::from_utf8_lossy(&bytes[at + 1..end]));
            at = end;
        }
        Self {
            server,
            tcp,
            name: labels.join(".").to_ascii_lowercase(),
            v6: bytes[at + 2] == 28,
            bytes: bytes.to_vec(),
        }
    }

    fn say(&self, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        reply(&self.bytes, flags, records)
    }

    /// The one address of the family that is asked for.
    fn good(&self) -> Vec<u8> {
        let ip = if self.v6 { "2001:db8::1" } else { "1.2.3.4" };
        self.say(0, &[address(&self.name, ip, 60)])
    }
}

type Script = dyn Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync;

/// Servers at 127.0.0.1 and the following addresses, and a machine that asks them.
struct World {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

impl World {
    /// Starts the servers; a script says what is sent to a question, perhaps nothing.
    async fn of(
        servers: u8,
        script: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let (port, sockets) = bind(servers).await;
        let script: Arc<Script> = Arc::new(script);
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let mut tasks = JoinSet::new();
        for (server, (udp, tcp)) in (1..).zip(sockets) {
            let (say, log) = (script.clone(), asked.clone());
            tasks.spawn(async move {
                let mut packet = [0; 1500];
                while let Ok((length, client)) = udp.recv_from(&mut packet).await {
                    let question = Asked::new(server, false, &packet[..length]);
                    log.lock().expect("no panic").push(question.clone());
                    for message in say(&question) {
                        let _ = udp.send_to(&message, client).await;
                    }
                }
            });
            let (say, log) = (script.clone(), asked.clone());
            tasks.spawn(async move {
                while let Ok((mut stream, _)) = tcp.accept().await {
                    let length = stream.read_u16().await.expect("a length");
                    let mut packet = vec![0; length.into()];
                    stream.read_exact(&mut packet).await.expect("a question");
                    let question = Asked::new(server, true, &packet);
                    log.lock().expect("no panic").push(question.clone());
                    for message in say(&question) {
                        let _ = stream.write_u16(message.len() as u16).await;
                        let _ = stream.write_all(&message).await;
                    }
                }
            });
        }
        let world = Self {
            port,
            asked,
            folder: tempfile::tempdir().expect("a folder"),
            _tasks: tasks,
        };
        let lines = (1..=servers).map(|n| format!("nameserver 127.0.0.{n}\n"));
        world.configure(&(lines.collect::<String>() + "options timeout:1\n"));
        world
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.path("resolv.conf"), text).expect("a file");
    }

    fn names(&self) -> Names {
        Names::new(self.path("resolv.conf"), [].into(), self.port).with_hosts(self.path("hosts"))
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Who was asked for IPv4 addresses of what, in order.
    fn order(&self) -> Vec<(u8, String)> {
        let of = |asked: Asked| (!asked.v6).then_some((asked.server, asked.name));
        self.asked().into_iter().filter_map(of).collect()
    }
}

/// The same port at several addresses.
async fn bind(servers: u8) -> (u16, Vec<(UdpSocket, TcpListener)>) {
    for _ in 0..100 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let port = first
            .and_then(|l| l.local_addr())
            .expect("a free port")
            .port();
        let mut sockets = Vec::new();
        for n in 1..=servers {
            let at = SocketAddr::from(([127, 0, 0, n], port));
            if let (Ok(udp), Ok(tcp)) = (UdpSocket::bind(at).await, TcpListener::bind(at).await) {
                sockets.push((udp, tcp));
            }
        }
        if sockets.len() == usize::from(servers) {
            return (port, sockets);
        }
    }
    panic!("no port is free at all addresses");
}

async fn lookup(names: &Names, name: &str) -> Result<Vec<IpAddr>> {
    timeout(Duration::from_secs(20), names.lookup(name))
        .await
        .expect("this takes far too long")
}

async fn unknown(names: &Names, name: &str) {
    let error = lookup(names, name).await.expect_err(name);
    assert_eq!(error.kind(), ErrorKind::Upstream);
    assert_eq!(error.detail(), "The host's name cannot be resolved");
}

fn both() -> Vec<IpAddr> {
    ips(&["1.2.3.4", "2001:db8::1"])
}

#[tokio::test]
async fn both_families_are_asked_for_and_the_answer_is_kept() {
    let world = World::of(1, |asked| vec![asked.good()]).await;
    let names = world.names();
    let (first, second) = tokio::join!(lookup(&names, "A.example"), lookup(&names, "a.example"));
    assert_eq!(first.expect("addresses"), both());
    assert_eq!(second.expect("addresses"), both());
    lookup(&names, "a.example").await.expect("addresses");
    let mut families: Vec<_> = world.asked().iter().map(|asked| asked.v6).collect();
    families.sort_unstable();
    assert_eq!(families, [false, true]);
    // Another configuration may mean another network.
    world.configure("nameserver 127.0.0.1\n");
    lookup(&names, "a.example").await.expect("addresses");
    let asked = world.asked();
    assert_eq!(asked.len(), 4);
    // Every question has an id of its own; some may agree by chance.
    assert!(asked.iter().any(|a| a.bytes[..2] != asked[0].bytes[..2]));
}

#[tokio::test]
async fn what_holds_for_no_time_is_asked_for_again() {
    let world = World::of(1, |asked| {
        vec![asked.say(0, &[address(&asked.name, "1.2.3.4", 0)])]
    })
    .await;
    let names = world.names();
    for turn in 1..=3 {
        let found = lookup(&names, "a.example").await.expect("an address");
        assert_eq!(found, ips(&["1.2.3.4"]));
        assert_eq!(world.asked().len(), 2 * turn);
    }
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_ignored() {
    let world = World::of(1, |asked| {
        let forged = asked.say(0, &[address(&asked.name, "6.6.6.6", 60)]);
        let mut other_id = forged.clone();
        other_id[0] ^= 1;
        let mut other_name = forged;
        other_name[13] = b'b';
        vec![other_id, other_name, vec![], vec![0; 5], asked.good()]
    })
    .await;
    let found = lookup(&world.names(), "a.example").await;
    assert_eq!(found.expect("addresses"), both());
}

#[tokio::test]
async fn nobody_but_the_server_is_heard() {
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let (server, other) = (bind().await.expect("a port"), bind().await.expect("a port"));
    let at = server.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        let (length, client) = server.recv_from(&mut packet).await.expect("a question");
        let asked = Asked::new(1, false, &packet[..length]);
        let forged = asked.say(0, &[address(&asked.name, "6.6.6.6", 60)]);
        other.send_to(&forged, client).await.expect("sent");
        server.send_to(&asked.good(), client).await.expect("sent");
    });
    let question = Question::new(1, "a.example", Family::V4).expect("a name");
    let answer = timeout(Duration::from_secs(5), ask(at, &question)).await;
    let answer = answer.expect("in time").expect("an answer");
    assert_eq!(answer, Answer::Addresses(ips(&["1.2.3.4"]), 60));
}

#[tokio::test]
async fn a_forger_has_to_guess_the_letters_too() {
    let name = "a-name-with-many-letters.example";
    let world = World::of(1, |asked| {
        if asked.tcp {
            return vec![asked.good()];
        }
        // All that stands in the question but its letters, which nobody on another way sees.
        let mut blind = asked.clone();
        blind.bytes[12..].make_ascii_lowercase();
        vec![
            blind.say(0, &[address(&asked.name, "6.6.6.6", 60)]),
            asked.good(),
        ]
    })
    .await;
    let found = lookup(&world.names(), name).await;
    assert_eq!(found.expect("addresses"), both());
}

#[tokio::test]
async fn a_server_that_does_not_keep_letters_is_understood() {
    for hears_tcp in [true, false] {
        let world = World::of(1, move |asked| {
            if asked.tcp && !hears_tcp {
                return vec![];
            }
            let mut loud = asked.clone();
            let end = loud.bytes.len() - 4;
            loud.bytes[12..end].make_ascii_uppercase();
            vec![loud.good()]
        })
        .await;
        let found = lookup(&world.names(), "a-name-with-many-letters.example").await;
        assert_eq!(found.expect("addresses"), both(), "{hears_tcp}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_comes_by_tcp() {
    let many = |asked: &Asked| {
        let ips = (1..60).map(|n| format!("1.2.3.{n}"));
        let records: Vec<_> = ips.map(|ip| address(&asked.name, &ip, 60)).collect();
        asked.say(0, &records)
    };
    let world = World::of(1, move |asked| {
        let message = match (asked.tcp, asked.v6) {
            (_, true) => asked.say(0, &[]),
            (true, false) => many(asked),
            // One server says that it is cut, the other just cuts.
            (false, false) if asked.name == "a.example" => asked.say(CUT, &[]),
            (false, false) => many(asked)[..500].to_vec(),
        };
        vec![message]
    })
    .await;
    let names = world.names();
    for name in ["a.example", "b.example"] {
        assert_eq!(lookup(&names, name).await.expect("addresses").len(), 59);
    }
    assert_eq!(world.asked().iter().filter(|asked| asked.tcp).count(), 2);
}

#[tokio::test]
async fn a_name_that_there_is_not_is_asked_for_once() {
    let world = World::of(2, |asked| vec![asked.say(NO_SUCH_NAME, &[])]).await;
    unknown(&world.names(), "a.example").await;
    assert_eq!(world.order(), [(1, "a.example".to_owned())]);
    // Neither is one without addresses.
    let world = World::of(2, |asked| vec![asked.say(0, &[])]).await;
    unknown(&world.names(), "a.example").await;
    assert_eq!(world.order(), [(1, "a.example".to_owned())]);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails() {
    for code in [SERVFAIL, REFUSED] {
        let world = World::of(2, move |asked| match asked.server {
            1 => vec![asked.say(code, &[])],
            _ => vec![asked.good()],
        })
        .await;
        let found = lookup(&world.names(), "a.example").await;
        assert_eq!(found.expect("addresses"), both());
    }
    let world = World::of(2, |asked| vec![asked.say(SERVFAIL, &[])]).await;
    unknown(&world.names(), "a.example").await;
    let servers: Vec<_> = world
        .order()
        .into_iter()
        .map(|(server, _)| server)
        .collect();
    assert_eq!(servers, [1, 2, 1, 2]);
}

#[tokio::test]
async fn a_silent_server_costs_one_try() {
    let world = World::of(2, |asked| match asked.server {
        1 => vec![],
        _ => vec![asked.good()],
    })
    .await;
    let start = Instant::now();
    let found = lookup(&world.names(), "a.example").await;
    assert_eq!(found.expect("addresses"), both());
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(world.order().len(), 2);
}

#[tokio::test]
async fn a_silent_family_does_not_take_the_other_along() {
    let world = World::of(2, |asked| match asked.v6 {
        true => vec![],
        false => vec![asked.good()],
    })
    .await;
    let found = lookup(&world.names(), "a.example").await;
    assert_eq!(found.expect("an address"), ips(&["1.2.3.4"]));
    assert_eq!(world.asked().len(), 2);
    let world = World::of(2, |asked| match asked.v6 {
        true => vec![asked.good()],
        false => vec![asked.say(SERVFAIL, &[])],
    })
    .await;
    let found = lookup(&world.names(), "a.example").await;
    assert_eq!(found.expect("an address"), ips(&["2001:db8::1"]));
    // Where one family has nothing and the other failed, another server may know.
    let world = World::of(2, |asked| match (asked.server, asked.v6) {
        (1, true) => vec![asked.say(SERVFAIL, &[])],
        (1, false) => vec![asked.say(0, &[])],
        _ => vec![asked.good()],
    })
    .await;
    let found = lookup(&world.names(), "a.example").await;
    assert_eq!(found.expect("addresses"), both());
}

#[tokio::test]
async fn a_hosts_file_comes_first_and_counts_as_it_is_now() {
    let world = World::of(1, |asked| vec![asked.good()]).await;
    let names = world.names();
    assert_eq!(lookup(&names, "nas").await.expect("addresses"), both());
    std::fs::write(world.path("hosts"), "10.0.0.7 nas.lan nas\n").expect("a file");
    let own = ips(&["10.0.0.7"]);
    assert_eq!(lookup(&names, "NAS").await.expect("an address"), own);
    assert_eq!(lookup(&names, "nas.lan").await.expect("an address"), own);
    std::fs::write(world.path("hosts"), "10.0.0.8 nas\n").expect("a file");
    let own = ips(&["10.0.0.8"]);
    assert_eq!(lookup(&names, "nas").await.expect("an address"), own);
    std::fs::remove_file(world.path("hosts")).expect("the file");
    assert_eq!(lookup(&names, "nas").await.expect("addresses"), both());
    assert_eq!(world.order(), [(1, "nas".to_owned())]);
}

#[tokio::test]
async fn a_name_without_a_dot_is_looked_for_below_the_networks_domains() {
    let world = World::of(1, |asked| match asked.name.as_str() {
        "nas.two.example" | "alone" => vec![asked.good()],
        "alone.two.example" => vec![asked.say(SERVFAIL, &[])],
        _ => vec![asked.say(NO_SUCH_NAME, &[])],
    })
    .await;
    world.configure("search one.example two.example\noptions attempts:1\nnameserver 127.0.0.1\n");
    let names = world.names();
    lookup(&names, "nas").await.expect("addresses");
    lookup(&names, "alone").await.expect("addresses");
    unknown(&names, "nas.two").await;
    unknown(&names, "nas.").await;
    let asked: Vec<_> = world.order().into_iter().map(|(_, name)| name).collect();
    let expected = [
        "nas.one.example",
        "nas.two.example",
        "alone.one.example",
        "alone.two.example",
        "alone",
        "nas.two",
        "nas",
    ];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_name_that_cannot_be_asked_for_is_unknown() {
    let world = World::of(1, |asked| vec![asked.good()]).await;
    let names = world.names();
    for name in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(200)] {
        unknown(&names, name).await;
    }
    assert_eq!(world.asked(), []);
}

#[tokio::test]
async fn without_name_servers_the_fallback_is_asked() {
    let world = World::of(2, |asked| vec![asked.good()]).await;
    world.configure("# nothing\n");
    let fallback = ips(&["127.0.0.2"]);
    let file = world.path("resolv.conf");
    let names = Names::new(file, fallback.into(), world.port).with_hosts(world.path("hosts"));
    lookup(&names, "a.example").await.expect("addresses");
    // Without one, it is this machine.
    std::fs::remove_file(world.path("resolv.conf")).expect("the file");
    lookup(&world.names(), "a.example")
        .await
        .expect("addresses");
    let servers: Vec<_> = world
        .order()
        .into_iter()
        .map(|(server, _)| server)
        .collect();
    assert_eq!(servers, [2, 1]);
}

#[tokio::test]
async fn whoever_gives_up_leaves_the_search_to_the_next() {
    let answers = Arc::new(AtomicBool::new(false));
    let open = answers.clone();
    let world = World::of(1, move |asked| match open.load(Ordering::SeqCst) {
        true => vec![asked.good()],
        false => vec![],
    })
    .await;
    let names = world.names();
    let mut first = Box::pin(lookup(&names, "a.example"));
    let mut second = Box::pin(lookup(&names, "a.example"));
    let asked = async {
        while world.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = &mut first => panic!("nobody answers yet"),
        _ = &mut second => panic!("nobody answers yet"),
        () = asked => {}
    }
    // The second waited for the first's questions.
    assert_eq!(world.asked().len(), 2);
    answers.store(true, Ordering::SeqCst);
    drop(first);
    assert_eq!(second.await.expect("addresses"), both());
    assert_eq!(world.asked().len(), 4);
}
