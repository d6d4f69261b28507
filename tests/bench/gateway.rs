//! Benchmarks of the whole program: the real binary as a process of its own, the simulated network
//! in this one, both on the same two cores. `cargo bench --features sandbox`.
//!
//! Absolute figures depend on the machine and on what else it does; the README records one run.
//! `cargo bench --features sandbox -- memory` runs only the sections whose name holds that word.

mod campaigns;
mod media;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warung::sandbox::Sandbox;

const MASTER: &str = "master-key-of-the-benchmarks";

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let network = runtime
        .block_on(Sandbox::open(Default::default()))
        .expect("a network");
    let sections: [(&str, Section); 7] = [
        ("start", start_time),
        ("sessions", list_sessions),
        ("messages", messages),
        ("media", media::media),
        ("campaigns", campaigns::campaigns),
        ("rest", at_rest),
        ("memory", memory),
    ];
    let bench = Bench { runtime, network };
    for (name, section) in sections {
        if runs(name) {
            section(&bench);
        }
    }
}

/// One part of the benchmarks.
type Section = fn(&Bench);

struct Bench {
    runtime: tokio::runtime::Runtime,
    network: Sandbox,
}

/// A gateway in a process of its own.
struct Gateway {
    child: Child,
    addr: SocketAddr,
}

