//! Campaigns (S10 to S16 of the dialects' table), and the later spellings of the original program.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::admission::admitted;
use super::campaign_body::{
    CampaignBody, MAX_BODY, NamedAudience, Object, RowReport, audience, message, only_sheet, read,
    scheduled_at, settings,
};
use crate::api::admit::{Caller, Where, only};
use crate::api::read::{about, number, object_or_nothing, text};
use crate::api::reply::{hours, success};
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::campaign::control::CampaignChange;
use crate::domain::campaign::create::NewCampaign;
use crate::domain::campaign::message::CampaignName;
use crate::domain::campaign::preview::Sample;
use crate::domain::campaign::report::ReportRow;
use crate::domain::campaign::{
    Campaign, CampaignSettings, CampaignState, RecipientState, RecipientStatus, SendProgress,
    Statistics,
};
use crate::domain::recipient::{MergedRow, Recipient, RejectedRow};
use crate::domain::session::Session;
use crate::domain::sheet;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::{MessageId, RowId};
use crate::time::Timestamp;

/// How many recipients an answer shows when nothing else is asked for, and at most.
pub(super) const SHOWN: usize = 1000;
pub(super) const SHOWN_AT_MOST: usize = 10_000;

/// How many rows of an export are read at a time.
pub(super) const EXPORT_PAGE: usize = 1000;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    use Method as M;
    let of = &[Scope::Broadcast];
    let one = "/campaigns/{campaignId}";
    let (status_path, export_path) = (
        "/campaigns/{campaignId}/status",
        "/campaigns/{campaignId}/export",
    );
    vec![
        admitted(gateway, of, M::POST, "/campaigns", create).body_limit(MAX_BODY),
        admitted(gateway, of, M::GET, "/campaigns", list),
        admitted(gateway, of, M::GET, "/campaigns/csv-template", template),
        admitted(gateway, of, M::GET, "/campaigns/overdue", overdue),
        admitted(gateway, of, M::POST, "/campaigns/preview", preview).body_limit(MAX_BODY),
        admitted(gateway, of, M::POST, "/campaigns/preview-csv", preview_csv).body_limit(MAX_BODY),
        admitted(gateway, of, M::GET, one, show),
        admitted(gateway, of, M::PUT, one, change).body_limit(MAX_BODY),
        admitted(gateway, of, M::DELETE, one, delete),
        admitted(gateway, of, M::GET, status_path, status),
        admitted(gateway, of, M::GET, export_path, export),
        post_step(
            gateway,
            "/campaigns/{campaignId}/start",
            CampaignAction::Start,
        ),
        post_step(
            gateway,
            "/campaigns/{campaignId}/send",
            CampaignAction::Start,
        ),
        post_step(
            gateway,
            "/campaigns/{campaignId}/pause",
            CampaignAction::Pause,
        ),
        post_step(
            gateway,
            "/campaigns/{campaignId}/resume",
            CampaignAction::Resume,
        ),
        post_step(
            gateway,
            "/campaigns/{campaignId}/retry",
            CampaignAction::Retry,
        ),
        admitted(gateway, of, M::POST, "/campaigns/{campaignId}/clone", clone),
    ]
}

/// What a client has a campaign do.
#[derive(Clone, Copy)]
enum CampaignAction {
    Start,
    Pause,
    Resume,
    Retry,
}

fn post_step(gateway: &Arc<Gateway>, path: &'static str, what: CampaignAction) -> Route {
    let step = move |caller, request| step(caller, request, what);
    admitted(gateway, &[Scope::Broadcast], Method::POST, path, step)
}

/// One of these names, or the caller's own session.
pub(super) fn named_or_own<'a>(query: Option<&'a str>, body: Option<&'a str>) -> Where<'a> {
    Where::one_of_or_own([query, body], "sessionId is required")
}

