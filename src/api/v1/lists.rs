//! Recipient lists (S17 to S22 of the dialects' table), the later spellings of the original program,
//! and numbers that want no campaigns.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::admission::admitted;
use super::campaign_body::{CampaignBody, MAX_BODY, Object, RowReport, parted, read, read_numbers};
use super::campaigns::{RecipientView, named_or_own, person};
use super::people::{self, JsonRows, PageNote, SHOWN, asked_page, refuse_page, with_everybody};
use crate::api::admit::{Caller, only};
use crate::api::read::{about, flag, new_name, object, object_or_nothing, text};
use crate::api::reply::success;
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::list::{
    List, ListChange, ListDescription, ListName, ListPage, ListTotals, PageSize, tags, usable,
};
use crate::domain::recipient::{
    Addressee, EncodedRecipients, Recipient, RecipientRows, RejectedRow, addressee,
};
use crate::domain::session::Session;
use crate::domain::sheet;
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::{RowId, SessionId};
use crate::jid::{PhoneNumber, unreadable};

/// The columns of an export; those of the custom fields follow.
const EXPORT_HEADER: [&str; 4] = ["Number", "Name", "Job Title", "Company"];

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    use Method as M;
    let of = &[Scope::Broadcast];
    let one = "/recipient-lists/{listId}";
    let (used_path, import_path) = (
        "/recipient-lists/{listId}/mark-used",
        "/recipient-lists/{listId}/import",
    );
    let people = "/recipient-lists/{listId}/recipients";
    let person = "/recipient-lists/{listId}/recipients/{number}";
    vec![
        admitted(gateway, of, M::POST, "/recipient-lists", create).body_limit(MAX_BODY),
        admitted(gateway, of, M::GET, "/recipient-lists", list),
        admitted(gateway, of, M::GET, "/recipient-lists-stats", stats),
        admitted(
            gateway,
            of,
            M::GET,
            "/recipient-lists/search/{words}",
            search,
        ),
        admitted(gateway, of, M::GET, one, show),
        admitted(gateway, of, M::PUT, one, change).body_limit(MAX_BODY),
        admitted(gateway, of, M::DELETE, one, delete),
        admitted(
            gateway,
            of,
            M::POST,
            "/recipient-lists/{listId}/clone",
            clone,
        ),
        admitted(gateway, of, M::POST, used_path, mark_used),
        admitted(gateway, of, M::POST, import_path, import).body_limit(MAX_BODY),
        admitted(
            gateway,
            of,
            M::GET,
            "/recipient-lists/{listId}/export",
            export,
        ),
        admitted(gateway, of, M::POST, people, add),
        admitted(gateway, of, M::PUT, person, change_one),
        admitted(gateway, of, M::DELETE, person, remove_one),
        admitted(gateway, of, M::GET, "/suppressions", suppressed),
        admitted(gateway, of, M::POST, "/suppressions", suppress),
        admitted(gateway, of, M::DELETE, "/suppressions/{number}", unsuppress),
    ]
}

/// The list in the path. Another session's is as unknown as none.
fn found(caller: &Caller, request: &Request) -> Result<(Arc<Session>, RowId, List)> {
    let sessions = caller.sessions(request)?;
    let id = RowId::parse(request.param("listId")).ok_or(Code::ListIdInvalid)?;
    let (session, list) = caller.gateway.find_list(&sessions, &id)?;
    Ok((session, id, list))
}

/// Recipients of a request, and what is told of the rows that were refused or merged.
fn sent_people(sent: &mut CampaignBody) -> Result<Option<(EncodedRecipients, RowReport)>> {
    const ONE: &str = "Only one of recipients and a CSV file may be given";
    let Some(parsed) = sent.people(ONE)? else {
        return Ok(None);
    };
    let parsed = usable(parsed, flag(&sent.fields, "strict", false)?)?;
    Ok(Some(parted(parsed)))
}

fn list_name(body: &Object, field: &str) -> Result<Option<ListName>> {
    let name = text(body, field)?.map(ListName::new).transpose();
    name.map_err(about(field))
}

/// What a body changes of a list. An empty list of recipients empties it.
pub(super) fn list_change(body: &Object, people: Option<EncodedRecipients>) -> Result<ListChange> {
    let tags = match body.get("tags") {
        None | Some(Value::Null) => None,
        Some(Value::Array(words)) => {
            let words = words.iter().map(|word| word.as_str().unwrap_or_default());
            Some(tags(words)?)
        }
        Some(_) => return Err(Code::TagsInvalid.into()),
    };
    Ok(ListChange {
        name: list_name(body, "name")?,
        description: text(body, "description")?
            .map(ListDescription::new)
            .transpose()
            .map_err(about("description"))?,
        tags,
        recipients: people,
    })
}

