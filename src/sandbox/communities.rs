//! Communities: a group that holds others together, and the groups below it.
//!
//! Whoever is in a group below is in the community, too, and in its group for announcements.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use whatsapp_rust::Jid;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};

use super::groups::{Group, MemberRole, member_node};
use super::iq::IqRequest;
use super::journal::JournalKey;
use super::mex::{self, MexError};
use super::network::Network;
use super::number::{DeviceAddress, Form, Number};
use super::stanza::{jid, text};
use super::usync::word;

/// How the group is called in which everybody may write.
const GENERAL: &str = "General";
/// What an admin's right to make groups is called when everybody has it.
const OPEN_TO_MEMBERS: &str = "allow_non_admin_sub_group_creation";

/// Where a group stands among communities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CommunityPlace {
    /// In none.
    #[default]
    Alone,
    /// It is one.
    Community {
        /// Whoever wants to join has to be let in.
        closed: bool,
    },
    /// In the one with this id.
    Below {
        community: Box<str>,
        kind: SubgroupKind,
    },
}

/// What a group of a community is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SubgroupKind {
    Usual,
    /// Everybody is in it, and only admins write.
    Announcements,
    General,
}

/// All groups, by their ids.
type All = BTreeMap<Box<str>, Group>;
/// People who came to groups, or left them.
type Moves = Vec<(Box<str>, Vec<Number>)>;

impl CommunityPlace {
    pub(super) fn is_community(&self) -> bool {
        matches!(self, Self::Community { .. })
    }

    fn kind_below(&self, id: &str) -> Option<SubgroupKind> {
        match self {
            Self::Below { community, kind } if **community == *id => Some(*kind),
            _ => None,
        }
    }

    /// What is said of it inside a group.
    pub(super) fn nodes(&self) -> Vec<Node> {
        match self {
            Self::Alone => Vec::new(),
            Self::Community { closed } => {
                let parent = NodeBuilder::new("parent");
                let mode = "default_membership_approval_mode";
                vec![match closed {
                    true => parent.attr(mode, "request_required").build(),
                    false => parent.build(),
                }]
            }
            Self::Below { community, kind } => {
                let above = NodeBuilder::new("linked_parent").attr("jid", Jid::group(&**community));
                let mark = match kind {
                    SubgroupKind::Usual => None,
                    SubgroupKind::Announcements => Some("default_sub_group"),
                    SubgroupKind::General => Some("general_chat"),
                };
                let mark = mark.map(|tag| NodeBuilder::new(tag).build());
                std::iter::once(above.build()).chain(mark).collect()
            }
        }
    }
}

impl Network {
    /// Where a new group is to stand; the code of the refusal if it may not.
    pub(super) fn place_of_new(
        &self,
        create: &NodeRef<'_>,
        by: Number,
    ) -> Result<CommunityPlace, u16> {
        if let Some(parent) = create.get_optional_child("linked_parent") {
            let above = jid(parent, "jid").ok_or(400_u16)?;
            let groups = self.groups.lock();
            let (id, community) = groups
                .get_key_value(above.user.as_str())
                .filter(|(_, group)| group.place.is_community())
                .ok_or(404_u16)?;
            let open = community.switches.get(OPEN_TO_MEMBERS) == Some(&true);
            let may = community.is_admin(by) || open && community.members.contains_key(&by);
            if !may {
                return Err(403);
            }
            let (community, kind) = (id.clone(), SubgroupKind::Usual);
            return Ok(CommunityPlace::Below { community, kind });
        }
        Ok(match create.get_optional_child("parent") {
            Some(parent) => CommunityPlace::Community {
                closed: text(parent, "default_membership_approval_mode").is_some(),
            },
            None => CommunityPlace::Alone,
        })
    }

    /// Makes the groups that come with a community: for announcements, and a general one.
    pub(super) fn furnish(&self, id: &str, by: DeviceAddress, create: &NodeRef<'_>) {
        let found = self.groups.lock().get(id).map(|community| {
            let members: Vec<_> = community.members.keys().copied().collect();
            (community.subject.clone(), members, community.form)
        });
        let Some((subject, members, form)) = found else {
            return;
        };
        let general = create.get_optional_child("create_general_chat");
        let general = general.map(|_| (GENERAL, SubgroupKind::General));
        for (subject, kind) in [(subject.as_str(), SubgroupKind::Announcements)]
            .into_iter()
            .chain(general)
        {
            self.new_group(subject, by, &members, form, |group| {
                group.announcement = kind == SubgroupKind::Announcements;
                let community = id.into();
                group.place = CommunityPlace::Below { community, kind };
            });
        }
    }