/// The campaign in the path. Another session's is as unknown as none.
fn found(
    caller: &Caller,
    request: &Request,
) -> Result<(Arc<Session>, RowId, Campaign, SendProgress)> {
    let sessions = caller.sessions(request)?;
    let id = RowId::parse(request.param("campaignId")).ok_or(Code::CampaignIdInvalid)?;
    for session in sessions {
        match caller.gateway.campaign(&session, &id) {
            Ok((campaign, progress)) => return Ok((session, id, campaign, progress)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::from(Code::CampaignNotFound))
}

async fn create(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let query = request.query("sessionId").map(str::to_owned);
    let mut sent = read(gateway, request).await?;
    let body = text(&sent.fields, "sessionId")?;
    let session = caller.session(named_or_own(query.as_deref(), body))?;
    let (new, report) = new_campaign(gateway, &mut sent)?;
    let (address, campaign) = gateway.create_campaign(&session, new).await?;
    let shown = (&address.id, &campaign, StatusCode::CREATED);
    answered(gateway, &session, shown, report.into()).await
}

/// The campaign that a body describes, and what is told of its rows.
fn new_campaign(
    gateway: &Arc<Gateway>,
    sent: &mut CampaignBody,
) -> Result<(NewCampaign, RowReport)> {
    let body = &sent.fields;
    let name = campaign_name(body, "name")?;
    let name = name.ok_or_else(|| Error::invalid("name is required"))?;
    let message = message(gateway, body)?;
    let message = message.ok_or_else(|| Error::invalid("message is required"))?;
    let settings = settings(body, CampaignSettings::default())?;
    let scheduled_at = scheduled_at(body, &settings.pacing.zone)?.flatten();
    let named = audience(sent)?.ok_or(Code::RecipientsMissing)?;
    let new = NewCampaign {
        name,
        message,
        audience: named.audience,
        settings,
        scheduled_at,
        restored: None,
    };
    Ok((new, named.report))
}

/// The name of a campaign; an empty one is as good as none.
fn campaign_name(body: &Object, field: &str) -> Result<Option<CampaignName>> {
    let name = text(body, field)?.filter(|name| !name.trim().is_empty());
    let name = name.map(CampaignName::new).transpose();
    name.map_err(about(field))
}

/// What an answer tells of rows that were not taken as they are.
#[derive(Serialize)]
#[serde(untagged)]
enum RowsReport {
    /// Recipients were named.
    Told(RowReport),
    /// None were named, which is said.
    None {
        rejected: Option<()>,
        duplicates: Option<()>,
    },
    /// Nothing is said.
    Unsaid {},
}

impl From<RowReport> for RowsReport {
    fn from(report: RowReport) -> Self {
        Self::Told(report)
    }
}

/// A campaign with a page of its recipients.
#[derive(Serialize)]
struct FullCampaign<'a> {
    #[serde(flatten)]
    campaign: Value,
    recipients: Vec<ShownRecipient<'a>>,
    next: Option<u32>,
    #[serde(flatten)]
    report: RowsReport,
}

/// A campaign's answer, with the first of its recipients.
async fn answered(
    gateway: &Arc<Gateway>,
    session: &Session,
    (id, campaign, status): (&RowId, &Campaign, StatusCode),
    report: RowsReport,
) -> Result<Reply> {
    let (_, progress) = gateway.campaign(session, id)?;
    let (rows, _) = gateway
        .campaign_rows(session, campaign, 0, SHOWN, |_| true)
        .await?;
    let mut whole = full(session, id, campaign, &progress, &rows);
    whole.report = report;
    Ok(Reply::json(status, &whole))
}

async fn list(caller: Caller, request: Request) -> Result<Reply> {
    let mut rows = Vec::new();
    for session in caller.sessions(&request)? {
        for (id, campaign, progress) in caller.gateway.campaigns_of(&session)? {
            rows.push((
                campaign.created_at,
                brief(&session, &id, &campaign, &progress),
            ));
        }
    }
    rows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let rows: Vec<Value> = rows.into_iter().map(|(_, row)| row).collect();
    Ok(Reply::json(StatusCode::OK, &rows))
}

/// A campaign without its recipients.
pub(super) fn brief(
    session: &Session,
    id: &RowId,
    campaign: &Campaign,
    progress: &SendProgress,
) -> Value {
    let message = &campaign.message;
    let media = message.media.as_ref();
    let settings = &campaign.settings;
    let quiet = settings.pacing.quiet.map(hours);
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": id, "name": campaign.name, "status": campaign.status.as_str(),
        "detail": detail(session, campaign), "sessionId": session.id,
        "message": {
            "type": media.map_or("text", |media| media.kind.as_str()), "content": message.content,
            "mediaId": media.map(|media| &media.id),
            "mediaUrl": media.and_then(|media| media.link.as_ref()),
            "fileName": media.and_then(|media| media.file_name.as_ref()),
        },
        "recipientCount": campaign.total, "recipientListId": campaign.list,
        "statistics": statistics(&Statistics::of(&progress.counts, campaign.total)),
        "settings": {
            "delayBetweenMessages": settings.pacing.delay.as_millis() as u64,
            "jitter": settings.pacing.jitter, "maxRetries": settings.max_retries,
            "retryDelay": settings.retry_delay_ms, "dailyCap": settings.pacing.daily_cap,
            "quietHours": quiet, "timezone": settings.pacing.zone.name(),
            "checkNumbers": settings.check_numbers, "typing": settings.typing,
        },
        "createdAt": campaign.created_at.to_string(), "scheduledAt": time(campaign.scheduled_at),
        "startedAt": time(campaign.started_at), "completedAt": time(campaign.completed_at),
        "updatedAt": time(campaign.updated_at),
    })
}

