//! Campaigns (S10 to S16 of the dialects' table), and the later spellings of the original program.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::Serialize;

use super::admission::admitted;
use super::campaign_body::{
    CampaignBody, MAX_BODY, NamedAudience, Object, RowReport, audience, message, only_sheet, read,
    scheduled_at, settings,
};
use super::people::{self, JsonRows, PageNote, SHOWN, asked_page, refuse_page, with_everybody};
use crate::api::admit::{Caller, Where, only};
use crate::api::read::{about, new_name, object_or_nothing, text, whole_number};
use crate::api::reply::{HoursView, hours, success};
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::campaign::control::CampaignChange;
use crate::domain::campaign::create::NewCampaign;
use crate::domain::campaign::message::CampaignName;
use crate::domain::campaign::preview::Sample;
use crate::domain::campaign::report::{ReportPage, ReportRow};
use crate::domain::campaign::{
    Campaign, CampaignMessage, CampaignSettings, CampaignState, RecipientState, RecipientStatus,
    SendProgress, Statistics,
};
use crate::domain::list::PageSize;
use crate::domain::recipient::{MergedRow, Recipient, RejectedRow};
use crate::domain::session::Session;
use crate::domain::sheet;
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::{MediaId, MessageId, RowId, SessionId};
use crate::time::Timestamp;

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
    let (session, (campaign, progress)) = caller.gateway.find_campaign(&sessions, &id)?;
    Ok((session, id, campaign, progress))
}

async fn create(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let query = request.query("sessionId").map(str::to_owned);
    let mut sent = read(gateway, request).await?;
    let body = text(&sent.fields, "sessionId")?;
    let session = caller.session(named_or_own(query.as_deref(), body))?;
    let (new, report) = new_campaign(&caller, &mut sent)?;
    let (address, campaign) = gateway.create_campaign(&session, new).await?;
    let shown = (&address.id, &campaign, StatusCode::CREATED);
    answered(gateway, &session, shown, report.into()).await
}

/// The campaign that a body describes, and what is told of its rows.
fn new_campaign(caller: &Caller, sent: &mut CampaignBody) -> Result<(NewCampaign, RowReport)> {
    let body = &sent.fields;
    let name = campaign_name(body, "name")?;
    let name = name.ok_or_else(|| Error::invalid("name is required"))?;
    let message = message(&caller.gateway, &caller.principal, body)?;
    let message = message.ok_or_else(|| Error::invalid("message is required"))?;
    let settings = settings(body, CampaignSettings::default())?;
    let scheduled_at = scheduled_at(body, &settings.pacing.zone)?.flatten();
    let named = audience(caller, sent)?.ok_or(Code::RecipientsMissing)?;
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
struct CampaignPageView<'a> {
    #[serde(flatten)]
    campaign: CampaignView<'a>,
    recipients: Vec<ShownRecipient<'a>>,
    next: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<PageNote>,
    #[serde(flatten)]
    report: RowsReport,
}

impl<'a> CampaignPageView<'a> {
    fn of(campaign: CampaignView<'a>, page: &'a ReportPage, report: RowsReport) -> Self {
        let shown = page.rows.len();
        Self {
            recipients: page.rows.iter().map(shown_recipient).collect(),
            next: page.next.filter(|_| shown > 0),
            page: PageNote::of(shown, campaign.recipient_count),
            campaign,
            report,
        }
    }
}

/// A campaign's answer, with the first of its recipients.
async fn answered(
    gateway: &Arc<Gateway>,
    session: &Session,
    (id, campaign, status): (&RowId, &Campaign, StatusCode),
    report: RowsReport,
) -> Result<Reply> {
    let (_, progress) = gateway.campaign(session, id)?;
    let first = gateway.campaign_rows(session, (id, campaign), 0, PageSize::of(SHOWN), |_| true);
    let first = first.await?;
    let view = CampaignView::of(session, id, campaign, &progress, gateway.clock().now());
    let view = CampaignPageView::of(view, &first, report);
    Ok(Reply::json(status, &view))
}

async fn list(caller: Caller, request: Request) -> Result<Reply> {
    let mut found = Vec::new();
    for session in caller.sessions(&request)? {
        let more = caller.gateway.campaigns_of(&session)?.into_iter();
        found.extend(more.map(|(id, campaign, sent)| (session.clone(), id, campaign, sent)));
    }
    found.sort_by_key(|(_, _, campaign, _)| std::cmp::Reverse(campaign.created_at));
    let now = caller.gateway.clock().now();
    let rows = found
        .iter()
        .map(|(session, id, campaign, sent)| CampaignView::of(session, id, campaign, sent, now));
    Ok(Reply::json(StatusCode::OK, &rows.collect::<Vec<_>>()))
}

