//! The library's HTTP requests (media, version), on the gateway's one guarded client.

use std::sync::Arc;

use whatsapp_rust::anyhow;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse};

use crate::http::Method;
use crate::http::client::{Client, Outgoing};

/// The largest answer that is taken into memory: 64 MiB, WhatsApp's own bound for pictures.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Adapts [`Client`] to the library.
pub(super) struct LibraryHttp(pub(super) Arc<Client>);

#[async_trait::async_trait]
impl HttpClient for LibraryHttp {
    /// Invariant: an answer that is not 2xx is still `Ok`; the library reads the status itself.
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let method = if request.method == "POST" {
            Method::POST
        } else {
            Method::GET
        };
        let response = self
            .0
            .send(Outgoing {
                method,
                url: request.url,
                headers: request.headers.into_iter().collect(),
                body: request.body.unwrap_or_default(),
            })
            .await?;
        let status_code = response.status().as_u16();
        let body = response.collect(MAX_ANSWER_BYTES).await?.to_vec();
        Ok(HttpResponse { status_code, body })
    }
}