/// What a running campaign waits for, or why one was paused.
fn detail(session: &Session, campaign: &Campaign) -> Option<String> {
    if campaign.status == CampaignState::Sending && !session.is_connected() {
        return Some(format!("Waits until session {} is connected", session.id));
    }
    campaign.detail.clone()
}

/// A recipient or a refused row, and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownRecipient<'a> {
    number: Option<&'a str>,
    name: Option<&'a str>,
    job_title: Option<&'a str>,
    company_name: Option<&'a str>,
    custom_fields: Option<&'a BTreeMap<String, String>>,
    status: &'static str,
    message_id: Option<&'a MessageId>,
    sent_at: Option<String>,
    failed_at: Option<String>,
    error: Option<&'a str>,
    retry_count: u32,
    tries: u32,
}

pub(super) fn shown(row: &ReportRow) -> ShownRecipient<'_> {
    let state = &row.state;
    let who = row.recipient.as_ref();
    let at = |failed: bool| {
        let at = state
            .at
            .filter(|_| (state.status == RecipientStatus::Failed) == failed);
        at.map(|at| at.to_string())
    };
    ShownRecipient {
        number: who.map_or(state.input.as_deref(), |who| Some(who.number.as_str())),
        name: who.map(|who| who.name.as_str()),
        job_title: who.map(|who| who.job_title.as_str()),
        company_name: who.map(|who| who.company.as_str()),
        custom_fields: who.map(|who| &who.fields),
        status: state.status.as_str(),
        message_id: state.message.as_ref(),
        sent_at: at(false),
        failed_at: at(true),
        error: state.error.as_deref(),
        retry_count: state.tries.saturating_sub(1),
        tries: state.tries,
    }
}

/// A campaign with a page of its recipients.
fn full<'a>(
    session: &Session,
    id: &RowId,
    campaign: &Campaign,
    progress: &SendProgress,
    rows: &'a [ReportRow],
) -> FullCampaign<'a> {
    let more = (rows.len() as u32) < campaign.total;
    FullCampaign {
        campaign: brief(session, id, campaign, progress),
        recipients: rows.iter().map(shown).collect(),
        next: rows.last().filter(|_| more).map(|row| row.position + 1),
        report: RowsReport::Unsaid {},
    }
}