    /// Does what somebody wants of a community; `None` for what nobody knows.
    pub(super) fn change_community(
        &self,
        request: &IqRequest<'_, '_>,
        id: &str,
        child: &NodeRef<'_>,
    ) -> Option<Node> {
        match child.tag.as_ref() {
            "links" => self.link_groups(request, id, child.get_optional_child("link")?),
            "unlink" => self.unlink_groups(request, id, child),
            "delete_parent" => self.end_community(request, id),
            "join_linked_group" => self.join_below(request, id, child),
            _ => None,
        }
    }

    fn link_groups(
        &self,
        request: &IqRequest<'_, '_>,
        id: &str,
        asked: &NodeRef<'_>,
    ) -> Option<Node> {
        let mut linked = Vec::new();
        let mut moves = Moves::new();
        let mut groups = self.groups.lock();
        let rows = asked.get_children_by_tag("group");
        let rows = rows.filter_map(|row| jid(row, "jid")).map(|below| {
            let row = NodeBuilder::new("group").attr("jid", below.clone());
            match link(&mut groups, id, &below.user, request.from.number) {
                Ok(came) => {
                    linked.push(below.user.to_string());
                    moves.extend(came);
                    row.build()
                }
                Err(code) => row.attr("error", code).build(),
            }
        });
        let rows: Vec<_> = rows.collect();
        drop(groups);
        self.tell_moves(request.from, "add", moves);
        for below in &linked {
            self.tell_link(request.from, id, below, "link");
        }
        let link = NodeBuilder::new("link").attr("link_type", "sub_group");
        let links = NodeBuilder::new("links").children([link.children(rows).build()]);
        request.answer([links.build()])
    }

    fn unlink_groups(
        &self,
        request: &IqRequest<'_, '_>,
        id: &str,
        asked: &NodeRef<'_>,
    ) -> Option<Node> {
        let mut unlinked = Vec::new();
        let mut moves = Moves::new();
        let mut groups = self.groups.lock();
        let mut rows = Vec::new();
        for row in asked.get_children_by_tag("group") {
            let Some(below) = jid(row, "jid") else {
                continue;
            };
            let lonely = text(row, "remove_orphaned_members").as_deref() == Some("true");
            let answer = NodeBuilder::new("group").attr("jid", below.clone());
            let done = unlink(&mut groups, id, &below.user, request.from.number);
            rows.push(match done {
                Ok(members) => {
                    if lonely {
                        let lost = only_there(&groups, id, members);
                        moves.extend(see_off(&mut groups, id, &lost, false, false));
                    }
                    unlinked.push(below.user.to_string());
                    answer.build()
                }
                Err(code) => answer.attr("error", code).build(),
            });
        }
        drop(groups);
        for below in &unlinked {
            self.tell_link(request.from, id, below, "unlink");
        }
        self.tell_moves(request.from, "remove", moves);
        let unlink = NodeBuilder::new("unlink").attr("unlink_type", "sub_group");
        request.answer([unlink.children(rows).build()])
    }

    /// The community ends with its group for announcements; the other groups go on alone.
    fn end_community(&self, request: &IqRequest<'_, '_>, id: &str) -> Option<Node> {
        let me = request.from.number;
        let mut groups = self.groups.lock();
        let community = groups.get(id)?;
        if community.members.get(&me) != Some(&MemberRole::Superadmin) {
            return request.refuse(403, "forbidden");
        }
        let mut ended = vec![(Box::from(id), members(community))];
        let mut freed = Vec::new();
        for (below, group) in groups.iter_mut() {
            match group.place.kind_below(id) {
                Some(SubgroupKind::Announcements) => ended.push((below.clone(), members(group))),
                Some(_) => {
                    group.place = CommunityPlace::Alone;
                    freed.push(below.to_string());
                }
                None => {}
            }
        }
        drop(groups);
        for below in &freed {
            self.tell_link(request.from, id, below, "unlink");
        }
        for (group, told) in ended {
            let delete = NodeBuilder::new("delete").build();
            self.announce(&group, request.from, &told, Some(request.from), delete);
            self.groups.lock().remove(&group);
            self.changes.touch(|| JournalKey::Group(group.clone()));
        }
        request.done()
    }

