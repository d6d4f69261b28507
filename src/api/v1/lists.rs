//! Recipient lists (S17 to S22 of the dialects' table), the later spellings of the original program,
//! and numbers that want no campaigns.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::admission::admitted;
use super::campaign_body::{CampaignBody, MAX_BODY, Object, RowReport, parted, read, read_numbers};
use super::campaigns::{EXPORT_PAGE, RecipientView, SHOWN, SHOWN_AT_MOST, named_or_own, person};
use crate::api::admit::{Caller, only};
use crate::api::read::{about, flag, number, object, object_or_nothing, text};
use crate::api::reply::success;
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::list::{List, ListChange, ListDescription, ListName, tags, usable};
use crate::domain::recipient::{EncodedRecipients, Recipient, RecipientRows, RejectedRow};
use crate::domain::session::Session;
use crate::domain::sheet;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::RowId;
use crate::jid::{PhoneNumber, unreadable};

/// The page that a list is answered with when it was made, and when it was changed.
const MADE: ((usize, usize), StatusCode) = ((0, SHOWN), StatusCode::CREATED);
const CHANGED: ((usize, usize), StatusCode) = ((0, SHOWN), StatusCode::OK);

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
    for session in sessions {
        match caller.gateway.list(&session, &id) {
            Ok(list) => return Ok((session, id, list)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::from(Code::ListNotFound))
}

/// Recipients of a request, and what is told of the rows that were refused or merged.
fn people(sent: &mut CampaignBody) -> Result<Option<(EncodedRecipients, RowReport)>> {
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

pub(super) fn brief(session: &Session, id: &RowId, list: &List) -> Value {
    json!({
        "id": id, "name": list.name, "description": list.description, "tags": list.tags,
        "recipientCount": list.count, "createdAt": list.created_at.to_string(),
        "updatedAt": list.updated_at.map(|at| at.to_string()),
        "lastUsed": list.last_used.map(|at| at.to_string()), "usageCount": list.usage_count,
        "sessionId": session.id,
    })
}

/// A list with a page of its recipients, and with the rows that were refused or merged.
#[derive(Serialize)]
struct FullList<'a> {
    #[serde(flatten)]
    list: Value,
    recipients: Vec<RecipientView<'a>>,
    next: Option<usize>,
    #[serde(flatten)]
    report: Option<RowReport>,
}

/// A list's answer, with a page of its recipients.
async fn answered(
    gateway: &Arc<Gateway>,
    session: &Session,
    (id, list): (&RowId, &List),
    report: Option<RowReport>,
    ((skip, limit), status): ((usize, usize), StatusCode),
) -> Result<Reply> {
    let (page, more) = gateway.list_recipients(session, list, skip, limit).await?;
    let answer = FullList {
        list: brief(session, id, list),
        recipients: page.iter().map(person).collect(),
        next: (more && !page.is_empty()).then_some(skip + page.len()),
        report,
    };
    Ok(Reply::json(status, &answer))
}

async fn create(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let query = request.query("sessionId").map(str::to_owned);
    let mut sent = read(gateway, request).await?;
    let body = text(&sent.fields, "sessionId")?;
    let session = caller.session(named_or_own(query.as_deref(), body))?;
    let (people, report) = people(&mut sent)?.unzip();
    let change = list_change(&sent.fields, people)?;
    let (id, list) = gateway.create_list(&session, change).await?;
    answered(gateway, &session, (&id, &list), report, MADE).await
}

async fn list(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let words = request.query("search").map(str::to_lowercase);
    let tag = request.query("tag");
    let mut rows = Vec::new();
    for session in caller.sessions(&request)? {
        for (id, list) in gateway.lists(&session)? {
            let said = |words: &String| {
                let holds = |text: &str| text.to_lowercase().contains(words);
                holds(&list.name) || holds(&list.description)
            };
            let tagged = |tag: &str| list.tags.iter().any(|t| t.eq_ignore_ascii_case(tag));
            if words.as_ref().is_none_or(said) && tag.is_none_or(tagged) {
                rows.push(brief(&session, &id, &list));
            }
        }
    }
    Ok(Reply::json(StatusCode::OK, &rows))
}

async fn stats(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let mut lists = Vec::new();
    for session in caller.sessions(&request)? {
        lists.extend(gateway.lists(&session)?);
    }
    let people: u64 = lists.iter().map(|(_, list)| u64::from(list.count)).sum();
    let usage: u64 = lists.iter().map(|(_, l)| u64::from(l.usage_count)).sum();
    let average = people.checked_div(lists.len() as u64).unwrap_or(0);
    let answer = json!({
        "totalLists": lists.len(), "totalRecipients": people, "totalUsage": usage,
        "averageListSize": average,
    });
    Ok(Reply::json(StatusCode::OK, &answer))
}

async fn search(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let words = request.param("words").to_owned();
    let mut rows = Vec::new();
    for session in caller.sessions(&request)? {
        let left = SHOWN - rows.len();
        for (id, name, who) in gateway.search_recipients(&session, &words, left).await? {
            let mut row = json!(person(&who));
            row["listId"] = json!(id);
            row["listName"] = json!(name);
            rows.push(row);
        }
    }
    Ok(Reply::json(StatusCode::OK, &rows))
}

async fn show(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, list) = found(&caller, &request)?;
    let page = (
        number(&request, "offset", 0, usize::MAX)?,
        number(&request, "limit", SHOWN, SHOWN_AT_MOST)?,
    );
    let how = (page, StatusCode::OK);
    answered(gateway, &session, (&id, &list), None, how).await
}