async fn show(caller: Caller, request: Request) -> Result<Reply> {
    let (session, id, campaign, progress) = found(&caller, &request)?;
    let after = number(&request, "after", 0, u32::MAX as usize)? as u32;
    let limit = number(&request, "limit", SHOWN, SHOWN_AT_MOST)?;
    let wanted = request.query("status").map(str::to_owned);
    let is_wanted = move |state: &RecipientState| {
        let wanted = wanted.as_deref();
        wanted.is_none_or(|word| word == state.status.as_str())
    };
    let rows = caller
        .gateway
        .campaign_rows(&session, &campaign, after, limit, is_wanted);
    let (rows, more) = rows.await?;
    let mut whole = full(&session, &id, &campaign, &progress, &rows);
    if !more {
        whole.next = None;
    }
    Ok(Reply::json(StatusCode::OK, &whole))
}

async fn change(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, campaign, _) = found(&caller, &request)?;
    let mut sent = read(gateway, request).await?;
    only(&session, text(&sent.fields, "sessionId")?)?;
    let (change, report) = campaign_change(gateway, &mut sent, campaign.settings)?;
    let campaign = gateway.change_campaign(&session, &id, change).await?;
    let none = RowsReport::None {
        rejected: None,
        duplicates: None,
    };
    let report = report.map_or(none, RowsReport::Told);
    answered(gateway, &session, (&id, &campaign, StatusCode::OK), report).await
}

/// What a body changes of a campaign, and what is told of its rows.
fn campaign_change(
    gateway: &Arc<Gateway>,
    sent: &mut CampaignBody,
    base: CampaignSettings,
) -> Result<(CampaignChange, Option<RowReport>)> {
    let message = message(gateway, &sent.fields)?;
    let settings = settings(&sent.fields, base)?;
    let (audience, report) = audience(sent)?
        .map(|named: NamedAudience| (named.audience, named.report))
        .unzip();
    let change = CampaignChange {
        name: campaign_name(&sent.fields, "name")?,
        message,
        audience,
        scheduled_at: scheduled_at(&sent.fields, &settings.pacing.zone)?,
        settings: Some(settings),
    };
    Ok((change, report))
}

async fn delete(caller: Caller, request: Request) -> Result<Reply> {
    let (session, id, ..) = found(&caller, &request)?;
    caller.gateway.delete_campaign(&session, &id).await?;
    Ok(success("Campaign deleted"))
}

