//! Moving in by HTTP: a tar archive of the other program's folder.

use std::sync::Arc;

use serde::Serialize;

use super::admit::master_only;
use crate::domain::Gateway;
use crate::domain::import::{ImportOptions, ImportResult, Outcome, ReportLine};
use crate::domain::spool::{SpoolFolder, Spooled};
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::SessionId;
use crate::import::{self, Reading, tar};
use crate::names::excerpt;
use crate::tasks::blocking;

/// Its query parameters.
const NAMES: [&str; 4] = ["dryRun", "replace", "session", "skipProblems"];

/// The largest archive, in bytes: a gateway of years, with its files.
const MAX_ARCHIVE: u64 = 4 << 30;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    // Who hangs up does not leave it half done.
    let route = master_only(gateway, Method::POST, "/admin/import", take);
    vec![route.body_limit(MAX_ARCHIVE).detached()]
}

async fn take(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    // A slip in `dryRun` would import for real.
    if let Some(unknown) = request.query_names().find(|name| !NAMES.contains(name)) {
        let (unknown, known) = (excerpt(unknown, 40), NAMES.join(", "));
        let text = format!("there is no query parameter {unknown}; there are {known}");
        return Err(Error::invalid(text));
    }
    let options = ImportOptions {
        dry_run: flag(&request, "dryRun")?,
        replace: flag(&request, "replace")?,
        skip_problems: flag(&request, "skipProblems")?,
        connect: true,
    };
    let reading = Reading {
        country: gateway.country().map(str::to_owned),
        session: request.query("session").map(SessionId::parse).transpose()?,
        // It is unpacked into a folder of ours.
        is_named: false,
    };
    let archive = spooled(&gateway, &mut request).await?;
    let (folder, room) = (gateway.spool_folder()?, gateway.free_bytes() / 2);
    let unpacked = move || {
        let passed_over = tar::unpack(&mut archive.read()?, folder.path(), room)?;
        let mut incoming = import::read(folder.path(), &reading)?;
        if passed_over > 0 {
            let said = format!("files in node_modules and .git were skipped: {passed_over}");
            incoming.report.add(Outcome::Note, "archive", said);
        }
        // Its files are read until the import is over.
        Ok::<_, Error>((incoming, folder))
    };
    let (incoming, folder): (_, SpoolFolder) = blocking(unpacked).await??;
    let result = gateway.import(incoming, options).await?;
    drop(folder);
    Ok(answer(&result, options))
}

/// A word of the query that is said or not.
fn flag(request: &Request, name: &str) -> Result<bool> {
    if request.query_names().filter(|given| *given == name).count() > 1 {
        return Err(Error::invalid(format!("{name} is there twice")));
    }
    match request.query(name) {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(_) => Err(Error::invalid(format!("{name} must be true or false"))),
    }
}

/// The archive on the disk, as long as there is room for it and for what is in it.
async fn spooled(gateway: &Arc<Gateway>, request: &mut Request) -> Result<Spooled> {
    let room = gateway.free_bytes() / 3;
    let no_room = || {
        Error::new(
            Code::StoreUnavailable,
            format!(
                "there is room for an archive of {} MiB beside the data: make room first",
                room >> 20
            ),
        )
    };
    let announced = request
        .header("content-length")
        .and_then(|length| length.parse().ok());
    if announced.is_some_and(|length: u64| length > room) {
        return Err(no_room());
    }
    let (mut spool, mut length) = (gateway.spool()?, 0);
    while let Some(chunk) = request.chunk().await? {
        length += chunk.len() as u64;
        if length > room {
            return Err(no_room());
        }
        spool.write(&chunk).await?;
    }
    spool.finish().await
}

/// What came of an import.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImportView<'a> {
    status: &'static str,
    message: String,
    dry_run: bool,
    changed: bool,
    lines: Vec<LineView<'a>>,
}

/// One line of its report.
#[derive(Serialize)]
struct LineView<'a> {
    outcome: &'static str,
    about: &'a str,
    detail: &'a str,
}

impl<'a> LineView<'a> {
    fn of(line: &'a ReportLine) -> Self {
        Self {
            outcome: line.outcome.as_str(),
            about: &line.about,
            detail: &line.detail,
        }
    }
}

/// The report, with what came of it.
fn answer(result: &ImportResult, options: ImportOptions) -> Reply {
    let (status, word) = match result.held_up {
        true => (StatusCode::CONFLICT, "error"),
        false => (StatusCode::OK, "success"),
    };
    let answer = ImportView {
        status: word,
        message: result.summary(),
        dry_run: options.dry_run,
        changed: result.changed,
        lines: result.report.lines().iter().map(LineView::of).collect(),
    };
    Reply::json(status, &answer)
}
