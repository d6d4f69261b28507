//! Requests about groups, which really change them and tell their members.

use std::collections::BTreeMap;

use whatsapp_rust::Jid;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};

use super::chat::Chat;
use super::communities;
use super::groups::{Description, Group, MemberRole, approval_node, member_node};
use super::iq::IqRequest;
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Form, Number};
use super::stanza::{jid, text};
use super::usync::{person, word};

/// Switches that come in pairs: what turns one on, what turns it off.
const SWITCHES: [(&str, &str); 4] = [
    (
        "allow_non_admin_sub_group_creation",
        "not_allow_non_admin_sub_group_creation",
    ),
    ("no_frequently_forwarded", "frequently_forwarded_ok"),
    ("allow_admin_reports", "not_allow_admin_reports"),
    ("group_history", "no_group_history"),
];

/// What a request does to a group.
struct GroupChange {
    /// What the one who asked is told.
    answer: Vec<Node>,
    /// What the members are told.
    news: Option<Node>,
    /// Who is told although he is no member any more.
    also: Vec<Number>,
}

impl GroupChange {
    fn quiet() -> Self {
        Self {
            answer: Vec::new(),
            news: None,
            also: Vec::new(),
        }
    }

    fn news(news: Node) -> Self {
        Self {
            news: Some(news),
            ..Self::quiet()
        }
    }
}