/// A campaign without its recipients, in the order that seed 001 documents.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CampaignView<'a> {
    id: &'a RowId,
    name: &'a str,
    status: &'static str,
    created_at: String,
    scheduled_at: Option<String>,
    recipient_count: u32,
    statistics: StatisticsView,
    created_by: &'a SessionId,
    session_id: &'a SessionId,
    message: MessageView<'a>,
    recipient_list_id: Option<&'a RowId>,
    settings: SettingsView<'a>,
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    started_at: Option<String>,
    completed_at: Option<String>,
    updated_at: Option<String>,
}

impl<'a> CampaignView<'a> {
    pub(super) fn of(
        session: &'a Session,
        id: &'a RowId,
        campaign: &'a Campaign,
        progress: &SendProgress,
        now: Timestamp,
    ) -> Self {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            id,
            name: &campaign.name,
            status: campaign.status.as_str(),
            created_at: campaign.created_at.to_string(),
            scheduled_at: time(campaign.scheduled_at),
            recipient_count: campaign.total,
            statistics: statistics(&Statistics::of(&progress.counts, campaign.total)),
            // There are no users: what a session's token made is the session's.
            created_by: &session.id,
            session_id: &session.id,
            message: MessageView::of(&campaign.message),
            recipient_list_id: campaign.list.as_ref(),
            settings: SettingsView::of(&campaign.settings),
            detail: detail(session, campaign),
            note: campaign.has_missed_its_time(now).then(|| missed(id)),
            started_at: time(campaign.started_at),
            completed_at: time(campaign.completed_at),
            updated_at: time(campaign.updated_at),
        }
    }
}

/// What is said of a campaign whose time had passed when it was given one.
fn missed(id: &RowId) -> String {
    format!(
        "scheduledAt has passed, so nothing is sent; POST /api/v1/campaigns/{id}/start sends it now, PUT \
         a later scheduledAt sends it then"
    )
}

/// What a campaign says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageView<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    content: &'a str,
    media_id: Option<&'a MediaId>,
    media_url: Option<&'a str>,
    media_caption: Option<&'a str>,
    file_name: Option<&'a str>,
}

impl<'a> MessageView<'a> {
    fn of(message: &'a CampaignMessage) -> Self {
        let media = message.media.as_ref();
        Self {
            kind: media.map_or("text", |media| media.kind.as_str()),
            content: &message.content,
            media_id: media.map(|media| &media.id),
            media_url: media.and_then(|media| media.link.as_deref()),
            media_caption: message.caption.as_deref(),
            file_name: media.and_then(|media| media.file_name.as_deref()),
        }
    }
}

/// How a campaign sends.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SettingsView<'a> {
    delay_between_messages: u64,
    max_retries: u32,
    retry_delay: u64,
    jitter: u8,
    daily_cap: Option<NonZeroU32>,
    quiet_hours: Option<HoursView>,
    timezone: &'a str,
    check_numbers: bool,
    typing: bool,
    variants: bool,
}

impl<'a> SettingsView<'a> {
    fn of(settings: &'a CampaignSettings) -> Self {
        let pacing = &settings.pacing;
        Self {
            delay_between_messages: pacing.delay.as_millis() as u64,
            max_retries: settings.max_retries,
            retry_delay: settings.retry_delay_ms,
            jitter: pacing.jitter,
            daily_cap: pacing.daily_cap,
            quiet_hours: pacing.quiet.map(hours),
            timezone: pacing.zone.name(),
            check_numbers: settings.check_numbers,
            typing: settings.typing,
            variants: settings.variants,
        }
    }
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
struct ShownRecipient<'a> {
    number: Option<&'a str>,
    name: Option<&'a str>,
    job_title: Option<&'a str>,
    company_name: Option<&'a str>,
    custom_fields: Option<&'a BTreeMap<String, String>>,
    status: &'static str,
    sent_at: Option<String>,
    error: Option<&'a str>,
    retry_count: u32,
    tries: u32,
    message_id: Option<&'a MessageId>,
    delivery: Option<&'static str>,
    delivered_at: Option<String>,
    read_at: Option<String>,
    failed_at: Option<String>,
}

