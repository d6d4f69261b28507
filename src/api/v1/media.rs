//! Files of a session (S7 of the dialects' table): upload, list, fetch, delete.

use std::sync::Arc;

use serde::Serialize;

use super::admission::admitted;
use crate::api::admit::{Caller, Where, claim, only};
use crate::api::reply::{refuse, success};
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::dialect::Dialect;
use crate::domain::media::files::{MediaFile, OpenFile};
use crate::domain::media::upload::{MAX_UPLOAD, Upload};
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{FileReply, FormPart, Method, Mount, Reply, Request, Route, StatusCode};
use crate::ids::MediaId;

/// What a form may take beside its file.
const FORM: u64 = 64 * 1024;

/// How many files one page of the list holds.
const PAGE: usize = 100;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    use Method as M;
    let (of_one, scopes) = ("/media/{mediaId}", &[Scope::Media]);
    vec![
        admitted(gateway, scopes, M::POST, "/media", upload).body_limit(MAX_UPLOAD + FORM),
        admitted(gateway, scopes, M::GET, "/media", list),
        admitted(gateway, scopes, M::GET, of_one, fetch),
        admitted(gateway, scopes, M::DELETE, of_one, delete),
    ]
}

/// The address that an upload is answered with, outside of `/api/v1`.
pub(super) fn files(gateway: &Arc<Gateway>) -> Mount {
    let scopes = &[Scope::Media];
    Mount {
        prefix: "/media",
        claim: claim(gateway, Dialect::V1),
        routes: vec![admitted(gateway, scopes, Method::GET, "/{mediaId}", fetch)],
        render: refuse,
    }
}

/// The session whose files are meant: the caller's own, or the one that the query names.
fn in_query(request: &Request) -> Where<'_> {
    let names = [request.query("sessionId"), None];
    Where::one_of_or_own(names, "sessionId query parameter is required")
}

async fn upload(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let upload = uploaded(&caller.gateway, &session, request).await?;
    let (id, file) = caller.gateway.finish_upload(&session, upload).await?;
    let answer = UploadedView {
        status: "success",
        message: "File uploaded successfully.",
        file: FileView::of(caller.gateway.config().links(), &id, &file),
    };
    Ok(Reply::json(StatusCode::CREATED, &answer))
}

/// What became of an upload.
#[derive(Serialize)]
struct UploadedView<'a> {
    status: &'static str,
    message: &'static str,
    #[serde(flatten)]
    file: FileView<'a>,
}

/// The one file of a form.
async fn uploaded(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    request: Request,
) -> Result<Upload> {
    let none = || {
        Error::new(
            Code::FileMissing,
            "No file uploaded or invalid file type. Allowed: JPEG, PNG, GIF, WebP, PDF, DOC, DOCX, XLS, XLSX. Max size: 25MB.",
        )
    };
    if !request.is_of_type("multipart/form-data") {
        return Err(none());
    }
    // Whatever is beyond the limit of the request is beyond that of its file.
    let too_large = |error: Error| match error.code() {
        Code::BodyTooLarge => Code::FileTooLarge.into(),
        _ => error,
    };
    let mut form = request.multipart()?;
    let mut uploaded: Option<Upload> = None;
    while let Some(mut part) = form.next().await.map_err(too_large)? {
        match (part.name(), part.filename()) {
            (Some("file"), _) if uploaded.is_some() => {
                return Err(Code::TooManyFiles.into());
            }
            (Some("file"), _) => {
                let upload = receive(gateway, session, part).await;
                uploaded = Some(upload.map_err(too_large)?);
            }
            (_, Some(_)) => return Err(Error::invalid("Unexpected file field")),
            (Some("sessionId"), None) => only(session, Some(part.text(1024).await?.trim()))?,
            _ => {}
        }
    }
    uploaded.ok_or_else(none)
}

/// Writes a part to disk as it arrives.
async fn receive(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    mut part: FormPart<'_>,
) -> Result<Upload> {
    let mut upload = gateway.begin_upload(session, part.filename(), part.content_type())?;
    while let Some(chunk) = part.chunk().await? {
        upload.write(&chunk).await?;
    }
    Ok(upload)
}

/// A file of the session.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileView<'a> {
    media_id: &'a MediaId,
    url: String,
    mimetype: &'a str,
    size: u64,
    file_name: Option<&'a str>,
    sha256: String,
    received: bool,
    created_at: String,
}

impl<'a> FileView<'a> {
    fn of(links: &str, id: &'a MediaId, file: &'a MediaFile) -> Self {
        Self {
            media_id: id,
            url: format!("{links}/media/{id}"),
            mimetype: &file.mime,
            size: file.size,
            file_name: file.name.as_deref(),
            sha256: file.sha256.to_string(),
            received: file.received,
            created_at: file.at.to_string(),
        }
    }
}

/// A page of the session's files.
#[derive(Serialize)]
struct FilesView<'a> {
    status: &'static str,
    files: Vec<FileView<'a>>,
    next: Option<&'a MediaId>,
    usage: UsageView,
}

/// How much all of them take.
#[derive(Serialize)]
struct UsageView {
    files: u64,
    bytes: u64,
    quota: u64,
}

/// A page of the session's files, and how much all of them take.
async fn list(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let after = request.query("after").map(MediaId::parse).transpose()?;
    let (files, used) = caller.gateway.media_files(&session, after.as_ref(), PAGE)?;
    let next = files.last().filter(|_| files.len() == PAGE);
    let (quota, links) = (
        caller.gateway.config().media_quota,
        caller.gateway.config().links(),
    );
    let answer = FilesView {
        status: "success",
        files: files
            .iter()
            .map(|(id, file)| FileView::of(links, id, file))
            .collect(),
        next: next.map(|(id, _)| id),
        usage: UsageView {
            files: used.files,
            bytes: used.bytes,
            quota,
        },
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

async fn fetch(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let id = MediaId::parse(request.param("mediaId")).map_err(|_| Code::MediaNotFound)?;
    served(&request, caller.gateway.open_media(&session, &id)?)
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

async fn delete(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let id = MediaId::parse(request.param("mediaId")).map_err(|_| Code::MediaNotFound)?;
    caller.gateway.delete_media(&session, &id).await?;
    Ok(success(&format!("Media {id} deleted.")))
}
