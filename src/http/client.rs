//! (being written)
#![allow(missing_docs, unused)]

use bytes::Bytes;

use super::{Method, StatusCode};
use crate::error::{Error, ErrorKind, Result};

pub struct Client;
#[derive(Clone)]
pub struct Dialer;
#[derive(Clone)]
pub struct Policy;
pub struct Outgoing {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}
pub struct Response;
pub struct Target;

fn missing() -> Error {
    Error::new(ErrorKind::Unavailable, "being written")
}

impl Policy {
    pub fn new(allow: &[String], dns: &[std::net::IpAddr]) -> Result<Self> {
        Ok(Self)
    }
    pub fn with_loopback(self, open: bool) -> Self {
        self
    }
}

impl Client {
    pub fn new(policy: Policy) -> Result<Self> {
        Ok(Self)
    }
    pub fn over_unix(policy: Policy, path: &std::path::Path) -> Result<Self> {
        Ok(Self)
    }
    pub fn check_url(&self, url: &str) -> Result<Target> {
        Err(missing())
    }
    pub fn is_opened(&self, target: &Target) -> bool {
        false
    }
    pub async fn check_resolved(&self, target: &Target) -> Result<()> {
        Err(missing())
    }
    pub async fn send(&self, request: Outgoing) -> Result<Response> {
        Err(missing())
    }
}

impl Target {
    pub fn is_https(&self) -> bool {
        true
    }
}

impl Response {
    pub fn status(&self) -> StatusCode {
        StatusCode::OK
    }
    pub async fn collect(self, max: usize) -> Result<Bytes> {
        Err(missing())
    }
}

pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

impl Dialer {
    pub fn new(policy: Policy) -> Result<Self> {
        Ok(Self)
    }
    pub async fn connect(&self, host: &str, port: u16, tls: bool) -> Result<Box<dyn Stream>> {
        Err(missing())
    }
}
