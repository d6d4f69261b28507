//! The resolver against servers on loopback that say what a test tells them to.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::error::{ErrorKind, Result};
use crate::net::resolver::Resolver;

const SERVFAIL: u16 = 2;
const NO_SUCH_NAME: u16 = 3;
const REFUSED: u16 = 5;
const CUT: u16 = 0x0200;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    let ips = texts.iter().map(|t| t.parse().expect("an address"));
    ips.collect()
}

/// A name as it is sent, not compressed.
fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(label.len() as u8);
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}

/// A record of an answer.
fn record(owner: &[u8], kind: u16, ttl: u32, content: &[u8]) -> Vec<u8> {
    let mut record = owner.to_vec();
    record.extend(kind.to_be_bytes());
    record.extend([0, 1]);
    record.extend(ttl.to_be_bytes());
    record.extend((content.len() as u16).to_be_bytes());
    record.extend(content);
    record
}

fn address(owner: &str, ip: &str, ttl: u32) -> Vec<u8> {
    match ip.parse().expect("an address") {
        IpAddr::V4(ip) => record(&wire(owner), 1, ttl, &ip.octets()),
        IpAddr::V6(ip) => record(&wire(owner), 28, ttl, &ip.octets()),
    }
}

fn alias(owner: &str, of: &str, ttl: u32) -> Vec<u8> {
    record(&wire(owner), 5, ttl, &wire(of))
}

/// The answer of a server that asks others, to a question as it was sent.
fn reply(question: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut reply = question[..2].to_vec();
    for word in [0x8180 | flags, 1, records.len() as u16, 0, 0] {
        reply.extend(word.to_be_bytes());
    }
    reply.extend(&question[12..]);
    reply.extend(records.concat());
    reply
}

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

    fn names(&self) -> Resolver {
        self.names_or(&[])
    }

    fn names_or(&self, fallback: &[IpAddr]) -> Resolver {
        let (file, hosts) = (self.path("resolv.conf"), self.path("hosts"));
        Resolver::new(file, hosts, fallback.into(), self.port)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Who was asked for IPv4 addresses of what, in order. A question that is sent again, since no
    /// answer came, keeps its id and counts once.
    fn order(&self) -> Vec<(u8, String)> {
        let mut asked = self.asked();
        asked.retain(|asked| !asked.v6);
        asked.dedup_by(|b, a| a.server == b.server && a.bytes[..2] == b.bytes[..2]);
        let of = |asked: Asked| (asked.server, asked.name);
        asked.into_iter().map(of).collect()
    }

    /// How many different questions there were.
    fn questions(&self) -> usize {
        let asked = self.asked().into_iter();
        let different: HashSet<_> = asked
            .map(|a| (a.server, a.v6, a.bytes[..2].to_vec()))
            .collect();
        different.len()
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

async fn lookup(names: &Resolver, name: &str) -> Result<Vec<IpAddr>> {
    timeout(Duration::from_secs(20), names.lookup(name))
        .await
        .expect("this takes far too long")
}

async fn unknown(names: &Resolver, name: &str) {
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
    let port = server.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        while let Ok((length, client)) = server.recv_from(&mut packet).await {
            let asked = Asked::new(1, false, &packet[..length]);
            let forged = asked.say(0, &[address(&asked.name, "6.6.6.6", 60)]);
            other.send_to(&forged, client).await.expect("sent");
            server.send_to(&asked.good(), client).await.expect("sent");
        }
    });
    let nothing = PathBuf::from("/nonexistent/file");
    let names = Resolver::new(nothing.clone(), nothing, ips(&["127.0.0.1"]).into(), port);
    let found = lookup(&names, "a.example").await;
    assert_eq!(found.expect("addresses"), both());
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
    let names = world.names();
    let found = lookup(&names, "a.example").await;
    assert_eq!(found.expect("addresses"), both());
    assert!(start.elapsed() >= Duration::from_secs(1));
    let asked = |server, name: &str| (server, name.to_owned());
    assert_eq!(
        world.order(),
        [asked(1, "a.example"), asked(2, "a.example")]
    );
    // For a while it is asked only when the other one fails.
    lookup(&names, "b.example").await.expect("addresses");
    assert_eq!(world.order()[2..], [asked(2, "b.example")]);
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
    assert_eq!(world.questions(), 2);
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
    let names = world.names_or(&ips(&["127.0.0.2"]));
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
    assert_eq!(world.questions(), 2);
    answers.store(true, Ordering::SeqCst);
    drop(first);
    assert_eq!(second.await.expect("addresses"), both());
}

#[tokio::test]
async fn records_of_other_names_and_kinds_are_left_out() {
    let world = World::of(1, |asked| {
        let name = asked.name.as_str();
        vec![asked.say(
            0,
            &[
                address("evil.example", "9.9.9.1", 9),
                address(name, "1.2.3.4", 9),
                address("example", "9.9.9.2", 9),
                address(name, "2001:db8::1", 9),
                record(&wire(name), 16, 9, b"\x04text"),
            ],
        )]
    })
    .await;
    let found = lookup(&world.names(), "www.example").await;
    assert_eq!(found.expect("addresses"), both());
}

