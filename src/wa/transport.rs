//! How the library reaches WhatsApp: through the gateway's one checked dialer, never through
//! the system's resolver.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use tokio_websockets::ClientBuilder;
use whatsapp_rust::bytes::Bytes;
use whatsapp_rust::transport::{Transport, TransportEvent, TransportFactory};
use whatsapp_rust::{anyhow, async_channel, async_trait};
use whatsapp_rust_tokio_transport::from_websocket;

use super::message::ConnectionEvent;
use crate::net::client::Dialer;
use crate::net::header::{HeaderValue, ORIGIN};

/// Where WhatsApp's server is.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host name, or a loopback address in sandbox builds.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path of the WebSocket.
    pub path: String,
    /// Whether the connection is encrypted by TLS.
    pub tls: bool,
}

/// Makes connections for one session and says so when it cannot.
pub(super) struct Transports {
    pub(super) dialer: Dialer,
    pub(super) endpoint: Endpoint,
    pub(super) events: UnboundedSender<ConnectionEvent>,
    /// Cancelled when the session is closed: an attempt may have minutes of patience left, and no
    /// connection is written to any more.
    pub(super) closing: CancellationToken,
}

#[async_trait]
impl TransportFactory for Transports {
    async fn create_transport(
        &self,
    ) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        let connected = self.closing.run_until_cancelled(self.connect()).await;
        let Some(connected) = connected else {
            anyhow::bail!("the session is being closed");
        };
        match connected {
            Ok(connected) => Ok(connected),
            Err(error) => {
                let _ = self
                    .events
                    .send(ConnectionEvent::Unreachable(format!("{error}")));
                Err(error)
            }
        }
    }
}

impl Transports {
    async fn connect(
        &self,
    ) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        let Endpoint {
            host,
            port,
            path,
            tls,
        } = &self.endpoint;
        let stream = self.dialer.connect(host, *port, *tls).await?;
        let scheme = if *tls { "wss" } else { "ws" };
        let (socket, _) = ClientBuilder::new()
            .uri(&format!("{scheme}://{host}:{port}{path}"))?
            .add_header(ORIGIN, HeaderValue::from_static("https://web.whatsapp.com"))?
            .connect_on(stream)
            .await?;
        let (transport, events) = from_websocket(socket);
        let closing = self.closing.clone();
        Ok((Arc::new(Closable { transport, closing }), events))
    }
}

/// A connection that says nothing more once its session is being closed.
///
/// Hazard: reads of the store give up then, and the library would refuse the messages whose keys it
/// could not read. What is not acknowledged is delivered again; receipts that were due go with that.
struct Closable {
    transport: Arc<dyn Transport>,
    closing: CancellationToken,
}

#[async_trait]
impl Transport for Closable {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        if self.closing.is_cancelled() {
            anyhow::bail!("the session is being closed");
        }
        self.transport.send(data).await
    }

    async fn disconnect(&self) {
        self.transport.disconnect().await;
    }

    fn resource_report(&self) -> Option<whatsapp_rust::wacore::stats::TransportResourceReport> {
        self.transport.resource_report()
    }
}
