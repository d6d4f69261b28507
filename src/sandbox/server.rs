//! The network as it is reached: a listener for WhatsApp clients, and the control API, there and on
//! the gateway's own port.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::cdn::{LARGEST_FILE, ThrottledBody};
use super::{
    CdnDownload, CdnUpload, MediaAnswer, Network, NetworkOptions, control, serve_websocket,
};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::http::{
    App, HttpServer, Limits, Listen, Method, Mount, MountClaim, Reply, Request, Route, StatusCode,
};

/// Finds the QR code that a session of the gateway shows.
type QrOf = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A running network. Cheap to clone; it outlives any number of gateways.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    network: Arc<Network>,
    qr_of: Arc<Mutex<Option<QrOf>>>,
    listener: Mutex<Option<HttpServer>>,
    url: String,
}

impl Sandbox {
    /// A network on a free port of this machine.
    pub async fn open(options: NetworkOptions) -> Result<Self> {
        Self::serve("127.0.0.1:0", options).await
    }

    /// A network on this address.
    pub async fn serve(listen: &str, options: NetworkOptions) -> Result<Self> {
        let network = Network::open(options)?;
        let qr_of = Arc::default();
        let mut routes = control_routes(&network, &qr_of);
        let whatsapp = network.clone();
        routes.push(Route::get("/ws/chat", move |request| {
            chat(whatsapp.clone(), request)
        }));
        routes.extend(media_routes(&network));
        let app = App::new(vec![Mount {
            prefix: "",
            claim: MountClaim::everything(),
            routes,
            render: refuse,
        }])?;
        let listen: Listen = listen.parse()?;
        // A benchmark connects a thousand sessions, and a campaign's phones cost no connection.
        let limits = Limits {
            max_connections: 8192,
            ..Limits::default()
        };
        let listener = HttpServer::bind(&listen, app, limits).await?;
        let address = listener
            .local_addr()
            .ok_or_else(|| Error::invalid("the simulated network listens on ADDR:PORT only"))?;
        let url = format!("ws://{address}/ws/chat");
        network.set_media_host(&address.to_string());
        Ok(Self(Arc::new(Inner {
            network,
            qr_of,
            listener: Mutex::new(Some(listener)),
            url,
        })))
    }

    /// Where WhatsApp clients connect.
    pub fn url(&self) -> String {
        self.0.url.clone()
    }

    /// Routes for the gateway's own port.
    pub fn mounts(&self) -> Vec<Mount> {
        let routes = control_routes(&self.0.network, &self.0.qr_of);
        vec![Mount {
            prefix: "",
            claim: MountClaim::everything(),
            routes,
            render: refuse,
        }]
    }

    /// Lets the control API name the sessions of a gateway.
    pub fn attach(&self, qr_of: impl Fn(&str) -> Option<String> + Send + Sync + 'static) {
        *self.0.qr_of.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(qr_of));
    }

    /// The control API without HTTP.
    pub async fn control(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (_, answer) = control::handle(&self.0.network, method, below(path), body).await?;
        Ok(answer)
    }

    /// Stops listening and keeps what has to be kept.
    pub async fn stop(&self) {
        let listener = self
            .0
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(listener) = listener {
            listener.shutdown().await;
        }
        if let Err(error) = self.0.network.save() {
            tracing::error!(?error, "the network's state could not be saved");
        }
    }
}

/// A WhatsApp client's connection.
async fn chat(network: Arc<Network>, request: Request) -> Result<Reply> {
    let (reply, upgrade) = request.upgrade("websocket")?;
    tokio::spawn(async move {
        if let Ok(socket) = upgrade.socket().await {
            serve_websocket(network, socket).await;
        }
    });
    Ok(reply)
}

/// Where clients leave files and fetch them, as from WhatsApp's media hosts.
fn media_routes(network: &Arc<Network>) -> Vec<Route> {
    let (left, fetched, pictures) = (network.clone(), network.clone(), network.clone());
    vec![
        Route::post("/mms/{kind}/{token}", move |request| {
            leave(left.clone(), request)
        })
        .body_limit(LARGEST_FILE),
        Route::get("/v/{kind}/{name}", move |request| {
            fetch(fetched.clone(), request)
        }),
        Route::get("/pp/{name}", move |request| {
            fetch(pictures.clone(), request)
        }),
    ]
}