/// A refusal: code and words.
type IqRefusal = (u16, &'static str);
const FORBIDDEN: IqRefusal = (403, "forbidden");
const NOT_FOUND: IqRefusal = (404, "item-not-found");
/// How a member is marked for whom a request was done.
const DONE: u16 = 200;

impl Network {
    pub(super) fn answer_groups(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        let to = jid(request.node, "to").unwrap_or_else(|| Jid::group(""));
        if let Some(Chat::Group(id)) = Chat::from_jid(&to).filter(|_| !to.user.is_empty()) {
            return self.answer_about_group(request, &id);
        }
        if request.set {
            self.change_groups(request)
        } else {
            self.ask_about_groups(request)
        }
    }

    fn ask_about_groups(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        let me = request.from.number;
        if request.child("participating").is_some() {
            let groups = self.groups.lock();
            let mine = groups
                .iter()
                .filter(|(_, group)| group.members.contains_key(&me));
            let mine: Vec<_> = mine.map(|(id, group)| group.node(id)).collect();
            return request.answer([NodeBuilder::new("groups").children(mine).build()]);
        }
        if let Some(invite) = request.child("invite") {
            let code = word(invite, "code")?;
            let groups = self.groups.lock();
            return match groups.iter().find(|(_, group)| group.invite == code) {
                Some((id, group)) => request.answer([group.node(id)]),
                None => request.refuse(406, "not-acceptable"),
            };
        }
        if let Some(query) = request.child("query") {
            let groups = self.groups.lock();
            let found = query.get_children_by_tag("group").filter_map(|asked| {
                let asked = jid(asked, "jid")?;
                let known = groups.get_key_value(asked.user.as_str());
                let shown = known.filter(|(_, group)| group.members.contains_key(&me));
                Some(match shown {
                    Some((id, group)) => group.node(id),
                    None => {
                        let code = if known.is_some() { 403 } else { 404 };
                        NodeBuilder::new("group")
                            .attr("id", asked)
                            .attr("error", code)
                            .build()
                    }
                })
            });
            let found: Vec<_> = found.collect();
            return request.answer([NodeBuilder::new("groups").children(found).build()]);
        }
        if request.child("pictures").is_some() {
            return request.answer([NodeBuilder::new("pictures").build()]);
        }
        None
    }

    fn change_groups(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        if let Some(create) = request.child("create") {
            return self.found_group(request, create);
        }
        if let Some(leave) = request.child("leave") {
            let ids = leave.get_children_by_tag("group").filter_map(|group| {
                word(group, "id").map(|id| id.trim_end_matches("@g.us").to_owned())
            });
            let left = ids.map(|id| {
                self.leave(&id, request.from);
                NodeBuilder::new("group").attr("id", Jid::group(id)).build()
            });
            let left: Vec<_> = left.collect();
            return request.answer([NodeBuilder::new("leave").children(left).build()]);
        }
        if let Some(invite) = request.child("invite") {
            let code = word(invite, "code")?;
            let found = {
                let groups = self.groups.lock();
                groups
                    .iter()
                    .find(|(_, group)| group.invite == code)
                    .map(|(id, _)| id.clone())
            };
            return match found {
                Some(id) => self.join(request, &id),
                None => request.refuse(406, "not-acceptable"),
            };
        }
        None
    }

    fn found_group(&self, request: &IqRequest<'_, '_>, create: &NodeRef<'_>) -> Option<Node> {
        let subject = word(create, "subject").unwrap_or_default();
        let members: Vec<_> = create
            .get_children_by_tag("participant")
            .filter_map(|member| person(member, "jid"))
            .filter(|number| self.directory.is_registered(*number))
            .collect();
        let now = self.now().as_secs();
        let place = match self.place_of_new(create, request.from.number) {
            Ok(place) => place,
            Err(code) => return request.refuse(code, "not-acceptable"),
        };
        let community = place.is_community();
        let form = self.form_of_groups;
        let id = self.new_group(&subject, request.from, &members, form, |group| {
            group.place = place;
            for child in create.children().unwrap_or_default() {
                // What cannot be done to a new group is left out of it.
                let _ = change(group, request.from.number, child, now);
            }
        });
        let everybody: Vec<_> = members.into_iter().chain([request.from.number]).collect();
        if community {
            self.furnish(&id, request.from, create);
        } else {
            self.came_to(request.from, &id, &everybody);
        }
        let groups = self.groups.lock();
        let node = groups.get(&id)?.node(&id);
        request.answer([node])
    }

    fn join(&self, request: &IqRequest<'_, '_>, id: &str) -> Option<Node> {
        let me = request.from.number;
        let mut groups = self.groups.lock();
        let group = groups.get_mut(id)?;
        let address = Jid::group(id);
        if group.approval {
            group.waiting.insert(me, self.now().as_secs());
            self.changes.touch(|| JournalKey::Group(id.into()));
            let pending = NodeBuilder::new("membership_approval_request").attr("jid", address);
            return request.answer([pending.build()]);
        }
        group.members.entry(me).or_insert(MemberRole::Member);
        let everybody: Vec<_> = group.members.keys().copied().collect();
        let member = member_node(me, MemberRole::Member, group.form);
        drop(groups);
        let add = NodeBuilder::new("add")
            .attr("reason", "invite")
            .children([member])
            .build();
        self.announce(id, request.from, &everybody, Some(request.from), add);
        self.came_to(request.from, id, &[me]);
        request.answer([NodeBuilder::new("group").attr("jid", address).build()])
    }

    /// Somebody leaves a group.
    pub(super) fn leave(&self, id: &str, who: DeviceAddress) -> bool {
        let mut groups = self.groups.lock();
        let Some(group) = groups.get_mut(id) else {
            return false;
        };
        let mut told: Vec<_> = group.members.keys().copied().collect();
        if group.members.remove(&who.number).is_none() {
            return false;
        }
        let empty = group.members.is_empty();
        let member = member_node(who.number, MemberRole::Member, group.form);
        drop(groups);
        told.retain(|number| *number != who.number);
        told.push(who.number);
        let remove = NodeBuilder::new("remove").children([member]).build();
        self.announce(id, who, &told, None, remove);
        self.gone_from(who, id, &[who.number], true);
        if empty {
            self.groups.lock().remove(id);
        }
        true
    }

    fn answer_about_group(&self, request: &IqRequest<'_, '_>, id: &str) -> Option<Node> {
        let me = request.from.number;
        let mut groups = self.groups.lock();
        let Some(group) = groups.get_mut(id) else {
            return request.refuse(NOT_FOUND.0, NOT_FOUND.1);
        };
        if request.set && request.child("accept").is_some() {
            drop(groups);
            return self.join(request, id);
        }
        if !group.members.contains_key(&me) {
            return request.refuse(FORBIDDEN.0, FORBIDDEN.1);
        }
        if !request.set {
            return ask(request, group, id).or_else(|| communities::ask(request, &groups, id));
        }
        // Some changes are not told to anybody.
        self.changes.touch(|| JournalKey::Group(id.into()));
        let child = request.node.children()?.first()?;
        if group.place.is_community() && communities::changes(&child.tag) {
            drop(groups);
            return self.change_community(request, id, child);
        }
        let outcome = if child.tag == "add" {
            let reachable = |number: Number| self.directory.is_registered(number);
            Ok(add(group, me, child, reachable))
        } else {
            change(group, me, child, self.now().as_secs())?
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err((code, words)) => return request.refuse(code, words),
        };
        let members: Vec<_> = group.members.keys().copied().collect();
        drop(groups);
        let told = [members.as_slice(), &outcome.also].concat();
        if let Some(news) = outcome.news {
            self.announce(id, request.from, &told, None, news);
        }
        self.came_to(request.from, id, &members);
        self.gone_from(
            request.from,
            id,
            &outcome.also,
            communities::from_all(child),
        );
        request.answer(outcome.answer)
    }
}

/// Answers what a member asks about his group.
fn ask(request: &IqRequest<'_, '_>, group: &Group, id: &str) -> Option<Node> {
    let form = group.form;
    if request.child("query").is_some() {
        return request.answer([group.node(id)]);
    }
    if request.child("invite").is_some() {
        let code = NodeBuilder::new("invite").attr("code", group.invite.as_str());
        return request.answer([code.build()]);
    }
    if request.child("membership_approval_requests").is_some() {
        let waiting = group.waiting.iter().map(|(number, at)| {
            NodeBuilder::new("membership_approval_request")
                .attr("jid", DeviceAddress::phone(*number).jid(form))
                .attr("request_time", *at)
                .build()
        });
        let list = NodeBuilder::new("membership_approval_requests").children(waiting);
        return request.answer([list.build()]);
    }
    None
}

/// Adds people; each is answered for on its own.
fn add(
    group: &mut Group,
    me: Number,
    child: &NodeRef<'_>,
    reachable: impl Fn(Number) -> bool,
) -> GroupChange {
    let form = group.form;
    let may = group.is_admin(me) || group.add_mode == "all_member_add";
    let mut outcome = GroupChange::quiet();
    let mut fresh = Vec::new();
    let rows = child.get_children_by_tag("participant").map(|row| {
        let who = person(row, "jid");
        let mut answer = NodeBuilder::new("participant");
        if let Some(jid) = jid(row, "jid") {
            answer = answer.attr("jid", jid);
        }
        let error = match who {
            _ if !may => Some(403),
            Some(number) if group.members.contains_key(&number) => Some(409),
            Some(number) if reachable(number) => {
                group.members.insert(number, MemberRole::Member);
                group.waiting.remove(&number);
                fresh.push(member_node(number, MemberRole::Member, form));
                None
            }
            _ => Some(404),
        };
        match error {
            Some(code) => answer.attr("error", code).build(),
            None => answer.attr("type", DONE).build(),
        }
    });
    let rows: Vec<_> = rows.collect();
    outcome.answer = vec![NodeBuilder::new("add").children(rows).build()];
    if !fresh.is_empty() {
        outcome.news = Some(NodeBuilder::new("add").children(fresh).build());
    }
    outcome
}

/// Changes a group; `None` for what nobody knows.
fn change(
    group: &mut Group,
    me: Number,
    child: &NodeRef<'_>,
    now: i64,
) -> Option<Result<GroupChange, IqRefusal>> {
    let form = group.form;
    let admin = group.is_admin(me);
    let tag = child.tag.as_ref();
    let inside = || {
        child
            .content_as_string()
            .map(|text| text.to_string())
            .unwrap_or_default()
    };
    if let Some((name, on)) = switch(tag) {
        if !admin {
            return Some(Err(FORBIDDEN));
        }
        group.switches.insert(name.to_owned(), on);
        return Some(Ok(GroupChange::news(child.to_owned())));
    }
    Some(match tag {
        // Names a member of a group that is being made; they are in it already.
        "participant" => Ok(GroupChange::quiet()),
        "remove" | "promote" | "demote" | "revoke" | "cancel_membership_requests" => {
            if !admin && tag != "cancel_membership_requests" {
                return Some(Err(FORBIDDEN));
            }
            Ok(change_members(group, child))
        }
        "membership_requests_action" if admin => Ok(decide(group, child)),
        "subject" | "description" if group.locked && !admin => Err(FORBIDDEN),
        "subject" => {
            group.subject = inside();
            (group.subject_by, group.subject_at) = (me, now);
            let news = NodeBuilder::new("subject")
                .attr("subject", group.subject.as_str())
                .attr("s_o", DeviceAddress::phone(me).jid(form))
                .attr("s_t", now);
            Ok(GroupChange::news(news.build()))
        }
        "description" => Ok(describe(group, me, child, now)),
        "locked" | "unlocked" if admin => {
            group.locked = tag == "locked";
            Ok(GroupChange::news(child.to_owned()))
        }
        "announcement" | "not_announcement" if admin => {
            group.announcement = tag == "announcement";
            Ok(GroupChange::news(child.to_owned()))
        }
        "ephemeral" | "not_ephemeral" => {
            let expiration = text(child, "expiration").and_then(|text| text.parse().ok());
            group.ephemeral = expiration.unwrap_or(0);
            Ok(GroupChange::news(child.to_owned()))
        }
        "membership_approval_mode" if admin => {
            let state = child
                .get_optional_child("group_join")
                .and_then(|join| word(join, "state"));
            group.approval = state.as_deref() == Some("on");
            Ok(GroupChange::news(approval_node(group.approval)))
        }
        "member_add_mode" if admin => {
            group.add_mode = inside();
            Ok(GroupChange::news(child.to_owned()))
        }
        "member_link_mode" if admin => Ok(GroupChange::quiet()),
        "invite" if admin => {
            group.invite = hex::encode_upper(super::random::bytes::<11>());
            let code = NodeBuilder::new("invite")
                .attr("code", group.invite.as_str())
                .build();
            let news = NodeBuilder::new("revoke").build();
            Ok(GroupChange {
                answer: vec![code],
                news: Some(news),
                also: Vec::new(),
            })
        }
        "ack" => Ok(GroupChange::quiet()),
        "membership_requests_action"
        | "locked"
        | "unlocked"
        | "announcement"
        | "not_announcement"
        | "membership_approval_mode"
        | "member_add_mode"
        | "member_link_mode"
        | "invite" => Err(FORBIDDEN),
        _ => return None,
    })
}

fn switch(tag: &str) -> Option<(&'static str, bool)> {
    SWITCHES.into_iter().find_map(|(on, off)| {
        if tag == on {
            Some((on, true))
        } else {
            (tag == off).then_some((on, false))
        }
    })
}

/// Removes, promotes or demotes members; each is answered for on its own.
fn change_members(group: &mut Group, child: &NodeRef<'_>) -> GroupChange {
    let form = group.form;
    let tag = child.tag.to_string();
    let mut outcome = GroupChange::quiet();
    let mut changed = Vec::new();
    let mut rows = Vec::new();
    for row in child.get_children_by_tag("participant") {
        let Some(address) = jid(row, "jid") else {
            continue;
        };
        let number = DeviceAddress::from_jid(&address).map(|address| address.number);
        let role = number.and_then(|number| group.members.get(&number).copied());
        let mut answer = NodeBuilder::new("participant").attr("jid", address);
        match (tag.as_str(), number, role) {
            ("cancel_membership_requests", Some(number), _) => {
                group.waiting.remove(&number);
            }
            ("revoke", ..) => {}
            (_, _, None) | (_, None, _) => answer = answer.attr("error", 404),
            // Whoever made the group can neither be removed nor lose his rights.
            ("remove" | "demote", _, Some(MemberRole::Superadmin)) => {
                answer = answer.attr("error", 406)
            }
            ("remove", Some(number), _) => {
                group.members.remove(&number);
                answer = answer.attr("type", DONE);
                outcome.also.push(number);
                changed.push(member_node(number, MemberRole::Member, form));
            }
            (verb, Some(number), _) => {
                let role = if verb == "promote" {
                    MemberRole::Admin
                } else {
                    MemberRole::Member
                };
                group.members.insert(number, role);
                answer = answer.attr("type", DONE);
                changed.push(member_node(number, role, form));
            }
        }
        rows.push(answer.build());
    }
    outcome.answer = vec![NodeBuilder::new_dynamic(tag.clone()).children(rows).build()];
    if !changed.is_empty() {
        outcome.news = Some(NodeBuilder::new_dynamic(tag).children(changed).build());
    }
    outcome
}

/// Lets people in who asked, or turns them away.
fn decide(group: &mut Group, child: &NodeRef<'_>) -> GroupChange {
    let form = group.form;
    let mut outcome = GroupChange::quiet();
    let mut added = Vec::new();
    let mut verdicts = Vec::new();
    for verdict in child.children().unwrap_or_default() {
        let mut rows = Vec::new();
        for row in verdict.get_children_by_tag("participant") {
            let Some(address) = jid(row, "jid") else {
                continue;
            };
            let number = DeviceAddress::from_jid(&address).map(|address| address.number);
            let asked = number.filter(|number| group.waiting.remove(number).is_some());
            let mut answer = NodeBuilder::new("participant").attr("jid", address);
            match asked {
                Some(number) if verdict.tag == "approve" => {
                    group.members.insert(number, MemberRole::Member);
                    added.push(member_node(number, MemberRole::Member, form));
                }
                Some(_) => {}
                None => answer = answer.attr("error", 404),
            }
            rows.push(answer.build());
        }
        verdicts.push(
            NodeBuilder::new_dynamic(verdict.tag.to_string())
                .children(rows)
                .build(),
        );
    }
    let answer = NodeBuilder::new("membership_requests_action")
        .children(verdicts)
        .build();
    outcome.answer = vec![answer];
    if !added.is_empty() {
        outcome.news = Some(NodeBuilder::new("add").children(added).build());
    }
    outcome
}

fn describe(group: &mut Group, me: Number, child: &NodeRef<'_>, now: i64) -> GroupChange {
    let id = word(child, "id").unwrap_or_default();
    let body = child
        .get_optional_child("body")
        .and_then(|body| body.content_as_string());
    let news = NodeBuilder::new("description").attr("id", id.as_str());
    let news = match &body {
        Some(text) => news
            .children([NodeBuilder::new("body")
                .string_content(text.clone())
                .build()])
            .build(),
        None => news.children([NodeBuilder::new("delete").build()]).build(),
    };
    group.description = body.map(|text| Description {
        id,
        text: text.to_string(),
        by: me,
        at: now,
    });
    GroupChange::news(news)
}

/// A group as the control API shows it.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// Its address.
    pub id: String,
    /// What it is called.
    pub subject: String,
    /// Its members' numbers with what they may do.
    pub members: BTreeMap<String, String>,
    /// What it is about.
    pub description: Option<String>,
    /// The code of its invitation link.
    pub invite: String,
    /// Whether only admins may write.
    pub announcement: bool,
    /// Whether only admins may change it.
    pub locked: bool,
    /// By which names its members are called: phone numbers or hidden ids.
    pub addressing: Form,
}

impl GroupView {
    pub(super) fn new(id: &str, group: &Group) -> Self {
        let role = |role| match role {
            MemberRole::Member => "member".to_owned(),
            MemberRole::Admin => "admin".to_owned(),
            MemberRole::Superadmin => "superadmin".to_owned(),
        };
        Self {
            id: Jid::group(id).to_string(),
            subject: group.subject.clone(),
            members: group
                .members
                .iter()
                .map(|(n, r)| (n.to_string(), role(*r)))
                .collect(),
            description: group
                .description
                .as_ref()
                .map(|description| description.text.clone()),
            invite: group.invite.clone(),
            announcement: group.announcement,
            locked: group.locked,
            addressing: group.form,
        }
    }
}
