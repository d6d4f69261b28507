//! The resolver against messages and servers of every kind.

mod messages;
mod servers;

use std::net::IpAddr;

const NO_SUCH_NAME: u16 = 3;
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