fn shown_recipient(row: &ReportRow) -> ShownRecipient<'_> {
    let state = &row.state;
    let who = row.recipient.as_ref();
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let at = |failed: bool| {
        let is_failed = state.status == RecipientStatus::Failed;
        time(state.at.filter(|_| is_failed == failed))
    };
    ShownRecipient {
        number: who.map_or(state.input.as_deref(), |who| Some(who.number.as_str())),
        name: who.map(|who| who.name.as_str()),
        job_title: who.map(|who| who.job_title.as_str()),
        company_name: who.map(|who| who.company.as_str()),
        custom_fields: who.map(|who| &who.fields),
        status: status_word(state.status),
        sent_at: at(false),
        error: state.error.as_deref(),
        retry_count: state.tries.saturating_sub(1),
        tries: state.tries,
        message_id: state.message.as_ref(),
        delivery: delivery_word(state.status),
        delivered_at: time(state.delivered_at),
        read_at: time(state.read_at),
        failed_at: at(true),
    }
}

/// The status of a recipient in the words of the original program: what was sent stays so.
fn status_word(status: RecipientStatus) -> &'static str {
    match status {
        RecipientStatus::Delivered | RecipientStatus::Read => RecipientStatus::Sent.as_str(),
        status => status.as_str(),
    }
}

/// How far a message that was sent has come.
fn delivery_word(status: RecipientStatus) -> Option<&'static str> {
    status.is_sent().then(|| status.as_str())
}

/// A page of the recipients, as JSON.
pub(super) fn json_rows(page: &ReportPage) -> Result<JsonRows> {
    let rows: Vec<_> = page.rows.iter().map(shown_recipient).collect();
    JsonRows::of(&rows, page.next)
}

/// The recipients that the query asks for by their status; all, when it names none.
fn asked_status(request: &Request) -> Result<Option<RecipientStatus>> {
    let Some(word) = request.query("status").filter(|word| !word.is_empty()) else {
        return Ok(None);
    };
    let wrong = || {
        let words = RecipientStatus::ALL.map(RecipientStatus::as_str).join(", ");
        Error::invalid(format!("status must be one of: {words}"))
    };
    RecipientStatus::parse(word).map(Some).ok_or_else(wrong)
}

/// A campaign with all its recipients, or with the page that is asked for.
async fn show(caller: Caller, request: Request) -> Result<Reply> {
    let (session, id, campaign, progress) = found(&caller, &request)?;
    let (asked, status) = (asked_page(&request)?, asked_status(&request)?);
    let wanted = move |state: &RecipientState| status.is_none_or(|s| state.status.is_within(s));
    let (from, size) = match &asked {
        Some(page) => (page.from, PageSize::of(page.rows)),
        None => (0, PageSize::PIECE),
    };
    let gateway = &caller.gateway;
    let read = gateway.campaign_rows(&session, (&id, &campaign), from, size, wanted);
    let page = read.await?;
    let view = CampaignView::of(&session, &id, &campaign, &progress, gateway.clock().now());
    if asked.is_some() {
        let view = CampaignPageView::of(view, &page, RowsReport::Unsaid {});
        return Ok(Reply::json(StatusCode::OK, &view));
    }
    let first = json_rows(&page)?;
    // Those of a status are a page, as far as it is about replacing everybody.
    let of = status.map(|_| view.recipient_count);
    with_everybody(&view, first, of, {
        let rows = RowsReader::of(&caller.gateway, &session, &id, &campaign);
        move |at| {
            let rows = rows.clone();
            async move { json_rows(&rows.read(at, wanted).await?) }
        }
    })
}

/// Reads the recipients of a campaign a piece at a time.
#[derive(Clone)]
struct RowsReader {
    gateway: Arc<Gateway>,
    session: Arc<Session>,
    id: RowId,
    campaign: Arc<Campaign>,
}

impl RowsReader {
    fn of(gateway: &Arc<Gateway>, session: &Arc<Session>, id: &RowId, campaign: &Campaign) -> Self {
        Self {
            gateway: gateway.clone(),
            session: session.clone(),
            id: id.clone(),
            campaign: Arc::new(campaign.clone()),
        }
    }

    async fn read(
        &self,
        at: u32,
        wanted: impl Fn(&RecipientState) -> bool + Send + 'static,
    ) -> Result<ReportPage> {
        let of = (&self.id, &*self.campaign);
        self.gateway
            .campaign_rows(&self.session, of, at, PageSize::PIECE, wanted)
            .await
    }
}