async fn step(caller: Caller, request: Request, what: CampaignAction) -> Result<Reply> {
    let (session, id, before, _) = found(&caller, &request)?;
    let done = stepped(&caller.gateway, &session, (&id, &before), what);
    let (campaign, message, more) = done.await?;
    let mut answer = json!({
        "status": "success", "message": message, "campaignId": id,
        "campaignStatus": campaign.status.as_str(), "detail": detail(&session, &campaign),
    });
    if let (Value::Object(answer), Value::Object(more)) = (&mut answer, more) {
        answer.extend(more);
    }
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// Has a campaign do it; answers what was done, and what is told beside it.
async fn stepped(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    (id, before): (&RowId, &Campaign),
    what: CampaignAction,
) -> Result<(Campaign, &'static str, Value)> {
    Ok(match what {
        CampaignAction::Start => {
            let campaign = gateway.start_campaign(session, id).await?;
            let more = json!({ "recipientCount": before.total });
            (campaign, "Campaign started", more)
        }
        CampaignAction::Pause => {
            let campaign = gateway.pause_campaign(session, id).await?;
            (campaign, "Campaign paused", json!({}))
        }
        CampaignAction::Resume => {
            let campaign = gateway.resume_campaign(session, id).await?;
            (campaign, "Campaign resumed", json!({}))
        }
        CampaignAction::Retry => {
            let count = gateway.retry_campaign(session, id).await?;
            let (campaign, _) = gateway.campaign(session, id)?;
            let message = if count == 0 {
                "No failed messages"
            } else {
                "Failed messages are tried again"
            };
            (campaign, message, json!({ "retryCount": count }))
        }
    })
}

async fn clone(caller: Caller, mut request: Request) -> Result<Reply> {
    let (session, id, ..) = found(&caller, &request)?;
    let body = object_or_nothing(&mut request).await?;
    only(&session, text(&body, "sessionId")?)?;
    let name = campaign_name(&body, "newName")?.or(campaign_name(&body, "name")?);
    let cloned = caller.gateway.clone_campaign(&session, &id, name);
    let (address, campaign) = cloned.await?;
    let shown = (&address.id, &campaign, StatusCode::CREATED);
    answered(&caller.gateway, &session, shown, RowsReport::Unsaid {}).await
}

async fn status(caller: Caller, request: Request) -> Result<Reply> {
    let (session, id, campaign, progress) = found(&caller, &request)?;
    let counts = &progress.counts;
    let done = counts.all_sent() + counts.failed;
    let percent = (u64::from(done) * 100)
        .checked_div(u64::from(campaign.total))
        .unwrap_or(100);
    let queue = match campaign.status {
        CampaignState::Sending => "running",
        CampaignState::Paused => "paused",
        _ => "inactive",
    };
    let answer = json!({
        "campaignId": id, "name": campaign.name, "status": campaign.status.as_str(),
        "detail": detail(&session, &campaign), "isActive": campaign.status == CampaignState::Sending,
        "queueStatus": queue, "statistics": statistics(&Statistics::of(counts, campaign.total)),
        "lastMessageTime": progress.last_sent.map(|at| at.to_string()), "progress": percent,
    });
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// The recipients as a sheet, made while it is sent.
async fn export(caller: Caller, request: Request) -> Result<Reply> {
    let (session, _, campaign, _) = found(&caller, &request)?;
    let name = format!("{}.csv", campaign.name);
    let head = sheet::lines([sheet::EXPORT_HEADER])?;
    let pages = futures_util::stream::try_unfold(Some((head, 0)), move |state| {
        let (gateway, session) = (caller.gateway.clone(), session.clone());
        let campaign = campaign.clone();
        async move {
            let Some((page, from)) = state else {
                return Ok(None);
            };
            export_page(&gateway, &session, &campaign, page, from)
                .await
                .map(Some)
        }
    });
    Ok(Reply::try_stream("text/csv; charset=utf-8", None, pages).attachment(&name))
}

/// What is written next: so far, and from which place on. `None` at the end.
type Next = Option<(Vec<u8>, u32)>;

/// A page of the sheet, after what is written already, and what comes next.
async fn export_page(
    gateway: &Arc<Gateway>,
    session: &Session,
    campaign: &Campaign,
    mut page: Vec<u8>,
    from: u32,
) -> Result<(bytes::Bytes, Next)> {
    let rows = gateway.campaign_rows(session, campaign, from, EXPORT_PAGE, |_| true);
    let (rows, more) = rows.await?;
    let lines: Vec<_> = rows.iter().map(export_row).collect();
    let cells = lines.iter().map(|line| line.iter().map(|cell| &**cell));
    page.extend(sheet::lines(cells)?);
    let last = rows.last().filter(|_| more);
    let next = last.map(|last| (Vec::new(), last.position + 1));
    Ok((page.into(), next))
}

fn export_row(row: &ReportRow) -> [Cow<'_, str>; 7] {
    let (state, who) = (&row.state, row.recipient.as_ref());
    let number = who.map_or(state.input.as_deref(), |who| Some(who.number.as_str()));
    let sent = state.at.filter(|_| state.status != RecipientStatus::Failed);
    [
        number.unwrap_or_default().into(),
        who.map_or("", |who| &who.name).into(),
        who.map_or("", |who| &who.job_title).into(),
        who.map_or("", |who| &who.company).into(),
        state.status.as_str().into(),
        sent.map(|at| at.to_string()).unwrap_or_default().into(),
        state.error.as_deref().unwrap_or_default().into(),
    ]
}

async fn template(_: Caller, _: Request) -> Result<Reply> {
    let reply = Reply::bytes("text/csv; charset=utf-8", sheet::TEMPLATE);
    Ok(reply.attachment("recipients.csv"))
}

/// Campaigns whose time has come and that did not start: there are none unless something is wrong.
async fn overdue(caller: Caller, request: Request) -> Result<Reply> {
    let now = caller.gateway.clock().now();
    let (mut all, mut late) = (0, Vec::new());
    for session in caller.sessions(&request)? {
        for (id, campaign, progress) in caller.gateway.campaigns_of(&session)? {
            all += 1;
            let due = campaign.scheduled_at.is_some_and(|at| at < now);
            if campaign.status == CampaignState::Ready && due {
                late.push(brief(&session, &id, &campaign, &progress));
            }
        }
    }
    let answer =
        json!({ "totalCampaigns": all, "overdueCampaigns": late.len(), "campaigns": late });
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// What the first recipients would read.
async fn preview(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let query = request.query("sessionId").map(str::to_owned);
    let mut sent = read(gateway, request).await?;
    let body = text(&sent.fields, "sessionId")?;
    let session = caller.session(named_or_own(query.as_deref(), body))?;
    let message = message(gateway, &sent.fields)?;
    let message = message.ok_or_else(|| Error::invalid("message is required"))?;
    let limit = sent.fields.get("limit").and_then(Value::as_u64);
    let limit = limit.unwrap_or(5).min(50) as usize;
    let named = audience(&mut sent)?.ok_or(Code::RecipientsMissing)?;
    let samples = gateway.preview(&session, message.content(), named.audience, limit)?;
    let answer = Previews {
        status: "success",
        previews: samples.iter().map(sample).collect(),
        missing: samples.iter().flat_map(|sample| &sample.missing).collect(),
        report: named.report,
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

fn sample(sample: &Sample) -> Value {
    let (number, name) = (sample.recipient.number.as_str(), &sample.recipient.name);
    json!({ "number": number, "name": name, "text": sample.text, "missing": sample.missing })
}

/// What the first recipients would read, and what is told of the rows.
#[derive(Serialize)]
struct Previews<'a> {
    status: &'static str,
    previews: Vec<Value>,
    missing: BTreeSet<&'a String>,
    #[serde(flatten)]
    report: RowReport,
}

/// What a sheet would bring: its recipients, and every row that would be refused.
async fn preview_csv(caller: Caller, request: Request) -> Result<Reply> {
    let (sheet, _held) = only_sheet(&caller.gateway, request).await?;
    let parsed = sheet.parsed;
    let first = parsed.recipients.iter().take(SHOWN);
    let first = first.collect::<Result<Vec<_>>>()?;
    let answer = Sheets {
        success: true,
        headers: sheet.headers,
        recipient_count: parsed.recipients.len(),
        recipients: first.iter().map(person).collect(),
        errors: parsed.rejected,
        duplicates: parsed.merged,
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// What a sheet would bring.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sheets<'a> {
    success: bool,
    headers: Vec<String>,
    recipient_count: usize,
    recipients: Vec<RecipientView<'a>>,
    errors: Vec<RejectedRow>,
    duplicates: Vec<MergedRow>,
}

/// A recipient as lists and previews show it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecipientView<'a> {
    number: &'a str,
    name: &'a str,
    job_title: &'a str,
    company_name: &'a str,
    custom_fields: &'a BTreeMap<String, String>,
}

pub(super) fn person(who: &Recipient) -> RecipientView<'_> {
    RecipientView {
        number: who.number.as_str(),
        name: &who.name,
        job_title: &who.job_title,
        company_name: &who.company,
        custom_fields: &who.fields,
    }
}

/// How far a campaign has come, in the original program's words, extended.
pub(super) fn statistics(numbers: &Statistics) -> Value {
    json!({
        "total": numbers.total, "sent": numbers.sent, "failed": numbers.failed,
        "pending": numbers.pending, "sending": numbers.sending,
        "delivered": numbers.delivered, "read": numbers.read,
    })
}