/// A list without its people.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListView<'a> {
    id: &'a RowId,
    name: &'a str,
    description: &'a str,
    tags: &'a [String],
    recipient_count: u32,
    created_at: String,
    last_used: Option<String>,
    usage_count: u32,
    updated_at: Option<String>,
    session_id: &'a SessionId,
}

impl<'a> ListView<'a> {
    pub(super) fn of(session: &'a Session, id: &'a RowId, list: &'a List) -> Self {
        Self {
            id,
            name: &list.name,
            description: &list.description,
            tags: &list.tags,
            recipient_count: list.count,
            created_at: list.created_at.to_string(),
            last_used: list.last_used.map(|at| at.to_string()),
            usage_count: list.usage_count,
            updated_at: list.updated_at.map(|at| at.to_string()),
            session_id: &session.id,
        }
    }
}

/// A list with a page of its people, and with the rows that were refused or merged.
#[derive(Serialize)]
struct ListPageView<'a> {
    #[serde(flatten)]
    list: ListView<'a>,
    recipients: Vec<RecipientView<'a>>,
    next: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<PageNote>,
    #[serde(flatten)]
    report: Option<RowReport>,
}

/// A list with the people who come after `from` others.
fn paged(
    (session, id, list): (&Session, &RowId, &List),
    (page, from): (&ListPage, u32),
    report: Option<RowReport>,
    status: StatusCode,
) -> Reply {
    let shown = page.people.len();
    let next = page.next.filter(|_| shown > 0);
    let view = ListPageView {
        list: ListView::of(session, id, list),
        recipients: page.people.iter().map(person).collect(),
        next: next.map(|_| from + shown as u32),
        page: PageNote::of(shown, list.count),
        report,
    };
    Reply::json(status, &view)
}

/// The answer about a list that was made or changed: the first of its people are shown.
async fn answered(
    gateway: &Arc<Gateway>,
    session: &Session,
    (id, list): (&RowId, &List),
    report: Option<RowReport>,
    status: StatusCode,
) -> Result<Reply> {
    let first = gateway.first_people(session, list, PageSize::of(SHOWN));
    let first = first.await?;
    Ok(paged((session, id, list), (&first, 0), report, status))
}

async fn create(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let query = request.query("sessionId").map(str::to_owned);
    let mut sent = read(gateway, request).await?;
    let body = text(&sent.fields, "sessionId")?;
    let session = caller.session(named_or_own(query.as_deref(), body))?;
    let (people, report) = sent_people(&mut sent)?.unzip();
    let change = list_change(&sent.fields, people)?;
    let (id, list) = gateway.create_list(&session, change).await?;
    answered(gateway, &session, (&id, &list), report, StatusCode::CREATED).await
}

async fn list(caller: Caller, request: Request) -> Result<Reply> {
    let (words, tag) = (request.query("search"), request.query("tag"));
    let mut found = Vec::new();
    for session in caller.sessions(&request)? {
        for (id, list) in caller.gateway.lists(&session)? {
            if list.is_found(words, tag) {
                found.push((session.clone(), id, list));
            }
        }
    }
    let rows = found.iter().map(|(s, id, list)| ListView::of(s, id, list));
    Ok(Reply::json(StatusCode::OK, &rows.collect::<Vec<_>>()))
}

/// How much the lists hold.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TotalsView {
    total_lists: usize,
    total_recipients: u64,
    total_usage: u64,
    average_list_size: u64,
}

