//! What WhatsApp tells of changes to a group.

use whatsapp_rust::wacore::stanza::groups::{
    GroupNotificationAction as Action, GroupParticipantInfo,
};
use whatsapp_rust::wacore::types::events::GroupUpdate;
use whatsapp_rust::wacore_binary::{self as wire, Node};

use super::addresses::from_wire;
use crate::jid::Jid;
use crate::time::Timestamp;
use crate::wa::message::GroupChange;

/// The change; `None` when it does not say of which group.
pub(in crate::wa) fn group_change(update: &GroupUpdate) -> Option<GroupChange> {
    let timer = match &update.action {
        Action::Ephemeral { expiration, .. } => Some(*expiration),
        _ => None,
    };
    let (participants, subject) = match &update.action {
        Action::Add { participants, .. }
        | Action::Remove { participants, .. }
        | Action::Promote { participants }
        | Action::Demote { participants }
        | Action::Modify { participants } => {
            (participants.iter().filter_map(member).collect(), None)
        }
        Action::Subject { subject, .. } => (Vec::new(), Some(subject.clone())),
        Action::Create { raw } => new_group(raw),
        _ => (Vec::new(), None),
    };
    let by = update
        .participant_pn
        .as_ref()
        .or(update.participant.as_ref());
    Some(GroupChange {
        group: from_wire(&update.group_jid)?,
        by: by.and_then(from_wire),
        action: update.action.tag_name().to_owned(),
        participants,
        subject,
        timer,
        at: Timestamp::from_secs(update.timestamp.timestamp()),
    })
}

fn member(member: &GroupParticipantInfo) -> Option<Jid> {
    by_number(member.phone_number.as_ref(), Some(&member.jid))
}

fn by_number(number: Option<&wire::Jid>, jid: Option<&wire::Jid>) -> Option<Jid> {
    from_wire(number.or(jid)?)
}

/// The members and the subject of a new group, which the library hands on as it came:
/// `<create><group subject=".."><participant jid=".." phone_number=".."/></group></create>`.
fn new_group(create: &Node) -> (Vec<Jid>, Option<String>) {
    let Some(group) = create.get_optional_child("group") else {
        return (Vec::new(), None);
    };
    let members = group
        .get_children_by_tag("participant")
        .filter_map(|member| {
            let mut attrs = member.attrs();
            let (number, jid) = (
                attrs.optional_jid("phone_number"),
                attrs.optional_jid("jid"),
            );
            by_number(number.as_ref(), jid.as_ref())
        });
    let subject = group.attrs().optional_string("subject");
    (
        members.collect(),
        subject.map(|subject| subject.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use whatsapp_rust::NodeBuilder;

    #[test]
    fn a_new_group_is_told_with_its_subject_and_members_by_their_numbers() {
        let member = |jid: &str, number: Option<&str>| {
            let member = NodeBuilder::new("participant").attr("jid", jid);
            match number {
                Some(number) => member.attr("phone_number", number).build(),
                None => member.build(),
            }
        };
        let group = NodeBuilder::new("group").attr("subject", "Team").children([
            member("100000012345678@lid", Some("6281234567890@s.whatsapp.net")),
            member("6281234567891@s.whatsapp.net", None),
            NodeBuilder::new("participant").build(),
            NodeBuilder::new("locked").build(),
        ]);
        let create = NodeBuilder::new("create").children([group.build()]).build();
        let (members, subject) = new_group(&create);
        let members: Vec<_> = members.iter().map(Jid::to_string).collect();
        assert_eq!(
            members,
            [
                "6281234567890@s.whatsapp.net",
                "6281234567891@s.whatsapp.net"
            ]
        );
        assert_eq!(subject.as_deref(), Some("Team"));
        let bare = NodeBuilder::new("create").build();
        assert_eq!(new_group(&bare), (vec![], None));
    }
}