#[tokio::test]
async fn aliases_are_followed_to_their_end() {
    let world = World::of(1, |asked| {
        let records = match (asked.name.as_str(), asked.v6) {
            (_, true) => vec![],
            ("www.example", _) => vec![
                alias("b.example", "c.example", 60),
                address("www.example", "9.9.9.1", 60),
                address("b.example", "9.9.9.2", 60),
                address("c.example", "1.2.3.4", 60),
                alias("www.example", "B.example", 60),
            ],
            // The end is not told along with it.
            ("short.example", _) => vec![alias("short.example", "c.example", 60)],
            ("c.example", _) => vec![address("c.example", "1.2.3.4", 60)],
            _ => vec![],
        };
        vec![asked.say(0, &records)]
    })
    .await;
    let names = world.names();
    for name in ["www.example", "short.example"] {
        let found = lookup(&names, name).await;
        assert_eq!(found.expect("an address"), ips(&["1.2.3.4"]), "{name}");
    }
}

#[tokio::test]
async fn aliases_that_go_in_a_circle_have_no_address() {
    let world = World::of(1, |asked| {
        let (name, own) = (asked.name.as_str(), address(&asked.name, "9.9.9.1", 60));
        let records = match name {
            "own.example" => vec![alias(name, name, 60), own],
            "two.example" => vec![
                alias(name, "b.example", 60),
                alias("b.example", name, 60),
                own,
            ],
            // Each name is an alias of the next, without end.
            _ => vec![alias(name, &format!("a{name}"), 60)],
        };
        vec![asked.say(0, &records)]
    })
    .await;
    let names = world.names();
    for name in ["own.example", "two.example", "endless.example"] {
        unknown(&names, name).await;
    }
    assert!(world.questions() < 100, "{}", world.questions());
}

#[tokio::test]
async fn no_more_addresses_are_taken_than_make_sense() {
    let world = World::of(1, |asked| {
        if asked.v6 {
            return vec![asked.say(0, &[])];
        }
        if !asked.tcp {
            return vec![asked.say(CUT, &[])];
        }
        // All that fits into a message.
        let own = |n: u16| record(b"\xc0\x0c", 1, 9, &[1, 2, (n >> 8) as u8, n as u8]);
        let records: Vec<_> = (0..4000).map(own).collect();
        vec![asked.say(0, &records)]
    })
    .await;
    let found = lookup(&world.names(), "www.example").await;
    assert_eq!(found.expect("addresses").len(), 64);
}

#[tokio::test]
async fn what_cannot_be_read_is_no_answer() {
    let content = [1, 2, 3, 4];
    let ladder: Vec<u8> = (0..1000u16)
        .flat_map(|i| (0xc000 | (40 + 2 * i)).to_be_bytes())
        .collect();
    let garbled: Vec<Vec<Vec<u8>>> = vec![
        // Pointers at themselves, forwards, beyond the end, at each other.
        vec![record(b"\xc0\x1d", 1, 9, &content)],
        vec![record(b"\xc0\x1f", 1, 9, &content)],
        vec![record(b"\xff\xff", 1, 9, &content)],
        vec![record(b"\x03www\xc0\x1d", 1, 9, &content)],
        vec![
            record(&wire("www.example"), 16, 9, b"\xc0\x36"),
            record(b"\xc0\x34", 1, 9, &content),
        ],
        vec![
            record(&[0], 16, 9, &ladder),
            record(b"\xc7\xf0", 1, 9, &content),
        ],
        // Labels of kinds that there are not.
        vec![record(b"\x40www\0", 1, 9, &content)],
        vec![record(b"\x80\x0c", 1, 9, &content)],
        // Too long for an address, and too short.
        vec![record(b"\xc0\x0c", 1, 9, &[1, 2, 3, 4, 5])],
        vec![record(b"\xc0\x0c", 1, 9, &[1, 2, 3])],
        // An alias that is longer than its record.
        vec![record(b"\xc0\x0c", 5, 9, b"\x09b")],
        // More records are announced than follow.
        vec![vec![0xc0]],
    ];
    for (number, records) in garbled.into_iter().enumerate() {
        let world = World::of(1, move |asked| vec![asked.say(0, &records)]).await;
        world.configure("options timeout:1 attempts:1\nnameserver 127.0.0.1\n");
        unknown(&world.names(), "www.example").await;
        assert!(world.asked().len() > 1, "{number}");
    }
}

#[tokio::test]
async fn an_endless_answer_by_tcp_ends_with_the_try() {
    let world = World::of(2, |asked| match (asked.server, asked.tcp) {
        (1, false) => vec![asked.say(CUT, &[])],
        // It answers, but never the question.
        (1, true) => vec![vec![0; 20_000]; 200],
        _ => vec![asked.good()],
    })
    .await;
    let found = lookup(&world.names(), "www.example").await;
    assert_eq!(found.expect("addresses"), both());
}

#[tokio::test]
async fn an_answer_that_drips_by_tcp_ends_with_the_try() {
    let (port, sockets) = bind(1).await;
    let mut tasks = JoinSet::new();
    for (udp, tcp) in sockets {
        tasks.spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, client)) = udp.recv_from(&mut packet).await {
                let cut = Asked::new(1, false, &packet[..length]).say(CUT, &[]);
                let _ = udp.send_to(&cut, client).await;
            }
        });
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                tokio::spawn(async move {
                    let _ = stream.write_u16(60_000).await;
                    while stream.write_u8(0).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                });
            }
        });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    std::fs::write(
        &file,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )
    .expect("a file");
    unknown(
        &Resolver::new(file, "/nonexistent/hosts".into(), [].into(), port),
        "www.example",
    )
    .await;
}

#[tokio::test]
async fn names_of_this_machine_are_not_asked_for() {
    let world = World::of(1, |asked| vec![asked.good()]).await;
    let found = lookup(&world.names(), "a.localhost").await;
    assert_eq!(found.expect("this machine"), ips(&["127.0.0.1", "::1"]));
    unknown(&world.names(), "a.invalid").await;
    assert_eq!(world.asked(), []);
}