async fn stats(caller: Caller, request: Request) -> Result<Reply> {
    let mut lists = Vec::new();
    for session in caller.sessions(&request)? {
        lists.extend(caller.gateway.lists(&session)?);
    }
    let totals = ListTotals::of(lists.iter().map(|(_, list)| list));
    let answer = TotalsView {
        total_lists: totals.lists,
        total_recipients: totals.recipients,
        total_usage: totals.usage,
        average_list_size: totals.average_size(),
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// Somebody who was found, and in which list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundView<'a> {
    #[serde(flatten)]
    person: RecipientView<'a>,
    list_id: &'a RowId,
    list_name: &'a str,
}

async fn search(caller: Caller, request: Request) -> Result<Reply> {
    let words = request.param("words");
    let mut found = Vec::new();
    for session in caller.sessions(&request)? {
        let left = SHOWN - found.len();
        let more = caller.gateway.search_recipients(&session, words, left);
        found.extend(more.await?);
    }
    let rows = found.iter().map(|(list_id, list_name, who)| FoundView {
        person: person(who),
        list_id,
        list_name,
    });
    Ok(Reply::json(StatusCode::OK, &rows.collect::<Vec<_>>()))
}

/// A list with all its people, or with the page that is asked for.
async fn show(caller: Caller, request: Request) -> Result<Reply> {
    let (session, id, _) = found(&caller, &request)?;
    let asked = asked_page(&request)?;
    let (skip, size) = match &asked {
        Some(page) => (page.from as usize, PageSize::of(page.rows)),
        None => (0, PageSize::PIECE),
    };
    let read = caller.gateway.list_with_people(&session, &id, skip, size);
    let (list, page) = read.await?;
    if let Some(asked) = asked {
        let shown = (&*session, &id, &list);
        return Ok(paged(shown, (&page, asked.from), None, StatusCode::OK));
    }
    let first = json_rows(&page)?;
    let (of, named, before) = (session.clone(), id.clone(), list.clone());
    let more = move |at| {
        let (gateway, session) = (caller.gateway.clone(), of.clone());
        let (id, list) = (named.clone(), before.clone());
        async move {
            let page = gateway.list_people(&session, &id, &list, at, PageSize::PIECE);
            json_rows(&page.await?)
        }
    };
    with_everybody(&ListView::of(&session, &id, &list), first, None, more)
}

/// A page of people, as JSON.
pub(super) fn json_rows(page: &ListPage) -> Result<JsonRows> {
    let rows: Vec<_> = page.people.iter().map(person).collect();
    JsonRows::of(&rows, page.next)
}

async fn change(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let mut sent = read(gateway, request).await?;
    only(&session, text(&sent.fields, "sessionId")?)?;
    let (people, report) = sent_people(&mut sent)?.unzip();
    if people.is_some() {
        refuse_page(&sent.fields)?;
    }
    let change = list_change(&sent.fields, people)?;
    let list = gateway.change_list(&session, &id, change).await?;
    answered(gateway, &session, (&id, &list), report, StatusCode::OK).await
}

async fn delete(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let id = RowId::parse(request.param("listId")).ok_or(Code::ListIdInvalid)?;
    let session = gateway.owner_of_list(&caller.sessions(&request)?, &id)?;
    gateway.delete_list(&session, &id).await?;
    Ok(success("Recipient list deleted"))
}

async fn clone(caller: Caller, mut request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let body = object_or_nothing(&mut request).await?;
    only(&session, text(&body, "sessionId")?)?;
    let name = new_name(&body, list_name)?.filter(|name| !name.is_empty());
    let (id, list) = gateway.clone_list(&session, &id, name).await?;
    answered(gateway, &session, (&id, &list), None, StatusCode::CREATED).await
}

async fn mark_used(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    gateway.mark_list_used(&session, &id).await?;
    Ok(success("List marked as used"))
}

/// Adds the people of a sheet, or of `recipients`, to those that are there.
async fn import(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let mut sent = read(gateway, request).await?;
    only(&session, text(&sent.fields, "sessionId")?)?;
    let none = || Error::from(Code::FileMissing);
    let (people, report) = sent_people(&mut sent)?.ok_or_else(none)?;
    let count = people.len();
    let (list, known) = gateway.import_recipients(&session, &id, people).await?;
    let answer = Imported {
        status: "success",
        imported: count - known.len(),
        already_there: known,
        list: ListView::of(&session, &id, &list),
        report,
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// What an import brought.
#[derive(Serialize)]
struct Imported<'a> {
    status: &'static str,
    imported: usize,
    #[serde(rename = "alreadyThere")]
    already_there: Vec<String>,
    list: ListView<'a>,
    #[serde(flatten)]
    report: RowReport,
}

/// The recipients as a sheet that can be imported again, made while it is sent.
async fn export(caller: Caller, request: Request) -> Result<Reply> {
    let (session, id, list) = found(&caller, &request)?;
    let fields = caller.gateway.custom_fields(&session, &list).await?;
    let fields: Arc<[String]> = fields.into_iter().collect();
    let names = fields.iter().map(String::as_str);
    let header = sheet::lines([EXPORT_HEADER.into_iter().chain(names)])?;
    let name = list.name.clone();
    let more = move |at| {
        let (gateway, session, id) = (caller.gateway.clone(), session.clone(), id.clone());
        let (list, fields) = (list.clone(), fields.clone());
        async move {
            let page = gateway.list_people(&session, &id, &list, at, PageSize::PIECE);
            let page = page.await?;
            Ok((export_lines(&page.people, &fields)?.into(), page.next))
        }
    };
    Ok(people::sheet(&name, header, more))
}

fn export_lines(people: &[Recipient], fields: &[String]) -> Result<Vec<u8>> {
    sheet::lines(people.iter().map(|who| {
        let known = [who.number.as_str(), &who.name, &who.job_title, &who.company];
        let custom = fields.iter().map(|field| who.fields.get(field));
        let custom = custom.map(|value| value.map_or("", String::as_str));
        known.into_iter().chain(custom)
    }))
}

/// One person from a body.
fn one(gateway: &Arc<Gateway>, body: Object) -> Result<Recipient> {
    let country = gateway.country();
    let mut parsed = RecipientRows::from_json(&Value::Object(body), country)?;
    let recipient = parsed.recipients.iter().next().transpose()?;
    match (recipient, parsed.rejected.pop()) {
        (Some(recipient), _) => Ok(recipient),
        (None, rejected) => Err(Error::new(
            Code::RecipientsInvalid,
            match rejected {
                Some(rejected) => format!("Invalid recipient data: {}", rejected.reason),
                None => "Invalid recipient data".to_owned(),
            },
        )),
    }
}

async fn add(caller: Caller, mut request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let body = object(&mut request).await?;
    only(&session, text(&body, "sessionId")?)?;
    let recipient = one(gateway, body)?;
    let list = gateway.add_recipient(&session, &id, recipient).await?;
    answered(gateway, &session, (&id, &list), None, StatusCode::CREATED).await
}

/// What is wrong with a number in the path.
fn wrong_in_path(number: &str, country: Option<&str>) -> Error {
    let error = unreadable(number, country, Code::NumberInvalid);
    match error.code() {
        Code::NumberInvalid => error.worded("Invalid recipient number format"),
        _ => error,
    }
}

/// The person or the group in the path.
fn addressee_in_path(gateway: &Gateway, request: &Request) -> Result<Addressee> {
    let (number, country) = (request.param("number"), gateway.country());
    addressee(number, country).map_err(|_| wrong_in_path(number, country))
}

async fn change_one(caller: Caller, mut request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let number = addressee_in_path(gateway, &request)?;
    let mut body = object(&mut request).await?;
    only(&session, text(&body, "sessionId")?)?;
    // What is not named stays: a client that changes the name need not repeat the number.
    body.entry("number").or_insert(json!(number.as_str()));
    let new = one(gateway, body)?;
    let old = number.to_string();
    let list = gateway.change_recipient(&session, &id, old, new).await?;
    answered(gateway, &session, (&id, &list), None, StatusCode::OK).await
}

async fn remove_one(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let old = addressee_in_path(gateway, &request)?.to_string();
    let list = gateway.remove_recipient(&session, &id, old).await?;
    answered(gateway, &session, (&id, &list), None, StatusCode::OK).await
}

/// Numbers that want no campaigns, 1,000 at a time.
async fn suppressed(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let session = caller.session(named_or_own(request.query("sessionId"), None))?;
    let rows = gateway.suppressed(&session, request.query("after"), SHOWN)?;
    let next = rows.last().filter(|_| rows.len() == SHOWN);
    let numbers = rows.iter().map(|(number, row)| SuppressedView {
        number,
        since: row.at.to_string(),
        by: if row.by_message { "message" } else { "api" },
    });
    let answer = SuppressedPage {
        status: "success",
        numbers: numbers.collect(),
        next: next.map(|(number, _)| number),
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// A page of numbers that want no campaigns.
#[derive(Serialize)]
struct SuppressedPage<'a> {
    status: &'static str,
    numbers: Vec<SuppressedView<'a>>,
    next: Option<&'a String>,
}

/// One of them.
#[derive(Serialize)]
struct SuppressedView<'a> {
    number: &'a str,
    since: String,
    by: &'static str,
}

async fn suppress(caller: Caller, mut request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let mut sent = read_numbers(gateway, &mut request).await?;
    let body = text(&sent.fields, "sessionId")?;
    let session = caller.session(named_or_own(request.query("sessionId"), body))?;
    let none = || Error::invalid("numbers is required");
    let parsed = sent.numbers()?.ok_or_else(none)?;
    let parsed = usable(parsed, flag(&sent.fields, "strict", false)?)?;
    let count = parsed.recipients.len();
    let people = parsed.recipients.iter();
    let people = people.collect::<Result<Vec<_>>>()?;
    let numbers = people.iter().filter_map(|who| who.number.phone().cloned());
    gateway.suppress(&session, numbers.collect()).await?;
    let answer = SuppressReport {
        status: "success",
        suppressed: count,
        rejected: parsed.rejected,
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// What became of numbers to suppress.
#[derive(Serialize)]
struct SuppressReport {
    status: &'static str,
    suppressed: usize,
    rejected: Vec<RejectedRow>,
}

async fn unsuppress(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let session = caller.session(named_or_own(request.query("sessionId"), None))?;
    let (text, country) = (request.param("number"), gateway.country());
    let number = PhoneNumber::parse(text, country);
    let number = number.ok_or_else(|| wrong_in_path(text, country))?;
    gateway.unsuppress(&session, &number).await?;
    Ok(success("The number gets campaigns again"))
}