    fn join_below(
        &self,
        request: &IqRequest<'_, '_>,
        id: &str,
        asked: &NodeRef<'_>,
    ) -> Option<Node> {
        let me = request.from.number;
        let below = jid(asked, "jid")?;
        let mut groups = self.groups.lock();
        let Some(group) = group_below(&mut groups, id, &below.user) else {
            return request.refuse(404, "item-not-found");
        };
        if group.approval && !group.members.contains_key(&me) {
            group.waiting.insert(me, self.now().as_secs());
            self.changes
                .touch(|| JournalKey::Group(below.user.as_str().into()));
            let pending = NodeBuilder::new("membership_approval_request").attr("jid", below);
            return request.answer([pending.build()]);
        }
        let newcomer = group.members.insert(me, MemberRole::Member);
        // A member keeps what he may do.
        let fresh = newcomer.is_none();
        if let Some(role) = newcomer {
            group.members.insert(me, role);
        }
        let (node, told) = (group.node(&below.user), members(group));
        let member = member_node(me, MemberRole::Member, group.form);
        drop(groups);
        if fresh {
            let add = NodeBuilder::new("add").attr("reason", "linked_group_join");
            let add = add.children([member]).build();
            self.announce(&below.user, request.from, &told, Some(request.from), add);
        }
        let linked = NodeBuilder::new("linked_group").children([node]);
        request.answer([linked.build()])
    }

    /// Tells both sides that a group came into a community, or left it.
    fn tell_link(&self, by: DeviceAddress, community: &str, below: &str, verb: &'static str) {
        let (above, under) = {
            let groups = self.groups.lock();
            let side = |id: &str| {
                let group = groups.get(id);
                group.map(|group| (members(group), short_node(id, group)))
            };
            match (side(community), side(below)) {
                (Some(above), Some(under)) => (above, under),
                _ => return,
            }
        };
        let kind = ["link_type", "unlink_type"][usize::from(verb == "unlink")];
        let news = |name: &'static str, of: Node| {
            let news = NodeBuilder::new(verb).attr(kind, name);
            news.children([of]).build()
        };
        let (told_above, above) = above;
        let (told_under, under) = under;
        self.announce(
            community,
            by,
            &told_above,
            Some(by),
            news("sub_group", under),
        );
        self.announce(
            below,
            by,
            &told_under,
            Some(by),
            news("parent_group", above),
        );
    }

    /// Tells the members of groups who came or left because he came to the community or left it.
    fn tell_moves(&self, by: DeviceAddress, verb: &'static str, moves: Moves) {
        for (id, people) in moves {
            let found = self.groups.lock().get(&id).map(|group| {
                let rows = people
                    .iter()
                    .map(|number| member_node(*number, MemberRole::Member, group.form));
                let rows: Vec<_> = rows.collect();
                (members(group), rows)
            });
            if let Some((mut told, rows)) = found {
                told.extend(&people);
                told.sort_unstable();
                told.dedup();
                let news = NodeBuilder::new(verb).children(rows).build();
                self.announce(&id, by, &told, None, news);
            }
        }
    }

    /// People were added to a community, or to a group of one.
    pub(super) fn came_to(&self, by: DeviceAddress, id: &str, people: &[Number]) {
        let mut groups = self.groups.lock();
        let community = match groups.get(id).map(|group| &group.place) {
            Some(CommunityPlace::Community { .. }) => Box::from(id),
            Some(CommunityPlace::Below { community, .. }) => community.clone(),
            _ => return,
        };
        let moves = welcome(&mut groups, &community, people);
        drop(groups);
        self.tell_moves(by, "add", moves);
    }

    /// People are no longer in a community: they lose its announcements, or all of its groups.
    pub(super) fn gone_from(&self, by: DeviceAddress, id: &str, people: &[Number], from_all: bool) {
        let mut groups = self.groups.lock();
        if groups
            .get(id)
            .is_some_and(|group| group.place.is_community())
        {
            let moves = see_off(&mut groups, id, people, from_all, *people == [by.number]);
            drop(groups);
            let left: Vec<_> = moves.iter().map(|(group, _)| group.clone()).collect();
            self.tell_moves(by, "remove", moves);
            let mut groups = self.groups.lock();
            for group in left {
                if groups
                    .get(&group)
                    .is_some_and(|group| group.members.is_empty())
                {
                    groups.remove(&group);
                    self.changes.touch(|| JournalKey::Group(group.clone()));
                }
            }
        }
    }

    /// The groups of a community, for who asks for them, or for their sizes, in GraphQL.
    pub(super) fn subgroups(&self, by: Number, variables: &Value) -> mex::MexResult {
        let asked = [&variables["group_id"], &variables["input"]["group_jid"]];
        let asked = asked.iter().find_map(|id| id.as_str());
        let asked: Jid = asked
            .and_then(|id| id.parse().ok())
            .ok_or(MexError::MALFORMED)?;
        let id = asked.user.as_str();
        let groups = self.groups.lock();
        let community = groups.get(id).ok_or(MexError::NOT_FOUND)?;
        if !community.members.contains_key(&by) {
            return Err(MexError::FORBIDDEN);
        }
        let shown = |below: &str, group: &Group, kind: SubgroupKind| {
            json!({
                "id": Jid::group(below).to_string(),
                "subject": { "value": group.subject, "creation_time": group.subject_at },
                "creation_time": group.created_at,
                "total_participants_count": group.members.len(),
                "properties": {
                    "general_chat": kind == SubgroupKind::General,
                    "membership_approval_mode_enabled": group.approval,
                },
            })
        };
        let mut first = Value::Null;
        let mut edges = Vec::new();
        for (below, group, kind) in groups_below(&groups, id) {
            let node = shown(below, group, kind);
            match kind {
                SubgroupKind::Announcements => first = node,
                _ => edges.push(json!({ "node": node })),
            }
        }
        Ok(json!({
            "xwa2_group_query_by_id": {
                "id": Jid::group(id).to_string(),
                "default_sub_group": first,
                "sub_groups": { "edges": edges },
            }
        }))
    }
}

