//! The library's HTTP requests (media, version), on the gateway's one guarded client. Files pass
//! through in pieces, both ways.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};
use whatsapp_rust::wacore::net::{
    HttpClient, HttpRequest, HttpResponse, StreamingHttpResponse, UploadBody,
};
use whatsapp_rust::{anyhow, async_trait};

use super::media_hosts::MediaHosts;
use crate::error::{Code, Error, Result};
use crate::net::Method;
use crate::net::client::{Client, OutBody, OutgoingRequest, Response};

/// The largest answer that is taken into memory: what is larger is streamed.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How much of an upload is read at once, and how many such pieces wait to be sent.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 4;

/// The least pace at which an answer must come, in bytes per second, by the length that it announces.
const PACE: u64 = 16 * 1024;

/// Adapts [`Client`] to the library.
#[derive(Clone)]
pub(super) struct LibraryHttp {
    pub(super) client: Arc<Client>,
    /// Where requests may go.
    pub(super) hosts: MediaHosts,
}

impl LibraryHttp {
    async fn send(&self, request: HttpRequest, body: OutBody) -> Result<Response> {
        if !self.hosts.permit(&request.url) {
            return Err(Error::new(
                Code::WhatsappRefused,
                "the file is not at a host that WhatsApp named",
            ));
        }
        let method = if request.method == "POST" {
            Method::POST
        } else {
            Method::GET
        };
        self.client
            .send(OutgoingRequest {
                method,
                url: reachable(request.url),
                headers: request.headers.into_iter().collect(),
                body,
            })
            .await
    }
}

/// The library always asks media hosts over TLS; the simulated network on this machine has none.
fn reachable(url: String) -> String {
    #[cfg(feature = "sandbox")]
    for local in ["127.0.0.1", "[::1]"] {
        if let Some(rest) = url.strip_prefix("https://")
            && rest.starts_with(local)
        {
            return format!("http://{rest}");
        }
    }
    url
}

async fn whole(response: Response) -> Result<HttpResponse> {
    let status_code = response.status().as_u16();
    let body = response.collect(MAX_ANSWER_BYTES).await?.to_vec();
    Ok(HttpResponse { status_code, body })
}

#[async_trait]
impl HttpClient for LibraryHttp {
    /// Invariant: an answer that is not 2xx is still `Ok`; the library reads the status itself.
    async fn execute(&self, mut request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let body = request.body.take().unwrap_or_default();
        Ok(whole(self.send(request, body.into()).await?).await?)
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    /// Hazard: the library calls this where blocking is allowed, and only there.
    fn execute_streaming(&self, request: HttpRequest) -> anyhow::Result<StreamingHttpResponse> {
        let handle = Handle::try_current()?;
        let mut response = handle.block_on(self.send(request, OutBody::default()))?;
        response.at_pace(PACE);
        Ok(StreamingHttpResponse {
            status_code: response.status().as_u16(),
            body: Box::new(SyncIoBridge::new_with_handle(
                StreamReader::new(response.into_stream()),
                handle,
            )),
        })
    }

    fn supports_upload_streaming(&self) -> bool {
        true
    }

    /// Hazard: as [`execute_streaming`](Self::execute_streaming).
    fn execute_upload(
        &self,
        request: HttpRequest,
        mut body: UploadBody,
        content_length: u64,
    ) -> anyhow::Result<HttpResponse> {
        let handle = Handle::try_current()?;
        let (feed, pieces) = mpsc::channel(PIECES);
        let client = self.clone();
        let answer = handle.spawn(async move {
            let length = content_length;
            let sent = client.send(request, OutBody::Pieces { length, pieces });
            whole(sent.await?).await
        });
        loop {
            let mut piece = vec![0; PIECE];
            let read = match body.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) => break,
                Ok(many) => {
                    piece.truncate(many);
                    Ok(piece.into())
                }
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            // Nobody takes it any more: the server has answered already, or the connection broke.
            if feed.blocking_send(read).is_err() || failed {
                break;
            }
        }
        drop(feed);
        Ok(handle.block_on(answer)??)
    }
}