async fn change(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, campaign, _) = found(&caller, &request)?;
    let mut sent = read(gateway, request).await?;
    only(&session, text(&sent.fields, "sessionId")?)?;
    sent.forget_repeated(&campaign);
    let (change, report) = campaign_change(&caller, &mut sent, campaign.settings)?;
    if change.audience.is_some() {
        refuse_page(&sent.fields)?;
    }
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
    caller: &Caller,
    sent: &mut CampaignBody,
    base: CampaignSettings,
) -> Result<(CampaignChange, Option<RowReport>)> {
    let message = message(&caller.gateway, &caller.principal, &sent.fields)?;
    let settings = settings(&sent.fields, base)?;
    let (audience, report) = audience(caller, sent)?
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
    let gateway = &caller.gateway;
    let id = RowId::parse(request.param("campaignId")).ok_or(Code::CampaignIdInvalid)?;
    let session = gateway.owner_of_campaign(&caller.sessions(&request)?, &id)?;
    gateway.delete_campaign(&session, &id).await?;
    Ok(success("Campaign deleted"))
}

async fn step(caller: Caller, request: Request, what: CampaignAction) -> Result<Reply> {
    let (session, id, before, _) = found(&caller, &request)?;
    let done = stepped(&caller.gateway, &session, (&id, &before), what);
    let done = done.await?;
    let answer = SteppedView {
        status: "success",
        message: done.message,
        campaign_id: &id,
        campaign_status: done.campaign.status.as_str(),
        detail: detail(&session, &done.campaign),
        recipient_count: done.recipient_count,
        retry_count: done.retry_count,
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// What a campaign has done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SteppedView<'a> {
    status: &'static str,
    message: &'static str,
    campaign_id: &'a RowId,
    campaign_status: &'static str,
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_count: Option<usize>,
}

/// What was done, and what is told beside it.
struct Stepped {
    campaign: Campaign,
    message: &'static str,
    recipient_count: Option<u32>,
    retry_count: Option<usize>,
}

impl Stepped {
    fn of(campaign: Campaign, message: &'static str) -> Self {
        Self {
            campaign,
            message,
            recipient_count: None,
            retry_count: None,
        }
    }
}

/// Has a campaign do it.
async fn stepped(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    (id, before): (&RowId, &Campaign),
    what: CampaignAction,
) -> Result<Stepped> {
    Ok(match what {
        CampaignAction::Start => Stepped {
            recipient_count: Some(before.total),
            ..Stepped::of(
                gateway.start_campaign(session, id).await?,
                "Campaign started",
            )
        },
        CampaignAction::Pause => Stepped::of(
            gateway.pause_campaign(session, id).await?,
            "Campaign paused",
        ),
        CampaignAction::Resume => Stepped::of(
            gateway.resume_campaign(session, id).await?,
            "Campaign resumed",
        ),
        CampaignAction::Retry => {
            let count = gateway.retry_campaign(session, id).await?;
            let (campaign, _) = gateway.campaign(session, id)?;
            let message = match count {
                0 => "No failed messages",
                _ => "Failed messages are tried again",
            };
            Stepped {
                retry_count: Some(count),
                ..Stepped::of(campaign, message)
            }
        }
    })
}

async fn clone(caller: Caller, mut request: Request) -> Result<Reply> {
    let (session, id, ..) = found(&caller, &request)?;
    let body = object_or_nothing(&mut request).await?;
    only(&session, text(&body, "sessionId")?)?;
    let name = new_name(&body, campaign_name)?;
    let cloned = caller.gateway.clone_campaign(&session, &id, name);
    let (address, campaign) = cloned.await?;
    let shown = (&address.id, &campaign, StatusCode::CREATED);
    answered(&caller.gateway, &session, shown, RowsReport::Unsaid {}).await
}

async fn status(caller: Caller, request: Request) -> Result<Reply> {
    let (session, id, campaign, progress) = found(&caller, &request)?;
    let numbers = Statistics::of(&progress.counts, campaign.total);
    let answer = StatusView {
        campaign_id: &id,
        name: &campaign.name,
        status: campaign.status.as_str(),
        is_active: campaign.status == CampaignState::Sending,
        queue_status: match campaign.status {
            CampaignState::Sending => "running",
            CampaignState::Paused => "paused",
            _ => "inactive",
        },
        statistics: statistics(&numbers),
        last_message_time: progress.last_sent.map(|at| at.to_string()),
        progress: numbers.percent(),
        detail: detail(&session, &campaign),
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// How far a campaign has come.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusView<'a> {
    campaign_id: &'a RowId,
    name: &'a str,
    status: &'static str,
    is_active: bool,
    queue_status: &'static str,
    statistics: StatisticsView,
    last_message_time: Option<String>,
    progress: u32,
    detail: Option<String>,
}

/// The recipients as a sheet, made while it is sent.
async fn export(caller: Caller, request: Request) -> Result<Reply> {
    let (session, id, campaign, _) = found(&caller, &request)?;
    let header = sheet::lines([sheet::EXPORT_HEADER])?;
    let rows = RowsReader::of(&caller.gateway, &session, &id, &campaign);
    let more = move |at| {
        let rows = rows.clone();
        async move {
            let page = rows.read(at, |_| true).await?;
            let lines: Vec<_> = page.rows.iter().map(export_row).collect();
            let cells = lines.iter().map(|line| line.iter().map(|cell| &**cell));
            Ok((sheet::lines(cells)?.into(), page.next))
        }
    };
    Ok(people::sheet(&campaign.name, header, more))
}

fn export_row(row: &ReportRow) -> [Cow<'_, str>; 9] {
    let (state, who) = (&row.state, row.recipient.as_ref());
    let number = who.map_or(state.input.as_deref(), |who| Some(who.number.as_str()));
    let sent = state.at.filter(|_| state.status != RecipientStatus::Failed);
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    [
        number.unwrap_or_default().into(),
        who.map_or("", |who| &who.name).into(),
        who.map_or("", |who| &who.job_title).into(),
        who.map_or("", |who| &who.company).into(),
        status_word(state.status).into(),
        time(sent).into(),
        state.error.as_deref().unwrap_or_default().into(),
        time(state.delivered_at).into(),
        time(state.read_at).into(),
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
        for (id, campaign, sent) in caller.gateway.campaigns_of(&session)? {
            all += 1;
            if campaign.is_overdue(now) {
                late.push((session.clone(), id, campaign, sent));
            }
        }
    }
    let campaigns = late
        .iter()
        .map(|(session, id, campaign, sent)| CampaignView::of(session, id, campaign, sent, now));
    let answer = OverdueView {
        total_campaigns: all,
        overdue_campaigns: late.len(),
        campaigns: campaigns.collect(),
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// What is late.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OverdueView<'a> {
    total_campaigns: usize,
    overdue_campaigns: usize,
    campaigns: Vec<CampaignView<'a>>,
}

/// What the first recipients would read.
async fn preview(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let query = request.query("sessionId").map(str::to_owned);
    let mut sent = read(gateway, request).await?;
    let body = text(&sent.fields, "sessionId")?;
    caller.session(named_or_own(query.as_deref(), body))?;
    let message = message(gateway, &caller.principal, &sent.fields)?;
    let message = message.ok_or_else(|| Error::invalid("message is required"))?;
    let limit = whole_number(&sent.fields, "limit");
    let named = audience(&caller, &mut sent)?.ok_or(Code::RecipientsMissing)?;
    let variants = settings(&sent.fields, CampaignSettings::default())?.variants;
    let samples = gateway.preview(&message, variants, named.audience, limit)?;
    let answer = Previews {
        status: "success",
        previews: samples.iter().map(sample).collect(),
        missing: samples.iter().flat_map(|sample| &sample.missing).collect(),
        report: named.report,
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

fn sample(sample: &Sample) -> SampleView<'_> {
    SampleView {
        number: sample.recipient.number.as_str(),
        name: &sample.recipient.name,
        text: &sample.text,
        missing: &sample.missing,
    }
}

/// What one recipient would read.
#[derive(Serialize)]
struct SampleView<'a> {
    number: &'a str,
    name: &'a str,
    text: &'a str,
    missing: &'a BTreeSet<String>,
}

/// What the first recipients would read, and what is told of the rows.
#[derive(Serialize)]
struct Previews<'a> {
    status: &'static str,
    previews: Vec<SampleView<'a>>,
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
#[derive(Serialize)]
pub(super) struct StatisticsView {
    total: u32,
    sent: u32,
    failed: u32,
    pending: u32,
    sending: u32,
    delivered: u32,
    read: u32,
}

pub(super) fn statistics(numbers: &Statistics) -> StatisticsView {
    StatisticsView {
        total: numbers.total,
        sent: numbers.sent,
        failed: numbers.failed,
        pending: numbers.pending,
        sending: numbers.sending,
        delivered: numbers.delivered,
        read: numbers.read,
    }
}