/// A body of any size: this is no server for strangers.
async fn whole(request: &mut Request) -> Result<bytes::Bytes> {
    let mut body = Vec::new();
    while let Some(chunk) = request.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

async fn leave(network: Arc<Network>, mut request: Request) -> Result<Reply> {
    let body = whole(&mut request).await?;
    let length = body.len();
    let left = network.clone();
    let answering = move || {
        let upload = CdnUpload {
            kind: request.param("kind"),
            token: request.param("token"),
            auth: request.query("auth"),
            resume: request.query("resume").is_some(),
            offset: request
                .query("file_offset")
                .and_then(|text| text.parse().ok()),
        };
        network.take_upload(&upload, body)
    };
    // A large file takes its time to be summed up and written.
    let answer = tokio::task::spawn_blocking(answering).await;
    let answer = answer.map_err(Error::internal)??;
    left.changes.written().await;
    if let Some(pace) = answer.pace {
        tokio::time::sleep(pace.time_for(length)).await;
    }
    reply("application/json", answer)
}

async fn fetch(network: Arc<Network>, request: Request) -> Result<Reply> {
    // Clients append their key to a path that has a query already.
    let hidden = || {
        request
            .query("ccb")?
            .split_once("?auth=")
            .map(|(_, key)| key)
    };
    let answer = network.take_download(&CdnDownload {
        path: request.path(),
        auth: request.query("auth").or_else(hidden),
        range: request.header("range"),
        head: request.method() == Method::HEAD,
    });
    Ok(reply("application/octet-stream", answer)?.header("accept-ranges", "bytes"))
}

/// What the media host answers, in words of HTTP.
fn reply(kind: &str, answer: MediaAnswer) -> Result<Reply> {
    let status = StatusCode::from_u16(answer.status).map_err(Error::internal)?;
    let at_once = answer.cut.is_none() && answer.pace.is_none();
    let reply = match answer.body.at_hand().filter(|_| at_once) {
        Some(body) => Reply::bytes(kind, body),
        None => {
            let length = answer.body.len() as u64;
            // A body of no length cannot break off.
            let length = if answer.cut.is_some() {
                length.max(1)
            } else {
                length
            };
            Reply::try_stream(kind, Some(length), ThrottledBody::new(&answer))
        }
    };
    let reply = reply.with_status(status);
    Ok(match answer.content_range {
        Some(range) => reply.header("content-range", range),
        None => reply,
    })
}

/// The control API as routes; what lies below `/sandbox` is its own to know.
fn control_routes(network: &Arc<Network>, qr_of: &Arc<Mutex<Option<QrOf>>>) -> Vec<Route> {
    let mut routes = Vec::new();
    for path in ["/sandbox", "/sandbox/{*call}"] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            let (network, qr_of) = (network.clone(), qr_of.clone());
            routes.push(Route::new(method, path, move |request| {
                let (network, qr_of) = (network.clone(), qr_of.clone());
                async move { controlled(&network, &qr_of, request).await }
            }));
        }
    }
    routes
}

async fn controlled(
    network: &Arc<Network>,
    qr_of: &Mutex<Option<QrOf>>,
    mut request: Request,
) -> Result<Reply> {
    let bytes = whole(&mut request).await?;
    let mut body = match bytes.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&bytes)
            .map_err(|_| Error::invalid("The request body must be JSON"))?,
    };
    if let Some(session) = body
        .get("sessionId")
        .and_then(Value::as_str)
        .map(str::to_owned)
    {
        let code = qr_for(qr_of, &session).await?;
        body["qr"] = json!(code);
    }
    if let Some((phone, id)) = file_of(request.path())
        && request.method() == Method::GET
    {
        let (file, kind) = network.attachment_with_type(phone, id)?;
        return Ok(Reply::bytes(&kind, file));
    }
    let (status, answer) = control::handle(
        network,
        request.method().as_str(),
        below(request.path()),
        &body,
    )
    .await?;
    if request.method() != Method::GET {
        // What somebody did by hand is there after a kill.
        network.changes.written().await;
    }
    let status = StatusCode::from_u16(status).map_err(Error::internal)?;
    Ok(Reply::json(status, &answer))
}

/// The phone and the message whose file a path names: over HTTP it comes as it is, not as JSON.
fn file_of(path: &str) -> Option<(&str, &str)> {
    let rest = below(path)
        .strip_prefix("/phones/")?
        .strip_suffix("/file")?;
    rest.split_once("/messages/")
}

/// A call's path, as the control API names it.
fn below(path: &str) -> &str {
    path.strip_prefix("/sandbox").unwrap_or(path)
}

/// The QR code of a session; a session that was just made has one in a moment.
async fn qr_for(qr_of: &Mutex<Option<QrOf>>, session: &str) -> Result<String> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let found = {
            let qr_of = qr_of.lock().unwrap_or_else(PoisonError::into_inner);
            qr_of.as_ref().and_then(|find| find(session))
        };
        match found {
            Some(code) => return Ok(code),
            None if tokio::time::Instant::now() >= deadline => {
                return Err(Error::new(
                    Code::SessionBusy,
                    "This session shows no QR code: it is unknown, or paired already",
                ));
            }
            None => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}

/// Refusals of the control API, in one plain shape.
fn refuse(error: &Error) -> Reply {
    let status = match error.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::Conflict | ErrorKind::NotConnected => StatusCode::CONFLICT,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Reply::json(
        status,
        &json!({ "status": "error", "message": error.detail() }),
    )
}
