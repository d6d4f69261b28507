//! A name server on loopback that knows what a test tells it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use crate::http::tests::soon;
use crate::net::resolver::Resolver;

pub(super) struct NameServer {
    port: u16,
    names: Arc<Mutex<HashMap<String, Vec<IpAddr>>>>,
    task: AbortHandle,
}

impl NameServer {
    pub(super) async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        let names = Arc::<Mutex<HashMap<String, Vec<IpAddr>>>>::default();
        let known = names.clone();
        let task = tokio::spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                let answer = answer(&packet[..length], &known.lock().expect("no panic"));
                let _ = socket.send_to(&answer, client).await;
            }
        });
        Self {
            port,
            names,
            task: task.abort_handle(),
        }
    }

    /// Tells the addresses of a name from now on.
    pub(super) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses
            .iter()
            .map(|a| a.parse().expect("an address"))
            .collect();
        self.names
            .lock()
            .expect("no panic")
            .insert(name.to_owned(), addresses);
    }

    /// A resolver that asks this server only.
    pub(super) fn resolver(&self) -> Arc<Resolver> {
        Arc::new(self.resolver_unless("/nonexistent/resolv.conf".into()))
    }

    /// A resolver that asks this server where the file names none.
    fn resolver_unless(&self, file: PathBuf) -> Resolver {
        let own = [Ipv4Addr::LOCALHOST.into()];
        Resolver::new(file, "/nonexistent/hosts".into(), own.into(), self.port)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one question (RFC 1035, section 4).
fn answer(packet: &[u8], names: &HashMap<String, Vec<IpAddr>>) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while packet[at] != 0 {
        let length = usize::from(packet[at]);
        let label = &packet[at + 1..=at + length];
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
    let question = &packet[12..at + 5];
    let kind = packet[at + 2];
    let found = names.get(&labels.join("."));
    let mut records = Vec::new();
    let mut count = 0u8;
    for ip in found.into_iter().flatten() {
        let (own_kind, bytes) = match ip {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (28, ip.octets().to_vec()),
        };
        if own_kind == kind {
            records.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, bytes.len() as u8]);
            records.extend(bytes);
            count += 1;
        }
    }
    let code = if found.is_some() { 0 } else { 3 };
    let mut reply = packet[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    reply.extend(question);
    reply.extend(records);
    reply
}

#[tokio::test]
async fn the_machines_configuration_counts_as_it_is_now() {
    let dns = NameServer::start().await;
    dns.set("a.example", &["1.2.3.4", "2a00::1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    let resolver = dns.resolver_unless(file.clone());
    let lookup = async || {
        let found = soon(resolver.lookup("a.example")).await.ok();
        found.map(|ips| ips.len())
    };
    // At boot the file may be missing, or name nobody.
    assert_eq!(lookup().await, Some(2));
    std::fs::write(&file, "# nothing yet\n").expect("a file");
    assert_eq!(lookup().await, Some(2));
    // Nobody answers there.
    let text = "nameserver 127.0.0.9\noptions timeout:1 attempts:1\n";
    std::fs::write(&file, text).expect("a file");
    assert_eq!(lookup().await, None);
    std::fs::remove_file(&file).expect("the file");
    assert_eq!(lookup().await, Some(2));
}