async fn change(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let mut sent = read(gateway, request).await?;
    only(&session, text(&sent.fields, "sessionId")?)?;
    let (people, report) = people(&mut sent)?.unzip();
    let change = list_change(&sent.fields, people)?;
    let list = gateway.change_list(&session, &id, change).await?;
    answered(gateway, &session, (&id, &list), report, CHANGED).await
}

async fn delete(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    gateway.delete_list(&session, &id).await?;
    Ok(success("Recipient list deleted"))
}

async fn clone(caller: Caller, mut request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let body = object_or_nothing(&mut request).await?;
    only(&session, text(&body, "sessionId")?)?;
    let name = list_name(&body, "newName")?.or(list_name(&body, "name")?);
    let name = name.filter(|name| !name.is_empty());
    let (id, list) = gateway.clone_list(&session, &id, name).await?;
    answered(gateway, &session, (&id, &list), None, MADE).await
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
    let (people, report) = people(&mut sent)?.ok_or_else(none)?;
    let count = people.len();
    let (list, known) = gateway.import_recipients(&session, &id, people).await?;
    let answer = Imported {
        status: "success",
        imported: count - known.len(),
        already_there: known,
        list: brief(&session, &id, &list),
        report,
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// What an import brought.
#[derive(Serialize)]
struct Imported {
    status: &'static str,
    imported: usize,
    #[serde(rename = "alreadyThere")]
    already_there: Vec<String>,
    list: Value,
    #[serde(flatten)]
    report: RowReport,
}

/// The recipients as a sheet that can be imported again, made while it is sent.
async fn export(caller: Caller, request: Request) -> Result<Reply> {
    let (session, _, list) = found(&caller, &request)?;
    let name = format!("{}.csv", list.name);
    let fields = caller.gateway.custom_fields(&session, &list).await?;
    let fields: Arc<[String]> = fields.into_iter().collect();
    let names = fields.iter().map(String::as_str);
    let head = sheet::lines([EXPORT_HEADER.into_iter().chain(names)])?;
    let pages = futures_util::stream::try_unfold(Some((head, 0)), move |state| {
        let (gateway, session) = (caller.gateway.clone(), session.clone());
        let (list, fields) = (list.clone(), fields.clone());
        async move {
            let Some((mut page, skip)) = state else {
                return Ok(None);
            };
            let asked = gateway.list_recipients(&session, &list, skip, EXPORT_PAGE);
            let (people, more) = asked.await?;
            page.extend(export_lines(&people, &fields)?);
            let next = more.then(|| (Vec::new(), skip + people.len()));
            Ok::<_, Error>(Some((page.into(), next)))
        }
    });
    Ok(Reply::try_stream("text/csv; charset=utf-8", None, pages).attachment(&name))
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
    answered(gateway, &session, (&id, &list), None, MADE).await
}

fn number_in_path(gateway: &Arc<Gateway>, request: &Request) -> Result<PhoneNumber> {
    let country = gateway.country();
    let number = request.param("number");
    PhoneNumber::parse(number, country).ok_or_else(|| {
        let error = unreadable(number, country, Code::NumberInvalid);
        match error.code() {
            Code::NumberInvalid => error.worded("Invalid recipient number format"),
            _ => error,
        }
    })
}

async fn change_one(caller: Caller, mut request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let number = number_in_path(gateway, &request)?;
    let mut body = object(&mut request).await?;
    only(&session, text(&body, "sessionId")?)?;
    // What is not named stays: a client that changes the name need not repeat the number.
    body.entry("number").or_insert(json!(number.as_str()));
    let new = one(gateway, body)?;
    let list = gateway
        .change_recipient(&session, &id, number.to_string(), move |old| {
            let mut changed = new;
            let mut rest = old;
            rest.number = changed.number.clone();
            changed.fill(rest);
            Some(changed)
        })
        .await?;
    answered(gateway, &session, (&id, &list), None, CHANGED).await
}

async fn remove_one(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let (session, id, _) = found(&caller, &request)?;
    let number = number_in_path(gateway, &request)?;
    let list = gateway
        .change_recipient(&session, &id, number.to_string(), |_| None)
        .await?;
    answered(gateway, &session, (&id, &list), None, CHANGED).await
}

/// Numbers that want no campaigns, 1,000 at a time.
async fn suppressed(caller: Caller, request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let session = caller.session(named_or_own(request.query("sessionId"), None))?;
    let rows = gateway.suppressed(&session, request.query("after"), SHOWN)?;
    let next = rows.last().filter(|_| rows.len() == SHOWN);
    let shown: Vec<Value> = rows
        .iter()
        .map(|(number, row)| {
            let by = if row.by_message { "message" } else { "api" };
            json!({ "number": number, "since": row.at.to_string(), "by": by })
        })
        .collect();
    let answer = json!({
        "status": "success", "numbers": shown, "next": next.map(|(number, _)| number),
    });
    Ok(Reply::json(StatusCode::OK, &answer))
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
    let numbers = people.map(|who| Ok(who?.number)).collect::<Result<_>>()?;
    gateway.suppress(&session, numbers).await?;
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
    let number = number_in_path(gateway, &request)?;
    gateway.unsuppress(&session, &number).await?;
    Ok(success("The number gets campaigns again"))
}