impl Gateway {
    fn start(bench: &Bench, data: &std::path::Path) -> Self {
        // Another build can be measured: the static one of a release, say.
        #[expect(clippy::disallowed_methods, reason = "the rule is for the program")]
        let program = std::env::var("BENCH_PROGRAM");
        let program = program.as_deref().unwrap_or(env!("CARGO_BIN_EXE_warung"));
        let mut child = Command::new(program)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--guard",
                "off",
                "--log",
                "error",
                "--master-key",
                MASTER,
            ])
            .args([
                "--max-sessions",
                "2000",
                "--whatsapp-url",
                &bench.network.url(),
            ])
            .arg("--data")
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let addr = lines
            .find_map(|line| {
                line.expect("readable")
                    .strip_prefix("listening on http://")
                    .map(str::to_owned)
            })
            .expect("it listens");
        Self {
            child,
            addr: addr.parse().expect("an address"),
        }
    }

    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.addr).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Connection {
            stream,
            buffer: vec![0; 256 << 10],
        }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.connect().ask(&request(method, path, &body));
        serde_json::from_slice(&answer).unwrap_or(Value::Null)
    }

    /// Memory that the process holds, in KiB.
    fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it held since [`forget_peak`](Self::forget_peak), in KiB.
    fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("Linux");
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a running process");
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .expect("a figure");
        line.split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    }

    fn metric(&self, name: &str) -> f64 {
        let answer = self.connect().ask(&request("GET", "/metrics", ""));
        let text = String::from_utf8(answer).expect("text");
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("warung_{name} ")));
        line.and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("{name} in {text}"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\nx-master-key: {MASTER}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A keep-alive connection that costs next to nothing itself.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn ask(&mut self, request: &str) -> Vec<u8> {
        self.ask_bytes(request.as_bytes())
    }

    fn ask_bytes(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(request).expect("written");
        let mut got = 0;
        loop {
            if got == self.buffer.len() {
                self.buffer.resize(got * 2, 0);
            }
            let read = self
                .stream
                .read(&mut self.buffer[got..])
                .expect("an answer");
            assert!(read > 0, "the server hung up");
            got += read;
            let Some(head) = self.buffer[..got].windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "))
                .and_then(|n| n.parse::<usize>().ok())
                .expect("a content-length");
            if got >= head + 4 + length {
                return self.buffer[head + 4..head + 4 + length].to_vec();
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Time from the start of the process to its first answer.
fn start_time(bench: &Bench) {
    let measure = |data: &std::path::Path| {
        let times = (0..11).map(|_| {
            let started = Instant::now();
            let gateway = Gateway::start(bench, data);
            gateway.ask("GET", "/health", &Value::Null);
            started.elapsed().as_secs_f64() * 1000.0
        });
        median(times.collect())
    };
    let folder = tempfile::tempdir().expect("a folder");
    println!(
        "start to first answer, empty store: {:.1} ms",
        measure(folder.path())
    );
    let folder = tempfile::tempdir().expect("a folder");
    {
        let gateway = Gateway::start(bench, folder.path());
        for n in 0..1000 {
            gateway.ask(
                "POST",
                "/api/v1/sessions",
                &json!({ "sessionId": format!("s{n}") }),
            );
        }
    }
    println!(
        "start to first answer, 1,000 sessions stored: {:.1} ms",
        measure(folder.path())
    );
}

/// `GET /api/v1/sessions` on 16 connections.
fn list_sessions(bench: &Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(bench, folder.path());
    for (name, count) in [("empty list", 0), ("100 sessions", 100)] {
        for n in 0..count {
            gateway.ask(
                "POST",
                "/api/v1/sessions",
                &json!({ "sessionId": format!("s{n}") }),
            );
        }
        std::thread::sleep(Duration::from_secs(if count > 0 { 3 } else { 0 }));
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..16)
            .map(|_| {
                let (mut connection, stop) = (gateway.connect(), stop.clone());
                std::thread::spawn(move || {
                    let request = "GET /api/v1/sessions HTTP/1.1\r\nhost: localhost\r\n\r\n";
                    let mut times = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let started = Instant::now();
                        connection.ask(request);
                        times.push(started.elapsed().as_secs_f64() * 1000.0);
                    }
                    times
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(5));
        stop.store(true, Ordering::Relaxed);
        let mut times: Vec<f64> = workers
            .into_iter()
            .flat_map(|w| w.join().expect("a worker"))
            .collect();
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() as f64 * part) as usize).min(times.len() - 1)];
        println!(
            "GET /api/v1/sessions, {name}: {:.0} req/s, p50 {:.2} ms, p99 {:.2} ms",
            times.len() as f64 / 5.0,
            at(0.5),
            at(0.99)
        );
    }
}

fn pair(bench: &Bench, gateway: &Gateway, session: &str, phone: &str) {
    gateway.ask("POST", "/api/v1/sessions", &json!({ "sessionId": session }));
    let qr = gateway.ask(
        "GET",
        &format!("/api/v1/sessions/{session}/qr"),
        &Value::Null,
    );
    let scan = json!({ "qr": qr["qr"], "phone": phone });
    bench
        .runtime
        .block_on(bench.network.control("POST", "/sandbox/scan", &scan))
        .expect("scanned");
    wait(|| {
        let row = gateway.ask("GET", &format!("/api/v1/sessions/{session}"), &Value::Null);
        row["status"] == "CONNECTED"
    });
}

fn wait(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn decrypted(bench: &Bench) -> u64 {
    let stats =
        bench
            .runtime
            .block_on(bench.network.control("GET", "/sandbox/stats", &Value::Null));
    stats.expect("stats")["decrypted"]
        .as_u64()
        .expect("a count")
}

/// Texts over HTTP, durable, each decrypted by its phone.
fn messages(bench: &Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(bench, folder.path());
    pair(bench, &gateway, "shop", "6281200000001");
    for (name, connections, batch, total) in [
        ("one per request, 1 connection", 1, 1, 2000u64),
        ("one per request, 32 connections", 32, 1, 10_000),
        ("100 per request, 4 connections", 4, 100, 20_000),
    ] {
        // Once to each phone first: their keys are made and fetched outside the measurement.
        for n in 0..100 {
            post(&mut gateway.connect(), n, 1);
        }
        let next = Arc::new(AtomicU64::new(0));
        let before = (
            decrypted(bench),
            gateway.metric("store_fsyncs_total"),
            gateway.metric("store_written_bytes_total"),
        );
        let started = Instant::now();
        let workers: Vec<_> = (0..connections)
            .map(|_| {
                let (mut connection, next) = (gateway.connect(), next.clone());
                std::thread::spawn(move || {
                    loop {
                        let n = next.fetch_add(batch, Ordering::Relaxed);
                        if n >= total {
                            return;
                        }
                        post(&mut connection, n, batch);
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .for_each(|w| w.join().expect("a worker"));
        wait(|| decrypted(bench) - before.0 >= total);
        let seconds = started.elapsed().as_secs_f64();
        let count = total as f64;
        println!(
            "texts, {name}: {:.0} per second; {:.2} fsyncs and {:.1} KiB written per message",
            count / seconds,
            (gateway.metric("store_fsyncs_total") - before.1) / count,
            (gateway.metric("store_written_bytes_total") - before.2) / count / 1024.0
        );
    }
}

fn post(connection: &mut Connection, n: u64, batch: u64) {
    let message = |n: u64| {
        let to = format!("62812000{:05}", 10_000 + n % 100);
        json!({ "to": to, "type": "text", "text": { "body": format!("Halo, pesanan {n} sudah siap.") } })
    };
    let body: Vec<Value> = (n..n + batch).map(message).collect();
    let body = Value::Array(body).to_string();
    let answer = connection.ask(&request("POST", "/api/v1/messages?sessionId=shop", &body));
    let results: Value = serde_json::from_slice(&answer).expect("JSON");
    for result in results.as_array().expect("an array") {
        assert_eq!(result["status"], "success", "{result}");
    }
}

/// What an idle, connected gateway writes.
fn at_rest(bench: &Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(bench, folder.path());
    pair(bench, &gateway, "shop", "6281200000002");
    std::thread::sleep(Duration::from_secs(3));
    let before = (
        gateway.metric("store_fsyncs_total"),
        gateway.metric("store_written_bytes_total"),
    );
    std::thread::sleep(Duration::from_secs(30));
    println!(
        "at rest, one connected session, 30 s: {:.0} fsyncs, {:.1} KiB written",
        gateway.metric("store_fsyncs_total") - before.0,
        (gateway.metric("store_written_bytes_total") - before.1) / 1024.0
    );
}

/// Memory with more and more connected sessions.
fn memory(bench: &Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(bench, folder.path());
    std::thread::sleep(Duration::from_secs(1));
    println!(
        "memory idle, no session: {:.1} MiB",
        gateway.resident() as f64 / 1024.0
    );
    let mut paired = 0;
    for count in [1, 10, 100, 1000] {
        while paired < count {
            pair(
                bench,
                &gateway,
                &format!("s{paired}"),
                &format!("62813{paired:07}"),
            );
            paired += 1;
        }
        std::thread::sleep(Duration::from_secs(3));
        println!(
            "memory, {count} connected sessions: {:.1} MiB",
            gateway.resident() as f64 / 1024.0
        );
    }
}