/// Answers what a member asks about his community.
pub(super) fn ask(request: &IqRequest<'_, '_>, groups: &All, id: &str) -> Option<Node> {
    if request.child("linked_groups_participants").is_some() {
        let form = groups.get(id)?.form;
        let people: BTreeSet<_> = groups_below(groups, id)
            .flat_map(|(_, group, _)| group.members.keys().copied())
            .collect();
        let rows = people
            .into_iter()
            .map(|number| member_node(number, MemberRole::Member, form));
        let list = NodeBuilder::new("linked_groups_participants").children(rows);
        return request.answer([list.build()]);
    }
    if request.child("sub_groups").is_some() {
        let rows = groups_below(groups, id).map(|(below, group, _)| short_node(below, group));
        let rows: Vec<_> = rows.collect();
        return request.answer([NodeBuilder::new("sub_groups").children(rows).build()]);
    }
    let asked = request.child("query_linked")?;
    let wanted = jid(asked, "jid")?;
    let wanted = wanted.user.as_str();
    // Who is in a group below may ask for the community, too.
    let above = groups.get(id)?.place.kind_below(wanted).is_some();
    let below = groups.get(wanted).map(|group| &group.place);
    let below = below.is_some_and(|place| place.kind_below(id).is_some());
    match groups.get(wanted).filter(|_| above || below) {
        Some(group) => {
            let linked = NodeBuilder::new("linked_group").children([group.node(wanted)]);
            request.answer([linked.build()])
        }
        None => request.refuse(404, "item-not-found"),
    }
}

/// Whether a request is about a community as such, and not about the group that it is.
pub(super) fn changes(tag: &str) -> bool {
    matches!(
        tag,
        "links" | "unlink" | "delete_parent" | "join_linked_group"
    )
}

/// Whether somebody is to be taken out of all groups of a community.
pub(super) fn from_all(child: &NodeRef<'_>) -> bool {
    word(child, "linked_groups").as_deref() == Some("true")
}

/// A group in few words.
fn short_node(id: &str, group: &Group) -> Node {
    NodeBuilder::new("group")
        .attr("id", id)
        .attr("jid", Jid::group(id))
        .attr("subject", group.subject.as_str())
        .attr("s_t", group.subject_at)
        .attr("creation", group.created_at)
        .attr("creator", DeviceAddress::phone(group.creator).jid(Form::Pn))
        .attr("size", group.members.len())
        .children(group.place.nodes())
        .build()
}

