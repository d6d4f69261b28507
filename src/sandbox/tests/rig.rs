//! A network on a free port, and real clients on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use whatsapp_rust::anyhow;
use whatsapp_rust::async_channel;
use whatsapp_rust::async_trait;
use whatsapp_rust::bot::BotHandle;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::prelude::*;
use whatsapp_rust::transport::{Transport, TransportEvent, TransportFactory};
use whatsapp_rust::wacore::store::InMemoryBackend;
use whatsapp_rust::wacore::types::events::EventHandler;
use whatsapp_rust::wacore::types::message::MessageCategory;
use whatsapp_rust::wacore::types::presence::ReceiptType;
use whatsapp_rust_tokio_transport::from_websocket;

use crate::sandbox::control;
use crate::sandbox::{CdnDownload, CdnUpload, Linked, Network, NetworkOptions, ReceivedMessage};

/// Longer than anything takes, shorter than the client's own time-outs.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// A network that listens, and what it must not have seen at the end.
pub(super) struct Rig {
    pub(super) network: Arc<Network>,
    url: String,
    listening: tokio::task::JoinHandle<()>,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with(NetworkOptions::default()).await
    }

    pub(super) async fn with(options: NetworkOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!(
            "ws://{}/ws/chat",
            listener.local_addr().expect("an address")
        );
        let network = Network::open(options).expect("opens");
        let serving = network.clone();
        let listening = tokio::spawn(async move {
            serving.listen(listener).await.expect("listens");
        });
        Self {
            network,
            url,
            listening,
        }
    }

    /// A client that is not linked, and shows QR codes.
    pub(super) async fn stranger(&self) -> Device {
        Device::start(
            &self.network,
            &self.url,
            Arc::new(InMemoryBackend::new()),
            None,
            false,
        )
        .await
    }

    /// A client that is not linked, and shows a code for this number.
    pub(super) async fn stranger_with_code(&self, phone: &str) -> Device {
        let options = PairCodeOptions {
            phone_number: phone.to_owned(),
            ..Default::default()
        };
        Device::start(
            &self.network,
            &self.url,
            Arc::new(InMemoryBackend::new()),
            Some(options),
            false,
        )
        .await
    }

    /// A client that was linked to this number by QR code and is connected.
    pub(super) async fn companion(&self, phone: &str) -> Device {
        let mut device = self.stranger().await;
        device.link(&self.network, phone).await;
        device
    }

    /// The same for a client that wants to see the history of its phone.
    pub(super) async fn curious_companion(&self, phone: &str) -> Device {
        let backend = Arc::new(InMemoryBackend::new());
        let mut device = Device::start(&self.network, &self.url, backend, None, true).await;
        device.link(&self.network, phone).await;
        device
    }

    /// Starts a client again from what it had stored.
    pub(super) async fn restart(&self, backend: Arc<InMemoryBackend>) -> Device {
        Device::start(&self.network, &self.url, backend, None, false).await
    }

    /// Makes a call of the control API.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = control::handle(&self.network, method, path, &body).await;
        answer
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
            .1
    }

    /// Orders a misfortune.
    pub(super) async fn order(&self, fault: Value) {
        self.ask("POST", "/sandbox/faults", fault).await;
    }

    /// Waits until the server has taken `count` messages.
    pub(super) async fn taken(&self, count: u64) {
        let stats = || self.network.stats();
        let start = Instant::now();
        while stats().messages != count {
            assert!(
                start.elapsed() < PATIENCE,
                "not {count} messages: {:#?}",
                stats()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until a phone has received `count` messages.
    pub(super) async fn received(&self, phone: &str, count: usize) -> Vec<ReceivedMessage> {
        eventually("messages at the phone", || {
            let messages = self.network.messages(phone).expect("a number");
            (messages.len() >= count).then_some(messages)
        })
        .await
    }

    /// Ends a test: nothing was asked that the network does not know.
    pub(super) fn finish(&self) {
        let stats = self.network.stats();
        assert_eq!(
            stats.unknown_names,
            Default::default(),
            "stanzas that were not understood"
        );
        assert_eq!(
            stats.undecryptable, 0,
            "messages that a phone could not read"
        );
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Looks again and again until there is something to see.
pub(super) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One real client.
pub(super) struct Device {
    pub(super) client: Arc<Client>,
    pub(super) backend: Arc<InMemoryBackend>,
    pub(super) handle: BotHandle,
    events: mpsc::UnboundedReceiver<Arc<Event>>,
    /// Events that were passed over while another was awaited.
    seen: Vec<Arc<Event>>,
}

struct Forward(mpsc::UnboundedSender<Arc<Event>>);

impl EventHandler for Forward {
    fn handle_event(&self, event: Arc<Event>) {
        let _ = self.0.send(event);
    }
}

/// Connections that do not hold small stanzas back, as those of the gateway.
struct Wire(String);

#[async_trait]
impl TransportFactory for Wire {
    async fn create_transport(
        &self,
    ) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        let address = self.0.split('/').nth(2).expect("ws://ADDRESS/PATH");
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let builder = tokio_websockets::ClientBuilder::new().uri(&self.0)?;
        Ok(from_websocket(builder.connect_on(stream).await?.0))
    }
}

/// The network's media host, without HTTP between.
struct MediaHost(Arc<Network>);

#[async_trait]
impl HttpClient for MediaHost {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let (path, rest) = target(&request.url);
        let value = |name: &str| {
            let mut pairs = rest
                .split(['?', '&'])
                .filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let answer = if request.method == "POST" {
            let names: Vec<_> = path.split('/').collect();
            let upload = CdnUpload {
                kind: names[2],
                token: names[3],
                auth: value("auth"),
                resume: value("resume").is_some(),
                offset: value("file_offset").and_then(|text| text.parse().ok()),
            };
            let body = request.body.unwrap_or_default();
            match self.0.take_upload(&upload, body) {
                Ok(answer) => answer,
                Err(_) => {
                    return Ok(HttpResponse {
                        status_code: 400,
                        body: Vec::new(),
                    });
                }
            }
        } else {
            self.0.take_download(&CdnDownload {
                path,
                auth: value("auth"),
                ..CdnDownload::default()
            })
        };
        anyhow::ensure!(answer.cut.is_none(), "the connection broke");
        Ok(HttpResponse {
            status_code: answer.status,
            body: answer.bytes().expect("a body").to_vec(),
        })
    }
}

/// The path of a URL, and its query.
fn target(url: &str) -> (&str, &str) {
    let start = url
        .match_indices('/')
        .nth(2)
        .map_or(url.len(), |(at, _)| at);
    url[start..].split_once('?').unwrap_or((&url[start..], ""))
}

impl Device {
    async fn start(
        network: &Arc<Network>,
        url: &str,
        backend: Arc<InMemoryBackend>,
        code: Option<PairCodeOptions>,
        curious: bool,
    ) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let mut builder = Bot::builder()
            .with_backend_arc(backend.clone())
            .with_transport_factory(Wire(url.to_owned()))
            .with_http_client(MediaHost(network.clone()))
            .with_version((2, 3000, 1_035_194_821))
            .with_push_name("Tester")
            .with_wanted_pre_key_count(30)
            .with_event_handler(Forward(sender));
        if !curious {
            builder = builder.skip_history_sync();
        }
        if let Some(code) = code {
            builder = builder.with_pair_code(code);
        }
        let bot = builder.build().await.expect("a client");
        let client = bot.client();
        Self {
            client,
            backend,
            handle: bot.spawn(),
            events,
            seen: Vec::new(),
        }
    }

    /// Scans the code that the client shows and waits until it is connected.
    pub(super) async fn link(&mut self, network: &Network, phone: &str) -> Linked {
        let qr = self.qr().await;
        let linked = network.scan(&qr, Some(phone)).await.expect("linked");
        self.connected().await;
        linked
    }

    pub(super) async fn qr(&mut self) -> String {
        self.wait("a QR code", |event| match event {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    pub(super) async fn receipt(&mut self, id: &str, kind: ReceiptType) {
        self.wait("a receipt", |event| match event {
            Event::Receipt(receipt)
                if receipt.r#type == kind && receipt.message_ids.iter().any(|of| of == id) =>
            {
                Some(())
            }
            _ => None,
        })
        .await;
    }

    /// The server's word on a message: the error, if it refused.
    pub(super) async fn verdict(&mut self, id: &str) -> Option<String> {
        self.wait("the server's answer", |event| match event {
            Event::ServerAck(ack) if ack.id == id => Some(ack.error.clone()),
            _ => None,
        })
        .await
    }

    pub(super) async fn connected(&mut self) {
        self.wait("the connection", |event| {
            matches!(event, Event::Connected(_)).then_some(())
        })
        .await;
    }

    /// Everything that happened until now, but for what was awaited.
    pub(super) fn seen(&mut self) -> &[Arc<Event>] {
        while let Ok(event) = self.events.try_recv() {
            self.seen.push(event);
        }
        &self.seen
    }

    /// The first event that `pick` takes, also among those that were passed over.
    pub(super) async fn wait<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        for place in 0..self.seen.len() {
            if let Some(found) = pick(&self.seen[place]) {
                self.seen.remove(place);
                return found;
            }
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let event = tokio::time::timeout_at(deadline, self.events.recv())
                .await
                .unwrap_or_else(|_| panic!("waited in vain for {what}: saw {:#?}", self.seen))
                .expect("the client lives");
            if let Some(found) = pick(&event) {
                return found;
            }
            self.seen.push(event);
        }
    }

    /// The texts of the next `count` messages.
    pub(super) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            let batch = self
                .wait("messages", |event| match event {
                    Event::Messages(batch) => Some(batch.messages.clone()),
                    _ => None,
                })
                .await;
            let people = |m: &&InboundMessage| m.info.category != MessageCategory::Peer;
            texts.extend(batch.iter().filter(people).map(said));
        }
        texts
    }

    /// The next message from a person.
    pub(super) async fn message(&mut self) -> InboundMessage {
        let mut rest = Vec::new();
        let found = self
            .wait("a message", |event| match event {
                Event::Messages(batch) => {
                    // The phone's own words to its companions are not for people.
                    let people = |m: &&InboundMessage| m.info.category != MessageCategory::Peer;
                    let mut all = batch.messages.iter().filter(people).cloned();
                    let first = all.next();
                    rest.extend(all);
                    first
                }
                _ => None,
            })
            .await;
        assert!(rest.is_empty(), "tests expect one message at a time");
        found
    }
}

/// What a message says, if it is a text.
pub(super) fn said(message: &InboundMessage) -> String {
    message
        .message
        .text_content()
        .unwrap_or_default()
        .to_owned()
}
