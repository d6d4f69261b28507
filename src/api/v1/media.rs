//! Files of a session (S7 of the dialects' table): upload, list, fetch, delete.

use std::sync::Arc;

use serde_json::{Value, json};

use super::route;
use super::rules::{caller, named};
use super::sessions::success;
use crate::domain::Gateway;
use crate::domain::key::Principal;
use crate::domain::media::files::{MediaFile, OpenFile};
use crate::domain::media::upload::{MAX_UPLOAD, Upload};
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{FileReply, Method, Mount, Part, Reply, Request, Route, StatusCode};
use crate::ids::MediaId;

/// What a form may take beside its file.
const FORM: u64 = 64 * 1024;

/// How many files one page of the list holds.
const PAGE: usize = 100;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    vec![
        route(gateway, Method::POST, "/media", upload).body_limit(MAX_UPLOAD + FORM),
        route(gateway, Method::GET, "/media", list),
        route(gateway, Method::GET, "/media/{mediaId}", fetch),
        route(gateway, Method::DELETE, "/media/{mediaId}", delete),
    ]
}

/// The address that an upload is answered with, outside of `/api/v1`.
pub(super) fn files(gateway: &Arc<Gateway>) -> Mount {
    Mount {
        prefix: "/media",
        routes: vec![route(gateway, Method::GET, "/{mediaId}", fetch)],
        render: super::rules::refuse,
    }
}

/// The session whose files are meant: the token's own, or the one that the master key names.
fn session_of(gateway: &Arc<Gateway>, request: &Request) -> Result<Arc<Session>> {
    let who = caller(gateway, request)?;
    match (&who, named(&[request.query("sessionId")])?) {
        (_, Some(id)) => gateway.authorise(&who, &id),
        (Principal::Session(own), None) => Ok(own.clone()),
        (Principal::Master, None) => Err(Error::new(
            Code::SessionIdMissing,
            "sessionId query parameter is required",
        )),
    }
}

async fn upload(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_of(&gateway, &request)?;
    let none = || {
        Error::new(
            Code::FileMissing,
            "No file uploaded or invalid file type. Allowed: JPEG, PNG, GIF, WebP, PDF, DOC, DOCX, XLS, XLSX. Max size: 25MB.",
        )
    };
    let is_form = request
        .header("content-type")
        .is_some_and(|t| t.to_ascii_lowercase().starts_with("multipart/form-data"));
    if !is_form {
        return Err(none());
    }
    let mut form = request.multipart()?;
    let mut uploaded: Option<Upload> = None;
    while let Some(mut part) = form.next().await? {
        match (part.name(), part.filename()) {
            (Some("file"), _) if uploaded.is_some() => {
                return Err(Code::TooManyFiles.into());
            }
            (Some("file"), _) => uploaded = Some(receive(&gateway, &session, part).await?),
            (_, Some(_)) => return Err(Error::invalid("Unexpected file field")),
            (Some("sessionId"), None) => {
                let text = part.text(1024).await?;
                named(&[Some(session.id.as_str()), Some(text.trim())])?;
            }
            _ => {}
        }
    }
    let upload = uploaded.ok_or_else(none)?;
    let (id, file) = gateway.finish_upload(&session, upload).await?;
    let mut answer = described(&id, &file);
    answer["status"] = json!("success");
    answer["message"] = json!("File uploaded successfully.");
    Ok(Reply::json(StatusCode::CREATED, &answer))
}

/// Writes a part to disk as it arrives.
async fn receive(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    mut part: Part<'_>,
) -> Result<Upload> {
    let mut upload = gateway.begin_upload(session, part.filename(), part.content_type())?;
    while let Some(chunk) = part.chunk().await? {
        upload.write(&chunk).await?;
    }
    Ok(upload)
}

fn described(id: &MediaId, file: &MediaFile) -> Value {
    json!({
        "mediaId": id, "url": format!("/media/{id}"), "mimetype": file.mime, "size": file.size,
        "sha256": file.sha256, "fileName": file.name, "received": file.received,
        "createdAt": file.at.to_string(),
    })
}

/// A page of the session's files, and how much all of them take.
async fn list(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_of(&gateway, &request)?;
    let after = request.query("after").map(MediaId::parse).transpose()?;
    let (files, used) = gateway.media_files(&session, after.as_ref(), PAGE)?;
    let next = files.last().filter(|_| files.len() == PAGE);
    let answer = json!({
        "status": "success",
        "files": files.iter().map(|(id, file)| described(id, file)).collect::<Vec<_>>(),
        "next": next.map(|(id, _)| id),
        "usage": { "files": used.files, "bytes": used.bytes, "quota": gateway.config().media_quota },
    });
    Ok(Reply::json(StatusCode::OK, &answer))
}

async fn fetch(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_of(&gateway, &request)?;
    let id = MediaId::parse(request.param("mediaId")).map_err(|_| Code::MediaNotFound)?;
    served(&request, gateway.open_media(&session, &id)?)
}

/// A file, or the part of it that the request asks for.
pub(super) fn served(request: &Request, file: OpenFile) -> Result<Reply> {
    Reply::file(
        request,
        FileReply {
            content_type: &file.mime,
            etag: &file.sha256.to_string(),
            name: file.name.as_deref(),
            length: file.size,
            file: file.file,
        },
    )
}

async fn delete(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_of(&gateway, &request)?;
    let id = MediaId::parse(request.param("mediaId")).map_err(|_| Code::MediaNotFound)?;
    gateway.delete_media(&session, &id).await?;
    Ok(success(&format!("Media {id} deleted.")))
}