fn members(group: &Group) -> Vec<Number> {
    group.members.keys().copied().collect()
}

fn groups_below<'a>(
    groups: &'a All,
    id: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Group, SubgroupKind)> {
    groups.iter().filter_map(move |(below, group)| {
        let kind = group.place.kind_below(id)?;
        Some((&**below, group, kind))
    })
}

fn group_below<'a>(groups: &'a mut All, id: &str, below: &str) -> Option<&'a mut Group> {
    let group = groups.get_mut(below)?;
    group.place.kind_below(id).map(|_| group)
}

/// Takes a group into a community, and its members with it.
fn link(groups: &mut All, id: &str, below: &str, by: Number) -> Result<Moves, u16> {
    let community = groups.get(id).ok_or(404_u16)?;
    if !community.place.is_community() {
        return Err(406);
    }
    let admin = community.is_admin(by);
    let group = groups.get_mut(below).ok_or(404_u16)?;
    if !admin || !group.is_admin(by) {
        return Err(403);
    }
    if group.place != CommunityPlace::Alone {
        return Err(409);
    }
    let (community, kind) = (id.into(), SubgroupKind::Usual);
    group.place = CommunityPlace::Below { community, kind };
    let newcomers = members(group);
    Ok(welcome(groups, id, &newcomers))
}

/// Takes a group out of a community; answers who is in it.
fn unlink(groups: &mut All, id: &str, below: &str, by: Number) -> Result<Vec<Number>, u16> {
    let may = groups.get(id).is_some_and(|group| group.is_admin(by));
    let group = group_below(groups, id, below).ok_or(404_u16)?;
    if !may && !group.is_admin(by) {
        return Err(403);
    }
    // A community is nothing without its announcements.
    if group.place.kind_below(id) == Some(SubgroupKind::Announcements) {
        return Err(406);
    }
    group.place = CommunityPlace::Alone;
    Ok(members(group))
}

/// Who of these people has no other group in the community, and no rights in it.
fn only_there(groups: &All, id: &str, mut people: Vec<Number>) -> Vec<Number> {
    let elsewhere: BTreeSet<_> = groups_below(groups, id)
        .filter(|(_, _, kind)| *kind == SubgroupKind::Usual)
        .flat_map(|(_, group, _)| group.members.keys().copied())
        .collect();
    let admin = |number: Number| groups.get(id).is_some_and(|group| group.is_admin(number));
    people.retain(|number| !elsewhere.contains(number) && !admin(*number));
    people
}

/// Takes people into a community and into its announcements.
fn welcome(groups: &mut All, id: &str, people: &[Number]) -> Moves {
    let mut moves = Moves::new();
    for (each, group) in groups.iter_mut() {
        let announced = group.place.kind_below(id) == Some(SubgroupKind::Announcements);
        if **each != *id && !announced {
            continue;
        }
        let fresh = people.iter().copied();
        let fresh: Vec<_> = fresh
            .filter(|number| !group.members.contains_key(number))
            .collect();
        for number in &fresh {
            group.members.insert(*number, MemberRole::Member);
        }
        if !fresh.is_empty() {
            moves.push((each.clone(), fresh));
        }
    }
    moves
}

/// Takes people out of a community and its announcements, or out of all of its groups; `leaving` if
/// they go by themselves.
fn see_off(groups: &mut All, id: &str, people: &[Number], from_all: bool, leaving: bool) -> Moves {
    let mut moves = Moves::new();
    for (each, group) in groups.iter_mut() {
        let kind = group.place.kind_below(id);
        let concerned = match kind {
            Some(SubgroupKind::Announcements) => true,
            Some(_) => from_all,
            None => **each == *id,
        };
        let mut gone = people.to_vec();
        gone.retain(|number| {
            // Whoever made a group cannot be taken out of it.
            let role = group.members.get(number);
            concerned && role.is_some_and(|role| leaving || *role != MemberRole::Superadmin)
        });
        for number in &gone {
            group.members.remove(number);
        }
        if !gone.is_empty() {
            moves.push((each.clone(), gone));
        }
    }
    moves
}
